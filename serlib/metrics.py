"""Numbers that say how good predictions are, and how sure we can be of them.

The measures of all five papers: WA, UA and WAP (yoon2018, xu2019, shen2020,
krishna2020), CCC (tzirakis2021). Taught in chapter `evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Share of utterances that were given their own class.

    Args:
        labels, predictions: (n,) class indices.

    Raises:
        ValueError: as `confusion`.
    """
    return _measure("accuracy", labels, predictions)


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
    return _measure("wa", labels, predictions)


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
    return _measure("ua", labels, predictions)


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
    return _measure("wap", labels, predictions)


def summary(labels: ArrayLike, logits: ArrayLike) -> dict[str, float]:
    """Return the four measures of a classifier's output.

    Args:
        labels: (n,) class indices.
        logits: (n, classes) scores; the prediction is the class with the highest.

    Returns:
        `accuracy`, `wa`, `ua` and `wap`, each in [0, 1].

    Raises:
        ValueError: if the shapes do not fit, or as `confusion`.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2:
        raise ValueError(f"expected logits of shape (n, classes), got {logits.shape}")
    counts = confusion(labels, logits.argmax(axis=1), classes=logits.shape[1])
    return {name: float(measure(counts)) for name, measure in MEASURES.items()}


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
            f"expected two series of the same length, at least 2; got shapes {x.shape}"
            f" and {y.shape}"
        )
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
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
    z2 = NormalDist().inv_cdf(0.5 + _checked(level) / 2) ** 2
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
        stats.t.ppf(0.5 + _checked(level) / 2, values.size - 1) * stats.sem(values)
    )
    return Interval(mean - half, mean + half, mean)


def bootstrap(
    metric: str,
    labels: ArrayLike,
    predictions: ArrayLike,
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> Interval:
    """Percentile bootstrap interval of a measure: how it varies with the choice of test
    utterances.

    Utterances are drawn with replacement, without regard to their class. A measure of
    classification depends on a resample only through its confusion counts, and those of
    all resamples are one multinomial draw: no loop.

    Args:
        metric: `accuracy`, `wa`, `ua` or `wap`.
        labels, predictions: (n,) class indices.
        level: confidence level.
        samples: number of resamples.
        seed: the same seed gives the same interval.
        groups: (n,) what to draw instead of utterances, usually their speakers:
            utterances of a speaker are alike, and the interval over speakers, wider, is
            the one that tells of new speakers.

    Raises:
        ValueError: for an unknown metric, lengths that differ, or as `confusion`.
    """
    measure = _named(metric)
    labels, predictions = _indices(labels, predictions)
    classes = _classes(labels, predictions)
    counts = _resample(
        labels * classes + predictions, classes**2, groups, samples, seed
    )
    values = measure(counts.reshape(samples, classes, classes))
    low, high = _percentiles(values, level)
    return Interval(low, high, float(measure(confusion(labels, predictions, classes))))


def paired_bootstrap(
    metric: str,
    labels: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    level: float = 0.95,
    samples: int = 2000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[Interval, float]:
    """Compare two systems on the same utterances: the difference of a measure, `a`
    minus `b`.

    Each resample draws the same utterances for both, so what they share (easy and hard
    utterances) cancels.

    Args:
        metric, level, samples, seed, groups: as in `bootstrap`.
        labels: (n,) class indices.
        a, b: (n,) predictions of the two systems, in the order of `labels`.

    Returns:
        the interval of the difference, and the two-sided p-value: twice the share of
        resamples in which the difference is zero or has the other sign. It is about 1 -
        level, or lower, where the interval leaves zero out.

    Raises:
        ValueError: as `bootstrap`.

    Example:
        >>> difference, p = paired_bootstrap("ua", labels, a.predicted, b.predicted)
    """
    measure = _named(metric)
    labels, a, b = _indices(labels, a, b)
    classes = _classes(labels, a, b)
    cells = (labels * classes + a) * classes + b
    joint = _resample(cells, classes**3, groups, samples, seed).reshape(
        samples, classes, classes, classes
    )
    values = measure(joint.sum(axis=3)) - measure(joint.sum(axis=2))
    estimate = measure(confusion(labels, a, classes)) - measure(
        confusion(labels, b, classes)
    )
    low, high = _percentiles(values, level)
    tail = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    return Interval(low, high, float(estimate)), min(
        1.0, 2 * (tail + 1) / (samples + 1)
    )


def _accuracy(counts: np.ndarray) -> np.ndarray:
    """Accuracy of confusion counts (..., classes, classes)."""
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))


def _ua(counts: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that have labels, of confusion counts (..., classes,
    classes).
    """
    rows = counts.sum(axis=-1)
    recall = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(rows, 1)
    return recall.sum(axis=-1) / (rows > 0).sum(axis=-1)


def _wap(counts: np.ndarray) -> np.ndarray:
    """Precision weighted by the labels' shares, of confusion counts (..., classes,
    classes).
    """
    rows, columns = counts.sum(axis=-1), counts.sum(axis=-2)
    precision = np.diagonal(counts, axis1=-2, axis2=-1) / np.maximum(columns, 1)
    return (precision * rows).sum(axis=-1) / rows.sum(axis=-1)


MEASURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy,
    "wa": _accuracy,
    "ua": _ua,
    "wap": _wap,
}
"""Name of a measure to the function that computes it from confusion counts (...,
classes, classes).
"""


def _measure(metric: str, labels: ArrayLike, predictions: ArrayLike) -> float:
    labels, predictions = _indices(labels, predictions)
    return float(
        MEASURES[metric](confusion(labels, predictions, _classes(labels, predictions)))
    )


def _named(metric: str) -> Callable[[np.ndarray], np.ndarray]:
    if metric not in MEASURES:
        raise ValueError(
            f"expected a metric among {', '.join(MEASURES)}; got {metric!r}"
        )
    return MEASURES[metric]


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


def _classes(*series: np.ndarray) -> int:
    return 1 + int(max(one.max() for one in series))


def _resample(
    cells: np.ndarray, kinds: int, groups: Sequence[str] | None, samples: int, seed: int
) -> np.ndarray:
    """Count the cells in each resample of the utterances, or of the groups they belong
    to.

    Args:
        cells: (n,) which cell each utterance falls into, 0 to kinds - 1.

    Returns:
        (samples, kinds) counts.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        counts = np.bincount(cells, minlength=kinds)
        return rng.multinomial(len(cells), counts / len(cells), size=samples)
    if len(groups) != len(cells):
        raise ValueError(
            f"expected a group for each of the {len(cells)} utterances, got"
            f" {len(groups)}"
        )
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"expected at least two groups to draw from, got only {names[0]}"
        )
    counts = np.bincount(member * kinds + cells, minlength=len(names) * kinds).reshape(
        len(names), kinds
    )
    weights = rng.multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=samples
    )  # (samples, groups)
    return weights @ counts


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    tail = (1 - _checked(level)) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(
            f"expected a confidence level between 0 and 1, such as 0.95; got {level}"
        )
    return level
