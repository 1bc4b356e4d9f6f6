"""Learned alignment between speech frames and words: eight systems, from one modality
alone to attention over both.

Xu, Zhang, Han, Wang, Peng and Li 2019, "Learning alignment for multimodal emotion
recognition from speech" (Interspeech). Taught in chapter `xu2019`; equation numbers are
the paper's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from serlib.batching import Batch
from serlib.inputs import Frames, Spans, Words
from serlib.models.layers import BiLSTM, masked_softmax, real, word_embedding
from serlib.models.system import System, Variant
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES

AT_ONCE = 2**24
"""Numbers of a hidden layer between words and frames that are held at a time, 64 MiB in
single precision; or those of one word of every utterance in the batch, if these are
more.
"""


class SpeechEncoder(nn.Module):
    """Equations (1) to (3): a BiLSTM over the 34 short-term features of each frame.

    Args:
        sizes: of `short_term`.
        hidden: size of the state of each direction.
        dropout: share of the LSTM's inputs that are zeroed.
    """

    def __init__(self, sizes: Sizes, hidden: int, dropout: float):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.lstm = BiLSTM(sizes.dims["short_term"], hidden)
        self.size = self.lstm.size

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the states s_i, (batch, frames, 2 hidden), and which are real, (batch,
        frames).
        """
        states = self.lstm(
            self.dropout(batch["short_term"]), batch.lengths["short_term"]
        )
        return states, real(batch.lengths["short_term"], states.shape[1], states.device)


