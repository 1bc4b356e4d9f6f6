"""Studies of spaces of words and of the encoders that made them: chapter `embeddings`."""

from __future__ import annotations

import csv
import sys
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

import spaces
from plan import Job, Plan, Row, as_columns

from serlib.corpora import load
from serlib.embeddings import Space, neighbours, pronunciation, similarity, sound, speech2vec

# what a space says of people's judgements, of sounds, of classes


def _learnt(text: str, *names: str) -> list[Job]:
    """A job for every space of a text that was learnt with some names, or all of it."""
    listed = [one for one in spaces.listed(text=text) if not names or one.name in names]
    return [{"text": one.text, "space": one.name, "seed": one.seed} for one in listed]


def _kept(job: Job) -> bool:
    return spaces.listed(text=job["text"], name=job["space"], seed=job["seed"])[0].kept


def _space(job: Job) -> Space:
    return spaces.read(job["text"], job["space"], job["seed"])


def _similarity(job: Job) -> list[Row]:
    rows = []
    for test in ("wordsim353", "simlex999"):
        found = similarity.similarity(_space(job), similarity.word_pairs(test))
        rows.append({"test": test, **as_columns("rho", found.correlation), "pairs": found.pairs})
        rows[-1]["unknown"] = len(found.unknown)
    return rows


def _differences() -> list[Job]:
    trained = ("skipgram", "long", "unforced", "per-voice")
    pairs = [("word2vec", one) for one in (*trained, "autoencoder", "random", "phones")]
    pairs += [(one, "random") for one in (*trained, "autoencoder")]
    pairs += [("word2vec", "skipgram-centred"), ("skipgram-centred", "skipgram"), ("skipgram-centred", "phones")]
    pairs += [(f"{one}-centred", "random-centred") for one in (*trained, "autoencoder")]
    return [{"text": "brown", "space": a, "other": b, "seed": 0} for a, b in pairs]


def _compare(job: Job) -> list[Row]:
    rows = []
    for test in ("wordsim353", "simlex999"):
        other = spaces.read(job["text"], job["other"], job["seed"])
        found = similarity.compare(_space(job), other, similarity.word_pairs(test))
        rows.append({"test": test, **as_columns("difference", found.difference), "p": found.p, "pairs": found.pairs})
    return rows


@cache
def lexicon() -> list[dict[str, str]]:
    """Return the rows of the synthetic grammar's lexicon."""
    path = load("synthetic", progress=False).root / "lexicon.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def pronunciations(text: str) -> dict[str, list[tuple[str, ...]]]:
    """Return how the words of a text are spoken: by the synthesiser, which spoke them."""
    words = spaces.spoken_text(text).frequent(2 if text == "synthetic" else 5).vocabulary
    return {word: [phones] for word, phones in spaces.Synthesiser().pronounce(words).items() if phones}


@cache
def homophones(source: str) -> list[tuple[str, str]]:
    """Return pairs of words that sound the same: the grammar's own, those that the synthesiser speaks alike, or those
    that CMU's dictionary says are alike, where NLTK finds it.
    """
    if source == "grammar":
        pairs = {tuple(sorted((r["word"], r["homophone_of"]))) for r in lexicon() if r["homophone_of"]}
        return sorted(pairs)
    spoken = pronunciations("brown")
    if source == "cmudict":
        from nltk.corpus import cmudict

        known = {word: [tuple(one) for one in several] for word, several in cmudict.dict().items()}
        spoken = {word: known[word] for word in spoken if word in known}
    return pronunciation.homophones(spoken)


def _homophones() -> list[Job]:
    brown = [{**job, "homophones": source} for source in ("spoken", "cmudict") for job in _learnt("brown")]
    wanted = [job for job in brown if job["space"] not in ("first-half", "second-half", "word2vec-100")]
    return wanted + [{**job, "homophones": "grammar"} for job in _learnt("synthetic")]


def _homophone_test(job: Job) -> list[Row]:
    reference = spaces.read(job["text"], "word2vec", 1)  # another seed's: no space is its own reference
    found = sound.homophone_test(_space(job), homophones(job["homophones"]), reference)
    row = {**as_columns("percentile", found.percentile), **as_columns("rank", found.rank)}
    row |= {**as_columns("reference", found.reference), **as_columns("difference", found.difference)}
    return [{**row, "pairs": len(found.pairs), "unknown": len(found.unknown)}]


