"""GloVe files, whole and broken, and the rows made from them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib.embeddings import read_glove, rows_for, vectors
from serlib.features import PAD, UNK, Vocabulary

LINES = [
    "the 0.1 0.2 0.3",
    ". . . 1 2 3",
    "caf\u00e9 -1e-3 0 2.5",
    "the 9 9 9",
    "new\u00a0york 4 5 6",
    "2 7 8 9",
    "unasked one two three",
]


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_bytes("\r\n".join(LINES).encode())
    return path


def test_rows_asked_for_and_no_others(glove: Path, tmp_path: Path) -> None:
    tokens = ["the", ". . .", "caf\u00e9", "new\u00a0york", "2", "absent"]
    found = read_glove(glove, tokens, 3, cache=tmp_path / "cache", progress=False)
    expected = {
        "the": [0.1, 0.2, 0.3],  # the first of two
        ". . .": [1, 2, 3],
        "caf\u00e9": [-1e-3, 0, 2.5],
        "new\u00a0york": [4, 5, 6],
        "2": [7, 8, 9],
    }
    assert found.keys() == expected.keys()
    for token, vector in expected.items():
        assert found[token].dtype == np.float32
        np.testing.assert_allclose(found[token], vector)
    assert read_glove(glove, [], 3, cache=tmp_path / "cache", progress=False) == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("word 1 2", "expected a token and 3 numbers, found 2 numbers"),
        ("word 1 2 3 4", "expected a token and 3 numbers, found 4 numbers"),
        ("", "expected a token and 3 numbers, found 0 numbers"),
        ("400000 300", "expected a token and 3 numbers, found 1 numbers"),
        ("asked 1 x 3", "expected numbers after the token: could not convert"),
        ("asked 1 nan 3", "expected finite numbers"),
    ],
)
def test_a_malformed_line_is_named(glove: Path, tmp_path: Path, line: str, found: str) -> None:
    glove.write_text("\n".join([*LINES, line, "last 1 2 3"]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"glove\.txt:8: {found}"):
        read_glove(glove, ["asked", "the"], 3, cache=tmp_path / "cache", progress=False)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(ValueError, match=r"glove\.txt:1: expected a token and 2 numbers, found 3"):
        read_glove(glove, ["the"], 2, cache=tmp_path / "cache", progress=False)
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: expected GloVe vectors"):
        read_glove(tmp_path / "absent.txt", ["the"], 3)


def test_progress_is_in_bytes_and_ends_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    path = tmp_path / "large.txt"
    path.write_text("".join(f"at word{number} {'1.' + '0' * 3000} 2 3\n" for number in range(4_000)))
    assert read_glove(path, ["at word7"], 3, cache=tmp_path / "quiet", progress=False)["at word7"][1] == 2
    assert capsys.readouterr().err == ""
    read_glove(path, ["at word7"], 3, cache=tmp_path / "cache")
    shown = capsys.readouterr().err
    assert "large.txt: 100%" in shown and "12.1M/12.1M" in shown and "B/s" in shown
    read_glove(path, ["at word7"], 3, cache=tmp_path / "cache")
    assert capsys.readouterr().err == ""  # kept rows need no bar


def test_rows_are_kept_and_read_again_when_the_file_or_the_tokens_change(
    glove: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path))
    streams = []
    original = vectors._stream
    monkeypatch.setattr(vectors, "_stream", lambda *args: streams.append(1) or original(*args))

    def read(*tokens: str) -> dict[str, np.ndarray]:
        return read_glove(glove, tokens, 3, progress=False)

    first = read("the", ". . .")
    again = read(". . .", "the")
    assert len(streams) == 1 and first.keys() == again.keys()
    np.testing.assert_array_equal(first["the"], again["the"])
    read("the")
    assert len(streams) == 2
    status = glove.stat()
    glove.write_bytes(glove.read_bytes().replace(b"0.1", b"0.7"))
    os.utime(glove, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert read("the")["the"][0] == np.float32(0.7)
    assert len(streams) == 3
    for kept in (tmp_path / "vectors").iterdir():
        kept.write_bytes(kept.read_bytes()[:150])
    with caplog.at_level(logging.WARNING):
        assert read("the")["the"][0] == np.float32(0.7)
    assert len(streams) == 4 and "is damaged" in caplog.text


def test_rows_of_an_embedding(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary.build([[f"word{number}" for number in range(500)]])
    known = {"word7": np.arange(40, dtype=np.float32), "elsewhere": np.ones(40, np.float32)}
    with caplog.at_level(logging.INFO):
        rows, found = rows_for(vocabulary, known, 40, seed=3)
    assert rows.shape == (502, 40) and rows.dtype == torch.float32 and found == 1
    assert "1 of 502 tokens have a vector (0.2 %)" in caplog.text
    assert not rows[PAD].any() and rows[UNK].any()
    torch.testing.assert_close(rows[vocabulary.encode(["word7"])[0]], torch.arange(40.0))
    drawn = rows[[n for n in range(1, 502) if vocabulary.tokens[n] != "word7"]]
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 0.25 / 3**0.5], atol=0.005)
    torch.testing.assert_close(rows, rows_for(vocabulary, known, 40, seed=3)[0])
    assert not torch.equal(rows, rows_for(vocabulary, known, 40, seed=4)[0])
    with pytest.raises(ValueError, match=r"'word7': expected shape \(50,\), found \(40,\)"):
        rows_for(vocabulary, known, 50, seed=3)
