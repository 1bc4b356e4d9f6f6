"""Runs: what is learnt, when it stops, what follows from the seed, what is kept and what is read again."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from serlib import results, training
from serlib.batching import Dataset
from serlib.corpora.corpus import EMOTIONS, Corpus, Utterance
from serlib.determinism import seed_everything
from serlib.features import UNK
from serlib.models.system import Settings
from serlib.models.yoon2018 import SYSTEMS
from serlib.protocols import PROTOCOLS

WORDS = {"angry": "furious", "happy": "lovely", "neutral": "table", "sad": "lonely"}
TINY = {
    "epochs": 6,
    "batch_size": 16,
    "learning_rate": 0.01,
    "frame_stride": 1,
    "folds": 2,
    "seeds": 1,
    "model": {"hidden": 8},
}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """160 utterances that say their emotion, spoken by ten speakers in five sessions."""
    made = []
    for number in range(160):
        speaker = f"Ses0{number % 5 + 1}{'FM'[number // 5 % 2]}"
        emotion = EMOTIONS[number % 4]
        audio = tmp_path / f"{number}.wav"
        audio.write_bytes(bytes([number]))
        made.append(
            Utterance(
                id=f"{speaker}_impro{number // 40:02}_{number:03}",
                speaker=speaker,
                session=speaker[:5],
                dialogue=f"{speaker}_impro{number // 40:02}",
                scripted=False,
                emotion=emotion,
                dimensions=None,
                text=f"the {WORDS[emotion]} {number % 7}" if number % 10 else "",
                audio=audio,
                duration=1.0,
            )
        )
    return Corpus("made-up", tmp_path, made)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Features at a glance: the mean of three dimensions says the emotion; returns the names asked for."""
    asked = []

    def extract(corpus: Corpus, name: str, *, cache=None, progress=True) -> dict[str, np.ndarray]:
        asked.append(name)
        table = {}
        for u in corpus:
            rng = np.random.default_rng(int(u.id[-3:]))
            shape = (int(rng.integers(3, 9)), 39) if name == "mfcc" else (35,)
            table[u.id] = rng.normal(EMOTIONS.index(u.emotion) - 1.5, 1.0, shape).astype("f4")
        return table

    monkeypatch.setattr(training, "extract", extract)
    return asked


def run(corpus: Corpus, system: str = "tre", **options):
    options["overrides"] = {**TINY, **options.get("overrides", {})}
    return training.run("yoon2018", system, corpus, progress=False, device="cpu", **({"jobs": 1} | options))


