"""From waveforms to cached features: how long for a corpus of IEMOCAP's size, and in how much memory.

`python benchmarks/extraction.py` extracts into an empty temporary cache, prints a table and writes it beside this file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from report import report
from tqdm import tqdm

from serlib import corpora, features, provenance

HERE = Path(__file__).resolve().parent
EVERY = 0.2
"""Seconds between two looks at the memory."""


class Memory:
    """Watches how much memory this process and all below it have, shared pages counted once (Linux's PSS)."""

    def __init__(self) -> None:
        self.peak, self.processes, self._over = 0, 0, threading.Event()

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            yield self
        finally:
            self._over.set()
            watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            sizes = [size for process in family(os.getpid()) if (size := proportional(process))]
            self.peak, self.processes = max(self.peak, sum(sizes)), max(self.processes, len(sizes))


def family(process: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield process
    for thread in Path(f"/proc/{process}/task").glob("*"):
        try:
            children = (thread / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def proportional(process: int) -> int:
    """Bytes of a process, a page shared by n processes counted as 1/n; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def processor() -> float:
    """Seconds of processor that this process, those below it and those that it had have taken."""
    ticks = 0
    for process in family(os.getpid()):
        try:
            times = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:15]
        except OSError:
            continue
        ticks += sum(map(int, times if process == os.getpid() else times[:2]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def timed(rows: list[dict], step: str) -> Iterator[None]:
    start, busy = time.perf_counter(), processor()
    yield
    rows.append({"step": step, "wall seconds": time.perf_counter() - start, "processor seconds": processor() - busy})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="synthetic", metavar="NAME[=FOLDER]", help="a name of serlib.corpora.load")
    parser.add_argument("--utterances", type=int, help="only the first so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the table")
    options = parser.parse_args()
    name, _, root = options.corpus.partition("=")
    rows: list[dict] = []
    with timed(rows, "read the corpus"):
        corpus = corpora.load(name, root or None).four_class()
    corpus = corpus.select([u.id for u in corpus][: options.utterances])
    with tempfile.TemporaryDirectory() as cache, Memory().watched() as memory:
        with timed(rows, "all features"):
            for feature in ("mfcc", "prosody"):
                with timed(rows, f"{feature}, {features.FEATURES[feature].dims} numbers"):
                    features.extract(corpus, feature, cache=cache, jobs=options.jobs)
            with timed(rows, "tokens"):
                tokens = [features.tokenize(u.text) for u in tqdm(corpus, "tokens")]
        with timed(rows, "mfcc and prosody again, from the cache"):
            for feature in ("mfcc", "prosody"):
                assert len(features.extract(corpus, feature, cache=cache)) == len(corpus) == len(tokens)
        size = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file())
    speech = sum(u.duration for u in corpus)
    facts = {
        "input": f"{len(corpus):,} utterances of {name}, {speech / 3600:.1f} hours",
        "processes that compute": options.jobs,
        "peak memory of all processes, MB": round(memory.peak / 1e6),
        "processes at most": memory.processes,
        "size of the cache, MB": round(size / 1e6),
    }
    if options.note:
        facts["beside it"] = options.note
    report(options.out, "extraction", {"rows": pd.DataFrame(rows)}, provenance.hardware(), **facts)


if __name__ == "__main__":
    main()
