"""Semantic and paralinguistic features: equations against loops, the whole against its parts, sizes by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from data_scripts.make_conversations import make
from serlib import corpora, inputs, results, runs, tables, training
from serlib.batching import Batch, Dataset
from serlib.corpora.corpus import Corpus
from serlib.determinism import reproducible
from serlib.inputs import Source
from serlib.models import convolution, tzirakis2021
from serlib.models.convolution import Paralinguistic, Pooled
from serlib.models.tzirakis2021 import (
    RELEASED,
    SYSTEMS,
    VARIANTS,
    Attention,
    Disentangled,
    PeepholeLSTM,
    SemanticSER,
)
from serlib.settings import Sizes
from serlib.tasks import CONTINUOUS, concordance_loss

CODE = RELEASED["model"]
SMALL = {"filters": (4, 6), "pools": (5, 2, 2), "size": 12, "hidden": 7}
SAMPLES, DIMS = 44, 5  # 2.2 frames of 20 samples in a label
LABELS = (23, 9, 40, 1)
STILL = {"dropout": 0.0, "dropout_dense": 0.0, "dropout_lstm": 0.0}
KINDS = {
    "both": {},
    "side by side": {"fusion": "concat"},
    "strided": {"stride": 2, "pools": (5, 2, 2)},
    "as the code": CODE | {"filters": (4, 5)},  # 44 samples, 20 a frame, 10 numbers: 22 a label
}


def dataset(samples: int = SAMPLES) -> Dataset:
    random = np.random.default_rng(0)
    ids = [f"r{row}" for row in range(len(LABELS))]
    made = {"semantic": {}, "sound": {}}
    for id, n in zip(ids, LABELS, strict=True):
        made["semantic"][id] = random.normal(size=(n, DIMS)).astype("f4")
        made["sound"][id] = random.integers(-20_000, 20_000, (n, samples)).astype(np.int16)
    targets = [random.uniform(-1, 1, (n, 3)).astype("f4").cumsum(0) / 5 for n in LABELS]
    return Dataset.build(ids, targets, made)


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def build(options: dict, dims: dict[str, int] | None = None) -> SemanticSER:
    sizes = Sizes({"semantic": DIMS, "sound": SAMPLES} if dims is None else dims, outputs=3)
    torch.manual_seed(0)
    model = SemanticSER(sizes, **SMALL | options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def each_kind(function):
    return pytest.mark.parametrize("options", list(KINDS.values()), ids=list(KINDS))(function)


# Equations, literally


def dot(one: Tensor, other: Tensor) -> Tensor:
    return sum(a * b for a, b in zip(one, other, strict=True))


def attended(query: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Equation (5)."""
    scores = [dot(x, query) / math.sqrt(len(query)) for x in (first, second)]
    alphas = [torch.exp(score) / sum(torch.exp(s) for s in scores) for score in scores]
    return alphas[0] * first + alphas[1] * second


@pytest.mark.parametrize(("dense", "activation"), [(1.0, "linear"), (0.5, "relu")])
def test_equations_4_to_7_are_the_ones_written_out(dense, activation) -> None:
    torch.manual_seed(0)
    net = Disentangled(3, 4, 6, dense, activation, dropout=0.5).eval()
    x_s, x_p = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    fused, weights = net(x_s, x_p)
    assert fused.shape == (2, 5, round(6 * dense))

    def linear(layer: nn.Sequential, x: Tensor) -> Tensor:
        y = torch.stack([dot(row, x) + b for row, b in zip(layer[0].weight, layer[0].bias, strict=True)])
        return y.clamp(min=0) if activation == "relu" else y

    for row in range(2):
        for label in range(5):
            s, p = linear(net.project_s, x_s[row, label]), linear(net.project_p, x_p[row, label])  # (4)
            x_sp = attended(net.modalities.query, s, p)
            a, v, l = (linear(one, x_sp) for one in (net.arousal, net.valence, net.liking))  # (6)  # noqa: E741
            expected = attended(net.second.query, attended(net.first.query, a, l), v)  # (7)
            torch.testing.assert_close(fused[row, label], expected)
    assert list(weights) == ["semantic, paralinguistic", "a, l", "z, v"]
    for one in weights.values():
        torch.testing.assert_close(one.sum(-1), torch.ones(2, 5))
        assert one.std() > 1e-3