class TextEncoder(nn.Module):
    """Equations (4) to (6): a BiLSTM over word vectors.

    Args:
        sizes: vocabulary and pretrained vectors.
        hidden: size of the state of each direction.
        embedding: size of a word vector.
        dropout: share of the LSTM's inputs that are zeroed.
    """

    def __init__(self, sizes: Sizes, hidden: int, embedding: int, dropout: float):
        super().__init__()
        self.embedding = word_embedding(sizes, embedding)
        self.dropout = nn.Dropout(dropout)
        self.lstm = BiLSTM(embedding, hidden)
        self.size = self.lstm.size

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the states h_j, (batch, words, 2 hidden), and which are real, (batch,
        words).
        """
        states = self.lstm(
            self.dropout(self.embedding(batch["tokens"])), batch.lengths["tokens"]
        )
        return states, real(batch.lengths["tokens"], states.shape[1], states.device)


class Pooling(nn.Module):
    """One vector from many states.

    Args:
        size: of a state.
        pooling: `attention`, the sum weighted by softmax(u·s_i), as in Mirsamadi et al.
            2017, whose structure the paper takes for its single modalities; or `max` or
            `mean` over the steps.
    """

    def __init__(self, size: int, pooling: str = "attention"):
        super().__init__()
        if pooling not in ("attention", "max", "mean"):
            raise ValueError(f"pooling is {pooling!r}; expected attention, max or mean")
        self.pooling = pooling
        self.score = nn.Linear(size, 1, bias=False) if pooling == "attention" else None

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """(batch, steps, size) states and (batch, steps) mask to (batch, size)."""
        if self.pooling == "max":
            return states.masked_fill(~mask[:, :, None], float("-inf")).amax(dim=1)
        scores = (
            self.score(states).squeeze(2)
            if self.score is not None
            else torch.zeros_like(mask, dtype=states.dtype)
        )
        return (masked_softmax(scores, mask)[:, None] @ states).squeeze(1)


class Output(nn.Module):
    """Equation (14): logits c W or, as the paper prints it, ReLU(c W), without a bias.

    Args:
        size, classes: of W; 200 x 4 in the paper.
        relu: put the ReLU there. It stops the gradient of every logit below zero, so
            that a class may never learn; by default the systems leave it out. `layer`
            is another reading of "an FC layer with ReLU and a softmax layer": the
            softmax has a matrix of its own, classes x classes, after the ReLU.

    Raises:
        ValueError: if there is no such reading.
    """

    def __init__(self, size: int, classes: int, relu: bool | str):
        super().__init__()
        if relu not in (False, True, "layer"):
            raise ValueError(f"relu is {relu!r}; expected False, True or 'layer'")
        self.linear = nn.Linear(size, classes, bias=False)
        self.relu = nn.ReLU() if relu else nn.Identity()
        if relu == "layer":
            self.relu = nn.Sequential(self.relu, nn.Linear(classes, classes))

    def forward(self, vector: Tensor) -> Tensor:
        """(batch, size) to (batch, classes)."""
        return self.relu(self.linear(vector))


class LinearScore(nn.Module):
    """Equation (7) as printed: tanh(u·s_i + v·h_j + b), each head on its own slice of
    the states.

    "5 attention heads, each of which includes 40 weights" is then a u and a v of 40
    numbers per head, and the five slices make up the state of 200. All words rank the
    frames of a head alike, and no weight is more than e² times another.

    Args:
        size: of both states, `heads` times the weights of a head.
        heads: how many.
    """

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.u = nn.Parameter(_uniform(size, size // heads))
        self.v = nn.Parameter(_uniform(size, size // heads))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, speech: Tensor, text: Tensor) -> Tensor:
        """(batch, frames, size) and (batch, words, size) to scores a_ji, (batch, heads,
        words, frames).
        """
        from_speech = (
            (speech * self.u).unflatten(2, (self.heads, -1)).sum(3)
        )  # (batch, frames, heads)
        from_text = (text * self.v).unflatten(2, (self.heads, -1)).sum(
            3
        ) + self.bias  # (batch, words, heads)
        return torch.tanh(
            from_speech.transpose(1, 2)[:, :, None]
            + from_text.transpose(1, 2)[:, :, :, None]
        )


class HiddenScore(nn.Module):
    """Equation (7) with the hidden layer of Bahdanau et al. 2015, which the paper
    cites: w·tanh(U s_i + V h_j + b).

    "5 attention heads, each of which includes 40 weights" is then a layer of 40 units
    per head. Every pair of a word and a frame has a layer of its own, so it is computed
    for some words at a time, `AT_ONCE` numbers but at least one word, and computed
    again in the backward pass if there are more: memory no longer grows with the number
    of words, at the price of a third pass.

    Args:
        size: of both states.
        heads: how many.
        units: of each head's layer.
    """

    def __init__(self, size: int, heads: int, units: int):
        super().__init__()
        self.heads = heads
        self.speech = nn.Linear(size, heads * units, bias=False)  # U
        self.text = nn.Linear(size, heads * units)  # V and b
        self.w = nn.Parameter(_uniform(heads * units, units).view(heads, units))

    def forward(self, speech: Tensor, text: Tensor) -> Tensor:
        """(batch, frames, size) and (batch, words, size) to scores a_ji, (batch, heads,
        words, frames).
        """
        frames = (
            self.speech(speech).unflatten(2, (self.heads, -1)).permute(2, 0, 1, 3)
        )  # (heads, batch, frames, units)
        words = self.text(text).unflatten(2, (self.heads, -1)).permute(2, 0, 1, 3)
        parts = words.split(max(1, AT_ONCE // frames.numel()), dim=2)
        if len(parts) == 1 or not torch.is_grad_enabled():
            scores = [self._part(frames, part, self.w) for part in parts]
        else:
            again = {"use_reentrant": False, "preserve_rng_state": False}
            scores = [
                checkpoint(self._part, frames, part, self.w, **again) for part in parts
            ]
        return torch.cat(scores, dim=2).transpose(0, 1)

    @staticmethod
    def _part(frames: Tensor, words: Tensor, w: Tensor) -> Tensor:
        layer = torch.tanh(
            words[:, :, :, None] + frames[:, :, None]
        )  # (heads, batch, words, frames, units)
        return (layer.flatten(1, 3) @ w[:, :, None]).view(layer.shape[:-1])


class Learned(nn.Module):
    """Equations (7) to (9) with several heads: what each word takes from the frames.

    Args:
        size: of both states, a multiple of `heads`.
        heads: how many; each sums up its own slice of the speech states, so that the
            aligned vector is as long as one.
        units: of each head's layer, if the score is `hidden`; a head of a linear one
            has size / heads weights.
        score: `linear` is `LinearScore`, `hidden` is `HiddenScore`.
    """

    def __init__(self, size: int, heads: int, units: int, score: str):
        super().__init__()
        if score not in ("linear", "hidden"):
            raise ValueError(f"score is {score!r}; expected linear or hidden")
        if size % heads:
            raise ValueError(
                f"states of {size} numbers cannot be cut into {heads} equal slices;"
                " change heads or hidden"
            )
        self.heads = heads
        self.score = (
            LinearScore(size, heads)
            if score == "linear"
            else HiddenScore(size, heads, units)
        )

    def forward(
        self, speech: Tensor, text: Tensor, frames: Tensor, batch: Batch
    ) -> Tensor:
        """Return weights α_ji, (batch, heads, words, frames), of which those of a word
        add up to one.

        Args:
            speech: (batch, frames, size) states s_i.
            text: (batch, words, size) states h_j.
            frames: (batch, frames) which frames are real.
            batch: not looked at.
        """
        scores = self.score(speech, text)
        return masked_softmax(scores, frames[:, None, None].expand_as(scores))


class Given(nn.Module):
    """The hard alignment of section 4.3: a word takes the mean over the frames in which
    it is spoken.

    A token without a span, such as a punctuation mark, takes nothing: zeros.
    """

    heads = 1

    def forward(
        self, speech: Tensor, text: Tensor, frames: Tensor, batch: Batch
    ) -> Tensor:
        """Return weights, (batch, 1, words, frames); those of a word add up to one, or
        are all zero.

        Args:
            speech: (batch, frames, size) states s_i.
            text: not looked at.
            frames: (batch, frames) which frames are real.
            batch: whose `spans` give the first frame of each word and the one after its
                last.
        """
        step = torch.arange(speech.shape[1], device=speech.device)
        first, after = batch["spans"][:, :, :1], batch["spans"][:, :, 1:]
        inside = (
            (first <= step) & (step < after) & frames[:, None]
        )  # (batch, words, frames)
        return (inside / inside.sum(dim=2, keepdim=True).clamp(min=1))[:, None].to(
            speech.dtype
        )


class Speech(nn.Module):
    """BiLSTM over frames, attention, logits: "LSTM+Attn", speech-only in Table 1.

    Args:
        sizes: of `short_term`, number of outputs.
        hidden: size of the state of each direction.
        dropout: see `SpeechEncoder`.
        pooling: see `Pooling`.
        relu: see `Output`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 100,
        dropout: float = 0.0,
        pooling: str = "attention",
        relu: bool | str = False,
    ):
        super().__init__()
        self.speech = SpeechEncoder(sizes, hidden, dropout)
        self.pool = Pooling(self.speech.size, pooling)
        self.output = Output(self.speech.size, sizes.outputs, relu)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        return self.output(self.pool(*self.speech(batch)))


