"""A training step of krishna2020 on ten-second waveforms: layer after layer, as written, against serlib's way.

`python benchmarks/krishna2020.py` prints and writes two tables beside this file: what each layer costs, counted, and
what a step takes, measured. See README.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from report import report
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from serlib import corpora, results, training
from serlib.batching import Batch
from serlib.features import RATE
from serlib.models import krishna2020
from serlib.models.system import Inputs

HERE = Path(__file__).resolve().parent
SECONDS, EPOCH, WORDS, VOCABULARY = 10, 5_531, 50, 3_000
SYSTEM = krishna2020.SYSTEMS["cma-raw"]
MODEL = SYSTEM.settings["paper"].model

WAYS = {
    "as written": "convolution, batch norm, ReLU, max-pool, one after the other, float32",
    "as written, channels last": "the same on two-dimensional layers in channels-last memory",
    "as written, bfloat16": "the same under torch.autocast",
    "as written, torch.compile": "the same, compiled",
    "serlib": "first convolution in windows, pooling before norm, channels last",
    "serlib, channels first": "serlib's, with one-dimensional convolutions in the second and third block",
    "serlib, bfloat16": "serlib's, with the second and third convolution under torch.autocast",
    "serlib, true lengths": "serlib's, utterances of the mean length of the synthetic corpus instead of 10 s",
}


class Written(nn.Module):
    """The layers of a block in the order of the paper; (batch, steps, channels) in and out."""

    def __init__(self, block: krishna2020.ConvBlock, way: str):
        super().__init__()
        parts = [copy.deepcopy(block.convolution), copy.deepcopy(block.norm), nn.ReLU(), nn.MaxPool1d(block.pool)]
        self.last, self.half, self.pool = "last" in way, "bfloat16" in way, block.pool
        self.layers = nn.Sequential(*parts)
        if "compile" in way:
            self.layers = torch.compile(self.layers)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        with torch.autocast(x.device.type, torch.bfloat16) if self.half else nullcontext():
            return (self._image(x) if self.last else self.layers(x)).float().transpose(1, 2)

    def _image(self, x: Tensor) -> Tensor:
        convolution, norm = self.layers[0], self.layers[1]
        image = x[:, :, None].contiguous(memory_format=torch.channels_last)
        y = functional.conv2d(image, convolution.weight[:, :, None], padding=(0, convolution.padding[0]))
        y = functional.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, self.training)
        return functional.max_pool2d(y.relu(), (1, self.pool))[:, :, 0]


def build(way: str, device: str) -> krishna2020.CMA:
    """The paper's model, its blocks replaced where the way says so."""
    torch.manual_seed(0)
    model = SYSTEM.build(Inputs({}, vocabulary=VOCABULARY), **MODEL)
    encoder = model.encoders["audio"]
    if way.startswith("as written"):
        encoder.blocks = nn.ModuleList(Written(block, way) for block in encoder.blocks)
    own = krishna2020._convolve
    if way == "serlib, channels first":
        krishna2020._convolve = lambda x, weight: (
            functional.conv1d(x.transpose(1, 2), weight, padding=weight.shape[2] // 2).transpose(1, 2).contiguous()
        )
    elif way == "serlib, bfloat16":

        def half(x: Tensor, weight: Tensor) -> Tensor:
            with torch.autocast(x.device.type, torch.bfloat16):
                return own(x, weight).float()

        krishna2020._convolve = half
    return model.to(device).train()


def batch_of(size: int, samples: int, device: str) -> Batch:
    """Noise and numbers in the shape of utterances."""
    generator = torch.manual_seed(0)
    waveforms = (3_000 * torch.randn(size, samples, generator=generator)).short()
    tokens = torch.randint(2, VOCABULARY, (size, WORDS), generator=generator)
    labels = torch.randint(0, 4, (size,), generator=generator)
    lengths = {"waveform": torch.full((size,), samples), "tokens": torch.full((size,), WORDS)}
    return Batch(["u"] * size, labels, {"waveform": waveforms, "tokens": tokens}, lengths).to(device)


def measure(way: str, size: int, samples: int, repeats: int, device: str) -> dict[str, Any]:
    """Time training steps in this process and say how much memory they took on top of model and batch."""
    torch.set_num_threads(1)
    model, batch = build(way, device), batch_of(size, samples, device)
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(batch), batch.labels)
        loss.backward()
        optimiser.step()
        return loss.item()

    before = _peak(device)
    loss, taken = step(), []
    for _ in range(repeats):
        start = _clock(device)
        step()
        taken.append(_clock(device) - start)
    return {"seconds": median(taken), "memory": _peak(device) - before, "loss": loss}