def test_the_loss_of_equation_8_and_that_of_the_code() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 11, 3)), random.normal(1, 2, (2, 11, 3))
    lengths = [11, 4]
    losses = []
    for d in range(3):
        a, b = (np.concatenate([one[0, :11, d], one[1, :4, d]]) for one in (x, y))
        covariance = sum((i - a.mean()) * (j - b.mean()) for i, j in zip(a, b, strict=True)) / len(a)
        losses.append(1 - 2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    what = torch.tensor(y), torch.tensor(x), torch.tensor(lengths)
    assert CONTINUOUS.loss("concordance")(*what).item() == pytest.approx(sum(losses) / 3)
    assert CONTINUOUS.loss("divided")(*what).item() == pytest.approx(losses[0] + losses[1] / 2 + losses[2] / 3)


def test_peepholes_are_the_ones_written_out() -> None:
    torch.manual_seed(0)
    lstm, x = PeepholeLSTM(3, 2), torch.randn(1, 4, 3)
    wi, wf, wg, wo = lstm.inputs.weight.chunk(4)
    bi, bf, bg, bo = lstm.inputs.bias.chunk(4)
    ui, uf, ug, uo = lstm.states.weight.chunk(4)
    pi, pf, po = lstm.peepholes
    h = c = torch.zeros(2)
    for t in range(4):
        i = torch.sigmoid(wi @ x[0, t] + ui @ h + pi * c + bi)
        f = torch.sigmoid(wf @ x[0, t] + uf @ h + pf * c + bf)
        c = f * c + i * torch.tanh(wg @ x[0, t] + ug @ h + bg)
        h = torch.sigmoid(wo @ x[0, t] + uo @ h + po * c + bo) * torch.tanh(c)
        torch.testing.assert_close(lstm(x)[0][0, t], h)
    with torch.no_grad():
        lstm.peepholes.zero_()
    plain = nn.LSTM(3, 2, batch_first=True)
    plain.load_state_dict({
        "weight_ih_l0": lstm.inputs.weight, "weight_hh_l0": lstm.states.weight,
        "bias_ih_l0": lstm.inputs.bias, "bias_hh_l0": torch.zeros(8),
    })  # fmt: skip
    torch.testing.assert_close(lstm(x)[0], plain(x)[0])


# Convolutions


def table_1(net: Paralinguistic, samples: Tensor) -> Tensor:
    """Table 1 on (samples,) of one recording, layer by layer, (frames, filters)."""
    x = functional.pad(samples / 32768, (0, -len(samples) % net.frame))[None, None]
    for layer, pool, kernel in zip(net.convolutions, net.pools, (8, 6, 6), strict=True):
        before = (kernel - 1) // 2
        x = functional.conv1d(functional.pad(x, (before, kernel - 1 - before)), layer.weight, layer.bias, layer.stride)
        x = functional.max_pool1d(x.relu(), pool)
    return x[0].T


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_rows_are_means_of_the_frames_of_table_1(stride, training_mode) -> None:
    torch.manual_seed(0)
    net = Paralinguistic(SAMPLES, (4, 6, 6), (5, 2, 2), stride, 0.0, "mean").train(training_mode)
    batch = whole(dataset())
    found = net(batch["sound"], batch.lengths["sound"])
    for row, labels in enumerate(LABELS):
        frames = table_1(net, batch["sound"][row, :labels].flatten())
        middles = (np.arange(len(frames)) + 0.5) * 20 * stride
        for label in range(labels):
            inside = (middles >= label * SAMPLES) & (middles < (label + 1) * SAMPLES)
            expected = frames[torch.from_numpy(inside)].mean(0)
            torch.testing.assert_close(found[row, label], expected)


def test_rows_of_the_code_are_all_numbers_cut_evenly() -> None:
    torch.manual_seed(0)
    net = Paralinguistic(SAMPLES, (4, 5, 10), (5, 2, 2), 1, 0.0, "reshape")
    batch = whole(dataset())
    assert net.size == 22
    found = net(batch["sound"], batch.lengths["sound"])
    numbers = table_1(net, batch["sound"][2].flatten()).flatten()  # 88 frames of 10 are 40 rows of 22
    torch.testing.assert_close(found[2], numbers.view(40, 22))


@pytest.mark.parametrize(("batch", "pools", "pool"), [(1, 1, 1), (2, 700, 5), (3, 1030, 10)])
def test_maxima_of_pools_alone_have_the_values_and_gradients_of_all_steps(batch, pools, pool) -> None:
    torch.manual_seed(0)
    waves, weight, bias = torch.randn(batch, pools * pool + 7), torch.randn(6, 1, 8), torch.randn(6)
    ways = {
        "maxima": lambda w, b: Pooled.apply(waves, w, b, pool),
        "all": lambda w, b: functional.max_pool1d(functional.conv1d(waves[:, None], w, b), pool),
    }
    found, gradients = [], []
    for way in ways.values():
        own = [one.clone().requires_grad_() for one in (weight, bias)]
        found.append(way(*own))
        (found[-1] * torch.linspace(-1, 1, found[-1].numel()).view_as(found[-1])).sum().backward()
        gradients.append([one.grad for one in own])
    torch.testing.assert_close(*found)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 3, 7, 88])
