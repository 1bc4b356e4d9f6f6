"""Transcripts with the errors of speech recognition: words taken for others that sound alike.

Stands in for the recognisers of yoon2018 (5.53 % word error rate) and xu2019 (14.7 %); their two chapters.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

KIN = (  # phones that sound alike
    "IY IR IH EH EHR EY AE AH EL AXR ER AA AAR AO AOR OW OY UH UHR UW AY AYR AW AWR",
    "P B T D DX K G",
    "F V TH DH S Z SH ZH HH",
    "CH JH SH ZH",
    "M N NG",
    "L R W Y EL",
)
KINDS = {"substitution": 0.7, "deletion": 0.18, "insertion": 0.12}
SMALL_WORDS = ("the", "a", "and", "to", "of", "in", "is", "it", "that", "i")  # what recognisers insert


def distances(pronunciations: Mapping[str, Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Return the words and how different each two of them sound.

    Args:
        pronunciations: phones of each word.

    Returns:
        the words in alphabetical order, and (words, words) edit distances between their phones, over the length of the
        longer word; 0 between homophones. Phones of the same kind count half.
    """
    words = sorted(pronunciations)
    symbols = sorted({phone for phones in pronunciations.values() for phone in phones})
    index = {symbol: i for i, symbol in enumerate(symbols)}
    cost = np.ones((len(symbols) + 1, len(symbols) + 1), np.float32)
    for kin in KIN:
        alike = [index[symbol] for symbol in kin.split() if symbol in index]
        cost[np.ix_(alike, alike)] = 0.5
    np.fill_diagonal(cost, 0)
    lengths = np.array([len(pronunciations[word]) for word in words])
    phones = np.full((lengths.max(), len(words)), len(symbols))
    for i, word in enumerate(words):
        phones[: lengths[i], i] = [index[symbol] for symbol in pronunciations[word]]

    table = np.empty((len(words), len(words)), cost.dtype)
    swaps = cost[:, phones]  # (symbols + 1, positions, words): from a symbol to what each word has there
    for i in range(len(words)):  # one word against all, a column of the usual table at a time
        above = np.repeat(np.arange(len(phones) + 1, dtype=cost.dtype)[:, None], len(words), axis=1)
        for position in range(lengths[i]):
            row = np.minimum(above[:-1] + swaps[phones[position, i]], above[1:] + 1)
            row = np.concatenate([np.full((1, len(words)), position + 1, cost.dtype), row])
            for j in range(1, len(row)):
                np.minimum(row[j], row[j - 1] + 1, out=row[j])
            above = row
        table[i] = above[lengths, np.arange(len(words))]
    return words, table / np.maximum(lengths[:, None], lengths[None, :])


def confusions(pronunciations: Mapping[str, Sequence[str]], most: int = 5) -> dict[str, list[tuple[str, float]]]:
    """Return for each word the words that sound most like it, homophones first, with their distances."""
    words, table = distances(pronunciations)
    np.fill_diagonal(table, np.inf)
    nearest = np.argsort(table, axis=1, kind="stable")[:, :most]
    return {word: [(words[j], float(table[i, j])) for j in nearest[i]] for i, word in enumerate(words)}


def misheard(
    texts: Mapping[str, Sequence[str]], rate: float, similar: Mapping[str, list[tuple[str, float]]], rng: random.Random
) -> dict[str, list[str]]:
    """Return transcripts with a given word error rate over the corpus.

    Errors fall on utterances unevenly, and more often on words that sound like another. No two are next to each other,
    and none can be undone by another, so that their number is the edit distance.

    Args:
        texts: words of each utterance, lower case without punctuation.
        rate: word error rate, for instance 0.147.
        similar: for each word, similar ones with their distances.
        rng: source of every choice.

    Returns:
        words of each utterance as a recogniser would have them.
    """
    places = []
    for name, words in texts.items():
        difficulty = rng.gammavariate(2, 0.5)
        for i, word in enumerate(words):
            ease = similar[word][0][1] + 0.15
            places.append((rng.expovariate(difficulty / ease + 1e-9), name, i))
    wanted = round(rate * len(places))
    chosen: dict[str, dict[int, list[str]]] = {name: {} for name in texts}
    for _, name, i in sorted(places):
        if wanted == 0:
            break
        taken = chosen[name]
        if taken.keys() & set(range(i - 2, i + 3)):
            continue
        heard = _error(texts[name], i, similar, rng)
        if heard is not None:
            taken[i] = heard
            wanted -= 1
    return {
        name: [heard for i, word in enumerate(words) for heard in chosen[name].get(i, [word])]
        for name, words in texts.items()
    }


def _error(
    words: Sequence[str], i: int, similar: Mapping[str, list[tuple[str, float]]], rng: random.Random
) -> list[str] | None:
    """Return what is heard in place of word `i`, or None if an error there could pass for another one."""
    near = set(words[max(0, i - 2) : i + 3])
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "deletion":
        return [] if len(words) > 2 and words.count(words[i]) == 1 else None
    if kind == "insertion":
        extra = rng.choice(SMALL_WORDS)
        return None if extra in near else [words[i], extra]
    candidates = [(word, distance) for word, distance in similar[words[i]] if word not in near]
    if not candidates:
        return None
    return [rng.choices([w for w, _ in candidates], [1 / (d + 0.1) ** 2 for _, d in candidates])[0]]
