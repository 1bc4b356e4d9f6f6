"""A training step of krishna2020 on ten-second waveforms: layer after layer, as written, against serlib's way.

`python benchmarks/krishna2020.py` prints and writes two tables beside this file: what a step takes, and what each part
of the model takes. See README.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from report import apart, clock, in_turns, peak, report
from torch import Tensor, nn
from torch.nn import functional

from serlib import corpora, provenance, training
from serlib.batching import Batch
from serlib.features import RATE
from serlib.models import krishna2020
from serlib.settings import Sizes

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
    "serlib, bfloat16": "serlib's, with precision='bfloat16': the second and third convolution under torch.autocast",
    "serlib, true lengths": "serlib's, utterances of the mean length of the synthetic corpus instead of 10 s",
}
POOLS = {f"serlib, pools {' '.join(map(str, pools))}": pools for pools in ((16, 8, 10), (16, 8, 40), (64, 5, 4))}
WAYS |= dict.fromkeys(POOLS, "serlib's, where the paper profile has pools of 8, 8 and 5")


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
    precision = "bfloat16" if way == "serlib, bfloat16" else "float32"
    options = {"precision": precision, "pools": POOLS.get(way, MODEL["pools"])}
    model = SYSTEM.build(Sizes({}, vocabulary=VOCABULARY), **MODEL | options)
    encoder = model.encoders["audio"]
    if way.startswith("as written"):
        encoder.blocks = nn.ModuleList(Written(block, way) for block in encoder.blocks)
    if way == "serlib, channels first":
        krishna2020._convolve = lambda x, weight, _: (
            functional.conv1d(x.transpose(1, 2), weight, padding=weight.shape[2] // 2).transpose(1, 2).contiguous()
        )
    return model.to(device).train()


def batch_of(size: int, samples: int, device: str) -> Batch:
    """Noise and numbers in the shape of utterances."""
    generator = torch.manual_seed(0)
    waveforms = (3_000 * torch.randn(size, samples, generator=generator)).short()
    tokens = torch.randint(2, VOCABULARY, (size, WORDS), generator=generator)
    targets = torch.randint(0, 4, (size,), generator=generator)
    lengths = {"waveform": torch.full((size,), samples), "tokens": torch.full((size,), WORDS)}
    return Batch(["u"] * size, targets, {"waveform": waveforms, "tokens": tokens}, lengths).to(device)


def measure(way: str, size: int, samples: int, repeats: int, device: str) -> dict[str, Any]:
    """Time training steps in this process and say how much memory they took on top of model and batch."""
    torch.set_num_threads(1)
    model, batch = build(way, device), batch_of(size, samples, device)
    optimiser = torch.optim.Adam(model.parameters())

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(batch), batch.targets)
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


def work_of(way: str, options: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """The parts of a model, each as a call on what the parts before it made."""
    model, batch = build(way, options.device), batch_of(options.batch, SECONDS * RATE, options.device)
    audio, text = model.encoders["audio"], model.encoders["text"]
    x, lengths = audio.input(batch["waveform"], batch.lengths["waveform"])
    work: dict[str, Callable[[], Tensor]] = {}
    for number, block in enumerate(audio.blocks, 1):
        work[f"block {number}"] = partial(block, x.detach().requires_grad_(number > 1), lengths)
        x, lengths = block(x, lengths), lengths // block.pool
    work["BiLSTM, sound"] = partial(audio.lstm, x.detach().requires_grad_(), lengths)
    work["words, up to their BiLSTM"] = lambda: text(batch)[0]
    states = audio.projection(audio.lstm(x, lengths)).detach(), text(batch)[0].detach()
    inside = [torch.ones(one.shape[:2], dtype=torch.bool, device=one.device) for one in states]
    for name, a, b in (("audio", 0, 1), ("text", 1, 0)):
        query, block = states[a].clone().requires_grad_(), model.stacks[name][0]
        work[f"one layer of CMA-{a + 1}"] = lambda block=block, query=query, b=b: block(query, states[b], inside[b])[0]
    return work


def parts(options: argparse.Namespace) -> pd.DataFrame:
    """Time each part of the model alone, forward and backward, in milliseconds an utterance; the two ways in turn."""
    torch.set_num_threads(1)

    def timed(call: Callable[[], Tensor]) -> float:
        start = clock(options.device)
        call().square().mean().backward()
        return clock(options.device) - start

    written, ours = (work_of(way, options) for way in ("as written", "serlib"))
    rows = []
    for part in written:
        turns = {"as written": partial(timed, written[part]), "serlib": partial(timed, ours[part])}
        taken = in_turns(turns, 1 + options.rounds * options.repeats, part)
        each = {way: 1000 * median(times[1:]) / options.batch for way, times in taken.items()}
        rows.append({"ms an utterance": part} | each)
    return pd.DataFrame(rows)


def steps(options: argparse.Namespace) -> pd.DataFrame:
    """Measure every way in processes of its own, all ways in turn; a row each."""
    lengths = [min(u.duration, SECONDS) for u in corpora.load("synthetic", progress=False).four_class()]
    mean = sum(lengths) / len(lengths)
    turns, rows = {}, []
    for way in WAYS:
        samples = round((mean if "true lengths" in way else SECONDS) * RATE)
        turns[way] = partial(apart, __file__, way, options.batch, samples, options.repeats, options.device)
        if any(skipped in way for skipped in options.skip):
            del turns[way]
        elif "compile" in way and options.device == "cpu" and not shutil.which("g++"):
            turns[way] = partial(dict, failed="there is no C++ compiler")
    for way, found in in_turns(turns, options.rounds, "ways").items():
        failed = [one["failed"] for one in found if "failed" in one]
        if failed:
            rows.append({"way": way, "what": f"{WAYS[way]}: not measured, {failed[0]}"})
            continue
        each = [one["seconds"] / options.batch for one in found]
        rows.append(
            {
                "way": way,
                "what": WAYS[way],
                "ms an utterance": 1000 * median(each),
                "lowest": 1000 * min(each),
                "highest": 1000 * max(each),
                "MB an utterance": max(one["memory"] for one in found) / options.batch / 1e6,
                "minutes an epoch": median(each) * EPOCH / 60,
                "first loss": f"{found[0]['loss']:.4f}",
            }
        )
    measured = pd.DataFrame(rows)
    if "ms an utterance" in measured:
        measured["times as fast"] = measured["ms an utterance"][0] / measured["ms an utterance"]
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="utterances in a step")
    parser.add_argument("--rounds", type=int, default=5, help="in which each way has a turn; the median counts")
    parser.add_argument("--repeats", type=int, default=3, help="steps of a turn after its first; the median counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip", action="append", default=[], help="leave out the ways with this in their name")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))
        return
    measured = steps(options)
    facts = {
        "input": f"batches of {options.batch} utterances of {SECONDS} s and {WORDS} words, one thread, median of "
        f"{options.rounds} turns of {options.repeats} steps after the first",
        "parameters": training.parameters(build("serlib", "cpu")),
        "not measured": "; ".join(way for way in WAYS if way not in set(measured["way"])) or "nothing",
    }
    name = "krishna2020" if options.device == "cpu" else f"krishna2020-{options.device}"
    tables = {"steps": measured, "parts": parts(options)}
    report(options.out, name, tables, provenance.hardware(options.device), **facts)


if __name__ == "__main__":
    main()
