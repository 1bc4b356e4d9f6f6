"""Classes, whichever the corpus has, and curves: from a corpus to records, intervals and a table."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from serlib import metrics, models, results, runs, tables, training
from serlib.batching import Batch, Dataset
from serlib.corpora.corpus import EMOTIONS, Corpus, Recording, Utterance
from serlib.inputs import Frames
from serlib.models.system import System
from serlib.protocols import PROTOCOLS, Split
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES, CONTINUOUS, concordance_loss

RATE = 16_000
QUIET = {"device": "cpu", "folds": 1, "seeds": 1}


def utterances(folder: Path, labels: tuple[str | None, ...], count: int = 40) -> list[Utterance]:
    """Short tones whose pitch and words follow the label."""
    made = []
    for n in range(count):
        label = labels[n % len(labels)]
        audio = folder / f"{n:02}.wav"
        pitch = 200 * (1 + n % len(labels)) + n
        soundfile.write(audio, 0.3 * np.sin(2 * np.pi * pitch * np.arange(4_000 + 100 * n) / RATE), RATE)
        text, duration = f"a {label} line", (4_000 + 100 * n) / RATE
        made.append(Utterance(f"u{n:02}", f"s{n % 4}", "1", f"d{n % 8}", False, label, None, text, audio, duration))
    return made


# Classes


def test_the_four_classes_take_excited_for_happy_unless_told_otherwise(tmp_path):
    corpus = Corpus("toy", tmp_path, utterances(tmp_path, (*EMOTIONS, "excited", "frustrated", None)))
    chosen = CLASSES.select(corpus)
    assert chosen.classes == CLASSES.of(chosen).outputs == EMOTIONS
    assert [u.id for u in chosen] == [u.id for u in corpus if u.emotion in (*EMOTIONS, "excited")]
    happy = EMOTIONS.index("happy")
    assert {CLASSES.target(chosen[u.id]) for u in corpus if u.emotion in ("happy", "excited")} == {happy}
    apart = CLASSES.select(corpus.four_class(merge=False))
    assert {corpus[u.id].emotion for u in apart} == set(EMOTIONS)
    for one, sizes in ((corpus, len(chosen)), (corpus.four_class(merge=False), len(apart))):
        (run,) = runs.plan("yoon2018", "tre", one, **QUIET)
        assert sum(map(len, (run.split.train, run.split.dev, run.split.test))) == sizes


def test_a_corpus_may_have_other_classes(tmp_path):
    made = utterances(tmp_path, ("bored", "glad", "tired", "angry"))
    corpus = Corpus("toy", tmp_path, made, classes=("bored", "glad", "tired"))
    chosen = CLASSES.select(corpus)
    assert len(chosen) == 30 and chosen.classes == corpus.classes  # nobody asked for the angry ones
    overrides = {"max_steps": 1, "frame_stride": 1, "model": {"hidden": 4, "embedding": 4}}
    plan = runs.plan("yoon2018", "mdre", corpus, overrides=overrides, **QUIET)
    (record,) = runs.make(plan, corpus, results_dir=tmp_path / "results", jobs=1, progress=False)
    assert (record.task, tuple(record.outputs), record.steps) == ("classes", corpus.classes, 1)
    said = record.predictions
    assert said.outputs.shape == (record.sizes["test"], 3)
    assert said.targets.tolist() == [corpus.classes.index(corpus[id].emotion) for id in said.ids]
    assert record.confusion.shape == (3, 3) and record.confusion.sum() == len(said.ids)
    assert record.metrics["ua"] == metrics.unweighted_accuracy(said.targets, said.predicted)
    assert record.metrics["wap"] == metrics.weighted_average_precision(said.targets, said.predicted)
    assert record.metrics["loss"] == pytest.approx(
        functional.cross_entropy(torch.tensor(said.outputs), torch.tensor(said.targets)).item()
    )
    (again,) = results.read(tmp_path / "results", predictions=True)
    assert list(again.outputs) == list(corpus.classes) and again.metrics == record.metrics
    other = runs.plan("yoon2018", "mdre", replace(corpus, classes=("tired", "bored", "glad")),
                      overrides=overrides, **QUIET)  # fmt: skip
    assert other[0].key != plan[0].key  # the same numbers would mean something else


def test_losses_of_classes_are_those_of_the_paper_and_of_its_code():
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 2])
    softmax = [-(x[y].exp() / x.exp().sum()).log() for x, y in zip(logits, labels, strict=True)]
    torch.testing.assert_close(CLASSES.loss("softmax")(logits, labels, None), torch.stack(softmax).mean())
    cells = []
    for x, y in zip(logits, labels, strict=True):
        for c in range(3):
            probability = 1 / (1 + (-x[c]).exp())
            cells.append(-probability.log() if c == y else -(1 - probability).log())
    torch.testing.assert_close(CLASSES.loss("sigmoid")(logits, labels, None), torch.stack(cells).mean())
    with pytest.raises(ValueError, match=r"settings\.loss is 'hinge'; expected softmax or sigmoid"):
        CLASSES.loss("hinge")


# Curves


def recording(folder: Path, number: int, partition: str, seconds: float, labels: bool = True) -> Recording:
    """Noise whose loudness wanders; it is the arousal, its opposite the valence, its running mean the liking."""
    random = np.random.default_rng(number)
    frames = round(10 * seconds)
    level = np.sin(np.linspace(0, random.uniform(4, 9), frames) + random.uniform(0, 6))  # at 10 Hz
    at = np.arange(round(seconds * RATE)) / RATE
    loudness = np.exp(1.5 * np.interp(at, 0.1 * np.arange(frames) + 0.05, level) - 3.5)
    sound = np.clip(loudness * random.normal(size=len(at)), -1, 1)
    audio = folder / f"{partition}_{number:02}.wav"
    soundfile.write(audio, sound, RATE)
    smooth = np.convolve(level, np.ones(5) / 5)[:frames]
    curves = np.stack([level, -level, smooth], axis=1).astype(np.float32)
    return Recording(audio.stem, audio.stem, partition, audio, seconds, curves if labels else None)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Sixteen recordings of 3 to 7 seconds, the last of them without labels."""
    folder = tmp_path_factory.mktemp("recordings")
    parts = ["train"] * 8 + ["devel"] * 3 + ["test"] * 5
    made = [recording(folder, n, part, 3 + 0.3 * (n * 5 % 14), n < 15) for n, part in enumerate(parts)]
    return Corpus("toy", folder, [], recordings=made)


