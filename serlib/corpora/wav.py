"""Opens sound files, for their samples or their length alone, and believes a header
only as far as the file bears it out.

Corpora have ten thousand of these, so a length needs no decoding. Used by all five
papers; taught in chapter `corpora`.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from soundfile import LibsndfileError, SoundFile

SUFFIXES = (".wav", ".flac")
"""Of the files that readers take for sounds, in either case."""

RATES = (1_000, 768_000)
"""Hz. A sampling rate outside is damage: nobody records speech so."""

STREAM = 0x7FFFF000
"""Bytes of samples. Programs that write to a pipe do not know how long the sound will
be and promise so many or more; all that follows the header belongs to it then.
"""

WIDTHS = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a sample in each coding that has a fixed number."""

NOTE = re.compile(
    r"^\s*(Bytes/sec|data)\s*: (\d+)(?: \(should be (\d+)\))?", re.MULTILINE
)
"""What libsndfile notes of a wav file's header: a number, and what it ought to be."""


def duration(path: Path) -> float:
    """Return the length of a sound file in seconds, read from its header.

    Args:
        path: wav, flac or whatever else libsndfile reads.

    Raises:
        ValueError: as `opened`.
        OSError: if the file cannot be read.
    """
    with opened(path) as sound:
        return sound.frames / sound.samplerate


def opened(path: Path) -> SoundFile:
    """Open a sound file whose header holds good; the caller closes it.

    A wav file that was written to a pipe is taken to its end, whatever length its
    header gives; one whose block size is wrong is read by its channels and bits.

    Args:
        path: wav, flac or whatever else libsndfile reads.

    Raises:
        ValueError: if the file is no sound, holds no sample, is shorter than its header
            promises, or if its header contradicts itself. The message does not name the
            file: the caller does.
        OSError: if the file cannot be read.
    """
    try:
        sound = SoundFile(os.fsencode(path))
        if not sound.frames and (content := _unclosed(path)):
            sound = SoundFile(io.BytesIO(content))
    except LibsndfileError as error:
        with path.open("rb") as file:
            start = file.read(12)
        reason = error.error_string.strip().rstrip(".")
        found = f"the bytes {start!r} ({reason})" if start else "an empty one"
        raise ValueError(f"expected a sound file, found {found}") from None
    if fault := _fault(sound):
        sound.close()
        raise ValueError(fault)
    return sound


def _unclosed(path: Path) -> bytes | None:
    """A wav file whose writer never came back to put the lengths into the header, with
    the largest there; None if it is none.
    """
    content = path.read_bytes()
    samples = content.find(b"data\0\0\0\0") + 4
    closed = int.from_bytes(content[4:8], "little") == len(content) - 8
    if content[:4] != b"RIFF" or samples < 4 or closed:
        return None
    return content[:samples] + b"\xff\xff\xff\xff" + content[samples + 4 :]


def _fault(sound: SoundFile) -> str | None:
    """What makes the header unbelievable, if anything does."""
    rate = sound.samplerate
    if not RATES[0] <= rate <= RATES[1]:
        return f"expected {RATES[0]} to {RATES[1]} samples a second, found {rate}"
    notes = {
        name: (int(a), int(b or a)) for name, a, b in NOTE.findall(sound.extra_info)
    }
    promised, held = notes.get("data", (0, 0))
    if held < promised < STREAM:
        return (
            f"cut off: the header promises {promised} bytes of samples, the file holds"
            f" {held}"
        )
    speed, _ = notes.get("Bytes/sec", (0, 0))
    due = rate * sound.channels * WIDTHS.get(sound.subtype, 0)
    if speed and due and speed != due:
        return (
            f"the header contradicts itself: {rate} Hz, {sound.channels} channels,"
            f" {sound.subtype} make {due} bytes a second, it says {speed}"
        )
    return None if sound.frames else "expected samples, found none"
