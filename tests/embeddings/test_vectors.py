"""Spaces of words; files of vectors, whole and broken, read and written; and the rows made from them."""

from __future__ import annotations

import gzip
import io
import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serlib.embeddings import Space, read_vectors, rows_for, vectors, write_vectors
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
KNOWN = {
    "the": [0.1, 0.2, 0.3],  # the first of two
    ". . .": [1, 2, 3],
    "caf\u00e9": [-1e-3, 0, 2.5],
    "new\u00a0york": [4, 5, 6],
    "2": [7, 8, 9],
}


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "glove.txt"
    path.write_bytes("\r\n".join(LINES).encode())
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vectors"


def check(found: Space, expected: dict[str, list[float]]) -> None:
    assert found.words == tuple(expected)
    assert found.rows.dtype == np.float32
    np.testing.assert_allclose(found.rows, list(expected.values()), rtol=1e-6)


def test_a_space_is_a_mapping() -> None:
    space = Space(("b", "a", "c"), np.arange(6.0).reshape(3, 2))
    assert list(space) == ["b", "a", "c"] and len(space) == 3 and space.dims == 2
    assert space["a"].tolist() == [2, 3] and "z" not in space and space.get("z") is None
    assert space.rows.dtype == np.float32
    assert space.numbers(["c", "b"]).tolist() == [2, 0]
    part = space.restricted(["c", "z", "b", "c"])
    assert part.words == ("b", "c") and part.rows.tolist() == [[0, 1], [4, 5]]
    assert not space.restricted([]) and space.restricted([]).dims == 2
    again = Space.from_vectors(dict(space), ["<pad>", "c", "a", "b"])
    assert again.words == ("c", "a", "b") and again["b"].tolist() == [0, 1]
    assert Space.from_vectors(dict(space)).words == space.words
    assert len(Space.from_vectors({})) == 0
    with pytest.raises(ValueError, match=r"a row for each of 2 words, found an array of shape \(3, 2\)"):
        Space(("a", "b"), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="each word once, found 'b' again"):
        Space(("a", "b", "b"), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"the vector of 'b': expected shape \(2,\), found \(3,\)"):
        Space.from_vectors({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(KeyError):
        space.numbers(["z"])


def test_rows_asked_for_and_no_others(glove: Path, caplog: pytest.LogCaptureFixture) -> None:
    check(read_vectors(glove, [*KNOWN, "absent"], 3, progress=False), KNOWN)
    assert read_vectors(glove, [], 3, progress=False) == {} and not caplog.records
    for _ in range(2):  # from the file, from the cache
        caplog.clear()
        assert read_vectors(glove, ["Paris", "absent"], progress=False).rows.shape == (0, 3)
        assert "no vector for any of the 2 tokens asked for, such as 'Paris'" in caplog.text


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("header", ["", "6 3\n", "6\t3 \r\n"])
def test_all_rows_of_glove_and_of_word2vec(tmp_path: Path, cache: Path, header: str, mark: bytes) -> None:
    path = tmp_path / "all.vec"
    path.write_bytes(mark + (header + "".join(f"{line} \n" for line in LINES[:6])).encode())
    for dims in (None, 3):
        check(read_vectors(path, dims=dims, progress=False), KNOWN)
    assert not cache.exists()
    check(read_vectors(path, ["2", "the"], progress=False), {word: KNOWN[word] for word in ("the", "2")})


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("word 1 2", "expected a token and 3 numbers, found 2 numbers"),
        ("word 1 2 3 4", "expected a token and 3 numbers, found 4 numbers"),
        ("", "expected a token and 3 numbers, found 0 numbers"),
        ("400000 300", "expected a token and 3 numbers, found 1 numbers"),
        ("asked 1 x 3", "expected numbers after the token: could not convert"),
        ("asked 1  3", "expected numbers after the token: could not convert"),
        ("asked 1 nan 3", "expected finite numbers"),
        ("asked 1 1e39 3", "expected finite numbers"),
    ],
)
def test_a_malformed_line_is_named(glove: Path, cache: Path, line: str, found: str) -> None:
    glove.write_text("\n".join([*LINES, line, "last 1 2 3"]), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"glove\.txt:8: {found}"):
        read_vectors(glove, ["asked", "the"], 3, progress=False)
    assert not cache.exists()
    with pytest.raises(ValueError, match=r"glove\.txt:1: expected a token and 2 numbers, found 3"):
        read_vectors(glove, ["the"], 2, progress=False)
    with pytest.raises(FileNotFoundError, match=r"absent\.txt: expected word vectors, found no file"):
        read_vectors(glove.with_name("absent.txt"), ["the"], 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", ": expected word vectors, found an empty file"),
        (b"the\n", ":1: expected a token and numbers, a space between, found 'the'"),
        (b"the\t1\t2\n", r":1: expected a token and numbers, a space between, found 'the\\t1\\t2'"),
        (b"3 0\n", ":1: expected a token and numbers, a space between, found '3 0'"),
        (b"3 2\n", ": expected 3 rows, as its first line says, found 0; the file is cut off"),
        (b"3 2\na 1 2\nb 3 4\n", ": expected 3 rows, as its first line says, found 2; the file is cut off"),
        (b"1 2\na 1 2\nb 3 4\n", ": expected 1 rows, as its first line says, found 2; .* or was added to"),
        (b"2 2\na 1 2\nb 3\n", ":3: expected a token and 2 numbers, found 1 numbers"),
        (b"a 1 2\ncaf\xe9 3 4\n", r":2: expected a token in UTF-8, found b'caf\\xe9'; convert the file"),
        (b"2 2\na \0\0\x80?\0\0\x80?b \0\0\x80?", ": expected a text, found word2vec's binary format; .*binary=True"),
        ("a 1 2\n".encode("utf-16"), ": expected a text in UTF-8 or an npz file, found binary data"),
        (gzip.compress(b"a 1 2\n", mtime=0), ": expected a text, found a gzip file; unpack it first"),
        (b"PK\x03\x04a 1 2\n", ": expected a text, found a zip file; unpack it first"),
    ],
)
def test_what_is_no_file_of_vectors(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "made.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"made\.txt{found}"):
        read_vectors(path, progress=False)
    path.write_bytes(b"3 5\na 1 2\n")
    with pytest.raises(ValueError, match=r"made\.txt:1: expected 300 numbers per vector, found 5 promised"):
        read_vectors(path, ["a"], 300, progress=False)


def test_tokens_that_are_not_utf8_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a 1 2\ncaf\xe9 3 4\nna\xefve 5 6\nb 7 8\n")
    check(read_vectors(path, ["a", "b"], progress=False), {"a": [1, 2], "b": [7, 8]})
    assert "2 tokens are not UTF-8; passed over" in caplog.text


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_npz(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "made.npz"
    np.savez(path, words=["b", "a", "b"], rows=np.array([[1, 2], [3, 4], [5, 6]], dtype))
    check(read_vectors(path), {"b": [1, 2], "a": [3, 4]})
    check(read_vectors(path, ["a", "z"], 2), {"a": [3, 4]})
    with pytest.raises(ValueError, match=r"made\.npz: expected 3 numbers per vector, found 2"):
        read_vectors(path, ["a"], 3)
    space = Space(("c", "d"), np.array([[0.1, 2], [3, 4e-3]]))
    write_vectors(tmp_path / "written.npz", space, half=dtype is np.float16)
    again = read_vectors(tmp_path / "written.npz")
    assert again.words == space.words
    np.testing.assert_array_equal(again.rows, space.rows.astype(dtype).astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"words": ["a"]}, r"expected arrays `words` \(text\) and `rows` \(numbers\)"),
        ({"words": np.array(["a"], object), "rows": np.ones((1, 2), "f")}, "expected arrays .*: Object arrays cannot"),
        ({"words": [1], "rows": np.ones((1, 2), "f")}, "expected `words` of text and `rows` .* found int64"),
        ({"words": ["a"], "rows": np.ones((1, 2))}, "expected `words` of text .* found <U1 and float64"),
        ({"words": ["a"], "rows": np.ones((2, 2), "f")}, r"expected \(words,\) and \(words, dims\), found \(1,\) and"),
        ({"words": ["a"], "rows": np.array([[1, np.nan]], "f")}, "the vector of 'a': expected finite numbers"),
    ],
)
def test_a_wrong_npz(tmp_path: Path, arrays: dict, found: str) -> None:
    path = tmp_path / "made.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=rf"made\.npz: {found}"):
        read_vectors(path)


