"""The systems of xu2019: equations against slow transcriptions, sizes by hand, alignments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from serlib import inputs, models, runs
from serlib.batching import Batch, Dataset
from serlib.corpora.corpus import Corpus, Segment, Utterance
from serlib.models import xu2019
from serlib.models.layers import BiLSTM
from serlib.models.xu2019 import SYSTEMS, Aligned, Concat, Hard, HiddenScore, Learned, LinearScore, Speech, Text
from serlib.protocols import Split
from serlib.settings import Sizes
from serlib.tasks import CLASSES

SIZES = Sizes({"short_term": 34, "spans": 2}, vocabulary=20)
FRAMES, WORDS = (9, 4, 1, 12), (3, 5, 1, 2)
AUDIO, TEXT = {"hidden": 6}, {"hidden": 6, "embedding": 5}
CASES = [
    (Speech, AUDIO),
    (Speech, {**AUDIO, "pooling": "mean", "relu": True}),
    (Text, TEXT),
    (Text, {**TEXT, "pooling": "max"}),
    (Concat, TEXT),
    (Concat, {**TEXT, "pooling": "max", "relu": True}),
    (Hard, TEXT),
    (Aligned, {**TEXT, "heads": 3}),
    (Aligned, {**TEXT, "heads": 1, "relu": True}),
    (Aligned, {**TEXT, "heads": 3, "relu": "layer"}),
    (Aligned, {**TEXT, "heads": 3, "units": 7, "score": "hidden"}),
]
LIST = ["speech", "text", "concat", "hard", "aligned"]


def dataset(frames=FRAMES, words=WORDS, vocabulary: int = 20) -> Dataset:
    random = np.random.default_rng(0)
    ids = [f"u{row}" for row in range(len(frames))]
    spans = {}
    for id, n, m in zip(ids, frames, words, strict=True):
        edges = np.sort(random.integers(0, n + 1, 2 * m)).reshape(m, 2)
        spans[id] = np.where(edges[:, 1:] > edges[:, :1], edges, 0)  # some words have no frame
    return Dataset.build(
        ids,
        [row % 4 for row in range(len(ids))],
        {
            "short_term": {i: random.normal(size=(n, 34)).astype("f4") for i, n in zip(ids, frames, strict=True)},
            "tokens": {i: random.integers(2, vocabulary, n) for i, n in zip(ids, words, strict=True)},
            "spans": spans,
        },
    )


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def trained_a_little(model: nn.Module) -> nn.Module:
    """Random numbers in every parameter, the biases too, so that none of them can hide."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.4)
    return model.eval()


