"""CMU's dictionary, whole and broken; homophones; distances, against a literal one."""

from __future__ import annotations

import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from serlib.embeddings.pronunciation import edit_distance, edit_distances, homophones, read_cmudict, without_stress

NLTK = "READ 1 R EH1 D\nREAD 2 R IY1 D\nRED 1 R EH1 D\nREED 1 R IY1 D\n'TIS 1 T IH1 Z\nA42128 1 EY1 F AO1 R\n"
CMU = ";;; a comment\n# another\nREAD  R EH1 D\nREAD(2)  R IY1 D # of books\nred  R EH1 D\nreed  R IY1 D\n\n"
KNOWN = {"read": [("R", "EH1", "D"), ("R", "IY1", "D")], "red": [("R", "EH1", "D")], "reed": [("R", "IY1", "D")]}
OTHERS = {"'tis": [("T", "IH1", "Z")], "a42128": [("EY1", "F", "AO1", "R")]}


def test_dictionaries_of_nltk_and_of_cmu(tmp_path: Path) -> None:
    path = tmp_path / "cmudict"
    path.write_text(CMU)
    assert read_cmudict(path) == KNOWN
    path.write_text(NLTK)
    assert read_cmudict(path) == KNOWN | OTHERS
    with zipfile.ZipFile(tmp_path / "cmudict.zip", "w") as archive:
        archive.mkdir("cmudict")
        archive.write(path, "cmudict/cmudict")
    assert read_cmudict(tmp_path / "cmudict.zip") == KNOWN | OTHERS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ": expected a dictionary, found no word"),
        ("A 1 AH0\nREAD 1\n", ":2: expected a word and its phones, such as `READ 1 R EH1 D`, found 'READ 1'"),
        ("READ 1 r eh1 d\n", ":1: expected a word and its phones"),
        ("A 1 AH0\n\nthe 0.1 0.2\n", ":3: expected a word and its phones"),
    ],
)
def test_what_is_no_dictionary(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "made"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"made{found}"):
        read_cmudict(path)
    with pytest.raises(FileNotFoundError, match="absent: expected CMU's dictionary, found no file"):
        read_cmudict(tmp_path / "absent")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("brown/README", "x")
    with pytest.raises(ValueError, match=r"other\.zip: expected a file cmudict in it, found none"):
        read_cmudict(tmp_path / "other.zip")


def test_the_whole_dictionary() -> None:
    if "SERLIB_TEST_DATA" not in os.environ:
        pytest.skip("SERLIB_TEST_DATA is not set: no pronouncing dictionary to test on")
    found = read_cmudict(Path(os.environ["SERLIB_TEST_DATA"]) / "nltk_data/corpora/cmudict.zip")
    assert len(found) == 123_455 and sum(map(len, found.values())) == 133_737  # as NLTK counts them
    assert found["tomato"] == [("T", "AH0", "M", "EY1", "T", "OW2"), ("T", "AH0", "M", "AA1", "T", "OW2")]
    words = ("knight", "night", "flower", "flour", "two", "to", "too", "table")
    pairs = [("flour", "flower"), ("knight", "night"), ("to", "too"), ("to", "two"), ("too", "two")]
    assert homophones({word: found[word] for word in words}) == pairs


def test_homophones_have_a_pronunciation_in_common() -> None:
    assert homophones(KNOWN) == [("read", "red"), ("read", "reed")]
    record = {"record": [("R", "AH0", "K")], "wreck": [("R", "AH1", "K")], "alone": [("AH0",)]}
    assert homophones(record) == [("record", "wreck")]
    assert homophones({}) == []
    assert without_stress(("R", "AH0", "K")) == ("R", "AH", "K")


def literal_distance(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    if not a or not b:
        return len(a) + len(b)
    replaced = literal_distance(a[1:], b[1:]) + (a[0] != b[0])
    return min(replaced, literal_distance(a[1:], b) + 1, literal_distance(a, b[1:]) + 1)


def test_distances() -> None:
    draw = random.Random(0)
    words = [tuple(draw.choice(("AA", "A", "B", "IY")) for _ in range(draw.randrange(6))) for _ in range(60)]
    first, second = words[:30], words[30:]
    expected = [literal_distance(a, b) / max(len(a), len(b), 1) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(edit_distances(first, second), expected)
    assert edit_distance(("K", "AE", "T"), ("K", "AE")) == pytest.approx(1 / 3)
    assert edit_distance((), ()) == 0 and edit_distances([], []).shape == (0,)
    with pytest.raises(ValueError, match="as many pronunciations on both sides, got 1 and 2"):
        edit_distances([("K",)], [("K",), ("T",)])
