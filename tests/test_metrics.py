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
from serlib.tasks import CLASSES, CONTINUOUS

PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n).map(np.array) for _ in range(2)])
)

SLOW = {
    "wa": metrics.weighted_accuracy,
    "ua": metrics.unweighted_accuracy,
    "wap": metrics.weighted_average_precision,
}


@given(PAIRS)
@settings(max_examples=200)
def test_measures_agree_with_scikit_learn(pair: tuple[np.ndarray, np.ndarray]) -> None:
    labels, predictions = pair
    assert accuracy_score(labels, predictions) == pytest.approx(metrics.weighted_accuracy(labels, predictions))
    expected = {
        "wa": recall_score(labels, predictions, average="weighted", zero_division=0),
        "ua": recall_score(labels, predictions, average="macro", labels=np.unique(labels)),
        "wap": precision_score(labels, predictions, average="weighted", zero_division=0),
    }
    assert metrics.weighted_accuracy(labels, predictions) == pytest.approx(expected["wa"])
    assert metrics.unweighted_accuracy(labels, predictions) == pytest.approx(expected["ua"])
    assert metrics.weighted_average_precision(labels, predictions) == pytest.approx(expected["wap"])
    counts = metrics.confusion(labels, predictions)
    assert (counts == confusion_matrix(labels, predictions, labels=range(4))).all()
    for name, measure in CLASSES.measures.items():
        for outputs in (predictions, np.eye(4)[predictions]):  # classes, or logits that have them highest
            each = measure.statistics(labels, outputs)
            assert each.shape == (len(labels), 16) and measure.value(each.sum(axis=0)) == pytest.approx(expected[name])
        assert (each.sum(axis=0).reshape(4, 4) == counts).all()


