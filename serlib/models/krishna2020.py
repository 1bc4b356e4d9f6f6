"""Convolutions over raw samples, and attention between sound and words in both
directions: CMA.

Krishna and Patil 2020, "Multimodal emotion recognition using cross-modal attention and
1D convolutional neural networks" (Interspeech). Taught in chapter `krishna2020`;
equation numbers are the paper's.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from serlib.batching import Batch
from serlib.features.spectrogram import BINS, SCALES, spectra
from serlib.features.waveform import RATE
from serlib.inputs import Waveform, Words
from serlib.models.layers import BiLSTM, masked_softmax, real, word_embedding
from serlib.models.system import System, Variant
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES

KERNELS = (3, 5, 7)
"""Filter sizes of the three convolutions (section 2.1)."""

DIVISORS = {"d_q": lambda size: size, "root": math.sqrt}
"""What equation (5) divides by, as a function of d_q; `root` is what its source,
Vaswani et al. 2017, does.
"""

FLOOR = 1e-8
"""Least variance in statistics pooling: the root of zero has no gradient."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What convolutions may be calculated in; all but that of the waveform, which takes its
own way.
"""

PART = 32
"""Utterances that are convolved together in evaluation, where one does not depend on
another.
"""


class _WindowMaximum(torch.autograd.Function):
    """The largest of several products per window, of which neither forward nor backward
    pass keeps more than the place.

    On ties, as in digital silence, the last one gets the gradient.
    """

    @staticmethod
    def forward(ctx, windows: Tensor, bank: Tensor, learning: bool) -> Tensor:
        """Multiply (n, samples) windows with a (places, filters, samples) bank to (n,
        filters) maxima over places.
        """
        places, filters, _ = bank.shape
        number = torch.arange(places, dtype=torch.uint8, device=bank.device)[
            :, None, None
        ]
        at_a_time = (2**17 if windows.device.type == "cpu" else 2**27) // (
            places * filters
        )  # a CPU's cache holds that
        highest, winners = [], []
        for part in windows.split(max(1, at_a_time)):
            products = (bank.flatten(0, 1) @ part.T).unflatten(
                0, (places, filters)
            )  # (places, filters, n)
            most = products.amax(0)
            highest.append(most.T)
            if learning:
                winners.append(((products == most).view(torch.uint8) * number).amax(0))
        if learning:
            ctx.save_for_backward(windows, torch.cat(winners, 1))
            ctx.shape = bank.shape
        return torch.cat(highest)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:
        windows, winners = ctx.saved_tensors  # (n, samples), (filters, n)
        places, filters, samples = ctx.shape
        kernel = samples - places + 1
        first = winners + torch.arange(
            0, windows.numel(), samples, dtype=torch.int32, device=windows.device
        )
        heard = (
            windows.flatten().unfold(0, kernel, 1).index_select(0, first.flatten())
        )  # what the winners multiplied
        taps = gradient.T[:, None] @ heard.view(
            filters, -1, kernel
        )  # (filters, 1, kernel)
        total = gradient.new_zeros(ctx.shape)
        total[0, :, :kernel] = taps[
            :, 0
        ]  # all places hold the same filters: one may take all
        return None, total, None


class _PoolWithMoments(torch.autograd.Function):
    """Maxima of every few steps, and mean and mean square of all: two passes through
    memory instead of a dozen.
    """

    @staticmethod
    def forward(
        ctx, y: Tensor, shares: Tensor, pool: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, steps, filters) and the (batch, steps) share of each step in the
        means, to (batch, steps / pool, filters) maxima, (filters,) means, (filters,)
        mean squares.
        """
        number = torch.arange(pool, dtype=torch.uint8, device=y.device)[:, None]
        highest, winners, first, second = [], [], 0, 0
        for part, share in zip(*_parts(y, shares), strict=True):
            groups = part.unflatten(1, (-1, pool))
            highest.append(groups.amax(2))
            winners.append(
                ((groups == highest[-1][:, :, None]).view(torch.uint8) * number).amax(2)
            )
            flat, share = part.flatten(0, 1), share.flatten()
            first, second = first + share @ flat, second + share @ flat.square()
        ctx.save_for_backward(y, shares, torch.cat(winners))
        ctx.pool = pool
        return torch.cat(highest), first, second

    @staticmethod
    def backward(
        ctx, highest: Tensor, first: Tensor, second: Tensor
    ) -> tuple[Tensor, None, None]:
        total = torch.empty_like(ctx.saved_tensors[0])
        for into, y, share, winner, most in zip(
            *_parts(total, *ctx.saved_tensors, highest), strict=True
        ):
            torch.addcmul(first, y, 2 * second, out=into).mul_(share[:, :, None])
            into.unflatten(1, (-1, ctx.pool)).scatter_add_(
                2, winner.long()[:, :, None], most[:, :, None]
            )
        return total, None, None


