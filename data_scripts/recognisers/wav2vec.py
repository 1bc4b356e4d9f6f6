"""Recognises speech with a wav2vec 2.0 of torchaudio, whose weights are downloaded once.

Source: Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations"; chapter
`corpora`.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from data_scripts.recognisers import Heard
from data_scripts.recognisers.ctc import beam_search, greedy
from serlib.corpora.corpus import Utterance
from serlib.features.waveform import read_waveform

log = logging.getLogger(__name__)

PIPELINE = "WAV2VEC2_ASR_BASE_960H"
WEIGHTS = {PIPELINE: "488fd4f16de84438ffc945334278c1b9fb9b7159a806c1080b16111a958c945d"}
"""SHA-256 of the weights that are published for a recogniser, as far as it is known."""

SHORTEST = 400
"""Samples that a clip is filled up to with zeros: what wav2vec 2.0 needs for one frame."""

WORD_END = "|"

Acoustics = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""From waveforms (batch, samples) and lengths (batch,) to logits (batch, frames, labels) and frames (batch,)."""


@dataclass(frozen=True)
class Recogniser:
    """An acoustic model with what belongs to it.

    Attributes:
        model: gives logits of the labels, some 50 times a second.
        labels: a character each, the first is CTC's blank, `|` ends a word.
        rate: samples per second that the model wants.
        weights: SHA-256 of the file that the model's weights are from; None if there is no such file.
    """

    model: Acoustics
    labels: Sequence[str]
    rate: int
    weights: str | None = None


def load_recogniser(pipeline: str, device: torch.device, checksum: str | None = None) -> Recogniser:
    """Load a recogniser of torchaudio; its weights (360 MB for the default) are downloaded once, by `torch.hub`.

    Nothing but tensors is read from their file, which is compared with a checksum before that, if it is there already.

    Args:
        pipeline: name in `torchaudio.pipelines`.
        device: where to compute.
        checksum: SHA-256 that the weights must have; None for the one in `WEIGHTS`, if there is one.

    Raises:
        ValueError: if torchaudio has no such one, the message names those it has; or if the weights are others.
        OSError: if the weights cannot be downloaded.
    """
    from torchaudio import pipelines

    names = [name for name in dir(pipelines) if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2ASRBundle)]
    if pipeline not in names:
        raise ValueError(f"torchaudio has no recogniser {pipeline!r}; expected one of {', '.join(names)}")
    bundle = getattr(pipelines, pipeline)
    path, checksum = (
        Path(torch.hub.get_dir(), "checkpoints", Path(bundle._path).name),
        checksum or WEIGHTS.get(pipeline),
    )
    if path.is_file():
        _check_weights(path, checksum)
    try:
        model = bundle.get_model(dl_kwargs={"weights_only": True}).to(device)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: expected the weights of {pipeline}, found something else; remove it") from error
    except OSError as error:
        raise OSError(
            f"cannot get the weights of {pipeline}: {error}; is there a network and a gigabyte free?"
        ) from error
    return Recogniser(model, bundle.get_labels(), int(bundle.sample_rate), _check_weights(path, checksum))


def _check_weights(path: Path, expected: str | None) -> str:
    """The SHA-256 of a file; raise ValueError if another is expected."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected and found != expected.lower():
        raise ValueError(f"{path}: expected weights with SHA-256 {expected}, found {found}; remove it to get them anew")
    if not expected:
        log.warning("%s: no checksum to compare its SHA-256 with, %s", path, found)
    return found


@dataclass(frozen=True)
class Wav2Vec:
    """A recogniser of torchaudio and how its labels are read.

    Attributes:
        recogniser: of `load_recogniser`, its model on `device`.
        decoder: `greedy` takes the likeliest label of each frame, `beam` the likeliest text, see `ctc.beam_search`.
        beam: texts that the beam search keeps.
        batch_seconds: length of the batches, which is noted: with models whose first layer normalises over time, as
            that of `PIPELINE` does, a transcript can depend on how much padding its batch has.
        device: where `recogniser.model` is.
        pipeline: its name, which is noted.
    """

    recogniser: Recogniser
    decoder: str = "greedy"
    beam: int = 25
    batch_seconds: float = 60.0
    device: torch.device | str = "cpu"
    pipeline: str = PIPELINE

    @property
    def settings(self) -> dict[str, Any]:
        """What the texts depend on."""
        return {
            "engine": "torchaudio",
            "pipeline": self.pipeline,
            "decoder": self.decoder,
            "beam": self.beam if self.decoder == "beam" else None,
            "batch_seconds": self.batch_seconds,
            "weights": self.recogniser.weights,
        }

    def hear(self, batches: Sequence[Sequence[Utterance]]) -> Iterator[Heard]:
        """Recognise batches, one after the other; one with a file that cannot be read is left out as a whole.

        Raises:
            RuntimeError: if a batch does not fit into memory.
        """
        for batch in batches:
            waveforms, failures = [], {}
            for u in batch:
                try:
                    waveforms.append(torch.from_numpy(read_waveform(u.audio, self.recogniser.rate)))
                except (OSError, ValueError) as error:
                    failures[u.id] = str(error)
            heard = [] if failures else self._recognise(waveforms)
            yield Heard(batch, dict(zip([u.id for u in batch], heard, strict=False)), failures)

    @torch.inference_mode()
    def _recognise(self, waveforms: list[Tensor]) -> list[str]:
        labels, device = self.recogniser.labels, self.device
        lengths = torch.tensor([max(len(waveform), SHORTEST) for waveform in waveforms])
        padded = pad_sequence([*waveforms, torch.zeros(SHORTEST)], batch_first=True)[:-1]
        try:
            logits, frames = self.recogniser.model(padded.to(device), lengths.to(device))
        except torch.OutOfMemoryError as error:
            raise RuntimeError(
                f"{len(waveforms)} utterances of up to {int(lengths.max()) / self.recogniser.rate:.1f} s do not fit "
                f"into the memory of {device}; give a smaller --batch-seconds"
            ) from error
        frames = torch.full((len(logits),), logits.shape[1]) if frames is None else frames
        scores, frames = logits.float().log_softmax(2), frames.to(logits.device)
        found = greedy(scores, frames) if self.decoder == "greedy" else beam_search(scores, frames, self.beam)
        heard = ("".join(labels[i] for i in row).lower() for row in found)
        return [" ".join(filter(None, text.split(WORD_END))) for text in heard]
