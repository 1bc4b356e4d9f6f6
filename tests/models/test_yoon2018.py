"""The encoders of yoon2018: equations against slow transcriptions, sizes by hand, first weights, dropout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from serlib import models
from serlib.batching import Batch, Dataset
from serlib.models.layers import ResetFirst, orthogonal_, word_embedding
from serlib.models.yoon2018 import ARE, MDRE, MDREA, SYSTEMS, TRE
from serlib.settings import Sizes

DIMS = {"mfcc": 39, "prosody": 35}
SMALL = {"hidden": 8, "embedding": 6}
FRAMES, WORDS = (9, 4, 1, 7), (3, 5, 1, 2)
CASES = [
    (ARE, {"hidden": 8}),
    (ARE, {"hidden": 8, "bias": "scalar"}),
    (TRE, SMALL),
    (MDRE, SMALL),
    (MDRE, {**SMALL, "activation": "relu", "bias": "scalar"}),
    (MDRE, {**SMALL, "reset": "before"}),
    (MDREA, SMALL),
    (MDREA, {**SMALL, "readout": "projected", "activation": "tanh"}),
]


def sizes(vocabulary: int = 20, vectors: Tensor | None = None) -> Sizes:
    return Sizes(DIMS, vocabulary, vectors)


def dataset(frames=FRAMES, words=WORDS, vocabulary: int = 20) -> Dataset:
    random = np.random.default_rng(0)
    ids = [f"u{row}" for row in range(len(frames))]
    return Dataset.build(
        ids,
        [row % 4 for row in range(len(ids))],
        {
            "mfcc": {i: random.normal(size=(n, 39)).astype("f4") for i, n in zip(ids, frames, strict=True)},
            "prosody": {i: random.normal(size=35).astype("f4") for i in ids},
            "tokens": {i: random.integers(2, vocabulary, n) for i, n in zip(ids, words, strict=True)},
        },
    )


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def trained_a_little(model: nn.Module) -> nn.Module:
    """Random numbers in every parameter, the biases too, so that none of them can hide."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model.eval()


# Equations, literally


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def gru_states(gru: nn.GRU, sequence: Tensor) -> list[Tensor]:
    """Equation (1), step by step: reset gate r, update gate z, candidate n."""
    before, size = isinstance(gru, ResetFirst), gru.hidden_size
    w, u, b, c = gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0
    h, states = torch.zeros(size), []
    for x in sequence:
        r = sigmoid(w[:size] @ x + b[:size] + u[:size] @ h + c[:size])
        z = sigmoid(w[size : 2 * size] @ x + b[size : 2 * size] + u[size : 2 * size] @ h + c[size : 2 * size])
        if before:
            from_state = u[2 * size :] @ (r * h) + c[2 * size :]
        else:
            from_state = r * (u[2 * size :] @ h + c[2 * size :])
        n = torch.tanh(w[2 * size :] @ x + b[2 * size :] + from_state)
        h = (1 - z) * n + z * h
        states.append(h)
    return states


def encode_audio(model: nn.Module, batch: Batch, row: int) -> Tensor:
    """e = concat(h_ta, p)."""
    frames = batch["mfcc"][row, : batch.lengths["mfcc"][row]]
    return torch.cat([gru_states(model.audio.gru, frames)[-1], batch["prosody"][row]])


def encode_text(model: nn.Module, batch: Batch, row: int) -> list[Tensor]:
    words = batch["tokens"][row, : batch.lengths["tokens"][row]]
    return gru_states(model.text.gru, torch.stack([model.text.embedding.weight[word] for word in words]))


def dense(layer: nn.Module, x: Tensor) -> Tensor:
    """x^T M + b, number by number."""
    m, b = layer.weight, layer.bias
    return torch.stack(
        [sum(x[i] * m[i, j] for i in range(len(x))) + b[j if len(b) > 1 else 0] for j in range(m.shape[1])]
    )


BENDS = {
    "linear": lambda x: x,
    "relu": lambda x: x * (x > 0),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
}
"""What follows g and g'."""


