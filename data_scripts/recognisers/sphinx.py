"""Recognises speech with PocketSphinx, whose model of US English lies in its wheel: no download, no GPU.

Source: Huggins-Daines et al. 2006, "PocketSphinx: A free, real-time continuous speech recognition system for hand-held
devices"; chapter `corpora`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from data_scripts.recognisers import Heard
from serlib import parallel
from serlib.corpora.corpus import Utterance
from serlib.features.waveform import read_waveform

if TYPE_CHECKING:
    from pocketsphinx import Decoder

RATE = 16_000
"""Samples per second that the model was trained on."""

DITHER = True
"""Whether noise of half a bit is added to each sample. Without it PocketSphinx hears words in stretches of zeros, which
are no silence to it; what it costs elsewhere, study `recognition-settings` measures.
"""

SEED = 1
"""Of that noise."""


@dataclass(frozen=True)
class PocketSphinx:
    """PocketSphinx with its own model, dictionary and language model of US English.

    Attributes:
        jobs: processes. No text depends on it: each utterance is heard as if it were the first.
    """

    jobs: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """What the texts depend on.

        Raises:
            ImportError: if PocketSphinx is not installed.
        """
        try:
            found = version("pocketsphinx")
        except ImportError as error:
            raise ImportError(
                'PocketSphinx is not installed: pip install "serlib[speech]", or pip install pocketsphinx'
            ) from error
        return {"engine": "pocketsphinx", "version": found, "model": "en-us", "dither": DITHER}

    def hear(self, batches: Sequence[Sequence[Utterance]]) -> Iterator[Heard]:
        """Recognise batches, as many at a time as there are jobs.

        Raises:
            RuntimeError: if a process was killed.
        """
        if self.jobs == 1 or len(batches) < 2:
            yield from map(_hear, batches)
            return
        tasks = (delayed(_hear)(batch) for batch in batches)
        try:
            yield from parallel.run(tasks, min(self.jobs, len(batches)), ordered=False, batch_size=1)
        except TerminatedWorkerError as error:
            raise RuntimeError(
                "a process that recognises speech was killed, perhaps for want of memory; run again to go on, with "
                "fewer --jobs"
            ) from error


def recognise(waveform: np.ndarray, *, dither: bool = DITHER) -> str:
    """Recognise one utterance.

    Nothing is left of the utterances before it: the mean of the cepstra is taken over the whole utterance (`full_utt`),
    and the estimate of the noise starts anew (`reinit_feat`). The sound is taken at its own level.

    Args:
        waveform: (samples,) in [-1, 1] at `RATE`.
        dither: add noise of half a bit, always the same.

    Returns:
        words in lower case; none if there is no speech.
    """
    samples = np.round(waveform * 32767).astype("<i2")
    decoder = _decoder(dither)
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return "" if found is None else found.hypstr


@cache
def _decoder(dither: bool) -> Decoder:
    """The decoder of this process, which takes a third of a second to load."""
    from pocketsphinx import Decoder  # only here: the other engine works without

    return Decoder(loglevel="FATAL", dither=dither, seed=SEED)


def _hear(batch: Sequence[Utterance]) -> Heard:
    texts, failures = {}, {}
    for u in batch:
        try:
            texts[u.id] = recognise(read_waveform(u.audio, RATE))
        except (OSError, ValueError) as error:
            failures[u.id] = str(error)
    return Heard(batch, texts, failures)
