"""Alignment of two spaces of words: steps of the game, many seeds, retrieval. See README.md beside this file.

`python benchmarks/alignment.py` prints tables and writes them beside this file; minutes. With `--device cuda` all of it
runs on a GPU, and the tables are called `alignment-cuda`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from report import clock, report
from torch import nn
from torch.nn.functional import binary_cross_entropy
from tqdm import tqdm

from serlib import provenance
from serlib.embeddings.adversarial import Adversarial, Players
from serlib.embeddings.mapping import neighbours

HERE = Path(__file__).resolve().parent
SIZES = {"QUICK's": (128, 50), "small": (512, 100), "the paper's": (2_048, 300)}
"""Hidden units of the discriminator, and dimensions of a vector."""

SEEDS = 10
RETRIEVED = 300
"""Dimensions of the vectors among which neighbours are looked for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="turns of all ways; the median counts")
    parser.add_argument("--seconds", type=float, default=2.0, help="that one way may take in one turn, about")
    parser.add_argument("--vocabulary", type=int, default=20_000, help="words of each space in the game")
    parser.add_argument("--words", type=int, default=50_000, help="of each space among which neighbours are looked for")
    parser.add_argument("--peer-words", type=int, default=10_000, help="likewise, where the whole matrix is made")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--retrieve", nargs=2, help=argparse.SUPPRESS)  # way, words: in a process of its own
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.retrieve:
        way, words = options.retrieve
        print(json.dumps(retrieve(way, int(words), options.device)))
        return
    tables = {
        "steps": steps(options.vocabulary, options.repeats, options.seconds, options.device),
        "retrieval": retrieval(options.words, options.peer_words, options.device),
    }
    hardware = {device: provenance.hardware(device) for device in dict.fromkeys(("cpu", options.device))}
    name = "alignment" if options.device == "cpu" else f"alignment-{options.device}"
    report(options.out, name, tables, hardware, threads=1, turns=options.repeats, vocabulary=options.vocabulary)


def steps(vocabulary: int, repeats: int, seconds: float, device: str) -> pd.DataFrame:
    """Time a step of the mapping with the five of the discriminator before it, all ways in turn."""
    rows = []
    for size, (hidden, dims) in SIZES.items():
        settings = Adversarial(hidden=hidden, frequent=vocabulary)
        draw = np.random.default_rng(0)
        source, target = draw.standard_normal((2, vocabulary, dims), dtype=np.float32)
        plain = Plain(source, target, settings, device)
        one, ten = (Players(source, target, settings, range(seeds), device) for seeds in (1, SEEDS))
        ways = {
            ("plain PyTorch", 1): lambda count, plain=plain: [plain.step() for _ in range(count)],
            ("serlib", 1): one.play,
            ("serlib", SEEDS): ten.play,
        }
        times = in_turns(ways, repeats, seconds, size, device)
        base = times["plain PyTorch", 1]
        rows += [
            {
                "size": f"{size}: {hidden} hidden, {dims} dims",
                "way": way,
                "seeds": seeds,
                "ms a step": 1e3 * taken,
                "steps a second and seed": seeds / taken,
                "times plain": seeds * base / taken,
                "times one seed": taken / times["serlib", 1] if way == "serlib" else float("nan"),
            }
            for (way, seeds), taken in times.items()
        ]
    return pd.DataFrame(rows)


def in_turns(
    ways: dict[tuple[str, int], Callable[[int], object]], repeats: int, seconds: float, title: str, device: str
) -> dict[tuple[str, int], float]:
    """The median over turns of each way's seconds a step."""
    counts, times = {}, {way: [] for way in ways}
    for way, run in ways.items():
        run(2)
        start = clock(device)
        run(2)
        counts[way] = max(2, int(seconds * 2 / (clock(device) - start)))
    for _ in tqdm(range(repeats), title):
        for way, run in ways.items():
            start = clock(device)
            run(counts[way])
            times[way].append((clock(device) - start) / counts[way])
    return {way: median(taken) for way, taken in times.items()}


