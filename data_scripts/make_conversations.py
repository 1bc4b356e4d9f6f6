"""Makes the corpus of conversations: AVEC 2017's layout, spoken by a synthesiser, with known cues and ceilings.

The default corpus of curves, for tzirakis2021; chapter `corpora`. As a command: `--help` says more. Interrupted and run
again it goes on where it stopped; the same numbers give the same bytes.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a command: the folder above holds the packages
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts import workshop
from data_scripts.conversations import ceilings, dialogue, scene
from data_scripts.conversations.scene import Subject
from data_scripts.synthetic.plan import apportion, deck
from data_scripts.synthetic.voice import NATIVE_RATE, Synthesiser, library
from serlib import files
from serlib.progress import bar

VERSION = 2
"""Goes up with every change of what is made; a corpus of another version is not taken for this one."""

KIND = "corpus of conversations"
PAIRS = {"Train": 17, "Devel": 7, "Test": 8}
"""Conversations of each partition in AVEC 2017: 34, 14 and 16 subjects."""
SUBJECTS = 2 * sum(PAIRS.values())
SECONDS = 80.0
REVIEWS = 5_000  # a text of 190,000 words, of which the recordings of 64 subjects have 7,000
HELD_BACK = {"": 0.6, "text": 0.2, "voice": 0.2}
BYTES_PER_SECOND = 2 * NATIVE_RATE + 2_000  # a little more than a recording takes


def make(
    root: str | Path,
    *,
    subjects: int = SUBJECTS,
    seconds: float = SECONDS,
    seed: int = 0,
    alignment: bool = True,
    jobs: int | None = None,
    progress: bool = True,
) -> None:
    """Make the corpus of conversations in a folder of its own.

    Args:
        root: the folder; absent, empty, or holding the same corpus, complete or not.
        subjects: how many, an even number from 6; 64 gives AVEC 2017's partitions.
        seconds: mean length of a recording, from 10 to 600.
        seed: another number gives another corpus of the same kind.
        alignment: whether to write when each word is spoken; SEWA has no such thing.
        jobs: processes; None for one per core. The corpus does not depend on it.
        progress: whether to show a progress bar.

    Raises:
        ValueError: for numbers that make no sense.
        FileExistsError: if the folder holds something else.
        OSError: if the folder cannot be written or the disk is too small.
        RuntimeError: if the synthesiser is missing or fails.
    """
    root = Path(root).resolve()
    if subjects < 6 or subjects % 2:
        raise ValueError(f"{subjects} subjects were asked for; they speak in pairs, and three pairs are needed")
    if not 10 <= seconds <= 600:
        raise ValueError(f"recordings of {seconds:g} s were asked for; expected 10 to 600")
    if jobs is not None and jobs < 1:
        raise ValueError(f"{jobs} jobs were asked for; at least one process is needed")
    library()
    request = {
        "name": "conversations",
        "subjects": subjects,
        "seconds": float(seconds),
        "seed": seed,
        "alignment": alignment,
        "generator": VERSION,
        "synthesiser": f"espeak-ng {Synthesiser().version()}",
    }
    with workshop.making(root, request, KIND) as unfinished:
        if unfinished is None:
            return
        pairs = plan(subjects, seconds, seed)
        last = scene.folders(alignment)[-1]
        missing = [(both, long) for both, long in pairs if not scene.place(root, last, both[-1].id).exists()]
        workshop.check_space(root, sum(2 * long for _, long in missing) * BYTES_PER_SECOND)
        longest_first = sorted(missing, key=lambda pair: -pair[1])
        tasks = [(root, unfinished, both, long, seed, alignment) for both, long in longest_first]
        done = subjects - 2 * len(missing)
        with bar(progress, total=subjects, initial=done, unit="rec", desc="Speaking") as told:
            for count in workshop.spread(scene.write, tasks, jobs):
                told.update(count)
        _describe(root, [subject for both, _ in pairs for subject in both], request)


def plan(subjects: int, seconds: float, seed: int) -> list[tuple[tuple[Subject, Subject], float]]:
    """Decide who speaks with whom, for how long, and what each holds back."""
    rng = random.Random(f"{seed}/plan")
    conversations = []
    for partition, pairs in _pairs(subjects // 2).items():
        held_back = deck(2 * pairs, HELD_BACK, rng)
        for pair in range(pairs):
            ids = [f"{partition}_{2 * pair + i:02}" for i in (1, 2)]
            both = tuple(Subject(ids[i], ids[1 - i], held_back[2 * pair + i]) for i in (0, 1))
            conversations.append((both, round(seconds * rng.uniform(0.8, 1.2), 1)))
    return conversations


def _pairs(total: int) -> dict[str, int]:
    """Return how many conversations each partition has: AVEC 2017's shares, at least one each."""
    return {name: 1 + rest for name, rest in apportion(total - 3, {n: k - 1 for n, k in PAIRS.items()}).items()}


def _describe(root: Path, subjects: Sequence[Subject], request: dict) -> None:
    """Write what is known of the corpus; corpus.json, the sign that it is complete, comes last."""
    rows = [{"id": s.id, "partner": s.partner, "held_back": s.held_back} for s in sorted(subjects, key=lambda s: s.id)]
    files.write_text(root / "cues.csv", workshop.table(rows))
    reviews = dialogue.reviews(REVIEWS, random.Random(f"{request['seed']}/reviews"))
    files.write_text(root / "text.txt", "".join(f"{review}\n" for review in reviews))
    files.write_text(root / "lexicon.csv", workshop.table(dialogue.lexicon()))
    recordings = {
        s.id: ceilings.read(scene.place(root, "labels", s.id), scene.place(root, "latents", s.id)) for s in subjects
    }
    files.write_json(root / "ceilings.json", ceilings.ceilings(recordings, {s.id: s.held_back for s in subjects}))
    counts = {"partitions": {name: 2 * pairs for name, pairs in _pairs(len(subjects) // 2).items()}}
    workshop.describe(root, {**request, "counts": counts})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make the corpus of conversations in AVEC 2017's layout.")
    parser.add_argument("--out", type=Path, required=True, help="folder to make the corpus in")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help=f"an even number from 6 (default: {SUBJECTS})")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"mean length of a recording (default: {SECONDS:g})"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives another corpus (default: 0)")
    parser.add_argument("--no-alignment", action="store_true", help="do not write when each word is spoken")
    parser.add_argument("--jobs", type=int, help="processes (default: one per core)")
    options = parser.parse_args(arguments)
    numbers = {"subjects": options.subjects, "seconds": options.seconds, "seed": options.seed, "jobs": options.jobs}
    try:
        make(options.out, alignment=not options.no_alignment, **numbers)
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    print(f"{options.out}: {options.subjects} recordings")


if __name__ == "__main__":
    main()