class Curves(nn.Module):
    """What toy systems are: a GRU or nothing over steps of ten frames, and a linear layer."""

    def __init__(self, sizes: Sizes, hidden: int = 12, recurrent: bool = True):
        super().__init__()
        self.gru = nn.GRU(sizes.dims["mfcc"], hidden, batch_first=True) if recurrent else None
        self.output = nn.Linear(hidden if recurrent else sizes.dims["mfcc"], sizes.outputs)

    def forward(self, batch: Batch) -> Tensor:
        """Return curves, (batch, steps, 3), with as many steps as the targets."""
        x = batch["mfcc"] if self.gru is None else self.gru(batch["mfcc"])[0]
        missing = batch.targets.shape[1] - x.shape[1]
        return self.output(functional.pad(x, (0, 0, 0, missing)))  # a negative number cuts


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A paper of two systems that tell curves."""
    how = {"epochs": 60, "batch_size": 4, "learning_rate": 0.02, "frame_stride": 10, "max_frames": 10_000}
    module = ModuleType("serlib.models.toy")
    module.SYSTEMS = {
        name: System(
            name,
            f"{name} over MFCC",
            {"mfcc": Frames("mfcc")},
            CONTINUOUS,
            Curves,
            dict.fromkeys(
                runs.PROFILES,
                Settings(loss="concordance", **how, check_every=1.0, patience=20, seeds=2, model={"recurrent": deep}),
            ),
            "partitions",
        )
        for name, deep in (("gru", True), ("linear", False))
    }
    module.VARIANTS = {}
    monkeypatch.setattr(models, "PAPERS", (*models.PAPERS, "toy"))
    monkeypatch.setitem(sys.modules, "serlib.models.toy", module)
    return module


def series(labels: np.ndarray, said: np.ndarray) -> float:
    """Equation (8) of tzirakis2021, written out."""
    x, y = labels.astype(float), said.astype(float)
    covariance = sum((a - x.mean()) * (b - y.mean()) for a, b in zip(x, y, strict=True)) / len(x)
    return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def test_curves_go_all_the_way_from_waveforms_to_a_table(recordings, toy, tmp_path, monkeypatch):
    plan = runs.plan("toy", "gru", recordings, device="cpu")
    assert [(run.fold, run.seed, run.protocol) for run in plan] == [(0, 0, "partitions"), (0, 1, "partitions")]
    fit, trained = training.fit, []

    def killed(*arguments, **more):
        trained.append(1)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **more)

    monkeypatch.setattr(training, "fit", killed)
    how = {"results_dir": tmp_path, "jobs": 1, "progress": False, "weights": True}
    with pytest.raises(KeyboardInterrupt):
        runs.make(plan, recordings, **how)
    assert len(results.read(tmp_path)) == 1
    first = runs.make(plan, recordings, **how)
    assert len(trained) == 3  # the second seed only
    again = runs.make(plan, recordings, **how)
    assert len(trained) == 3 and again == first
    assert results.pack(tmp_path) == 2
    packed = results.read(tmp_path, predictions=True)
    assert packed == first and len(list(tmp_path.rglob("*.json"))) == 1

    tested = [one for one in recordings if one.partition == "test" and one.labels is not None]
    for record, kept in zip(first, packed, strict=True):
        assert record.task == "continuous" and tuple(record.outputs) == ("arousal", "valence", "liking")
        assert record.sizes == {"train": 8, "dev": 3, "test": 4}
        said = kept.predictions
        assert said.ids == [one.id for one in tested] and said.lengths.tolist() == [len(one.labels) for one in tested]
        np.testing.assert_array_equal(said.targets, np.concatenate([one.labels for one in tested]))
        np.testing.assert_array_equal(said.outputs, record.predictions.outputs)
        each = [series(said.targets[:, d], said.outputs[:, d]) for d in range(3)]
        for name, value in zip(record.outputs, each, strict=True):
            assert record.metrics[name] == pytest.approx(value, abs=1e-6)
        assert record.metrics["ccc"] == pytest.approx(np.mean(each), abs=1e-6)
        assert record.metrics["loss"] == pytest.approx(1 - np.mean(each), abs=1e-4)
        assert record.metrics["ccc"] > 0.6 and record.history[-1]["train_loss"] < record.history[0]["train_loss"]

    model, fold = runs.trained(plan[0], recordings, results_dir=tmp_path)
    assert len(trained) == 3  # its weights were kept
    curves = training.predict(model, fold.test)
    np.testing.assert_allclose(curves.steps().numpy(), first[0].predictions.outputs, atol=1e-5)

    linear = runs.make(runs.plan("toy", "linear", recordings, device="cpu"), recordings, **how)
    measure = CONTINUOUS.measures["ccc"]
    sums = [record.predictions.statistics(measure) for record in (first[0], linear[0])]
    assert sums[0].shape == (4, 18)
    low, high, estimate = metrics.bootstrap(measure, sums[0], groups=[one.speaker for one in tested])
    assert low <= estimate <= high and estimate == pytest.approx(first[0].metrics["ccc"])
    (low, high, estimate), p = metrics.paired_bootstrap(measure, *sums)
    assert low <= estimate <= high and 0 < p <= 1
    assert estimate == pytest.approx(first[0].metrics["ccc"] - linear[0].metrics["ccc"])

    table = tables.scores([*first, *linear], "arousal")
    assert list(table.index) == ["gru", "linear"] and table["items"].tolist() == [4, 4]
    assert (table.low <= table.estimate).all() and (table.estimate <= table.high).all()
    (_, _, shown), _ = tables.difference(first, linear, "ccc")
    assert np.isfinite(shown)


def test_the_loss_of_curves_is_one_minus_ccc_over_real_steps():
    random = np.random.default_rng(0)
    lengths, steps = torch.tensor([5, 3, 7]), 7
    target = torch.tensor(random.normal(1, 2, (3, steps, 2)))
    output = torch.tensor(random.normal(0, 1, (3, steps, 2)), requires_grad=True)
    real = [np.concatenate([x[row, :n] for row, n in enumerate(lengths)]) for x in (target, output.detach().numpy())]
    expected = 1 - np.mean([series(real[0][:, d], real[1][:, d]) for d in range(2)])
    loss = concordance_loss(output, target, lengths)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    inside = torch.arange(steps) < lengths[:, None]
    assert (output.grad[inside] != 0).all() and not output.grad[~inside].any()
    assert concordance_loss(target, target, lengths).item() == pytest.approx(0)
    level = torch.zeros(3, steps, 2, dtype=torch.float64, requires_grad=True)
    concordance_loss(level, target, lengths).backward()
    assert torch.isfinite(level.grad).all()


def test_padding_of_curves_changes_neither_what_is_said_nor_the_loss(recordings, toy):
    torch.manual_seed(0)
    (run, _) = runs.plan("toy", "gru", recordings, device="cpu")
    fold = runs.prepare(run, recordings)
    assert fold.sizes == Sizes({"mfcc": 39}, outputs=3)
    model = runs.build(fold, 0).eval()
    said = training.predict(model, fold.train)
    assert said.lengths.tolist() == [len(recordings[id].labels) for id in fold.train.ids]
    for row, id in enumerate(fold.train.ids):
        alone = training.predict(model, fold.train, [id])
        torch.testing.assert_close(alone.flat[:-1], said.select(torch.tensor([row])).steps())
    batch = fold.train.batch(torch.arange(len(fold.train)))
    assert batch.lengths["targets"].tolist() == said.lengths.tolist()
    assert (batch.lengths["mfcc"] - batch.lengths["targets"]).abs().max() <= 1
    loss = CONTINUOUS.loss("concordance")(model(batch), batch.targets, batch.lengths["targets"])
    assert training.mean_loss(concordance_loss, said, fold.train) == pytest.approx(loss.item(), abs=1e-5)


def test_only_recordings_with_labels_have_a_target(recordings, tmp_path):
    chosen = CONTINUOUS.select(recordings)
    assert [one.id for one in recordings if one not in chosen.recordings] == ["test_15"]
    assert CONTINUOUS.of(chosen) == CONTINUOUS
    one = chosen.recordings[0]
    assert CONTINUOUS.target(one).dtype == np.float32 and CONTINUOUS.target(one).shape == one.labels.shape
    for wrong in (np.zeros((5, 2)), np.zeros(5), np.zeros((0, 3))):
        with pytest.raises(ValueError, match=r"expected labels of shape \(frames, 3\), at least one frame; found"):
            CONTINUOUS.target(replace(one, labels=wrong))
    silent = replace(recordings, recordings=[replace(r, labels=None) for r in recordings])
    with pytest.raises(ValueError, match="none of 16 recordings has labels"):
        CONTINUOUS.select(silent)
    with pytest.raises(ValueError, match="none of 0 recordings has labels"):
        CONTINUOUS.select(Corpus("toy", tmp_path, utterances(tmp_path, EMOTIONS, 4)))


def test_recordings_have_no_classes(recordings):
    with pytest.raises(ValueError, match="none of 0 utterances is angry, happy, neutral, sad or excited"):
        runs.plan("yoon2018", "tre", recordings)
    with pytest.raises(ValueError, match="none of 0 utterances is bored"):
        CLASSES.select(replace(recordings, classes=("bored",)))


def test_a_dataset_of_curves_is_selected_and_batched_with_its_targets():
    curves = [np.full((n, 3), n, "f4") for n in (4, 2, 5)]
    data = Dataset.build(["a", "b", "c"], curves, {"x": {i: np.ones((3, 1), "f4") for i in "abc"}})
    batch = data.select(["c", "b"]).batch(torch.tensor([0, 1]))
    assert batch.lengths["targets"].tolist() == [5, 2]
    assert batch.targets[0, :, 0].tolist() == [5] * 5 and batch.targets[1, :, 0].tolist() == [2, 2, 0, 0, 0]


# Published partitions


def of(corpus: Corpus, *parts: str) -> list[str]:
    return [one.id for one in corpus if one.partition in parts and one.labels is not None]


def test_partitions_are_as_published_and_recordings_without_labels_are_in_none(recordings):
    for seed in (0, 5):
        expected = Split("partitions", of(recordings, "train"), of(recordings, "devel"), of(recordings, "test"))
        assert PROTOCOLS["partitions"](recordings, seed=seed) == [expected]
    assert "test_15" not in expected.test and len(expected.test) == 4


def test_where_the_test_is_withheld_devel_is_tested_and_the_last_of_train_tune(recordings):
    withheld = [replace(one, labels=None) if one.partition == "test" else one for one in recordings]
    (split,) = PROTOCOLS["partitions"](replace(recordings, recordings=withheld))
    train = of(recordings, "train")
    assert split == Split("partitions", train[:-1], train[-1:], of(recordings, "devel"))  # a fifth of eight is one
    assert PROTOCOLS["partitions"](CONTINUOUS.select(replace(recordings, recordings=withheld))) == [split]


def test_a_corpus_without_partitions_is_told_why(recordings, tmp_path):
    with pytest.raises(ValueError, match=r"as train and as test or devel; corpus toy has 0, 0 and 0"):
        PROTOCOLS["partitions"](Corpus("toy", tmp_path, utterances(tmp_path, EMOTIONS, 4)))
    for parts, found in ((("train",), "8 and 0"), (("devel", "test"), "0 and 3")):
        part = recordings.select(of(recordings, *parts))
        with pytest.raises(ValueError, match=f"at least two recordings.* corpus toy has {found}"):
            PROTOCOLS["partitions"](part)


def test_random_folds_are_of_recordings_too(recordings):
    splits = PROTOCOLS["random-folds"](recordings)
    assert sorted(id for split in splits for id in split.dev + split.test) == [one.id for one in recordings]
