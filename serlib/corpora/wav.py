"""Opens sound files, for their samples or their length alone, believes a header only as
far as the file bears it out, and cuts stretches out of long ones.

Corpora have ten thousand of these, so a length needs no decoding. Used by all five
papers; taught in chapter `corpora`.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path

from soundfile import LibsndfileError, SoundFile, write

from serlib.files import atomic, cache_folder

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


def duration(path: Path, whole: bool = False) -> float:
    """Return the length of a sound file in seconds, read from its header.

    Args:
        path: wav, flac or whatever else libsndfile reads.
        whole: see that the last sample is there. Whether an mp3 or flac file is cut off
            its header does not tell.

    Raises:
        ValueError: as `opened`, or if the last sample is missing.
        OSError: if the file cannot be read.
    """
    with opened(path) as sound:
        if whole:
            try:
                sound.seek(sound.frames - 1)
                held = len(sound.read(1))
            except LibsndfileError:
                held = 0
            if not held:
                raise ValueError(f"cut off before the last of {sound.frames} samples")
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


def cut(path: Path, start: float, end: float) -> tuple[Path, float]:
    """Cut a stretch out of a sound file into the cache, unless it is there: the same
    channels, rate and samples.

    It is written as AU, whose header, unlike that of wav, never holds the time of
    writing: the same stretch has the same bytes, and so the same features and records.
    Near the end of Ogg Vorbis libsndfile finds a place to within 10 ms only.

    Args:
        path: the file.
        start, end: seconds, within it.

    Returns:
        the file in the cache, and how many seconds it lasts.

    Raises:
        ValueError: as `opened`.
        OSError: if the file cannot be read, or the cache not written.
    """
    status = path.stat()
    told = (str(path), status.st_size, status.st_mtime_ns, start, end)
    name = hashlib.blake2b(repr(told).encode(), digest_size=12).hexdigest()
    target = cache_folder() / "cuts" / name[:2] / f"{name}.au"
    with opened(path) as sound:
        first = min(round(start * sound.samplerate), sound.frames - 1)
        count = max(1, min(round(end * sound.samplerate), sound.frames) - first)
        if not target.is_file():
            exact = sound.subtype in ("PCM_16", "PCM_24", "PCM_32")
            sound.seek(first)
            samples = sound.read(count, dtype="int32" if exact else "float32")
            how = {"subtype": sound.subtype if exact else "FLOAT", "format": "AU"}
            with atomic(target) as temporary:
                write(temporary, samples, sound.samplerate, **how)
    return target, duration(target)


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
