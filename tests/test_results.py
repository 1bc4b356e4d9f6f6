"""Records of runs: what is written is what is read, packed or not; damage is named, nothing is lost half-way."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serlib import files, metrics, results
from serlib.corpora.corpus import EMOTIONS
from serlib.results import Predictions, Record
from serlib.tasks import CLASSES, CONTINUOUS, Task


def record(system: str = "mdre", fold: int = 0, seed: int = 0, n: int = 40, **changes) -> Record:
    rng = np.random.default_rng([fold, seed, len(system)])
    predictions = Predictions(
        [f"Ses0{fold + 1}F_impro01_F{i:03}" for i in range(n)], rng.integers(0, 4, n), rng.normal(size=(n, 4))
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
        metrics=measured(predictions) | {"loss": 1.25},
        outputs=list(EMOTIONS),
        sizes={"train": 160, "dev": 10, "test": n},
        parameters=1234,
        steps=30,
        best_step=20,
        history=[{"step": 10, "train_loss": 1.4, "dev_loss": 1.5}],
        opening=[1.5, 1.4],
        wall_time=3.25,
        device="cpu",
        hardware="a processor, 2 cores",
        versions={"python": "3.11"},
        commit="abc1234+",
        code="0123456789abcdef",
        settings={"learning_rate": 0.001, "model": {"hidden": 200}},
        key="k",
        predictions=predictions,
    )
    return replace(one, **changes)


def curves(fold: int = 0) -> Record:
    """A record of three recordings of different length."""
    rng, lengths = np.random.default_rng(fold), [4, 2, 5]
    said = Predictions(
        [f"Train_{3 * fold + n:02}" for n in range(3)], rng.normal(size=(11, 3)), rng.normal(size=(11, 3)), lengths
    )
    known = {"corpus": "sewa", "task": "continuous", "outputs": list(CONTINUOUS.outputs)}
    return record("end-to-end", fold, **known, metrics=measured(said, CONTINUOUS), predictions=said)


def measured(said: Predictions, task: Task = CLASSES) -> dict[str, float]:
    """What a record says of such predictions."""
    return {name: float(one.value(said.statistics(one).sum(axis=0))) for name, one in task.measures.items()}


def same(one: Record, other: Record) -> bool:
    """Whether two records are equal, and their predictions to the last bit."""
    a, b = one.predictions, other.predictions
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("targets", "outputs"))
    lengths = None if a.lengths is None else a.lengths.tolist()
    return one == other and a.ids == b.ids and arrays and lengths == (None if b.lengths is None else b.lengths.tolist())


def names(folder: Path) -> list[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith(".lock"))


MANY = [record(system, fold, seed) for system in ("are", "mdre") for fold in (0, 1) for seed in (0, 1)]
MANY += [record(variant="loss sigmoid", key="s"), curves(0), curves(1)]
MANY.sort(key=lambda one: (one.corpus, one.system, one.variant, one.fold, one.seed))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    for one in MANY:
        path = results.write(one, tmp_path)
        assert path == tmp_path / one.path
    assert record(fold=1).path == Path("synthetic/yoon2018/random-folds/quick/mdre/fold1-seed0.json")
    assert record(variant="loss sigmoid").path.parts[-2:] == ("mdre+loss-sigmoid", "fold0-seed0.json")
    assert len(names(tmp_path)) == 2 * len(MANY)
    assert sorted(map(repr, results.read(tmp_path))) == sorted(map(repr, (replace(o, predictions=None) for o in MANY)))
    found = results.read(tmp_path, predictions=True)
    assert len(found) == len(MANY) and all(same(a, b) for a, b in zip(found, MANY, strict=True))
    for one in found:
        assert one.predictions.outputs.dtype == np.float32
        assert one.predictions.targets.dtype == (np.float32 if one.task == "continuous" else np.int64)
    assert results.read(tmp_path, system="are", fold=1) == [one for one in MANY if one.system == "are" and one.fold]
    assert {one.place for one in results.read(tmp_path, system=["are", "tre"], seed=0)} == {
        "fold0-seed0",
        "fold1-seed0",
    }
    assert [one.variant for one in results.read(tmp_path, variant="loss sigmoid")] == ["loss sigmoid"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    results.write(MANY[0], tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*")}


def test_seeds_that_were_tested_on_the_same_share_it_in_their_file(tmp_path: Path) -> None:
    first = record(seed=0)
    again = replace(record(seed=1, metrics=first.metrics), predictions=first.predictions)
    said = first.predictions
    said = replace(said, targets=said.targets[::-1])
    other = replace(record(seed=2, metrics=measured(said)), predictions=said)
    for one in (first, again, other):
        results.write(one, tmp_path)
    results.pack(tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    kinds = [name.split(".") for name in np.load(path).files]
    assert [place for place, kind in kinds if kind == "targets"] == ["fold0", "fold0-seed2"]
    assert all(same(a, b) for a, b in zip(results.read(tmp_path, predictions=True), (first, again, other), strict=True))


def test_numpy_numbers_and_losses_that_overflow_can_be_written(tmp_path: Path) -> None:
    one = record(steps=np.int64(7), wall_time=np.float32(0.5), settings={"root": Path("a/b"), "n": np.arange(2)})
    one = replace(one, metrics=dict(one.metrics) | {"loss": math.nan, "ua": np.float64(0.25)})
    results.write(one, tmp_path)
    (back,) = results.read(tmp_path)
    assert back.metrics["loss"] is None and back.metrics["ua"] == 0.25
    assert back.steps == 7 and back.wall_time == 0.5 and back.settings == {"root": "a/b", "n": [0, 1]}


def test_a_failed_write_leaves_the_old_record(tmp_path: Path) -> None:
    results.write(record(), tmp_path)
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        results.write(record(key="new", settings={"not": object()}), tmp_path)
    (back,) = results.read(tmp_path, predictions=True)
    assert same(back, record())
    assert not list(tmp_path.rglob(".*"))


# Fields that come and go


def test_unknown_fields_are_tolerated_and_missing_ones_have_defaults(tmp_path: Path) -> None:
    path = results.write(record(), tmp_path)
    content = json.loads(path.read_text())
    needed = {"paper", "system", "corpus", "protocol", "profile", "fold", "seed", "key", "metrics", "history"}
    path.write_text(json.dumps({k: v for k, v in content.items() if k in needed} | {"moon": "full"}))
    (back,) = results.read(tmp_path, predictions=True)
    assert (back.variant, back.task, back.code, back.commit, back.settings) == ("", "classes", "", None, {})
    assert back.metrics == content["metrics"] and back.predictions.ids == record().predictions.ids
    results.pack(tmp_path)
    assert same(results.read(tmp_path, predictions=True)[0], replace(back, outputs=[], opening=[]))


# Packed


def test_packed_records_are_the_same_in_two_files_a_system(tmp_path: Path) -> None:
    for one in MANY:
        results.write(one, tmp_path)
    before = results.read(tmp_path, predictions=True)
    assert results.pack(tmp_path) == len(MANY)
    groups = sorted({one.group.as_posix() for one in MANY})
    assert names(tmp_path) == sorted(f"{own}{suffix}" for own in groups for suffix in (".json", ".npz"))
    after = results.read(tmp_path, predictions=True)
    assert len(after) == len(before) and all(same(a, b) for a, b in zip(before, after, strict=True))
    assert same(results.find(replace(record(fold=1), predictions=None), tmp_path), record(fold=1))
    assert results.pack(tmp_path) == 0  # nothing lies by itself
    packed = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    for one in MANY:
        results.write(one, tmp_path)
    results.pack(tmp_path)
    assert packed == {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}


def test_what_lies_by_itself_counts_and_is_packed_with_the_rest(tmp_path: Path) -> None:
    for fold in (0, 1):
        results.write(record(fold=fold), tmp_path)
    results.pack(tmp_path)
    other = record(seed=5)
    newer = record(fold=1, key="newer", metrics=other.metrics, predictions=other.predictions)
    for one in (newer, record(fold=2)):
        results.write(one, tmp_path)
    for _ in range(2):
        found = results.read(tmp_path, predictions=True)
        assert [one.fold for one in found] == [0, 1, 2]
        assert all(same(a, b) for a, b in zip(found, [record(), newer, record(fold=2)], strict=True))
        assert results.find(record(fold=1), tmp_path) is None  # its key is another now
        assert same(results.find(newer, tmp_path), newer)
        results.pack(tmp_path)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("after", range(6))
def test_a_pack_that_is_killed_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Killed at any of the moments at which a file gets its name or goes: two written, four removed."""
    results.write(record(), tmp_path)
    results.pack(tmp_path)
    other = record(seed=9)
    ours = [record(key="newer", metrics=other.metrics, predictions=other.predictions), record(fold=1)]
    for one in ours:
        results.write(one, tmp_path)
    moments, replacing, unlinking = iter(range(100)), os.replace, Path.unlink

    def killed(real):
        def maybe(path, *more, **options):
            temporary = Path(path).name.startswith(".") and not more
            if not temporary and next(moments) >= after:
                raise KeyboardInterrupt
            return real(path, *more, **options)

        return maybe

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", killed(replacing))
        patch.setattr(Path, "unlink", killed(unlinking))
        with pytest.raises(KeyboardInterrupt):
            results.pack(tmp_path)
    for _ in range(2):
        found = results.read(tmp_path, predictions=True)
        assert len(found) == 2 and all(same(a, b) for a, b in zip(found, ours, strict=True))
        assert all(same(results.find(one, tmp_path), one) for one in ours)
        results.pack(tmp_path)
    assert [Path(name).suffix for name in names(tmp_path) if "seed" not in name] == [".json", ".npz"]


# Damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], r"damaged, not JSON \(.*line \d+"),
        (lambda text: "", "damaged, not JSON"),
        (lambda text: "[" * 100_000, "damaged, not JSON"),
        (lambda text: "[1, 2]", "expected an object, got a list"),
        (lambda text: '{"records": [3]}', "expected an object, got a int"),
        (lambda text: '{"ceilings": 1}', "it has no corpus, paper, .*history"),
        (lambda text: text.replace('"key"', '"keys"'), "it has no key; "),
        (lambda text: text.replace('"fold": 0', '"fold": "first"'), "fold is 'first'"),
        (lambda text: text.replace('"fold": 0', '"fold": true'), "fold is True"),
        (lambda text: text.replace('"history": [', '"history": 3, "more": ['), "history is 3"),
        (lambda text: text.replace('"variant": ""', '"variant": null'), "variant is None"),
        (lambda text: text.replace('"synthetic": true', '"synthetic": "yes"'), "synthetic is 'yes'"),
        (lambda text: text.replace('"seed": 0', '"seed": 1'), "this record belongs to .*fold0-seed1.json"),
        (lambda text: text.replace('"quick"', '"paper"'), "this record belongs to .*paper/mdre/fold0-seed0.json"),
        (lambda text: text.replace('"quick"', '"../quick"'), "is no place for results"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, damage, message: str) -> None:
    path = results.write(record(), tmp_path)
    path.write_text(damage(path.read_text()))
    for look in (results.read, results.pack, lambda folder: results.find(record(), folder)):
        with pytest.raises(ValueError, match=message) as error:
            look(tmp_path)
        assert str(error.value).startswith(f"{path}: ")
        assert "delete it and run again" in str(error.value)


