"""Cross-modal attention: equations against loops, fast convolutions against plain ones, sizes by hand."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from serlib import models, training
from serlib.batching import Batch, Dataset
from serlib.features.spectrogram import spectra
from serlib.models import krishna2020
from serlib.models.krishna2020 import CMA, SYSTEMS, AttentionBlock, ConvBlock, attend, statistics
from serlib.settings import Sizes

SMALL = {"filters": (4, 6, 8), "pools": (4, 2, 2), "size": 8, "heads": 2, "embedding": 5, "seconds": 0.1, "words": 6}
SPECTRA = {"front": "spectra", "pools": (2, 1, 1)}
SAMPLES, WORDS = (900, 400, 37, 641), (3, 5, 1, 2)
SIZES = Sizes({}, vocabulary=20)
UNMASKED = [{"mask": False}, {**SPECTRA, "mask": False}, {"modalities": ("text",), "mask": False}]


def build(options: dict, **more) -> CMA:
    torch.manual_seed(0)
    return CMA(SIZES, **SMALL | options | more)


def dataset(samples=SAMPLES, words=WORDS) -> Dataset:
    """Utterances that differ in pitch, loudness and words."""
    random = np.random.default_rng(0)
    ids = [f"u{row}" for row in range(len(samples))]
    sounds = []
    for row, n in enumerate(samples):
        tone = np.sin(2 * np.pi * 300 * (row + 1) * np.arange(n) / 16_000) + 0.1 * random.normal(size=n)
        sounds.append((1_000 * (row + 1) * tone).astype(np.int16))
    return Dataset.build(
        ids,
        [row % 4 for row in range(len(ids))],
        {
            "waveform": dict(zip(ids, sounds, strict=True)),
            "tokens": {id: random.integers(2, 20, n) for id, n in zip(ids, words, strict=True)},
        },
    )


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def trained_a_little(model: nn.Module) -> nn.Module:
    """Random numbers in every parameter and every running mean, so that none of them can hide."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                noise = 0.3 * torch.randn_like(tensor)
                tensor.copy_(tensor * noise.exp() if "running_var" in name else tensor + noise)
    return model.eval()


# Equations, literally


def test_equations_5_and_6_are_the_ones_written_out() -> None:
    torch.manual_seed(0)
    size, heads = 6, 2
    block = trained_a_little(AttentionBlock(size, heads, residual=False))
    x, memory = torch.randn(1, 3, size), torch.randn(1, 4, size)
    inside = torch.tensor([[True, True, True, False]])

    def normed(row: Tensor, norm: nn.LayerNorm) -> Tensor:
        deviation = torch.sqrt(sum((one - row.mean()) ** 2 for one in row) / size + 1e-5)
        return (row - row.mean()) / deviation * norm.weight + norm.bias

    def linear(layer: nn.Linear, row: Tensor) -> Tensor:
        return torch.stack([sum(w * one for w, one in zip(ws, row, strict=True)) for ws in layer.weight]) + layer.bias

    for t in range(3):
        query = linear(block.query, normed(x[0, t], block.norm_query))
        outputs = []
        for head in range(heads):
            part = slice(3 * head, 3 * head + 3)
            keys = [linear(block.key, normed(row, block.norm_memory))[part] for row in memory[0, :3]]
            values = [linear(block.value, normed(row, block.norm_memory))[part] for row in memory[0, :3]]
            fits = [torch.exp(sum(q * k for q, k in zip(query[part], key, strict=True)) / 3) for key in keys]  # d_q = 3
            outputs.append(sum(fit / sum(fits) * value for fit, value in zip(fits, values, strict=True)))  # (5)
        attended = linear(block.output, torch.cat(outputs))  # (6)
        bent = linear(block.feed_forward[0], normed(attended, block.norm_output)).clamp(min=0)
        expected = linear(block.feed_forward[2], bent)
        assert expected.abs().max() > 0.1
        for keep in (False, True):
            torch.testing.assert_close(block(x, memory, inside, keep)[0][0, t], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("divisor", [10.0, math.sqrt(10)])
def test_attention_is_torch_s_with_its_scale(divisor) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 5, 10), torch.randn(2, 3, 7, 10), torch.randn(2, 3, 7, 10)
    inside = torch.arange(7) < torch.tensor([7, 4])[:, None, None, None]
    attended, weights = attend(query, key, value, inside, divisor)
    theirs = functional.scaled_dot_product_attention(query, key, value, inside, scale=1 / divisor)
    torch.testing.assert_close(attended, theirs)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert not weights[1, :, :, 4:].any()


