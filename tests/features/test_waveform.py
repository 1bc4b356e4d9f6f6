"""Sound files of every rate and width, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from serlib.features import read_waveform


def sine(rate: int, hertz: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def test_channels_are_averaged_and_samples_kept(tmp_path: Path) -> None:
    left, right = sine(16_000), sine(16_000, 300)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 16_000, subtype="PCM_16")
    waveform = read_waveform(tmp_path / "stereo.wav")
    assert waveform.dtype == np.float32 and waveform.shape == (8_000,)
    np.testing.assert_allclose(waveform, (left + right) / 2, atol=1 / 32768)


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_resampling_keeps_a_tone(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "tone.wav", sine(rate), rate, subtype="FLOAT")
    waveform = read_waveform(tmp_path / "tone.wav")
    assert abs(len(waveform) - 8_000) <= 1 and np.abs(waveform).max() <= 1
    middle = slice(1_000, 7_000)  # the ends fade into the silence around the file
    np.testing.assert_allclose(waveform[middle], sine(16_000)[middle], atol=5e-3)


def test_broken_files(tmp_path: Path) -> None:
    whole = tmp_path / "whole.wav"
    soundfile.write(whole, sine(16_000), 16_000, subtype="PCM_16")
    cases = {
        "cut.wav": (
            whole.read_bytes()[:9_000],
            "cut off: the header promises 16000 bytes of samples, the file holds 8956",
        ),
        "header.wav": (whole.read_bytes()[:30], "expected a sound file, found the bytes b'RIFF"),
        "text.wav": (b"hello", "expected a sound file, found the bytes b'hello'"),
        "nothing.wav": (b"", "expected a sound file, found an empty one"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: {message}"):
            read_waveform(path)
    soundfile.write(tmp_path / "silent.wav", np.zeros(0), 16_000)
    with pytest.raises(ValueError, match=r"silent.wav: expected samples, found none"):
        read_waveform(tmp_path / "silent.wav")
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan.wav: expected finite samples"):
        read_waveform(tmp_path / "nan.wav")
    with pytest.raises(FileNotFoundError, match=r"absent.wav: expected a sound file"):
        read_waveform(tmp_path / "absent.wav")


def test_floats_on_the_scale_of_integers_are_refused(tmp_path: Path) -> None:
    """What scipy.io.wavfile.write makes of int16 samples after a step that gave floats."""
    soundfile.write(tmp_path / "float.wav", sine(16_000) * 32768, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"float\.wav: expected samples between -1 and 1, found 16384.*; divide them"):
        read_waveform(tmp_path / "float.wav")
    soundfile.write(tmp_path / "loud.wav", sine(16_000) * 3, 16_000, subtype="FLOAT")
    assert np.abs(read_waveform(tmp_path / "loud.wav")).max() == 1.0


def test_channels_that_cancel_are_refused(tmp_path: Path) -> None:
    tone = sine(16_000)
    soundfile.write(tmp_path / "turned.wav", np.stack([tone, -tone], axis=1), 16_000, subtype="PCM_16")
    with pytest.raises(ValueError, match=r"turned\.wav: the channels cancel each other out"):
        read_waveform(tmp_path / "turned.wav")
    soundfile.write(tmp_path / "left.wav", np.stack([tone, 0 * tone], axis=1), 16_000, subtype="PCM_16")
    assert np.abs(read_waveform(tmp_path / "left.wav")).max() == pytest.approx(0.25, abs=1e-3)
    soundfile.write(tmp_path / "silence.wav", np.zeros((100, 2)), 16_000, subtype="PCM_16")
    assert not read_waveform(tmp_path / "silence.wav").any()