def test_a_changed_digit_is_found_by_digest_and_by_predictions(tmp_path: Path) -> None:
    path = results.write(record(), tmp_path)
    whole = json.loads(path.read_text())
    for name, value in (("seed", 0), ("history", []), ("parameters", 1235), ("metrics", whole["metrics"] | {"ua": 1})):
        path.write_text(json.dumps(whole | {name: value}))
        if whole[name] == value:
            assert results.read(tmp_path) == [record()]
            continue
        with pytest.raises(ValueError, match=r"seed0\.json: it was changed since it was written .* delete it"):
            results.read(tmp_path)
    del whole["digest"]  # as in older records
    for ua in (1, 1.0, whole["metrics"]["ua"] + 1e-5, None, "0.5"):
        path.write_text(json.dumps(whole | {"metrics": whole["metrics"] | {"ua": ua}}))
        with pytest.raises(ValueError, match=rf"seed0\.npz: its fold0-seed0 have ua 0.* says {ua}; one was changed"):
            results.read(tmp_path, predictions=True)
    path.write_text(json.dumps(whole))
    assert same(results.read(tmp_path, predictions=True)[0], record())


def test_bytes_that_are_not_text_are_named(tmp_path: Path) -> None:
    results.write(record(), tmp_path).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"fold0-seed0\.json: damaged"):
        results.read(tmp_path)