def test_a_damaged_npz(tmp_path: Path) -> None:
    path = tmp_path / "made.npz"
    write_vectors(path, {"a": np.ones(100, np.float32)})
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"made\.npz: expected an npz file, found something else or a part"):
        read_vectors(path)
    with zipfile.ZipFile(path.with_name("whole.npz"), "w") as archive, np.load(io.BytesIO(whole)) as arrays:
        for name in arrays.files:  # stored plainly, so that a changed byte shows in the checksum alone
            content = io.BytesIO()
            np.save(content, arrays[name])
            archive.writestr(f"{name}.npy", content.getvalue())
    plain = path.with_name("whole.npz").read_bytes()
    place = plain.index(b"\x80?")
    path.write_bytes(plain[:place] + b"??" + plain[place + 2 :])
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match=r"made\.npz: expected arrays .* Bad CRC"):
        read_vectors(path)


def test_progress_is_in_bytes_and_ends_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    path = tmp_path / "large.txt"
    path.write_text("".join(f"at word{number} {'1.' + '0' * 3000} 2 3\n" for number in range(4_000)))
    assert read_vectors(path, ["at word7"], 3, cache=tmp_path / "quiet", progress=False)["at word7"][1] == 2
    assert capsys.readouterr().err == ""
    read_vectors(path, ["at word7"], 3)
    shown = capsys.readouterr().err
    assert "large.txt: 100%" in shown and "12.1M/12.1M" in shown and "B/s" in shown
    read_vectors(path, ["at word7"], 3)
    assert capsys.readouterr().err == ""  # kept rows need no bar


