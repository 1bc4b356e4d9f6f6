"""Studies of aligning spaces whose true pairs are known: chapter `alignment`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import spaces
from plan import Job, Plan, Row

from serlib.embeddings import adversarial, alignment, beds, self_learning
from serlib.embeddings.beds import Bed
from serlib.embeddings.mapping import normalise, precision, procrustes

SEEDS = range(100, 110)
"""Not those that `adversarial.QUICK` was chosen with."""

WORDS = 2_500
"""Most frequent words of a space that are aligned."""

STEPS = {"as they are": (), "unit": ("unit",), "unit, centred": ("unit", "centre", "unit")}

WAYS = {"adversarial": adversarial.QUICK, "self-learning": self_learning.QUICK}

PAIRS = {
    "rotated, noise 0.1": ("brown", "word2vec", 0, 0.1, False),
    "rotated, noise 0.5": ("brown", "word2vec", 0, 0.5, False),
    "mirrored, noise 0.1": ("brown", "word2vec", 0, 0.1, True),
    "two seeds": ("brown", "word2vec", 0, "word2vec", 1),
    "two halves": ("brown", "first-half", 0, "second-half", 0),
    "skip-gram and CBOW": ("brown", "cbow", 0, "word2vec", 0),
    "skip-gram and counts": ("brown", "counts", 0, "word2vec", 0),
    "speech and text": ("brown", "skipgram", 0, "word2vec", 0),
    "speech, trained long, and text": ("brown", "long", 0, "word2vec", 0),
    "speech per voice and text": ("brown", "per-voice", 0, "word2vec", 0),
    "speech less its voices and text": ("brown", "skipgram-centred", 0, "word2vec", 0),
    "autoencoder and text": ("brown", "autoencoder", 0, "word2vec", 0),
    "random encoder and text": ("brown", "random", 0, "word2vec", 0),
    "phones and text": ("brown", "phones", 0, "word2vec", 0),
    "speech and phones": ("brown", "skipgram", 0, "phones", 0),
    "synthetic: speech and text": ("synthetic", "skipgram", 0, "word2vec", 0),
    "synthetic: speech less its voices and text": ("synthetic", "skipgram-centred", 0, "word2vec", 0),
    "synthetic: phones and text": ("synthetic", "phones", 0, "word2vec", 0),
}
"""Beds: source and target as text, name, seed, name, seed; or a copy, as text, name, seed, noise, whether mirrored."""


@cache
def bed(name: str, steps: str = "unit, centred", words: int | None = WORDS) -> Bed:
    """Return the rows of a bed's two spaces, brought to one form, and its pairs; None words are all."""
    text, first, seed, *other = PAIRS[name]
    source = spaces.read(text, first, seed).rows[:words]
    if isinstance(other[0], float):
        noise, mirrored = other
        source, target, pairs = beds.rotated(source, noise, seed=7, mirrored=mirrored)
    else:
        spoken = [spaces.read(text, *one) for one in ((first, seed), other)]
        parts = [dict(zip(one.words[:words], one.rows[:words], strict=True)) for one in spoken]
        source, target, pairs = beds.common(*parts)
    return normalise(source, STEPS[steps]), normalise(target, STEPS[steps]), pairs


def _measure(
    source: np.ndarray,
    target: np.ndarray,
    pairs: np.ndarray,
    way: str,
    settings: adversarial.Adversarial | None = None,
    device: str = "cpu",
) -> list[Row]:
    """Align with every seed, and tell how far each came on words that supervision does not know either."""
    start = time.monotonic()
    made = alignment.align(source, target, way, SEEDS, settings or WAYS[way], device=device, progress=False)
    seconds = time.monotonic() - start
    chosen = alignment.best(made)
    rows = []
    for one in made:
        after = beds.success(one.mapping, source, target, pairs)
        before = beds.success(one.proxy, source, target, pairs)
        rows.append(
            {
                "seed": one.seed,
                "precision": float(after.precision),
                "before refinement": float(before.precision),
                "supervised": float(after.supervised),
                "succeeded": after.succeeded if after.succeeded is None else bool(after.succeeded),
                "criterion": float(one.criterion),
                "chosen": one is chosen,
                "seconds": round(seconds / len(made), 2),
            }
        )
    return rows