def test_a_record_copied_to_another_place_is_refused(tmp_path: Path) -> None:
    path = results.write(record(), tmp_path / "results")
    packed = tmp_path / "packed" / path.parent.relative_to(tmp_path / "results").with_suffix(".json")
    for target in (path.with_name("fold7-seed0.json"), packed.with_name("tre.json")):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        with pytest.raises(ValueError, match=r"this record belongs to synthetic/yoon2018/random-folds/quick/mdre"):
            results.read(target.parent)
        target.unlink()


def test_a_copy_of_results_within_results_does_not_count_twice(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / ".backup", tmp_path / ".ipynb_checkpoints"):
        results.write(record(), folder)
    assert results.read(tmp_path) == [record()]  # hidden folders are nobody's results
    results.write(record(), tmp_path / "backup")
    with pytest.raises(ValueError, match=r"mdre: not in the same folder of results as .*mdre; one may be a copy"):
        results.read(tmp_path)
    assert results.read(tmp_path / "backup") == [record()]
    (tmp_path / "backup").rename(tmp_path / "spaces")
    assert results.read(tmp_path) == [record()]


def test_a_folder_deep_within_the_results_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = results.write(record(), tmp_path)
    monkeypatch.chdir(path.parent)
    assert len(results.read(".")) == 1
    results.pack(tmp_path)
    monkeypatch.chdir(tmp_path / "synthetic" / "yoon2018")
    assert len(results.read(".", predictions=True)) == 1