def transcribed(model: nn.Module, batch: Batch, row: int, activation: str) -> Tensor:
    """Logits of one utterance as the paper writes them."""
    bend = BENDS[activation]
    if isinstance(model, ARE):  # (2)
        return dense(model.output, encode_audio(model, batch, row))
    states = encode_text(model, batch, row)
    if isinstance(model, TRE):  # (3)
        return dense(model.output, states[-1])
    e = encode_audio(model, batch, row)
    if isinstance(model, MDRE):  # (4)
        a = bend(dense(model.g_audio[0], e))
        t = bend(dense(model.g_text[0], states[-1]))
        return dense(model.output, torch.cat([a, t]))
    projected = dense(model.projection, e)  # (5)
    scores = [torch.exp(projected @ h) for h in states]
    z = sum(score / sum(scores) * h for score, h in zip(scores, states, strict=True))
    a = projected if model.g_audio is None else bend(dense(model.g_audio[0], e))
    return dense(model.output, torch.cat([z, a]))


@pytest.mark.parametrize(("build", "options"), CASES)
def test_logits_are_those_of_the_equations(build, options):
    model, batch = trained_a_little(build(sizes(), **options)), whole(dataset())
    activation = options.get("activation", "linear")
    expected = torch.stack([transcribed(model, batch, row, activation) for row in range(len(batch))])
    assert expected.std() > 0.1
    torch.testing.assert_close(model(batch), expected, rtol=1e-5, atol=1e-5)


# Sizes


def test_parameter_counts_are_those_of_a_hand_calculation():
    # The paper's vocabulary has 3,747 tokens; words have 300 dimensions and states 200; e has 200 + 35 = 235.
    # GRU: three blocks of input x hidden, hidden x hidden and, in PyTorch, two biases.
    audio_gru = 3 * (39 * 200 + 200 * 200 + 2 * 200)
    text_gru = 3 * (300 * 200 + 200 * 200 + 2 * 200)
    words = 3747 * 300
    g_audio = 235 * 117 + 117
    g_text = 200 * 100 + 100
    projection = 235 * 200 + 200
    assert (audio_gru, text_gru, words) == (144_600, 301_200, 1_124_100)
    assert (g_audio, g_text, projection) == (27_612, 20_100, 47_200)
    counts = {
        "are": audio_gru + (235 * 4 + 4),
        "tre": words + text_gru + (200 * 4 + 4),
        "mdre": audio_gru + words + text_gru + g_audio + g_text + ((117 + 100) * 4 + 4),
        "mdrea": audio_gru + words + text_gru + projection + g_audio + ((200 + 117) * 4 + 4),
    }
    assert counts == {"are": 145_544, "tre": 1_426_104, "mdre": 1_618_484, "mdrea": 1_645_984}
    for name, count in counts.items():
        system = SYSTEMS[name]
        model = system.build(sizes(3747), **system.settings["paper"].model)
        assert sum(parameter.numel() for parameter in model.parameters()) == count

    # The released code's MDREA: the projected vector beside Z, no g, one bias per layer.
    released = MDREA(sizes(3747), readout="projected", bias="scalar")
    count = audio_gru + words + text_gru + (235 * 200 + 1) + ((200 + 200) * 4 + 1)
    assert sum(parameter.numel() for parameter in released.parameters()) == count


# Attention


def test_attention_is_kept_when_asked_and_lies_on_real_words():
    model, batch = MDREA(sizes(), **SMALL), whole(dataset())
    model(batch)
    assert model.attention is None
    model.keep_attention = True
    model.eval()(batch)
    assert model.attention.shape == (4, 5)
    assert not model.attention.requires_grad
    for weights, length in zip(model.attention, WORDS, strict=True):
        assert weights[:length].sum().item() == pytest.approx(1, abs=1e-6)
        assert (weights[:length] > 0).all()
        assert (weights[length:] == 0).all()


@pytest.mark.parametrize("name", ["are", "tre", "mdre", "mdrea"])
def test_an_utterance_without_words_or_frames_has_logits_and_gradients(name):
    data = dataset(frames=(0, 4, 0), words=(0, 2, 0))
    model = SYSTEMS[name].build(sizes(), **SYSTEMS[name].settings["quick"].model)
    for batch in (whole(data), data.batch(torch.tensor([0]))):
        logits = model(batch)
        assert torch.isfinite(logits).all()
        nn.functional.cross_entropy(logits, batch.targets).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# Initial weights, dropout, options


