"""Numbers that say how good predictions are, and how sure we can be of them.

The measures of all five papers: WA, UA and WAP (yoon2018, xu2019, shen2020,
krishna2020), CCC (tzirakis2021). Taught in chapter `metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


@dataclass(frozen=True)
class Measure:
    """A score that depends on the test items only through sums over them.

    So one bootstrap and one paired test serve all measures: they draw items, or groups
    of items, with replacement, and add up.

    Attributes:
        name: as in a heading.
        statistics: from targets and outputs to what is summed, (..., k). Of classes:
            targets (...) and outputs (..., classes), or (...) predicted indices. Of
            curves: one item, (steps, dimensions) each, to (k,).
        value: from sums, (..., k), to scores, (...).
    """

    name: str
    statistics: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


class Interval(NamedTuple):
    """An estimate and the interval around it.

    Attributes:
        low, high: ends of the interval; nan where the data cannot give one.
        estimate: the value itself.
    """

    low: float
    high: float
    estimate: float


def confusion(
    labels: ArrayLike, predictions: ArrayLike, classes: int = 4
) -> np.ndarray:
    """Count how often each class was taken for each other.

    Args:
        labels, predictions: (n,) class indices.
        classes: number of classes.

    Returns:
        (classes, classes) counts; rows are the true classes, columns the predicted
        ones.

    Raises:
        ValueError: if the two lengths differ, there are none, or an index is not one of
            the classes.
    """
    labels, predictions = _indices(labels, predictions, classes=classes)
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(
        classes, classes
    )


def weighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """WA: mean recall of the classes, each weighted by its share of the utterances.

    Written out, the weights cancel and WA *is* the accuracy; xu2019 and shen2020 define
    it as "the overall classification accuracy". Both names are kept because the papers
    use both.

    Args:
        labels, predictions: (n,) class indices.

    Raises:
        ValueError: as `confusion`.
    """
    return _of_counts(wa, labels, predictions)


def unweighted_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """UA: mean recall of the classes, each counting the same however rare it is.

    A class that no label names has no recall: the mean is over the classes that are
    present, as in scikit-learn's `balanced_accuracy_score`. It matters for small test
    sets and for resamples that miss a class.

    Args:
        labels, predictions: (n,) class indices.

    Raises:
        ValueError: as `confusion`.
    """
    return _of_counts(ua, labels, predictions)


def weighted_average_precision(labels: ArrayLike, predictions: ArrayLike) -> float:
    """WAP: mean precision of the classes, each weighted by its share of the labels (the
    metric of yoon2018's Table 1).

    A class that is never predicted has precision 0, as in scikit-learn's
    `precision_score(average="weighted", zero_division=0)`.

    Args:
        labels, predictions: (n,) class indices.

    Raises:
        ValueError: as `confusion`.
    """
    return _of_counts(wap, labels, predictions)


def concordance(labels: ArrayLike, predictions: ArrayLike) -> float:
    """CCC, the concordance correlation coefficient (tzirakis2021, equation 8).

    Args:
        labels, predictions: (frames,) series in the same unit.

    Returns:
        a number in [-1, 1]; 0 where one of the series, or both, is constant.

    Raises:
        ValueError: if the two lengths differ or fewer than two frames are given.
    """
    x, y = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(
            "expected two series of the same length, at least 2; got shapes"
            f" {x.shape} and {y.shape}"
        )
    return float(_concordance(_six_sums(x[:, None], y[:, None]))[0])


def wilson(successes: float, total: float, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion, such as an accuracy on one test set.

    The proportions p that a score test would not reject: |estimate - p| <= z sqrt(p (1
    - p) / total). Unlike the textbook estimate ± z·error it stays inside [0, 1] and
    holds for small sets and proportions near the ends.

    Args:
        successes: right answers.
        total: all answers.
        level: confidence level.

    Raises:
        ValueError: unless 0 <= successes <= total, total > 0 and 0 < level < 1.

    Example:
        >>> low, high, estimate = wilson(3971, 5531)  # 71.8 % of IEMOCAP's classes
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(
            f"expected 0 <= successes <= total and total > 0, got {successes} of"
            f" {total}"
        )
    z2 = NormalDist().inv_cdf(0.5 + checked(level) / 2) ** 2
    p = successes / total
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (p * (1 - p) / total + z2 / (4 * total**2))) / (
        1 + z2 / total
    )
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Interval(low, high, p)


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval for the mean of several runs, over seeds and folds.

    It treats the runs as independent. Folds share most of their training data, so over
    folds it is a little too narrow; `bootstrap` over the utterances answers the other
    question, how much the choice of test utterances matters.

    Args:
        values: one number per run.
        level: confidence level.

    Returns:
        the interval; its ends are nan for fewer than three runs, which say next to
        nothing about spread: with two the interval is 25 standard errors wide.

    Raises:
        ValueError: if there are no values.
    """
    values = np.asarray(values, dtype=float)
    if values.size == 0:
        raise ValueError("expected at least one value, got none")
    mean = float(values.mean())
    if values.size < 3:
        return Interval(math.nan, math.nan, mean)
    half = float(
        stats.t.ppf(0.5 + checked(level) / 2, values.size - 1) * stats.sem(values)
    )
    return Interval(mean - half, mean + half, mean)


def bootstrap(
    measure: Measure,
    statistics: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a measure: how it varies with the choice of test
    items.

    Items are drawn with replacement, without regard to their class.

    Args:
        measure: for instance `tasks.CLASSES.measures["ua"]`.
        statistics: (n, k) `measure.statistics` of each item.
        groups: (n,) what to draw instead of items, usually their speakers: utterances
            of a speaker are alike, and the interval over speakers, wider, is the one
            that tells of new speakers.
        level: confidence level.
        samples: number of resamples.
        seed: the same seed gives the same interval.

    Raises:
        ValueError: if there is no item, or for lengths that differ.
    """
    (sums,), total = _resample([statistics], groups, samples, seed)
    low, high = _percentiles(measure.value(sums), level)
    return Interval(low, high, float(measure.value(total[0])))


def paired_bootstrap(
    measure: Measure,
    a: ArrayLike,
    b: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[Interval, float]:
    """Compare two systems on the same items: the difference of a measure, `a` minus
    `b`.

    Each resample draws the same items for both, so what they share (easy and hard
    items) cancels.

    Args:
        measure, groups, level, samples, seed: as in `bootstrap`.
        a, b: (n, k) statistics of the two systems on the same items.

    Returns:
        the interval of the difference, and the two-sided p-value: twice the share of
        resamples in which the difference is zero or has the other sign. It is about
        1 - level, or lower, where the interval leaves zero out, but never below the
        least that a sign test could say: 1 of one item, 1/2 of two speakers.

    Raises:
        ValueError: as `bootstrap`.
    """
    sums, total = _resample([a, b], groups, samples, seed)
    first, second = (measure.value(one) for one in sums)
    values, estimate = first - second, measure.value(total[0]) - measure.value(total[1])
    low, high = _percentiles(values, level)
    tail = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    drawn = len(np.asarray(a)) if groups is None else len(set(groups))
    p = min(1.0, max(2 * (tail + 1) / (samples + 1), 2.0 ** (1 - drawn)))
    return Interval(low, high, float(estimate)), p


def wa(counts: np.ndarray) -> np.ndarray:
    """Accuracy of confusion counts (..., classes, classes)."""
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))


def ua(counts: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that have labels, of confusion counts (..., classes,
    classes).
    """
    rows = counts.sum(axis=-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(rows, 1)
    return recall.sum(axis=-1) / (rows > 0).sum(axis=-1)


def wap(counts: np.ndarray) -> np.ndarray:
    """Precision weighted by the labels' shares, of confusion counts (..., classes,
    classes).
    """
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    precision = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(columns, 1)
    return (precision * rows).sum(axis=-1) / rows.sum(axis=-1)


@cache
def classification_measures(classes: int) -> Mapping[str, Measure]:
    """Return UA, WA and WAP for so many classes: each of the counts of a confusion
    matrix.
    """

    def statistics(target: np.ndarray, output: np.ndarray) -> np.ndarray:
        target, output = np.asarray(target), np.asarray(output)
        if wrong := np.isnan(output).sum():
            raise ValueError(f"{wrong} of {output.size} outputs are no numbers (NaN)")
        predicted = output.argmax(axis=-1) if output.ndim > target.ndim else output
        return np.eye(classes**2)[target * classes + predicted]

    def of_counts(score: Callable[[np.ndarray], np.ndarray]) -> Callable:
        return lambda sums: score(sums.reshape(*sums.shape[:-1], classes, classes))

    scores = {"ua": ua, "wa": wa, "wap": wap}
    return {
        name: Measure(name.upper(), statistics, of_counts(score))
        for name, score in scores.items()
    }


@cache
def concordance_measures(dimensions: tuple[str, ...]) -> Mapping[str, Measure]:
    """Return the CCC of each dimension and their mean, two ways: over all frames of all
    items, end to end, as the AVEC challenges score; and of each item on its own, of
    which the mean is taken, called `..., each`.
    """
    chosen: dict[str, Callable] = {"ccc": lambda ccc: ccc.mean(axis=-1)}
    for index, name in enumerate(dimensions):
        chosen[name] = lambda ccc, index=index: ccc[..., index]

    def together(choose: Callable) -> Callable[[np.ndarray], np.ndarray]:
        return lambda sums: choose(_concordance(sums))

    def each(choose: Callable) -> Callable[[np.ndarray], np.ndarray]:
        return lambda sums: choose(sums[..., :-1] / sums[..., -1:])

    names = {"ccc": "CCC"} | {name: name for name in dimensions}
    return {
        name: Measure(names[name], _six_sums, together(choose))
        for name, choose in chosen.items()
    } | {
        f"{name}, each": Measure(f"{names[name]}, each", _alone, each(choose))
        for name, choose in chosen.items()
    }


def _alone(target: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The CCC of each dimension of one item, and that it is one, (dimensions + 1,)."""
    return np.append(_concordance(_six_sums(target, output)), 1.0)


def _six_sums(target: np.ndarray, output: np.ndarray) -> np.ndarray:
    """What the CCC of (steps, dimensions) depends on, (6 dimensions,)."""
    x, y = np.asarray(target, dtype=float), np.asarray(output, dtype=float)
    sums = [np.ones_like(x), x, y, x * x, y * y, x * y]
    return np.stack([one.sum(axis=0) for one in sums]).reshape(-1)


def _concordance(sums: np.ndarray) -> np.ndarray:
    """CCC of each dimension, (..., dimensions); 0 where a series is constant."""
    n, *means = np.moveaxis(sums.reshape(*sums.shape[:-1], 6, -1), -2, 0)
    x, y, xx, yy, xy = (one / n for one in means)
    x_variance, y_variance = xx - x * x, yy - y * y
    constant = (x_variance <= 1e-12 * xx) | (y_variance <= 1e-12 * yy)
    apart = np.where(constant, 1.0, x_variance + y_variance + (x - y) ** 2)
    return np.where(constant, 0.0, 2 * (xy - x * y) / apart)


def _of_counts(
    score: Callable[[np.ndarray], np.ndarray], labels: ArrayLike, predicted: ArrayLike
) -> float:
    labels, predicted = _indices(labels, predicted)
    classes = 1 + int(max(labels.max(), predicted.max()))
    return float(score(confusion(labels, predicted, classes)))


def _indices(*series: ArrayLike, classes: int | None = None) -> list[np.ndarray]:
    """Return the series as integer arrays of one length, at least 1; raise ValueError
    otherwise.
    """
    arrays = [np.asarray(one) for one in series]
    if (
        arrays[0].ndim != 1
        or len({one.shape for one in arrays}) != 1
        or arrays[0].size == 0
    ):
        raise ValueError(
            "expected labels and predictions of one length, at least 1; got shapes"
            f" {[one.shape for one in arrays]}"
        )
    for one in arrays:
        if one.dtype.kind not in "iu":
            raise ValueError(f"expected class indices, integers; got {one.dtype}")
        if one.min() < 0 or (classes is not None and one.max() >= classes):
            top = "" if classes is None else f" to {classes - 1}"
            raise ValueError(
                f"expected class indices from 0{top}; got {one.min()} to {one.max()}"
            )
    return [one.astype(np.int64) for one in arrays]


def _resample(
    statistics: Sequence[ArrayLike],
    groups: Sequence[str] | None,
    samples: int,
    seed: int,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Add up statistics over each resample of the items, or of groups of them.

    Args:
        statistics: some (n, k) arrays, of the same items.

    Returns:
        of each array, (samples, k) sums and the (k,) sum of all.
    """
    arrays = [np.asarray(one, dtype=float) for one in statistics]
    if any(one.ndim != 2 or one.shape != arrays[0].shape for one in arrays):
        raise ValueError(
            "expected statistics (n, k) of the same items, got shapes"
            f" {[one.shape for one in arrays]}"
        )
    n = len(arrays[0])
    if n == 0:
        raise ValueError("expected at least one item, got none")
    if groups is not None:
        if len(groups) != n:
            raise ValueError(
                f"expected a group for each of the {n} items, got {len(groups)}"
            )
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"expected at least two groups, got only {names[0]}")
        n = len(names)
        arrays = [_sum_by(one, member, n) for one in arrays]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=samples)  # (samples, n)
    return [weights @ one for one in arrays], [one.sum(axis=0) for one in arrays]


def _sum_by(statistics: np.ndarray, member: np.ndarray, groups: int) -> np.ndarray:
    sums = np.zeros((groups, statistics.shape[1]))
    np.add.at(sums, member, statistics)
    return sums


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - checked(level)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def checked(level: float) -> float:
    """Return a confidence level; raise ValueError if it is none."""
    if not 0 < level < 1:
        raise ValueError(
            f"expected a confidence level between 0 and 1, such as 0.95; got {level}"
        )
    return level