class Falling(nn.Module):
    """A model whose development loss is what the test says; counts the updates between."""

    def __init__(self, dev_losses: list[float]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.dev_losses, self.looks, self.weights = iter(dev_losses), 0, []

    def forward(self, batch):
        if self.training:
            return batch["prosody"][:, :4] * 0 + self.weight
        self.looks += 1
        self.weights.append(self.weight.tolist())
        other = torch.tensor(next(self.dev_losses)).expm1().log()  # so that -log softmax is the loss asked for
        return functional.one_hot(batch.labels, 2) * -other


def numbers(count: int, classes: int = 4) -> Dataset:
    ids = [f"u{row}" for row in range(count)]
    rng = np.random.default_rng(0)
    labels = [row % classes for row in range(count)]
    return Dataset.build(ids, labels, {"prosody": {i: rng.normal(size=4).astype("f4") for i in ids}})


# Stopping


def test_stops_after_patience_looks_and_restores_the_best_weights():
    losses = [0.9, 0.5, 0.7, 0.4, 0.6, 0.4, 0.5, 0.45, 0.1]
    model = Falling(losses)
    settings = Settings(epochs=100, batch_size=4, check_every=0.5, patience=4, learning_rate=0.1)
    fit = training.fit(model, numbers(40), numbers(6, classes=1), settings, seed=0, progress=False)
    # an epoch is ten updates, with a look every five; the fourth look is the best, four more are not lower
    assert [look["step"] for look in fit.history] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert [round(look["dev_loss"], 5) for look in fit.history] == losses[:8]
    assert (fit.steps, fit.best_step) == (40, 20)
    assert model.weight.tolist() == model.weights[3] != model.weights[-1]


@pytest.mark.parametrize(("epochs", "max_steps", "steps"), [(3, None, 30), (100, 12, 12)])
def test_stops_when_the_budget_is_spent_with_a_last_look(epochs, max_steps, steps):
    settings = Settings(epochs=epochs, max_steps=max_steps, batch_size=4, check_every=0.8)
    model = Falling([1 / look for look in range(1, 20)])
    fit = training.fit(model, numbers(40), numbers(6, classes=1), settings, seed=0, progress=False)
    assert fit.steps == fit.best_step == fit.history[-1]["step"] == steps
    assert model.looks == len(fit.history) == -(-steps // 8)


def test_training_loss_is_the_mean_since_the_look_before():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            return batch["prosody"] + 0 * self.weight

    data = numbers(40)
    settings = Settings(epochs=1, batch_size=4, check_every=1.0)
    fit = training.fit(Constant(), data, data, settings, seed=0, progress=False)
    loss = functional.cross_entropy(data.vectors["prosody"], data.labels).item()
    assert fit.history == [{"step": 10, "train_loss": pytest.approx(loss), "dev_loss": pytest.approx(loss)}]


def test_gradients_are_clipped_element_by_element():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def forward(self, batch):
            slope = torch.tensor([1e4, 1.0])
            return functional.one_hot(batch.labels, 4) * -(self.weight * slope).sum()

    seen = []
    for clip in (10.0, None):
        model = Steep()
        settings = Settings(epochs=1, batch_size=4, check_every=1.0, clip_value=clip)
        training.fit(model, numbers(4), numbers(4), settings, seed=0, progress=False)
        seen.append(model.weight.grad.tolist())
    assert seen[0] == [10.0, pytest.approx(0.75)]
    assert seen[1] == [pytest.approx(7500), pytest.approx(0.75)]


# Losses


def test_losses_are_those_of_the_paper_and_of_its_code():
    logits, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, 1, 2])
    softmax = torch.stack([-(x[y].exp() / x.exp().sum()).log() for x, y in zip(logits, labels, strict=True)]).mean()
    torch.testing.assert_close(training.loss_function("softmax")(logits, labels), softmax)
    cells = []
    for x, y in zip(logits, labels, strict=True):
        for c in range(4):
            probability = 1 / (1 + (-x[c]).exp())
            cells.append(-probability.log() if c == y else -(1 - probability).log())
    torch.testing.assert_close(training.loss_function("sigmoid")(logits, labels), torch.stack(cells).mean())
    with pytest.raises(ValueError, match=r"settings\.loss is 'hinge'; expected softmax or sigmoid"):
        training.loss_function("hinge")


def test_a_loss_that_is_no_number_says_when_whose_and_why(corpus, made_up):
    with pytest.raises(
        FloatingPointError, match=r"^tre, fold .*, seed 0: the loss is (nan|inf) at update \d+\. Likely causes: "
    ):
        run(corpus, overrides={"learning_rate": 1e37, "clip_value": None})


# Runs


def test_a_run_learns_what_there_is_to_learn(corpus, made_up):
    text, audio = run(corpus, "tre"), run(corpus, "are", overrides={"epochs": 12})
    assert [(record.fold, record.seed) for record in text] == [(0, 0), (1, 0)]
    for record in text:
        assert record.metrics["ua"] > 0.6  # one utterance in ten says nothing
        assert record.sizes == {"train": 128, "dev": len(PROTOCOLS["random-folds"](corpus)[0].dev), "test": 24}
        assert record.parameters == 3 * (8 * 100 + 8 * 8 + 16) + 8 * 4 + 4 + 100 * vocabulary_size(corpus, record)
        assert np.sum(record.confusion) == record.sizes["test"] == len(record.predictions.ids)
        assert record.predictions.labels.tolist() == [
            EMOTIONS.index(corpus[id].emotion) for id in record.predictions.ids
        ]
        assert record.settings["model"]["hidden"] == 8
        assert record.settings["model"]["embedding"] == 100
        assert record.best_step <= record.steps
    assert made_up == ["mfcc", "prosody"]
    assert all(record.metrics["ua"] > 0.5 for record in audio)


def vocabulary_size(corpus: Corpus, record: results.Record) -> int:
    train = PROTOCOLS["random-folds"](corpus)[record.fold].train
    return 2 + len({word for id in train for word in corpus[id].text.split()})