def size_of(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Equations, literally


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def lstm(layer: nn.LSTM, sequence: list[Tensor]) -> list[Tensor]:
    """One LSTM step by step: input gate i, forget gate f, candidate g, output gate o, as PyTorch stacks them."""
    n = layer.hidden_size
    h, c, states = torch.zeros(n), torch.zeros(n), []
    for x in sequence:
        sums = layer.weight_ih_l0 @ x + layer.bias_ih_l0 + layer.weight_hh_l0 @ h + layer.bias_hh_l0
        i, f, g, o = sums[:n], sums[n : 2 * n], sums[2 * n : 3 * n], sums[3 * n :]
        c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
        h = sigmoid(o) * torch.tanh(c)
        states.append(h)
    return states


def bilstm(layer: BiLSTM, sequence: list[Tensor]) -> list[Tensor]:
    """(1) to (3): the backward LSTM reads the sequence from its end, so its state N - i + 1 stands at place i."""
    n = len(sequence)
    forwards, backwards = lstm(layer.forwards, sequence), lstm(layer.backwards, sequence[::-1])
    return [torch.cat([forwards[i - 1], backwards[n - i + 1 - 1]]) for i in range(1, n + 1)]


def softmax(scores: list[Tensor]) -> list[Tensor]:
    total = sum(torch.exp(score) for score in scores)
    return [torch.exp(score) / total for score in scores]


def pooled(layer: nn.Module, states: list[Tensor]) -> Tensor:
    if layer.pooling == "max":
        return torch.stack([max(state[k] for state in states) for k in range(len(states[0]))])
    if layer.pooling == "mean":
        return sum(states) / len(states)
    weights = softmax([layer.score.weight[0] @ state for state in states])
    return sum(weight * state for weight, state in zip(weights, states, strict=True))


def score(layer: nn.Module, head: int, s: Tensor, h: Tensor) -> Tensor:
    """(7) of one head: as printed on slices of the states, or with a hidden layer."""
    if isinstance(layer, LinearScore):
        own = slice(head * len(s) // layer.heads, (head + 1) * len(s) // layer.heads)
        return torch.tanh(layer.u[own] @ s[own] + layer.v[own] @ h[own] + layer.bias[head])
    units = layer.w.shape[1]
    own = slice(head * units, (head + 1) * units)
    layer_of_pair = torch.tanh(layer.speech.weight[own] @ s + layer.text.weight[own] @ h + layer.text.bias[own])
    return layer.w[head] @ layer_of_pair


def aligned(model: nn.Module, speech: list[Tensor], text: list[Tensor], spans: list[list[int]]) -> list[Tensor]:
    """s̃_j of every word: (8) and (9), or the mean over the word's frames."""
    if isinstance(model, Hard):
        nothing = torch.zeros_like(speech[0])
        return [sum(speech[first:after], nothing) / max(1, after - first) for first, after in spans]
    attention, found = model.alignment.score, []
    for h in text:
        parts = []
        for head, part in enumerate(range(0, len(h), len(h) // attention.heads)):
            own = slice(part, part + len(h) // attention.heads)
            weights = softmax([score(attention, head, s, h) for s in speech])
            parts.append(sum(weight * s[own] for weight, s in zip(weights, speech, strict=True)))
        found.append(torch.cat(parts))
    return found


def transcribed(model: nn.Module, batch: Batch, row: int) -> Tensor:
    """Logits of one utterance as the paper writes them."""
    frames = list(batch["short_term"][row, : batch.lengths["short_term"][row]])
    words = batch["tokens"][row, : batch.lengths["tokens"][row]]
    if not isinstance(model, Text):
        speech = bilstm(model.speech.lstm, frames)  # (1) to (3)
    if not isinstance(model, Speech):
        text = bilstm(model.text.lstm, [model.text.embedding.weight[word] for word in words])  # (4) to (6)
    if isinstance(model, Speech | Text):
        vector = pooled(model.pool, speech if isinstance(model, Speech) else text)
    elif isinstance(model, Concat):
        vector = torch.cat([pooled(model.pool_speech, speech), pooled(model.pool_text, text)])
    else:
        pairs = zip(aligned(model, speech, text, batch["spans"][row, : len(words)].tolist()), text, strict=True)
        fused = bilstm(model.fusion, [torch.cat(pair) for pair in pairs])  # (10) to (12)
        vector = torch.stack([max(c[k] for c in fused) for k in range(len(fused[0]))])  # (13)
    logits = model.output.linear.weight @ vector  # (14)
    if isinstance(model.output.relu, nn.Sequential):  # a softmax layer with weights of its own
        last = model.output.relu[1]
        return last.weight @ (logits * (logits > 0)) + last.bias
    return logits * (logits > 0) if isinstance(model.output.relu, nn.ReLU) else logits


@pytest.mark.parametrize(("build", "options"), CASES)
def test_logits_are_those_of_the_equations(build, options):
    torch.manual_seed(0)
    model, batch = trained_a_little(build(SIZES, **options)), whole(dataset())
    expected = torch.stack([transcribed(model, batch, row) for row in range(len(batch))])
    assert expected.std() > 0.03 and (model.output.linear(_vectors(model, batch)) > 0).any()
    torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_that_of_equations_15_and_16():
    z = torch.tensor([[0.3, 0.0, 2.0, 1.0]])
    p = torch.exp(z[0]) / torch.exp(z[0]).sum()
    loss = CLASSES.loss(SYSTEMS["aligned"].settings["paper"].loss)(z, torch.tensor([2]), None)
    torch.testing.assert_close(loss, -torch.log(p[2]))


@pytest.mark.parametrize(("build", "options"), CASES)
def test_a_gradient_reaches_every_parameter(build, options):
    torch.manual_seed(0)
    model, batch = build(SIZES, **options), whole(dataset())
    with torch.no_grad():
        vectors = _vectors(model, batch)
        model.output.linear.weight.copy_((torch.linalg.pinv(vectors) @ (torch.rand(4, 4) + 0.1)).T)
        assert (model.output.linear(vectors) > 0).all()  # so that the ReLU, where there is one, stops nothing
    nn.functional.cross_entropy(model(batch), batch.targets).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 1e-8, name


def _vectors(model: nn.Module, batch: Batch) -> Tensor:
    """What the output layer sees, (batch, size)."""
    seen = []
    hook = model.output.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(batch)
    hook.remove()
    return seen[0]


def test_the_relu_stops_the_gradient_of_a_logit_below_zero():
    for relu in (True, False):
        torch.manual_seed(0)
        model, batch = Text(SIZES, **TEXT, pooling="max", relu=relu), whole(dataset())
        with torch.no_grad():
            model.output.linear.weight[1] = -1000 * _vectors(model, batch).mean(0)  # class 1 far below zero everywhere
            below = (model.output.linear(_vectors(model, batch)) < 0).all(0)
        assert below[1]
        nn.functional.cross_entropy(model(batch), batch.targets).backward()
        assert (model.output.linear.weight.grad[1].abs().max() == 0) == relu


# Sizes


def test_parameter_counts_are_those_of_a_hand_calculation():
    # LSTM: four blocks of input x hidden, hidden x hidden and, in PyTorch, two biases; two directions.
    def bilstm_size(size: int) -> int:
        return 2 * 4 * (size * 100 + 100 * 100 + 2 * 100)

    speech, text, words = bilstm_size(34), bilstm_size(300), 3747 * 300
    assert (speech, text, words) == (108_800, 321_600, 1_124_100)
    fusion = bilstm_size(400)  # s̃_j and h_j
    linear = 5 * 40 + 5 * 40 + 5  # u, v and b of five heads
    hidden = 5 * (200 * 40 + 200 * 40 + 40 + 40)  # U, V, b and w
    assert (fusion, linear, hidden) == (401_600, 405, 80_400)
    counts = {
        "speech": speech + 200 + 200 * 4,
        "text": words + text + 200 + 200 * 4,
        "concat": speech + words + text + 2 * 200 + 400 * 4,
        "hard": speech + words + text + fusion + 200 * 4,
        "aligned": speech + words + text + linear + fusion + 200 * 4,
    }
    counts |= {f"{name}-asr": counts[name] for name in ("text", "concat", "aligned")}
    assert counts.keys() == SYSTEMS.keys()
    sizes = replace(SIZES, vocabulary=3747)
    for name, count in counts.items():
        assert size_of(SYSTEMS[name].build(sizes, **SYSTEMS[name].settings["paper"].model)) == count
    assert size_of(Aligned(sizes, score="hidden")) == counts["aligned"] - linear + hidden


# Alignment


def test_attention_is_kept_when_asked_and_lies_on_real_frames_of_real_words():
    batch = whole(dataset())
    for build, options in CASES[6:]:
        model = build(SIZES, **options)
        model(batch)
        assert model.attention is None
        model.keep_attention = True
        model.eval()(batch)
        assert model.attention.shape == (4, options.get("heads", 1), 5, 12)
        assert not model.attention.requires_grad
        for row, (frames, words) in enumerate(zip(FRAMES, WORDS, strict=True)):
            weights = model.attention[row]
            assert (weights[:, words:] == 0).all() and (weights[:, :, frames:] == 0).all()
            total = weights[:, :words].sum(2)
            if build is Hard:
                first, after = batch["spans"][row, :words].unbind(1)
                assert total.tolist() == [(after > first).float().tolist()]
            else:
                torch.testing.assert_close(total, torch.ones_like(total))


def test_as_printed_all_words_rank_the_frames_alike_and_weights_are_bounded():
    torch.manual_seed(0)
    linear = trained_a_little(Learned(12, heads=3, units=4, score="linear"))
    hidden = trained_a_little(Learned(12, heads=3, units=4, score="hidden"))
    speech, text = torch.randn(2, 30, 12, dtype=torch.float64), torch.randn(2, 8, 12, dtype=torch.float64)
    real = torch.ones(2, 30, dtype=torch.bool)
    weights = linear.double()(speech, text, real, None)
    order = weights.argsort(dim=3)
    assert (order == order[:, :, :1]).all()
    assert (weights.amax(3) / weights.amin(3)).max() < np.exp(2)
    order = hidden.double()(speech, text, real, None).argsort(dim=3)
    assert not (order == order[:, :, :1]).all()


def test_a_hidden_score_computed_in_parts_is_the_same(monkeypatch):
    torch.manual_seed(0)
    score = HiddenScore(12, heads=3, units=4)
    speech, text = torch.randn(2, 9, 12, requires_grad=True), torch.randn(2, 7, 12, requires_grad=True)

    def outcome() -> list[Tensor]:
        scores = score(speech, text)
        of = [speech, text, *score.parameters()]
        return [scores, *torch.autograd.grad((scores * torch.arange(9.0)).sum(), of)]

    at_once = outcome()
    largest = []
    part = HiddenScore._part
    monkeypatch.setattr(
        HiddenScore, "_part", staticmethod(lambda f, w, v: largest.append(f.numel() * w.shape[2]) or part(f, w, v))
    )
    monkeypatch.setattr(xu2019, "AT_ONCE", 2 * 2 * 9 * 12)
    for one, other in zip(at_once, outcome(), strict=True):
        torch.testing.assert_close(one, other)
    assert len(largest) == 2 * 4 and max(largest) == xu2019.AT_ONCE  # four parts of at most two words, there and back
    with torch.no_grad():
        torch.testing.assert_close(score(speech, text), at_once[0])


def test_spans_reach_the_model_on_the_steps_of_its_frames(monkeypatch):
    words = tuple(Segment(word, 0.5 * i, 0.5 * i + 0.4) for i, word in enumerate(("i", "can't", "wait")))
    first = Utterance("a", "Ses01F", "Session1", "d", False, "sad", None, "I can't, wait!", Path("a.wav"), 1.4, words)
    utterances = [first, replace(first, id="b", text="Wait"), replace(first, id="c", text="", words=())]
    corpus = Corpus("toy", Path(), utterances)
    settings = runs.settings_of(SYSTEMS["hard"], "quick", {"frame_stride": 4, "max_frames": 100, "max_tokens": 5})
    frames = {u.id: np.random.default_rng(0).normal(size=(139, 34)) for u in corpus}
    monkeypatch.setattr(inputs, "extract", lambda corpus, name, **_: {"short_term": frames}[name])
    names = ("xu2019", "hard", "", "toy", "none", "quick", 0, 0, "cpu")
    fold = runs.prepare(runs.Run(*names, settings, Split("x", ["a"], ["b"], ["c"]), None, "data", "key"), corpus)
    batches = [whole(part) for part in (fold.train, fold.dev, fold.test)]
    assert [batch["short_term"].shape[1] for batch in batches] == [25, 25, 25]  # of four frames each
    for batch in batches:
        assert batch.lengths["spans"].equal(batch.lengths["tokens"])
    # i, ca, n't, a comma, and wait, which begins at 1.0 s, when the frames that are left have all but ended
    assert batches[0]["spans"].tolist() == [[[0, 10], [12, 22], [12, 22], [0, 0], [24, 25]]]
    assert batches[1]["spans"].tolist() == [[[24, 25]]]
    assert batches[2]["spans"].tolist() == [[[0, 0]]]
    assert fold.sizes.dims == {"short_term": 34, "spans": 2}


@pytest.mark.parametrize("name", LIST)
def test_an_utterance_without_words_or_frames_has_logits_and_gradients(name):
    data = dataset(frames=(0, 4, 0), words=(0, 2, 0))
    model = SYSTEMS[name].build(SIZES, **SYSTEMS[name].settings["quick"].model)
    for batch in (whole(data), data.batch(torch.tensor([0]))):
        logits = model(batch)
        assert torch.isfinite(logits).all()
        nn.functional.cross_entropy(logits, batch.targets).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# Options


def test_an_impossible_option_is_named():
    with pytest.raises(ValueError, match="score is 'round'; expected linear or hidden"):
        Aligned(SIZES, score="round")
    with pytest.raises(ValueError, match="pooling is 'round'; expected attention, max or mean"):
        Concat(SIZES, pooling="round")
    with pytest.raises(ValueError, match="states of 200 numbers cannot be cut into 3 equal slices"):
        Aligned(SIZES, heads=3)
    with pytest.raises(ValueError, match="relu is 'round'; expected False, True or 'layer'"):
        Aligned(SIZES, heads=2, relu="round")


def test_dropout_falls_on_the_inputs_of_the_encoders():
    batch = whole(dataset())
    for name in LIST:
        model = SYSTEMS[name].build(SIZES, dropout=0.5).train()
        assert not torch.equal(model(batch), model(batch))
        deaf = SYSTEMS[name].build(SIZES).train()
        assert torch.equal(deaf(batch), deaf(batch))


def test_the_systems_are_the_rows_of_tables_1_and_2():
    assert set(models.systems("xu2019")) == {*LIST, "text-asr", "concat-asr", "aligned-asr"}
    for name, system in SYSTEMS.items():
        assert system.name == name and system.protocol == "leave-one-session-out"
        assert system.settings["quick"].transcripts == ("asr-14.7" if name.endswith("-asr") else None)
        assert ("spans" in system.inputs) == (name == "hard")
        same = replace(system.settings["paper"], model={}, transcripts=None)
        assert same == replace(SYSTEMS["speech"].settings["paper"], model={})
    paper = SYSTEMS["aligned"].settings["paper"]
    assert (paper.learning_rate, paper.loss, paper.max_frames, paper.frame_stride) == (1e-3, "softmax", 2000, 1)
    assert paper.model == {"hidden": 100, "embedding": 300, "heads": 5, "units": 40}