def _sound_and_meaning(job: Job) -> list[Row]:
    reference = spaces.read(job["text"], "word2vec", 1)
    found = sound.sound_and_meaning(_space(job), pronunciations(job["text"]), reference)
    row: Row = {}
    for name in ("sound", "meaning", "between", "sound_given_meaning", "meaning_given_sound"):
        row |= as_columns(name.replace("_", " "), getattr(found, name))
    return [{**row, "words": found.words, "pairs": found.pairs}]


def _purity(job: Job) -> list[Row]:
    rows = []
    for kind in ("class", "emotion"):
        classes = {row["word"]: row[kind] for row in lexicon() if row[kind] and row["class"] != "function"}
        found = neighbours.purity(_space(job), classes).words
        rows.append({"kind": kind, **as_columns("share", found.share), "chance": found.chance, "words": found.count})
    return rows


# what an encoder says of a segment


def _encoders() -> list[Job]:
    """Encoders whose weights are kept, and those that were never trained."""
    found = [one for one in spaces.listed() if one.weights or one.name == "random"]
    return [{"text": one.text, "space": one.name, "seed": one.seed} for one in found]


def _named(job: Job) -> Row:
    return {"text": job["text"], "name": job["space"], "seed": job["seed"]}


def _told(job: Job) -> list[Row]:
    return [speech2vec.told(spaces.trained(spaces.recipe_of(**_named(job))), spaces.spoken_text(job["text"]))]


SEGMENTS = 4_000
"""Spoken words among which neighbours from other voices are looked for."""


def _voices(job: Job) -> list[Row]:
    trained = spaces.trained(spaces.recipe_of(**_named(job)))
    text = speech2vec.prepared(spaces.spoken_text(job["text"]), trained.settings)
    chosen = np.sort(np.random.default_rng(0).choice(len(text), min(SEGMENTS, len(text)), replace=False))
    text = text.chosen(chosen)
    rows = np.concatenate(list(speech2vec.segments(trained.model, text)))
    labels, voices = [text.vocabulary[one] for one in text.labels], [text.speakers[one] for one in text.voices]
    found = neighbours.voices(rows, labels, voices)
    return [{**as_columns("share", found.words.share), "chance": found.words.chance, "ceiling": found.ceiling}]


def _frame_rates() -> list[Job]:
    return [{"text": "synthetic", "stride": stride, "seed": seed} for stride in (1, 2, 3, 5) for seed in (0, 1)]


def _frame_rate(job: Job) -> list[Row]:
    text = spaces.spoken_text(job["text"])
    settings = speech2vec.Settings(stride=job["stride"], epochs=4, min_count=2)
    trained = speech2vec.train(text, settings, job["seed"], progress=False)
    classes = {row["word"]: row["class"] for row in lexicon() if row["class"] != "function"}
    found = neighbours.purity(speech2vec.vectors(trained, text), classes).words
    return [{**trained.history[-1], **as_columns("purity", found.share), "chance": found.chance}]


def _first(job: Job) -> bool:
    """Whether a job is of the one space that a replay looks at."""
    return (job["text"], job["space"], job["seed"]) == ("synthetic", "skipgram", 0)


STUDIES: dict[str, Plan] = {
    "similarity": Plan(lambda: _learnt("brown"), _similarity, _kept, ("serlib.embeddings.similarity",)),
    "similarity-differences": Plan(_differences, _compare, lambda job: False, ("serlib.embeddings.similarity",)),
    "homophones": Plan(
        _homophones,
        _homophone_test,
        _first,
        ("serlib.embeddings.sound",),
    ),
    "sound-and-meaning": Plan(
        lambda: [job for text in ("brown", "synthetic") for job in _learnt(text)],
        _sound_and_meaning,
        _first,
        ("serlib.embeddings.sound",),
    ),
    "purity": Plan(lambda: _learnt("synthetic"), _purity, _first, ("serlib.embeddings.neighbours",)),
    "told": Plan(
        lambda: [job for job in _encoders() if job["space"] != "random"],
        _told,
        _first,
        ("serlib.embeddings.speech2vec",),
    ),
    "voices": Plan(
        _encoders,
        _voices,
        _first,
        ("serlib.embeddings.speech2vec", "serlib.embeddings.neighbours"),
    ),
    "frame-rate": Plan(_frame_rates, _frame_rate, lambda job: False, ("serlib.embeddings.speech2vec",)),
}
