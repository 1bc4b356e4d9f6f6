"""How often intervals and tests keep their promises, on made-up answers of known truth.

`python benchmarks/coverage.py` prints tables and writes them beside this file; half an hour. No corpus is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from report import report
from tqdm import tqdm

from serlib import intervals, metrics, provenance
from serlib.metrics import Interval
from serlib.tasks import CLASSES

HERE = Path(__file__).resolve().parent
UA = CLASSES.measures["ua"]

SETS = {
    "middling": (1000, [0.25] * 4, [0.7] * 4),
    "small": (60, [0.25] * 4, [0.7] * 4),
    "near one": (200, [0.25] * 4, [0.97] * 4),
    "a class of 3 %": (300, [0.4, 0.37, 0.2, 0.03], [0.8, 0.7, 0.6, 0.5]),
    "a class of 3 %, near one": (300, [0.4, 0.37, 0.2, 0.03], [0.97] * 4),
    "small, near one": (50, [0.25] * 4, [0.95] * 4),
}
"""Test sets: items, share of each class, and the recall that is the truth. Draws without one of the classes are left
out: their UA is of other classes."""

SPEAKERS = 10
"""Two to a session, and a session to a fold."""

WORLDS = {
    "neither": (0.0, 0.0),
    "trainings by 1 point": (0.01, 0.0),
    "speakers by 5 points": (0.0, 0.05),
    "both": (0.01, 0.05),
}
"""What differs between two systems that are equally good: standard deviation of the luck of a training, and of how much
better than usual a system does on a speaker."""

DESIGNS = {"2 folds": (2, 1), "5 folds": (5, 1), "5 folds, 3 seeds": (5, 3)}
ALPHA = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="made-up test sets for each number")
    parser.add_argument("--samples", type=int, default=1000, help="resamples of a bootstrap")
    parser.add_argument("--items", type=int, default=550, help="of each speaker; IEMOCAP has about as many")
    parser.add_argument("--gain", type=float, default=0.05, help="by which one system is better, to be found")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the tables")
    options = parser.parse_args()
    tables = {
        "intervals": coverage(options.rounds, options.samples),
        "tests": errors(options.rounds, options.samples, options.items, options.gain),
    }
    facts = {"rounds": options.rounds, "resamples": options.samples, "items of a speaker": options.items}
    report(options.out, "coverage", tables, provenance.hardware("cpu"), speakers=SPEAKERS, **facts)


def coverage(rounds: int, samples: int) -> pd.DataFrame:
    """How often 95 % intervals of UA over items hold the truth, in %, and how wide they are, in points."""
    ways: Mapping[str, Callable[[np.ndarray, int], Interval]] = {
        "bootstrap": lambda counts, seed: metrics.bootstrap(UA, counts, samples=samples, seed=seed),
        "exact, by class": lambda counts, seed: intervals.recall_interval(counts),
    }
    rows = []
    for name, (items, shares, recalls) in SETS.items():
        found = {way: [] for way in ways}
        for seed in tqdm(range(rounds), name):
            draw = np.random.default_rng(seed)
            labels = draw.choice(len(shares), items, p=shares)
            if len(set(labels)) < len(shares):
                continue
            counts = answers(labels, draw.random(items) < np.array(recalls)[labels])
            for way, interval in ways.items():
                found[way].append(interval(counts, seed)[:2])
        row = {"test set": name, "items": items}
        for way, ends in found.items():
            low, high = np.array(ends).T
            truth = np.mean(recalls)
            row |= {f"{way}: covers in %": 100 * float(((low <= truth) & (truth <= high)).mean())}
            row |= {f"{way}: width": 100 * float((high - low).mean())}
        rows.append(row)
    return pd.DataFrame(rows)


def errors(rounds: int, samples: int, items: int, gain: float) -> pd.DataFrame:
    """How often each test says that two systems differ, in %, where they do not and where one is better; and how often
    it cannot tell."""
    rows = []
    for design, (folds, seeds) in DESIGNS.items():
        for world, (luck, suits) in WORLDS.items():
            said: dict[str, dict[float, list[float]]] = {}
            for seed in tqdm(range(rounds), f"{design}, {world}"):
                for better in (0.0, gain):
                    draw = np.random.default_rng(seed)
                    for way, p in tested(draw, folds, seeds, items, luck, suits, better, samples).items():
                        said.setdefault(way, {}).setdefault(better, []).append(p)
            for way, by_gain in said.items():
                none, one = (np.array(by_gain[better]) for better in (0.0, gain))
                rows.append(
                    {
                        "runs": design,
                        "what differs": world,
                        "test": way,
                        "differ, and do not, in %": 100 * float((none < ALPHA).mean()),
                        f"{100 * gain:g} points found in %": 100 * float((one < ALPHA).mean()),
                        "cannot tell in %": 100 * float(np.isnan(none).mean()),
                    }
                )
    return pd.DataFrame(rows)


def tested(
    draw: np.random.Generator,
    folds: int,
    seeds: int,
    items: int,
    luck: float,
    suits: float,
    better: float,
    samples: int,
) -> dict[str, float]:
    """The p-value that each way of testing gives two systems, of which the first is `better`."""
    speaker = np.repeat(np.arange(2 * folds), items)
    fold, n = speaker // 2, len(speaker)
    labels = draw.integers(0, 4, n)
    easy, shared = draw.random(n), draw.random(n) < 0.7  # what both systems find easy
    both = []
    for gain in (better, 0.0):
        level = 0.65 + gain + draw.normal(0, suits, SPEAKERS)[speaker]
        lucky = draw.normal(0, luck, (seeds, folds))
        each = [np.where(shared, easy, draw.random(n)) < level + one[fold] for one in lucky]
        both.append(np.concatenate([answers(labels, right) for right in each]))
    item, person = np.tile(np.arange(n), seeds), np.tile(speaker, seeds)
    training = np.concatenate([folds * seed + fold for seed in range(seeds)])
    bootstraps = {"bootstrap of items": item, "bootstrap of speakers": person}
    how = {"samples": samples, "seed": int(draw.integers(2**31))}
    p = {name: metrics.paired_bootstrap(UA, *both, groups=groups, **how)[1] for name, groups in bootstraps.items()}
    told = intervals.clustered_difference(UA, *both, person, training)[1]
    return p | {"jackknife of speakers and trainings": told}


def answers(labels: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Counts (items, 16) of answers that are right, or else the next class."""
    return UA.statistics(labels, np.where(right, labels, (labels + 1) % 4))


if __name__ == "__main__":
    main()
