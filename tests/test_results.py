"""Records of runs: what is written is what is read, damage is named, tables hold the right means."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serlib import metrics, results
from serlib.corpora.corpus import Corpus, Segment, Utterance
from serlib.protocols import Split
from serlib.results import Predictions, Record


def record(system: str = "mdre", fold: int = 0, seed: int = 0, n: int = 40, **changes) -> Record:
    rng = np.random.default_rng([fold, seed, len(system)])
    predictions = Predictions(
        ids=[f"Ses0{fold + 1}F_impro01_F{i:03}" for i in range(n)],
        labels=rng.integers(0, 4, n),
        logits=rng.normal(size=(n, 4)),
    )
    one = Record(
        paper="yoon2018",
        system=system,
        corpus="synthetic",
        synthetic=True,
        protocol="random-folds",
        profile="quick",
        fold=fold,
        seed=seed,
        metrics=metrics.summary(predictions.labels, predictions.logits) | {"loss": 1.25},
        confusion=metrics.confusion(predictions.labels, predictions.predicted).tolist(),
        sizes={"train": 160, "dev": 10, "test": n},
        parameters=1234,
        steps=30,
        best_step=20,
        history=[{"step": 10, "train_loss": 1.4, "dev_loss": 1.5}],
        wall_time=3.25,
        device="cpu",
        hardware=results.hardware(),
        versions=results.versions(),
        commit="abc1234+",
        settings={"learning_rate": 0.001, "model": {"hidden": 200}},
        key="k",
        predictions=predictions,
    )
    return replace(one, **changes)


def write(one: Record, directory: Path) -> Path:
    return results.write(one, one.predictions, directory)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    ours = [record(system, fold, seed) for system in ("are", "mdre") for fold in (0, 1) for seed in (0, 1)]
    for one in ours:
        path = write(one, tmp_path)
    assert path == tmp_path / "yoon2018/synthetic/random-folds/quick/mdre-fold1-seed1.json"
    assert results.read(tmp_path) == ours
    assert results.read(tmp_path, system="are", fold=1) == ours[2:4]
    assert results.read(tmp_path, system=["are", "tre"], seed=0) == [ours[0], ours[2]]
    for one in results.read(tmp_path):
        assert one.predictions is None
        theirs = next(other for other in ours if other == one).predictions
        back = results.read_predictions(one, tmp_path)
        assert back.ids == theirs.ids
        assert (back.labels == theirs.labels).all() and (back.logits == theirs.logits).all()
        assert back.labels.dtype == np.int64 and back.logits.dtype == np.float32
    assert sorted(path.suffix for path in tmp_path.rglob("*") if path.is_file()) == [".json"] * 8 + [".npz"] * 8
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    write(ours[0], tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


def test_numpy_numbers_and_losses_that_overflow_can_be_written(tmp_path: Path) -> None:
    one = record(steps=np.int64(7), confusion=np.eye(4, dtype=np.int64), wall_time=np.float32(0.5))
    one = replace(one, metrics=dict(one.metrics) | {"loss": math.nan, "ua": np.float64(0.25)})
    write(one, tmp_path)
    (back,) = results.read(tmp_path)
    assert back.metrics["loss"] is None and back.metrics["ua"] == 0.25
    assert back.confusion == np.eye(4).tolist() and back.steps == 7 and back.wall_time == 0.5
    with pytest.raises(TypeError, match="Path is not JSON serializable"):
        write(record(settings={"root": tmp_path}), tmp_path)


def test_a_failed_write_leaves_the_old_record(tmp_path: Path) -> None:
    write(record(), tmp_path)
    with pytest.raises(TypeError):
        write(record(key="new", settings={"not": object()}), tmp_path)
    assert [one.key for one in results.read(tmp_path)] == ["k"]
    assert not list(tmp_path.rglob(".*"))
    assert results.read_predictions(record(), tmp_path).ids == record().predictions.ids


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], r"damaged, not JSON \(.*line \d+"),
        (lambda text: "", "damaged, not JSON"),
        (lambda text: "[1, 2]", "expected an object, got a list"),
        (lambda text: '{"ceilings": 1}', "it has no .*commit.* and unknown ceilings"),
        (lambda text: text.replace('"key"', '"keys"'), "it has no key and unknown keys"),
        (lambda text: text.replace('"fold": 0', '"fold": "first"'), "fold is 'first'"),
        (lambda text: text.replace('"synthetic": true', '"synthetic": "yes"'), "synthetic is 'yes'"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, damage, message: str) -> None:
    path = write(record(), tmp_path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=message) as error:
        results.read(tmp_path)
    assert str(error.value).startswith(f"{path}: ")
    assert "delete it and run again" in str(error.value)


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    write(record(), tmp_path).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"seed0\.json: damaged"):
        results.read(tmp_path)


def test_damaged_or_missing_predictions_are_named(tmp_path: Path) -> None:
    one = record()
    path = write(one, tmp_path).with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"mdre-fold0-seed0\.npz: not the predictions of a run .*; delete it"):
        results.read_predictions(one, tmp_path)
    np.savez(path, ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not the predictions"):
        results.read_predictions(one, tmp_path)
    write(replace(one, key="another"), tmp_path)
    with pytest.raises(ValueError, match=r"seed0\.npz: the predictions of another run"):
        results.read_predictions(one, tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"seed0\.npz.*run it again"):
        results.read_predictions(one, tmp_path)


def test_reading_the_wrong_place_or_field_is_told(tmp_path: Path) -> None:
    assert results.read(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        results.read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot filter by sytem; a record has paper, system"):
        results.read(tmp_path, sytem="are")


def test_predictions_must_fit_their_ids() -> None:
    with pytest.raises(ValueError, match="2 ids need labels"):
        Predictions(["a", "b"], np.array([0]), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="2 ids need labels"):
        Predictions(["a", "b"], np.array([0, 1]), np.zeros((1, 4)))


def test_find_gives_only_the_same_run(tmp_path: Path) -> None:
    one = record()
    assert results.find(one.path, "k", tmp_path) is None
    path = write(one, tmp_path)
    found = results.find(one.path, "k", tmp_path)
    assert found == one and found.predictions.ids == one.predictions.ids
    assert results.find(one.path, "another", tmp_path) is None
    path.with_suffix(".npz").unlink()
    assert results.find(one.path, "k", tmp_path) is None


def corpus_in(folder: Path, **changes) -> Corpus:
    folder.mkdir()
    (folder / "a.wav").write_bytes(changes.pop("sound", b"sound"))
    known = {
        "id": "a",
        "speaker": "Ses01F",
        "session": "Session1",
        "dialogue": "d",
        "scripted": False,
        "emotion": "sad",
        "dimensions": None,
        "text": "oh no",
        "audio": folder / "a.wav",
        "duration": 1.0,
    }
    return Corpus("synthetic", folder, [Utterance(**known | changes)])


def test_the_key_changes_with_what_determines_the_result(tmp_path: Path) -> None:
    corpus, split = corpus_in(tmp_path / "0"), Split("one", ["a"], [], [])
    settings = {"learning_rate": 0.001, "model": {"hidden": 200, "layers": 1}}
    key = results.run_key(corpus, split, settings, 0, system="are")
    moved = corpus_in(tmp_path / "1")
    reordered = {"model": {"layers": 1, "hidden": 200}, "learning_rate": 0.001}
    assert results.run_key(moved, split, reordered, 0, system="are") == key
    others = [
        results.run_key(corpus, split, settings, 1, system="are"),
        results.run_key(corpus, split, settings, 0, system="mdre"),
        results.run_key(corpus, split, settings | {"learning_rate": 0.01}, 0, system="are"),
        results.run_key(corpus, Split("one", [], [], ["a"]), settings, 0, system="are"),
    ]
    changes = [
        {"text": "oh"},
        {"emotion": "angry"},
        {"sound": b"another"},
        {"words": (Segment("oh", 0, 0.5),)},
        {"id": "b"},
    ]
    for number, change in enumerate(changes, start=2):
        others.append(results.run_key(corpus_in(tmp_path / str(number), **change), split, settings, 0, system="are"))
    assert len({key, *others}) == 1 + len(others)


def test_pooled_puts_the_folds_of_one_seed_together(tmp_path: Path) -> None:
    folds = [record(fold=fold) for fold in (1, 0, 2)]
    pooled = results.pooled(folds)
    assert pooled.ids == [id for i in (1, 0, 2) for id in folds[i].predictions.ids]
    counts = metrics.confusion(pooled.labels, pooled.predicted)
    assert (counts == results.confusion_of(folds)).all() and counts.sum() == 120
    for one in folds:
        write(one, tmp_path)
    again = results.pooled(results.read(tmp_path), tmp_path)
    assert again.ids == pooled.ids and (again.logits == pooled.logits).all()
    with pytest.raises(ValueError, match="read without its predictions"):
        results.pooled(results.read(tmp_path))
    with pytest.raises(ValueError, match="records of 2 runs"):
        results.pooled([record(seed=0), record(fold=1, seed=1)])
    with pytest.raises(ValueError, match="Ses01F_impro01_F000 is tested in two folds"):
        results.pooled([record(), record()])
    with pytest.raises(ValueError, match="records of 0 runs"):
        results.pooled([])
    with pytest.raises(ValueError, match="at least one record"):
        results.confusion_of([])


def test_table_has_means_intervals_and_published_numbers() -> None:
    runs = [record(system, fold, seed) for system in ("are", "mdre", "mine") for fold in (0, 1) for seed in (0, 1)]
    table = results.table(runs)
    ours, theirs = "ours (synthetic corpus)", "published (IEMOCAP)"
    assert list(table.index) == ["are", "mdre", "mine"] and table.index.name == "system"
    assert list(table.columns.get_level_values(0).unique()) == [ours, theirs]
    assert list(table[theirs].columns) == ["WAP"]
    for system, paper in (("are", 0.546), ("mdre", 0.718), ("mine", math.nan)):
        values = [one.metrics["ua"] for one in runs if one.system == system]
        low, high, mean = metrics.mean_interval(values)
        row = table.loc[system]
        assert (row[ours, "UA"], row[ours, "UA low"], row[ours, "UA high"]) == pytest.approx((mean, low, high))
        assert row[ours, "runs"] == 4
        assert row[theirs, "WAP"] == pytest.approx(paper, nan_ok=True)
    text = results.formatted(table)
    assert list(text.columns) == [
        *((ours, heading) for heading in ("runs", "accuracy", "WA", "UA", "WAP")),
        (theirs, "WAP"),
    ]
    low, high, mean = metrics.mean_interval([one.metrics["ua"] for one in runs[:4]])
    assert text.loc["are", (ours, "UA")] == f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert list(text[theirs, "WAP"]) == ["54.6", "71.8", ""]
    assert list(text[ours, "runs"]) == ["4", "4", "4"]


def test_table_of_real_speech_of_one_run_and_of_several_protocols() -> None:
    real = {"corpus": "ravdess", "synthetic": False}
    table = results.table([record(**real), record(protocol="leave-speakers-out", **real)])
    assert table.index.names == ["protocol", "system"]
    assert list(table.columns.get_level_values(0).unique()) == ["ours (RAVDESS)", "published (IEMOCAP)"]
    assert "[" not in results.formatted(table)["ours (RAVDESS)", "UA"].iloc[0]
    nothing = results.table([record(system="mine", metrics=dict.fromkeys(results.METRICS))])
    assert list(nothing.columns.get_level_values(0).unique()) == ["ours (synthetic corpus)"]
    assert results.formatted(nothing).iloc[0].tolist() == ["1", "", "", "", ""]
    with pytest.raises(ValueError, match="records of one corpus, got ravdess, synthetic"):
        results.table([record(), record(**real)])
    with pytest.raises(ValueError, match="got none"):
        results.table([])


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_is_that_of_the_packages_own_repository(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert results.commit(package) is None  # no repository at all
    git(tmp_path, "init", "-q")
    assert results.commit(package) is None  # installed into somebody else's repository
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert results.commit(package) == head
    (tmp_path / "notes.txt").write_text("not of the package")
    assert results.commit(package) == head
    (package / "__init__.py").write_text("changed = True")
    assert results.commit(package) == f"{head}+"


def test_commit_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert results.commit() is None


def test_environment_facts_hold_no_path() -> None:
    facts = json.dumps([results.versions(), results.hardware(), results.hardware("mps")])
    assert {"python", "serlib", "torch", "torchaudio", "numpy", "opensmile"} <= set(results.versions())
    assert results.hardware().endswith(" cores") and results.hardware("mps") == "mps"
    assert str(Path.home()) not in facts
