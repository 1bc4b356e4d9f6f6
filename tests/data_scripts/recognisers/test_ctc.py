"""Decoding of emissions that are made up: by hand, by all paths, and with a dictionary of prefixes."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from data_scripts.recognisers.ctc import beam_search, greedy


def logs(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()[None]


def test_greedy_by_hand() -> None:
    a, b, blank = [0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]
    for rows, expected in [
        ([a, a, b], [1, 2]),
        ([a, blank, a], [1, 1]),
        ([blank, a, a, blank, blank, b, b], [1, 2]),
        ([blank, blank], []),
        ([b, a, b, b, blank, b], [2, 1, 2, 2]),
    ]:
        assert greedy(logs(rows), torch.tensor([len(rows)])) == [expected]
    assert greedy(logs([a, b, a]).expand(3, 3, 3), torch.tensor([3, 1, 0])) == [[1, 2, 1], [1], []]


def test_beam_by_hand() -> None:
    # "-" and "-" is the likeliest path, 0.36; the three ways to spell "a" have 0.64 together
    rows = [[0.6, 0.4], [0.6, 0.4]]
    assert greedy(logs(rows), torch.tensor([2])) == [[]]
    assert beam_search(logs(rows), torch.tensor([2]), 2) == [[1]]


def exhaustive(scores: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Probability of every text, the sum over all paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(scores.shape[1]), repeat=len(scores)):
        text = tuple(label for label, _ in itertools.groupby(path) if label)
        probability = math.exp(sum(scores[time, label].item() for time, label in enumerate(path)))
        found[text] = found.get(text, 0.0) + probability
    return found


@pytest.mark.parametrize(("frames", "labels"), [(1, 2), (2, 3), (5, 3), (6, 2), (4, 4)])
def test_wide_beam_finds_what_exhaustive_search_finds(frames: int, labels: int) -> None:
    scores = torch.randn(12, frames, labels, generator=torch.manual_seed(frames), dtype=torch.float64).log_softmax(2)
    lengths = torch.arange(12) % (frames + 1)
    for row, length, text in zip(scores, lengths, beam_search(scores, lengths, 400), strict=True):
        found = exhaustive(row[:length])
        assert tuple(text) == max(found, key=found.__getitem__)


def narrow(scores: torch.Tensor, beam: int) -> list[int]:
    """Prefix beam search as it is written down: a dictionary of prefixes."""
    kept = {(): (1.0, 0.0)}
    for row in scores.exp().tolist():
        new: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank, other) in kept.items():
            for label, probability in enumerate(row):
                if label == 0:
                    new.setdefault(prefix, [0.0, 0.0])[0] += (blank + other) * probability
                elif prefix and label == prefix[-1]:
                    new.setdefault(prefix, [0.0, 0.0])[1] += other * probability
                    new.setdefault((*prefix, label), [0.0, 0.0])[1] += blank * probability
                else:
                    new.setdefault((*prefix, label), [0.0, 0.0])[1] += (blank + other) * probability
        kept = {prefix: tuple(new[prefix]) for prefix in sorted(new, key=lambda prefix: -sum(new[prefix]))[:beam]}
    return list(max(kept, key=lambda prefix: sum(kept[prefix])))


@pytest.mark.parametrize("beam", [1, 2, 3, 8])
def test_narrow_beam_keeps_the_same_prefixes_as_a_dictionary(beam: int) -> None:
    scores = torch.randn(6, 40, 5, generator=torch.manual_seed(beam), dtype=torch.float64).mul(1.5).log_softmax(2)
    assert beam_search(scores, torch.full((6,), 40), beam) == [narrow(row, beam) for row in scores]