@pytest.mark.parametrize("scale", ["d_q", "root"])
def test_what_is_added_and_what_scores_are_divided_by(scale) -> None:
    block = trained_a_little(AttentionBlock(8, 2, scale))
    plain = copy.deepcopy(block)
    plain.residual, plain.divisor = False, {"d_q": 4, "root": 2}[scale]
    x, inside = torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    plain.feed_forward = nn.Identity()
    plain.norm_output = nn.Identity()  # now only (6)
    attended = x + plain(x, x, inside)[0]
    expected = attended + block.feed_forward(block.norm_output(attended))
    torch.testing.assert_close(block(x, x, inside)[0], expected)


def test_pooling_is_mean_and_deviation_of_real_steps() -> None:
    x = torch.tensor([[[1.0, 0], [3, 0], [5, 6], [99, 99]], [[7, 8], [50, 50], [50, 50], [50, 50]]], requires_grad=True)
    pooled = statistics(x, torch.tensor([3, 1]))
    expected = [[3, 2, math.sqrt(8 / 3), math.sqrt(8)], [7, 8, 1e-4, 1e-4]]  # the deviation of one step: the floor
    torch.testing.assert_close(pooled, torch.tensor(expected))
    pooled.sum().backward()
    assert torch.isfinite(x.grad).all()


# Convolutions, fast against plain


def plain_block(block: ConvBlock) -> nn.Sequential:
    """The layers of a block one after the other, as the paper lists them."""
    convolution, norm = copy.deepcopy(block.convolution), copy.deepcopy(block.norm)
    return nn.Sequential(convolution, norm, nn.ReLU(), nn.MaxPool1d(block.pool))


