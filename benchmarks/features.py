"""MFCC and prosody contours: torch against openSMILE, how equal and how fast. See README.md beside this file.

`python benchmarks/features.py --parity` and `--speed` print a table each and write it beside this file.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from report import report
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from serlib import corpora, provenance
from serlib.features import (
    CONTOUR_NAMES,
    MFCC_NAMES,
    RATE,
    contours,
    contours_batch,
    mfcc,
    mfcc_batch,
    prosody,
    read_waveform,
)

HERE = Path(__file__).resolve().parent
COLUMN_GROUPS = {
    "MFCC 1-12": [name for name in MFCC_NAMES if name.startswith("MFCC")],
    "log energy": ["log energy"],
    "delta MFCC": [name for name in MFCC_NAMES if name.startswith("delta MFCC")],
    "delta log energy": ["delta log energy"],
    "acceleration MFCC": [name for name in MFCC_NAMES if name.startswith("acceleration MFCC")],
    "acceleration log energy": ["acceleration log energy"],
}
BATCH = 16
BATCH_CUDA = 256

Batch = tuple[torch.Tensor, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parity", action="store_true", help="compare the numbers")
    parser.add_argument("--speed", action="store_true", help="compare the speed")
    parser.add_argument(
        "--corpus",
        action="append",
        metavar="NAME[=FOLDER]",
        help="may be repeated; a name of serlib.corpora.load (default: ravdess and synthetic)",
    )
    parser.add_argument("--utterances", type=int, default=100, help="of each corpus, drawn with a fixed seed")
    parser.add_argument("--repeats", type=int, default=7, help="of each measurement of speed; the median counts")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    options = parser.parse_args()
    if not (options.parity or options.speed):
        parser.error("give --parity, --speed or both")

    waveforms = {}
    for given in options.corpus or ["ravdess", "synthetic"]:
        name, _, root = given.partition("=")
        corpus = corpora.load(name, root or None)
        drawn = random.Random(0).sample(corpus.utterances, min(options.utterances, len(corpus)))
        waveforms[name] = [read_waveform(utterance.audio) for utterance in drawn]
    torch.set_num_threads(1)
    if options.parity:
        report(options.out, "features-parity", {"rows": parity(waveforms)}, **about(waveforms))
    if options.speed:
        everything = [waveform for drawn in waveforms.values() for waveform in drawn]
        report(options.out, "features-speed", {"rows": speed(everything, options.repeats)}, **about(waveforms))


def parity(waveforms: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """Compare every frame of every utterance; a row for each corpus, group of columns, device and precision."""
    rows = []
    for corpus, drawn in waveforms.items():
        smile_mfcc = np.concatenate([mfcc(waveform) for waveform in tqdm(drawn, f"openSMILE MFCC, {corpus}")])
        smile = np.concatenate([contours(waveform) for waveform in tqdm(drawn, f"openSMILE contours, {corpus}")])
        for device in devices():
            for dtype in (torch.float32, torch.float64):
                batched = [(pad.to(device, dtype), lengths) for pad, lengths in batches(drawn, BATCH)]
                where = {"corpus": corpus, "torch": f"{device}, {str(dtype).removeprefix('torch.')}"}
                torch_mfcc = frames(mfcc_batch, batched)
                for group, names in COLUMN_GROUPS.items():
                    columns = [MFCC_NAMES.index(name) for name in names]
                    rows.append(where | compared(group, smile_mfcc[:, columns], torch_mfcc[:, columns]))
                torch_contours = frames(contours_batch, batched)
                rows += [where | row for row in compared_contours(smile, torch_contours)]
    return pd.DataFrame(rows)


def compared_contours(smile: np.ndarray, ours: np.ndarray) -> Iterator[dict[str, Any]]:
    """Rows of the decision whether a frame is voiced, and of the five contours, F0 where both have one."""
    voiced = [values[:, [CONTOUR_NAMES.index("F0")]] > 0 for values in (smile, ours)]
    yield compared("voiced (0 or 1)", *(decision.astype(float) for decision in voiced))
    both = (voiced[0] & voiced[1])[:, 0]
    for column, name in enumerate(CONTOUR_NAMES):
        rows = both if name in ("F0", "log F0") else np.full(len(smile), True)
        yield compared(name, smile[rows, column], ours[rows, column])


def compared(group: str, smile: np.ndarray, ours: np.ndarray) -> dict[str, Any]:
    """How far two arrays are apart; relative for values of at least a tenth of their column's standard deviation."""
    difference = np.abs(smile.astype(np.float64) - ours)
    large = (np.abs(smile) >= 0.1 * smile.std(axis=0)) & (smile != 0)
    return {
        "columns": group,
        "values": difference.size,
        "worst absolute": float(difference.max()),
        "worst relative": float(np.max(difference[large] / np.abs(smile[large]))),
        "median absolute": float(np.median(difference)),
        "beyond 0.01": float((difference > 0.01).mean()),
    }


