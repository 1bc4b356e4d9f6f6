"""Pieces that the models of several papers share: masks, last states, softmax over what
is real, initial weights.

Sequences are padded at the end; `lengths` says how much of each is real. First taught
in chapter `yoon2018`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from serlib.settings import Sizes


def real(lengths: Tensor, size: int, device: torch.device) -> Tensor:
    """Mark what is not padding.

    Args:
        lengths: (batch,) real steps of each sequence.
        size: steps of the padded sequences.
        device: where the mask is wanted.

    Returns:
        (batch, size) booleans, True on real steps.
    """
    return torch.arange(size, device=device) < lengths.to(device)[:, None]


def last_state(states: Tensor, lengths: Tensor) -> Tensor:
    """Pick the state after the last real step of each sequence.

    A recurrent net that only looks back never sees the padding that follows, so running
    it over the padded batch and picking here gives what packing would, and trains much
    faster on a CPU: the backward pass of a packed GRU allocates the whole batch at
    every step there.

    Args:
        states: (batch, steps, size) states of a net that runs forwards.
        lengths: (batch,) real steps of each sequence, at least one.

    Returns:
        (batch, size)
    """
    rows = torch.arange(len(states), device=states.device)
    return states[rows, lengths.to(states.device) - 1]


class BiLSTM(nn.Module):
    """Two LSTMs over padded sequences, one from each end, their states side by side
    (xu2019, equations 1 to 3).

    The backward one reads each sequence turned around within its own length, so that it
    meets the padding last, as the forward one does. That gives what packing would, two
    and a half times as fast on a CPU with short sequences and small states, forty times
    with long ones (see `last_state`).

    Args:
        inputs: size of a step.
        hidden: size of each direction's state.
    """

    def __init__(self, inputs: int, hidden: int):
        super().__init__()
        self.size = 2 * hidden
        self.forwards = nn.LSTM(inputs, hidden, batch_first=True)
        self.backwards = nn.LSTM(inputs, hidden, batch_first=True)

    def forward(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        """Return the states, (batch, steps, 2 hidden), zero on padding.

        Args:
            sequences: (batch, steps, inputs) padded at the end.
            lengths: (batch,) real steps of each.
        """
        ahead, _ = self.forwards(sequences)
        back, _ = self.backwards(turned(sequences, lengths))
        states = torch.cat([ahead, turned(back, lengths)], dim=2)
        return states * real(lengths, states.shape[1], states.device)[:, :, None]


def turned(sequences: Tensor, lengths: Tensor) -> Tensor:
    """Turn each sequence around within its real steps; what stands on the padding after
    that means nothing.

    Args:
        sequences: (batch, steps, size) padded at the end.
        lengths: (batch,) real steps of each.

    Returns:
        the same shape.
    """
    steps = torch.arange(sequences.shape[1], device=sequences.device)
    order = (lengths.to(sequences.device)[:, None] - 1 - steps).clamp_(min=0)
    return sequences.gather(1, order[:, :, None].expand_as(sequences))


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension in which padding gets exactly zero.

    Args:
        scores: (..., steps)
        mask: the same shape, True on real steps; at least one in every row.
    """
    return scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)


def word_embedding(sizes: Sizes, size: int) -> nn.Embedding:
    """Make the word-embedding layer: pretrained rows where there are some, else tiny
    random ones; all are trained.

    Tiny (deviation 0.01, as in yoon2018's released code) also means that a word never
    met in training says next to nothing.

    Args:
        sizes: gives the vocabulary and, if there are any, the pretrained vectors.
        size: dimensions of a word vector.

    Returns:
        embedding whose row 0 (padding) is zero and stays so.

    Raises:
        ValueError: if the system got no vocabulary, or the vectors are not (vocabulary,
            size).
    """
    if sizes.vocabulary < 2:
        raise ValueError(
            "a text system needs a vocabulary of at least padding and unknown, not"
            f" {sizes.vocabulary}"
        )
    embedding = nn.Embedding(sizes.vocabulary, size, padding_idx=0)
    with torch.no_grad():
        if sizes.vectors is None:
            embedding.weight.normal_(std=0.01)
        elif sizes.vectors.shape == embedding.weight.shape:
            embedding.weight.copy_(sizes.vectors)
        else:
            raise ValueError(
                f"the word vectors are {tuple(sizes.vectors.shape)}, expected"
                f" {tuple(embedding.weight.shape)}: (vocabulary, embedding); set the"
                " model's `embedding` to the size of the vectors"
            )
        embedding.weight[0] = 0
    return embedding


class ResetFirst(nn.GRU):
    """The GRU of Cho et al. 2014 and Chung et al. 2014, and TensorFlow's cell: the
    reset gate acts on the state before the candidate's recurrent matrix, tanh(W x + U
    (r * h) + b); PyTorch's and cuDNN's acts after it, tanh(W x + r * (U h)).

    It has the parameters of `nn.GRU` and takes `batch_first` sequences only. A loop
    over steps, and so several times slower.
    """

    def forward(self, sequences: Tensor) -> tuple[Tensor, Tensor]:
        """Return all states, (batch, steps, hidden), and the last, (1, batch,
        hidden).
        """
        from_input = nn.functional.linear(
            sequences, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0
        )
        gates, candidate = self.weight_hh_l0.split(
            [2 * self.hidden_size, self.hidden_size]
        )
        state = sequences.new_zeros(len(sequences), self.hidden_size)
        states = []
        for step in from_input.unbind(1):
            for_gates, for_candidate = step.split(gates.shape[0], dim=1)
            reset, keep = torch.sigmoid(for_gates + state @ gates.T).chunk(2, dim=1)
            new = torch.tanh(for_candidate + (reset * state) @ candidate.T)
            state = torch.lerp(new, state, keep)
            states.append(state)
        return torch.stack(states, dim=1), state[None]


def orthogonal_(gru: nn.GRU) -> None:
    """Give a GRU orthogonal initial weights (Saxe et al. 2013), in place.

    PyTorch stacks the matrices of the reset gate, the update gate and the candidate.
    Each of the three is made orthogonal on its own, the (hidden, hidden) ones exactly,
    the (hidden, input) ones with orthonormal rows or columns, whichever are fewer. The
    biases of the two gates add up to one, as in TensorFlow's GRU cell, so that a fresh
    net keeps most of its state from step to step; all other biases are zero.
    """
    for name, weight in gru.named_parameters():
        if name.startswith("weight"):
            for block in weight.chunk(3):
                nn.init.orthogonal_(block)
        else:
            nn.init.zeros_(weight)
            if name.startswith("bias_ih"):
                nn.init.ones_(weight[: 2 * gru.hidden_size])