def test_the_same_seed_gives_the_same_numbers_and_nothing_is_left_changed(corpus, made_up):
    before = (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.get_num_threads(),
    )
    first = run(corpus, "mdrea", folds=1, seeds=2)
    random.random(), np.random.random(), torch.rand(3)
    random.setstate(before[0])
    torch.random.set_rng_state(torch.tensor(before[2], dtype=torch.uint8))
    np.random.seed(5)
    middle = np.random.get_state()[1].tolist()
    second = run(corpus, "mdrea", folds=1, seeds=[1])
    assert np.random.get_state()[1].tolist() == middle
    assert np.array_equal(first[1].predictions.logits, second[0].predictions.logits)
    assert first[1].history == second[0].history
    assert first[1].key == second[0].key != first[0].key
    assert not np.array_equal(first[0].predictions.logits, first[1].predictions.logits)
    after = (
        random.getstate(),
        before[1],
        torch.random.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.get_num_threads(),
    )
    assert after == before


def test_runs_side_by_side_give_the_same_numbers(corpus, made_up, tmp_path):
    one = run(corpus, folds=2, seeds=2, overrides={"epochs": 2})
    two = run(corpus, folds=2, seeds=2, overrides={"epochs": 2}, jobs=2, results_dir=tmp_path)
    assert [(record.fold, record.seed) for record in two] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.predictions.logits, b.predictions.logits)
        assert replace(a, wall_time=0.0) == replace(b, wall_time=0.0)
    assert len(results.read(tmp_path)) == 4


def test_inside_a_run_algorithms_are_deterministic_on_one_thread():
    threads = torch.get_num_threads()
    with training.reproducible(3):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
        drawn = random.random(), np.random.random(), torch.rand(1).item()
    seed_everything(3)
    assert drawn == (random.random(), np.random.random(), torch.rand(1).item())
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_finished_records_are_read_and_an_interrupted_run_continues(corpus, made_up, tmp_path, monkeypatch):
    fit, calls = training.fit, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(training, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(corpus, results_dir=tmp_path / "results")
    (kept,) = results.read(tmp_path / "results")
    assert (kept.fold, kept.seed) == (0, 0)
    again = run(corpus, results_dir=tmp_path / "results")
    assert len(calls) == 3  # the second fold only
    assert again[0] == kept
    assert np.array_equal(again[0].predictions.logits, run(corpus, folds=1)[0].predictions.logits)
    calls[:] = [1, 1]
    run(corpus, results_dir=tmp_path / "results", overrides={"loss": "sigmoid"})
    assert len(calls) == 4  # other settings are another run


def test_what_the_result_depends_on_is_in_the_key(corpus, made_up):
    def key(**options) -> str:
        return run(
            options.pop("corpus", corpus), folds=1, overrides={"epochs": 1, **options.pop("more", {})}, **options
        )[0].key

    other = Corpus(corpus.name, corpus.root, [replace(u, text=u.text + " indeed") for u in corpus])
    vectors = {"the": np.zeros(100, "f4")}
    keys = [
        key(),
        key(corpus=other),
        key(vectors=vectors),
        key(vectors={"the": np.ones(100, "f4")}),
        key(protocol="leave-one-session-out"),
        key(more={"model": {"hidden": 9}}),
        key(more={"vocabulary": "corpus"}),
    ]
    assert len(set(keys)) == len(keys)
    assert key(vectors=vectors | {"never": np.ones(100, "f4")}) == keys[2]  # a word that the corpus does not have


# Folds


def test_statistics_and_words_come_from_the_training_part(corpus, made_up):
    split = PROTOCOLS["leave-one-session-out"](corpus, seed=0)[1]
    secret = Corpus(
        corpus.name, corpus.root, [replace(u, text="secret") if u.id in split.test[:3] else u for u in corpus]
    )
    system = SYSTEMS["mdre"]
    settings = training.settings_of(system, "quick", {"frame_stride": 1})
    fold = training.prepare(system, settings, secret, split)
    assert (fold.train.ids, fold.dev.ids, fold.test.ids) == (split.train, split.dev, split.test)
    assert "secret" not in fold.vocabulary.tokens
    assert fold.test.batch(torch.tensor([0]))["tokens"].tolist() == [[UNK]]
    frames = fold.train.sequences["mfcc"].steps()
    torch.testing.assert_close(frames.mean(0), torch.zeros(39), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0, correction=0), torch.ones(39), atol=1e-4, rtol=0)
    assert fold.test.sequences["mfcc"].steps().mean().abs() > 1e-4
    assert fold.inputs.dims == {"mfcc": 39, "prosody": 35}
    assert fold.inputs.vocabulary == len(fold.vocabulary)

    papers = replace(settings, vocabulary="corpus", standardise=False)
    fold = training.prepare(system, papers, secret, split)
    assert "secret" in fold.vocabulary.tokens
    assert fold.train.vectors["prosody"].std() > 1.2
    with pytest.raises(ValueError, match=r"settings\.vocabulary is 'world'; expected train or corpus"):
        training.prepare(system, replace(settings, vocabulary="world"), secret, split)
    with pytest.raises(ValueError, match="has nobody in its dev part"):
        training.prepare(system, settings, secret, replace(split, dev=[]))


