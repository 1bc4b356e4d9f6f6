"""How well anyone could do on the corpus of conversations: the best concordance that its cues allow.

The best possible scores beside those of tzirakis2021's systems; chapter `corpora`. The maker knows how feelings move
(`latents.MOTIONS`) and what each modality shows of them when (`latents/*.csv`). From that follows the conditional mean
of a label given the cues of a modality over a whole recording, as in kriging: cues are linear in the feelings, with
gain, offset and noise fitted on the training partition. Stretched to the labels' mean and deviation there, which is
what concordance rewards, it is the best prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_scripts.conversations.latents import DIMENSIONS, HOP, LAGS, MOTIONS, Motion
from serlib.metrics import concordance

OBSERVERS = {
    "text": (("text",), LAGS),
    "voice": (("voice",), LAGS),
    "both": (("text", "voice"), LAGS),
    "both, not shifted": (("text", "voice"), (0.0,)),
}
"""What each observer hears, and the lags of the annotators that it allows for."""

DEFINITION = (
    "concordance of the conditional mean of the labels given what the subject's words, voice, or both show over the"
    " whole recording, stretched to the mean and deviation of the training labels; 'both, not shifted' says what is"
    " felt now, without allowing for the annotators' lag. 'ccc' is over all frames of a partition, 'each' the mean over"
    " its recordings"
)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of a recording: labels and feelings, (frames, 3), and what each modality shows, NaN for nothing."""

    labels: np.ndarray
    felt: np.ndarray
    cues: Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Signs:
    """What one modality tells of one dimension: values at times, linear in the feeling.

    Attributes:
        times, values: (signs,); seconds, and what is shown.
        gain, offset, noise: value = gain x feeling + offset, with this variance around it.
    """

    times: np.ndarray
    values: np.ndarray
    gain: float = 1.0
    offset: float = 0.0
    noise: float = 1.0


def read(labels: Path, latents: Path) -> Known:
    """Read what was written of a recording."""
    table = np.genfromtxt(latents, delimiter=";", skip_header=1)[:, 1:]
    felt, text, voice = np.split(table, 3, axis=1)
    return Known(np.genfromtxt(labels, delimiter=";", skip_header=1)[:, 2:], felt, {"text": text, "voice": voice})


def signs(shown: np.ndarray) -> Signs:
    """Return what is shown, once for each stretch of frames with the same value, at its middle.

    Args:
        shown: (frames,) of one modality and dimension, NaN where there is nothing.
    """
    filled = np.where(np.isnan(shown), np.inf, shown)
    starts = np.flatnonzero(np.r_[True, filled[1:] != filled[:-1]])
    middles = HOP * (starts + np.r_[starts[1:], len(shown)] - 1) / 2
    there = ~np.isnan(shown[starts])
    return Signs(middles[there], shown[starts][there])


def expected(
    told: Sequence[Signs], motion: Motion, mean: float, variance: float, times: np.ndarray, lags: Sequence[float]
) -> np.ndarray:
    """Return the conditional mean of what annotators with these lags say at `times`, given signs of what is felt.

    Args:
        told: signs, each with its gain, offset and noise.
        motion: how the feeling moves.
        mean, variance: of the feeling.
        times: (frames,) seconds.
        lags: of the annotators, whose mean the labels are.
    """
    when = np.concatenate([one.times for one in told])
    gain = np.concatenate([np.full(len(one.times), one.gain) for one in told])
    noise = np.concatenate([np.full(len(one.times), one.noise) for one in told])
    surprise = np.concatenate([one.values - one.gain * mean - one.offset for one in told])
    among = variance * motion.correlation(when[:, None] - when) * gain[:, None] * gain + np.diag(noise)
    felt = times[:, None] - np.asarray(lags)  # when what is said at each time was felt
    towards = variance * np.mean([motion.correlation(column[:, None] - when) for column in felt.T], axis=0) * gain
    return mean + towards @ np.linalg.solve(among, surprise)


def ceilings(recordings: Mapping[str, Known], held_back: Mapping[str, str]) -> dict:
    """Return the best concordance of each observer over the development and over the test partition.

    Args:
        recordings: by id; those of the training partition decide gain, offset, noise and stretch.
        held_back: id to the modality that shows nothing of the feelings, or "". Its neutral cues are not looked at:
            that they are always neutral tells who hears a whole recording not to.

    Returns:
        {"definition": ..., partition: {"recordings": how many, observer: {"ccc": over all frames, "each": mean over
        recordings}}}, with a value for each dimension and their mean.
    """
    parts = {part: [id for id in recordings if id.lower().startswith(part)] for part in ("train", "devel", "test")}
    scores = {part: {name: {"ccc": {}, "each": {}} for name in OBSERVERS} for part in ("devel", "test")}
    for index, (dimension, motion) in enumerate(MOTIONS.items()):
        feeling = np.concatenate([recordings[id].felt[:, index] for id in parts["train"]])
        told = {
            modality: _signs(recordings, held_back, parts["train"], modality, index) for modality in ("text", "voice")
        }
        for name, (modalities, lags) in OBSERVERS.items():
            predicted = {
                id: expected(
                    [told[modality][id] for modality in modalities],
                    motion, feeling.mean(), feeling.var(), HOP * np.arange(len(one.labels)), lags,
                )
                for id, one in recordings.items()
            }  # fmt: skip
            labels = {id: one.labels[:, index] for id, one in recordings.items()}
            x, y = (np.concatenate([curves[id] for id in parts["train"]]) for curves in (labels, predicted))
            stretch = x.std() / max(y.std(), 1e-6)
            predicted = {id: x.mean() + stretch * (curve - y.mean()) for id, curve in predicted.items()}
            for part, table in scores.items():
                pairs = [(labels[id], predicted[id]) for id in parts[part]]
                whole = concordance(*(np.concatenate(curves) for curves in zip(*pairs, strict=True)))
                table[name]["ccc"][dimension] = whole
                table[name]["each"][dimension] = float(np.mean([concordance(*pair) for pair in pairs]))
    return {"definition": DEFINITION} | {
        part: {"recordings": len(parts[part])}
        | {name: {kind: _rounded(values) for kind, values in both.items()} for name, both in table.items()}
        for part, table in scores.items()
    }


def _signs(
    recordings: Mapping[str, Known], held_back: Mapping[str, str], train: Sequence[str], modality: str, index: int
) -> dict[str, Signs]:
    """Return what a modality tells of a dimension in each recording; `train` decides gain, offset and noise."""
    told = {
        id: signs(one.cues[modality][:, index] * (np.nan if held_back[id] == modality else 1))
        for id, one in recordings.items()
    }
    felt = [_at(recordings[id].felt[:, index], told[id].times) for id in train]
    x, y = np.concatenate(felt), np.concatenate([told[id].values for id in train])
    gain, offset, noise = 0.0, 0.0, 1.0  # nothing to learn from in a tiny corpus
    if len(x) > 2:
        gain, offset = np.polyfit(x, y, 1)
        noise = max(np.mean((y - gain * x - offset) ** 2), 1e-4)
    return {id: Signs(one.times, one.values, gain, offset, noise) for id, one in told.items()}


def _at(curve: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return np.interp(seconds, HOP * np.arange(len(curve)), curve)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(values[name], 4) for name in DIMENSIONS} | {
        "mean": round(float(np.mean([*values.values()])), 4)
    }
