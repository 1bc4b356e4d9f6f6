"""Makes the synthetic corpus: IEMOCAP's layout, spoken by a synthesiser, with known cues and ceilings.

The default corpus of the book, for all five papers; chapter `intro`. As a command: `--help` says more.
Interrupted and run again it goes on where it stopped; the same numbers give the same bytes.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

if __package__ in (None, ""):  # run as a command: the folder above holds the packages
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts import workshop
from data_scripts.synthetic import asr, ceilings, grammar, layout
from data_scripts.synthetic.lexicon import Entry
from data_scripts.synthetic.plan import Planned, class_counts, digest, plan
from data_scripts.synthetic.voice import Synthesiser, arpabet, library
from serlib import files
from serlib.progress import bar

VERSION = 2
"""Goes up with every change of what is made; a corpus of another version is not taken for this one."""

ERROR_RATES = {"asr-5.53": 0.0553, "asr-14.7": 0.147, "asr-30": 0.30}
KIND = "synthetic corpus"
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
    with workshop.making(root, request, KIND) as unfinished:
        if unfinished is None:
            return
        missing = [turns for turns in dialogues.values() if not layout.places(root, turns[0])[-1].exists()]
        left = sum(map(len, missing))
        workshop.check_space(root, left * BYTES_PER_UTTERANCE)
        tasks = [(root, unfinished, turns, seed) for turns in sorted(missing, key=len, reverse=True)]
        done = utterances - left
        with bar(progress, total=utterances, initial=done, unit="utt", desc="Speaking") as told:
            for count in workshop.spread(_speak, tasks, jobs):
                told.update(count)
        _describe(root, dialogues, request)


def _speak(root: Path, unfinished: Path, utterances: Sequence[Planned], seed: int) -> int:
    layout.write_dialogue(root, unfinished, utterances, Synthesiser(), seed)
    return len(utterances)


def _describe(root: Path, dialogues: dict[str, list[Planned]], request: dict) -> None:
    """Write what is known of the corpus; corpus.json, the sign that it is complete, comes last."""
    utterances = sorted(itertools.chain.from_iterable(dialogues.values()), key=lambda u: u.id)
    rows = [_cue(utterance) for utterance in utterances]
    files.write_text(root / "cues.csv", workshop.table(rows))
    files.write_json(root / "ceilings.json", ceilings.ceilings(rows))

    entries = grammar.vocabulary()
    phones = Synthesiser().pronounce(entry.word for entry in entries)
    pronunciations = {entry.word.lower(): tuple(map(arpabet, phones[entry.word])) for entry in entries}
    files.write_text(root / "lexicon.csv", workshop.table(_lexicon(entries, pronunciations)))

    texts = {u.id: [grammar.bare(token) for token in u.tokens] for u in utterances}
    similar = asr.confusions(pronunciations)
    for name, rate in ERROR_RATES.items():
        heard = asr.misheard(texts, rate, similar, random.Random(f"{request['seed']}/{name}"))
        lines = ["id\ttext", *(f"{key}\t{' '.join(words)}" for key, words in heard.items()), ""]
        files.write_text(root / "transcripts" / f"{name}.tsv", "\n".join(lines))
    counts = {"labels": class_counts(len(utterances)), "sessions": Counter(f"Session{u.session}" for u in utterances)}
    workshop.describe(root, {**request, "counts": counts, "lexicon": len(entries)})


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