class Text(nn.Module):
    """BiLSTM over words, attention, logits: "LSTM+Attn", text-only in Table 1.

    Args:
        sizes: vocabulary, pretrained vectors, number of outputs.
        hidden: size of the state of each direction.
        embedding: size of a word vector.
        dropout: see `TextEncoder`.
        pooling: see `Pooling`.
        relu: see `Output`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 100,
        embedding: int = 300,
        dropout: float = 0.0,
        pooling: str = "attention",
        relu: bool | str = False,
    ):
        super().__init__()
        self.text = TextEncoder(sizes, hidden, embedding, dropout)
        self.pool = Pooling(self.text.size, pooling)
        self.output = Output(self.text.size, sizes.outputs, relu)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        return self.output(self.pool(*self.text(batch)))


class Concat(nn.Module):
    """Both encoders, each pooled to a vector, side by side: "Concat" (section 4.3).

    Args:
        sizes: of `short_term`, vocabulary, pretrained vectors, number of outputs.
        hidden: size of the state of each direction of both encoders.
        embedding: size of a word vector.
        dropout: see the encoders.
        pooling: see `Pooling`; the paper says "pooling or attention".
        relu: see `Output`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 100,
        embedding: int = 300,
        dropout: float = 0.0,
        pooling: str = "attention",
        relu: bool | str = False,
    ):
        super().__init__()
        self.speech = SpeechEncoder(sizes, hidden, dropout)
        self.text = TextEncoder(sizes, hidden, embedding, dropout)
        self.pool_speech = Pooling(self.speech.size, pooling)
        self.pool_text = Pooling(self.text.size, pooling)
        self.output = Output(self.speech.size + self.text.size, sizes.outputs, relu)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        pooled = [
            self.pool_speech(*self.speech(batch)),
            self.pool_text(*self.text(batch)),
        ]
        return self.output(torch.cat(pooled, dim=1))


