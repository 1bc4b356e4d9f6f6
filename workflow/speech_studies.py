"""Studies of when words are spoken: how well PocketSphinx finds it out, and what its errors cost; chapter `corpora`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rapidfuzz.distance import Levenshtein

sys.path.insert(0, str(Path(__file__).resolve().parent))

import spaces
from plan import Job, Plan, Row, as_columns

sys.path.insert(0, str(spaces.ROOT))

from data_scripts.align import CMU, align_corpus
from serlib import runs, tables
from serlib.corpora import load, with_alignments
from serlib.corpora.corpus import Corpus, Segment, Utterance
from serlib.files import cache_folder

SAMPLE, AGAIN = 40, 10
"""Utterances of a voice that are aligned, and in a replay."""

COSTLY = {"xu2019": "hard", "shen2020": "wise"}
"""Systems that look at words and nothing but, by paper."""


@cache
def _synthetic() -> Corpus:
    return load("synthetic", progress=False)


def _aligned(ids: list[str], out: Path) -> Corpus:
    """Some utterances of the synthetic corpus, with the alignments of PocketSphinx."""
    some = _synthetic().select(ids)
    align_corpus(some, out, progress=False)
    return with_alignments(some, out)


def _kept() -> Path:
    return cache_folder() / "aligned" / "synthetic"


def _voices() -> list[Job]:
    voices = sorted({u.speaker for u in _synthetic().utterances})
    return [{"voice": voice, "utterances": SAMPLE} for voice in voices] + [{"voice": voices[0], "utterances": AGAIN}]


def _sample(voice: str, size: int) -> list[str]:
    """Utterances of a voice, drawn at random: a smaller sample is part of a larger one."""
    ids = [u.id for u in _synthetic().utterances if u.speaker == voice]
    return [ids[at] for at in np.random.default_rng(0).permutation(len(ids))[:size]]


def _errors(job: Job) -> list[Row]:
    """How many milliseconds the found starts and ends are from those that the synthesiser tells; negative is early."""
    ids = _sample(job["voice"], job["utterances"])
    with TemporaryDirectory() as folder:
        found = _aligned(ids, Path(folder) if job["utterances"] == AGAIN else _kept())
    rows = []
    for level in ("words", "phones"):
        pairs = [pair for u in found.utterances for pair in _pairs(u, _synthetic()[u.id], level)]
        spoken = sum(len(getattr(_synthetic()[id], level)) for id in ids)
        errors = np.array([(a.start - b.start, a.end - b.end) for a, b in pairs])
        errors = np.round(1000 * errors).astype(int)  # whole frames, 10 ms
        distances = np.abs(errors)
        rows.append(
            {
                "level": level,
                "spoken": spoken,
                "paired": len(pairs),
                "median": float(np.median(distances)),
                "95 %": float(np.quantile(distances, 0.95)),
                "95 % of starts": float(np.quantile(distances[:, 0], 0.95)),
                "95 % of ends": float(np.quantile(distances[:, 1], 0.95)),
                "bias": float(errors.mean()),
                "within 50 ms": float(np.mean(distances <= 50)),
            }
        )
    return rows


def _pairs(found: Utterance, true: Utterance, level: str) -> Iterator[tuple[Segment, Segment]]:
    """The segments that stand for the same thing, found and true.

    Words are those of the same number where the labels agree. Phones are paired by the fewest edits that make one
    sequence the other: the two sources do not always pronounce a word alike.
    """
    a, b = getattr(found, level), getattr(true, level)
    names = [segment.label for segment in a], [CMU.get(segment.label, segment.label).split()[0] for segment in b]
    for kind, start, end, other, _ in Levenshtein.opcodes(*names):
        if kind == "equal" or (kind == "replace" and level == "phones"):
            yield from zip(a[start:end], b[other:], strict=False)


def _systems() -> list[Job]:
    return [{"paper": paper, "system": system, "folds": 2} for paper, system in COSTLY.items()]


def _cost(job: Job) -> list[Row]:
    """What a system reaches with found words in place of true ones: same folds, same seed, same everything else."""
    truth = _synthetic().four_class()
    found = _aligned([u.id for u in truth.utterances], _kept()).four_class()
    results_dir = cache_folder() / "aligned" / "runs"
    names, asked = (job["paper"], job["system"]), {"folds": job["folds"], "seeds": 1, "jobs": 1, "progress": False}
    there = runs.run(*names, truth, results_dir=spaces.ROOT / "results", older="use", **asked)
    made = runs.run(*names, found, results_dir=results_dir, older="remake", **asked)
    rows = []
    for fold in (*range(job["folds"]), "all"):
        one, other = ([r for r in records if fold in (r.fold, "all")] for records in (made, there))
        gap, p = tables.difference(one, other)
        scores = (float(tables.scores(records)["estimate"].iloc[0]) for records in (other, one))
        row = dict(zip(("fold", "true", "found"), (fold, *scores), strict=True))
        rows.append(row | as_columns("difference", gap) | {"p": p, "items": sum(len(r.predictions.ids) for r in one)})
    return rows


MODULES = ("serlib.corpora.alignments", "serlib.runs")
STUDIES = {
    "forced-alignment": Plan(_voices, _errors, lambda job: job["utterances"] == AGAIN, MODULES[:1]),
    "alignment-cost": Plan(_systems, _cost, lambda job: False, MODULES),
}