@given(PAIRS, st.permutations(range(4)), st.randoms(use_true_random=False))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_measures_do_not_care_for_order_names_or_copies(pair, names: list[int], random) -> None:
    labels, predictions = pair
    order = random.sample(range(len(labels)), len(labels))
    named = np.array(names)
    ways = [(labels[order], predictions[order]), (named[labels], named[predictions])]
    ways.append((np.tile(labels, 3), np.tile(predictions, 3)))
    for measure in (
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
    wrong = np.flatnonzero(labels != predictions)
    if len(wrong):  # one answer put right
        better = predictions.copy()
        better[wrong[0]] = labels[wrong[0]]
        assert metrics.weighted_accuracy(labels, better) == pytest.approx(
            metrics.weighted_accuracy(labels, predictions) + 1 / len(labels)
        )
        assert metrics.unweighted_accuracy(labels, better) > metrics.unweighted_accuracy(labels, predictions)


@given(PAIRS, st.sampled_from(list(CLASSES.measures)), st.floats(0.5, 0.99), st.integers(0, 99))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_intervals_stay_in_bounds(pair, name: str, level: float, seed: int) -> None:
    labels, predictions = pair
    measure = CLASSES.measures[name]
    said, perfect = (measure.statistics(labels, one) for one in (predictions, labels))
    low, high, estimate = metrics.bootstrap(measure, said, samples=60, level=level, seed=seed)
    assert 0 <= low <= high <= 1 and estimate == SLOW[name](labels, predictions)
    (low, high, estimate), p = metrics.paired_bootstrap(measure, said, perfect, samples=60, seed=seed)
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
    for call in (metrics.confusion, *SLOW.values()):
        with pytest.raises(ValueError, match="one length, at least 1"):
            call([0, 1], [0])
        with pytest.raises(ValueError, match="one length, at least 1"):
            call([], [])
        with pytest.raises(ValueError, match="integers; got float64"):
            call([0, 1], [0.5, 1.0])
    with pytest.raises(ValueError, match="from 0 to 3; got 1 to 4"):
        metrics.confusion([0, 1], [4, 1])
    ua = CLASSES.measures["ua"]
    two = ua.statistics([0, 1], [0, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.bootstrap(ua, two, level=95)
    with pytest.raises(ValueError, match="at least one item, got none"):
        metrics.bootstrap(ua, two[:0])
    with pytest.raises(ValueError, match=r"of the same items, got shapes \[\(16,\)\]"):
        metrics.bootstrap(ua, two.sum(axis=0))
    with pytest.raises(ValueError, match=r"of the same items, got shapes \[\(2, 16\), \(1, 16\)\]"):
        metrics.paired_bootstrap(ua, two, two[:1])


def test_outputs_that_are_no_numbers_have_no_class() -> None:
    for measure in CLASSES.measures.values():
        with pytest.raises(ValueError, match=r"4 of 8 outputs are no numbers \(NaN\)"):
            measure.statistics([0, 0], [[0.5, 0.1, 0.2, 0.2], [math.nan] * 4])


@pytest.mark.parametrize(("groups", "least"), [(1, 1), (2, 1 / 2), (5, 1 / 16), (40, 2 / 2001)])
def test_few_items_or_groups_cannot_have_a_small_p(groups: int, least: float) -> None:
    ua, labels = CLASSES.measures["ua"], np.tile([0, 1], groups)
    right, wrong = ua.statistics(labels, labels), ua.statistics(labels, 1 - labels)
    people = np.repeat(np.arange(groups), 2)
    if groups > 1:
        assert metrics.paired_bootstrap(ua, right, wrong, groups=people) == (metrics.Interval(1, 1, 1), least)
    few = slice(groups)
    assert metrics.paired_bootstrap(ua, right[few], wrong[few])[1] == least


def slow_concordance(x: np.ndarray, y: np.ndarray) -> float:
    """tzirakis2021, equation 8, one frame after the other."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    var_x = sum((a - mean_x) ** 2 for a in x) / n
    var_y = sum((b - mean_y) ** 2 for b in y) / n
    cov = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / n
    return 2 * cov / (var_x + var_y + (mean_x - mean_y) ** 2)


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_concordance_is_the_slow_formula(n: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n))
    assert metrics.concordance(x, y) == pytest.approx(slow_concordance(x, y))
    assert metrics.concordance(x, x) == pytest.approx(1)
    assert metrics.concordance(x, x + 10) < 0.9
    assert metrics.concordance(np.full(n, 0.1), np.full(n, 0.1)) == 0
    assert metrics.concordance(x, np.full(n, 0.1)) == metrics.concordance(np.full(n, 0.1), x) == 0


def test_concordance_agrees_with_audmetric() -> None:
    audmetric = pytest.importorskip("audmetric")
    rng = np.random.default_rng(0)
    for n in (2, 10, 1000):
        x = rng.normal(0.2, 0.3, n)
        for y in (0.5 * x + rng.normal(0, 0.1, n), -x, x + 0.3, rng.normal(size=n)):
            assert metrics.concordance(x, y) == pytest.approx(audmetric.concordance_cc(x, y), abs=1e-9)


def curves(lengths: list[int], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Target and output of some recordings, the second near the first."""
    rng = np.random.default_rng(seed)
    targets = [rng.normal(0.1, 0.3, (n, 3)).astype("f4") for n in lengths]
    return [(one, (0.6 * one + rng.normal(0, 0.2, one.shape)).astype("f4")) for one in targets]


@given(st.lists(st.integers(2, 20), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_concordance_of_recordings_is_over_all_their_frames(lengths: list[int], seed: int) -> None:
    pairs = curves(lengths, seed)
    measures = CONTINUOUS.measures
    names = ["ccc", "arousal", "valence", "liking"]
    assert list(measures) == [*names, *(f"{name}, each" for name in names)]
    target, output = (np.concatenate(part) for part in zip(*pairs, strict=True))
    expected = [slow_concordance(target[:, d].astype(float), output[:, d].astype(float)) for d in range(3)]
    for name, value in zip(names, [np.mean(expected), *expected], strict=True):
        sums = np.stack([measures[name].statistics(*pair) for pair in pairs])
        assert sums.shape == (len(pairs), 18)
        assert measures[name].value(sums.sum(axis=0)) == pytest.approx(value, abs=1e-9)


@given(st.lists(st.integers(2, 20), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_concordance_of_each_recording_is_averaged_over_them(lengths: list[int], seed: int) -> None:
    pairs, measures = curves(lengths, seed), CONTINUOUS.measures
    pairs = [tuple(one.astype(float) for one in pair) for pair in pairs]
    each = np.array([[slow_concordance(a[:, d], b[:, d]) for d in range(3)] for a, b in pairs])
    for name, expected in zip(CONTINUOUS.outputs, each.mean(axis=0), strict=True):
        sums = sum(measures[f"{name}, each"].statistics(*pair) for pair in pairs)
        assert measures[f"{name}, each"].value(sums) == pytest.approx(expected, abs=1e-9)
        assert measures["ccc, each"].value(sums) == pytest.approx(each.mean(), abs=1e-9)


def test_bootstrap_of_recordings_equals_a_loop_over_the_same_draws() -> None:
    pairs = curves([40, 25, 60, 30, 50, 35], 0)
    other = [(target, 0.8 * output) for target, output in pairs]
    measure = CONTINUOUS.measures["valence"]
    a, b = (np.stack([measure.statistics(*pair) for pair in some]) for some in (pairs, other))
    drawn = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=40)

    def slow(some: list, row: np.ndarray) -> float:
        chosen = [pair for pair, weight in zip(some, row, strict=True) for _ in range(weight)]
        return metrics.concordance(*(np.concatenate([pair[side][:, 1] for pair in chosen]) for side in (0, 1)))

    values = np.array([slow(pairs, row) for row in drawn])
    low, high, estimate = metrics.bootstrap(measure, a, samples=40, seed=3, level=0.8)
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))
    assert estimate == pytest.approx(slow(pairs, np.ones(6, int)))
    differences = values - [slow(other, row) for row in drawn]
    (low, high, _), p = metrics.paired_bootstrap(measure, a, b, samples=40, seed=3, level=0.8)
    assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.1, 0.9])))
    assert p == pytest.approx(min(1, 2 * (1 + min((differences <= 0).sum(), (differences >= 0).sum())) / 41))


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


