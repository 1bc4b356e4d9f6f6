"""Intervals and a test that hold where a bootstrap over items does not.

Where a class is rare, scores are near one or items are few: an exact interval of each
class, put together. Where speakers differ and trainings have luck: a jackknife over
both. Used for all five papers; taught in chapter `evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from serlib.metrics import Interval, Measure, checked, wilson

FEWEST = 5
"""Groups, or trainings, below which nothing can be told of others."""


def exact(successes: float, total: float, level: float = 0.95) -> Interval:
    """Clopper and Pearson's interval for a proportion: one that covers the truth at
    least as often as it says, however small the set; wider than Wilson's.

    Args:
        successes, total: right answers, and all answers; more than 0.
        level: confidence level.

    Raises:
        ValueError: for an impossible level or counts, as `metrics.wilson`.
    """
    estimate, wrong = wilson(successes, total, level).estimate, total - successes
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, successes, wrong + 1)) if successes else 0.0
    high = float(stats.beta.isf(tail, successes + 1, wrong)) if wrong else 1.0
    return Interval(low, high, estimate)


def recall_interval(
    counts: ArrayLike, *, groups: Sequence[str] | None = None, level: float = 0.95
) -> Interval:
    """UA with an interval over items that holds for rare classes and near one.

    The recall p of each of K classes has the `exact` interval [l, u]. That of their
    mean reaches down by sqrt(sum of (p - l)²) / K and up by sqrt(sum of (u - p)²) / K
    (Zou and Donner 2008, "Construction of confidence limits about effect measures").
    The number of items of each class is taken as given. With Wilson's intervals in
    place of exact ones it would cover 89 % to 92 % near one.

    Args:
        counts: (n, classes²) `statistics` of `ua`, a row per judgement.
        groups: (n,) item of each row, where several seeds have judged it; None if each
            row is an item. Judgements of one item that agree count little more than
            one (Rao and Scott 1992). For speakers, see `clustered_interval`.
        level: confidence level.

    Raises:
        ValueError: if there is no row, or for shapes that do not fit.
    """
    each = [
        exact(*_worth(own[:, label], own.sum(axis=1)), level)
        for label, own in enumerate(_by_group(counts, groups).swapaxes(0, 1))
        if own.any()
    ]
    low, high, recall = np.array(each).T
    mean = float(recall.mean())
    down = math.sqrt(((recall - low) ** 2).sum()) / len(each)
    up = math.sqrt(((high - recall) ** 2).sum()) / len(each)
    return Interval(max(0.0, mean - down), min(1.0, mean + up), mean)


def accuracy_interval(
    counts: ArrayLike, *, groups: Sequence[str] | None = None, level: float = 0.95
) -> Interval:
    """WA with Wilson's interval over items; arguments as for `recall_interval`."""
    counts = _by_group(counts, groups)
    right = np.trace(counts, axis1=1, axis2=2)
    return wilson(*_worth(right, counts.sum(axis=(1, 2))), level)


def clustered_interval(
    measure: Measure,
    statistics: ArrayLike,
    *clusters: Sequence[str],
    level: float = 0.95,
) -> Interval:
    """Say how a measure varies with the speakers and trainings that happened to be.

    The spread is the jackknife's: how far the score moves when one cluster is left out.
    Of two ways of clustering at once it is the sum of both less that of their crossing
    (Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering"), but
    never below either. Student's t has the degrees of freedom of the fewer clusters.

    Args:
        measure: any measure.
        statistics: (n, k) of it, a row per judgement.
        clusters: one or two ways to put the rows together, (n,) names each: speakers or
            sessions; and trainings, a fold and a seed each.
        level: confidence level.

    Returns:
        the interval; its ends are nan, "cannot tell", where there are fewer than
        `FEWEST` clusters of a kind.

    Raises:
        ValueError: if there is no row, no way of clustering or more than two, or for
            lengths that differ.
    """
    estimate, error, freedom = _jackknife(measure, [statistics], clusters)
    return _around(estimate, error, freedom, level)