@pytest.mark.parametrize("name", ["..", "", "a/b", "/etc", "a\0b", ".", "a\\b", "a b"])
@pytest.mark.parametrize("field", ["corpus", "paper", "protocol", "profile"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, field: str, name: str) -> None:
    with pytest.raises(ValueError, match="is no place for results"):
        results.write(record(**{field: name}), tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_fold_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format code 'd'"):
        results.write(replace(record(), fold="../../../../../0"), tmp_path / "results")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", ["../../up", "/etc/passwd", "a\nb", "wörter: 5 %", "model={'hidden': 8}"])
def test_a_variant_may_say_anything_and_stays_in_its_folder(tmp_path: Path, variant: str) -> None:
    one = record(variant=variant)
    path = results.write(one, tmp_path)
    assert path.parent.parent == tmp_path / "synthetic/yoon2018/random-folds/quick"
    assert same(results.find(one, tmp_path), one)
    results.pack(tmp_path)
    (back,) = results.read(tmp_path, predictions=True, variant=variant)
    assert same(back, one)


def test_damaged_or_missing_predictions_are_named(tmp_path: Path) -> None:
    one = record()
    path = results.write(one, tmp_path).with_suffix(".npz")
    whole = path.read_bytes()
    for broken in (whole[:100], b"", b"PK nonsense", whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"mdre/fold0-seed0\.npz: not the predictions of a run .*; delete it"):
            results.read(tmp_path, predictions=True)
    np.savez(path, **{"fold0-seed0.ids": np.array([{"a": 1}], dtype=object)})  # what only pickle can read
    with pytest.raises(ValueError, match="not the predictions"):
        results.read(tmp_path, predictions=True)
    results.write(replace(one, key="another"), tmp_path)
    of_another = path.read_bytes()
    results.write(one, tmp_path)
    path.write_bytes(of_another)
    with pytest.raises(ValueError, match=r"seed0\.npz: fold0-seed0 are predictions of another run than the record"):
        results.read(tmp_path, predictions=True)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"seed0\.npz.*run again"):
        results.read(tmp_path, predictions=True)
    assert results.read(tmp_path) == [one]


def test_reading_the_wrong_place_or_field_is_told(tmp_path: Path) -> None:
    assert results.read(tmp_path) == [] and results.pack(tmp_path) == 0
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        results.read(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="cannot filter by sytem; a record has paper, system"):
        results.read(tmp_path, sytem="are")


def test_predictions_are_numbers() -> None:
    with pytest.raises(ValueError, match=r"outputs are not numbers \(NaN\) in 1 of 2 rows"):
        Predictions(["a", "b"], [0, 1], [[0.5, 1.0], [math.nan, 0.0]])


def test_predictions_must_fit_their_ids() -> None:
    two = ["a", "b"]
    for targets, outputs, lengths in (
        (np.array([0]), np.zeros((2, 4)), None),
        (np.array([0, 1]), np.zeros((1, 4)), None),
        (np.array([0, 1]), np.zeros(2), None),
        (np.zeros((5, 3)), np.zeros((5, 3)), [2, 2]),
        (np.zeros(4), np.zeros((4, 3)), [2, 2]),
    ):
        with pytest.raises(ValueError, match=r"2 ids, [24] rows: expected as many targets and outputs"):
            Predictions(two, targets, outputs, lengths)


def test_find_gives_only_the_same_run(tmp_path: Path) -> None:
    one = record()
    assert results.find(one, tmp_path) is None
    path = results.write(one, tmp_path)
    assert same(results.find(replace(one, predictions=None, metrics={}, history=[]), tmp_path), one)
    for other in ({"key": "another"}, {"seed": 1}, {"fold": 1}, {"variant": "v"}, {"profile": "paper"}):
        assert results.find(replace(one, **other), tmp_path) is None
    path.with_suffix(".npz").unlink()
    assert results.find(one, tmp_path) is None


# Together


@pytest.mark.parametrize("make", [lambda fold: record(fold=fold), curves])
def test_pooled_puts_the_folds_of_one_seed_together(tmp_path: Path, make) -> None:
    folds = [make(fold) for fold in (1, 0, 2)]
    pooled = results.pooled(folds)
    assert pooled.ids == [id for n in (0, 1, 2) for id in make(n).predictions.ids]
    for one in folds:
        results.write(one, tmp_path)
    again = results.pooled(results.read(tmp_path, predictions=True))
    assert again.ids == pooled.ids and (again.outputs == pooled.outputs).all()
    measures = (CONTINUOUS if folds[0].task == "continuous" else CLASSES).measures
    measure = next(iter(measures.values()))
    sums = [one.predictions.statistics(measure).sum(axis=0) for one in folds]
    assert pooled.statistics(measure).shape[0] == len(pooled.ids)
    np.testing.assert_allclose(pooled.statistics(measure).sum(axis=0), np.sum(sums, axis=0))
    with pytest.raises(ValueError, match="read without its predictions"):
        results.pooled(results.read(tmp_path))
    with pytest.raises(ValueError, match=f"{folds[0].predictions.ids[0]} is tested in two folds"):
        results.pooled([folds[0], folds[0]])


def test_only_folds_of_one_run_are_pooled() -> None:
    for other in ({"seed": 1}, {"variant": "v"}, {"profile": "paper"}, {"system": "are"}):
        with pytest.raises(ValueError, match="records of 2 runs"):
            results.pooled([record(), replace(record(fold=1), **other)])
    with pytest.raises(ValueError, match="records of 0 runs"):
        results.pooled([])


def test_confusion_is_counted_from_the_predictions(tmp_path: Path) -> None:
    folds = [record(fold=fold) for fold in range(3)]
    for one in folds:
        counts = metrics.confusion(one.predictions.targets, one.predictions.predicted)
        assert (one.confusion == counts).all() and counts.sum() == 40
    assert (results.confusion_of(folds) == sum(one.confusion for one in folds)).all()
    with pytest.raises(ValueError, match="at least one record"):
        results.confusion_of([])
    with pytest.raises(ValueError, match=r"fold0-seed0\.json: read without its predictions"):
        results.confusion_of([replace(record(), predictions=None)])
