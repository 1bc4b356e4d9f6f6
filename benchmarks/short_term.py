"""Short-term features: torch against pyAudioAnalysis, how fast and how equal. See README.md beside this file.

`python benchmarks/short_term.py` prints a table and writes it beside this file. It needs pyAudioAnalysis, which
`make env` installs.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
from features import BATCH, BATCH_CUDA, HERE, about, batches, wall_time
from report import report
from tqdm import tqdm

from serlib import corpora
from serlib.features import RATE, read_waveform, short_term, short_term_batch
from serlib.features.framing import HOP
from serlib.features.short_term_torch import WINDOW

PEER = f"pyAudioAnalysis {version('pyAudioAnalysis')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus",
        action="append",
        metavar="NAME[=FOLDER]",
        help="may be repeated; a name of serlib.corpora.load (default: ravdess and synthetic)",
    )
    parser.add_argument("--utterances", type=int, default=50, help="of each corpus, drawn with a fixed seed")
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement; the median counts")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the table")
    options = parser.parse_args()

    waveforms = {}
    for given in options.corpus or ["ravdess", "synthetic"]:
        name, _, root = given.partition("=")
        corpus = corpora.load(name, root or None)
        drawn = random.Random(0).sample(corpus.utterances, min(options.utterances, len(corpus)))
        waveforms[name] = [read_waveform(utterance.audio) for utterance in drawn]
    torch.set_num_threads(1)
    everything = sorted((waveform for drawn in waveforms.values() for waveform in drawn), key=len)
    report(options.out, "short_term", {"rows": measured(everything, options.repeats)}, **about(waveforms))


def measured(waveforms: list[np.ndarray], repeats: int) -> pd.DataFrame:
    """Time every way on the same waveforms, all ways in turn, `repeats` times over, and compare their numbers."""
    together = batches(waveforms, BATCH)
    ways: dict[str, Callable[[], list[np.ndarray]]] = {
        PEER: lambda: [pyaudioanalysis(waveform) for waveform in waveforms],
        "serlib, one at a time": lambda: [short_term(waveform) for waveform in waveforms],
        f"serlib, batches of {BATCH}": lambda: [rows for batch in together for rows in utterances(*batch)],
    }
    if torch.cuda.is_available():
        on_gpu = [(padded.cuda(), lengths.cuda()) for padded, lengths in batches(waveforms, BATCH_CUDA)]
        ways[f"serlib, CUDA, batches of {BATCH_CUDA}"] = lambda: [
            rows for batch in on_gpu for rows in utterances(*batch)
        ]

    numbers = {name: np.concatenate(way()) for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in tqdm(range(repeats), "speed"):
        for name, way in ways.items():
            clock = wall_time if "CUDA" in name else time.process_time
            start = clock()
            way()
            taken[name].append(clock() - start)
    seconds = sum(map(len, waveforms)) / RATE
    return pd.DataFrame(
        {
            "way": name,
            "times real time": seconds / median(times),
            "lowest": seconds / max(times),
            "highest": seconds / min(times),
            "beside pyAudioAnalysis": median(taken[PEER]) / median(times),
            "worst difference": float(np.abs(numbers[name] - numbers[PEER]).max()),
        }
        for name, times in taken.items()
    )


def pyaudioanalysis(waveform: np.ndarray) -> np.ndarray:
    """(frames, 34) of samples that are scaled as it expects them."""
    from pyAudioAnalysis.ShortTermFeatures import feature_extraction

    return feature_extraction(waveform * 32768.0, RATE, WINDOW, HOP, deltas=False)[0].T


def utterances(padded: torch.Tensor, lengths: torch.Tensor) -> list[np.ndarray]:
    """The features of each utterance of a batch."""
    features, counts = short_term_batch(padded, lengths)
    return [rows[:count] for rows, count in zip(features.cpu().numpy(), counts.tolist(), strict=True)]


if __name__ == "__main__":
    main()
