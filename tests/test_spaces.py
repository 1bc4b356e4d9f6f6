"""The lists of spaces and studies: what is listed can be made, and a replay finds a change."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from serlib.embeddings import read_vectors, speech2vec
from serlib.embeddings.spoken import SpokenText, gather

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow"))

import spaces
import studies as workshop
from plan import Plan

ENTRIES = [
    {"text": "toy", "name": "counts", "method": "counts", "settings": {"dims": 3}, "seeds": [0], "kept": [0]},
    {
        "text": "toy", "name": "skipgram", "method": "speech2vec", "seeds": [0, 1], "kept": [0], "weights": True,
        "settings": {"dims": 4, "min_count": 2, "epochs": 1, "batch_size": 16},
    },
]  # fmt: skip


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpokenText:
    rng = np.random.default_rng(0)
    words = [str(word) for word in rng.choice(list("abcdefgh"), 300)]
    lengths = rng.integers(1, 9, 300)
    frames = rng.normal(size=(lengths.sum(), 3)).astype(np.float32)
    text = gather(words, np.arange(300) // 6, np.arange(300) // 6 % 2, lengths, frames, ["F", "M"])
    (tmp_path / "spaces.yml").write_text(yaml.safe_dump(ENTRIES))
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(spaces, "LIST", tmp_path / "spaces.yml")
    monkeypatch.setattr(spaces, "FOLDER", tmp_path / "spaces")
    monkeypatch.setattr(spaces, "spoken_text", lambda name: text)
    monkeypatch.setattr(spaces, "sentences", lambda name: text.texts())
    return text


def test_every_entry_names_what_there_is() -> None:
    for recipe in spaces.listed():
        assert recipe.method in spaces._METHODS and recipe.text in ("brown", "synthetic")
        if recipe.method == "speech2vec":
            speech2vec.Settings(**recipe.settings)
    places = [recipe.place for recipe in spaces.listed()]
    assert len(places) == len(set(places))
    for plan in workshop.STUDIES.values():
        jobs = [json.dumps(job) for job in plan.jobs()]
        assert len(jobs) == len(set(jobs)) > 0


def test_what_is_committed_is_what_is_listed() -> None:
    """No space without a recipe, none of a recipe that has changed since."""
    recipes = {recipe.facts: recipe for recipe in spaces.listed()}
    for path in spaces.FOLDER.rglob("*.json"):
        recipe, facts = recipes[path], json.loads(path.read_text(encoding="utf-8"))
        same = {one.name for one in fields(recipe)} - {"kept", "weights"}
        assert {name: facts["recipe"][name] for name in same} == {name: getattr(recipe, name) for name in same}
        if recipe.kept:
            assert len(read_vectors(recipe.vectors)) == facts["words"]
        if recipe.weights:
            speech2vec.load(path.with_suffix(".safetensors"), speech2vec.Settings(**recipe.settings))


def test_spaces_are_made_once_and_a_replay_finds_a_change(toy: SpokenText, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = spaces.listed()
    assert [one.name for one in spaces.missing(wanted)] == ["counts", "skipgram", "skipgram"]
    for recipe in wanted:
        spaces.make(recipe)
    assert spaces.missing(wanted) == []
    assert spaces.read("toy", "skipgram", 1).words == spaces.read("toy", "counts").words
    assert [apart for _, apart, _ in spaces.replay(wanted)] == [0.0, 0.0]
    monkeypatch.setattr(speech2vec, "GROUP", 7)  # rounds otherwise at most
    assert max(apart for _, apart, _ in spaces.replay(wanted)) < 1e-5
    monkeypatch.setattr(speech2vec.Speech2Vec, "standardise", lambda self, frames: frames)
    apart, allowed = zip(*[one[1:] for one in spaces.replay(wanted)], strict=True)
    assert min(apart) > 1e-3 and max(allowed) == 0.0


def test_a_study_goes_on_where_it_was_killed_and_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def measure(job: dict) -> list[dict]:
        if len(measured) == 2:
            measured.append(-1)
            raise KeyboardInterrupt
        measured.append(job["n"])
        return [{"square": float(job["n"] ** 2)}]

    plan = Plan(lambda: [{"n": n} for n in range(4)], measure, lambda job: job["n"] > 1, ("serlib.studies",))
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(workshop, "RESULTS", tmp_path)
    monkeypatch.setattr(workshop, "STUDIES", {"squares": plan})
    with pytest.raises(KeyboardInterrupt):
        workshop.make("squares", jobs=1)
    assert workshop.missing() == ["squares"]
    workshop.make("squares", jobs=1)
    assert workshop.missing() == [] and measured == [0, 1, -1, 2, 3]
    assert workshop.replay() == 0 and "2 rows measured again, 0 jobs differ" in capsys.readouterr().out
    monkeypatch.setitem(
        workshop.STUDIES, "squares", Plan(plan.jobs, lambda job: [{"square": 4.001}], plan.replayed, plan.modules)
    )
    assert workshop.replay() == 2
    assert "expected [{'n': 3, 'square': 9.0}], found [{'n': 3, 'square': 4.001}]" in capsys.readouterr().out