def _parts(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut a batch into utterances for a CPU, whose cache holds one; a GPU takes it
    whole.
    """
    return [one.split(1 if one.device.type == "cpu" else len(one)) for one in tensors]


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU and max-pooling (section 2.1), faster than one
    after the other but the same.

    Batch norm is, per filter, a line with the slope weight / deviation, and ReLU rises:
    the largest of some outputs comes from the largest convolution where the slope is
    positive, from the smallest where it is negative. So a filter of negative weight is
    turned around, what is pooled is the convolution, and all that follows happens to
    one number instead of `pool`. Mean and deviation are those before pooling, and only
    of real steps: on one-channel input they follow from the covariance of `kernel`
    neighbouring samples, w^T C w, and the convolution itself is never stored.

    Args:
        channels: of the input.
        filters, kernel: of the convolution, which keeps the number of steps. A bias
            would be taken away by batch norm.
        pool: steps that become one.
        precision: of the convolution, `float32` or `bfloat16`; on a waveform always
            float32.

    Raises:
        ValueError: for a pool of more than 256 steps, or for another precision.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int,
        pool: int,
        precision: str = "float32",
    ):
        super().__init__()
        if not 1 <= pool <= 256:
            raise ValueError(
                f"pools are of 1 to 256 steps, not {pool}"
            )  # the place of a maximum is kept in a byte
        self.convolution = nn.Conv1d(
            channels, filters, kernel, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm1d(filters)
        self.pool = pool
        self.precision = _choose("precision", precision, PRECISIONS)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return (batch, steps / pool, filters), zero on padding.

        Args:
            x: (batch, steps, channels) with zeros on padding; steps are a multiple of
                `pool`.
            lengths: (batch,) real steps of each, multiples of `pool`.
        """
        norm, sign = self.norm, torch.where(self.norm.weight < 0, -1.0, 1.0)
        weight = self.convolution.weight * sign[:, None, None]
        if x.shape[2] == 1 and not x.requires_grad:
            highest = _convolve_waveform(x[:, :, 0], weight[:, 0], self.pool)
            moments = (
                _moments_of_filters(x[:, :, 0], weight[:, 0], lengths)
                if self.training
                else None
            )
        else:
            highest, *moments = _pooled(
                _convolve(x, weight, self.precision), lengths, self.pool, self.training
            )
        mean, variance = (
            moments if self.training else (norm.running_mean * sign, norm.running_var)
        )
        if self.training:
            count = int(lengths.sum())
            with torch.no_grad():
                norm.num_batches_tracked += 1
                norm.running_mean.lerp_(mean * sign, norm.momentum)
                norm.running_var.lerp_(
                    variance * (count / max(1, count - 1)), norm.momentum
                )
        slope = norm.weight.abs() * torch.rsqrt(variance + norm.eps)
        inside = real(lengths // self.pool, highest.shape[1], highest.device)
        return (
            torch.addcmul(norm.bias - mean * slope, highest, slope).relu()
            * inside[:, :, None]
        )


def _convolve(x: Tensor, weight: Tensor, precision: torch.dtype) -> Tensor:
    """Convolve (batch, steps, channels) to (batch, steps, filters): channels last, as a
    two-dimensional convolution.
    """
    image = x.transpose(1, 2)[:, :, None]  # (batch, channels, 1, steps)
    with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
        y = functional.conv2d(
            image, weight[:, :, None], padding=(0, weight.shape[2] // 2)
        )
    return y.to(x.dtype)[:, :, 0].transpose(1, 2)


def _convolve_waveform(x: Tensor, weight: Tensor, pool: int) -> Tensor:
    """Convolve (batch, steps) with (filters, kernel), and keep the largest of every
    `pool` outputs.

    All outputs that are pooled together are the product of one window of samples with
    one matrix, whose rows are the filters at `pool` places.
    """
    kernel = weight.shape[1]
    samples = functional.pad(x, (kernel // 2, kernel // 2))
    windows = samples.unfold(1, pool + kernel - 1, pool).flatten(
        0, 1
    )  # (batch * steps / pool, samples)
    bank = torch.stack(
        [functional.pad(weight, (place, pool - 1 - place)) for place in range(pool)]
    )
    return _WindowMaximum.apply(windows, bank, torch.is_grad_enabled()).unflatten(
        0, (len(x), -1)
    )


def _pooled(
    y: Tensor, lengths: Tensor, pool: int, training: bool
) -> tuple[Tensor, ...]:
    """Maxima of every `pool` steps of (batch, steps, filters); in training also mean
    and variance over real steps.
    """
    if not training:
        return (y.unflatten(1, (-1, pool)).amax(2),)
    shares = real(lengths, y.shape[1], y.device) / lengths.sum().to(y.device)
    highest, mean, square = _PoolWithMoments.apply(y, shares, pool)
    return highest, mean, (square - mean.square()).clamp(min=0)


def _moments_of_filters(
    x: Tensor, weight: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """The same of a waveform's convolution, (batch, steps) with (filters, kernel),
    without convolving.

    In double precision: neighbouring samples differ little, and a filter may look at
    their difference.
    """
    kernel, count = weight.shape[1], int(lengths.sum())
    samples = functional.pad(x, (kernel // 2, kernel // 2))
    first, second = [], []
    for one, length in zip(samples, lengths.tolist(), strict=True):
        one = one[: length + kernel - 1].double()
        lags = [one[lag : lag + length] for lag in range(kernel)]
        first.append(torch.stack([lag.sum() for lag in lags]))
        second.append(torch.stack([a @ b for a in lags for b in lags]))
    mean = torch.stack(first).sum(0) / count
    covariance = (
        torch.stack(second).sum(0).view(kernel, kernel) / count - mean[:, None] * mean
    )
    w = weight.double()
    return (w @ mean).to(x.dtype), ((w @ covariance) * w).sum(1).clamp(min=0).to(
        x.dtype
    )


class AudioEncoder(nn.Module):
    """Equations (1) and (2): three convolutions and a BiLSTM over the waveform or its
    spectra, projected to `size`.

    An utterance is filled up with zeros until the pools divide it (20 ms at most with
    the paper's sizes here); these count as real, so that no pooling mixes sound and
    padding. Every bin of the spectra is brought to mean 0 and deviation 1, as hand-made
    features are elsewhere, by a batch norm that learns nothing else: bins are far from
    0, and with every update of the first convolution the mean of its outputs would run
    away from the mean that batch norm has on its books.

    Args:
        front: `waveform`, samples in [-1, 1]; `spectra`, see
            `serlib.features.spectrogram`.
        filters: of the three convolutions.
        pools: steps that each block makes one of. The paper names none.
        size: of each direction of the BiLSTM and of the states returned.
        dropout: share of the BiLSTM's states that are zeroed. The paper gives a
            one-layer LSTM a dropout of 0.2, which PyTorch's own option would ignore.
        seconds: how long an utterance is if its padding counts as sound.
        mask: False lets it count as sound, as the paper's description does.
        spectrum: scale of the spectra: `log`, `magnitude` or `power`.
        precision: of the convolutions, see `ConvBlock`.
    """

    def __init__(
        self,
        front: str,
        filters: tuple[int, ...],
        pools: tuple[int, ...],
        size: int,
        dropout: float,
        seconds: float,
        mask: bool,
        spectrum: str,
        precision: str,
    ):
        super().__init__()
        channels = (_choose("front", front, {"waveform": 1, "spectra": BINS}), *filters)
        _choose("spectrum", spectrum, SCALES)
        self.front, self.spectrum, self.seconds, self.mask = (
            front,
            spectrum,
            seconds,
            mask,
        )
        self.together = math.prod(pools)
        if front == "spectra":
            self.standardise = nn.BatchNorm1d(BINS, affine=False)
        self.blocks = nn.ModuleList(
            ConvBlock(*sizes, precision)
            for sizes in zip(channels[:-1], filters, KERNELS, pools, strict=True)
        )
        self.lstm = BiLSTM(filters[-1], size)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(self.lstm.size, size)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return H^A, (batch, T, size), and the real steps of each, (batch,)."""
        x, lengths = self.input(batch["waveform"], batch.lengths["waveform"])
        parts = (
            [(x, lengths)]
            if self.training
            else zip(x.split(PART), lengths.split(PART), strict=True)
        )
        features = torch.cat(
            [self.convolve(*part) for part in parts]
        )  # F^A, (batch, T, filters)
        lengths = lengths // self.together
        return self.projection(self.dropout(self.lstm(features, lengths))), lengths

    def input(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Make what the first convolution reads.

        Args:
            waveforms: (batch, samples) 16-bit integers.
            lengths: (batch,) real samples of each.

        Returns:
            (batch, steps, channels), zero on padding, and real steps; both multiples of
            all pools together.
        """
        x = waveforms / 32768
        if not self.mask:
            x = functional.pad(x, (0, round(self.seconds * RATE) - x.shape[1]))
            lengths = torch.full_like(lengths, x.shape[1])
        if self.front == "spectra":
            x, lengths = spectra(x.double(), lengths, self.spectrum)
            x = x.float()  # rounded once: machines differ in the last bits before that
            inside = real(lengths, x.shape[1], x.device)
            x = torch.zeros_like(x).masked_scatter(
                inside[:, :, None], self.standardise(x[inside])
            )
        else:
            x = x[:, :, None]
        lengths = -(-lengths.cpu() // self.together) * self.together
        return functional.pad(x, (0, 0, 0, int(lengths.max()) - x.shape[1])), lengths

    def convolve(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return F^A of equation (1), (batch, T, filters)."""
        for block in self.blocks:
            x, lengths = block(x, lengths), lengths // block.pool
        return x


class TextEncoder(nn.Module):
    """Equations (3) and (4): embedded words, a convolution of size one, a BiLSTM,
    projected to `size`.

    A convolution of size one is one linear layer on every word, and that is what it is
    here.

    Args:
        sizes: vocabulary and pretrained vectors.
        embedding: size of a word vector.
        size: of the convolution, of each direction of the BiLSTM and of the states
            returned.
        dropout: as in `AudioEncoder`.
        words: how long an utterance is if its padding counts as words.
        mask: False lets it count as words.
    """

    def __init__(
        self,
        sizes: Sizes,
        embedding: int,
        size: int,
        dropout: float,
        words: int,
        mask: bool,
    ):
        super().__init__()
        self.words, self.mask = words, mask
        self.embedding = word_embedding(sizes, embedding)
        self.convolution = nn.Linear(embedding, size)
        self.lstm = BiLSTM(size, size)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(self.lstm.size, size)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return H^T, (batch, words, size), and the real words of each, (batch,)."""
        tokens, lengths = batch["tokens"], batch.lengths["tokens"]
        if not self.mask:
            tokens = functional.pad(tokens, (0, self.words - tokens.shape[1]))
            lengths = torch.full_like(lengths, self.words)
        features = self.convolution(self.embedding(tokens))  # F^T
        return self.projection(self.dropout(self.lstm(features, lengths))), lengths


class AttentionBlock(nn.Module):
    """A multi-head attention layer: equations (5) and (6), and a position-wise
    feed-forward layer (section 2.3).

    Layer norm comes before queries, keys and values are made, as the paper says. What
    it does not say follows the transformer with norms first: what goes in is added to
    what comes out, here and around the feed-forward layer, which is two linear ones
    with a ReLU between them and has a norm of its own. W_0 of (6) is not counted as
    that layer.

    Args:
        size: of queries, keys, values and the feed-forward layer.
        heads: M; each has size / M dimensions, its d_q.
        scale: what the scores are divided by: `d_q`, as printed, or `root`, its square
            root.
        residual: False leaves both additions out.

    Raises:
        ValueError: if the heads do not divide the size, or for another scale.
    """

    def __init__(
        self, size: int, heads: int, scale: str = "d_q", residual: bool = True
    ):
        super().__init__()
        if size % heads:
            raise ValueError(
                f"{heads} heads cannot share {size} dimensions; take a size that they"
                " divide"
            )
        self.heads, self.residual = heads, residual
        self.divisor = _choose("scale", scale, DIVISORS)(size // heads)
        self.norm_query, self.norm_memory, self.norm_output = (
            nn.LayerNorm(size) for _ in range(3)
        )
        self.query, self.key, self.value, self.output = (
            nn.Linear(size, size) for _ in range(4)
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)
        )

    def forward(
        self, x: Tensor, memory: Tensor, inside: Tensor, keep: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Let every step of one sequence attend to another.

        Args:
            x: (batch, queries, size).
            memory: (batch, keys, size).
            inside: (batch, keys) booleans, True on real steps.
            keep: return the weights too, which takes the slower way.

        Returns:
            (batch, queries, size); and (batch, heads, queries, keys) weights, or None.
        """
        query = self._split(self.query(self.norm_query(x)))
        memory = self.norm_memory(memory)
        key, value = self._split(self.key(memory)), self._split(self.value(memory))
        inside, weights = inside[:, None, None], None
        if keep:
            attended, weights = attend(query, key, value, inside, self.divisor)
        else:
            attended = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                inside.expand(-1, -1, query.shape[2], -1),
                scale=1 / self.divisor,
            )
        attended = self.output(attended.transpose(1, 2).flatten(2))  # (6)
        x = x + attended if self.residual else attended
        forwarded = self.feed_forward(self.norm_output(x))
        return x + forwarded if self.residual else forwarded, weights

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(
            1, 2
        )  # (batch, heads, steps, d_q)


def attend(
    query: Tensor, key: Tensor, value: Tensor, inside: Tensor, divisor: float
) -> tuple[Tensor, Tensor]:
    """Equation (5) of every head at once, with the transpose of K that it leaves out.

    Args:
        query: (..., queries, d_q).
        key, value: (..., keys, d_q).
        inside: (..., 1, keys) booleans, True on real steps.
        divisor: what the scores are divided by; d_q in the paper.

    Returns:
        A, (..., queries, d_q), and its weights, (..., queries, keys).
    """
    scores = query @ key.transpose(-2, -1) / divisor
    weights = masked_softmax(scores, inside.expand_as(scores))
    return weights @ value, weights


def statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Mean and standard deviation over the real steps, side by side (equations 7 and
    8).

    Args:
        x: (batch, steps, size).
        lengths: (batch,) real steps of each.

    Returns:
        (batch, 2 size)
    """
    share = (
        real(lengths, x.shape[1], x.device) / lengths.to(x.device)[:, None]
    )  # (batch, steps)
    mean = share[:, None] @ x  # (batch, 1, size)
    variance = share[:, None] @ (x - mean).square()
    return torch.cat([mean, variance.clamp(min=FLOOR).sqrt()], dim=2).squeeze(1)


class CMA(nn.Module):
    """Cross-modal attention: sound attends to words (CMA-1), words to sound (CMA-2);
    both are pooled and classified.

    With one modality alone, the same encoder and the same blocks, which attend to it:
    the systems of Table 2, for which `memory` is `updated`. Section 5 speaks of "a
    single layer LSTM" and "a self attention layer" there, and of the same encoder and
    attention as before, which have two directions and two layers; so it is here.

    Args:
        sizes: vocabulary, pretrained vectors, number of outputs.
        modalities: `audio`, `text` or both.
        front, filters, pools, seconds, spectrum, precision: see `AudioEncoder`.
        embedding, words: see `TextEncoder`.
        size: of all states.
        heads, scale, residual: see `AttentionBlock`.
        dropout, mask: of both encoders.
        memory: what the second of two blocks attends to, which the paper does not say:
            `encoder`, like the first, the states of the other encoder; `updated`, what
            the first block of the other side made of them.
        blocks: attention layers on each side.

    Attributes:
        keep_attention: set it to True to have every forward pass leave its weights in
            `attention`.
        attention: modality to one tensor per block: under `audio`, (batch, heads, T,
            words), how sound attends to words; under `text`, (batch, heads, words, T),
            the other way. Empty until then.
    """

    def __init__(
        self,
        sizes: Sizes,
        modalities: tuple[str, ...] = ("audio", "text"),
        front: str = "waveform",
        filters: tuple[int, ...] = (64, 100, 100),
        pools: tuple[int, ...] = (8, 8, 5),
        seconds: float = 10.0,
        spectrum: str = "log",
        precision: str = "float32",
        embedding: int = 300,
        words: int = 50,
        size: int = 100,
        heads: int = 10,
        scale: str = "d_q",
        residual: bool = True,
        dropout: float = 0.2,
        mask: bool = True,
        memory: str = "encoder",
        blocks: int = 2,
    ):
        super().__init__()
        self.updated = _choose("memory", memory, {"encoder": False, "updated": True})
        self.keep_attention = False
        self.attention: dict[str, list[Tensor]] = {}
        self.attends_to = dict(
            zip(modalities, reversed(modalities), strict=True)
        )  # to itself if alone
        self.encoders = nn.ModuleDict()
        if "audio" in modalities:
            self.encoders["audio"] = AudioEncoder(
                front, filters, pools, size, dropout, seconds, mask, spectrum, precision
            )
        if "text" in modalities:
            self.encoders["text"] = TextEncoder(
                sizes, embedding, size, dropout, words, mask
            )
        self.stacks = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    AttentionBlock(size, heads, scale, residual) for _ in range(blocks)
                )
                for name in modalities
            }
        )
        self.output = nn.Linear(2 * size * len(modalities), sizes.outputs)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        encoded = {name: encoder(batch) for name, encoder in self.encoders.items()}
        states, lengths = (
            {name: pair[part] for name, pair in encoded.items()} for part in (0, 1)
        )  # H and its steps
        inside = {
            name: real(lengths[name], x.shape[1], x.device)
            for name, x in states.items()
        }
        current, kept = states, {name: [] for name in states}
        for level in zip(*self.stacks.values(), strict=True):
            before, current = current, {}
            for (name, other), block in zip(
                self.attends_to.items(), level, strict=True
            ):
                memory = (before if self.updated else states)[other]
                current[name], weights = block(
                    before[name], memory, inside[other], self.keep_attention
                )
                if weights is not None:
                    kept[name].append(weights.detach())
        if self.keep_attention:
            self.attention = kept
        pooled = [
            statistics(current[name], lengths[name]) for name in self.attends_to
        ]  # P^A, P^T
        return self.output(torch.cat(pooled, dim=1))


def _choose(option: str, value: str, values: dict):
    if value not in values:
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(values)}")
    return values[value]


# The paper's sizes, rate and lengths. It names no batch size, number of epochs or
# development set: what is not here is as in yoon2018, but for smaller batches of what
# is 160,000 steps long.
PAPER = Settings(
    batch_size=32, learning_rate=1e-3, max_tokens=50, vectors="glove", seeds=5
)
SECONDS = 10.0
LARGE = {"size": 100, "heads": 10, "dropout": 0.2}
LARGE_AUDIO = {"filters": (64, 100, 100), "pools": (8, 8, 5), "seconds": SECONDS}
LARGE_TEXT = {"embedding": 300, "words": 50}

QUICK = Settings(
    epochs=7,
    max_steps=None,
    batch_size=32,
    learning_rate=2e-3,
    check_every=1.0,
    patience=2,
    max_tokens=50,
    folds=2,
    seeds=1,
)
SMALL = {"size": 32, "heads": 4, "dropout": 0.2}
SMALL_AUDIO = {"filters": (8, 24, 32), "pools": (16, 8, 10), "seconds": SECONDS}
SMALL_TEXT = {"embedding": 100, "words": 50}

# As many steps a second as the waveform has after its pools, of which there are 100
# before.
LARGE_SPECTRA = {"front": "spectra", "pools": (2, 1, 1)}
SMALL_SPECTRA = {"front": "spectra", "pools": (2, 2, 2)}


def _system(name: str, summary: str, small: dict, large: dict) -> System:
    settings = {
        "quick": replace(QUICK, model=SMALL | small),
        "paper": replace(PAPER, model=LARGE | large),
    }
    eats = {"tokens": Words()} if "embedding" in large else {}
    eats |= {"waveform": Waveform(SECONDS)} if "seconds" in large else {}
    protocol = "leave-one-session-out"
    return System(name, summary, eats, CLASSES, CMA, settings, protocol)


SMALL_BOTH, LARGE_BOTH = SMALL_TEXT | SMALL_AUDIO, LARGE_TEXT | LARGE_AUDIO
# What attends to itself attends to what it has become: self-attention, as section 5
# calls it.
AUDIO, TEXT = (
    {"modalities": (name,), "memory": "updated"} for name in ("audio", "text")
)
HEAR, READ = "samples, attending to themselves", "words, attending to themselves"
SPECTRA = SMALL_BOTH | SMALL_SPECTRA, LARGE_BOTH | LARGE_SPECTRA
SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _system("cma-spec", "words and spectra", *SPECTRA),
        _system("cma-raw", "words and samples", SMALL_BOTH, LARGE_BOTH),
        _system("audio", HEAR, SMALL_AUDIO | AUDIO, LARGE_AUDIO | AUDIO),
        _system("text", READ, SMALL_TEXT | TEXT, LARGE_TEXT | TEXT),
    )
}
"""Rows of Tables 1 and 2."""

VARIANTS = {
    "padding counts": Variant("cma-raw", {"model": {"mask": False}}),
    "scores over the root": Variant("cma-raw", {"model": {"scale": "root"}}),
    "nothing added": Variant("cma-raw", {"model": {"residual": False}}),
    "updated memory": Variant("cma-raw", {"model": {"memory": "updated"}}),
    "pools 8 8 5": Variant("cma-raw", {"model": {"pools": (8, 8, 5)}}),
    "pools 16 8 40": Variant("cma-raw", {"model": {"pools": (16, 8, 40)}}),
    "pools 64 5 4": Variant("cma-raw", {"model": {"pools": (64, 5, 4)}}),
    "bfloat16": Variant("cma-raw", {"model": {"precision": "bfloat16"}}),
    "magnitude": Variant("cma-spec", {"model": {"spectrum": "magnitude"}}),
    "spectra alone": Variant("audio", {"model": SMALL_SPECTRA}),
}
"""What the paper leaves open, each with the choice that is not the default."""