def test_rows_are_kept_and_read_again_when_the_file_or_the_tokens_change(
    glove: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts = []
    original = vectors._read_text
    monkeypatch.setattr(vectors, "_read_text", lambda *args: texts.append(1) or original(*args))

    def read(*tokens: str) -> Space:
        return read_vectors(glove, tokens, 3, progress=False)

    first = read("the", ". . .")
    again = read(". . .", "the")
    assert len(texts) == 1 and first.words == again.words
    np.testing.assert_array_equal(first.rows, again.rows)
    read("the")
    assert len(texts) == 2
    status = glove.stat()
    glove.write_bytes(glove.read_bytes().replace(b"0.1", b"0.7"))
    os.utime(glove, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert read("the")["the"][0] == np.float32(0.7)
    assert len(texts) == 3
    for kept in cache.iterdir():
        kept.write_bytes(kept.read_bytes()[:150])
    with caplog.at_level(logging.WARNING):
        assert read("the")["the"][0] == np.float32(0.7)
    assert len(texts) == 4 and "is damaged" in caplog.text


WORD = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_is_written_is_read_again(tmp_path: Path, data: st.DataObject) -> None:
    words = data.draw(st.lists(WORD, min_size=1, max_size=5, unique=True))
    dims = data.draw(st.integers(1, 4))
    rows = [data.draw(st.lists(NUMBER, min_size=dims, max_size=dims)) for _ in words]
    space = Space(tuple(words), np.array(rows, np.float32))
    for name, header in (("a.txt", True), ("a.txt", False), ("a.npz", True)):
        try:
            write_vectors(tmp_path / name, space, header=header)
        except ValueError as error:
            assert "expected words" in str(error)
            assert any(set(word) & set(" \n\r\0\ufeff") for word in words)
            continue
        again = read_vectors(tmp_path / name, dims=dims, progress=False)
        assert again.words == space.words and again.rows.tobytes() == space.rows.tobytes()
        if header:
            assert read_vectors(tmp_path / name, progress=False).words == space.words


def test_text_as_others_write_it(tmp_path: Path) -> None:
    from gensim.models import KeyedVectors

    rows = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    theirs = KeyedVectors(7)
    theirs.add_vectors([f"w{n}" for n in range(50)], rows)
    for header in (True, False):
        theirs.save_word2vec_format(tmp_path / "theirs.txt", write_header=header)
        np.testing.assert_array_equal(read_vectors(tmp_path / "theirs.txt", progress=False).rows, rows)
        write_vectors(tmp_path / "ours.txt", dict(zip(theirs.index_to_key, rows, strict=True)), header=header)
        ours = KeyedVectors.load_word2vec_format(tmp_path / "ours.txt", no_header=not header)
        assert ours.index_to_key == theirs.index_to_key
        np.testing.assert_array_equal(ours.vectors, rows)
    theirs.save_word2vec_format(tmp_path / "theirs.bin", binary=True)
    with pytest.raises(ValueError, match="found word2vec's binary format"):
        read_vectors(tmp_path / "theirs.bin")


@pytest.mark.parametrize("name", ["made.txt", "made.npz"])
@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({}, "expected vectors to write, got none"),
        ({"a": []}, "expected vectors to write, got none"),
        ({"a": [1], "b": [np.nan]}, "the vector of 'b': expected finite numbers, found NaN or infinity"),
        ({"": [1]}, "expected words without line breaks to write, found ''"),
        ({"a\nb": [1]}, r"expected words without line breaks to write, found 'a\\nb'"),
        ({"route 66": [1]}, "expected words that do not end in a number, found 'route 66'"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, made: dict, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        write_vectors(tmp_path / name, made)
    assert not list(tmp_path.iterdir())


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
    torch.testing.assert_close(rows, rows_for(vocabulary, Space.from_vectors(known), 40, seed=3)[0])
    with pytest.raises(ValueError, match=r"'word7': expected shape \(50,\), found \(40,\)"):
        rows_for(vocabulary, known, 50, seed=3)
