"""How long a wav file is, from its header alone, and whether it holds what the header
promises.

Corpora have ten thousand of these, so nothing is decoded. Used by all five papers;
taught in chapter `corpora`.
"""

from __future__ import annotations

import struct
from pathlib import Path

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE


def duration(path: Path) -> float:
    """Return the length of a wav file in seconds, read from its header.

    Args:
        path: a RIFF wav file with uncompressed samples, any rate, any number of
            channels.

    Raises:
        ValueError: if the file is empty, not such a wav, holds no sample, or is shorter
            than its header promises. The message does not name the file: the caller
            does.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        riff = file.read(12)
        if not riff:
            raise ValueError("expected a wav file, found an empty one")
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            raise ValueError(
                f"expected a wav file (RIFF ... WAVE), found the bytes {riff!r}"
            )
        rate = frame = 0
        while len(chunk := file.read(8)) == 8:
            kind, size = struct.unpack("<4sI", chunk)
            if kind == b"fmt ":
                form = file.read(min(size, 16))
                if len(form) < 16:
                    break
                file.seek(size - 16 + size % 2, 1)
                coding, _, rate, _, frame = struct.unpack_from("<HHIIH", form)
                if coding not in (PCM, FLOAT, EXTENSIBLE) or not rate or not frame:
                    found = f"coding {coding}, {rate} Hz, {frame} bytes a frame"
                    raise ValueError(f"expected uncompressed samples, found {found}")
            elif kind == b"data":
                if not frame:
                    raise ValueError(
                        "expected a `fmt ` chunk before the samples, found none"
                    )
                held = length - file.tell()
                if held < size:
                    raise ValueError(
                        f"cut off: the header promises {size} bytes of samples, the"
                        f" file holds {held}"
                    )
                if size < frame:
                    raise ValueError("expected samples, found none")
                return size // frame / rate
            else:
                file.seek(size + size % 2, 1)
    raise ValueError(
        f"cut off: expected a header with `fmt ` and `data`, found only {length} bytes"
    )
