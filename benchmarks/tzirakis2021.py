"""A training step of tzirakis2021 on raw samples: Table 1 as it is written, against serlib's way.

`python benchmarks/tzirakis2021.py` prints and writes two tables beside this file: what a step takes for segments of
10 s and of 30 s, and what the layers of Table 1 cost by counting. See README.md.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from report import apart, clock, in_turns, peak, report
from torch import Tensor, nn
from torch.nn import functional

from serlib import provenance, training
from serlib.batching import Batch
from serlib.models import tzirakis2021
from serlib.models.convolution import KERNELS, Paralinguistic
from serlib.settings import Sizes
from serlib.tasks import concordance_loss

HERE = Path(__file__).resolve().parent
RATE, HOP, DIMS = 22_050, 0.1, 100
TRAIN_HOURS = 34 * 160 / 3600
"""Of SEWA's training part, of which the paper says "maximum of 3 min" a pair: 160 s a subject are taken here."""

SYSTEM = tzirakis2021.SYSTEMS["attention"]
MODEL = SYSTEM.settings["paper"].model
FILTERS, POOLS = MODEL["filters"], MODEL["pools"]

WAYS = {
    "as written": "convolution, ReLU, max-pool, dropout, one after the other; padding unmasked",
    "serlib": "of the first convolution only the maxima of its pools are written; pools before ReLU, padding masked",
    "serlib, no dropout": "the same without dropout after the pools",
    "as the code": "serlib with the released code's channels, reshape, two channels of sound and peepholes",
}
LENGTHS = (100, 300)
"""Labels of a sequence: 10 s as the paper's segments, 30 s as its sequences of 300."""


class Written(Paralinguistic):
    """Table 1 layer after layer."""

    def convolve(self, waves: Tensor, frames: Tensor) -> Tensor:
        x = (waves / 32768)[:, None]
        for layer, pool in zip(self.convolutions, self.pools, strict=True):
            kernel = layer.kernel_size[0]
            x = layer(functional.pad(x, ((kernel - 1) // 2, kernel // 2))).relu()
            x = self.dropout(functional.max_pool1d(x, pool))
        return x.transpose(1, 2)


def build(way: str, device: str) -> tuple[nn.Module, int]:
    """The paper's model, and samples of a label that it hears."""
    torch.manual_seed(0)
    code = way == "as the code"
    samples = round(RATE * HOP) * (2 if code else 1)
    options = dict(MODEL) | (tzirakis2021.RELEASED["model"] if code else {})
    if "no dropout" in way:
        options["dropout"] = 0.0
    model = SYSTEM.build(Sizes({"semantic": DIMS, "sound": samples}, outputs=3), **options)
    if way == "as written":
        model.paralinguistic.__class__ = Written
    return model.to(device).train(), samples


def batch_of(size: int, labels: int, samples: int, device: str) -> Batch:
    """Noise in the shape of sequences of recordings."""
    generator = torch.manual_seed(0)
    sound = (3_000 * torch.randn(size, labels, samples, generator=generator)).short()
    semantic = torch.randn(size, labels, DIMS, generator=generator)
    targets = torch.randn(size, labels, 3, generator=generator).cumsum(1) / 20
    lengths = dict.fromkeys(("sound", "semantic", "targets"), torch.full((size,), labels))
    return Batch(["r"] * size, targets, {"sound": sound, "semantic": semantic}, lengths).to(device)


def measure(way: str, size: int, labels: int, repeats: int, device: str) -> dict[str, Any]:
    """Time training steps in this process and say how much memory they took on top of model and batch."""
    torch.set_num_threads(1)
    model, samples = build(way, device)
    batch = batch_of(size, labels, samples, device)
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = concordance_loss(model(batch), batch.targets, batch.lengths["targets"])
        loss.backward()
        optimiser.step()
        return loss.item()

    before = peak(device)
    loss, taken = step(), []
    for _ in range(repeats):
        start = clock(device)
        step()
        taken.append(clock(device) - start)
    return {"seconds": median(taken), "memory": peak(device) - before, "loss": loss}


def steps(options: argparse.Namespace) -> pd.DataFrame:
    """Measure every way on every length in processes of its own, all in turn; a row each."""
    turns = {
        (labels, way): partial(apart, __file__, way, options.batch, labels, options.repeats, options.device)
        for labels in LENGTHS
        for way in WAYS
    }
    rows = []
    for (labels, way), found in in_turns(turns, options.rounds, "ways").items():
        row = {"seconds of sound": round(labels * HOP), "way": way, "what": WAYS[way]}
        failed = [one["failed"] for one in found if "failed" in one]
        if failed:
            rows.append(row | {"what": f"{WAYS[way]}: failed, {failed[0]}"})
            continue
        heard = options.batch * labels * HOP  # seconds
        each = [one["seconds"] / heard for one in found]
        rows.append(
            row
            | {
                "ms a second of sound": 1000 * median(each),
                "lowest": 1000 * min(each),
                "highest": 1000 * max(each),
                "MB a second of sound": max(one["memory"] for one in found) / heard / 1e6,
                "minutes an epoch": median(each) * 60 * TRAIN_HOURS,
                "first loss": f"{found[0]['loss']:.4f}",
            }
        )
    measured = pd.DataFrame(rows)
    if "ms a second of sound" in measured:
        first = measured.groupby("seconds of sound")["ms a second of sound"].transform("first")
        measured["times as fast"] = first / measured["ms a second of sound"]
    return measured


def counted(labels: int) -> pd.DataFrame:
    """Operations and bytes of each layer of Table 1 on one sequence, forward, in single precision."""
    steps, channels, rows = round(labels * HOP * RATE), 1, []
    for kernel, filters, pool in zip(KERNELS, (*FILTERS, FILTERS[-1]), POOLS, strict=True):
        row = {"layer": f"{kernel} x {channels} to {filters}, pool {pool}", "steps in": f"{steps:,}"}
        row |= {"million multiplications": steps * kernel * channels * filters / 1e6}
        row |= {"parameters": f"{kernel * channels * filters + filters:,}"}
        row |= {"MB before the pool": 4e-6 * steps * filters, "MB after it": 4e-6 * (steps // pool) * filters}
        rows.append({"seconds of sound": round(labels * HOP)} | row)
        steps, channels = steps // pool, filters
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2, help="sequences in a step")
    parser.add_argument("--rounds", type=int, default=5, help="in which each way has a turn; the median counts")
    parser.add_argument("--repeats", type=int, default=3, help="steps of a turn after its first; the median counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    measured = steps(options)
    facts = {
        "input": f"batches of {options.batch} sequences at {RATE:,} Hz, one thread, median of "
        f"{options.rounds} turns of {options.repeats} steps after the first",
        "epoch": f"{TRAIN_HOURS:.2f} h of sound",
        "parameters": training.parameters(build("serlib", "cpu")[0]),
    }
    name = "tzirakis2021" if options.device == "cpu" else f"tzirakis2021-{options.device}"
    tables = {"steps": measured, "layers": pd.concat(map(counted, LENGTHS))}
    report(options.out, name, tables, provenance.hardware(options.device), **facts)


if __name__ == "__main__":
    main()
