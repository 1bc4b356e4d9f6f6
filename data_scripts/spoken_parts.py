"""From sounds and where their words lie to a spoken text, part by part: what `speak` and `librispeech` share.

Chung and Glass 2018, section 3.1: each word's 13 MFCC; chapter `embeddings`. Until a spoken text is complete, a folder
inside it notes what is being made and holds the finished parts; `speech.json`, which says the same, is written last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_scripts import workshop
from serlib import files
from serlib.corpora.corpus import Segment
from serlib.embeddings import spoken
from serlib.features import FEATURES, RATE
from serlib.features.mfcc_torch import mfcc_batch
from serlib.timing import Grid

BATCH = 16  # sentences whose MFCC are computed at once
BYTES_PER_WORD = 2 * 13 * 40  # a little more than they take


@dataclass(frozen=True)
class Part:
    """Some sentences in a row, and the file that their words are written to."""

    sentences: slice
    path: Path


def parts(folder: Path, sentences: int, size: int) -> list[Part]:
    """Divide so many sentences into parts of `size`."""
    starts = range(0, sentences, size)
    return [Part(slice(first, first + size), folder / f"part-{first:07d}.npz") for first in starts]


def making(out: Path, request: dict[str, Any]) -> AbstractContextManager[Path | None]:
    """Hold a spoken text alone while it is made, see `workshop.making`.

    Args:
        out: folder of the spoken text; absent, empty, or holding the same one, complete or not.
        request: what it shall be, as noted in its files.
    """
    return workshop.making(out, request, "spoken text", spoken.FACTS, (spoken.FRAMES, spoken.WORDS))


def check_space(out: Path, words: int) -> None:
    """Raise OSError if the disk is too small for so many words, twice: as parts and together."""
    workshop.check_space(out, 2 * words * BYTES_PER_WORD)


def write_part(
    path: Path,
    heard: Mapping[int, tuple[np.ndarray, Sequence[Segment]]],
    refused: Sequence[str],
    device: torch.device | str = "cpu",
) -> None:
    """Write the words of some sentences with their frames.

    Args:
        path: of the part.
        heard: number of a sentence to its samples at RATE, in [-1, 1], and its words in seconds.
        refused: why others are not among them, a message each.
        device: where MFCC are computed.
    """
    static = _static({number: samples for number, (samples, _) in heard.items()}, device)
    labels, numbers, lengths, frames = [], [], [], []
    for number, (samples, words) in heard.items():
        for word, (start, after) in zip(words, _spans(len(samples), words), strict=True):
            labels.append(word.label)
            numbers.append(number)
            lengths.append(after - start)
            frames.append(static[number][start:after])
    with files.atomic(path) as temporary:
        np.savez(
            temporary,
            words=np.array(labels, dtype=np.str_),
            sentences=np.array(numbers, dtype=np.int32),
            lengths=np.array(lengths, dtype=np.int64),
            frames=np.concatenate([*frames, np.empty((0, spoken.CEPSTRA), np.float16)]),
            refused=np.array(refused, dtype=np.str_),
        )


def _static(sounds: Mapping[int, np.ndarray], device: torch.device | str) -> dict[int, np.ndarray]:
    """Return the 13 static MFCC of each sound, (frames, 13) float16."""
    found = {}
    order = sorted(sounds, key=lambda number: (len(sounds[number]), number))
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        lengths = torch.tensor([len(sounds[number]) for number in batch])
        waveforms = torch.zeros(len(batch), int(lengths.max()))
        for row, number in zip(waveforms, batch, strict=True):
            row[: len(sounds[number])] = torch.from_numpy(sounds[number])
        features, counts = mfcc_batch(waveforms.to(device), lengths.to(device))
        features = features[..., : spoken.CEPSTRA].cpu().numpy().astype(np.float16)
        for number, rows, count in zip(batch, features, counts.tolist(), strict=True):
            found[number] = rows[:count]
    return found


def _spans(samples: int, words: Sequence[Segment]) -> np.ndarray:
    """Return the first frame of each word and the one after its last, (words, 2)."""
    mfcc = FEATURES["mfcc"]
    grid = Grid.of(samples / RATE, mfcc.hop, mfcc.window, shortest=mfcc.shortest)
    return grid.spans(words)[0]


def refusals(made: Sequence[Part]) -> list[str]:
    """Return the messages about sentences that are in no part."""
    messages = []
    for part in made:
        with np.load(part.path, allow_pickle=False) as arrays:
            messages += arrays["refused"].tolist()
    return messages


def join(
    out: Path, made: Sequence[Part], voices: np.ndarray, speakers: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Write the parts as one spoken text, a part in memory at a time.

    Args:
        out: folder of the spoken text.
        made: all its parts.
        voices: (sentences,) rows of `speakers`.
        speakers: names.
        facts: what else `speech.json` says.
    """
    words, sentences, lengths = [], [], []
    for part in made:
        with np.load(part.path, allow_pickle=False) as arrays:
            words += arrays["words"].tolist()
            sentences.append(arrays["sentences"])
            lengths.append(arrays["lengths"])
    sentences, lengths = np.concatenate(sentences), np.concatenate(lengths)
    shape = (int(lengths.sum()), spoken.CEPSTRA)
    with files.atomic(out / spoken.FRAMES) as temporary:
        frames = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        first = 0
        for part in made:
            with np.load(part.path, allow_pickle=False) as arrays:
                rows = arrays["frames"]
            frames[first : first + len(rows)] = rows
            first += len(rows)
        frames.flush()
        del frames
    frames = np.load(out / spoken.FRAMES, mmap_mode="r", allow_pickle=False)
    text = spoken.gather(words, sentences, voices[sentences], lengths, frames, speakers)
    refused = refusals(made)
    counted = {"spoken": len(words), "frames": len(frames), "refused": len(refused), "refusals": refused[:100]}
    spoken.write_words(out, text, {**facts, **counted})