def _beds() -> list[Job]:
    return [{"bed": name, "way": way} for name in PAIRS for way in WAYS]


def _turned(source: np.ndarray) -> np.ndarray:
    """Return a space turned by a random rotation. The game starts from the identity, which must be worth nothing: two
    spaces that began with the same random numbers are half aligned by it (skip-gram and CBOW: P@1 36 %).
    """
    return beds.rotated(source, 0.0, seed=7, shuffle=0, mirrored=False)[1]


def _align(job: Job) -> list[Row]:
    source, target, pairs = bed(job["bed"])
    if job["way"] == "adversarial" and not isinstance(PAIRS[job["bed"]][3], float):  # a copy is turned already
        source = _turned(source)
    sizes = {"words": len(source), "others": len(target), "pairs": len(pairs)}
    return [{**sizes, **row} for row in _measure(source, target, pairs, job["way"])]


LARGE = replace(adversarial.Adversarial(), epochs=3, epoch_steps=10_000)
"""The game as its authors' program plays it, in a fifth of its steps: for a GPU."""


def _large_games() -> list[Job]:
    return [{"bed": "rotated, noise 0.1"}]  # ten games take minutes of a large GPU


def _large_game(job: Job) -> list[Row]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source, target, pairs = bed(job["bed"], words=None)
    rows = _measure(source, target, pairs, "adversarial", LARGE, device)
    return [{"device": device, "words": len(source), **row} for row in rows]


def _forms() -> list[Job]:
    names = ("two halves",)
    return [{"bed": name, "steps": steps, "way": way} for name in names for steps in STEPS for way in WAYS]


def _form(job: Job) -> list[Row]:
    source, target, pairs = bed(job["bed"], job["steps"])
    return _measure(_turned(source) if job["way"] == "adversarial" else source, target, pairs, job["way"])


NOISES, SIZES, DIMS = (0.0, 0.5, 1.0), (500, 1_000, 2_500), (10, 25, 50)


def _trusts() -> list[Job]:
    """Jobs for both ways; mirror images are asked of the game alone, which starts from the identity: self-learning
    starts from a dictionary, and a mirror is nothing special to Procrustes.
    """
    return [
        {"noise": noise, "words": words, "dims": dims, "way": way, "mirrored": mirrored}
        for noise in NOISES
        for words in SIZES
        for dims in DIMS
        for way, mirrored in (("adversarial", False), ("adversarial", True), ("self-learning", False))
    ]


def _trust(job: Job) -> list[Row]:
    """Align a rotated copy of the Brown corpus's text space, cut to some words and principal dimensions."""
    rows = spaces.read("brown", "word2vec", 0).rows[: job["words"]]
    rows = rows - rows.mean(axis=0)
    principal = np.linalg.svd(rows, full_matrices=False)[2][: job["dims"]]
    source, target, pairs = beds.rotated(rows @ principal.T, job["noise"], seed=7, mirrored=job["mirrored"])
    return _measure(normalise(source), normalise(target), pairs, job["way"])


def _retrievals() -> list[Job]:
    return [{"bed": name, "method": method} for name in PAIRS for method in ("nn", "csls")]


def _retrieve(job: Job) -> list[Row]:
    """What supervised Procrustes reaches with each way of retrieval, on the held-out third of the words."""
    source, target, pairs = bed(job["bed"])
    words = np.random.default_rng(0).permutation(np.unique(pairs[:, 0]))
    test = np.isin(pairs[:, 0], words[: round(0.3 * len(words))])
    mapping = procrustes(source[pairs[~test, 0]], target[pairs[~test, 1]])
    found, _ = precision(source @ mapping.T, target, pairs[test], at=(1, 5, 10), method=job["method"])
    return [{f"P@{k}": float(value) for k, value in found.items()} | {"words": int(test.sum())}]


MODULES = ("serlib.embeddings.alignment", "serlib.embeddings.beds")
STUDIES = {
    "beds": Plan(_beds, _align, lambda job: False, MODULES),
    "large-game": Plan(_large_games, _large_game, lambda job: False, MODULES),
    "forms": Plan(_forms, _form, lambda job: False, MODULES),
    "trust": Plan(_trusts, _trust, lambda job: False, MODULES),
    "retrieval": Plan(_retrievals, _retrieve, lambda job: "synthetic" in job["bed"], MODULES),
}