@pytest.mark.parametrize(("channels", "kernel", "pool"), [(1, 3, 4), (1, 5, 8), (3, 5, 4), (3, 7, 2)])
@pytest.mark.parametrize("mode", [True, False])
def test_a_block_is_convolution_norm_relu_and_pool(channels, kernel, pool, mode) -> None:
    torch.manual_seed(0)
    block = trained_a_little(ConvBlock(channels, 6, kernel, pool)).train(mode)
    with torch.no_grad():
        block.norm.weight[:2] = torch.tensor([-0.7, 0.0])  # a falling line, and a level one
        block.norm.bias[1] = 0.3
    plain = plain_block(block)
    x = torch.randn(3, 48, channels) + 0.5
    lengths = torch.tensor([48, 48, 48])
    ours, theirs = block(x, lengths), plain(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (ours > 0).flatten(0, 1).any(dim=0).all()
    target = torch.randn_like(ours)
    (ours * target).sum().backward()
    (theirs * target).sum().backward()
    torch.testing.assert_close(block.convolution.weight.grad, plain[0].weight.grad, rtol=1e-3, atol=1e-4)
    slopes, expected = block.norm.weight.grad.clone(), plain[1].weight.grad.clone()
    slopes[1] = expected[1] = 0  # at a weight of zero the two choose different maxima
    torch.testing.assert_close(slopes, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(block.norm.bias.grad, plain[1].bias.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(block.norm.running_mean, plain[1].running_mean)
    torch.testing.assert_close(block.norm.running_var, plain[1].running_var)


def test_bfloat16_rounds_the_convolution_and_nothing_else() -> None:
    torch.manual_seed(0)
    x, lengths = torch.randn(2, 40, 8), torch.tensor([40, 40])
    exact = trained_a_little(ConvBlock(8, 6, 5, 4)).train()
    rounded = ConvBlock(8, 6, 5, 4, "bfloat16").train()
    rounded.load_state_dict(exact.state_dict())
    ours, theirs = rounded(x, lengths), exact(x, lengths)
    assert ours.dtype == torch.float32 and 1e-4 < (ours - theirs).abs().max() < 0.05  # eight bits of mantissa
    ours.sum().backward()
    theirs.sum().backward()
    gradients = (block.convolution.weight.grad for block in (rounded, exact))
    torch.testing.assert_close(*gradients, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("channels", [1, 3])
def test_norm_knows_real_steps_only(channels) -> None:
    torch.manual_seed(0)
    block = ConvBlock(channels, 6, 5, 4).train()
    x, lengths = torch.randn(3, 40, channels), torch.tensor([40, 12, 24])
    x = x * (torch.arange(40) < lengths[:, None])[:, :, None]
    y = functional.conv1d(x.transpose(1, 2), block.convolution.weight, padding=2)
    real = torch.cat([one[:, :length] for one, length in zip(y, lengths, strict=True)], dim=1)  # (filters, 76)
    deviation = (real.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    expected = (y - real.mean(1, keepdim=True)) / deviation
    pooled = functional.max_pool1d(expected.relu(), 4).transpose(1, 2)
    ours = block(x, lengths)
    for row, length in enumerate((lengths // 4).tolist()):
        torch.testing.assert_close(ours[row, :length], pooled[row, :length], rtol=1e-4, atol=1e-5)
        assert not ours[row, length:].any()
    torch.testing.assert_close(block.norm.running_var, 0.9 + 0.1 * real.var(1))


def test_digital_silence_has_a_finite_gradient() -> None:
    block = ConvBlock(1, 4, 3, 4).train()
    block(torch.zeros(2, 16, 1), torch.tensor([16, 16])).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in block.parameters())


# The whole


@pytest.mark.parametrize("options", [{}, SPECTRA])
def test_evaluation_in_parts_is_evaluation_at_once(options, monkeypatch) -> None:
    model, batch = trained_a_little(build(options)), whole(dataset())
    at_once = model(batch)
    monkeypatch.setattr(krishna2020, "PART", 3)
    torch.testing.assert_close(model(batch), at_once)


@pytest.mark.parametrize("options", UNMASKED)
def test_without_the_mask_padding_counts(options) -> None:
    data = dataset()
    short, long = (trained_a_little(build(options, **size)) for size in ({}, {"seconds": 0.2, "words": 12}))
    together = short(whole(data))
    alone = torch.cat([short(data.batch(torch.tensor([row]))) for row in range(len(data))])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)  # always padded to one length
    assert (long(whole(data)) - together).abs().min(dim=1).values.max() > 1e-3
    masked = (trained_a_little(build(options, mask=True, **size)) for size in ({}, {"seconds": 0.2, "words": 12}))
    torch.testing.assert_close(*(model(whole(data)) for model in masked))


@pytest.mark.parametrize("memory", ["encoder", "updated"])
def test_attention_goes_both_ways_over_real_steps_and_sums_to_one(memory) -> None:
    model, batch = trained_a_little(build({"memory": memory})), whole(dataset())
    fast = model(batch)
    assert model.attention == {}
    model.keep_attention = True
    torch.testing.assert_close(model(batch), fast, rtol=1e-4, atol=1e-5)
    steps = [-(-samples // 16) for samples in SAMPLES]
    for side, (queries, keys) in {"audio": (steps, WORDS), "text": (WORDS, steps)}.items():
        assert [tuple(weights.shape) for weights in model.attention[side]] == 2 * [(4, 2, max(queries), max(keys))]
        for weights in model.attention[side]:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
            for row, length in enumerate(keys):
                assert not weights[row, :, :, length:].any()
                assert (weights[row, :, :, :length] > 0).all()


def test_the_second_block_attends_to_what_the_option_says() -> None:
    batch = whole(dataset())
    for memory in ("encoder", "updated"):
        model = trained_a_little(build({"memory": memory}))
        (audio, steps), (text, words) = (model.encoders[name](batch) for name in ("audio", "text"))
        inside = [torch.arange(x.shape[1]) < n[:, None] for x, n in ((audio, steps), (text, words))]
        cma1, cma2 = model.stacks["audio"], model.stacks["text"]
        a, t = cma1[0](audio, text, inside[1])[0], cma2[0](text, audio, inside[0])[0]
        to = (audio, text) if memory == "encoder" else (a, t)
        a, t = cma1[1](a, to[1], inside[1])[0], cma2[1](t, to[0], inside[0])[0]
        logits = model.output(torch.cat([statistics(a, steps), statistics(t, words)], dim=1))
        torch.testing.assert_close(model(batch), logits)


def test_both_systems_eat_the_same_samples_of_which_one_makes_spectra() -> None:
    batch = whole(dataset())
    waveforms, lengths = batch["waveform"], batch.lengths["waveform"]
    x, steps = build({}).encoders["audio"].input(waveforms, lengths)
    assert x.shape == (4, 912, 1) and steps.tolist() == [912, 400, 48, 656]  # multiples of 4 * 2 * 2
    torch.testing.assert_close(x[0, :900, 0] * 32768, waveforms[0].float())
    x, steps = build(SPECTRA).encoders["audio"].input(waveforms, lengths)
    expected, frames = spectra((waveforms / 32768).double(), lengths)
    expected = expected.float()
    assert frames.tolist() == [4, 1, 1, 2] and steps.tolist() == [4, 2, 2, 2]
    every = torch.cat([one[:count] for one, count in zip(expected, frames, strict=True)])  # (8, 257)
    deviation = (every.var(0, correction=0) + 1e-5).sqrt()
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(x[row, :count], (expected[row, :count] - every.mean(0)) / deviation)
        assert not x[row, count:].any()


# Sizes


def test_parameter_counts_are_those_of_a_hand_calculation() -> None:
    # A convolution has channels x kernel x filters weights, its batch norm two numbers a filter.
    raw = (1 * 3 * 64 + 2 * 64) + (64 * 5 * 100 + 2 * 100) + (100 * 7 * 100 + 2 * 100)
    spec = raw - 1 * 3 * 64 + 257 * 3 * 64
    # An LSTM has four gates of input x hidden, hidden x hidden and two biases; there are two of them.
    lstm = 2 * 4 * (100 * 100 + 100 * 100 + 2 * 100)
    encoder_tail = lstm + (200 * 100 + 100)
    text = 3_000 * 300 + (300 * 100 + 100) + encoder_tail
    # Query, key, value, output and two layers of feed-forward, and three layer norms.
    block = 6 * (100 * 100 + 100) + 3 * 2 * 100
    assert (raw, encoder_tail, block) == (102_720, 181_700, 61_200)
    counts = {
        "cma-raw": raw + encoder_tail + text + 4 * block + (400 * 4 + 4),
        "cma-spec": spec + encoder_tail + text + 4 * block + (400 * 4 + 4),
        "audio": raw + encoder_tail + 2 * block + (200 * 4 + 4),
        "text": text + 2 * block + (200 * 4 + 4),
    }
    for name, count in counts.items():
        system = SYSTEMS[name]
        model = system.build(Sizes({}, vocabulary=3_000), **system.settings["paper"].model)
        assert training.parameters(model) == count


def test_ten_seconds_become_hundreds_of_steps_from_samples_and_from_spectra() -> None:
    waveform, lengths = torch.zeros(1, 160_000, dtype=torch.int16), torch.tensor([160_000])
    for name in ("cma-raw", "cma-spec"):
        system = SYSTEMS[name]
        encoder = system.build(Sizes({}, vocabulary=3), **system.settings["paper"].model).encoders["audio"]
        assert encoder.input(waveform, lengths)[1].item() // encoder.together in (499, 500)


# Tables 1 and 2


def test_the_systems_are_the_papers_rows() -> None:
    assert list(models.systems("krishna2020")) == ["cma-spec", "cma-raw", "audio", "text"]
    for system in SYSTEMS.values():
        assert system.protocol == "leave-one-session-out"
        paper = system.settings["paper"]
        assert (paper.learning_rate, paper.max_tokens) == (1e-3, 50)
        assert (paper.model["size"], paper.model["heads"], paper.model["dropout"]) == (100, 10, 0.2)
        for settings in system.settings.values():
            assert settings.model.get("words", 50) == settings.max_tokens
    eaten = {name: set(system.inputs) for name, system in SYSTEMS.items()}
    both = {"waveform", "tokens"}
    assert eaten == {"cma-spec": both, "cma-raw": both, "audio": {"waveform"}, "text": {"tokens"}}


@pytest.mark.parametrize("option", ["front", "spectrum", "scale", "memory", "precision"])
def test_an_unknown_option_names_the_known_ones(option) -> None:
    with pytest.raises(ValueError, match=f"{option} is 'round'; expected one of"):
        build({option: "round"})


def test_a_pool_must_fit_a_byte() -> None:
    with pytest.raises(ValueError, match="pools are of 1 to 256 steps, not 257"):
        build({"pools": (257, 2, 2)})


def test_heads_that_do_not_divide_the_size_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads cannot share 8 dimensions"):
        build({"heads": 3})
