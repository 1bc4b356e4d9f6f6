"""Bars are shown to those who want them, unless the environment says no."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serlib.progress import Progress, bar


@pytest.mark.parametrize(("shown", "variable", "expected"), [(True, "", True), (True, "1", False), (False, "", False)])
def test_a_bar_is_hidden_by_its_caller_or_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shown: bool, variable: str, expected: bool
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", variable)
    assert list(bar(shown, range(3), desc="counting")) == [0, 1, 2]
    assert ("counting" in capsys.readouterr().err) == expected
    with Progress(1, shown) as training:
        training.begin("training")
    assert ("training" in capsys.readouterr().err) == expected


def test_every_bar_asks_the_environment() -> None:
    """Nobody but `bar` makes one of tqdm's own."""
    root = Path(__file__).resolve().parent.parent
    places = [path for name in ("serlib", "data_scripts") for path in (root / name).rglob("*.py")]
    found = {path.name for path in places if re.search(r"\btqdm\(", path.read_text(encoding="utf-8"))}
    assert found == {"progress.py"}