def speed(waveforms: list[np.ndarray], repeats: int) -> pd.DataFrame:
    """Time every way on the same waveforms, all ways in turn, `repeats` times over."""
    alone = batches(waveforms, 1)
    together = batches(sorted(waveforms, key=len), BATCH)
    ways: dict[tuple[str, str], Callable[[], object]] = {
        ("MFCC", "openSMILE"): lambda: [mfcc(waveform) for waveform in waveforms],
        ("MFCC", "torch, one at a time"): lambda: [mfcc_batch(*batch) for batch in alone],
        ("MFCC", f"torch, batches of {BATCH}"): lambda: [mfcc_batch(*batch) for batch in together],
        ("prosody", "openSMILE"): lambda: [prosody(waveform) for waveform in waveforms],
        ("prosody", "torch, one at a time"): lambda: [contours_batch(*batch) for batch in alone],
        ("prosody", f"torch, batches of {BATCH}"): lambda: [contours_batch(*batch) for batch in together],
    }
    if torch.cuda.is_available():
        on_gpu = [
            (padded.cuda(), lengths.cuda()) for padded, lengths in batches(sorted(waveforms, key=len), BATCH_CUDA)
        ]
        ways["MFCC", f"torch, CUDA, batches of {BATCH_CUDA}"] = lambda: [mfcc_batch(*batch) for batch in on_gpu]
        ways["prosody", f"torch, CUDA, batches of {BATCH_CUDA}"] = lambda: [contours_batch(*batch) for batch in on_gpu]

    for way in ways.values():
        way()
    taken: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
    for _ in tqdm(range(repeats), "speed"):
        for name, way in ways.items():
            clock = wall_time if "CUDA" in name[1] else time.process_time
            start = clock()
            way()
            taken[name].append(clock() - start)
    seconds = sum(map(len, waveforms)) / RATE
    table = pd.DataFrame(
        {
            "feature": feature,
            "way": way,
            "times real time": seconds / median(times),
            "lowest": seconds / max(times),
            "highest": seconds / min(times),
        }
        for (feature, way), times in taken.items()
    )
    smile = table.groupby("feature")["times real time"].transform("first")
    return table.assign(**{"beside openSMILE": table["times real time"] / smile})


def wall_time() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()


def devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def batches(waveforms: list[np.ndarray], size: int) -> list[Batch]:
    """Padded batches of consecutive utterances."""
    parts = [waveforms[start : start + size] for start in range(0, len(waveforms), size)]
    return [
        (pad_sequence(list(map(torch.from_numpy, part)), batch_first=True), torch.tensor(list(map(len, part))))
        for part in parts
    ]


def frames(compute: Callable[[torch.Tensor, torch.Tensor], Batch], batched: list[Batch]) -> np.ndarray:
    """All frames of all utterances, one below the other."""
    parts = []
    for padded, lengths in tqdm(batched, f"torch {compute.__name__}"):
        values, counts = compute(padded, lengths)
        parts += [rows[:count].cpu().numpy() for rows, count in zip(values, counts.tolist(), strict=True)]
    return np.concatenate(parts)


def about(waveforms: dict[str, list[np.ndarray]]) -> dict[str, dict[str, str]]:
    """Return what was measured on what, as `report` takes it."""
    return {
        "hardware": {device: provenance.hardware(device) for device in devices()},
        "input": {
            corpus: f"{len(drawn)} utterances, {sum(map(len, drawn)) / RATE:.0f} s"
            for corpus, drawn in waveforms.items()
        },
    }


if __name__ == "__main__":
    main()
