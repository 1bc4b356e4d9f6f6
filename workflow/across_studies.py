"""A study across corpora: learnt from a synthesiser, tested on people, and the other way; chapter `real_speech`."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plan import Job, Plan, Row
from records import with_words

from serlib import corpora, runs, training
from serlib.corpora.corpus import Corpus
from serlib.inputs import Joined, Source
from serlib.metrics import classification_measures

SYSTEMS = {"yoon2018": "are", "xu2019": "speech"}
"""Two that hear and do not read, by paper: the words of the two corpora have nothing in common."""
WAYS = (("synthetic", "ravdess"), ("ravdess", "synthetic"))
SEEDS = 5


@cache
def _corpus(name: str) -> Corpus:
    return with_words(corpora.load(name, progress=False).four_class())


@cache
def _source(name: str) -> Source:
    return Source(_corpus(name))


def _jobs() -> list[Job]:
    ways = [{"trained on": one, "tested on": other} for one, other in WAYS]
    systems = [{"paper": paper, "system": system} for paper, system in SYSTEMS.items()]
    return [way | of | {"seed": seed} for of in systems for way in ways for seed in range(SEEDS)]


def _across(job: Job) -> list[Row]:
    """Train on all of one corpus but what says when to stop, and test on all of the other; a row per speaker, with what
    UA sums up."""
    own, other = job["trained on"], job["tested on"]
    run = runs.plan(job["paper"], job["system"], _corpus(own), seeds=[job["seed"]], folds=[0], device="cpu")[0]
    test = [u.id for u in _corpus(other)]
    split = replace(run.split, train=[*run.split.train, *run.split.test], test=test)
    fold = runs.prepare(replace(run, split=split), Joined(_source(own), _source(other)))
    model, _ = runs.train(fold, job["seed"], progress=False)
    outputs, targets = training.predict(model, fold.test).numpy(), fold.test.targets.numpy()
    sums = classification_measures(outputs.shape[1])["ua"].statistics(targets, outputs)
    speakers = np.array([_corpus(other)[id].speaker for id in fold.test.ids])
    rows = []
    for speaker in sorted(set(speakers)):
        total = sums[speakers == speaker].sum(axis=0)
        rows.append({"speaker": speaker, "utterances": int((speakers == speaker).sum()), "sums": total.tolist()})
    return rows


STUDIES = {"across": Plan(_jobs, _across, lambda job: False, ("serlib.runs", "serlib.inputs", "serlib.training"))}