class Plain:
    """The game with modules, optimisers and autograd, one seed, as programs for it are written."""

    def __init__(self, source: np.ndarray, target: np.ndarray, settings: Adversarial, device: str):
        self.settings, self.device = settings, device
        self.source, self.target = (
            nn.Embedding.from_pretrained(torch.from_numpy(rows)).to(device) for rows in (source, target)
        )
        dims = target.shape[1]
        self.mapping = nn.Linear(source.shape[1], dims, bias=False).to(device)
        nn.init.eye_(self.mapping.weight)
        self.discriminator = nn.Sequential(
            nn.Dropout(settings.dropout),
            nn.Linear(dims, settings.hidden),
            nn.LeakyReLU(settings.slope),
            nn.Dropout(0.0),
            nn.Linear(settings.hidden, settings.hidden),
            nn.LeakyReLU(settings.slope),
            nn.Dropout(0.0),
            nn.Linear(settings.hidden, 1),
            nn.Sigmoid(),
        ).to(device)
        self.descents = [
            torch.optim.SGD(part.parameters(), settings.rate) for part in (self.discriminator, self.mapping)
        ]
        self.losses: list[float] = []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        size = self.settings.batch
        source, target = (
            part(torch.randint(part.num_embeddings, (size,), device=self.device)) for part in (self.source, self.target)
        )
        label = torch.full((2 * size,), self.settings.smoothing, device=self.device)
        label[:size] = 1 - self.settings.smoothing
        return torch.cat([self.mapping(source), target]), label

    def descend(self, loss: torch.Tensor, descent: torch.optim.Optimizer) -> None:
        if not torch.isfinite(loss):
            raise ValueError("the game diverged")
        descent.zero_grad()
        loss.backward()
        descent.step()

    def step(self) -> None:
        self.discriminator.train()
        for _ in range(self.settings.discriminator_steps):
            with torch.no_grad():
                rows, label = self.batch()
            loss = binary_cross_entropy(self.discriminator(rows).flatten(), label)
            self.losses.append(loss.item())
            self.descend(loss, self.descents[0])
        self.discriminator.eval()
        rows, label = self.batch()
        self.descend(binary_cross_entropy(self.discriminator(rows).flatten(), 1 - label), self.descents[1])
        beta, w = self.settings.beta, self.mapping.weight.data
        w.copy_((1 + beta) * w - beta * w.mm(w.t()).mm(w))


def retrieval(words: int, peer_words: int, device: str) -> pd.DataFrame:
    """Time CSLS over all words, each way in a process of its own, and how far its memory grows."""
    rows = []
    for way, count in (("the whole matrix", peer_words), ("serlib", peer_words), ("serlib", words)):
        command = [sys.executable, __file__, "--device", device, "--retrieve", way, str(count)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        rows.append({"way": way, "words of each space": f"{count:,}", "dims": str(RETRIEVED)} | found)
    return pd.DataFrame(rows)


def retrieve(way: str, words: int, device: str) -> dict[str, float]:
    """Find ten neighbours of every word in this process."""
    source, target = np.random.default_rng(0).standard_normal((2, words, RETRIEVED), dtype=np.float32)
    run = neighbours if way == "serlib" else whole
    run(source[:200], target[:200], 10, device=device)
    if device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = 0.0 if device != "cpu" else peak()
    start, processor = time.perf_counter(), time.process_time()
    run(source, target, 10, device=device)
    if device != "cpu":
        return {
            "seconds": time.perf_counter() - start,
            "processor seconds": float("nan"),
            "memory grew by, MB": torch.cuda.max_memory_allocated() / 1e6,
        }
    return {
        "seconds": time.perf_counter() - start,
        "processor seconds": time.process_time() - processor,
        "memory grew by, MB": peak() - before,
    }


def peak() -> float:
    """The most memory that this process has held, in MB (Linux only)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def whole(mapped: np.ndarray, target: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """The same with one large matrix."""
    mapped, target = (nn.functional.normalize(torch.from_numpy(rows).to(device)) for rows in (mapped, target))
    cosines = mapped @ target.T
    there, back = (cosines.topk(min(10, cosines.shape[dim]), dim).values.mean(dim) for dim in (1, 0))
    scores, indices = (2 * cosines - there[:, None] - back).topk(k, 1)
    return indices.cpu().numpy(), scores.cpu().numpy()


if __name__ == "__main__":
    main()