def clustered_difference(
    measure: Measure,
    a: ArrayLike,
    b: ArrayLike,
    *clusters: Sequence[str],
    level: float = 0.95,
) -> tuple[Interval, float]:
    """Compare two systems on the same items, for other speakers and trainings too: `a`
    minus `b`.

    Args:
        measure, clusters, level: as for `clustered_interval`.
        a, b: (n, k) statistics of the two on the same items, trained on the same folds
            with the same seeds.

    Returns:
        the interval of the difference and the two-sided p-value of Student's t; nan,
        "cannot tell", where there are fewer than `FEWEST` clusters of a kind.

    Raises:
        ValueError: as `clustered_interval`.
    """
    estimate, error, freedom = _jackknife(measure, [a, b], clusters)
    gap = _around(estimate, error, freedom, level)
    if math.isnan(gap.low):
        return gap, math.nan
    if error == 0:
        return gap, 1.0
    return gap, float(2 * stats.t.sf(abs(estimate) / error, freedom))


def _around(estimate: float, error: float, freedom: int, level: float) -> Interval:
    tail = (1 - checked(level)) / 2
    if freedom < FEWEST - 1 or (error == 0 and estimate != 0):
        return Interval(math.nan, math.nan, estimate)
    half = float(stats.t.isf(tail, freedom)) * error
    return Interval(estimate - half, estimate + half, estimate)


def _jackknife(
    measure: Measure, arrays: Sequence[ArrayLike], clusters: Sequence[Sequence[str]]
) -> tuple[float, float, int]:
    """A score, or the first less the second; its standard error; degrees of freedom."""
    arrays = [np.asarray(one, dtype=float) for one in arrays]
    n = len(arrays[0])
    if n == 0 or any(one.ndim != 2 or one.shape != arrays[0].shape for one in arrays):
        shapes = [one.shape for one in arrays]
        raise ValueError(f"expected statistics (n, k) of the same items, got {shapes}")
    if len(clusters) not in (1, 2) or any(len(one) != n for one in clusters):
        told = [len(one) for one in clusters]
        raise ValueError(f"expected one or two clusters of {n} rows each, got {told}")
    members = [np.unique(one, return_inverse=True)[1] for one in clusters]
    counts = [int(one.max()) + 1 for one in members]
    if min(counts) < 2:
        return _less(measure, [one.sum(axis=0) for one in arrays]), math.nan, 0
    found = [_spread(measure, arrays, one) for one in members]
    if len(members) == 2:
        crossed = np.unique(members[0] * counts[1] + members[1], return_inverse=True)[1]
        found.append(sum(found) - _spread(measure, arrays, crossed))
    estimate = _less(measure, [one.sum(axis=0) for one in arrays])
    return estimate, math.sqrt(max(found)), min(counts) - 1


def _spread(
    measure: Measure, arrays: Sequence[np.ndarray], member: np.ndarray
) -> float:
    """The jackknife's variance of a score, or of a difference of two."""
    count = int(member.max()) + 1
    totals = [one.sum(axis=0) for one in arrays]
    without = []
    for one, total in zip(arrays, totals, strict=True):
        sums = np.zeros((count, one.shape[1]))
        np.add.at(sums, member, one)
        without.append(total - sums)
    moved = _less(measure, without) - _less(measure, totals)
    return float((count - 1) / count * (moved**2).sum())


def _less(measure: Measure, sums: Sequence[np.ndarray]) -> np.ndarray | float:
    """The score of sums, or the first's less the second's."""
    first, *second = (measure.value(one) for one in sums)
    return first - second[0] if second else first


def _by_group(counts: ArrayLike, groups: Sequence[str] | None) -> np.ndarray:
    """Counts of each group, (groups, classes, classes)."""
    counts = np.asarray(counts, dtype=float)
    classes = math.isqrt(counts.shape[-1])
    if counts.ndim != 2 or not len(counts) or classes**2 != counts.shape[1]:
        raise ValueError(f"expected counts (n, classes²), got shape {counts.shape}")
    if groups is not None:
        if len(groups) != len(counts):
            raise ValueError(
                f"expected a group for each of {len(counts)} rows, got {len(groups)}"
            )
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.zeros((len(names), counts.shape[1]))
        np.add.at(sums, member, counts)
        counts = sums
    return counts.reshape(-1, classes, classes)


def _worth(right: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """How many independent right answers, and answers, some groups of them are worth,
    as their spread says.

    Args:
        right, sizes: (groups,) right answers and all answers; some may have none.
    """
    right, sizes = right[sizes > 0], sizes[sizes > 0]
    groups, total = len(sizes), sizes.sum()
    share = right.sum() / total
    worth = float(groups)
    if groups > 1 and 0 < share < 1:
        spread = ((right - share * sizes) ** 2).sum() / total**2
        worth = share * (1 - share) / (spread * groups / (groups - 1))
    worth = float(np.clip(worth, groups, total))
    return (worth if share == 1 else float(share * worth)), worth