@pytest.mark.parametrize("name", SLOW)
def test_bootstrap_equals_a_loop_over_the_same_draws(name: str) -> None:
    labels, a = simulated(90, 0.6, 0)
    _, b = simulated(90, 0.5, 1)
    speakers = np.random.default_rng(2).choice(list("uvwxyz"), 90)
    measure, slow = CLASSES.measures[name], SLOW[name]
    first, second = measure.statistics(labels, a), measure.statistics(labels, b)
    for groups, members in (
        (speakers, [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]),
        (None, [[i] for i in range(90)]),
    ):
        drawn = np.random.default_rng(7).multinomial(len(members), np.full(len(members), 1 / len(members)), size=50)
        resamples = [np.concatenate([np.tile(m, w) for m, w in zip(members, row, strict=True)]) for row in drawn]
        resamples = [row.astype(int) for row in resamples]
        how = {"groups": groups, "samples": 50, "seed": 7, "level": 0.8}
        values = [slow(labels[i], a[i]) for i in resamples]
        low, high, estimate = metrics.bootstrap(measure, first, **how)
        assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.1, 0.9])))
        assert estimate == slow(labels, a)
        differences = np.array([slow(labels[i], a[i]) - slow(labels[i], b[i]) for i in resamples])
        (low, high, estimate), p = metrics.paired_bootstrap(measure, first, second, **how)
        assert (low, high) == pytest.approx(tuple(np.quantile(differences, [0.1, 0.9])))
        assert estimate == pytest.approx(slow(labels, a) - slow(labels, b))
        assert p == pytest.approx(min(1, 2 * (1 + min((differences <= 0).sum(), (differences >= 0).sum())) / 51))


def test_bootstrap_agrees_with_scipy() -> None:
    labels, predictions = simulated(400, 0.6, 3)
    wap = CLASSES.measures["wap"]
    ours = metrics.bootstrap(wap, wap.statistics(labels, predictions), samples=4000)
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
    truth, ua = 0.6 + 0.4 / 4, CLASSES.measures["ua"]
    inside = 0
    for seed in range(300):
        said = ua.statistics(*simulated(300, 0.6, seed))
        low, high, _ = metrics.bootstrap(ua, said, level=0.9, samples=400, seed=seed)
        inside += low <= truth <= high
    assert 0.85 <= inside / 300 <= 0.95


def test_groups_widen_the_interval_when_speakers_differ() -> None:
    rng, ua = np.random.default_rng(0), CLASSES.measures["ua"]
    speakers = np.repeat(np.arange(10), 60)
    labels = rng.integers(0, 4, 600)
    right = rng.random(600) < np.where(speakers < 5, 0.9, 0.3)
    said = ua.statistics(labels, np.where(right, labels, (labels + 1) % 4))
    alone = metrics.bootstrap(ua, said)
    grouped = metrics.bootstrap(ua, said, groups=[f"speaker {s}" for s in speakers])
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="each of the 600 items, got 2"):
        metrics.bootstrap(ua, said, groups=["a", "b"])
    with pytest.raises(ValueError, match="at least two groups, got only a"):
        metrics.bootstrap(ua, said, groups=["a"] * 600)


def test_paired_bootstrap_tells_a_real_difference_from_none() -> None:
    labels, a = simulated(800, 0.6, 0)
    worse = np.where(np.random.default_rng(9).random(800) < 0.1, (labels + 1) % 4, a)
    ua = CLASSES.measures["ua"]
    a, worse = ua.statistics(labels, a), ua.statistics(labels, worse)
    difference, p = metrics.paired_bootstrap(ua, a, worse)
    assert 0 < difference.low < difference.estimate < difference.high and p < 0.01
    separate = metrics.bootstrap(ua, a)
    assert difference.high - difference.low < separate.high - separate.low
    reverse, p_reverse = metrics.paired_bootstrap(ua, worse, a)
    assert reverse.estimate == -difference.estimate and p_reverse < 0.01
    assert metrics.paired_bootstrap(ua, a, a) == (metrics.Interval(0, 0, 0), 1)
