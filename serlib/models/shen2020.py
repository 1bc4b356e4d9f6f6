"""WISE: sound and text interact word by word, over a hierarchy of frames, phonemes and
words.

Shen et al. 2020, "WISE: word-level interaction-based multimodal fusion for speech
emotion recognition" (Interspeech). Taught in chapter `shen2020`; equation numbers are
the paper's. Its code was announced, but the repository is empty.

No loop over words or phonemes: all phonemes of a batch are sequences of one GRU, all
words of another, and the two LSTMs that interact are computed as one (see
`InteractingLSTMs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from serlib.batching import Batch
from serlib.inputs import Frames, Pairs, Phones, SpokenWords, Words
from serlib.models.layers import last_state, masked_softmax, real, word_embedding
from serlib.models.system import System, Variant
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES

FRAMES = "mfcc_15ms"


class WordAudio(nn.Module):
    """Word-level audio features a_i from frames, section 3.2.

    Args:
        frame: size of a frame.
        phoneme, word: sizes of the states of the two GRUs, one of which reads the
            frames of each phoneme and the other the phonemes of each word; the last
            states count. "GRUs used for each level share the same parameters": one for
            all phonemes, one for all words.
        levels: `phonemes` is the paper's hierarchy (HR). `frames` leaves out the
            phonemes (HR-): one GRU, of the word's size, reads all frames of a word.
            `none` leaves out the hierarchy: a_i is the mean of the word's frames. The
            paper does not say what stands in for it; the interaction needs one vector
            per word. A word's frames go from the first of its first phoneme to the last
            of its last one: a pause inside the word counts, as does what a phoneme of
            over 64 frames has beyond them, and a frame that two phonemes share counts
            once.

    Attributes:
        size: of a_i.
    """

    def __init__(self, frame: int, phoneme: int, word: int, levels: str = "phonemes"):
        super().__init__()
        _check("levels", levels, ("phonemes", "frames", "none"))
        self.size = frame if levels == "none" else word
        self.phoneme = nn.GRU(frame, phoneme) if levels == "phonemes" else None
        self.word = (
            None
            if levels == "none"
            else nn.GRU(phoneme if levels == "phonemes" else frame, word)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return a_i of every pair in the batch, (batch, pairs, size); `phones` and
        `pairs` say which frames those are.

        Where stretches lie is worked out on the CPU: on a GPU this waits once, for
        `phones`.
        """
        frames = batch[FRAMES]  # (batch, frames, 39)
        phones, lengths = (
            batch["phones"].cpu(),
            batch.lengths["phones"],
        )  # (batch, phonemes, 3)
        first, count, word = phones[
            real(lengths, phones.shape[1], phones.device)
        ].unbind(1)  # (all phonemes,) each
        utterance = torch.arange(len(phones)).repeat_interleave(lengths)
        there = batch.lengths[FRAMES][utterance]
        first = first.clamp(max=there - 1)
        count = count.clamp(min=torch.ones_like(there)).minimum(there - first)
        first = first + utterance * frames.shape[1]  # rows of the flattened frames

        words = (
            phones[torch.arange(len(phones)), lengths - 1, 2] + 1
        )  # of each utterance
        before = words.cumsum(0) - words
        phonemes = torch.bincount(
            before[utterance] + word, minlength=int(words.sum())
        )  # of each word
        start = phonemes.cumsum(0) - phonemes
        if self.phoneme is not None:
            values = last_of_each(
                self.phoneme, frames.flatten(0, 1), first, count
            )  # (all phonemes, phoneme)
            values = last_of_each(
                self.word, values, start, phonemes
            )  # (all words, word)
        else:
            last = start + phonemes - 1
            count = (first[last] + count[last] - first[start]).clamp(
                min=1
            )  # from the first phoneme to the last's end
            first, values = first[start], frames.flatten(0, 1)
            values = (
                mean_of_each(values, first, count)
                if self.word is None
                else last_of_each(self.word, values, first, count)
            )
        return values[before.to(values.device)[:, None] + batch["pairs"][:, :, 1]]