def test_chunks_give_what_the_whole_gives(chunk, monkeypatch) -> None:
    torch.manual_seed(0)
    net, batch = Paralinguistic(SAMPLES, (4, 6, 6), (5, 2, 2), 1, 0.0, "mean"), whole(dataset())
    at_once = net.train()(batch["sound"], batch.lengths["sound"])
    monkeypatch.setattr(convolution, "CHUNK", chunk)
    in_chunks = net.eval()(batch["sound"], batch.lengths["sound"])
    for row, labels in enumerate(LABELS):
        torch.testing.assert_close(in_chunks[row, :labels], at_once[row, :labels])


def test_the_context_of_the_papers_sizes_is_one_frame_and_is_needed() -> None:
    net = Paralinguistic(2_205, (50, 125, 125), (10, 5, 5), 1, 0.0, "mean")
    assert (net.frame, net.context) == (250, 1)  # 4 + 3 * 10 + 3 * 50 samples to the right
    assert Paralinguistic(4_410, (50, 125, 250), (10, 5, 5), 1, 0.0, "reshape").size == 4_410  # as in the code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((19, (4, 6, 6), (5, 2, 2), 1, 0.0, "mean"), "one frame of 20 samples, and a label has only 19"),
        ((44, (4, 6, 6), (5, 2, 2), 1, 0.0, "reshape"), "44 samples a label, 20 a frame, 6 numbers a frame"),
        ((44, (4, 6, 6), (5, 2, 2), 1, 0.0, "round"), "rows is 'round'; expected one of mean, reshape"),
    ],
)
def test_what_makes_no_rows_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Paralinguistic(*arguments)


# The whole


@each_kind
@pytest.mark.parametrize("mode", [True, False])
def test_padding_changes_nothing(options, mode) -> None:
    model, data = build(options | STILL).train(mode), dataset()
    batch = whole(data)
    together = model(batch)
    assert together.shape == (4, 40, 3) and torch.isfinite(together).all()
    for row, labels in enumerate(LABELS):
        alone = model(data.batch(torch.tensor([row])))
        assert alone.shape == (1, labels, 3)
        torch.testing.assert_close(together[row, :labels], alone[0], rtol=1e-4, atol=1e-5)
    assert together[0, :20].std(0).min() > 1e-4


