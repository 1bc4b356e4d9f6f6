"""Makes the synthetic corpus: IEMOCAP's layout, spoken by a synthesiser, with known cues and ceilings.

The default corpus of the book, for all five papers; chapter `intro`. As a command: `--help` says more.
Interrupted and run again it goes on where it stopped; the same numbers give the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import errno
import io
import itertools
import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

if __package__ in (None, ""):  # run as a command: the folder above holds the packages
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts.synthetic import asr, ceilings, grammar, layout
from data_scripts.synthetic.lexicon import Entry
from data_scripts.synthetic.plan import Planned, class_counts, digest, plan
from data_scripts.synthetic.voice import Synthesiser, arpabet, library
from serlib import files, parallel

VERSION = 2
"""Goes up with every change of what is made; a corpus of another version is not taken for this one."""

ERROR_RATES = {"asr-5.53": 0.0553, "asr-14.7": 0.147, "asr-30": 0.30}
WORKSHOP = ".unfinished"  # inside the corpus's folder until it is complete
BYTES_PER_UTTERANCE = 180_000  # a little more than they take


def make(
    root: str | Path, *, utterances: int = 5531, seed: int = 0, jobs: int | None = None, progress: bool = True
) -> None:
    """Make the synthetic corpus in a folder of its own.

    Args:
        root: the folder; absent, empty, or holding the same corpus, complete or not.
        utterances: how many, at least 50; 5,531 gives IEMOCAP's class counts.
        seed: another number gives another corpus of the same kind.
        jobs: processes; None for one per core. The corpus does not depend on it.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for numbers that make no sense.
        FileExistsError: if the folder holds something else.
        OSError: if the folder cannot be written or the disk is too small.
        RuntimeError: if the synthesiser is missing or fails.
    """
    root = Path(root).resolve()
    if jobs is not None and jobs < 1:
        raise ValueError(f"{jobs} jobs were asked for; at least one process is needed")
    library()
    dialogues = plan(utterances, seed)
    request = {
        "name": "synthetic",
        "utterances": utterances,
        "seed": seed,
        "generator": VERSION,
        "synthesiser": f"espeak-ng {Synthesiser().version()}",
        "plan": digest(dialogues),
    }
    if _complete(root, request):
        return
    with _writing(root), files.locked(root / WORKSHOP / "work"):
        if _complete(root, request):  # by another process, meanwhile
            return
        _begin(root, request)
        missing = {n: u for n, u in dialogues.items() if not layout.places(root, u[0])[-1].exists()}
        _check_space(root, sum(map(len, missing.values())))
        done = utterances - sum(map(len, missing.values()))
        with tqdm(total=utterances, initial=done, unit="utt", desc="Speaking", disable=not progress) as bar:
            for count in _spoken(root, missing, seed, jobs or os.cpu_count() or 1):
                bar.update(count)
        _describe(root, dialogues, request)
        shutil.rmtree(root / WORKSHOP)


def _complete(root: Path, request: dict) -> bool:
    """Return whether the corpus is already there; raise FileExistsError if something else is."""
    for path in (root / "corpus.json", root / WORKSHOP / "request.json"):
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if any(found.get(key) != value for key, value in request.items()):
                mine, theirs = (", ".join(f"{k} {d.get(k)}" for k in request if k != "name") for d in (request, found))
                raise FileExistsError(
                    errno.EEXIST, f"the folder holds another synthetic corpus ({theirs}); this one would have {mine}; "
                    "choose another folder, or delete that one", str(root)
                )  # fmt: skip
            return path.name == "corpus.json"
    if root.is_dir() and any(path.name != WORKSHOP for path in root.iterdir()):
        raise FileExistsError(
            errno.EEXIST, "the folder holds something that is no synthetic corpus; choose an empty one", str(root)
        )
    return False


def _begin(root: Path, request: dict) -> None:
    """Note what is being made, so that a later run can go on with it."""
    workshop = root / WORKSHOP
    if (workshop / "request.json").exists():
        for half in workshop.iterdir():
            if half.is_dir():
                shutil.rmtree(half)
    else:
        files.write_json(workshop / "request.json", request)


def _check_space(root: Path, utterances: int) -> None:
    needed, free = utterances * BYTES_PER_UTTERANCE, shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"the corpus needs about {needed / 1e6:,.0f} MB, the disk has {free / 1e6:,.0f} MB; free some space",
            str(root),
        )


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Say what to do when the folder cannot be written."""
    try:
        yield
    except OSError as error:
        advice = files.UNWRITABLE.get(error.errno)
        if advice is None or advice in str(error.strerror) or "free some space" in str(error.strerror):
            raise
        where = error.filename or root
        raise OSError(error.errno, f"cannot write: {error.strerror}; {advice}, then run again", str(where)) from error


