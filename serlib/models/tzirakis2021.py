"""Semantic and paralinguistic features of speech, label by label, and what fuses them:
a concatenation or the 'disentangled' attention.

Tzirakis, Nguyen, Zafeiriou and Schuller 2021, "Speech emotion recognition using
semantic information" (ICASSP). Taught in chapter `tzirakis2021`; equation numbers are
the paper's. What is called its code is the program that the authors released.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from serlib.batching import Batch
from serlib.embeddings import adversarial
from serlib.inputs import Input
from serlib.models.convolution import Paralinguistic
from serlib.models.system import System, Variant
from serlib.recordings import Sound, SpokenVectors, WordVectors
from serlib.settings import Settings, Sizes
from serlib.tasks import CONTINUOUS

ACTIVATIONS = {"linear": nn.Identity, "relu": nn.ReLU}
CELLS = ("plain", "peepholes")


class Attention(nn.Module):
    """Equation (5): the mean of two vectors, weighted by how well each meets a learnt
    query.

    Each vector gets one number, x q / sqrt(d_u), and one softmax over the two makes
    alpha of them: over a single number it would be 1. There is one q for both, as in
    the text and the code; the equation has q_i.

    Args:
        size: d_u.
    """

    def __init__(self, size: int):
        super().__init__()
        self.query = nn.Parameter(torch.randn(size) / math.sqrt(size))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of two (..., d_u), and the weights, (..., 2)."""
        both = torch.stack([first, second], dim=-2)  # (..., 2, d_u)
        weights = (both @ self.query / math.sqrt(len(self.query))).softmax(dim=-1)
        return (weights[..., None] * both).sum(dim=-2), weights


