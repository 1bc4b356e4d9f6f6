"""What a run needs to know about a system: how to build it, what it eats, and its
settings.

Every paper's module lists its systems in a dictionary `SYSTEMS`, which
`serlib.training` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from serlib.corpora.records import Utterance


@dataclass(frozen=True)
class Inputs:
    """Sizes that are only known once features and vocabulary are.

    Attributes:
        dims: feature name to its last dimension, for instance `{"mfcc": 39, "prosody":
            35}`.
        vocabulary: number of tokens, padding and unknown included; 0 for a system
            without text.
        vectors: (vocabulary, d) pretrained rows to start the embedding from, or None.
        classes: number of classes.
    """

    dims: Mapping[str, int]
    vocabulary: int = 0
    vectors: torch.Tensor | None = None
    classes: int = 4


@dataclass(frozen=True)
class Settings:
    """How to train, and how large; one per profile. `model` holds what `System.build`
    takes.

    Attributes:
        epochs: at most this many passes over the training set.
        max_steps: at most this many updates, or None.
        batch_size: utterances per update.
        learning_rate, weight_decay: of Adam; the decay is an L2 penalty on all
            parameters.
        decay: the learning rate of update n, counted from 0, is learning_rate / (1 +
            decay n).
        clip_value: gradients are clipped element-wise to ±clip_value; None for no
            clipping.
        check_every: epochs between two looks at the development set.
        patience: looks without a lower development loss before training stops.
        loss: `softmax` (equation 2 of yoon2018) or `sigmoid` (one binary loss per
            class).
        max_frames, max_tokens: longer sequences are cut.
        frame_stride: mean over this many consecutive frames; 1 keeps every frame.
        standardise: scale acoustic features by the training folds' mean and deviation;
            yoon2018's code takes them raw.
        vocabulary: `train`: the words that occur twice in the training folds, or have a
            pretrained vector; those that occur once teach the unknown token. `corpus`:
            all words of the four classes, test texts too; yoon2018's code took those of
            all 10,039 transcripts.
        threads: of the CPU, per run. The nets are small: on an idle machine a second
            thread saves a third of the time at best, on a busy one it costs many times
            that, and another number of threads rounds differently.
        folds, seeds: how many of each a run takes when the caller does not say; None
            for all folds.
        model: keyword arguments of `System.build`.
    """

    epochs: int = 300
    max_steps: int | None = 10_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay: float = 0.0
    clip_value: float | None = 10.0
    check_every: float = 0.3
    patience: int = 8
    loss: str = "softmax"
    max_frames: int = 750
    max_tokens: int = 128
    frame_stride: int = 1
    standardise: bool = True
    vocabulary: str = "train"
    threads: int = 1
    folds: int | None = None
    seeds: int = 10
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class System:
    """One row of a paper's table.

    Attributes:
        name: key of the system, for instance `mdre`.
        summary: one line for tables and progress bars.
        features: names of what the model eats, of `serlib.features.FEATURES` and
            `tokens`.
        build: `build(inputs, **settings.model)` returns the model.
        settings: profile (`quick`, `paper`) to Settings.
        protocol: the paper's own protocol, a key of `serlib.protocols.PROTOCOLS`.
        transcripts: name of the ASR transcripts that replace the reference text, or
            None.
        derived: further inputs, made from an utterance's record whenever a fold is
            prepared and not kept on disk: name to `derive(utterance, settings)`, which
            returns integers, (steps,) or (steps, k), such as where the words lie. They
            are neither cut nor averaged nor standardised: `derive` knows the settings.
    """

    name: str
    summary: str
    features: tuple[str, ...]
    build: Callable[..., nn.Module]
    settings: Mapping[str, Settings]
    protocol: str
    transcripts: str | None = None
    derived: Mapping[str, Callable[[Utterance, Settings], np.ndarray]] = field(
        default_factory=dict
    )
