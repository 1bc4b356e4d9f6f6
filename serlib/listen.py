"""Small audio players for the chapters: hear beside the plot what the plot shows.
Each says its length, and its name to who cannot see the caption.

Waveforms are embedded as MP3, so a rendered page or a notebook on its own plays without
other files. Used by all chapters.
"""

from __future__ import annotations

import base64
import html
import io

import numpy as np
import soundfile
from IPython.display import HTML


def _data_uri(waveform: np.ndarray, rate: int) -> str:
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.asarray(waveform), rate, format="MP3", subtype="MPEG_LAYER_III"
    )
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode(
        "ascii"
    )


def player(waveform: np.ndarray, rate: int, label: str = "") -> HTML:
    """Return one labelled player.

    Args:
        waveform: (samples,) in [-1, 1].
        rate: samples per second, one that MP3 knows (16,000, 22,050, 44,100, 48,000
            ...).
        label: caption.
    """
    return players([(label, waveform, rate)])


def players(clips: list[tuple[str, np.ndarray, int]]) -> HTML:
    """Return several labelled players in a row that wraps on a narrow screen.

    Args:
        clips: (label, waveform, rate) each, as `player` takes them.
    """
    figures = []
    for label, waveform, rate in clips:
        length = f"{len(waveform) / rate:.1f} s"
        name = html.escape(f"{label}, {length}" if label else f"sound of {length}")
        figures.append(
            '<figure style="margin:0; flex:1 1 15em; max-width:22em">'
            f'<figcaption>{name}</figcaption><audio controls aria-label="{name}"'
            ' preload="metadata" style="width:100%"'
            f' src="{_data_uri(waveform, rate)}"></audio></figure>'
        )
    style = "display:flex; flex-wrap:wrap; gap:0.8em"
    return HTML(f'<div style="{style}">{"".join(figures)}</div>')
