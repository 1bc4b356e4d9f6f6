"""Find out when each word and phone of a corpus is spoken:
`python data_scripts/align.py --corpus ravdess --root FOLDER --out FOLDER`.

Forced alignment by PocketSphinx (Huggins-Daines et al. 2006), of the same family as what made IEMOCAP's own, for the
systems that look at words: xu2019, shen2020. The files are like IEMOCAP's (`.wdseg`, `.phseg`), and
`corpora.load(..., alignments=FOLDER)` reads them; chapter `corpora`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

if __name__ == "__main__" and __package__ in (None, ""):  # python data_scripts/align.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts.workshop import same_settings
from serlib import corpora, files, parallel
from serlib.corpora.alignments import SUFFIXES, read_alignment, stem
from serlib.corpora.corpus import Corpus, Utterance
from serlib.features.waveform import RATE, read_waveform
from serlib.progress import bar

if TYPE_CHECKING:
    from pocketsphinx import AlignmentEntry, Decoder

log = logging.getLogger(__name__)

VERSION = 1
"""Goes up with every change of what is written."""

REPORT = "alignment.json"
BATCH = 8  # utterances that a process takes at a time

BEAMS = ({"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}, {"beam": 0.0, "pbeam": 0.0, "wbeam": 0.0})
"""How unlikely a path may be, beside the best one at the same time, to be followed any further: first much less likely
than PocketSphinx allows by itself (1e-48), then none is given up."""

DOUBTFUL = 0.2
"""Share of a sound's energy outside its words from which on its alignment is doubtful: shouts and sobs mislead."""

SHORTEST_PHONE = 3  # frames: a state each

PEAK = 0.9
"""What each waveform is brought to before it becomes whole numbers, of which a quiet one would use but a few."""

SCORE_SHIFT = 10
"""Bits by which PocketSphinx shortens scores; with them they are logarithms to the base 1.0001, as IEMOCAP's."""

CMU = {
    "IR": "IH R", "EHR": "EH R", "AAR": "AA R", "AOR": "AO R", "UHR": "UH R", "AYR": "AY ER", "AWR": "AW ER",
    "EL": "AH L", "AXR": "ER", "DX": "T",
}  # fmt: skip
"""The phones of the model for the synthesiser's that it does not have."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an alignment.

    Attributes:
        label: a word, a phone, or what is neither, as IEMOCAP's files name it: `<sil>`, `++NOISE++`, `SIL`, `+NSN+`.
        first, last: frames of 10 ms, both inclusive.
        score: logarithm of the likelihood to the base 1.0001, beside the best of all states at each frame.
    """

    label: str
    first: int
    last: int
    score: int


@dataclass(frozen=True, slots=True)
class Word(Span):
    """A word, or a silence or noise, with its phones."""

    phones: tuple[Span, ...]

    @property
    def spoken(self) -> bool:
        """Whether it is a word."""
        return self.label[0] not in "<+"


class Unaligned(ValueError):
    """A sound in which its text cannot be found; the message says why."""


def spoken_words(text: str) -> list[str]:
    """Split a transcript into what is spoken as words: no punctuation but `'`, no tags.

    Example:
        >>> spoken_words("Well -- I can't. [LAUGHTER] It's <breath> 5.")
        ['well', 'i', "can't", "it's", '5']
    """
    untagged = re.sub(r"\[[^\]]*\]|<[^>]*>", " ", text.lower().replace("’", "'"))
    words = (word.strip("'") for word in re.sub(r"[^\w']|_", " ", untagged).split())
    return [word for word in words if word]


