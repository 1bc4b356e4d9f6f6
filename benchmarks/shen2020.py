"""WISE without loops beside WISE in nested loops, and other ways to run its parts. See README.md beside this file.

`python benchmarks/shen2020.py` prints three tables and writes them beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from report import clock, in_turns, report
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from serlib import corpora, provenance, runs
from serlib.batching import Batch
from serlib.models.shen2020 import FRAMES, WISE, InteractingLSTMs, last_of_each

HERE = Path(__file__).resolve().parent
BATCH = 32
SIZES = ("paper", "quick")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="synthetic", metavar="NAME[=FOLDER]", help="a name of serlib.corpora.load")
    parser.add_argument("--utterances", type=int, default=10 * BATCH, help="drawn with a fixed seed")
    parser.add_argument("--repeats", type=int, default=7, help="rounds in which each way has a turn; the median counts")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    parser.add_argument("--memory", nargs=2, metavar=("SIZE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(json.dumps(memory(*options.memory, options.corpus, options.utterances)))
        return

    whole, parts, memories = [], [], []
    for device in devices():
        for size in SIZES:
            model, batches = prepared(size, options.corpus, options.utterances, device)
            whole += compare_whole(model, batches, size, device, options.repeats)
            typical = sorted(batches, key=lambda batch: batch["pairs"].shape[1])[len(batches) // 2]
            parts += compare_hierarchies(model, typical, size, device, options.repeats)
            parts += compare_lstms(model, typical, size, device, options.repeats)
            if device == "cpu" and sys.platform == "linux":
                memories += [in_a_process(size, way, options) for way in ("nested loops", "serlib")]
    tables = {"whole": pd.DataFrame(whole), "parts": pd.DataFrame(parts), "memory": pd.DataFrame(memories)}
    hardware = {device: provenance.hardware(device) for device in devices()}
    report(options.out, "shen2020", tables, hardware, threads=1, batch=BATCH, rounds=options.repeats)


def prepared(size: str, corpus: str, utterances: int, device: str) -> tuple[WISE, list[Batch]]:
    """WISE in the size of a profile, and batches of real utterances, of like length as in training; every frame."""
    name, _, root = corpus.partition("=")
    four = corpora.load(name, root or None, progress=False).four_class()
    how = {"protocol": "random-folds", "profile": size, "folds": 1, "seeds": 1, "device": device}
    overrides = {"frame_stride": 1, "vectors": "random", "model": {"dropout": 0.0}}
    (run,) = runs.plan("shen2020", "wise", four, overrides=overrides, **how)
    split = run.split
    split = replace(split, train=split.train[:utterances], dev=split.dev[:1], test=split.test[:1])
    fold = runs.prepare(replace(run, split=split), four)
    torch.manual_seed(0)
    model = runs.build(fold, 0).to(device)
    return model, list(fold.train.batches(BATCH, torch.Generator().manual_seed(0)))


# Whole training steps


class NestedLoops(nn.Module):
    """WISE as one would write it down: a loop over utterances, their words, the phonemes of these, and over time.

    A GRU still takes all frames of a phoneme in one call, and an LSTM cell is PyTorch's.
    """

    def __init__(self, model: WISE):
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        m, rows = self.model, []
        for row in range(len(batch)):
            frames, phones = batch[FRAMES][row], batch["phones"][row, : batch.lengths["phones"][row]].tolist()
            words: list[list[Tensor]] = []
            for first, count, word in phones:
                if word == len(words):
                    words.append([])
                _, last = m.words.phoneme(frames[first : first + count])
                words[-1].append(last)
            audio = [m.words.word(torch.cat(phonemes))[1][0] for phonemes in words]
            h_a, h_t = (frames.new_zeros(1, size) for size in m.lstms.sizes)
            c_a, c_t, states = h_a, h_t, []
            for token, word in batch["pairs"][row, : batch.lengths["pairs"][row]].tolist():
                h_a, h_t = (torch.cat([h_a, h_t], 1) @ m.lstms.interaction.T).split(m.lstms.sizes, 1)
                h_a, c_a = m.lstms.audio(audio[word][None], (h_a, c_a))
                h_t, c_t = m.lstms.text(m.embedding(batch["tokens"][row, token])[None], (h_t, c_t))
                states.append((h_a, h_t))
            joint = [m.fusion.weights["audio"](a) + m.fusion.weights["text"](t) for a, t in states]
            alpha = torch.cat([m.fusion.context(one.tanh()) for one in joint]).softmax(0)
            rows.append(sum(weight * one for weight, one in zip(alpha, joint, strict=True)))
        return m.classifier(torch.cat(rows))


def compare_whole(model: WISE, batches: list[Batch], size: str, device: str, repeats: int) -> list[dict[str, Any]]:
    """Predict and train on the same batches in both ways; a row for each."""
    slow = NestedLoops(deepcopy(model))
    with torch.no_grad():
        torch.testing.assert_close(model(batches[0]), slow(batches[0]), rtol=1e-4, atol=1e-5)
    ways = {}
    for way, module, some in (("nested loops", slow, batches[:3]), ("serlib", model, batches)):
        optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, weight_decay=1e-4)

        def update(module: nn.Module = module, some: list[Batch] = some, optimiser=optimiser) -> None:
            for batch in some:
                optimiser.zero_grad(set_to_none=True)
                functional.cross_entropy(module(batch), batch.targets).backward()
                optimiser.step()

        def predict(module: nn.Module = module, some: list[Batch] = some) -> None:
            with torch.no_grad():
                for batch in some:
                    module(batch)

        ways |= {("predicting", way): (predict, len(some)), ("training", way): (update, len(some))}

    taken = timed({key: function for key, (function, _) in ways.items()}, device, repeats, f"whole, {size}, {device}")
    rows = []
    for (what, way), seconds in taken.items():
        times = [one / ways[what, way][1] for one in seconds]
        rows.append(
            {
                "device": device,
                "size": size,
                "what": what,
                "way": way,
                "ms per batch": 1000 * median(times),
                "lowest": 1000 * min(times),
                "highest": 1000 * max(times),
                "utterances per s": BATCH / median(times),
            }
        )
    first = {row["what"]: row["ms per batch"] for row in rows if row["way"] == "nested loops"}
    return [row | {"times as fast": first[row["what"]] / row["ms per batch"]} for row in rows]


# The phoneme GRU


def compare_hierarchies(model: WISE, batch: Batch, size: str, device: str, repeats: int) -> list[dict[str, Any]]:
    """Ways to run one GRU over all phonemes of a batch."""
    gru = model.words.phoneme
    phones, lengths = batch["phones"].cpu(), batch.lengths["phones"]
    rows = phones[torch.arange(phones.shape[1]) < lengths[:, None]]
    utterance = torch.arange(len(phones)).repeat_interleave(lengths)
    values = batch[FRAMES].flatten(0, 1)
    first, count = rows[:, 0] + utterance * batch[FRAMES].shape[1], rows[:, 1]

    def padded(longest: int, some: Tensor | None = None) -> Tensor:
        start, steps = (first, count) if some is None else (first[some], count[some])
        index = (start[:, None] + torch.arange(longest)).clamp(max=len(values) - 1).to(values.device)
        states, _ = gru(values[index].transpose(0, 1))
        return states[steps - 1, torch.arange(len(steps))]

    def buckets(parts: int) -> Tensor:
        order = count.argsort()
        last = torch.cat([padded(int(count[part].max()), part) for part in order.tensor_split(parts)])
        return last[order.argsort().to(last.device)]

    ways = {
        "packed from the table (serlib)": lambda: last_of_each(gru, values, first, count),
        "padded to the longest": lambda: padded(int(count.max())),
        "padded to 64 frames": lambda: padded(64),
        "six lengths, each padded": lambda: buckets(6),
        "own loop over steps, shrinking batch": lambda: own_loop(gru, values, first, count),
    }
    return compare_parts("phoneme GRU", ways, lambda: gru.parameters(), size, device, repeats)


def own_loop(gru: nn.GRU, values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """A GRU in Python over packed rows; `split`, whose gradient is one concatenation, in place of a slice per step."""
    order = count.argsort(descending=True, stable=True)
    running = len(count) - torch.bincount(count).cumsum(0)[:-1]
    step = torch.arange(len(running)).repeat_interleave(running)
    rank = torch.arange(len(step)) - (running.cumsum(0) - running)[step]
    packed = PackedSequence(values[(first[order][rank] + step).to(values.device)], running)
    size, u = gru.hidden_size, gru.weight_hh_l0.T
    inputs = functional.linear(packed.data, gru.weight_ih_l0, gru.bias_ih_l0).split(running.tolist())
    h, done = values.new_zeros(len(count), size), []
    for x in inputs:
        if len(x) < len(h):
            h, ended = h.split([len(x), len(h) - len(x)])
            done.append(ended)
        recurrent = torch.addmm(gru.bias_hh_l0, h, u)
        r, z = (x[:, : 2 * size] + recurrent[:, : 2 * size]).sigmoid().chunk(2, 1)
        h = torch.lerp(torch.addcmul(x[:, 2 * size :], r, recurrent[:, 2 * size :]).tanh(), h, z)
    return torch.cat([h, *reversed(done)])[order.argsort().to(values.device)]


# The LSTMs that interact


def compare_lstms(model: WISE, batch: Batch, size: str, device: str, repeats: int) -> list[dict[str, Any]]:
    """Ways to run the two LSTMs over a padded batch."""
    lstms = model.lstms
    pairs = batch["pairs"].shape[:2]
    torch.manual_seed(0)
    audio, text = (torch.randn(*pairs, one.input_size, device=device) for one in (lstms.audio, lstms.text))

    scripted = torch.jit.script(folded_steps)
    compiled = torch.compile(folded_steps)

    def folded(steps: Callable[..., Tensor]) -> Callable[[], Tensor]:
        return lambda: steps(torch.cat([audio, text], 2), *lstms.joined())

    ways = {
        "one LSTM with folded weights (serlib)": lambda: torch.cat(lstms(audio, text), 2),
        "two cells and equation (3), step by step": lambda: literal_steps(lstms, audio, text),
        "inputs hoisted, one product per step": folded(folded_steps),
        "the same, torch.jit.script": folded(scripted),
        "the same, torch.compile": folded(compiled),
    }
    return compare_parts(f"LSTMs, {pairs[1]} steps", ways, lambda: lstms.parameters(), size, device, repeats)


def literal_steps(lstms: InteractingLSTMs, audio: Tensor, text: Tensor) -> Tensor:
    h_a, h_t = (audio.new_zeros(len(audio), size) for size in lstms.sizes)
    c_a, c_t, states = h_a, h_t, []
    for a, t in zip(audio.unbind(1), text.unbind(1), strict=True):
        h_a, h_t = (torch.cat([h_a, h_t], 1) @ lstms.interaction.T).split(lstms.sizes, 1)
        h_a, c_a = lstms.audio(a, (h_a, c_a))
        h_t, c_t = lstms.text(t, (h_t, c_t))
        states.append(torch.cat([h_a, h_t], 1))
    return torch.stack(states, 1)


def folded_steps(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
    h = torch.zeros(x.shape[0], weight_hh.shape[1], device=x.device)
    c, states = h, []
    inputs = functional.linear(x, weight_ih, bias_ih + bias_hh)
    for step in range(x.shape[1]):
        i, f, g, o = torch.addmm(inputs[:, step], h, weight_hh.t()).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        states.append(h)
    return torch.stack(states, 1)


def compare_parts(
    part: str, ways: dict[str, Callable[[], Tensor]], parameters: Callable, size: str, device: str, repeats: int
) -> list[dict[str, Any]]:
    """Time each way forwards, and forwards and backwards, all in turn; all must give the same numbers."""
    expected, rows, calls = None, [], {}
    for way, function in ways.items():
        row = {"device": device, "size": size, "part": part, "way": way}
        start = time.perf_counter()
        try:
            outcome = function()
            outcome.sum().backward()
        except Exception as error:
            rows.append(row | {"way": f"{way}: {type(error).__name__}"})
            continue
        rows.append(row | {"first call, s": time.perf_counter() - start})
        expected = outcome.detach() if expected is None else expected
        torch.testing.assert_close(outcome.detach(), expected, rtol=1e-4, atol=1e-5)

        def there_and_back(function: Callable[[], Tensor] = function) -> None:
            for parameter in parameters():
                parameter.grad = None
            function().sum().backward()

        calls |= {("forwards, ms", way): no_grad(function), ("and back, ms", way): there_and_back}

    taken = timed(calls, device, repeats, f"{part}, {size}, {device}")
    for row in rows:
        for what in ("forwards, ms", "and back, ms"):
            row[what] = 1000 * median(taken.get((what, row["way"]), [float("nan")]))
    return [row | {"beside serlib": row["and back, ms"] / rows[0]["and back, ms"]} for row in rows]


def no_grad(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return torch.no_grad()(function)


def timed(
    calls: dict[tuple[str, str], Callable[[], object]], device: str, repeats: int, what: str
) -> dict[tuple[str, str], list[float]]:
    """Seconds of several calls of each, all in turn, after one that does not count: of the processor, or of the clock
    on a GPU.
    """

    def seconds(function: Callable[[], object]) -> float:
        start = clock(device)
        function()
        return clock(device) - start

    turns = {key: partial(seconds, function) for key, function in calls.items()}
    return {key: times[1:] for key, times in in_turns(turns, 1 + repeats, what).items()}


# Memory


def memory(size: str, way: str, corpus: str, utterances: int) -> dict[str, Any]:
    """How far the memory of this process rises in training steps: the two longest batches, one after the other."""
    model, batches = prepared(size, corpus, utterances, "cpu")
    batches = sorted(batches, key=lambda batch: int(batch.lengths[FRAMES].sum()))[-2:]
    module = NestedLoops(model) if way == "nested loops" else model
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = status("VmRSS")
    for batch in batches:
        functional.cross_entropy(module(batch), batch.targets).backward()
    frames = int(batches[-1].lengths[FRAMES].sum())
    return {"size": size, "way": way, "frames in the batch": frames, "more memory, MB": status("VmHWM") - before}


def status(name: str) -> float:
    """A line of Linux's /proc/self/status, in MB."""
    line = next(one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name))
    return int(line.split()[1]) / 1000


def in_a_process(size: str, way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure memory in a fresh process that gives freed blocks back, so that none is used again unseen."""
    arguments = ["--corpus", options.corpus, "--utterances", str(options.utterances), "--memory", size, way]
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


# Report


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


if __name__ == "__main__":
    main()