def last_of_each(gru: nn.GRU, values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Run a GRU over many stretches of a table at once and return its last state on
    each (equation 6).

    The stretches are packed straight from the table: nothing is padded, whatever their
    lengths, and no loop in Python goes over stretches or steps.

    Args:
        gru: of one layer and one direction.
        values: (rows, size) table.
        first, count: (n,) int64 on the CPU: first row and number of rows, at least one,
            of each stretch.

    Returns:
        (n, hidden)
    """
    order = count.argsort(descending=True, stable=True)
    running = (
        len(count) - torch.bincount(count).cumsum(0)[:-1]
    )  # stretches that have a step 0, 1, ...
    step = torch.arange(len(running)).repeat_interleave(running)
    rank = torch.arange(len(step)) - (running.cumsum(0) - running)[step]
    rows = first[order][rank] + step  # step by step, in each the longest stretch first
    _, last = gru(PackedSequence(values[rows.to(values.device)], running))
    return last[0][order.argsort().to(values.device)]


def mean_of_each(values: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Mean over many stretches of a table, (n, size); see `last_of_each`."""
    before = count.cumsum(0) - count
    rows = (first - before).repeat_interleave(count) + torch.arange(int(count.sum()))
    rows, before = rows.to(values.device), before.to(values.device)
    return functional.embedding_bag(rows, values, before, mode="mean")


class InteractingLSTMs(nn.Module):
    """An audio LSTM and a text LSTM whose states pass through an interaction matrix
    before every step, (1) to (5).

    Equation (3) mixes the states h of both into h~ = W h, and each LSTM goes on from
    its part of h~. Only h~ times the recurrent weights U is ever needed, and U W h = (U
    W) h: with the gates of both side by side, the pair *is* one LSTM over the
    concatenated inputs, whose recurrent weights are the product of blockdiag(U_a, U_t)
    and W. So it runs in PyTorch's own LSTM, on cuDNN too, and gradients reach U and W
    through their product.

    Args:
        inputs: sizes of what the audio and the text LSTM read.
        sizes: of their states.
        interaction: False leaves W out: two LSTMs that know nothing of each other.
        cell: `own`: only h is mixed, as equation (3) says; `mixed`: the cell states go
            through the same W, step by step in Python.

    Attributes:
        audio, text: the two LSTMs.
        interaction: W of equation (3), [[W_aa, W_ta], [W_at, W_tt]], from a normal
            distribution of deviation 0.05; the same at all steps. None without
            interaction.
    """

    def __init__(
        self,
        inputs: tuple[int, int],
        sizes: tuple[int, int],
        interaction: bool = True,
        cell: str = "own",
    ):
        super().__init__()
        _check("cell", cell, ("own", "mixed"))
        self.sizes = sizes
        self.audio, self.text = (
            nn.LSTMCell(*one) for one in zip(inputs, sizes, strict=True)
        )
        self.interaction = (
            nn.Parameter(torch.empty(sum(sizes), sum(sizes)).normal_(std=0.05))
            if interaction
            else None
        )
        self.cell = cell

    def forward(self, audio: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states after every step.

        Args:
            audio, text: (batch, steps, size of the input) each.

        Returns:
            h_a, (batch, steps, sizes[0]), and h_t, (batch, steps, sizes[1]).
        """
        x = torch.cat([audio, text], dim=2)
        h = x.new_zeros(len(x), sum(self.sizes))
        weights = self.joined()
        if self.interaction is not None and self.cell == "mixed":
            states = self._step_by_step(x, h, *weights)
        else:
            states, _, _ = torch.lstm(
                x, (h[None], h[None]), weights, True, 1, 0.0, self.training, False, True
            )
        return states.split(self.sizes, dim=2)

    def joined(self) -> list[Tensor]:
        """Return the weights of the one LSTM that both are: `weight_ih`, `weight_hh`,
        `bias_ih`, `bias_hh`.
        """
        weights = []
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            gates = zip(
                *(getattr(half, name).chunk(4) for half in (self.audio, self.text)),
                strict=True,
            )
            join = (
                torch.block_diag
                if name.startswith("weight")
                else lambda *halves: torch.cat(halves)
            )
            weights.append(torch.cat([join(*gate) for gate in gates]))
        if self.interaction is not None:
            weights[1] = weights[1] @ self.interaction
        flat = torch.cat(
            [one.flatten() for one in weights]
        )  # end to end, as cuDNN wants them
        parts = flat.split([one.numel() for one in weights])
        return [part.view_as(one) for part, one in zip(parts, weights, strict=True)]

    def _step_by_step(
        self,
        x: Tensor,
        h: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> Tensor:
        c, states = h, []
        for inputs in functional.linear(x, weight_ih, bias_ih + bias_hh).unbind(
            1
        ):  # (batch, 4 sizes)
            i, f, g, o = torch.addmm(inputs, h, weight_hh.T).chunk(4, dim=1)
            c = f.sigmoid() * (c @ self.interaction.T) + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states, dim=1)


class Fusion(nn.Module):
    """Joint representations of pairs and their weighted sum, (7) to (9).

    Args:
        sizes: name of a modality to the size of its states.
        attention: size of the joint representation omega_a h_a + omega_t h_t.
        how: `attention` is the paper's; `mean` weighs all pairs alike; `last` is the
            last states, concatenated, without any of these weights.

    Attributes:
        size: of what comes out.
    """

    def __init__(
        self, sizes: Mapping[str, int], attention: int, how: str = "attention"
    ):
        super().__init__()
        _check("fusion", how, ("attention", "mean", "last"))
        self.how = how
        self.size = sum(sizes.values()) if how == "last" else attention
        self.weights = nn.ModuleDict()
        if how != "last":
            self.weights.update(
                {
                    name: nn.Linear(size, attention, bias=False)
                    for name, size in sizes.items()
                }
            )
        self.context = (
            nn.Linear(attention, 1, bias=False) if how == "attention" else None
        )

    def forward(
        self, states: Mapping[str, Tensor], lengths: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Fuse and sum up.

        Args:
            states: name of a modality to its states, (batch, steps, size).
            lengths: (batch,) real steps.

        Returns:
            p_c, (batch, size), and the weights alpha, (batch, steps), zero on padding;
            None with `last`.
        """
        if self.how == "last":
            return (
                torch.cat([last_state(one, lengths) for one in states.values()], dim=1),
                None,
            )
        joint = sum(
            self.weights[name](one) for name, one in states.items()
        )  # (batch, steps, attention)
        mask = real(lengths, joint.shape[1], joint.device)
        scores = (
            self.context(joint.tanh()).squeeze(2)
            if self.context is not None
            else joint.new_zeros(mask.shape)
        )
        alpha = masked_softmax(scores, mask)
        return (alpha[:, None] @ joint).squeeze(1), alpha


class Classifier(nn.Module):
    """Three linear layers, the first two followed by a ReLU, (10) to (12) up to the
    softmax.

    Args:
        sizes: of p_c, of the two hidden layers, of the logits.
        dropout: share that is zeroed.
        dropout_at: `inputs` of the first two layers, as the equations have it;
            `outputs` of their ReLUs, as the text says.
        bias: the equations have none.
    """

    def __init__(
        self,
        sizes: tuple[int, int, int, int],
        dropout: float,
        dropout_at: str = "inputs",
        bias: bool = False,
    ):
        super().__init__()
        _check("dropout_at", dropout_at, ("inputs", "outputs"))
        layers: list[nn.Module] = []
        for size, following in pairwise(sizes[:3]):
            layer = [nn.Linear(size, following, bias), nn.ReLU()]
            layers += (
                [nn.Dropout(dropout), *layer]
                if dropout_at == "inputs"
                else [*layer, nn.Dropout(dropout)]
            )
        self.layers = nn.Sequential(*layers, nn.Linear(*sizes[2:], bias))

    def forward(self, p: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        return self.layers(p)


class WISE(nn.Module):
    """The whole framework, and what is left of it without one of its parts; trained on
    (13), with the minus it lacks.

    Args:
        sizes: of a frame, vocabulary, pretrained vectors, number of outputs.
        phoneme, word: sizes of the GRU states, see `WordAudio`.
        audio, text: sizes of the LSTM states.
        embedding: size of a word vector.
        attention: size of the joint representation, see `Fusion`.
        linear: sizes of the two hidden layers.
        dropout: see `Classifier`.
        levels: see `WordAudio`; `phonemes` is with, `none` without the hierarchy (HR),
            `frames` is HR-.
        interaction: with or without the interaction matrix (IM).
        fusion: see `Fusion`; `attention` is with, `last` without the deep multimodal
            fusion (DMF).
        cell: see `InteractingLSTMs`.
        crossed: equations (4) and (5) as printed: the audio LSTM reads the word vector
            t_i and the text LSTM the audio feature a_i. Equations (1) and (2) and the
            text have it the other way round, which is the default.
        dropout_at, bias: see `Classifier`.

    Attributes:
        keep_attention: set it to True to have every forward pass leave its weights in
            `attention`.
        attention: (batch, pairs) weights alpha_i of the last forward pass, zero on
            padding; None until then.
    """

    def __init__(
        self,
        sizes: Sizes,
        phoneme: int = 50,
        word: int = 100,
        audio: int = 100,
        text: int = 150,
        embedding: int = 300,
        attention: int = 200,
        linear: tuple[int, int] = (200, 100),
        dropout: float = 0.3,
        levels: str = "phonemes",
        interaction: bool = True,
        fusion: str = "attention",
        cell: str = "own",
        crossed: bool = False,
        dropout_at: str = "inputs",
        bias: bool = False,
    ):
        super().__init__()
        self.keep_attention = False
        self.attention: Tensor | None = None
        self.crossed = crossed
        self.words = WordAudio(sizes.dims[FRAMES], phoneme, word, levels)
        self.embedding = word_embedding(sizes, embedding)
        read = (embedding, self.words.size) if crossed else (self.words.size, embedding)
        self.lstms = InteractingLSTMs(read, (audio, text), interaction, cell)
        self.fusion = Fusion({"audio": audio, "text": text}, attention, fusion)
        self.classifier = Classifier(
            (self.fusion.size, *linear, sizes.outputs), dropout, dropout_at, bias
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        a, t = (
            self.words(batch),
            self.embedding(paired_tokens(batch)),
        )  # (batch, pairs, size) each
        states = self.lstms(t, a) if self.crossed else self.lstms(a, t)
        p, alpha = self.fusion(
            dict(zip(("audio", "text"), states, strict=True)), batch.lengths["pairs"]
        )
        if self.keep_attention and alpha is not None:
            self.attention = alpha.detach()
        return self.classifier(p)


class OneModality(nn.Module):
    """WISE that only hears or only reads: its word features, one LSTM, attention and
    classifier.

    The paper does not describe its `Audio only` and `Text only`; this is what is left
    of WISE without the other half.

    Args:
        sizes: of a frame, vocabulary, pretrained vectors, number of outputs.
        modality: `audio` or `text`.
        audio, text: size of the LSTM's state; only that of the modality counts.
        phoneme, word, levels: see `WordAudio`.
        embedding, attention, linear, dropout, dropout_at, bias: see `WISE`.

    Attributes:
        keep_attention, attention: see `WISE`.
    """

    def __init__(
        self,
        sizes: Sizes,
        modality: str,
        phoneme: int = 50,
        word: int = 100,
        audio: int = 100,
        text: int = 150,
        embedding: int = 300,
        attention: int = 200,
        linear: tuple[int, int] = (200, 100),
        dropout: float = 0.3,
        levels: str = "phonemes",
        dropout_at: str = "inputs",
        bias: bool = False,
    ):
        super().__init__()
        _check("modality", modality, ("audio", "text"))
        self.keep_attention = False
        self.attention: Tensor | None = None
        self.modality = modality
        hears = modality == "audio"
        self.words = (
            WordAudio(sizes.dims[FRAMES], phoneme, word, levels) if hears else None
        )
        self.embedding = None if hears else word_embedding(sizes, embedding)
        size = audio if hears else text
        self.lstm = nn.LSTM(
            self.words.size if hears else embedding, size, batch_first=True
        )
        self.fusion = Fusion({modality: size}, attention)
        self.classifier = Classifier(
            (self.fusion.size, *linear, sizes.outputs), dropout, dropout_at, bias
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch, classes)."""
        features = (
            self.words(batch)
            if self.words is not None
            else self.embedding(paired_tokens(batch))
        )
        states, _ = self.lstm(features)
        p, alpha = self.fusion({self.modality: states}, batch.lengths["pairs"])
        if self.keep_attention:
            self.attention = alpha.detach()
        return self.classifier(p)


def paired_tokens(batch: Batch) -> Tensor:
    """Return the tokens that go with a spoken word, (batch, pairs)."""
    return batch["tokens"].gather(1, batch["pairs"][:, :, 0])


def _check(option: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise ValueError(f"{option} is {value!r}; expected one of {', '.join(values)}")


SOUND = {FRAMES: Frames(FRAMES)}
TEXT = {"tokens": Words()}
HEARS, PAIRS = {"phones": Phones(FRAMES)}, {"pairs": Pairs(FRAMES)}

# Sizes and rates of section 4.2. Batch size, epochs, early stopping and word vectors'
# training are not given; no gradient is clipped, since the paper does not say so, and
# no utterance is cut but at the 128th word.
PAPER = Settings(
    epochs=100,
    max_steps=None,
    batch_size=32,
    learning_rate=1e-3,
    weight_decay=1e-4,
    decay=1e-3,
    clip_value=None,
    check_every=1.0,
    patience=10,
    max_frames=10_000,
    max_tokens=256,
    vectors="glove",
    seeds=5,
)
LARGE_AUDIO = {"phoneme": 50, "word": 100, "audio": 100}
LARGE_TEXT = {"text": 150, "embedding": 300}
LARGE = {"attention": 200, "linear": (200, 100), "dropout": 0.3}

# Half a minute per run on one core. Two frames in one still leave a phoneme more than
# two. The development loss of text alone often stands still before it falls, and its
# epochs cost little: it has more of both patience and epochs.
QUICK = replace(
    PAPER,
    epochs=14,
    batch_size=64,
    learning_rate=4e-3,
    frame_stride=2,
    patience=3,
    vectors="random",
    folds=2,
    seeds=1,
)
SMALL_AUDIO = {"phoneme": 24, "word": 32, "audio": 32}
SMALL_TEXT = {"text": 32, "embedding": 100}
SMALL = {"attention": 48, "linear": (48, 24), "dropout": 0.3}


def _system(name: str, summary: str, **parts: bool | str) -> System:
    """A system that hears and reads."""
    small, large = SMALL_AUDIO | SMALL_TEXT | SMALL, LARGE_AUDIO | LARGE_TEXT | LARGE
    eats, build = SOUND | TEXT | HEARS | PAIRS, partial(WISE, **parts)
    return _with(name, summary, eats, build, QUICK, small, large)


def _alone(name: str, summary: str, eats: dict, small: dict, large: dict) -> System:
    """A system of one modality."""
    quick = replace(QUICK, epochs=30, patience=8) if name == "text" else QUICK
    build = partial(OneModality, modality=name)
    return _with(name, summary, eats, build, quick, small | SMALL, large | LARGE)


def _with(
    name: str,
    summary: str,
    eats: dict,
    build: Callable[..., nn.Module],
    quick: Settings,
    small: dict,
    large: dict,
) -> System:
    settings = {
        "quick": replace(quick, model=small),
        "paper": replace(PAPER, model=large),
    }
    return System(name, summary, eats, CLASSES, build, settings, "random-folds")


SPOKEN = {"pairs": SpokenWords(FRAMES)}
ALONE = "hierarchy of the sound, LSTM over words"
SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        _alone("audio", ALONE, SOUND | HEARS | SPOKEN, SMALL_AUDIO, LARGE_AUDIO),
        _alone("text", "LSTM over words", TEXT | PAIRS, SMALL_TEXT, LARGE_TEXT),
        _system("wise", "interaction, hierarchy and attention"),
        _system("im+dmf", "no hierarchy: mean frame of each word", levels="none"),
        _system("hr+dmf", "no interaction", interaction=False),
        _system("im+hr", "no attention: last states", fusion="last"),
        _system("im+dmf+hr-", "no phonemes: frames to words", levels="frames"),
    )
}
"""Rows of Table 1 and Table 2."""

VARIANTS = {
    "cell state mixed": Variant("wise", {"model": {"cell": "mixed"}}),
    "inputs crossed as printed": Variant("wise", {"model": {"crossed": True}}),
    "dropout after the ReLU": Variant("wise", {"model": {"dropout_at": "outputs"}}),
    "biases in the linear layers": Variant("wise", {"model": {"bias": True}}),
    "constant learning rate": Variant("wise", {"decay": 0.0}),
    "no penalty on word vectors": Variant("wise", {"decay_words": False}),
    "mean of the pairs": Variant("im+hr", {"model": {"fusion": "mean"}}),
}
"""What the paper leaves open, each with the choice that is not the default."""