def _spoken(root: Path, dialogues: dict[str, list[Planned]], seed: int, jobs: int) -> Iterator[int]:
    """Speak dialogues in parallel; yield the number of utterances of each that is done."""
    workshop = root / WORKSHOP
    if not dialogues:
        return
    if jobs == 1:
        synthesiser = Synthesiser()
        for utterances in dialogues.values():
            layout.write_dialogue(root, workshop, utterances, synthesiser, seed)
            yield len(utterances)
        return
    longest_first = sorted(dialogues.values(), key=len, reverse=True)
    tasks = (delayed(_speak)(root, workshop, utterances, seed) for utterances in longest_first)
    try:
        yield from parallel.run(tasks, min(jobs, len(dialogues)), ordered=False, batch_size=1)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a process that speaks was killed, perhaps for want of memory; run again to go on, with fewer --jobs"
        ) from error


def _speak(root: Path, workshop: Path, utterances: Sequence[Planned], seed: int) -> int:
    layout.write_dialogue(root, workshop, utterances, Synthesiser(), seed)
    return len(utterances)


def _describe(root: Path, dialogues: dict[str, list[Planned]], request: dict) -> None:
    """Write what is known of the corpus; corpus.json, the sign that it is complete, comes last."""
    utterances = sorted(itertools.chain.from_iterable(dialogues.values()), key=lambda u: u.id)
    rows = [_cue(utterance) for utterance in utterances]
    files.write_text(root / "cues.csv", _table(rows))
    files.write_json(root / "ceilings.json", ceilings.ceilings(rows))

    entries = grammar.vocabulary()
    phones = Synthesiser().pronounce(entry.word for entry in entries)
    pronunciations = {entry.word.lower(): tuple(map(arpabet, phones[entry.word])) for entry in entries}
    files.write_text(root / "lexicon.csv", _table(_lexicon(entries, pronunciations)))

    texts = {u.id: [grammar.bare(token) for token in u.tokens] for u in utterances}
    similar = asr.confusions(pronunciations)
    for name, rate in ERROR_RATES.items():
        heard = asr.misheard(texts, rate, similar, random.Random(f"{request['seed']}/{name}"))
        lines = ["id\ttext", *(f"{key}\t{' '.join(words)}" for key, words in heard.items()), ""]
        files.write_text(root / "transcripts" / f"{name}.tsv", "\n".join(lines))
    counts = {"labels": class_counts(len(utterances)), "sessions": Counter(f"Session{u.session}" for u in utterances)}
    files.write_json(root / "corpus.json", {**request, "counts": counts, "lexicon": len(entries)})


def _lexicon(entries: Sequence[Entry], pronunciations: Mapping[str, tuple[str, ...]]) -> list[dict[str, str]]:
    """Return the rows of lexicon.csv; words that sound alike name each other."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for entry in entries:
        alike.setdefault(pronunciations[entry.word.lower()], []).append(entry.word)
    rows = []
    for entry in entries:
        others = [word for word in alike[pronunciations[entry.word.lower()]] if word != entry.word]
        row = {"word": entry.word, "class": entry.group, "emotion": entry.emotion}
        rows.append({**row, "homophone_of": " ".join(others), "lemma": entry.lemma})
    return rows


def _cue(utterance: Planned) -> dict[str, str]:
    def index(value: int | None) -> str:
        return "" if value is None else str(value)

    return {
        "id": utterance.id,
        "emotion": utterance.emotion,
        "item": utterance.item,
        "words": utterance.words,
        "voice": utterance.voice,
        "stressed": index(utterance.stressed),
        "decoy": index(utterance.decoy),
        "line": utterance.line,
    }


def _table(rows: Sequence[dict[str, str]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make the synthetic corpus in IEMOCAP's layout.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make the corpus in")
    parser.add_argument("--utterances", type=int, default=5531, help="how many, 50 or more (default: 5531)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another corpus (default: 0)")
    parser.add_argument("--jobs", type=int, help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    try:
        make(options.out, utterances=options.utterances, seed=options.seed, jobs=options.jobs)
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{options.out}: {options.utterances} utterances")


if __name__ == "__main__":
    main()
