"""Headers of sound files as people's tools leave them, and damaged ones: the length that is right, or what is wrong."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from serlib.corpora import wav
from serlib.features import read_waveform

SECOND = np.random.default_rng(0).integers(-3000, 3000, 16000, np.int16)
SOUND = SECOND.astype("<i2").tobytes()


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize(("form", "channels"), [("WAV", 1), ("WAV", 2), ("WAVEX", 2)])
def test_duration_is_that_of_soundfile(tmp_path, subtype, form, channels):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((4411, channels)), 44100, subtype=subtype, format=form)
    assert wav.duration(path) == soundfile.info(path).duration


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def chunk(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def form(coding: int = 1, rate: int = 16000, frame: int = 2, speed: int = 32000, bits: int = 16) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", coding, 1, rate, speed, frame, bits))


DATA = chunk(b"data", SOUND)


@pytest.mark.parametrize(
    "content",
    [
        riff(form(), DATA),
        riff(form(), chunk(b"LIST", b"INFOodd"), DATA),
        riff(chunk(b"JUNK", bytes(28)), form(), chunk(b"PAD ", b""), DATA),
        riff(form(), chunk(b"data", SOUND, 0xFFFFFFFF), size=0xFFFFFFFF),
        riff(form(), chunk(b"data", SOUND, 0x7FFFFFFF - 36), size=0x7FFFFFFF),
        riff(form(), chunk(b"data", SOUND, 0x7FFFF000), size=0x7FFFF024),
        riff(form(), chunk(b"data", SOUND, 0), size=0xFFFFFFFF),
        riff(form(), chunk(b"data", SOUND, 0), size=36),
        riff(form(), chunk(b"data", SOUND, 0), size=0),
        riff(form(), DATA, size=12345),
        riff(form(frame=0), DATA),
        riff(form(frame=4), DATA),
        riff(form(speed=0), DATA),
        riff(form(), DATA) + b"\0\0\0",
        riff(form(), DATA) + b"LIST\xff\0\0\0ab",
    ],
)
def test_odd_headers_lose_no_sample(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert wav.duration(path) == 1.0
    np.testing.assert_array_equal(read_waveform(path) * 32768, SECOND)


@pytest.mark.parametrize(
    ("name", "subtype", "seconds"),
    [
        ("FLAC", "PCM_16", 1.0),
        ("AIFF", "PCM_16", 1.0),
        ("OGG", "VORBIS", 1.0),
        ("WAV", "ULAW", 1.0),
        ("W64", "PCM_16", 1.0),
        ("RF64", "PCM_16", 1.0),
        ("WAV", "MS_ADPCM", 1.012),
    ],
)
def test_other_kinds_of_sound_named_wav(tmp_path, name, subtype, seconds):
    buffer, path = io.BytesIO(), tmp_path / "a.wav"
    soundfile.write(buffer, SECOND, 16000, format=name, subtype=subtype)
    path.write_bytes(buffer.getvalue())
    assert wav.duration(path) == seconds == len(read_waveform(path)) / 16000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a sound file, found an empty one"),
        (b"version https://git-lfs.github.com", r"found the bytes b'version http' \(Format not recognised\)"),
        (riff(form(), chunk(b"data", b"")), "expected samples, found none"),
        (riff(DATA), "No 'data' chunk marker|Error in WAV file"),
        (riff(form(), DATA)[:30], r"found the bytes b'RIFF.*WAVE' \("),
        (riff(form(), chunk(b"data", SOUND[:16000], 32000)), "promises 32000 bytes of samples, the file holds 16000"),
        (riff(form(), chunk(b"data", SOUND, 32002)), "promises 32002 bytes of samples, the file holds 32000"),
        (riff(form(rate=17), DATA), "expected 1000 to 768000 samples a second, found 17"),
        (
            riff(form(rate=16001), DATA),
            "contradicts itself: 16001 Hz, 1 channels, PCM_16 make 32002 bytes a second, it says 32000",
        ),
        (riff(form(frame=1, speed=16000), DATA), "PCM_16 make 32000 bytes a second, it says 16000"),
        (riff(form(frame=4, speed=64000), DATA), "PCM_16 make 32000 bytes a second, it says 64000"),
    ],
)
def test_damaged_header(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        wav.duration(path)
    with pytest.raises(ValueError, match=rf"a\.wav: .*({message}).*; fetch it again or leave it out"):
        read_waveform(path)


def test_no_flipped_bit_of_the_form_changes_a_sound_unsaid(tmp_path):
    """Rate, channels, bits, bytes a second and a frame: each other bears them out, or the file is refused."""
    path, whole = tmp_path / "a.wav", riff(form(), DATA)
    for bit in range(8 * 12, 8 * 36):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert wav.duration(path) == 1.0, bit
        except ValueError:
            with pytest.raises(ValueError, match=r"a\.wav"):
                read_waveform(path)
