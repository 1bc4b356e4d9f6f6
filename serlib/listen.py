"""Small audio players for the chapters: hear beside the plot what the plot shows.
Each says its length, and its name to who cannot see the caption.

Waveforms are embedded as MP3, so a rendered page or a notebook on its own plays without
other files. Used by all chapters.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
import soundfile
from IPython.display import HTML

from serlib.corpora.corpus import Corpus
from serlib.features import RATE, read_waveform

AROUND = 0.2
"""Seconds of silence before and after a word: a player clips what is shorter."""


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
        length = f"{len(waveform) / rate:.1f}\u00a0s"  # in one line
        name = html.escape(f"{label}, {length}" if label else f"sound of {length}")
        figures.append(
            '<figure style="margin:0; flex:1 1 15em; max-width:22em">'
            f'<figcaption>{name}</figcaption><audio controls aria-label="{name}"'
            ' preload="metadata" style="width:100%"'
            f' src="{_data_uri(waveform, rate)}"></audio></figure>'
        )
    style = "display:flex; flex-wrap:wrap; gap:0.8em"
    return HTML(f'<div style="{style}">{"".join(figures)}</div>')


def words(corpus: Corpus, wanted: Sequence[str], voices: int = 1) -> HTML:
    """Return players of single words, cut out of where a voice first says them.

    Args:
        corpus: with word alignments.
        wanted: as the alignments spell them.
        voices: how many of those that say all of them are heard.

    Raises:
        ValueError: if no voice says all of them.
    """
    said = {}
    for one in corpus:
        for word in one.words:
            if word.label in wanted:
                said.setdefault((one.speaker, word.label), (one.audio, word))
    speakers = sorted({speaker for speaker, _ in said})
    able = [one for one in speakers if all((one, word) in said for word in wanted)]
    if not able:
        raise ValueError(f"no voice of the corpus says all of {', '.join(wanted)}")
    clips = []
    for speaker in able[:voices]:
        for word in wanted:
            path, place = said[speaker, word]
            first, after = round(place.start * RATE), round(place.end * RATE)
            sound = np.pad(read_waveform(path)[first:after], round(AROUND * RATE))
            clips.append((f"“{word}”, {speaker}", sound, RATE))
    return players(clips)