def test_gru_weights_start_orthogonal_and_remember():
    gru = nn.GRU(5, 8)
    orthogonal_(gru)
    for block in gru.weight_hh_l0.chunk(3):
        torch.testing.assert_close(block @ block.T, torch.eye(8), atol=1e-5, rtol=0)
    for block in gru.weight_ih_l0.chunk(3):
        torch.testing.assert_close(block.T @ block, torch.eye(5), atol=1e-5, rtol=0)
    assert (gru.bias_ih_l0 + gru.bias_hh_l0).tolist() == [1] * 16 + [0] * 8
    model = MDRE(sizes())
    for encoder in (model.audio, model.text):
        for block in encoder.gru.weight_hh_l0.chunk(3):
            torch.testing.assert_close(block @ block.T, torch.eye(200), atol=1e-4, rtol=0)


def test_words_start_from_the_vectors_given_and_padding_stays_zero():
    vectors = torch.randn(20, 6)
    model = TRE(sizes(vectors=vectors), **SMALL)
    assert torch.equal(model.text.embedding.weight[1:], vectors[1:])
    assert model.text.embedding.weight[0].abs().sum() == 0
    batch = whole(dataset())
    nn.functional.cross_entropy(model(batch), batch.targets).backward()
    assert model.text.embedding.weight.grad[0].abs().sum() == 0
    with pytest.raises(ValueError, match=r"are \(20, 7\), expected \(20, 6\)"):
        word_embedding(sizes(vectors=torch.randn(20, 7)), 6)
    with pytest.raises(ValueError, match="a text system needs a vocabulary"):
        word_embedding(sizes(vocabulary=0), 6)


def test_dropout_falls_on_inputs_and_attended_states_but_not_on_the_last_state():
    torch.manual_seed(0)
    model = MDREA(sizes(), hidden=200, embedding=300, dropout_audio=0.0, dropout_text=0.7).train()
    states, last = model.text(whole(dataset()))
    kept = states[:, 0] != 0
    assert 0.2 < kept.float().mean() < 0.4  # 800 coins that show heads with probability 0.3
    assert (last != 0).all()
    batch = whole(dataset())
    for system in ("are", "tre"):  # whose only dropout is on the inputs
        model = SYSTEMS[system].build(sizes()).train()
        assert not torch.equal(model(batch), model(batch))
    deaf = ARE(sizes(), dropout_audio=0.0)
    assert torch.equal(deaf(batch), deaf(batch))
    paper = SYSTEMS["mdre"].build(sizes(), **SYSTEMS["mdre"].settings["paper"].model)
    assert (paper.audio.dropout.p, paper.text.dropout.p) == (0.3, 0.7)


@pytest.mark.parametrize("option", ["activation", "bias", "readout"])
def test_an_unknown_option_names_the_known_ones(option):
    with pytest.raises(ValueError, match=f"{option} is 'round'; expected one of"):
        MDREA(sizes(), **{option: "round"})


# Table 1


def test_the_systems_are_the_rows_of_table_1():
    assert list(models.systems("yoon2018")) == ["are", "tre", "mdre", "mdrea", "tre-asr", "mdre-asr", "mdrea-asr"]
    for name, system in SYSTEMS.items():
        assert system.name == name
        assert system.settings["quick"].transcripts == ("asr-5.53" if name.endswith("-asr") else None)
        same = replace(system.settings["paper"], model={}, transcripts=None)
        assert same == replace(SYSTEMS["are"].settings["paper"], model={})
    paper = SYSTEMS["mdre"].settings["paper"]
    assert (paper.batch_size, paper.learning_rate, paper.clip_value) == (128, 1e-3, 10.0)
    assert (paper.check_every, paper.patience, paper.max_steps, paper.seeds) == (0.3, 8, 10_000, 10)
    assert paper.epochs * 34 > paper.max_steps  # 35 updates an epoch on IEMOCAP: the steps run out first
    assert (paper.max_frames, paper.max_tokens, paper.frame_stride, paper.folds) == (750, 128, 1, None)
    with pytest.raises(ValueError, match="no paper is called 'yoon2019'; expected one of yoon2018"):
        models.systems("yoon2019")
