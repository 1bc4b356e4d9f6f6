"""Examples in docstrings give what they say; what needs data of one's own is called a sketch and has no prompt."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

import serlib

MODULES = sorted(one.name for one in pkgutil.walk_packages(serlib.__path__, "serlib."))


def test_every_example_gives_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    results = [doctest.testmod(import_module(name)) for name in MODULES]
    assert sum(one.failed for one in results) == 0, capsys.readouterr().out
    assert sum(one.attempted for one in results) >= 15
