"""Measures against scikit-learn and scipy, intervals against slow references and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm, t
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
)

from serlib import metrics

PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n).map(np.array) for _ in range(2)])
)


@given(PAIRS)
@settings(max_examples=200)
def test_measures_agree_with_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, predictions = pair
    expected = {
        "accuracy": accuracy_score(labels, predictions),
        "wa": recall_score(labels, predictions, average="weighted", zero_division=0),
        "ua": recall_score(labels, predictions, average="macro", labels=np.unique(labels)),
        "wap": precision_score(labels, predictions, average="weighted", zero_division=0),
    }
    assert metrics.accuracy(labels, predictions) == pytest.approx(expected["accuracy"])
    assert metrics.weighted_accuracy(labels, predictions) == pytest.approx(expected["wa"])
    assert metrics.unweighted_accuracy(labels, predictions) == pytest.approx(expected["ua"])
    assert metrics.weighted_average_precision(labels, predictions) == pytest.approx(expected["wap"])
    counts = metrics.confusion(labels, predictions)
    assert (counts == confusion_matrix(labels, predictions, labels=range(4))).all()
    assert metrics.summary(labels, np.eye(4)[predictions]) == pytest.approx(expected)


@given(PAIRS, st.permutations(range(4)), st.randoms(use_true_random=False))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_measures_do_not_care_for_order_names_or_copies(pair, names: list[int], random) -> None:
    labels, predictions = pair
    order = random.sample(range(len(labels)), len(labels))
    named = np.array(names)
    ways = [(labels[order], predictions[order]), (named[labels], named[predictions])]
    ways.append((np.tile(labels, 3), np.tile(predictions, 3)))
    for measure in (
        metrics.accuracy,
        metrics.weighted_accuracy,
        metrics.unweighted_accuracy,
        metrics.weighted_average_precision,
    ):
        value = measure(labels, predictions)
        assert 0 <= value <= 1
        assert measure(labels, labels) == 1
        assert (value == 0) == (not (labels == predictions).any())
        if measure is not metrics.weighted_average_precision:  # whose 1 may hide a mistake: 0 0 taken for 0 1
            assert (value == 1) == bool((labels == predictions).all())
        assert [measure(*way) for way in ways] == pytest.approx([value] * 3)
    assert metrics.weighted_accuracy(labels, predictions) == metrics.accuracy(labels, predictions)
    wrong = np.flatnonzero(labels != predictions)
    if len(wrong):  # one answer put right
        better = predictions.copy()
        better[wrong[0]] = labels[wrong[0]]
        assert metrics.accuracy(labels, better) == pytest.approx(
            metrics.accuracy(labels, predictions) + 1 / len(labels)
        )
        assert metrics.unweighted_accuracy(labels, better) > metrics.unweighted_accuracy(labels, predictions)


@given(PAIRS, st.sampled_from(["accuracy", "wa", "ua", "wap"]), st.floats(0.5, 0.99), st.integers(0, 99))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_intervals_stay_in_bounds(pair, name: str, level: float, seed: int) -> None:
    labels, predictions = pair
    low, high, estimate = metrics.bootstrap(name, labels, predictions, samples=60, level=level, seed=seed)
    assert 0 <= low <= high <= 1 and estimate == metrics.MEASURES[name](metrics.confusion(labels, predictions))
    (low, high, estimate), p = metrics.paired_bootstrap(name, labels, predictions, labels, samples=60, seed=seed)
    assert -1 <= low <= high <= 0 and -1 <= estimate <= 0 and 0 < p <= 1
    right = int((labels == predictions).sum())
    low, high, share = metrics.wilson(right, len(labels), level)
    assert 0 <= low <= share <= high <= 1


@given(st.integers(2, 30), st.floats(-100, 100), st.floats(0.01, 100), st.integers(0, 999))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_concordance_is_bounded_symmetric_and_without_unit(n: int, shift: float, scale: float, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    ccc = metrics.concordance(x, y)
    assert -1 <= ccc <= 1 and metrics.concordance(y, x) == pytest.approx(ccc)
    assert metrics.concordance(shift + scale * x, shift + scale * y) == pytest.approx(ccc, abs=1e-6)
    assert metrics.concordance(x, -x + 2 * x.mean()) == pytest.approx(-1)
    assert abs(ccc) <= abs(np.corrcoef(x, y)[0, 1]) + 1e-9


def test_broken_input_is_named() -> None:
    for call in (metrics.accuracy, metrics.confusion, metrics.weighted_average_precision):
        with pytest.raises(ValueError, match="one length, at least 1"):
            call([0, 1], [0])
        with pytest.raises(ValueError, match="one length, at least 1"):
            call([], [])
        with pytest.raises(ValueError, match="integers; got float64"):
            call([0, 1], [0.5, 1.0])
    with pytest.raises(ValueError, match="from 0 to 3; got 1 to 4"):
        metrics.confusion([0, 1], [4, 1])
    with pytest.raises(ValueError, match=r"\(n, classes\)"):
        metrics.summary([0, 1], [0, 1])
    with pytest.raises(ValueError, match="accuracy, wa, ua, wap; got 'f1'"):
        metrics.bootstrap("f1", [0, 1], [0, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.bootstrap("ua", [0, 1], [0, 1], level=95)


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_concordance_is_the_slow_formula(n: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    mean_x, mean_y = sum(x) / n, sum(y) / n
    var_x = sum((a - mean_x) ** 2 for a in x) / n
    var_y = sum((b - mean_y) ** 2 for b in y) / n
    cov = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    expected = 2 * cov / (var_x + var_y + (mean_x - mean_y) ** 2)
    assert metrics.concordance(x, y) == pytest.approx(expected)
    assert metrics.concordance(x, x) == pytest.approx(1)
    assert metrics.concordance(x, x + 10) < 0.9
    assert metrics.concordance(np.full(n, 0.1), np.full(n, 0.1)) == 0


def test_concordance_rejects_what_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        metrics.concordance([1.0], [1.0])
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        metrics.concordance([1.0, 2.0, 3.0], [1.0, 2.0])


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
def test_wilson_solves_the_score_test(counts: tuple[int, int], level: float) -> None:
    successes, total = counts
    low, high, estimate = metrics.wilson(successes, total, level)
    z = norm.ppf(0.5 + level / 2)

    def score(p: float) -> float:
        return abs(estimate - p) - z * math.sqrt(p * (1 - p) / total)

    inner = min(max(estimate, 1e-9), 1 - 1e-9)
    assert low == pytest.approx(brentq(score, 0, inner) if successes else 0, abs=1e-9)
    assert high == pytest.approx(brentq(score, inner, 1) if successes < total else 1, abs=1e-9)


def test_wilson_rejects_impossible_counts() -> None:
    for successes, total in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"{successes} of {total}"):
            metrics.wilson(successes, total)


def test_mean_interval_is_students() -> None:
    values = [0.61, 0.64, 0.58, 0.66]
    low, high, mean = metrics.mean_interval(values, level=0.9)
    expected = t.interval(0.9, 3, loc=np.mean(values), scale=np.std(values, ddof=1) / 2)
    assert (low, high, mean) == pytest.approx((*expected, np.mean(values)))
    low, high, mean = metrics.mean_interval([0.6])
    assert mean == 0.6 and math.isnan(low) and math.isnan(high)
    assert math.isnan(metrics.mean_interval([0.6, 0.7]).low)
    with pytest.raises(ValueError, match="got none"):
        metrics.mean_interval([])


def simulated(n: int, right: float, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=[0.2, 0.3, 0.3, 0.2])
    return labels, np.where(rng.random(n) < right, labels, rng.integers(0, classes, n))


@pytest.mark.parametrize(
    ("name", "slow"),
    [
        ("accuracy", metrics.accuracy),
        ("ua", metrics.unweighted_accuracy),
        ("wap", metrics.weighted_average_precision),
    ],
)
def test_bootstrap_equals_a_loop_over_the_same_draws(name: str, slow) -> None:
    labels, a = simulated(90, 0.6, 0)
    _, b = simulated(90, 0.5, 1)
    speakers = np.random.default_rng(2).choice(list("uvwxyz"), 90)
    members = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]

    drawn = np.random.default_rng(7).multinomial(len(members), np.full(len(members), 1 / len(members)), size=50)
    resamples = [np.concatenate([np.tile(m, w) for m, w in zip(members, row, strict=True)]) for row in drawn]
    values = [slow(labels[i], a[i]) for i in resamples]
    low, high, estimate = metrics.bootstrap(name, labels, a, groups=speakers, samples=50, seed=7, level=0.8)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))
    assert estimate == slow(labels, a)
    differences = np.array([slow(labels[i], a[i]) - slow(labels[i], b[i]) for i in resamples])
    (low, high, estimate), p = metrics.paired_bootstrap(
        name, labels, a, b, groups=speakers, samples=50, seed=7, level=0.8
    )
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.1, 0.9])))
    assert estimate == pytest.approx(slow(labels, a) - slow(labels, b))
    assert p == pytest.approx(min(1, 2 * (1 + min((differences <= 0).sum(), (differences >= 0).sum())) / 51))

    cells = labels * 4 + a
    drawn = np.random.default_rng(7).multinomial(90, np.bincount(cells, minlength=16) / 90, size=50)
    values = [slow(i // 4, i % 4) for i in (np.repeat(np.arange(16), row) for row in drawn)]
    low, high, _ = metrics.bootstrap(name, labels, a, samples=50, seed=7, level=0.8)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))


def test_bootstrap_agrees_with_scipy() -> None:
    labels, predictions = simulated(400, 0.6, 3)
    ours = metrics.bootstrap("wap", labels, predictions, samples=4000)
    theirs = scipy_bootstrap(
        (labels, predictions),
        metrics.weighted_average_precision,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=0,
    ).confidence_interval
    assert ours[:2] == pytest.approx((theirs.low, theirs.high), abs=0.008)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.6 + 0.4 / 4
    inside = 0
    for seed in range(300):
        low, high, _ = metrics.bootstrap("ua", *simulated(300, 0.6, seed), level=0.9, samples=400, seed=seed)
        inside += low <= truth <= high
    assert 0.85 <= inside / 300 <= 0.95


def test_groups_widen_the_interval_when_speakers_differ() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 60)
    labels = rng.integers(0, 4, 600)
    right = rng.random(600) < np.where(speakers < 5, 0.9, 0.3)
    predictions = np.where(right, labels, (labels + 1) % 4)
    alone = metrics.bootstrap("ua", labels, predictions)
    grouped = metrics.bootstrap("ua", labels, predictions, groups=[f"speaker {s}" for s in speakers])
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="600 utterances, got 2"):
        metrics.bootstrap("ua", labels, predictions, groups=["a", "b"])
    with pytest.raises(ValueError, match="two groups"):
        metrics.bootstrap("ua", labels, predictions, groups=["a"] * 600)


def test_paired_bootstrap_tells_a_real_difference_from_none() -> None:
    labels, a = simulated(800, 0.6, 0)
    worse = np.where(np.random.default_rng(9).random(800) < 0.1, (labels + 1) % 4, a)
    difference, p = metrics.paired_bootstrap("ua", labels, a, worse)
    assert 0 < difference.low < difference.estimate < difference.high and p < 0.01
    separate = metrics.bootstrap("ua", labels, a)
    assert difference.high - difference.low < separate.high - separate.low
    reverse, p_reverse = metrics.paired_bootstrap("ua", labels, worse, a)
    assert reverse.estimate == -difference.estimate and p_reverse < 0.01
    assert metrics.paired_bootstrap("ua", labels, a, a) == (metrics.Interval(0, 0, 0), 1)
    with pytest.raises(ValueError, match="one length"):
        metrics.paired_bootstrap("ua", labels, a, worse[:-1])