class Disentangled(nn.Module):
    """Equations (4) to (7): project both modalities, attend to them, make three vectors
    of the result, attend to these.

    Nothing ties the three vectors to arousal, valence and liking: that is hoped for
    (section 3.3).

    Args:
        semantic, paralinguistic: d_s and d_p.
        size: d_u. The paper does not say how large; the code's 1,024.
        dense: d_u of the three vectors as a share of `size`: 1 in the paper, a half in
            the code.
        activation: of projections and dense layers: `linear`, as the paper says of the
            latter and prints both; `relu`, as the code has it.
        dropout: share that is zeroed after each of these layers.
    """

    def __init__(
        self,
        semantic: int,
        paralinguistic: int,
        size: int,
        dense: float,
        activation: str,
        dropout: float,
    ):
        super().__init__()
        self.size = round(dense * size)
        bend = ACTIVATIONS[_choose("activation", activation, ACTIVATIONS)]

        def layer(inputs: int, outputs: int) -> nn.Sequential:
            linear = nn.Linear(inputs, outputs)
            return nn.Sequential(linear, bend(), nn.Dropout(dropout))

        self.project_s, self.project_p = (
            layer(inputs, size) for inputs in (semantic, paralinguistic)
        )
        self.arousal, self.valence, self.liking = (
            layer(size, self.size) for _ in range(3)
        )
        self.modalities = Attention(size)
        self.first, self.second = Attention(self.size), Attention(self.size)

    def forward(self, x_s: Tensor, x_p: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return x_fusion, (batch, labels, size), and the weights of each attention,
        (batch, labels, 2).
        """
        weights = {}
        x_sp, weights["semantic, paralinguistic"] = self.modalities(
            self.project_s(x_s), self.project_p(x_p)
        )
        a, v, l = self.arousal(x_sp), self.valence(x_sp), self.liking(x_sp)  # noqa: E741
        z, weights["a, l"] = self.first(a, l)
        fused, weights["z, v"] = self.second(z, v)
        return fused, weights


class PeepholeLSTM(nn.Module):
    """An LSTM whose gates also see its memory (Gers and Schmidhuber 2000), as in the
    code: input and forget gate the memory before the step, the output gate that after
    it.

    Args:
        inputs: size of a step.
        hidden: size of the state.
    """

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.inputs = nn.Linear(inputs, 4 * hidden)
        self.states = nn.Linear(hidden, 4 * hidden, bias=False)
        self.peepholes = nn.Parameter(torch.empty(3, hidden))
        nn.init.uniform_(self.peepholes, -(hidden**-0.5), hidden**-0.5)
        with torch.no_grad():
            self.inputs.bias[hidden : 2 * hidden] += 1  # a fresh net forgets little

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """(batch, steps, inputs) to (batch, steps, hidden)."""
        h = c = x.new_zeros(len(x), self.peepholes.shape[1])
        to_input, to_forget, to_output = self.peepholes
        states = []
        for step in self.inputs(x).unbind(1):
            i, f, g, o = (step + self.states(h)).chunk(4, dim=1)
            kept = torch.sigmoid(f + to_forget * c) * c
            c = kept + torch.sigmoid(i + to_input * c) * torch.tanh(g)
            h = torch.sigmoid(o + to_output * c) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, dim=1), None


class SemanticSER(nn.Module):
    """Features of each label, fused where there are two kinds, through an LSTM to three
    curves (figure 1).

    Args:
        sizes: of `semantic` and `sound`, number of outputs.
        fusion: `concat` or `attention`; of no account with one kind of features.
        filters, pools, stride, rows: see `Paralinguistic`.
        widening: channels of the third convolution, in those of the second: 1 in Table
            1, 2 in the code.
        size, dense, activation: see `Disentangled`.
        hidden: size of the LSTM; 256 in the code, the paper does not say.
        cell: `plain`, or with `peepholes`, as in the code.
        bounded: tanh on the output, as in the code.
        dropout: after convolutions.
        dropout_dense: after projections and dense layers. The paper drops "all layers
            except the recurrent ones", the code convolutions alone.
        dropout_lstm: of the LSTM's states; what "trained with a dropout of 0.5" means
            the paper does not say, and the code has none.

    Attributes:
        keep_attention: set it to True to have every forward pass leave its weights in
            `attention`.
        attention: the pair attended to, in the order of its weights, to (batch, labels,
            2); empty until then.

    Raises:
        ValueError: for an option that does not exist.
    """

    def __init__(
        self,
        sizes: Sizes,
        fusion: str = "attention",
        filters: tuple[int, int] = (50, 125),
        widening: int = 1,
        pools: tuple[int, int, int] = (10, 5, 5),
        stride: int = 1,
        rows: str = "mean",
        size: int = 1_024,
        dense: float = 1.0,
        activation: str = "linear",
        hidden: int = 256,
        cell: str = "plain",
        bounded: bool = False,
        dropout: float = 0.5,
        dropout_dense: float = 0.5,
        dropout_lstm: float = 0.5,
    ):
        super().__init__()
        self.keep_attention, self.bounded = False, bounded
        self.attention: dict[str, Tensor] = {}
        self.paralinguistic, self.fusion, features = None, None, []
        if "semantic" in sizes.dims:
            features.append(sizes.dims["semantic"])
        if "sound" in sizes.dims:
            channels = (*filters, widening * filters[-1])
            self.paralinguistic = Paralinguistic(
                sizes.dims["sound"], channels, pools, stride, dropout, rows
            )
            features.append(self.paralinguistic.size)
        _choose("fusion", fusion, ("concat", "attention"))
        if len(features) == 2 and fusion == "attention":
            how = (size, dense, activation, dropout_dense)
            self.fusion = Disentangled(*features, *how)
            features = [self.fusion.size]
        kind = _choose("cell", cell, CELLS)
        self.lstm = (
            PeepholeLSTM(sum(features), hidden)
            if kind == "peepholes"
            else nn.LSTM(sum(features), hidden, batch_first=True)
        )
        self.dropout = nn.Dropout(dropout_lstm)
        self.output = nn.Linear(hidden, sizes.outputs)

    def forward(self, batch: Batch) -> Tensor:
        """Return curves, (batch, labels, 3)."""
        features = [batch["semantic"]] if "semantic" in batch.inputs else []
        if self.paralinguistic is not None:
            sound = batch["sound"], batch.lengths["sound"]
            features.append(self.paralinguistic(*sound))
        if self.fusion is not None:
            x, weights = self.fusion(*features)
            if self.keep_attention:
                self.attention = {name: one.detach() for name, one in weights.items()}
        else:
            x = torch.cat(features, dim=2)
        states, _ = self.lstm(x)  # padding comes after what is real
        curves = self.output(self.dropout(states))
        return curves.tanh() if self.bounded else curves


def _choose(option: str, value: str, known) -> str:
    if value not in known:
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(known)}")
    return value


# The paper's own. It names neither epochs nor when training stops. A sequence of 300
# labels lasts 30 s; its segments of "10 sec" would have 100, as those of the code. Nor
# does it say how large the game of the alignment is: that of its code's program is made
# for 200,000 words and would take days on a processor.
PAPER = Settings(
    epochs=100,
    max_steps=None,
    batch_size=25,
    learning_rate=1e-4,
    clip_value=None,
    clip_norm=5.0,
    check_every=1.0,
    patience=10,
    loss="concordance",
    sequence=300,
    vectors="word2vec",
    seeds=5,
    inputs={"rate": 22_050, "dims": 100, "way": vars(adversarial.QUICK)},
)
LARGE_SOUND = {"filters": (50, 125), "pools": (10, 5, 5)}
LARGE = {"hidden": 256}

# Half a minute per run on one core: 8 kHz, a step for eight samples, few channels.
# Vectors alone cost little, and get more epochs. The words of the training part are too
# few to learn their meaning from: vectors are those of a larger text, if there is one.
# Chosen by development losses, with seeds that no page shows, in 29 trials.
QUICK = replace(
    PAPER,
    epochs=30,
    batch_size=16,
    learning_rate=5e-3,
    patience=15,
    sequence=100,
    vectors="text",
    inputs={
        "rate": 8_000,
        "dims": 50,
        "seeds": 5,
        "speech2vec": {"min_count": 3},
        "way": vars(adversarial.QUICK),
    },
)
SMALL_DROPOUT = {"dropout": 0.1, "dropout_dense": 0.2, "dropout_lstm": 0.5}
SMALL_SOUND = {"filters": (8, 24), "pools": (3, 5, 5), "stride": 8}
SMALL = {"hidden": 48, **SMALL_DROPOUT}
SHORT = replace(QUICK, epochs=20, patience=10)
BOTH = {"size": 64}, {"size": 1_024}

SOUND = {"sound": Sound()}
SPEECH = {"semantic": SpokenVectors()}
ALIGNED = {"semantic": SpokenVectors(aligned=True)}


def _system(
    name: str,
    summary: str,
    eats: dict[str, Input],
    small: dict | None = None,
    large: dict | None = None,
) -> System:
    hears = "sound" in eats
    heard = (SMALL_SOUND, LARGE_SOUND) if hears else ({}, {})
    quick = SHORT if hears else QUICK
    settings = {
        "quick": replace(quick, model=SMALL | heard[0] | (small or {})),
        "paper": replace(PAPER, model=LARGE | heard[1] | (large or {})),
    }
    build, protocol = SemanticSER, "partitions"
    return System(name, summary, eats, CONTINUOUS, build, settings, protocol)


CONCAT = {"fusion": "concat"}
SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _system("word2vec", "words of the transcript", {"semantic": WordVectors()}),
        _system("speech2vec", "spoken words, encoded", SPEECH),
        _system("aligned-speech2vec", "spoken words, mapped to text", ALIGNED),
        _system("paralinguistic", "convolutions of samples", SOUND),
        _system("concat", "both, side by side", ALIGNED | SOUND, CONCAT, CONCAT),
        _system("attention", "both, disentangled attention", ALIGNED | SOUND, *BOTH),
    )
}
"""Rows of Tables 2 to 4; the last two fuse the two before them."""

RELEASED = {
    "learning_rate": 5e-4,
    "batch_size": 5,
    "sequence": 100,
    "clip_norm": None,
    "loss": "divided",
    "standardise": False,
    "inputs": {"channels": "two", "boundaries": "transcript"},
    "model": {
        "widening": 2,
        "rows": "reshape",
        "dense": 0.5,
        "activation": "relu",
        "cell": "peepholes",
        "bounded": True,
        "dropout": 0.5,
        "dropout_dense": 0.0,
        "dropout_lstm": 0.0,
    },
}
"""What the code does otherwise than the paper says. Its Adam has a beta_2 of 0.99, and
it counts the label at which a word or a turn ends as part of it; neither is done here.
"""

GIVEN = {"inputs": {"alignment": "given"}}
"""As if the semantic pathway knew each word."""

VARIANTS = {
    "released code": Variant("attention", RELEASED),
    "rows reshaped": Variant("attention", {"model": {"rows": "reshape"}}),
    "ReLU": Variant("attention", {"model": {"activation": "relu"}}),
    "peepholes": Variant("attention", {"model": {"cell": "peepholes"}}),
    "tanh": Variant("attention", {"model": {"bounded": True}}),
    "third convolution doubled": Variant("attention", {"model": {"widening": 2}}),
    "losses divided": Variant("attention", {"loss": "divided"}),
    "sequences of 50": Variant("attention", {"sequence": 50}),
    "two channels": Variant("attention", {"inputs": {"channels": "two"}}),
    "text of the training part": Variant("word2vec", {"vectors": "word2vec"}),
    "random encoder": Variant("speech2vec", {"inputs": {"objective": "random"}}),
    "autoencoder": Variant("speech2vec", {"inputs": {"objective": "autoencoder"}}),
    "phonetic vectors": Variant("word2vec", {"vectors": "phonetic"}),
    "word identity": Variant("word2vec", {"vectors": "identity"}),
    "zeros": Variant("word2vec", {"vectors": "zeros"}),
    "windows": Variant("aligned-speech2vec", {"inputs": {"boundaries": "windows"}}),
    "transcript": Variant(
        "aligned-speech2vec", {"inputs": {"boundaries": "transcript"}}
    ),
    "supervised": Variant(
        "aligned-speech2vec", {"inputs": {"alignment": "supervised"}}
    ),
    "self-learning": Variant(
        "aligned-speech2vec", {"inputs": {"alignment": "self-learning", "way": {}}}
    ),
    "concat, words given": Variant("concat", GIVEN),
    "attention, words given": Variant("attention", GIVEN),
} | {
    f"{lag} s late": Variant("speech2vec", {"inputs": {"lag": float(lag)}})
    for lag in (1, 2, 3, 4)
}
"""What the paper leaves open or its code does otherwise; controls, vectors that know
less; and what is heard as late as annotators may be, of which the paper says nothing.
"""
