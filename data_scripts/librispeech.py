"""Finds each word of LibriSpeech in its sound and keeps of it the label, place, voice and MFCC, never the sound.

Real speech for Speech2Vec, which was trained on 500 hours of it (Chung and Glass 2018, section 3.1); chapter
`embeddings`. Words are found by forced alignment: a wav2vec 2.0 (Baevski et al. 2020) hears a character or nothing in
each 20 ms; of all the ways in which these can spell the transcript, the likeliest says when each word is spoken.

    python -m data_scripts.librispeech --root FOLDER --subset train-clean-100 --out spoken-libri/

FOLDER is the one that holds `LibriSpeech/train-clean-100/`; with --download it is fetched if it is not there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchaudio.datasets import LIBRISPEECH
from torchaudio.functional import forced_align, merge_tokens

if __name__ == "__main__" and __package__ in (None, ""):  # python data_scripts/librispeech.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts import spoken_parts
from data_scripts.recognisers.ctc import BLANK
from data_scripts.recognisers.wav2vec import PIPELINE, WORD_END, Recogniser, load_recogniser
from serlib.corpora.corpus import Segment
from serlib.determinism import find_device
from serlib.embeddings import spoken
from serlib.features import RATE, read_waveform
from serlib.progress import bar

log = logging.getLogger(__name__)

VERSION = 1
"""Goes up with every change of what is made."""

UTTERANCES = {
    "dev-clean": 2_703,
    "dev-other": 2_864,
    "test-clean": 2_620,
    "test-other": 2_939,
    "train-clean-100": 28_539,
    "train-clean-360": 104_014,
    "train-other-500": 148_688,
}
"""Of each subset, as published."""

UTTERANCES_A_PART = 16

WINDOW, HOP = 400, 320
"""Samples that an emission of wav2vec 2.0 hears, and from one to the next (Baevski et al. 2020, section 4.2)."""


@dataclass(frozen=True)
class Utterance:
    """A file of LibriSpeech.

    Attributes:
        id: speaker, chapter and number, `84-121123-0000`.
        path: of its sound.
        words: of its transcript, lower-cased; none if it cannot be read.
    """

    id: str
    path: Path
    words: tuple[str, ...]

    @property
    def speaker(self) -> str:
        return self.id.partition("-")[0]


class Refusal(ValueError):
    """Why an utterance cannot be aligned: `reason`, which is counted, and a message that begins with it."""

    def __init__(self, reason: str, utterance: Utterance, detail: object):
        super().__init__(f"{reason}: {utterance.id}: {detail}")
        self.reason = reason


def read_subset(root: str | Path, subset: str, *, download: bool = False) -> list[Utterance]:
    """List the utterances of a subset of LibriSpeech, by id.

    Args:
        root: folder that holds `LibriSpeech/`.
        subset: one of `UTTERANCES`.
        download: whether to fetch it if it is not there (6 GB for `train-clean-100`).

    Raises:
        FileNotFoundError: if the folder is not there.
        ValueError: if there is no such subset, or no transcript in it.
        OSError: if it cannot be fetched.
    """
    if subset not in UTTERANCES:
        raise ValueError(f"LibriSpeech has no subset {subset!r}; expected one of {', '.join(UTTERANCES)}")
    folder = Path(root) / "LibriSpeech" / subset
    if not folder.is_dir() and not download:
        raise FileNotFoundError(f"{folder}: expected a subset of LibriSpeech, found no folder; --download fetches it")
    Path(root).mkdir(parents=True, exist_ok=True)
    try:
        data = LIBRISPEECH(root, subset, download=download)
    except RuntimeError as error:
        raise OSError(f"{root}: cannot fetch {subset}: {error}") from error
    utterances = [_utterance(data, number, folder.parent) for number in range(len(data))]
    if not any(one.words for one in utterances):
        raise ValueError(f"{folder}: expected sound with transcripts, found {len(utterances)} files and no transcript")
    if len(utterances) < UTTERANCES[subset]:
        log.warning("%s holds %d of %d utterances", folder, len(utterances), UTTERANCES[subset])
    return utterances


def _utterance(data: LIBRISPEECH, number: int, archive: Path) -> Utterance:
    name = data._walker[number]
    try:
        path, _, transcript, *_ = data.get_metadata(number)
    except (OSError, ValueError):  # no table of transcripts, none for this file, or one that is no text
        return Utterance(name, Path(name), ())
    return Utterance(name, archive / path, tuple(transcript.lower().split()))


def align(
    utterances: Sequence[Utterance],
    recogniser: Recogniser,
    out: str | Path,
    *,
    name: str = "librispeech",
    pipeline: str = PIPELINE,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> None:
    """Find the words of utterances and write a spoken text (`serlib.embeddings.spoken.read_spoken`).

    Each speaker is a voice. What cannot be aligned is left out, and counted by reason in `speech.json`:
    `no transcript`, `unreadable`, `unknown characters` (that the recogniser lacks), `too long` (a transcript of more
    characters than the sound has emissions). Utterances are heard one by one, so that no padding changes where a word
    begins.

    Args:
        utterances: of `read_subset`.
        recogniser: with a wav2vec 2.0 of 16 kHz on `device`.
        out: folder; absent, empty, or holding the same spoken text, complete or not.
        name: of the text, for the record.
        pipeline: name of the recogniser, for the record.
        device: where to compute.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if the recogniser is another kind of model, or nothing can be aligned.
        FileExistsError: if the folder holds something else.
        OSError: if it cannot be written, or the disk is too small.
    """
    out = Path(out).resolve()
    if recogniser.rate != RATE:
        raise ValueError(f"expected a recogniser of {RATE} samples a second, found one of {recogniser.rate}")
    speakers = sorted({one.speaker for one in utterances})
    text = "\n".join(" ".join([one.id, *one.words]) for one in utterances)
    request = {
        "name": name,
        "sentences": len(utterances),
        "words": sum(len(one.words) for one in utterances),
        "voices": speakers,
        "aligner": VERSION,
        "pipeline": pipeline,
        "text": hashlib.blake2b(text.encode(), digest_size=8).hexdigest(),
    }
    with spoken_parts.making(out, request) as workshop:
        if workshop is None:
            return
        parts = spoken_parts.parts(workshop, len(utterances), UTTERANCES_A_PART)
        missing = [part for part in parts if not part.path.exists()]
        left = [one for part in missing for one in utterances[part.sentences]]
        spoken_parts.check_space(out, sum(len(one.words) for one in left))
        done = len(utterances) - len(left)
        with bar(progress, total=len(utterances), initial=done, unit="utterance", desc="Aligning") as told:
            for part in missing:
                chosen = utterances[part.sentences]
                _align_part(chosen, part.sentences.start, recogniser, device, part.path)
                told.update(len(chosen))
        refusals = spoken_parts.refusals(parts)
        if len(refusals) == len(utterances):
            raise ValueError(
                f"none of {len(utterances)} utterances can be aligned, mend them and remove {out}; the first:"
                f" {refusals[0]}"
            )
        reasons = Counter(message.partition(":")[0] for message in refusals)
        row = {speaker: number for number, speaker in enumerate(speakers)}
        voices = np.array([row[one.speaker] for one in utterances])
        spoken_parts.join(out, parts, voices, speakers, request | {"reasons": dict(sorted(reasons.items()))})


def _align_part(
    utterances: Sequence[Utterance], first: int, recogniser: Recogniser, device: torch.device | str, path: Path
) -> None:
    """Align some utterances and write their words."""
    heard, refused = {}, []
    for number, utterance in enumerate(utterances, start=first):
        try:
            samples = _read(utterance)
            heard[number] = samples, find_words(utterance, samples, recogniser, device)
        except Refusal as error:
            refused.append(str(error))
    spoken_parts.write_part(path, heard, refused, device)


def _read(utterance: Utterance) -> np.ndarray:
    """Return the samples of an utterance with a transcript."""
    if not utterance.words:
        raise Refusal("no transcript", utterance, "expected a line with its id and words in the chapter's .trans.txt")
    try:
        return read_waveform(utterance.path)
    except (OSError, ValueError) as error:
        raise Refusal("unreadable", utterance, error) from error


def find_words(
    utterance: Utterance, samples: np.ndarray, recogniser: Recogniser, device: torch.device | str = "cpu"
) -> list[Segment]:
    """Find the words of a transcript in its sound.

    A word lasts from its first character's first emission to its last character's last. An emission stands for the
    HOP samples in the middle of the WINDOW that it hears.

    Args:
        utterance: with its words.
        samples: (samples,) at RATE.
        recogniser: with its model on `device`.
        device: where to compute.

    Returns:
        the words in seconds.

    Raises:
        Refusal: if the recogniser lacks a character, or there are more of them than emissions.
        ValueError: if the model does not give an emission every HOP samples.
    """
    tokens = _tokens(utterance, recogniser.labels)
    expected = max(0, 1 + (len(samples) - WINDOW) // HOP)
    needed = len(tokens) + sum(one == other for one, other in pairwise(tokens))  # a blank between two equal ones
    if needed > expected:
        raise Refusal("too long", utterance, f"{needed} characters and blanks, {expected} emissions to put them in")
    scores = _emissions(recogniser, samples, device)
    if len(scores) != expected:
        raise ValueError(
            f"{utterance.path}: expected {expected} emissions of {len(samples)} samples, as wav2vec 2.0 gives them,"
            f" found {len(scores)}; choose another --pipeline"
        )
    path, likelihoods = forced_align(scores[None], torch.tensor([tokens], dtype=torch.int32), blank=BLANK)
    spans = iter(merge_tokens(path[0], likelihoods[0], blank=BLANK))
    segments = []
    for word in utterance.words:
        own = [next(spans) for _ in [*word, WORD_END]][:-1]
        segments.append(Segment(word, _seconds(own[0].start), _seconds(own[-1].end)))
    return segments


def _tokens(utterance: Utterance, labels: Sequence[str]) -> list[int]:
    """Return a transcript as wav2vec 2.0 was taught it: numbers of characters, a WORD_END after each word."""
    known = {label.lower(): number for number, label in enumerate(labels) if number != BLANK and label != WORD_END}
    if strange := sorted({letter for word in utterance.words for letter in word} - set(known)):
        raise Refusal("unknown characters", utterance, f"the recogniser lacks {' '.join(strange)}")
    separator = list(labels).index(WORD_END)
    return [number for word in utterance.words for number in (*map(known.get, word), separator)]


@torch.inference_mode()
def _emissions(recogniser: Recogniser, samples: np.ndarray, device: torch.device | str) -> Tensor:
    """Return log-probabilities, (emissions, labels), on the CPU, where a single alignment is fastest."""
    waveform = torch.from_numpy(samples)[None].to(device)
    logits, _ = recogniser.model(waveform, torch.tensor([len(samples)], device=device))
    return logits[0].float().log_softmax(dim=1).cpu()


def _seconds(emission: int) -> float:
    return (emission * HOP + (WINDOW - HOP) / 2) / RATE


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds LibriSpeech/")
    parser.add_argument("--subset", default="train-clean-100", choices=UTTERANCES, help="default: %(default)s")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the spoken text into")
    parser.add_argument("--pipeline", default=PIPELINE, help="of torchaudio.pipelines (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--download", action="store_true", help="fetch the subset if it is not there")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        device = find_device(options.device)
        utterances = read_subset(options.root, options.subset, download=options.download)
        recogniser = load_recogniser(options.pipeline, device)
        name = f"librispeech {options.subset}"
        align(utterances, recogniser, options.out, name=name, pipeline=options.pipeline, device=device)
    except (ValueError, OSError, RuntimeError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped; run the same command again to go on\n")
    facts = json.loads((options.out / spoken.FACTS).read_text(encoding="utf-8"))
    hours = facts["frames"] * facts["hop"] / 3600
    print(f"{options.out}: {facts['spoken']:,} words in {facts['sentences']:,} utterances, {hours:.1f} h")
    for reason, count in facts["reasons"].items():
        print(f"{reason}: {count:,} utterances left out")


if __name__ == "__main__":
    main()
