"""WISE against nested loops over utterances, words, phonemes and frames: outputs and gradients, sizes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from serlib import models, training
from serlib.batching import Batch, Dataset
from serlib.models.shen2020 import SYSTEMS, WISE, Fusion, InteractingLSTMs, OneModality, last_of_each
from serlib.settings import Sizes

SIZES = Sizes({"mfcc_15ms": 39}, 20)
SMALL = {
    "phoneme": 5,
    "word": 6,
    "audio": 4,
    "text": 7,
    "embedding": 3,
    "attention": 8,
    "linear": (9, 5),
    "dropout": 0.0,
}
CASES = [
    (WISE, {}),
    (WISE, {"levels": "none"}),
    (WISE, {"interaction": False}),
    (WISE, {"fusion": "last"}),
    (WISE, {"levels": "frames"}),
    (WISE, {"cell": "mixed", "crossed": True}),
    (WISE, {"fusion": "mean", "bias": True, "dropout_at": "outputs"}),
    (OneModality, {"modality": "audio"}),
    (OneModality, {"modality": "text"}),
]
each_case = pytest.mark.parametrize(("build", "options"), CASES)

# Frames of each phoneme of each word of each utterance: short and long words, an utterance of one frame, a pause.
SHAPES = [
    [[3, 1, 2], [4, 0, 1], [1, 1]],
    [[2, 5]],
    [[1]],
    [[2], [1, 3, 1, 1], [6], [2, 2], [1]],
]


def dataset(shapes=SHAPES, silence: int = 2) -> Dataset:
    """Random frames with silence before every word; two tokens say the first word, one token is not said."""
    random = np.random.default_rng(0)
    ids = [f"u{row}" for row in range(len(shapes))]
    tables: dict[str, dict[str, np.ndarray]] = {"mfcc_15ms": {}, "tokens": {}, "phones": {}, "pairs": {}}
    for id, words in zip(ids, shapes, strict=True):
        rows, at = [], 0
        for word, lengths in enumerate(words):
            at += silence
            for length in lengths:
                if length:
                    rows.append((at, length, word))
                at += length or 2  # 0 is a pause of two frames inside the word
            if len(lengths) == 4:
                rows[-2:] = [(rows[-2][0], 1, word), (rows[-2][0], 1 + lengths[-1], word)]  # a frame that two share
        tables["phones"][id] = np.array(rows)
        tables["mfcc_15ms"][id] = random.normal(size=(at, 39)).astype("f4")
        tables["tokens"][id] = random.integers(2, 20, len(words) + 2)
        tables["pairs"][id] = np.array([(0, 0), *((word + 2, word) for word in range(len(words)))])
    return Dataset.build(ids, [row % 4 for row in range(len(ids))], tables)


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def built(build, options, **sizes) -> nn.Module:
    return build(SIZES, **{**SMALL, **sizes, **options})


def trained_a_little(model: nn.Module) -> nn.Module:
    """Random numbers in every parameter, the biases too, so that none of them can hide."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.6)
    return model.eval()


# The paper in nested loops


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def gru(layer: nn.GRU, sequence: list[Tensor]) -> Tensor:
    """The last state of equation (6), step by step."""
    size = layer.hidden_size
    w, u, b, c = layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0
    h = torch.zeros(size)
    for x in sequence:
        r = sigmoid(w[:size] @ x + b[:size] + u[:size] @ h + c[:size])
        z = sigmoid(w[size : 2 * size] @ x + b[size : 2 * size] + u[size : 2 * size] @ h + c[size : 2 * size])
        n = torch.tanh(w[2 * size :] @ x + b[2 * size :] + r * (u[2 * size :] @ h + c[2 * size :]))
        h = (1 - z) * n + z * h
    return h


