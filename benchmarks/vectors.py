"""Word vectors from a file of GloVe's size: how fast, and in how much memory. See README.md beside this file.

`python benchmarks/vectors.py` makes the file in a temporary folder (5 GB), reads it in processes of their own, prints a
table and writes it beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from report import report
from tqdm import tqdm

from serlib import provenance
from serlib.embeddings import read_vectors

HERE = Path(__file__).resolve().parent
DIMS = 300
WORDS = 4_000
FIRST_SPACE = 52_343
"""Rows before the first token that holds spaces, which gensim cannot read; in glove.840B.300d it is `. . .`."""

PATTERNS = 997
"""Different rows of numbers; a prime, so that they do not repeat in step with anything."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rows", type=int, default=2_000_000, help="of the file (default: 2,000,000; GloVe: 2,196,017)"
    )
    parser.add_argument("--folder", type=Path, help="where there is room for the file (default: the temporary folder)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the table")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)  # way, file, rows: in a process of its own
    options = parser.parse_args()
    if options.measure:
        way, path, rows = options.measure
        print(json.dumps(measure(way, Path(path), int(rows))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "glove.txt"
        start = time.perf_counter()
        make(path, options.rows)
        made = time.perf_counter() - start
        rows = [
            {"way": title} | in_a_process(way, path, options.rows)
            for way, title in (
                ("nothing", "imports alone"),
                ("cold", f"read_vectors, {WORDS:,} words, file not in memory"),
                ("warm", f"read_vectors, {WORDS:,} words, file in memory"),
                ("kept", "read_vectors, the same words again"),
                ("gensim", f"gensim, the first {FIRST_SPACE:,} rows, all it can read"),
            )
        ]
        file = f"{options.rows:,} rows of {DIMS} numbers, {path.stat().st_size / 1e9:.2f} GB, made in {made:.0f} s"
        report(options.out, "vectors", {"rows": pd.DataFrame(rows)}, provenance.hardware(), file=file)


def make(path: Path, rows: int) -> None:
    """Write a file like glove.840B.300d: distinct tokens, a few of them with spaces; numbers of five places."""
    numbers = np.random.default_rng(0).normal(0, 0.3, (PATTERNS, DIMS))
    patterns = [" ".join(f"{number:.5g}" for number in row) for row in numbers]
    with path.open("w", encoding="utf-8") as file:
        for start in tqdm(range(0, rows, PATTERNS), "making the file", unit_scale=PATTERNS, unit=" rows"):
            lines = (f"{token(row)} {patterns[row % PATTERNS]}\n" for row in range(start, min(start + PATTERNS, rows)))
            file.write("".join(lines))


def token(row: int) -> str:
    return f"at word{row}" if row >= FIRST_SPACE and row % 1_000 == 343 else f"word{row}"


def wanted(rows: int) -> dict[str, int]:
    """A vocabulary from all over the file: token to row."""
    return {token(row): row for row in np.linspace(0, rows - 1, WORDS).astype(int).tolist()}


def in_a_process(way: str, path: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", way, str(path), str(rows)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(way: str, path: Path, rows: int) -> dict[str, float]:
    """Read in this process: wall seconds, seconds of processor, megabytes per second, peak memory in MB."""
    cache = path.parent / "cache"
    if way == "cold":
        forget(path)
    if way == "warm":
        cache = path.parent / "other cache"
        for _ in blocks(path):
            pass
    start, busy = time.perf_counter(), time.process_time()
    size = path.stat().st_size
    if way == "gensim":
        from gensim.models import KeyedVectors

        count = min(rows, FIRST_SPACE)
        vectors = KeyedVectors.load_word2vec_format(path, no_header=True, limit=count)
        assert len(vectors) == count
        size = size * count // rows
    elif way != "nothing":
        vectors = read_vectors(path, wanted(rows), DIMS, cache=cache)
        assert len(vectors) == len(wanted(rows))
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return {
        "seconds": seconds,
        "processor seconds": busy,
        "MB/s": size / 1e6 / seconds if way in ("cold", "warm", "gensim") else float("nan"),
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def forget(path: Path) -> None:
    """Take a file out of the system's memory, as far as the system agrees."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            yield block


if __name__ == "__main__":
    main()
