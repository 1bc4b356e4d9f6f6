"""From the samples of a recording to a row of features per label, through convolutions.

Tzirakis et al. 2021, section 3.2 and Table 1. Taught in chapter `tzirakis2021`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from serlib.models.layers import real

KERNELS = (8, 6, 6)
"""Samples and steps that the convolutions look at (Table 1)."""

CHUNK = 2_048
"""Frames of a recording that are convolved together in evaluation."""

ROWS = ("mean", "reshape")


class Paralinguistic(nn.Module):
    """Table 1: three convolutions of raw samples, each with ReLU and max-pooling, and
    then one row of features per label.

    Both keep the number of steps ("same" padding, as in the code). A recording is
    filled up with zeros until the pools divide it, and these count as sound; beyond
    them every layer sees zeros. In evaluation a recording is convolved in chunks that
    overlap by as much as a frame hears beyond itself, so that memory is bounded and the
    result is that of the whole.

    How frames become rows the paper does not say: at 22,050 Hz there are 8.82 of them
    in a label of 0.1 s.

    Args:
        samples: of a label, all channels together; channels of a label lie end to end,
            as in the code, and are convolved across their seam.
        filters: channels of the three convolutions.
        pools: steps that become one after each.
        stride: of the first convolution; 1 in the paper.
        dropout: share of the features that is zeroed after each pool.
        rows: `mean`, over the frames whose middle lies in a label; `reshape`, what the
            code does: all numbers of all frames, frame after frame, are cut into as
            many rows as there are labels, so that a row starts anywhere within a frame.

    Raises:
        ValueError: if a label is shorter than a frame, or cannot be reshaped to whole
            numbers.
    """

    def __init__(
        self,
        samples: int,
        filters: tuple[int, ...],
        pools: tuple[int, ...],
        stride: int,
        dropout: float,
        rows: str,
    ):
        super().__init__()
        if rows not in ROWS:
            raise ValueError(f"rows is {rows!r}; expected one of {', '.join(ROWS)}")
        self.samples, self.pools, self.stride = samples, pools, stride
        self.rows = rows
        self.frame = stride * math.prod(pools)  # samples
        self.size = filters[-1]
        if rows == "reshape":
            self.size, rest = divmod(samples * filters[-1], self.frame)
            if rest:
                raise ValueError(
                    f"{samples} samples a label, {self.frame} a frame,"
                    f" {filters[-1]} numbers a frame: a row is no whole number of them"
                )
        elif samples < self.frame:
            raise ValueError(
                f"the pools make one frame of {self.frame} samples, and a label has"
                f" only {samples}; take smaller pools"
            )
        channels = zip((1, *filters[:-1]), filters, KERNELS, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv1d(*sizes) for sizes in channels)
        self.convolutions[0].stride = (stride,)
        self.dropout = nn.Dropout(dropout)
        steps = [1, stride * pools[0], stride * pools[0] * pools[1]]
        reach = sum(k // 2 * step for k, step in zip(KERNELS, steps, strict=True))
        self.context = -(-reach // self.frame)
        """Frames on each side that a frame hears a part of."""

    def forward(self, sound: Tensor, lengths: Tensor) -> Tensor:
        """Return x_p, (batch, labels, size).

        Args:
            sound: (batch, labels, samples) 16-bit integers, zero on padding.
            lengths: (batch,) real labels of each.
        """
        frames = -(-lengths.cpu() * self.samples // self.frame)
        waves = sound.flatten(1)
        if self.training:
            x = self.convolve(self._filled(waves, int(frames.max())), frames)
        else:
            each = zip(waves, frames.tolist(), strict=True)
            whole = [self._in_chunks(wave, n) for wave, n in each]
            x = nn.utils.rnn.pad_sequence(whole, batch_first=True)
        labels = sound.shape[1]
        return self._mean(x, labels) if self.rows == "mean" else self._cut(x, labels)

    def convolve(self, waves: Tensor, frames: Tensor) -> Tensor:
        """Return the features of each frame, (batch, frames, filters), zero on padding.

        Args:
            waves: (batch, samples), as many as make whole frames.
            frames: (batch,) real frames of each.
        """
        x = (waves / 32768)[:, None]  # (batch, 1, samples)
        for layer, pool in zip(self.convolutions, self.pools, strict=True):
            kernel = layer.kernel_size[0]
            x = functional.pad(x, ((kernel - 1) // 2, kernel // 2))
            first = layer is self.convolutions[0]
            if first and self.stride == 1 and pool <= 256:  # places are bytes
                x = Pooled.apply(x[:, 0], layer.weight, layer.bias, pool)
            else:  # ties share the gradient
                x = layer(x).unflatten(2, (-1, pool)).amax(3)
            x = x.relu()
            if int(frames.min()) < waves.shape[1] // self.frame:
                steps = frames * (x.shape[2] * self.frame // waves.shape[1])
                x = x * real(steps, x.shape[2], x.device)[:, None]
            x = self.dropout(x)
        return x.transpose(1, 2)

    def _filled(self, waves: Tensor, frames: int) -> Tensor:
        return functional.pad(waves, (0, frames * self.frame - waves.shape[-1]))

    def _in_chunks(self, wave: Tensor, frames: int) -> Tensor:
        """`convolve` of the (samples,) of one recording, (frames, filters)."""
        wave, parts = self._filled(wave, frames), []
        for first in range(0, frames, CHUNK):
            start = max(0, first - self.context)
            end = min(frames, first + CHUNK + self.context)
            piece = wave[None, start * self.frame : end * self.frame]
            x = self.convolve(piece, torch.tensor([end - start]))[0]
            parts.append(x[first - start :][:CHUNK])
        return torch.cat(parts)

    def _mean(self, x: Tensor, labels: int) -> Tensor:
        """Mean over the frames of each label, (batch, labels, filters)."""
        frame = torch.arange(x.shape[1], device=x.device)
        label = (2 * frame + 1) * self.frame // (2 * self.samples)  # of its middle
        label = label.clamp(max=labels)  # after the last label: taken off below
        sums = x.new_zeros(len(x), labels + 1, x.shape[2]).index_add(1, label, x)
        counts = torch.bincount(label, minlength=labels + 1).clamp(min=1)
        return (sums / counts[:, None])[:, :labels]

    def _cut(self, x: Tensor, labels: int) -> Tensor:
        numbers = x.flatten(1)
        missing = labels * self.size - numbers.shape[1]  # a negative number cuts
        return functional.pad(numbers, (0, missing)).unflatten(1, (labels, self.size))


class Pooled(torch.autograd.Function):
    """A convolution of samples, of which only the maxima of its pools are kept.

    Table 1's first layer makes 50 numbers of every sample, of which the pool throws
    nine in ten away: writing and reading them again takes most of the time. Here a few
    pools at a time are a product of matrices, small enough for a processor's cache, and
    what is kept for the gradient is where in its pool each maximum was, the first of
    equal ones: nothing else of the pool has a gradient.
    """

    @staticmethod
    def forward(ctx, waves: Tensor, weight: Tensor, bias: Tensor, pool: int) -> Tensor:
        """Return the maxima of each pool, (batch, filters, pools).

        Args:
            waves: (batch, pools * pool + kernel - 1)
            weight: (filters, 1, kernel)
            bias: (filters,)
            pool: steps that become one.
        """
        filters, _, kernel = weight.shape
        # what a pool hears, to each of its steps: (pool + kernel - 1, pool, filters)
        band = weight.new_zeros(pool + kernel - 1, pool, filters)
        for step in range(pool):
            band[step : step + kernel, step] = weight[:, 0].T
        windows = waves.unfold(1, len(band), pool)
        maxima = waves.new_empty(*windows.shape[:2], filters)
        places = torch.empty_like(maxima, dtype=torch.uint8)
        for heard, *found in _few(windows, maxima, places):
            steps = (heard @ band.flatten(1)).unflatten(1, (pool, filters))
            for one, into in zip(steps.max(dim=1), found, strict=True):
                into.copy_(one)
        ctx.save_for_backward(waves, places, weight)
        ctx.pool = pool
        return (maxima + bias).transpose(1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, Tensor, None]:
        """Return the gradients of weight and bias; samples learn nothing."""
        (waves, places, weight), pool = ctx.saved_tensors, ctx.pool
        filters, _, kernel = weight.shape
        windows = waves.unfold(1, pool + kernel - 1, pool)
        band = weight.new_zeros(pool + kernel - 1, pool * filters)
        for heard, own, place in _few(windows, gradient.transpose(1, 2), places):
            steps = own.new_zeros(len(own), pool, filters)
            steps.scatter_(1, place.long()[:, None], own[:, None])
            band.addmm_(heard.T, steps.flatten(1))
        band = band.unflatten(1, (pool, filters))
        own = sum(band[step : step + kernel, step] for step in range(pool))
        return None, own.T[:, None], gradient.sum(dim=(0, 2)), None


def _few(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of each item of some (batch, rows, ...), few at a time."""
    count = 512 if tensors[0].device.type == "cpu" else 1 << 15
    for item in zip(*tensors, strict=True):
        yield from zip(*(one.split(count) for one in item), strict=True)