def test_training_starts_from_the_vectors_given(corpus, made_up):
    split = PROTOCOLS["random-folds"](corpus)[0]
    settings = training.settings_of(SYSTEMS["tre"], "quick", {"epochs": 1, "learning_rate": 1e-9})
    vectors = {"furious": np.full(100, 3, "f4")}
    fold = training.prepare(SYSTEMS["tre"], settings, corpus, split, vectors=vectors)
    model, _ = training.train(fold, seed=0, progress=False)
    row = model.text.embedding.weight[fold.vocabulary.tokens.index("furious")]
    torch.testing.assert_close(row, torch.full((100,), 3.0))


def test_predict_keeps_the_order_and_the_mode(monkeypatch):
    class Echo(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            assert not self.training
            return batch["prosody"]

    data, model = numbers(10), Echo().train()
    monkeypatch.setattr(training, "PREDICT_BATCH", 3)
    assert torch.equal(training.predict(model, data), data.vectors["prosody"])
    assert torch.equal(training.predict(model, data, ["u7", "u2"]), data.vectors["prosody"][[7, 2]])
    assert model.training


# Names and numbers that do not exist


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "bert"}, "yoon2018 has no system 'bert'; expected one of are, tre"),
        ({"profile": "slow"}, "tre has no profile 'slow'; expected one of quick, paper"),
        ({"protocol": "none"}, "no protocol is called 'none'; expected one of random-folds"),
        ({"folds": [0, 5]}, "random-folds has folds 0 to 4 on this corpus"),
        ({"seeds": 0}, "folds and seeds are a positive number or a list of different numbers, not 0"),
        ({"seeds": [1, 1]}, "list of different numbers"),
        ({"overrides": {"hidden": 5}}, "no setting is called hidden; expected some of epochs, max_steps"),
    ],
)
def test_unknown_names_are_told_the_known_ones(corpus, made_up, options, message):
    with pytest.raises(ValueError, match=message):
        run(corpus, **options)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert training.find_device("auto") == training.find_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device is 'cuda', but torch .* finds no GPU; take auto or cpu"):
        training.find_device("cuda")
    with pytest.raises(ValueError, match="device is 'tpu'; expected auto, cpu or cuda"):
        training.find_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training.find_device("auto") == torch.device("cuda")


def test_a_corpus_without_the_four_classes_says_so(corpus):
    surprised = Corpus(corpus.name, corpus.root, [replace(u, emotion="surprised") for u in corpus])
    with pytest.raises(ValueError, match="none of 160 utterances is angry, happy, neutral, sad or excited"):
        run(surprised)


# With a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_run_is_repeatable_and_near_the_cpu_run(corpus, made_up):
    def once(device):
        settings = {**TINY, "model": {"hidden": 8, "dropout_audio": 0.0, "dropout_text": 0.0}}
        return training.run("yoon2018", "mdrea", corpus, progress=False, device=device, folds=1, overrides=settings)[
            0
        ].predictions.logits

    assert np.array_equal(once("cuda"), once("cuda"))
    assert np.allclose(once("cuda"), once("cpu"), atol=0.05)


# On speech


def test_all_the_way_from_waveforms_and_recognised_text(synthetic, tmp_path):
    options = {"epochs": 2, "batch_size": 32, "frame_stride": 8, "model": {"hidden": 8}}
    (record,) = training.run(
        "yoon2018",
        "mdrea-asr",
        synthetic,
        jobs=1,
        protocol="leave-one-session-out",
        device="cpu",
        folds=1,
        seeds=1,
        progress=False,
        overrides=options,
        results_dir=tmp_path,
    )
    assert record.synthetic
    assert record.settings["transcripts"] == "asr-5.53"
    assert sum(record.sizes.values()) == len(synthetic)
    assert 0 < record.metrics["loss"] < 3
    assert os.listdir(tmp_path) == ["yoon2018"]