@each_kind
def test_a_gradient_reaches_every_parameter(options) -> None:
    model, batch = build(options).train(), whole(dataset())
    with reproducible(0):
        concordance_loss(model(batch), batch.targets, batch.lengths["targets"]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and 1e-10 < parameter.grad.abs().max() < torch.inf, name


@each_kind
def test_it_can_overfit_a_few_recordings(options) -> None:
    model, batch = build(options | STILL | {"hidden": 24}).train(), whole(dataset())
    batch = replace(batch, targets=batch.targets / batch.targets.abs().max())  # within reach of tanh
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    with reproducible(0):
        for _ in range(200):
            loss = concordance_loss(model(batch), batch.targets, batch.lengths["targets"])
            if loss < 0.1:
                break
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert loss < 0.1


def test_attention_is_kept_when_asked_for() -> None:
    model, batch = build({}), whole(dataset())
    model(batch)
    assert model.attention == {}
    model.keep_attention = True
    model(batch)
    assert {name: tuple(one.shape) for name, one in model.attention.items()} == dict.fromkeys(
        ("semantic, paralinguistic", "a, l", "z, v"), (4, 40, 2)
    )


def test_the_code_bounds_its_curves_and_the_paper_does_not() -> None:
    batch = whole(dataset())
    for bounded in (True, False):
        model = build({"bounded": bounded})
        with torch.no_grad():
            model.output.bias.fill_(3.0)
        assert (model(batch).abs().max() <= 1) == bounded


@pytest.mark.parametrize("option", ["fusion", "rows", "activation", "cell"])
def test_an_unknown_option_names_the_known_ones(option) -> None:
    with pytest.raises(ValueError, match=f"{option} is 'round'; expected one of"):
        build({option: "round"})


# Sizes


def test_parameter_counts_are_those_of_a_hand_calculation() -> None:
    sound = (8 * 50 + 50) + (50 * 6 * 125 + 125) + (125 * 6 * 125 + 125)
    assert sound == 131_950

    def tail(inputs: int) -> int:  # four gates, two biases; three curves
        return 4 * (inputs * 256 + 256 * 256 + 2 * 256) + (256 * 3 + 3)

    projections = (100 * 1_024 + 1_024) + (125 * 1_024 + 1_024)
    attention = projections + 1_024 + 3 * (1_024 * 1_024 + 1_024) + 2 * 1_024
    counts = {
        "word2vec": tail(100),
        "speech2vec": tail(100),
        "aligned-speech2vec": tail(100),
        "paralinguistic": sound + tail(125),
        "concat": sound + tail(225),
        "attention": sound + attention + tail(1_024),
    }
    for name, count in counts.items():
        settings = runs.settings_of(SYSTEMS[name], "paper")
        dims = {"semantic": 100, "sound": 2_205}
        sizes = Sizes({one: dims[one] for one in SYSTEMS[name].inputs}, outputs=3)
        assert training.parameters(SYSTEMS[name].build(sizes, **settings.model)) == count

    settings = runs.settings_of(SYSTEMS["attention"], "paper", RELEASED)
    wider = (8 * 50 + 50) + (50 * 6 * 125 + 125) + (125 * 6 * 250 + 250)
    code = wider + (100 * 1_024 + 1_024) + (4_410 * 1_024 + 1_024) + 1_024 + 3 * (1_024 * 512 + 512) + 2 * 512
    code += 4 * (512 * 256 + 256 * 256 + 256) + 3 * 256 + (256 * 3 + 3)  # one bias, three peepholes
    sizes = Sizes({"semantic": 100, "sound": 4_410}, outputs=3)
    assert training.parameters(SYSTEMS["attention"].build(sizes, **settings.model)) == code


def test_the_settings_are_the_papers_and_its_codes() -> None:
    assert list(SYSTEMS) == ["word2vec", "speech2vec", "aligned-speech2vec", "paralinguistic", "concat", "attention"]
    for system in SYSTEMS.values():
        paper = system.settings["paper"]
        assert (paper.learning_rate, paper.batch_size, paper.sequence, paper.clip_norm) == (1e-4, 25, 300, 5.0)
        assert (system.protocol, paper.loss, paper.clip_value) == ("partitions", "concordance", None)
        assert paper.inputs["rate"] == 22_050
    code = runs.settings_of(SYSTEMS["attention"], "paper", RELEASED)
    assert (code.learning_rate, code.batch_size, code.sequence, code.clip_norm) == (5e-4, 5, 100, None)
    assert (code.loss, code.inputs["channels"], code.inputs["rate"]) == ("divided", "two", 22_050)


# From a corpus to records


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    root = tmp_path_factory.mktemp("conversations") / "corpus"
    make(root, subjects=6, seconds=20.0, jobs=1, progress=False)
    return corpora.load("conversations", root, progress=False)


TINY = {
    "max_steps": 2,
    "inputs": {"dims": 6, "seeds": 1, "speech2vec": {"epochs": 1, "min_count": 2}, "way": {"epochs": 1}},
    "model": {"filters": (4, 6), "hidden": 6, "size": 8},
}


def planned(corpus: Corpus, system: str, variant: str = "") -> runs.Run:
    tiny = TINY | {"inputs": TINY["inputs"] | {"way": {"stall": 1} if variant == "self-learning" else {}}}
    if variant != "self-learning":
        tiny["inputs"]["way"] = vars(replace(tzirakis2021.adversarial.QUICK, hidden=8, epochs=1, epoch_steps=3))
    how = {"variant": variant, "overrides": tiny, "seeds": 1, "device": "cpu"}
    (run,) = runs.plan("tzirakis2021", system, corpus, **how)
    return run


def test_every_system_goes_from_a_corpus_to_a_record(conversations, tmp_path: Path) -> None:
    for name in SYSTEMS:
        run = planned(conversations, name)
        (record,) = runs.make([run], conversations, results_dir=tmp_path, jobs=1, progress=False)
        assert (record.task, record.steps, record.sizes) == ("continuous", 2, {"train": 2, "dev": 2, "test": 2})
        tested = [conversations[id] for id in run.split.test]
        assert record.predictions.lengths.tolist() == [len(one.labels) for one in tested]
        assert np.isfinite(record.predictions.outputs).all()
        assert set(record.settings) >= {"sequence", "clip_norm", "inputs"}
    assert len(results.read(tmp_path)) == len(SYSTEMS)


def test_tables_compare_curves_for_other_recordings_and_trainings(conversations) -> None:
    plan = [planned(conversations, name) for name in ("word2vec", "speech2vec")]
    plan = [replace(run, seed=seed, device="cpu") for run in plan for seed in range(5)]
    made = runs.make(plan, conversations, jobs=1, progress=False)
    gap, p = tables.clustered(*tables.by_system(made).values(), "valence")
    assert math.isnan(gap.low) and math.isnan(p)  # two recordings tell nothing of others
    first, second = tables.scores(made, "valence")["estimate"]
    assert gap.estimate == pytest.approx(first - second)
    best = tables.lines(conversations, "devel", "valence, each")
    assert list(best) == ["text", "voice", "both", "both, not shifted"]
    assert best["both"] == corpora.conversations.read_ceilings(conversations.root)["devel"]["both"]["each"]["valence"]
    assert tables.lines(conversations, "test", "ccc")["text"] > 0


def test_every_variant_makes_an_update_and_is_a_run_of_its_own(conversations) -> None:
    source = Source(conversations)
    usual = {name: planned(conversations, name) for name in SYSTEMS}
    keys = {run.key for run in usual.values()}
    for name, variant in VARIANTS.items():
        run = planned(conversations, variant.system, name)
        keys.add(run.key)
        fold = runs.prepare(run, source)
        losses = runs.opening(fold, 0)
        assert np.isfinite(losses).all() and len(losses) == 4, name
    assert len(keys) == len(SYSTEMS) + len(VARIANTS)


def test_training_sees_sequences_and_everybody_else_whole_recordings(conversations) -> None:
    run = planned(conversations, "paralinguistic")
    fold = runs.prepare(run, conversations)
    assert run.settings.sequence == 100
    lengths = {id: len(conversations[id].labels) for id in run.split.train}
    expected = [f"{id}[{a}:{min(a + 100, n)}]" for id, n in lengths.items() for a in range(0, n, 100)]
    assert fold.train.ids == expected and (fold.dev.ids, fold.test.ids) == (run.split.dev, run.split.test)
    first = run.split.train[0]
    batch = fold.train.batch(torch.tensor([1]))
    np.testing.assert_array_equal(batch.targets[0], conversations[first].labels[100 : lengths[first]][:100])
    assert batch["sound"].shape[1:] == (batch.targets.shape[1], 800)


def test_the_same_run_twice_is_the_same(conversations) -> None:
    run = planned(conversations, "attention")
    outputs = []
    for _ in range(2):
        model, _ = runs.train(runs.prepare(run, conversations), 0, False)
        outputs.append(training.predict(model, runs.prepare(run, conversations).test).flat)
    torch.testing.assert_close(*outputs, rtol=0, atol=0)


def test_the_features_that_a_run_depends_on_are_named() -> None:
    named = {name: inputs.features_of(system.inputs.values()) for name, system in SYSTEMS.items()}
    assert named["word2vec"] == named["paralinguistic"] == [] and named["attention"] == ["mfcc"]


def test_attention_of_equal_vectors_is_the_vector() -> None:
    x = torch.randn(3, 4)
    torch.testing.assert_close(Attention(4)(x, x)[0], x)
