"""From what an acoustic model says of each frame to a text: decoding of connectionist temporal classification.

Source: Graves et al. 2006, "Connectionist temporal classification: Labelling unsegmented sequence data with recurrent
neural networks"; chapter `corpora`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLANK = 0
"""The label that stands for nothing, in torchaudio's pipelines."""

MULTIPLIER = 6364136223846793005
"""Of a hash modulo 2**64 (Knuth's, for linear congruences)."""


def greedy(scores: Tensor, frames: Tensor) -> list[list[int]]:
    """Take the likeliest label of each frame, join equal neighbours and drop blanks.

    Args:
        scores: (batch, frames, labels) logarithms of probabilities.
        frames: (batch,) frames of each utterance.

    Returns:
        the labels of each utterance.
    """
    best = scores.argmax(2)
    new = torch.ones_like(best, dtype=torch.bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    new &= (best != BLANK) & (torch.arange(best.shape[1], device=best.device) < frames[:, None])
    return [row[keep].tolist() for row, keep in zip(best, new, strict=True)]


def beam_search(scores: Tensor, frames: Tensor, beam: int) -> list[list[int]]:
    """Find the likeliest label sequence, over all the ways in which CTC can spell it: a prefix beam search.

    Graves et al. (2006), "Connectionist temporal classification", section 3.2, keeping the `beam` likeliest prefixes.
    All utterances and prefixes are extended at once. There is no language model. torchaudio's `ctc_decoder` would need
    flashlight-text, and its `cuda_ctc_decoder` a GPU; this one needs neither.

    Args:
        scores: (batch, frames, labels) logarithms of probabilities.
        frames: (batch,) frames of each utterance.
        beam: prefixes that are kept. With as many as there are prefixes, the search is exact.

    Returns:
        the labels of each utterance.
    """
    number, length, labels = scores.shape
    never = -math.inf
    blank, other = scores.new_full((2, number, beam), never)  # log probability of a prefix, by what it ends in
    blank[:, 0] = 0.0
    places = torch.arange(beam, device=scores.device).expand(number, beam)
    name = -places  # of a prefix: a hash of its labels; 0 for the empty one, negative for an unused place
    parent = torch.full_like(places, -1 - beam)  # its name without the last label; of no prefix for those two
    last = torch.full_like(places, BLANK)  # that label
    history = []
    for time in range(length):
        score = scores[:, time]
        both = torch.logaddexp(blank, other)
        stay_blank = both + score[:, BLANK, None]
        stay_other = other + score.gather(1, last)
        extended = both[..., None] + score[:, None]  # (batch, beam, labels)
        extended.scatter_(2, last[..., None], (blank + score.gather(1, last))[..., None])  # a repetition needs a blank
        extended[..., BLANK] = never

        same = parent[:, :, None] == name[:, None]  # (batch, prefix, the one it extends)
        row, child, source = same.nonzero(as_tuple=True)  # in the beam both ways: by staying and by extension
        label = last[row, child]
        stay_other[row, child] = torch.logaddexp(stay_other[row, child], extended[row, source, label])
        extended[row, source, label] = never

        best, chosen = torch.cat([torch.logaddexp(stay_blank, stay_other), extended.flatten(1)], 1).topk(beam)
        stays = chosen < beam
        origin = torch.where(stays, chosen, (chosen - beam) // labels)
        added = torch.where(stays, BLANK, (chosen - beam) % labels)
        previous = name.gather(1, origin)
        going = (time < frames)[:, None]
        found = (
            torch.where(stays, stay_blank.gather(1, origin), never),
            torch.where(stays, stay_other.gather(1, origin), best),
            torch.where(best == never, -1 - places, torch.where(stays, previous, (previous + 1) * MULTIPLIER + added)),
            torch.where(best == never, -1 - beam, torch.where(stays, parent.gather(1, origin), previous)),
            torch.where(stays, last.gather(1, origin), added),
        )
        blank, other, name, parent, last = (
            torch.where(going, new, old) for new, old in zip(found, (blank, other, name, parent, last), strict=True)
        )
        history.append((torch.where(going, origin, places), torch.where(going, added, BLANK)))

    place = torch.logaddexp(blank, other).argmax(1, keepdim=True)
    spelt = []
    for origin, added in reversed(history):
        spelt.append(added.gather(1, place))
        place = origin.gather(1, place)
    if not spelt:
        return [[] for _ in range(number)]
    return [[label for label in row if label != BLANK] for row in torch.cat(spelt[::-1], 1).tolist()]