def align(
    waveform: np.ndarray, words: Sequence[str], pronunciations: Mapping[str, str] | None = None
) -> tuple[list[Word], int]:
    """Find out when each word and each of its phones is spoken, in two passes.

    The first pass finds the likeliest path through the words, of whose pronunciations the likeliest counts, with
    silence or noise between them or not. The second finds the phones of that path. Nothing is left of what was aligned
    before: the mean of the cepstra is taken over the waveform, and the estimate of the noise starts anew.

    Args:
        waveform: (samples,) at 16 kHz.
        words: as `spoken_words` gives them.
        pronunciations: phones of words that the dictionary lacks, such as `{"espeak": "IY S P IY K"}`.

    Returns:
        words and what is between them, without a gap from frame 0 on; and which of `BEAMS` found them.

    Raises:
        Unaligned: if there is no word, no sound, or no such words in the sound.
        ValueError: if a word is in neither the dictionary nor `pronunciations`.
    """
    if not words:
        raise Unaligned("no word to align: the text is empty, or tags and punctuation alone")
    peak = float(np.abs(waveform - waveform.mean()).max(initial=0.0)) if len(waveform) else 0.0
    if peak * 32768 < 1:
        raise Unaligned("silence: all samples are the same")
    loudest = float(np.abs(waveform).max())
    sound = np.round(waveform * (PEAK / loudest * 32767)).astype("<i2").tobytes()
    decoder = _decoder(0)
    _teach(decoder, words, pronunciations or {})
    phones = sum(min(map(len, _pronunciations(decoder, word))) for word in words)
    seconds, least = len(waveform) / RATE, phones * SHORTEST_PHONE / 100
    if seconds < least:
        raise Unaligned(f"too short: {phones} phones take {least:.2f} s at least, the sound has {seconds:.2f} s")
    for beams in range(len(BEAMS)):
        decoder = _decoder(beams)
        _teach(decoder, words, pronunciations or {})
        with suppress(RuntimeError):  # PocketSphinx finds no path
            found = _two_passes(decoder, sound, " ".join(words))
            if [re.sub(r"\(\d+\)$", "", word.label) for word in found if word.spoken] == [w.upper() for w in words]:
                return found, beams
    raise Unaligned("no path through the sound says these words, however unlikely")


@cache
def _decoder(beams: int) -> Decoder:
    """A decoder of this process; one takes a fifth of a second to load.

    Without `bestpath=False` it searches a lattice of the words it has met for a likelier path, which loses words.
    """
    pocketsphinx = _pocketsphinx()
    return pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL", **BEAMS[beams])


def _pocketsphinx() -> Any:
    """The module; raise ImportError with advice if it is not installed."""
    try:
        import pocketsphinx  # only here: it comes with an extra
    except ImportError as error:
        raise ImportError(
            'PocketSphinx is not installed: pip install "serlib[speech]", or pip install pocketsphinx'
        ) from error
    return pocketsphinx


@cache
def _dictionary() -> frozenset[str]:
    """The words of the model's dictionary, whatever a decoder has been taught."""
    path = Path(_pocketsphinx().get_model_path("en-us/cmudict-en-us.dict"))
    return frozenset(line.partition(" ")[0] for line in path.read_text(encoding="utf-8").splitlines())


def _teach(decoder: Decoder, words: Sequence[str], pronunciations: Mapping[str, str]) -> None:
    """Add words to a decoder's dictionary."""
    for word in words:
        if decoder.lookup_word(word) is None:
            if word not in pronunciations:
                raise ValueError(f"expected words of the dictionary or with a pronunciation, found {word!r}")
            decoder.add_word(word, pronunciations[word], False)


def _pronunciations(decoder: Decoder, word: str) -> Iterator[list[str]]:
    """The phones of each variant."""
    number, phones = 1, decoder.lookup_word(word)
    while phones is not None:
        yield phones.split()
        number += 1
        phones = decoder.lookup_word(f"{word}({number})")


def _two_passes(decoder: Decoder, sound: bytes, text: str) -> list[Word]:
    decoder.set_align_text(text)
    _listen(decoder, sound)
    decoder.set_alignment()
    _listen(decoder, sound)
    found = [  # an entry is gone when the next one is asked for
        (_span(entry.name, entry), tuple(Span(*_span(phone.name, phone)) for phone in entry))
        for entry in decoder.get_alignment()
    ]
    return [
        Word(_label(name, at == 0, at == len(found) - 1), *rest, phones)
        for at, ((name, *rest), phones) in enumerate(found)
    ]


def _listen(decoder: Decoder, sound: bytes) -> None:
    decoder.reinit_feat()
    decoder.start_utt()
    try:
        decoder.process_raw(sound, full_utt=True)
    finally:
        decoder.end_utt()


def _label(name: str, first: bool, last: bool) -> str:
    """What IEMOCAP's files call a word, a silence or a noise of PocketSphinx."""
    if name in ("<s>", "</s>", "<sil>"):
        return "<s>" if first else "</s>" if last else "<sil>"
    return f"++{name[1:-1]}++" if name[0] == "[" else name.upper()


def _span(label: str, entry: AlignmentEntry) -> tuple[str, int, int, int]:
    return label, entry.start, entry.start + entry.duration - 1, entry.score << SCORE_SHIFT