class Fusion(nn.Module):
    """Each word, beside what it takes from the frames, through a BiLSTM: equations (10)
    to (14).

    Args:
        sizes: of `short_term`, vocabulary, pretrained vectors, number of outputs.
        alignment: gives the weights of the frames for each word; its `heads` each sum
            up a slice of the speech states.
        hidden: size of the state of each direction of all three BiLSTMs.
        embedding: size of a word vector.
        dropout: see the encoders.
        relu: see `Output`.

    Attributes:
        keep_attention: set it to True to have every forward pass leave its weights in
            `attention`.
        attention: (batch, heads, words, frames) weights of the last forward pass, zero
            on padding; None until then.
    """

    def __init__(
        self,
        sizes: Sizes,
        alignment: Learned | Given,
        hidden: int,
        embedding: int,
        dropout: float,
        relu: bool | str,
    ):
        super().__init__()
        self.keep_attention = False
        self.attention: Tensor | None = None
        self.speech = SpeechEncoder(sizes, hidden, dropout)
        self.text = TextEncoder(sizes, hidden, embedding, dropout)
        self.alignment = alignment
        self.fusion = BiLSTM(self.speech.size + self.text.size, hidden)
        self.pool = Pooling(self.fusion.size, "max")
        self.output = Output(self.fusion.size, sizes.outputs, relu)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        speech, frames = self.speech(batch)
        text, words = self.text(batch)
        weights = self.alignment(
            speech, text, frames, batch
        )  # (batch, heads, words, frames)
        if self.keep_attention:
            self.attention = weights.detach() * words[:, None, :, None]
        slices = speech.unflatten(2, (self.alignment.heads, -1)).transpose(
            1, 2
        )  # (batch, heads, frames, slice)
        aligned = (
            (weights @ slices).transpose(1, 2).flatten(2)
        )  # s̃_j, (batch, words, 2 hidden)
        fused = self.fusion(torch.cat([aligned, text], dim=2), batch.lengths["tokens"])
        return self.output(self.pool(fused, words))


