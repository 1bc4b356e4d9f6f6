"""From arrays of different lengths to padded batches, without a loop over frames and
with little padding.

Used by all five papers; taught in chapter `cache`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

POOL = 12
"""Batches that are drawn together and sorted by length; more means less padding and
less chance.
"""


@dataclass(frozen=True)
class Batch:
    """Items padded to one length.

    Attributes:
        ids: names of the utterances or recordings.
        targets: (batch,) int64 class indices, or (batch, steps, 3) curves.
        inputs: name to tensor: (batch, frames, dims) for frames and (batch, words)
            int64 for `tokens`, padded with zeros at the end; (batch, dims) for a
            feature of the whole item.
        lengths: (batch,) int64 on the CPU for every input that is a sequence, and for
            `targets` that are curves: its real steps, at least one.
    """

    ids: list[str]
    targets: Tensor
    inputs: dict[str, Tensor]
    lengths: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Tensor:
        """Return the input called `name`."""
        return self.inputs[name]

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on `device`; lengths stay on the CPU."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return replace(self, targets=self.targets.to(device), inputs=inputs)


@dataclass(frozen=True)
class Ragged:
    """Sequences of different lengths, end to end in one tensor.

    Attributes:
        flat: (all steps, ...) one sequence after the other.
        starts: (n,) int64 on the device of `flat`: first step of each.
        lengths: (n,) int64 on the CPU: steps of each; may be 0.
    """

    flat: Tensor
    starts: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray]) -> Ragged:
        """Lay arrays of shape (steps, ...) end to end; at least one of them."""
        lengths = torch.tensor([len(array) for array in arrays])
        nothing = np.zeros(
            (1, *arrays[0].shape[1:]), arrays[0].dtype
        )  # so that there is something to index
        flat = torch.from_numpy(np.concatenate([*arrays, nothing]))
        return cls(flat, lengths.cumsum(0) - lengths, lengths)

    def select(self, rows: Tensor) -> Ragged:
        """Return the sequences `rows` (on the CPU), sharing `flat`."""
        return replace(
            self,
            starts=self.starts[rows.to(self.starts.device)],
            lengths=self.lengths[rows],
        )

    def to(self, device: torch.device | str) -> Ragged:
        """Return a copy on `device`; lengths stay on the CPU."""
        return replace(self, flat=self.flat.to(device), starts=self.starts.to(device))

    def steps(self) -> Tensor:
        """Return all real steps of all sequences, (steps, ...), without padding."""
        lengths = self.lengths.to(self.flat.device)
        before = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        return self.flat[
            self.starts.repeat_interleave(lengths)
            + torch.arange(len(before), device=before.device)
            - before
        ]

    def padded(self) -> tuple[Tensor, Tensor]:
        """Return the sequences as (n, longest, ...) with zeros at the end, and their
        lengths.

        An empty sequence becomes a single step of zeros, so that every length is at
        least one.
        """
        longest = max(1, int(self.lengths.max()))
        step = torch.arange(longest, device=self.flat.device)
        index = (self.starts[:, None] + step).clamp_(max=len(self.flat) - 1)
        padding = step >= self.lengths.to(self.flat.device)[:, None]  # (n, longest)
        values = self.flat[index]
        padding = padding.view(*padding.shape, *[1] * (values.dim() - 2))
        return values.masked_fill_(padding, 0), self.lengths.clamp(min=1)


@dataclass(frozen=True)
class Dataset:
    """Everything a model eats, of many items, held without padding on one device.

    Attributes:
        ids: names of the utterances or recordings.
        targets: (n,) int64 class indices, or curves of (steps, 3).
        sequences: features of frames and words.
        vectors: (n, dims) features of whole items.
    """

    ids: list[str]
    targets: Tensor | Ragged
    sequences: dict[str, Ragged]
    vectors: dict[str, Tensor]
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = {id: row for row, id in enumerate(self.ids)}
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def build(
        cls,
        ids: Sequence[str],
        targets: Sequence[int] | Sequence[np.ndarray],
        inputs: Mapping[str, Mapping[str, np.ndarray]],
    ) -> Dataset:
        """Collect what some items are.

        Args:
            ids: names of the utterances or recordings.
            targets: their class indices, or curves of (steps, 3).
            inputs: name to id to array: (steps, ...) for a sequence, which may be of
                integers and may be empty, or (dims,) real numbers for a vector. An
                empty sequence becomes a single step of zeros.

        Raises:
            ValueError: if there is no item, or an array is missing or holds NaN or
                infinity.
        """
        if not ids:
            raise ValueError("a dataset needs at least one item")
        sequences, vectors = {}, {}
        for name, table in inputs.items():
            arrays = [_array(name, id, table) for id in ids]
            if arrays[0].ndim == 1 and arrays[0].dtype.kind == "f":
                vectors[name] = torch.from_numpy(np.stack(arrays).astype(np.float32))
            else:
                sequences[name] = Ragged.of(arrays)
        curves = np.ndim(targets[0]) > 0
        return cls(
            list(ids),
            Ragged.of(targets) if curves else torch.tensor(targets, dtype=torch.int64),
            sequences,
            vectors,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return (self.targets.flat if self.curves else self.targets).device

    @property
    def curves(self) -> bool:
        """Whether a target is a curve, not a class."""
        return isinstance(self.targets, Ragged)

    @property
    def bytes(self) -> int:
        """Memory that the features take."""
        tensors = [
            *self.vectors.values(),
            *(ragged.flat for ragged in self.sequences.values()),
        ]
        return sum(tensor.nbytes for tensor in tensors)

    @property
    def dims(self) -> dict[str, int]:
        """Last dimension of every feature but `tokens`."""
        dims = {
            name: ragged.flat.shape[-1]
            for name, ragged in self.sequences.items()
            if ragged.flat.dim() > 1
        }
        return dims | {name: tensor.shape[-1] for name, tensor in self.vectors.items()}

    @property
    def lengths(self) -> Tensor:
        """(n,) steps of the feature that is longest on average, by which batches are
        sorted; ones without sequences.
        """
        if not self.sequences:
            return torch.ones(len(self), dtype=torch.int64)
        every = (ragged.lengths for ragged in self.sequences.values())
        return max(every, key=lambda lengths: int(lengths.sum()))

    def select(self, ids: Iterable[str]) -> Dataset:
        """Return the items `ids`, sharing storage; raise KeyError for an id that is
        not there.
        """
        return self._take(
            torch.tensor([self._rows[id] for id in ids], dtype=torch.int64)
        )

    def cut(self, steps: int) -> Dataset:
        """Return the items cut into sequences, sharing storage.

        Args:
            steps: of a sequence; the last one of an item may have fewer.

        Returns:
            a dataset whose ids say which steps of which item a sequence is, such as
            `Train_01[300:600]`.

        Raises:
            ValueError: if the targets are no curves, or a feature has not one step for
                each of theirs.
        """
        if steps < 1 or not self.curves:
            found = "curves" if self.curves else "classes"
            raise ValueError(
                f"sequences of {steps} steps of {found}: expected one step or more, of"
                " curves"
            )
        whole = self.targets.lengths
        for name, ragged in self.sequences.items():
            if not torch.equal(ragged.lengths, whole):
                raise ValueError(
                    f"{name} cannot be cut with the curves: expected as many steps"
                )
        rows = torch.arange(len(self)).repeat_interleave(-(-whole // steps))
        first = torch.cat([torch.arange(0, n, steps) for n in whole.tolist()])
        after = torch.minimum(first + steps, whole[rows])
        bounds = zip(rows.tolist(), first.tolist(), after.tolist(), strict=True)

        def part(ragged: Ragged) -> Ragged:
            starts = ragged.starts[rows.to(self.device)] + first.to(self.device)
            return Ragged(ragged.flat, starts, after - first)

        return Dataset(
            [f"{self.ids[row]}[{a}:{b}]" for row, a, b in bounds],
            part(self.targets),
            {name: part(ragged) for name, ragged in self.sequences.items()},
            {n: tensor[rows.to(self.device)] for n, tensor in self.vectors.items()},
        )

    def to(self, device: torch.device | str) -> Dataset:
        """Return a copy on `device`."""
        return replace(
            self,
            targets=self.targets.to(device),
            sequences={
                name: ragged.to(device) for name, ragged in self.sequences.items()
            },
            vectors={name: tensor.to(device) for name, tensor in self.vectors.items()},
        )

    def batch(self, rows: Tensor) -> Batch:
        """Pad the utterances in `rows` (int64 on the CPU) to one batch."""
        part = self._take(rows)
        inputs, lengths = dict(part.vectors), {}
        for name, ragged in part.sequences.items():
            inputs[name], lengths[name] = ragged.padded()
        targets = part.targets
        if self.curves:
            targets, lengths["targets"] = part.targets.padded()
        return Batch(part.ids, targets, inputs, lengths)

    def batches(
        self, size: int, generator: torch.Generator | None = None
    ) -> Iterator[Batch]:
        """Go through all utterances once.

        Args:
            size: utterances in a batch; the last one may have fewer.
            generator: of the CPU, for random batches; None for batches in order of
                length, always the same.
        """
        for rows in buckets(self.lengths, size, generator):
            yield self.batch(rows)

    def _take(self, rows: Tensor) -> Dataset:
        there = rows.to(self.device)
        return Dataset(
            [self.ids[row] for row in rows.tolist()],
            self.targets.select(rows) if self.curves else self.targets[there],
            {name: ragged.select(rows) for name, ragged in self.sequences.items()},
            {name: tensor[there] for name, tensor in self.vectors.items()},
        )


def buckets(
    lengths: Tensor, size: int, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Cut utterances into batches of similar length.

    Shuffled utterances are cut into pools of a dozen batches, each pool is sorted by
    length and cut into batches, and the batches are shuffled: random in every epoch,
    and little padding.

    Args:
        lengths: (n,) steps of each utterance.
        size: utterances in a batch.
        generator: of the CPU; None sorts all utterances by length and shuffles nothing.

    Returns:
        row numbers of each batch; every row is in exactly one.
    """
    if generator is None:
        return list(lengths.argsort(stable=True).split(size))
    order = torch.randperm(len(lengths), generator=generator)
    pools = [
        pool[lengths[pool].argsort(stable=True)] for pool in order.split(size * POOL)
    ]
    batches = [rows for pool in pools for rows in pool.split(size)]
    return [
        batches[place]
        for place in torch.randperm(len(batches), generator=generator).tolist()
    ]


def padding_share(lengths: Tensor, batches: Iterable[Tensor]) -> float:
    """Share of the steps in padded batches that is padding, in [0, 1).

    Args:
        lengths: (n,) steps of each utterance, not all zero.
        batches: row numbers of each batch.
    """
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in batches)
    return 1 - int(lengths.sum()) / padded


def _array(name: str, id: str, table: Mapping[str, np.ndarray]) -> np.ndarray:
    if id not in table:
        raise ValueError(f"{id} has no {name}")
    array = np.asarray(table[id])
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"the {name} of {id} holds NaN or infinity; delete it"
            " from the cache and extract it again"
        )
    return array