def outside(waveform: np.ndarray, words: Sequence[Word]) -> float:
    """Return the share of a waveform's energy that is not in its words."""
    ends = [160 * at for word in words if word.spoken for at in (word.first, word.last + 1)]
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    at = energy[np.minimum(ends, len(waveform))]
    return float(1 - (at[1::2] - at[::2]).sum() / energy[-1])


def word_file(words: Sequence[Word]) -> str:
    """Return the text of a .wdseg file."""
    return segment_file("Word", [(word.label, word) for word in words])


def phone_file(words: Sequence[Word]) -> str:
    """Return the text of a .phseg file: phones with their neighbours and their place in the word."""
    phones = [(word, at, phone) for word in words for at, phone in enumerate(word.phones)]
    around = ["SIL", *(phone.label if word.spoken else "SIL" for word, _, phone in phones), "SIL"]
    rows = []
    for i, (word, at, phone) in enumerate(phones):
        label = phone.label
        if word.spoken:
            last = at == len(word.phones) - 1
            place = ("s" if last else "b") if at == 0 else ("e" if last else "i")
            label += f" {around[i]} {around[i + 2]} {place}"
        rows.append((label, phone))
    return segment_file("Phone", rows)


def segment_file(heading: str, rows: Sequence[tuple[str, Span]]) -> str:
    lines = [f"\t SFrm  EFrm    SegAScr {heading}"]
    lines += [f"\t{span.first:5d} {span.last:5d} {span.score:10d} {label}" for label, span in rows]
    return "\n".join([*lines, f" Total score:   {sum(span.score for _, span in rows):10d}", ""])


def pronounce(words: Sequence[str]) -> dict[str, str]:
    """Return the phones of words by the rules of espeak-ng, without the words that have sounds English does not have.

    Raises:
        RuntimeError: if espeak-ng is not installed.
    """
    from data_scripts.synthetic.voice import Synthesiser, arpabet  # only here: it comes with an extra

    found = {}
    for word, symbols in Synthesiser().pronounce(words).items():
        with suppress(RuntimeError):  # a sound of another language
            if phones := [CMU.get(phone, phone) for phone in map(arpabet, symbols)]:
                found[word] = " ".join(phones)
    return found


def _synthesiser() -> str | None:
    """The version of espeak-ng; None if it is not installed."""
    from data_scripts.synthetic.voice import Synthesiser

    try:
        return Synthesiser().version()
    except RuntimeError:
        return None


def align_corpus(corpus: Corpus, out: str | Path, *, jobs: int = 1, progress: bool = True) -> dict[str, Any]:
    """Align each utterance of a corpus, and write `out/DIALOGUE/ID.wdseg` and `.phseg`.

    What is there already is not made again: an interrupted call goes on. Words that the dictionary lacks are pronounced
    by espeak-ng's rules, or left out where it is not installed.

    Args:
        corpus: of utterances.
        out: folder of its own; `alignment.json` in it says what was done.
        jobs: processes. No file depends on it.
        progress: show a progress bar.

    Returns:
        what is in `alignment.json`: settings, how many utterances are aligned, `failures` (id to reason), `unpruned`
        (utterances that only a search without pruning could align), `doubtful` (utterance to the share of its energy
        that is outside its words, if that is 20 % or more), `pronounced` (word to phones and how often), `left_out`
        (word to how often).

    Raises:
        ValueError: if the corpus has recordings, if what is there is of other settings or words, or if no utterance can
            be aligned.
        FileExistsError: if the folder holds alignments that this did not make.
        ImportError: if PocketSphinx is not installed.
        RuntimeError: if a process was killed.
        OSError: if `out` cannot be written.
    """
    out, start = Path(out), time.monotonic()
    if corpus.recordings:
        raise ValueError(f"{corpus.name} has recordings, expected utterances: only those are aligned")
    _pocketsphinx()
    texts = {u.id: spoken_words(u.text) for u in corpus.utterances}
    counts = Counter(word for words in texts.values() for word in words)
    foreign = sorted(counts.keys() - _dictionary())
    rules = _synthesiser()
    pronunciations = pronounce(foreign) if foreign and rules else {}
    left_out = {word: counts[word] for word in foreign if word not in pronunciations}
    if left_out:
        why = "espeak-ng has no English sounds for them" if rules else "pip install espeakng-loader to pronounce them"
        log.warning(
            "%s words that the dictionary lacks are left out, %s times, most often %r: %s",
            *(f"{len(left_out):,}", f"{sum(left_out.values()):,}", max(left_out, key=counts.__getitem__), why),
        )
    texts = {id: [word for word in words if word not in left_out] for id, words in texts.items()}
    settings = {"program": VERSION, "engine": f"pocketsphinx {version('pocketsphinx')}", "model": "en-us"}
    settings |= {"espeak-ng": rules, "corpus": corpus.name}
    with files.locked(out / REPORT):
        notes = _begin(out, settings)
        left = [u for u in corpus.utterances if not _there(out, u, texts[u.id])]
        failures = _align_all(corpus, left, texts, pronunciations, out, jobs, progress, notes)
        report = {
            "settings": settings,
            "utterances": len(corpus),
            "aligned": len(corpus) - len(failures),
            "of these before": len(corpus) - len(left),
            "seconds of speech": round(sum(u.duration for u in left), 2),
            "seconds": round(time.monotonic() - start, 2),
            "jobs": jobs,
            "failures": dict(sorted(failures.items())),
            **notes,
            "pronounced": {w: {"phones": phones, "times": counts[w]} for w, phones in pronunciations.items()},
            "left_out": left_out,
        }
        files.write_json(out / REPORT, report)
    if failures and len(failures) == len(corpus):
        id, why = next(iter(failures.items()))
        raise ValueError(f"none of the {len(corpus)} utterances can be aligned; the first, {id}: {why}")
    return report


