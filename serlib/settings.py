"""How to train a system and how large, and the sizes that follow from its data.

Used by all five papers; taught in chapter `yoon2018`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Sizes:
    """Sizes that are only known once inputs are fitted.

    Attributes:
        dims: input to its last dimension, for instance `{"mfcc": 39, "prosody": 35}`.
        vocabulary: number of tokens, padding and unknown included; 0 for a system
            without text.
        vectors: (vocabulary, d) pretrained rows to start the embedding from, or None.
        outputs: of the last layer: classes, or dimensions of a curve.
    """

    dims: Mapping[str, int]
    vocabulary: int = 0
    vectors: torch.Tensor | None = None
    outputs: int = 4


ADDED = ("clip_norm", "sequence", "inputs", "decay_words")
"""Settings that there were not always. Where one has its default, a run is what it was
without it: it is left out of what is told of the run, and so out of its key. A further
setting belongs here, with a default that changes nothing.
"""


@dataclass(frozen=True)
class Settings:
    """How to train, and how large; one per profile. `model` holds what `System.build`
    takes.

    Attributes:
        epochs: at most this many passes over the training set.
        max_steps: at most this many updates, or None.
        batch_size: items per update.
        learning_rate, weight_decay: of Adam; the decay is an L2 penalty, whose gradient
            Adam scales like any other: where there is no other gradient, as at a word
            that is in no text of the batch, the step is the learning rate however small
            the penalty.
        decay_words: whether the penalty is on word vectors too, or on all else.
        decay: the learning rate of update n, counted from 0, is learning_rate / (1 +
            decay n).
        clip_value: gradients are clipped element-wise to ±clip_value; None for no
            clipping.
        clip_norm: gradients of all parameters together are shortened to this length if
            they are longer; None for no such clipping.
        check_every: epochs between two looks at the development set.
        patience: looks without a lower development loss before training stops.
        loss: name of one of the task's losses, for classes `softmax` (equation 2 of
            yoon2018) or `sigmoid` (one binary loss per class).
        max_frames, max_tokens: longer sequences are cut.
        sequence: recordings of the training part are cut into sequences of so many
            labels, the last of each may have fewer; None trains on whole items. Nothing
            else is cut: what is told of the others is told of the whole.
        frame_stride: mean over this many consecutive frames; 1 keeps every frame.
        standardise: scale acoustic features by the training folds' mean and deviation;
            yoon2018's code takes them raw.
        vocabulary: `train`: the words that occur twice in the training folds, or have a
            pretrained vector; those that occur once teach the unknown token. `corpus`:
            all words of the items that have a target, test texts too; yoon2018's code
            took those of all 10,039 transcripts.
        vectors: what words start from: `random`; `word2vec`, trained on the texts of
            each fold's training part; `text`, trained on a text that the corpus has
            beside its recordings, see `serlib.recordings.WordVectors`; `glove`, the
            file that `data_scripts.fetch_glove` fetches, or random vectors and a
            warning where it is not; the path of a file of vectors, or token to vector.
        transcripts: name or path of the transcripts that replace the reference text, or
            None.
        threads: of the CPU, per run. The nets are small: on an idle machine a second
            thread saves a third of the time at best, on a busy one it costs many times
            that, and another number of threads rounds differently.
        folds, seeds: how many of each are run when the caller does not say; None for
            all folds. No single run depends on them.
        inputs: options of inputs that take some, see `serlib.recordings.Options`.
        model: keyword arguments of `System.build`.
    """

    epochs: int = 300
    max_steps: int | None = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay_words: bool = True
    decay: float = 0.0
    clip_value: float | None = 10.0
    clip_norm: float | None = None
    check_every: float = 0.3
    patience: int = 8
    loss: str = "softmax"
    max_frames: int = 750
    max_tokens: int = 128
    sequence: int | None = None
    frame_stride: int = 1
    standardise: bool = True
    vocabulary: str = "train"
    vectors: str | Path | Mapping[str, np.ndarray] = "random"
    transcripts: str | Path | None = None
    threads: int = 1
    folds: int | None = None
    seeds: int = 10
    inputs: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
