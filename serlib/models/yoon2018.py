"""Audio, text and dual recurrent encoders, without and with attention: ARE, TRE, MDRE
and MDREA.

Yoon, Byun and Jung 2018, "Multimodal speech emotion recognition using audio and text"
(SLT). Taught in chapter `yoon2018`; equation numbers are the paper's.

The GRU is PyTorch's. Chung et al. 2014, whom the paper cites, multiply the state by the
reset gate before the candidate's recurrent matrix, tanh(W x + U (r * h)); PyTorch and
cuDNN multiply after it, tanh(W x + b + r * (U h + c)), and call z what Chung et al.
call 1 - z. Sizes are the same but for the second bias. TensorFlow's cell, the released
code's, is that of Chung et al.; `reset="before"` takes it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from serlib.batching import Batch
from serlib.inputs import Frames, Vector, Words
from serlib.models.layers import (
    ResetFirst,
    last_state,
    masked_softmax,
    orthogonal_,
    real,
    word_embedding,
)
from serlib.models.system import System, Variant
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES

GRUS = {"after": nn.GRU, "before": ResetFirst}
"""Where the reset gate acts: after the recurrent matrix of the candidate, or before."""

ACTIVATIONS = {"linear": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh}


class Dense(nn.Module):
    """x M + b, the linear layer of equations (2) to (5).

    The weights start uniform in ±0.25 and the bias at zero, as in the released code.

    Args:
        inputs, outputs: sizes.
        bias: `vector`, one number per output (the paper's b); `scalar`, one that all
            outputs share (the released code's). A shared bias on the logits cannot
            change the softmax.
    """

    def __init__(self, inputs: int, outputs: int, bias: str = "vector"):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs).uniform_(-0.25, 0.25))
        self.bias = nn.Parameter(
            torch.zeros(_choose("bias", bias, {"vector": outputs, "scalar": 1}))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs)."""
        return x @ self.weight + self.bias


class AudioEncoder(nn.Module):
    """Equation (1) over MFCC frames, then e = concat(h_ta, p) with the prosodic vector
    p.

    Args:
        sizes: of `mfcc` and `prosody`.
        hidden: size of the GRU state.
        dropout: share of the GRU's inputs that are zeroed. The released code drops
            outputs too, but the last state, which alone is used here, is taken before
            that.
        reset: where the GRU's reset gate acts, a key of `GRUS`.
    """

    def __init__(self, sizes: Sizes, hidden: int, dropout: float, reset: str = "after"):
        super().__init__()
        self.size = hidden + sizes.dims["prosody"]
        self.dropout = nn.Dropout(dropout)
        gru = _choose("reset", reset, GRUS)
        self.gru = gru(sizes.dims["mfcc"], hidden, batch_first=True)
        orthogonal_(self.gru)

    def forward(self, batch: Batch) -> Tensor:
        """Return e, (batch, hidden + prosody)."""
        states, _ = self.gru(self.dropout(batch["mfcc"]))  # (batch, frames, hidden)
        return torch.cat(
            [last_state(states, batch.lengths["mfcc"]), batch["prosody"]], dim=1
        )


class TextEncoder(nn.Module):
    """Equation (1) over embedded words.

    Args:
        sizes: vocabulary and pretrained vectors.
        hidden: size of the GRU state.
        embedding: size of a word vector.
        dropout: share of the GRU's inputs that are zeroed, and of the sequence of
            states, though not of the last state: so does the released code.
        reset: as for `AudioEncoder`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int,
        embedding: int,
        dropout: float,
        reset: str = "after",
    ):
        super().__init__()
        self.size = hidden
        self.embedding = word_embedding(sizes, embedding)
        self.dropout = nn.Dropout(dropout)
        self.gru = _choose("reset", reset, GRUS)(embedding, hidden, batch_first=True)
        orthogonal_(self.gru)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return all states h_t, (batch, words, hidden), and the last one, (batch,
        hidden).
        """
        states, _ = self.gru(self.dropout(self.embedding(batch["tokens"])))
        return self.dropout(states), last_state(states, batch.lengths["tokens"])


class ARE(nn.Module):
    """Audio recurrent encoder: logits e M + b, whose softmax is equation (2).

    Args:
        sizes: of `mfcc` and `prosody`, number of outputs.
        hidden: size of the GRU state.
        dropout_audio: see `AudioEncoder`.
        bias: see `Dense`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 200,
        dropout_audio: float = 0.3,
        bias: str = "vector",
    ):
        super().__init__()
        self.audio = AudioEncoder(sizes, hidden, dropout_audio)
        self.output = Dense(self.audio.size, sizes.outputs, bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        return self.output(self.audio(batch))


class TRE(nn.Module):
    """Text recurrent encoder: logits h_last M + b, whose softmax is equation (3).

    Args:
        sizes: vocabulary, pretrained vectors, number of outputs.
        hidden: size of the GRU state.
        embedding: size of a word vector.
        dropout_text: see `TextEncoder`.
        bias: see `Dense`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 200,
        embedding: int = 300,
        dropout_text: float = 0.7,
        bias: str = "vector",
    ):
        super().__init__()
        self.text = TextEncoder(sizes, hidden, embedding, dropout_text)
        self.output = Dense(self.text.size, sizes.outputs, bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        _, last = self.text(batch)
        return self.output(last)


class MDRE(nn.Module):
    """Multimodal dual recurrent encoder: logits concat(A, T) M + b with A = g(e), T =
    g'(h_last), equation (4).

    Args:
        sizes: of `mfcc` and `prosody`, vocabulary, pretrained vectors, number of
            classes.
        hidden: size of both GRU states.
        embedding: size of a word vector.
        dropout_audio, dropout_text: see the encoders.
        activation: what follows the linear layers g and g', which halve the size:
            `linear` is nothing, as in the released code; the paper says "feed-forward
            neural network", so `relu` and `tanh` are there to compare.
        bias: see `Dense`.
        reset: see `AudioEncoder`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 200,
        embedding: int = 300,
        dropout_audio: float = 0.3,
        dropout_text: float = 0.7,
        activation: str = "linear",
        bias: str = "vector",
        reset: str = "after",
    ):
        super().__init__()
        self.audio = AudioEncoder(sizes, hidden, dropout_audio, reset)
        self.text = TextEncoder(sizes, hidden, embedding, dropout_text, reset)
        self.g_audio = _halve(self.audio.size, activation, bias)
        self.g_text = _halve(self.text.size, activation, bias)
        self.output = Dense(
            self.audio.size // 2 + self.text.size // 2, sizes.outputs, bias
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        _, last = self.text(batch)
        encodings = [self.g_audio(self.audio(batch)), self.g_text(last)]  # A and T
        return self.output(torch.cat(encodings, dim=1))


class MDREA(nn.Module):
    """MDRE with attention over the words, conditioned on the audio: logits concat(Z, A)
    M + b, equation (5).

    The dot product e·h_t wants vectors of one size, so e goes through a linear layer to
    the size of h_t first, as in the released code.

    Args:
        sizes, hidden, embedding, dropout_audio, dropout_text, activation, bias: as for
        `MDRE`.
        readout: what stands beside Z in the concatenation: `encoding` is A = g(e) of
            equation (4), as the paper writes; `projected` is the projection of e that
            attention used, as in the released code, without g.

    Attributes:
        keep_attention: set it to True to have every forward pass leave its weights in
            `attention`.
        attention: (batch, words) weights a_t of the last forward pass, zero on padding;
            None until then.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 200,
        embedding: int = 300,
        dropout_audio: float = 0.3,
        dropout_text: float = 0.7,
        activation: str = "linear",
        bias: str = "vector",
        readout: str = "encoding",
    ):
        super().__init__()
        self.keep_attention = False
        self.attention: Tensor | None = None
        self.audio = AudioEncoder(sizes, hidden, dropout_audio)
        self.text = TextEncoder(sizes, hidden, embedding, dropout_text)
        self.projection = Dense(self.audio.size, self.text.size, bias)
        readouts = {"encoding": self.audio.size // 2, "projected": self.text.size}
        beside = _choose("readout", readout, readouts)
        self.g_audio = (
            _halve(self.audio.size, activation, bias) if readout == "encoding" else None
        )
        self.output = Dense(self.text.size + beside, sizes.outputs, bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        e = self.audio(batch)
        states, _ = self.text(batch)  # (batch, words, hidden)
        query = self.projection(e)  # (batch, hidden)
        scores = (states @ query[:, :, None]).squeeze(2)  # (batch, words)
        weights = masked_softmax(
            scores, real(batch.lengths["tokens"], scores.shape[1], scores.device)
        )
        if self.keep_attention:
            self.attention = weights.detach()
        attended = (weights[:, None] @ states).squeeze(1)  # Z, (batch, hidden)
        beside = query if self.g_audio is None else self.g_audio(e)
        return self.output(torch.cat([attended, beside], dim=1))


def _halve(size: int, activation: str, bias: str) -> nn.Sequential:
    return nn.Sequential(
        Dense(size, size // 2, bias), _choose("activation", activation, ACTIVATIONS)()
    )


def _choose(option: str, value: str, values: dict):
    if value not in values:
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(values)}")
    return values[value]


AUDIO = {"mfcc": Frames("mfcc"), "prosody": Vector("prosody")}
TEXT = {"tokens": Words()}

# The released code's sizes and rates.
PAPER = Settings(vectors="glove")
LARGE_AUDIO = {"hidden": 200, "dropout_audio": 0.3}
LARGE_TEXT = {"hidden": 200, "embedding": 300, "dropout_text": 0.7}

# Half a minute per run on one core: eight frames in one, a sixth of the units, rarer
# looks. All folds, one seed: a fold has other test utterances, and other luck too.
QUICK = Settings(
    epochs=30,
    max_steps=None,
    batch_size=64,
    learning_rate=2e-3,
    check_every=1.0,
    patience=4,
    frame_stride=8,
    folds=5,
    seeds=1,
)
SMALL_AUDIO = {"hidden": 32, "dropout_audio": 0.3}
SMALL_TEXT = {"hidden": 32, "embedding": 100, "dropout_text": 0.7}


def _system(
    name: str,
    summary: str,
    eats: dict,
    build: type[nn.Module],
    small: dict,
    large: dict,
) -> System:
    settings = {
        "quick": replace(QUICK, model=small),
        "paper": replace(PAPER, model=large),
    }
    protocol = "random-folds"
    return System(name, summary, eats, CLASSES, build, settings, protocol)


_REFERENCE = [
    _system(
        "are",
        "GRU over MFCC, last state and prosody",
        AUDIO,
        ARE,
        SMALL_AUDIO,
        LARGE_AUDIO,
    ),
    _system("tre", "GRU over words, last state", TEXT, TRE, SMALL_TEXT, LARGE_TEXT),
    _system(
        "mdre",
        "both encoders, concatenated",
        AUDIO | TEXT,
        MDRE,
        SMALL_AUDIO | SMALL_TEXT,
        LARGE_AUDIO | LARGE_TEXT,
    ),
    _system(
        "mdrea",
        "audio attends to words",
        AUDIO | TEXT,
        MDREA,
        SMALL_AUDIO | SMALL_TEXT,
        LARGE_AUDIO | LARGE_TEXT,
    ),
]
_RECOGNISED = [s.on_transcripts("asr-5.53") for s in _REFERENCE if "tokens" in s.inputs]
SYSTEMS: dict[str, System] = {s.name: s for s in _REFERENCE + _RECOGNISED}
"""Rows of Table 1. The ASR systems read transcripts that come with the synthetic
corpus, with a word error rate of 5.53 %, or those that `runs.plan` is told.
"""

VARIANTS = {
    "loss sigmoid": Variant("mdre", {"loss": "sigmoid"}),
    "features as they come": Variant("mdre", {"standardise": False}),
    "vocabulary of all texts": Variant("mdre", {"vocabulary": "corpus"}),
    "ReLU after g": Variant("mdre", {"model": {"activation": "relu"}}),
    "reset before the matrix": Variant("mdre", {"model": {"reset": "before"}}),
    "one bias per layer": Variant("mdre", {"model": {"bias": "scalar"}}),
    "readout projected": Variant("mdrea", {"model": {"readout": "projected"}}),
}
"""What the paper leaves open, each with the choice that is not the default."""
