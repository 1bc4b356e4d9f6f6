"""Studies of speech recognition: how many words PocketSphinx gets wrong, of whom, and whether the sound's level or
silence around it matter."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plan import Job, Plan, Row

from data_scripts.recognisers import sphinx
from data_scripts.transcribe import transcribe
from serlib.corpora import load, read_transcripts, word_error_rates
from serlib.corpora.corpus import Corpus
from serlib.features import read_waveform
from serlib.files import cache_folder

EVERY = {"ravdess": 1, "synthetic": 50}
"""Of how many utterances one is recognised, in the order of their names."""

CHOSEN_ON = ("Actor_01", "Actor_02")
"""The speakers of RAVDESS on whom the settings were compared."""

SILENCE = np.zeros(4_000, np.float32)
LOUD = 0.5

WAYS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], bool]] = {
    "as it comes": (lambda sound: sound, False),
    "dithered": (lambda sound: sound, True),
    "peak at 0.5": (lambda sound: sound * (LOUD / max(np.abs(sound).max(), 1e-9)), False),
    "dithered, 0.25 s of silence around": (lambda sound: np.concatenate([SILENCE, sound, SILENCE]), True),
}
"""What may be done to a sound before it is recognised, and whether the recogniser dithers."""


def _sample(name: str, every: int) -> Corpus:
    corpus = load(name, progress=False).four_class()
    return corpus.select([u.id for u in corpus.utterances[::every]])


def _recognition(job: Job) -> list[Row]:
    corpus, engine = _sample(job["corpus"], job["every"]), sphinx.PocketSphinx()
    part = f"-{job['every']}" if job["every"] > 1 else ""
    out = cache_folder() / f"{corpus.name}-asr" / f"pocketsphinx{part}.tsv"
    if not out.is_file():
        transcribe(corpus, engine, out, progress=False)
    made = json.loads(out.with_name(f"{out.stem}.wer.json").read_text(encoding="utf-8"))
    if not engine.settings.items() <= made.items() or made["utterances"] != len(corpus):
        raise ValueError(f"{out}: expected {len(corpus)} utterances by {engine.settings}; remove it and run again")
    rows, shown = [], []
    for group, members in word_error_rates(corpus, read_transcripts(out)).items():
        if group == "all":
            rows.append({"group": "all", "member": "", **members})
        elif members not in shown:  # on RAVDESS every speaker is a session
            rows += [{"group": group, "member": name, **rates} for name, rates in members.items()]
            shown.append(members)
    return rows


def _setting(job: Job) -> list[Row]:
    corpus = _sample(job["corpus"], job["every"])
    corpus = corpus.select([u.id for u in corpus if u.speaker in CHOSEN_ON])
    change, dither = WAYS[job["way"]]
    texts = {u.id: sphinx.recognise(change(read_waveform(u.audio)), dither=dither) for u in corpus}
    return [word_error_rates(corpus, texts)["all"]]


STUDIES: dict[str, Plan] = {
    "recognition": Plan(
        lambda: [{"corpus": name, "every": every} for name, every in EVERY.items()],
        _recognition,
        lambda job: False,
        ("serlib.corpora.transcripts", "serlib.features.waveform"),
    ),
    "recognition-settings": Plan(
        lambda: [{"corpus": "ravdess", "every": 1, "way": way} for way in WAYS],
        _setting,
        lambda job: False,
        ("serlib.corpora.transcripts", "serlib.features.waveform"),
    ),
}