def _begin(out: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Note how the files of a folder are made, or raise an error if they are made otherwise.

    Returns:
        what is known of the files that are there: `unpruned` and `doubtful`.
    """
    path = out / REPORT
    if not path.is_file():
        strange = next((p for suffix in SUFFIXES.values() for p in out.rglob(f"*{suffix}")), None)
        if strange:
            raise FileExistsError(
                f"{strange}: an alignment of another program, there is no {path}; choose another --out"
            )
        notes = {"unpruned": [], "doubtful": {}}
        files.write_json(path, {"settings": settings, **notes})
        return notes
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        begun, notes = dict(found["settings"]), {"unpruned": [*found["unpruned"]], "doubtful": {**found["doubtful"]}}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: expected what an earlier run has done, found a damaged file; remove {out}"
        ) from error
    same_settings(path, begun, settings, f"remove {out}, or choose another --out")
    return notes


def _paths(out: Path, u: Utterance) -> dict[str, Path]:
    return {kind: out / stem(u.dialogue) / f"{stem(u.id)}{suffix}" for kind, suffix in SUFFIXES.items()}


def _there(out: Path, u: Utterance, words: Sequence[str]) -> bool:
    """Whether the alignment of an utterance is there; raise ValueError if it is of other words."""
    paths = _paths(out, u)
    if not all(path.is_file() for path in paths.values()):
        return False
    try:
        found = [word.label for word in read_alignment(paths["words"], u.duration)]
        read_alignment(paths["phones"], u.duration)
    except ValueError as error:
        raise ValueError(f"{paths['words']}: damaged, {error}; remove it") from error
    if found != list(words):
        raise ValueError(
            f"{paths['words']}: aligned with other words, {' '.join(found)!r}, not {' '.join(words)!r}; remove {out}, "
            "or choose another --out"
        )
    return True


def _align_all(
    corpus: Corpus,
    left: Sequence[Utterance],
    texts: Mapping[str, Sequence[str]],
    pronunciations: Mapping[str, str],
    out: Path,
    jobs: int,
    progress: bool,
    notes: dict[str, Any],
) -> dict[str, str]:
    """Align utterances in processes, and add to the notes; return why some could not be aligned."""
    tasks = []
    for at in range(0, len(left), BATCH):
        batch = left[at : at + BATCH]
        needed = {word for u in batch for word in texts[u.id]} & pronunciations.keys()
        told = {u.id: texts[u.id] for u in batch}, {word: pronunciations[word] for word in needed}
        tasks.append((batch, *told, out))
    settings = json.loads((out / REPORT).read_text(encoding="utf-8"))["settings"]
    speech, after = _milliseconds(corpus.utterances), _milliseconds(left)
    failures: dict[str, str] = {}
    with bar(
        progress, desc="Aligning", total=speech, initial=speech - after, unit=" s of speech", unit_scale=0.001
    ) as shown:
        for done in _spread(tasks, jobs):
            failures |= {id: one for id, one in done.items() if isinstance(one, str)}
            aligned = {id: one for id, one in done.items() if not isinstance(one, str)}
            notes["unpruned"] = sorted({*notes["unpruned"]} | {id for id, (beams, _) in aligned.items() if beams})
            doubtful = {id: round(share, 3) for id, (_, share) in aligned.items() if share >= DOUBTFUL}
            notes["doubtful"] = dict(sorted((notes["doubtful"] | doubtful).items()))
            files.write_json(out / REPORT, {"settings": settings, **notes})
            shown.set_postfix(failures=len(failures), refresh=False)
            shown.update(_milliseconds(corpus[id] for id in done))
    return failures


def _milliseconds(utterances: Iterable[Utterance]) -> int:
    return sum(round(1000 * u.duration) for u in utterances)


def _spread(tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[dict[str, tuple[int, float] | str]]:
    if jobs == 1 or len(tasks) < 2:
        yield from (_align_batch(*task) for task in tasks)
        return
    try:
        calls = (delayed(_elsewhere)(*task) for task in tasks)
        yield from parallel.run(calls, min(jobs, len(tasks)), ordered=False, batch_size=1)
    except TerminatedWorkerError as error:
        raise RuntimeError(
            "a process that aligns was killed, perhaps for want of memory; run again to go on, with fewer --jobs"
        ) from error


def _elsewhere(*task: Any) -> dict[str, tuple[int, float] | str]:
    """Align in another process, by the module and not by a copy of it: that would load a decoder for each batch."""
    from data_scripts import align as here

    return here._align_batch(*task)


def _align_batch(
    batch: Sequence[Utterance], texts: Mapping[str, Sequence[str]], pronunciations: Mapping[str, str], out: Path
) -> dict[str, tuple[int, float] | str]:
    done: dict[str, tuple[int, float] | str] = {}
    for u in batch:
        try:
            waveform = read_waveform(u.audio, RATE)
            words, beams = align(waveform, texts[u.id], pronunciations)
        except (OSError, ValueError) as error:
            done[u.id] = str(error)
            continue
        paths = _paths(out, u)
        files.write_text(paths["phones"], phone_file(words))
        files.write_text(paths["words"], word_file(words))  # last: both are there, or it is done again
        done[u.id] = beams, outside(waveform, words)
    return done


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Find out when each word and phone of a corpus is spoken; corpora.load(..., alignments=FOLDER) "
        "then reads it.",
        epilog="Run again, it goes on where it was. Words are those of US English.",
    )
    parser.add_argument("--corpus", default="ravdess", choices=corpora.NAMES)
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        help="of the corpus; of table, it or its folder (default: what SERLIB_NAME says, or NAME in the cache folder)",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="for the alignments, and alignment.json: what failed, what is doubtful",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument(
        "--transcripts",
        metavar="NAME",
        help="align the text of transcripts/NAME.tsv below the corpus, or of a path, not the corpus's own",
    )
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    out = Path(options.out).expanduser()
    try:
        corpus = corpora.load(options.corpus, options.root, transcripts=options.transcripts)
        report = align_corpus(corpus, out, jobs=options.jobs)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    _tell(report, out)
    return 0


def _tell(report: Mapping[str, Any], out: Path) -> None:
    made = report["aligned"] - report["of these before"]
    log.info(
        "%s of %s utterances are aligned, %s of them now, in %.0f s; %s needed a search without pruning, %s are "
        "doubtful: at least %.0f %% of their energy is outside their words",
        *(f"{report['aligned']:,}", f"{report['utterances']:,}", f"{made:,}", report["seconds"]),
        *(f"{len(report['unpruned']):,}", f"{len(report['doubtful']):,}", 100 * DOUBTFUL),
    )
    for id, why in list(report["failures"].items())[:5]:
        log.info("not aligned: %s: %s", id, why)
    if (more := len(report["failures"]) - 5) > 0:
        log.info("and %d more", more)
    if spoken := report["pronounced"]:
        times = sum(one["times"] for one in spoken.values())
        often = sorted(spoken, key=lambda word: -spoken[word]["times"])[:5]
        log.info(
            "%s words (%s times) that the dictionary lacks are pronounced by espeak-ng's rules, most often: %s",
            *(f"{len(spoken):,}", f"{times:,}", ", ".join(f"{w} ({spoken[w]['phones']})" for w in often)),
        )
    log.info("all of this is in %s; corpora.load(..., alignments=%r) reads the alignments", out / REPORT, str(out))


if __name__ == "__main__":
    raise SystemExit(main())
