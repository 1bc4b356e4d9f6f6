"""One run of openSMILE over samples in memory, with a configuration file of our own.

Used by `serlib.features.mfcc` and `serlib.features.prosody` (yoon2018); taught in
chapter `features`.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from serlib.features.waveform import RATE

CONFIGURATIONS = Path(__file__).parent / "opensmile"

SHORTEST = 880
"""Samples (55 ms) that anything shorter is padded to with zeros: one pitch window, and
the four frames of 25 ms that openSMILE needs before the deltas at the edges are right.
"""


def run(
    configuration: str, level: str, waveform: np.ndarray, shortest: int = SHORTEST
) -> np.ndarray:
    """Run openSMILE and return what it writes to one level.

    Samples are rounded to 16 bits first, which changes nothing for 16-bit files. A
    fresh openSMILE is set up for each call: that takes 1.4 ms of about 10, and leaves
    no state behind from one utterance to the next.

    Args:
        configuration: name of a file in `CONFIGURATIONS`.
        level: name of a level in that file.
        waveform: (samples,) at 16 kHz, in [-1, 1].
        shortest: samples that anything shorter is padded to with zeros.

    Returns:
        (rows, columns) float32.

    Raises:
        ValueError: if the waveform is empty, not one-dimensional or not finite, or if
            openSMILE is installed in a folder whose name it cannot read.
        RuntimeError: if openSMILE fails, with what it says.
    """
    import opensmile
    from opensmile.core.config import config
    from opensmile.core.lib import OpenSMILE, OpenSmileException

    samples = np.asarray(waveform)
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise ValueError(
            "expected a waveform of shape (samples,), finite and not empty, found"
            f" {samples.shape}"
        )
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    bundled = Path(opensmile.__file__).parent / "core" / config.CONFIG_ROOT
    options = {
        "source": bundled / config.EXTERNAL_INPUT_CONFIG,
        "sink": bundled / config.EXTERNAL_OUTPUT_SINGLE_CONFIG,
        "sinkLevel": level,
        "sampleRate": RATE,
        "nBits": 16,
    }
    rows: list[np.ndarray] = []
    smile = OpenSMILE()
    try:
        smile.initialize(str(CONFIGURATIONS / configuration), options, loglevel=0)
        smile.external_sink_set_callback(
            config.EXTERNAL_OUTPUT_COMPONENT, lambda row: rows.append(row.copy())
        )
        smile.external_audio_source_write_data(
            config.EXTERNAL_SOURCE_COMPONENT, pcm.tobytes()
        )
        smile.external_audio_source_set_eoi(config.EXTERNAL_SOURCE_COMPONENT)
        smile.run()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{error.object}: openSMILE reads only paths in plain ASCII; install serlib"
            " elsewhere"
        ) from error
    except OpenSmileException as error:
        raise RuntimeError(
            f"openSMILE failed with {CONFIGURATIONS / configuration}: {error}"
        ) from error
    finally:
        smile.free()
    if not rows:
        raise RuntimeError(
            f"openSMILE wrote nothing to level {level} of"
            f" {CONFIGURATIONS / configuration}"
        )
    return np.stack(rows)


def settings(configuration: str) -> dict[str, str | int]:
    """Return everything that the output of `run` depends on, for the key of a cache."""
    return {
        "configuration": (CONFIGURATIONS / configuration).read_text(encoding="utf-8"),
        "opensmile": version("opensmile"),
        "rate": RATE,
        "shortest": SHORTEST,
    }