class Aligned(Fusion):
    """The proposed model, with the alignment learned by attention, equations (7) to
    (9).

    Args:
        sizes, hidden, embedding, dropout, relu: as for `Fusion`.
        heads, units, score: see `Learned`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 100,
        embedding: int = 300,
        heads: int = 5,
        units: int = 40,
        score: str = "linear",
        dropout: float = 0.0,
        relu: bool | str = False,
    ):
        super().__init__(
            sizes,
            Learned(2 * hidden, heads, units, score),
            hidden,
            embedding,
            dropout,
            relu,
        )


class Hard(Fusion):
    """The frames of each word from a forced alignment: "Hard alignment" in Table 2.

    Args:
        sizes, hidden, embedding, dropout, relu: as for `Fusion`.
    """

    def __init__(
        self,
        sizes: Sizes,
        hidden: int = 100,
        embedding: int = 300,
        dropout: float = 0.0,
        relu: bool | str = False,
    ):
        super().__init__(sizes, Given(), hidden, embedding, dropout, relu)


def _uniform(size: int, fan: int) -> Tensor:
    return torch.empty(size).uniform_(-(fan**-0.5), fan**-0.5)


AUDIO = {"short_term": Frames("short_term")}
TEXT = {"tokens": Words()}
SPANS = {"spans": Spans("short_term")}

# The paper's sizes, rate and longest utterance, 20 s. It names no batch size, number of
# epochs or development set: what is not here is as in yoon2018.
PAPER = Settings(learning_rate=1e-3, max_frames=2000, vectors="glove", seeds=5)
LARGE_AUDIO = {"hidden": 100}
LARGE_TEXT = {"hidden": 100, "embedding": 300}
LARGE_HEADS = {"heads": 5, "units": 40}

# Half a minute per run on one core. Chosen on development losses of fold 2, seed 1, in
# nine trial runs: eight frames averaged in place of six, and twice the learning rate,
# took less time and lost nothing. No test score was looked at.
QUICK = Settings(
    epochs=30,
    max_steps=None,
    batch_size=64,
    learning_rate=4e-3,
    check_every=1.0,
    patience=3,
    max_frames=2000,
    frame_stride=8,
    folds=2,
    seeds=1,
)
SMALL_AUDIO = {"hidden": 32}
SMALL_TEXT = {"hidden": 32, "embedding": 100}
SMALL_HEADS = {"heads": 4, "units": 8}


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
    protocol = "leave-one-session-out"
    return System(name, summary, eats, CLASSES, build, settings, protocol)


BOTH, SMALL, LARGE = AUDIO | TEXT, SMALL_TEXT | SMALL_HEADS, LARGE_TEXT | LARGE_HEADS
_REFERENCE = [
    _system("speech", "attention over frames", AUDIO, Speech, SMALL_AUDIO, LARGE_AUDIO),
    _system("text", "attention over words", TEXT, Text, SMALL_TEXT, LARGE_TEXT),
    _system("concat", "both, concatenated", BOTH, Concat, SMALL_TEXT, LARGE_TEXT),
    _system("hard", "given alignment", BOTH | SPANS, Hard, SMALL_TEXT, LARGE_TEXT),
    _system("aligned", "learned alignment", BOTH, Aligned, SMALL, LARGE),
]
_RECOGNISED = [
    s.on_transcripts("asr-14.7")
    for s in _REFERENCE
    if s.name in ("text", "concat", "aligned")
]
SYSTEMS: dict[str, System] = {s.name: s for s in _REFERENCE + _RECOGNISED}
"""Rows of Tables 1 and 2. The ASR systems read transcripts that come with the synthetic
corpus, with a word error rate of 14.7 %, or those that `runs.plan` is told.
"""

VARIANTS = {
    "hidden layer": Variant("aligned", {"model": {"score": "hidden"}}),
    "ReLU on the logits": Variant("aligned", {"model": {"relu": True}}),
    "ReLU on the logits of text": Variant("text", {"model": {"relu": True}}),
    "layer after the ReLU": Variant("aligned", {"model": {"relu": "layer"}}),
    "dropout 0.3": Variant("aligned", {"model": {"dropout": 0.3}}),
    "hidden layer and dropout 0.3": Variant(
        "aligned", {"model": {"score": "hidden", "dropout": 0.3}}
    ),
    "maximum of the states": Variant("concat", {"model": {"pooling": "max"}}),
    "mean of the states": Variant("concat", {"model": {"pooling": "mean"}}),
} | {
    f"{system} on {name}": Variant(system, {"transcripts": name})
    for system in ("text", "aligned")
    for name in ("asr-5.53", "asr-30")
}
"""What the paper leaves open, each with the choice that is not the default; and text as
other recognisers would hear it.
"""
