from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from serlib.corpora import wav


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize(("form", "channels"), [("WAV", 1), ("WAV", 2), ("WAVEX", 2)])
def test_duration_is_that_of_soundfile(tmp_path, subtype, form, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((4411, channels)), 44100, subtype=subtype, format=form)
    assert wav.duration(path) == soundfile.info(path).duration


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def form(coding: int = 1, rate: int = 16000, frame: int = 2) -> tuple[bytes, bytes]:
    return b"fmt ", struct.pack("<HHIIHH", coding, 1, rate, rate * frame, frame, 16)


def test_chunks_before_the_samples_are_passed_over(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(riff((b"LIST", b"odd"), form(), (b"fact", b"1234"), (b"data", bytes(16000))))
    assert wav.duration(path) == 0.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (riff(form(), (b"data", b"")), "expected samples, found none"),
        (riff((b"data", bytes(8))), "expected a `fmt ` chunk before the samples, found none"),
        (riff(form(coding=2), (b"data", bytes(8))), "expected uncompressed samples, found coding 2, 16000 Hz"),
        (
            riff(form(rate=0), (b"data", bytes(8))),
            "expected uncompressed samples, found coding 1, 0 Hz, 2 bytes a frame",
        ),
        (riff(form())[:30], "cut off: expected a header with `fmt ` and `data`, found only 30 bytes"),
    ],
)
def test_damaged_header(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        wav.duration(path)
