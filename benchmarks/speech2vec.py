"""Speech2Vec whole words at a time beside a decoder stepped frame by frame. See README.md beside this file.

`python benchmarks/speech2vec.py` prints two tables and writes them beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from report import report
from torch import Tensor, nn
from tqdm import tqdm

from serlib import corpora, provenance
from serlib.embeddings import speech2vec
from serlib.embeddings.speech2vec import Settings, Speech2Vec
from serlib.embeddings.spoken import SpokenText, read_spoken, spoken_words, write_spoken

HERE = Path(__file__).resolve().parent
DIMS = 50
OFFSETS = np.array([-3, -2, -1, 1, 2, 3])
"""Neighbours of a centre, which all lie in its sentence."""

SMALL, DEFAULT = 64, Settings().batch_size
"""Centres of an update."""

STEPS, SERLIB = "step by step", "serlib"


@dataclass(frozen=True)
class Way:
    """A way to train: by which code, frames of 10 ms that are averaged to one, centres of an update."""

    code: str
    stride: int
    centres: int


WAYS = [Way(STEPS, 1, SMALL), *(Way(SERLIB, stride, size) for stride in (1, 2, 3) for size in (SMALL, DEFAULT))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="in which each way has a turn; the median counts")
    parser.add_argument("--updates", type=int, default=4, help="of a way in its turn")
    parser.add_argument("--words", type=int, default=20_000, help="that are spoken, all of which a turn encodes")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--memory", nargs=3, metavar=("FOLDER", "WHAT", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        folder, what, number = options.memory
        print(memory(Bench(WAYS[int(number)], read_spoken(folder), options.updates), what))
        return
    with TemporaryDirectory() as folder:
        write_spoken(folder, beginning(spoken_words(corpora.load("synthetic")), options.words), {})
        text = read_spoken(folder)
        benches = [Bench(way, text, options.updates) for way in WAYS]
        agree(*benches[:2])
        tables = {what: measured(benches, what, options.rounds, folder) for what in ("training", "encoding")}
    about = f"{len(text):,} spoken words of the synthetic corpus, {DIMS} numbers a vector, {len(OFFSETS)} neighbours"
    counts = {"rounds": options.rounds, "updates": options.updates}
    report(options.out, "speech2vec", tables, provenance.hardware(), input=about, threads=1, **counts)


def beginning(text: SpokenText, words: int) -> SpokenText:
    return text.chosen(np.arange(min(words, len(text))))


class StepByStep(nn.Module):
    """The model as one would write it down, and as its public re-implementations do: for each neighbour position the
    centres are encoded anew, padded words run to the end of the longest, and a cell is stepped from frame to frame.
    """

    def __init__(self, model: Speech2Vec):
        super().__init__()
        features, dims = model.decoder.input_size, model.decoder.hidden_size
        self.ahead, self.back = (nn.LSTM(features, dims // 2) for _ in range(2))
        self.cell = nn.LSTMCell(features, dims)
        self.output = deepcopy(model.output)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            for lstm, ending in ((self.ahead, "_l0"), (self.back, "_l0_reverse")):
                getattr(lstm, f"{name}_l0").data.copy_(getattr(model.encoder, name + ending))
            getattr(self.cell, name).data.copy_(getattr(model.decoder, f"{name}_l0"))

    def forward(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Encode words, (frames, batch, features) with a mask, as (batch, dims)."""
        last = inside.sum(dim=0) - 1
        words = torch.arange(len(last))
        reverse = (last - torch.arange(len(frames))[:, None]).clamp(min=0)
        ahead, _ = self.ahead(frames)
        back, _ = self.back(frames[reverse, words])
        return torch.cat([ahead[last, words], back[last, words]], dim=1)

    def squared_error(self, words: speech2vec._Words, pairs: Tensor) -> tuple[Tensor, int]:
        """Sum squared errors of pairs that are ordered by centre, as `speech2vec.squared_error`."""
        error, size = torch.zeros(()), 0
        for position in range(len(OFFSETS)):
            centres, neighbours = pairs[:, position :: len(OFFSETS)]
            vectors = self(*words.padded(centres))
            targets, inside = words.padded(neighbours)
            state, before = (vectors, torch.zeros_like(vectors)), torch.zeros_like(targets[0])
            for target, present in zip(targets, inside, strict=True):
                state = self.cell(before, state)
                squares = (self.output(state[0]) - target).square().sum(dim=-1)
                error = error + (squares * present).sum()
                before = target
            size += int(inside.sum()) * targets.shape[-1]
        return error, size