def _clock(device: str) -> float:
    """Processor time, which other programs disturb little; on a GPU the time on the wall."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _peak(device: str) -> int:
    if device == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return torch.cuda.max_memory_allocated()


def steps(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure every way in a process of its own; a row each."""
    lengths = [min(u.duration, SECONDS) for u in corpora.load("synthetic", progress=False).four_class()]
    mean = sum(lengths) / len(lengths)
    for way, what in WAYS.items():
        if any(skipped in way for skipped in options.skip):
            continue
        if "compile" in way and options.device == "cpu" and not shutil.which("g++"):
            yield {"way": way, "what": f"{what}: not measured, there is no C++ compiler"}
            continue
        samples = round((mean if "true lengths" in way else SECONDS) * RATE)
        wanted = [way, options.batch, samples, options.repeats, options.device]
        command = [sys.executable, __file__, "--measure", json.dumps(wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            yield {"way": way, "what": f"{what}: failed, {done.stderr.strip().splitlines()[-1]}"}
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        each = found["seconds"] / options.batch
        yield {
            "way": way,
            "what": what,
            "ms an utterance": 1000 * each,
            "MB an utterance": found["memory"] / options.batch / 1e6,
            "minutes an epoch": each * EPOCH / 60,
            "first loss": f"{found['loss']:.4f}",
        }


def layers() -> pd.DataFrame:
    """Count what each layer does to ten seconds and fifty words: multiplications, additions and numbers written."""
    filters, pools, size = MODEL["filters"], MODEL["pools"], MODEL["size"]
    rows, length, channels = [], SECONDS * RATE, 1
    for number, (out, kernel, pool) in enumerate(zip(filters, krishna2020.KERNELS, pools, strict=True), 1):
        written = out * length
        rows.append((f"convolution {number}", f"{out} × {length:,}", 2 * channels * kernel * written, written))
        rows.append((f"batch norm {number}", f"{out} × {length:,}", 4 * written, written))
        rows.append((f"ReLU {number}", f"{out} × {length:,}", written, written))
        length, channels = length // pool, out
        rows.append((f"max-pool {number}", f"{out} × {length:,}", written, out * length))

    def lstm(name: str, count: int, inputs: int) -> None:
        rows.append((name, f"{2 * size} × {count}", 2 * count * 2 * 4 * size * (inputs + size), 2 * size * count))

    lstm("BiLSTM, sound", length, filters[-1])
    lstm("BiLSTM, words", WORDS, size)
    for name, queries, keys in (("CMA-1", length, WORDS), ("CMA-2", WORDS, length)):
        linear = 2 * size * size * (4 * queries + 2 * keys)  # query, output, feed-forward; key, value
        scores = 2 * 2 * size * queries * keys
        written = size * (4 * queries + 2 * keys) + MODEL["heads"] * queries * keys
        rows.append((f"{name}, two layers", f"{size} × {queries}", 2 * (linear + scores), 2 * written))
    table = pd.DataFrame(rows, columns=["layer", "output", "operations", "numbers"])
    return pd.DataFrame(
        {
            "layer": table["layer"],
            "output": table["output"],
            "million operations": table["operations"] / 1e6,
            "MB written": 4 * table["numbers"] / 1e6,
            "operations a byte": table["operations"] / (4 * table["numbers"]),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="utterances in a step")
    parser.add_argument("--repeats", type=int, default=3, help="steps after the first; the median counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip", action="append", default=[], help="leave out the ways with this in their name")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    rows = []
    for row in tqdm(steps(options), "ways", total=len(WAYS)):
        rows.append(row)
        keep(options, rows)  # at once: what is measured is kept if the run is stopped


def keep(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write what was counted and what is measured so far."""
    measured = pd.DataFrame(rows)
    if "ms an utterance" in measured:
        measured["times as fast"] = measured["ms an utterance"][0] / measured["ms an utterance"]
    facts = {
        "input": f"batches of {options.batch} utterances of {SECONDS} s and {WORDS} words, one thread, "
        f"median of {options.repeats} steps after the first",
        "parameters": training.parameters(build("serlib", "cpu")),
        "not measured": "; ".join(way for way in WAYS if way not in set(measured["way"])) or "nothing",
    }
    name = "krishna2020" if options.device == "cpu" else f"krishna2020-{options.device}"
    report(options.out, name, {"steps": measured, "layers": layers()}, results.hardware(options.device), **facts)


if __name__ == "__main__":
    main()
