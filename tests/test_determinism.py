"""What must hold before anything random happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from threadpoolctl import threadpool_info

from serlib import runs
from serlib.determinism import single_thread

SCRIPT = """
import os, pwd
def nobody(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
from serlib.determinism import reproducible
import torch
with reproducible(0):
    model = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimiser.step()
"""
"""Make an optimiser where the user has no name, as in a container."""


def nameless(**more: str) -> subprocess.CompletedProcess:
    named = {"HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "SERLIB_CACHE"}
    environment = {name: value for name, value in os.environ.items() if name not in named} | more
    return subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)


def test_a_user_without_a_name_trains(tmp_path) -> None:
    done = nameless(SERLIB_CACHE=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert {one.name for one in tmp_path.iterdir()} <= {"torch"}
    told = nameless()
    assert told.returncode == 1
    assert re.search(r"^FileNotFoundError: .*Set SERLIB_CACHE to a folder", told.stderr, re.M)


def test_a_single_thread_computes_and_as_many_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    with single_thread():
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
    assert torch.get_num_threads() == before
    seen: list[int] = []
    monkeypatch.setattr(runs, "find_system", lambda *_: seen.append(torch.get_num_threads()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runs.prepare(SimpleNamespace(paper="", system=""), None)
    assert seen == [1]