class Bench:
    """A way with its model, its frames and the batches that all ways of as many centres share."""

    def __init__(self, way: Way, text: SpokenText, updates: int):
        self.way, self.text = way, text.averaged(way.stride)
        self.encoder, self.words = speech2vec._start(self.text, Settings(dims=DIMS), seed=0)
        self.model = StepByStep(self.encoder) if way.code == STEPS else self.encoder
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=Settings().learning_rate)
        self.batches = batches(text, way.centres, updates)

    def error(self, pairs: Tensor) -> tuple[Tensor, int]:
        """Sum the squared errors of pairs; return over how many numbers, too."""
        if self.way.code == STEPS:
            return self.model.squared_error(self.words, pairs)
        return speech2vec.squared_error(self.model, self.words, pairs, forcing=1.0)

    def training(self) -> int:
        """Make the updates of a turn; return how many pairs they were."""
        for pairs in self.batches:
            self.optimiser.zero_grad(set_to_none=True)
            error, size = self.error(pairs)
            (error / size).backward()
            self.optimiser.step()
        return sum(pairs.shape[1] for pairs in self.batches)

    @torch.no_grad()
    def encoded(self) -> Tensor:
        """Encode all words, (words, dims)."""
        if self.way.code == SERLIB:
            return torch.from_numpy(np.concatenate([*speech2vec.segments(self.encoder, self.text)]))
        groups = torch.arange(len(self.text)).split(SMALL)
        return torch.cat([self.model(*self.words.padded(group)) for group in groups])

    def encoding(self) -> int:
        """Encode the words of a turn; return how many they were."""
        return len(self.encoded())


def batches(text: SpokenText, centres: int, number: int) -> list[Tensor]:
    """Draw batches of centres with all their neighbours: (2, pairs) numbers of words, ordered by centre."""
    reach = int(OFFSETS.max())
    whole = reach + np.flatnonzero(text.sentences[: -2 * reach] == text.sentences[2 * reach :])
    rng = np.random.default_rng(centres)
    drawn = [rng.choice(whole, (centres, 1), replace=False) for _ in range(number)]
    return [torch.from_numpy(np.stack(np.broadcast_arrays(one, one + OFFSETS)).reshape(2, -1)) for one in drawn]


def agree(steps: Bench, ours: Bench) -> None:
    """Raise AssertionError unless both have the same error on the same batch, and the same vectors."""
    (error, size), (own, own_size) = (bench.error(steps.batches[0]) for bench in (steps, ours))
    assert size == own_size
    torch.testing.assert_close(own / size, error / size, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.encoded(), steps.encoded(), rtol=1e-4, atol=1e-5)


def measured(benches: list[Bench], what: str, rounds: int, folder: str) -> pd.DataFrame:
    """Time all ways in turn, after one turn that does not count."""
    if what == "encoding":  # nothing depends on the centres of an update
        benches = [bench for bench in benches if bench.way.centres == SMALL]
    rates: list[list[float]] = [[] for _ in benches]
    for turn in tqdm(range(rounds + 1), what):
        for bench, own in zip(benches, rates, strict=True):
            start = time.process_time()
            count = getattr(bench, what)()
            if turn:
                own.append(count / (time.process_time() - start))
    unit = {"training": "pairs", "encoding": "words"}[what]
    return pd.DataFrame(
        {
            "way": bench.way.code,
            "frames of, ms": 10 * bench.way.stride,
            "frames a word": float(bench.text.lengths.mean()),
            **({"centres": bench.way.centres} if what == "training" else {}),
            f"{unit} per s": median(own),
            "lowest": min(own),
            "highest": max(own),
            f"beside {STEPS}": median(own) / median(rates[0]),
            "more memory, MB": in_a_process(folder, what, bench),
        }
        for bench, own in zip(benches, rates, strict=True)
    )


def memory(bench: Bench, what: str) -> float:
    """How far the memory of this process rises in a turn, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    getattr(bench, what)()
    return status("VmHWM") - before


def status(name: str) -> float:
    """A line of Linux's /proc/self/status, in MB."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name))
    return int(line.split()[1]) / 1000


def in_a_process(folder: str, what: str, bench: Bench) -> float:
    """Measure memory in a fresh process that gives freed blocks back, so that none is used again unseen."""
    if sys.platform != "linux":
        return float("nan")
    turn = ["--updates", str(len(bench.batches)), "--memory", folder, what, str(WAYS.index(bench.way))]
    command = [sys.executable, str(Path(__file__).resolve()), *turn]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