def lstm(weights: tuple[Tensor, ...], x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """f of equations (1), (2), (4) and (5): one step of an LSTM."""
    w, u, b, d = weights
    i, f, g, o = (w @ x + b + u @ h + d).chunk(4)
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(c), c


def cell(layer: nn.Module) -> tuple[Tensor, ...]:
    return tuple(layer.parameters())  # weight_ih, weight_hh, bias_ih, bias_hh, in this order


def word_features(model: nn.Module, batch: Batch, row: int) -> list[Tensor]:
    """a_i: a loop over words, one over their phonemes, one over their frames."""
    frames, phones = batch["mfcc_15ms"][row], batch["phones"][row, : batch.lengths["phones"][row]].tolist()
    words = []
    for number in range(phones[-1][2] + 1):
        phonemes = []
        for first, count, word in phones:
            if word == number:
                phonemes.append([frames[place] for place in range(first, first + count)])
        if model.words.word is None or model.words.phoneme is None:
            own = [(first, first + count) for first, count, word in phones if word == number]
            every = [frames[place] for place in range(own[0][0], own[-1][1])]  # pauses too, and shared frames once
            words.append(sum(every) / len(every) if model.words.word is None else gru(model.words.word, every))
        else:
            words.append(gru(model.words.word, [gru(model.words.phoneme, phoneme) for phoneme in phonemes]))
    return words


def interaction(model: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_aa, W_ta, W_at, W_tt of equation (3)."""
    size, matrix = model.lstms.sizes[0], model.lstms.interaction
    return matrix[:size, :size], matrix[:size, size:], matrix[size:, :size], matrix[size:, size:]


def states_of_pairs(model: nn.Module, inputs: dict[str, list[Tensor]], options: dict) -> dict[str, list[Tensor]]:
    """h_a and h_t of every pair, equations (1) to (5)."""
    if isinstance(model, OneModality):
        h, c, states = torch.zeros(model.lstm.hidden_size), torch.zeros(model.lstm.hidden_size), []
        for x in inputs[model.modality]:
            h, c = lstm(cell(model.lstm), x, h, c)
            states.append(h)
        return {model.modality: states}
    h_a, h_t = (torch.zeros(size) for size in model.lstms.sizes)
    c_a, c_t = torch.zeros_like(h_a), torch.zeros_like(h_t)
    states = {"audio": [], "text": []}
    for a, t in zip(inputs["audio"], inputs["text"], strict=True):
        if options.get("interaction", True):
            w_aa, w_ta, w_at, w_tt = interaction(model)
            h_a, h_t = w_aa @ h_a + w_ta @ h_t, w_at @ h_a + w_tt @ h_t  # (3)
            if options.get("cell") == "mixed":
                c_a, c_t = w_aa @ c_a + w_ta @ c_t, w_at @ c_a + w_tt @ c_t
        if options.get("crossed"):
            a, t = t, a  # (4), (5) as printed
        h_a, c_a = lstm(cell(model.lstms.audio), a, h_a, c_a)
        h_t, c_t = lstm(cell(model.lstms.text), t, h_t, c_t)
        states["audio"].append(h_a)
        states["text"].append(h_t)
    return states


def fused(fusion: Fusion, states: dict[str, list[Tensor]]) -> Tensor:
    """p_c, equations (7) to (9)."""
    if fusion.how == "last":
        return torch.cat([one[-1] for one in states.values()])
    joint = [
        sum(fusion.weights[name].weight @ h for name, h in zip(states, pair, strict=True))
        for pair in zip(*states.values(), strict=True)
    ]
    if fusion.how == "mean":
        return sum(joint) / len(joint)
    energies = [torch.tanh(one) for one in joint]  # (7)
    scores = [torch.exp(e @ fusion.context.weight[0]) for e in energies]  # (8)
    return sum(score / sum(scores) * one for score, one in zip(scores, joint, strict=True))  # (9)


def classified(model: nn.Module, p: Tensor) -> Tensor:
    """Equations (10) to (12) before the softmax, without dropout."""
    *hidden, last = [layer for layer in model.classifier.layers if isinstance(layer, nn.Linear)]
    for layer in hidden:
        p = layer.weight @ p if layer.bias is None else layer.weight @ p + layer.bias
        p = p * (p > 0)
    return last.weight @ p if last.bias is None else last.weight @ p + last.bias


def nested_loops(model: nn.Module, batch: Batch, options: dict) -> Tensor:
    """Logits of a batch, one utterance, word, phoneme and frame at a time."""
    logits = []
    for row in range(len(batch)):
        pairs = batch["pairs"][row, : batch.lengths["pairs"][row]].tolist()
        inputs = {}
        if model.words is not None:
            words = word_features(model, batch, row)
            inputs["audio"] = [words[word] for _, word in pairs]
        if model.embedding is not None:
            inputs["text"] = [model.embedding.weight[batch["tokens"][row, token]] for token, _ in pairs]
        logits.append(classified(model, fused(model.fusion, states_of_pairs(model, inputs, options))))
    return torch.stack(logits)


@each_case
def test_logits_and_gradients_are_those_of_nested_loops(build, options):
    fast, batch = trained_a_little(built(build, options)), whole(dataset())
    slow = deepcopy(fast)
    outputs, expected = fast(batch), nested_loops(slow, batch, options)
    assert expected.std() > 0.05
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)
    for logits in (outputs, expected):
        nn.functional.cross_entropy(logits, batch.targets, reduction="sum").backward()
    there = dict(slow.named_parameters())
    for name, parameter in fast.named_parameters():
        torch.testing.assert_close(parameter.grad, there[name].grad, rtol=1e-5, atol=1e-5, msg=name)
        assert parameter.grad.abs().max() > 1e-6, name


def test_frames_outside_the_phonemes_are_not_heard():
    model, batch = trained_a_little(built(WISE, {})), whole(dataset())
    before = model(batch)
    batch["mfcc_15ms"][:, :2] += 5.0  # silence
    torch.testing.assert_close(model(batch), before, rtol=0, atol=0)
    batch["mfcc_15ms"][:, 2] += 5.0
    assert (model(batch) - before).abs().min() > 1e-4


@pytest.mark.parametrize("levels", ["phonemes", "frames", "none"])
def test_phonemes_that_overrun_the_sound_end_with_it(levels):
    model, batch = trained_a_little(built(WISE, {"levels": levels})), whole(dataset())
    before = model(batch)
    for row, length in enumerate(batch.lengths["phones"].tolist()):
        batch["phones"][row, length - 1, 1] += 50
    torch.testing.assert_close(model(batch), before)
    batch["phones"][0, 0] = torch.tensor([999, 0, 0])
    assert torch.isfinite(model(batch)).all()


def test_the_last_state_of_every_stretch_is_what_the_gru_gives_for_it_alone():
    torch.manual_seed(0)
    layer, table = nn.GRU(3, 4), torch.randn(60, 3)
    first = torch.tensor([5, 0, 40, 5, 59, 12])
    count = torch.tensor([7, 1, 20, 7, 1, 30])  # they may overlap
    alone = torch.stack([layer(table[a : a + n])[1][0] for a, n in zip(first.tolist(), count.tolist(), strict=True)])
    torch.testing.assert_close(last_of_each(layer, table, first, count), alone)


@pytest.mark.parametrize("mixed", [True, False])
def test_two_lstms_that_interact_are_one_lstm(mixed):
    torch.manual_seed(0)
    pair = InteractingLSTMs((3, 5), (4, 6), interaction=mixed)
    one = nn.LSTM(8, 10, batch_first=True)
    with torch.no_grad():
        for parameter, value in zip(one.parameters(), pair.joined(), strict=True):
            parameter.copy_(value)
    audio, text = torch.randn(2, 7, 3), torch.randn(2, 7, 5)
    states, _ = one(torch.cat([audio, text], 2))
    h_a, h_t = pair(audio, text)
    torch.testing.assert_close(torch.cat([h_a, h_t], 2), states)
    alone, _ = nn.LSTM(3, 4, batch_first=True), None
    with torch.no_grad():
        for parameter, value in zip(alone.parameters(), cell(pair.audio), strict=True):
            parameter.copy_(value)
    same = torch.allclose(alone(audio)[0], h_a, atol=1e-6)
    assert same != mixed  # without the matrix they are the two LSTMs of equations (1) and (2)


# Sizes


def test_parameter_counts_are_those_of_a_hand_calculation():
    # GRU: three blocks of input x hidden, hidden x hidden and, in PyTorch, two biases; LSTM: four.
    phoneme_gru = 3 * (39 * 50 + 50 * 50 + 2 * 50)
    word_gru = 3 * (50 * 100 + 100 * 100 + 2 * 100)
    audio_lstm = 4 * (100 * 100 + 100 * 100 + 2 * 100)
    text_lstm = 4 * (300 * 150 + 150 * 150 + 2 * 150)
    matrix = 250 * 250
    words = 3747 * 300
    attention_audio, attention_text, context = 100 * 200, 150 * 200, 200
    linear = 200 * 200 + 200 * 100 + 100 * 4
    assert (phoneme_gru, word_gru, audio_lstm, text_lstm) == (13_650, 45_600, 80_800, 271_200)
    wise = phoneme_gru + word_gru + audio_lstm + text_lstm + matrix + words
    wise += attention_audio + attention_text + context + linear
    assert wise == 1_708_450
    counts = {
        "audio": phoneme_gru + word_gru + audio_lstm + attention_audio + context + linear,
        "text": words + text_lstm + attention_text + context + linear,
        "wise": wise,
        # the audio LSTM reads frames of 39
        "im+dmf": wise - phoneme_gru - word_gru - audio_lstm + 4 * (39 * 100 + 100 * 100 + 2 * 100),
        "hr+dmf": wise - matrix,
        # 250 numbers go into the first linear layer
        "im+hr": wise - attention_audio - attention_text - context + 50 * 200,
        # one GRU from 39 to 100
        "im+dmf+hr-": wise - phoneme_gru - word_gru + 3 * (39 * 100 + 100 * 100 + 2 * 100),
    }
    assert counts.keys() == SYSTEMS.keys()
    for name, count in counts.items():
        system = SYSTEMS[name]
        model = system.build(replace(SIZES, vocabulary=3747), **system.settings["paper"].model)
        assert training.parameters(model) == count, name


def test_the_interaction_matrix_starts_normal_with_deviation_005():
    torch.manual_seed(0)
    matrix = WISE(SIZES).lstms.interaction
    assert matrix.shape == (250, 250) and matrix.requires_grad
    assert abs(matrix.mean().item()) < 0.001
    assert matrix.std().item() == pytest.approx(0.05, rel=0.02)
    assert (matrix.abs() < 0.1).float().mean().item() == pytest.approx(0.9545, abs=0.005)  # two deviations
    assert WISE(SIZES, interaction=False).lstms.interaction is None


# Attention, dropout, options


@pytest.mark.parametrize(("build", "options"), [(WISE, {}), (OneModality, {"modality": "audio"})])
def test_attention_is_kept_when_asked_and_lies_on_real_pairs(build, options):
    model, batch = trained_a_little(built(build, options)), whole(dataset())
    model(batch)
    assert model.attention is None
    model.keep_attention = True
    model(batch)
    assert model.attention.shape == (4, 6) and not model.attention.requires_grad
    for weights, length in zip(model.attention, batch.lengths["pairs"].tolist(), strict=True):
        assert weights[:length].sum().item() == pytest.approx(1, abs=1e-6)
        assert (weights[:length] > 0).all() and (weights[length:] == 0).all()
    assert model.attention[0, :4].std() > 0.01


@pytest.mark.parametrize("dropout_at", ["inputs", "outputs"])
def test_dropout_falls_where_the_option_says(dropout_at):
    # With a single number on the way, the logits are zero if either of the two coins, or the ReLU, says so.
    torch.manual_seed(0)
    model = built(WISE, {"dropout": 0.3, "dropout_at": dropout_at}, linear=(1, 1))
    with torch.no_grad():
        for layer in model.classifier.layers:
            if isinstance(layer, nn.Linear):
                layer.weight.fill_(1.0)
    logits = model.classifier.train()(torch.ones(4000, 8))[:, 0]
    dead = (logits == 0).float().mean().item()
    if dropout_at == "inputs":  # eight coins, then one: 0.3^8 and 0.3
        assert dead == pytest.approx(0.3, abs=0.03)
        assert len(logits.unique()) > 5
    else:
        assert dead == pytest.approx(1 - 0.7**2, abs=0.03)
        assert len(logits.unique()) == 2
    assert torch.equal(model.classifier.eval()(torch.ones(1, 8)), torch.full((1, 4), 8.0))


@pytest.mark.parametrize("option", ["levels", "fusion", "cell", "dropout_at"])
def test_an_unknown_option_names_the_known_ones(option):
    with pytest.raises(ValueError, match=f"{option} is 'round'; expected one of"):
        WISE(SIZES, **{option: "round"})
    with pytest.raises(ValueError, match="modality is 'smell'; expected one of audio, text"):
        OneModality(SIZES, modality="smell")


# Tables 1 and 2


def test_the_systems_are_the_rows_of_both_tables():
    assert list(models.systems("shen2020")) == ["audio", "text", "wise", "im+dmf", "hr+dmf", "im+hr", "im+dmf+hr-"]
    for name, system in SYSTEMS.items():
        assert system.name == name and system.protocol == "random-folds"
        assert replace(system.settings["paper"], model={}) == replace(SYSTEMS["wise"].settings["paper"], model={})
        assert ("tokens" in system.inputs) == (name != "audio")
        assert ("mfcc_15ms" in system.inputs) == (name != "text")
    paper = SYSTEMS["wise"].settings["paper"]
    assert (paper.learning_rate, paper.decay, paper.weight_decay) == (1e-3, 1e-3, 1e-4)
    assert (paper.frame_stride, paper.folds, paper.model["dropout"]) == (1, None, 0.3)
