"""How words are pronounced: which sound the same, and how far apart others are.

The dictionary is CMU's; vectors learnt from speech may follow sound as well as meaning,
which `similarity` measures with these. Taught in chapter `embeddings`.
"""

from __future__ import annotations

import itertools
import re
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Phones = tuple[str, ...]
"""Of one pronunciation, in ARPAbet: `("R", "EH1", "D")`."""

LINE = re.compile(r"(\S+?)(?:\(\d+\))?(?:\s+\d+)?((?:\s+[A-Z]{1,2}[0-2]?)+)")
"""`READ 2 R IY1 D`, as NLTK has it, or `READ(2)  R IY1 D`, as CMU has it."""


def read_cmudict(path: str | Path) -> dict[str, list[Phones]]:
    """Read CMU's pronouncing dictionary.

    Args:
        path: the dictionary as text, or NLTK's `cmudict.zip`, which holds it. Each line
            is a word and its phones; comments begin with `;;;` or `#`.

    Returns:
        word, in lower case, to its pronunciations, the first being the most usual;
        vowels end in their stress, 0 to 2.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such dictionary; the message names the line.

    Sketch:
        read_cmudict("cmudict.zip")["read"]
        [('R', 'EH1', 'D'), ('R', 'IY1', 'D')]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: expected CMU's dictionary, found no file; NLTK has it:"
            " nltk.download('cmudict')"
        )
    found: dict[str, list[Phones]] = defaultdict(list)
    lines = _content(path).decode("latin-1").splitlines()
    for number, line in enumerate(lines, start=1):
        line = "" if line.startswith(";;;") else line.partition(" #")[0].strip()
        if not line or line.startswith("# "):
            continue
        if not (match := LINE.fullmatch(line)):
            raise ValueError(
                f"{path}:{number}: expected a word and its phones, such as `READ 1 R"
                f" EH1 D`, found {line[:60]!r}"
            )
        phones = tuple(match[2].split())
        if phones not in found[word := match[1].lower()]:
            found[word].append(phones)
    if not found:
        raise ValueError(f"{path}: expected a dictionary, found no word")
    return dict(found)


def _content(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.rpartition("/")[2] in ("cmudict", "cmudict.dict"):
                try:
                    return archive.read(name)
                except zipfile.BadZipFile as error:
                    raise ValueError(f"{path}: damaged: {error}") from error
    raise ValueError(f"{path}: expected a file cmudict in it, found none")


def without_stress(phones: Sequence[str]) -> Phones:
    """Return phones without the digits of stress.

    Example:
        >>> without_stress(("T", "AH0", "M", "EY1", "T", "OW2"))
        ('T', 'AH', 'M', 'EY', 'T', 'OW')
    """
    return tuple(phone.rstrip("012") for phone in phones)


def homophones(
    pronunciations: Mapping[str, Sequence[Phones]],
) -> list[tuple[str, str]]:
    """Find the pairs of words that can sound the same, stress apart: a pronunciation of
    one is a pronunciation of the other.

    Args:
        pronunciations: word to its pronunciations, of the words in question only: in
            all of CMU's dictionary most homophones are names.

    Returns:
        the pairs, in alphabetical order, and so the two words of each.

    Example:
        >>> homophones({"read": [("R", "EH1", "D")], "red": [("R", "EH1", "D")]})
        [('read', 'red')]
    """
    words: dict[Phones, set[str]] = defaultdict(set)
    for word, several in pronunciations.items():
        for phones in several:
            words[without_stress(phones)].add(word)
    pairs = (itertools.combinations(sorted(one), 2) for one in words.values())
    return sorted(set(itertools.chain.from_iterable(pairs)))


def edit_distance(first: Sequence[str], second: Sequence[str]) -> float:
    """Levenshtein distance of two pronunciations: the fewest phones to insert, delete
    or replace, divided by the length of the longer.

    Returns:
        a number in [0, 1]; 0 for two without phones.
    """
    return float(edit_distances([first], [second])[0])


def edit_distances(
    first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]
) -> np.ndarray:
    """Return the `edit_distance` of each of some pronunciations to its partner.

    Args:
        first, second: (pairs,) pronunciations.

    Returns:
        (pairs,) float64.

    Raises:
        ValueError: if the two numbers of pronunciations differ.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    if len(first) != len(second):
        raise ValueError(
            f"expected as many pronunciations on both sides, got {len(first)} and"
            f" {len(second)}"
        )
    if not len(first):
        return np.zeros(0)
    several = itertools.chain(*first, *second)
    letters = {phone: chr(n) for n, phone in enumerate(dict.fromkeys(several), start=1)}
    spelt = [
        ["".join(letters[phone] for phone in phones) for phones in side]
        for side in (first, second)
    ]
    scorer = Levenshtein.normalized_distance
    return cpdist(*spelt, scorer=scorer, dtype=np.float64)
