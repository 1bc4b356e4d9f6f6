"""Intervals against slow literal formulas; their promises against small simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from serlib import intervals, metrics
from serlib.tasks import CLASSES, CONTINUOUS

UA, WA = (CLASSES.measures[name] for name in ("ua", "wa"))


def answers(n: int, recalls: list[float], shares: list[float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    labels = draw.choice(len(shares), n, p=shares)
    return labels, np.where(draw.random(n) < np.array(recalls)[labels], labels, (labels + 1) % len(shares))


def test_recall_interval_is_the_exact_one_of_each_class_put_together() -> None:
    labels, said = answers(60, [0.9, 0.5, 0.7, 1.0], [0.4, 0.3, 0.2, 0.1], 0)
    down, up = 0.0, 0.0
    for label in range(4):
        own = said[labels == label] == label
        low, high = stats.binomtest(int(own.sum()), len(own)).proportion_ci(0.9, "exact")
        assert intervals.exact(int(own.sum()), len(own), 0.9) == pytest.approx((low, high, own.mean()))
        down += (own.mean() - low) ** 2
        up += (high - own.mean()) ** 2
    counts = UA.statistics(labels, said)
    low, high, estimate = intervals.recall_interval(counts, level=0.9)
    assert estimate == pytest.approx(metrics.unweighted_accuracy(labels, said))
    assert (estimate - low, high - estimate) == pytest.approx((math.sqrt(down) / 4, math.sqrt(up) / 4))
    right = int((labels == said).sum())
    assert intervals.accuracy_interval(counts, level=0.9) == pytest.approx(metrics.wilson(right, 60, 0.9))
    present = intervals.recall_interval(counts[labels < 2])
    assert present.estimate == pytest.approx(metrics.unweighted_accuracy(labels[labels < 2], said[labels < 2]))


def test_perfect_answers_leave_room_and_a_bootstrap_none() -> None:
    counts = UA.statistics([0, 0, 0, 1, 1, 2, 3], [0, 0, 0, 1, 1, 2, 3])
    assert metrics.bootstrap(UA, counts)[:2] == (1, 1)
    low, high, estimate = intervals.recall_interval(counts)
    assert low < 0.75 and high == estimate == 1
    for level in (0.5, 0.99):
        for wrong in itertools.product(range(4), repeat=2):
            low, high, estimate = intervals.recall_interval(UA.statistics([0, 1], list(wrong)), level=level)
            assert 0 <= low <= estimate <= high <= 1


def test_seeds_that_agree_are_no_new_items() -> None:
    labels, said = answers(80, [0.8, 0.6, 0.7, 0.9], [0.25] * 4, 1)
    counts, items = UA.statistics(labels, said), np.arange(80)
    once = {one: one(counts) for one in (intervals.recall_interval, intervals.accuracy_interval)}
    for interval, alone in once.items():
        assert interval(counts, groups=items) == pytest.approx(alone)
        agreed = interval(np.tile(counts, (5, 1)), groups=np.tile(items, 5))
        assert agreed == pytest.approx(alone, abs=0.003) and interval(np.tile(counts, (5, 1)))[1] < agreed[1]
    others = [UA.statistics(labels, np.random.default_rng(seed).permutation(said)) for seed in range(5)]
    apart = intervals.recall_interval(np.concatenate(others), groups=np.tile(items, 5))
    assert apart.high - apart.low < 0.7 * (once[intervals.recall_interval].high - once[intervals.recall_interval].low)


@pytest.mark.parametrize(
    ("n", "recalls", "shares"),
    [(60, [0.7] * 4, [0.25] * 4), (100, [0.95] * 4, [0.25] * 4), (150, [0.8] * 4, [0.4, 0.4, 0.15, 0.05])],
)
def test_recall_interval_covers_the_truth_about_as_often_as_it_says(n: int, recalls: list, shares: list) -> None:
    inside = 0
    for seed in range(300):
        low, high, _ = intervals.recall_interval(UA.statistics(*answers(n, recalls, shares, seed)))
        inside += low <= np.mean(recalls) <= high
    assert inside / 300 > 0.93


def slow_spread(measure: metrics.Measure, first: np.ndarray, second: np.ndarray, names: list) -> float:
    """The jackknife, a cluster left out after the other."""
    whole = measure.value(first.sum(axis=0)) - measure.value(second.sum(axis=0))
    moved = []
    for name in sorted(set(names)):
        rest = np.array([one != name for one in names])
        moved.append(measure.value(first[rest].sum(axis=0)) - measure.value(second[rest].sum(axis=0)) - whole)
    return (len(moved) - 1) / len(moved) * sum(one**2 for one in moved)


def test_clustered_difference_is_the_slow_jackknife_of_speakers_and_trainings() -> None:
    labels, a = answers(240, [0.8, 0.6, 0.7, 0.9], [0.4, 0.3, 0.2, 0.1], 2)
    first, second = UA.statistics(labels, a), UA.statistics(labels, np.roll(a, 3))
    draw = np.random.default_rng(0)
    speakers, trainings = (draw.choice(list(names), 240) for names in ("uvwxyz", "abcdefgh"))
    crossed = [f"{one} {two}" for one, two in zip(speakers, trainings, strict=True)]
    spreads = [slow_spread(UA, first, second, list(names)) for names in (speakers, trainings, crossed)]
    error = math.sqrt(max(spreads[0], spreads[1], spreads[0] + spreads[1] - spreads[2]))
    gap, p = intervals.clustered_difference(UA, first, second, speakers, trainings, level=0.9)
    estimate = metrics.unweighted_accuracy(labels, a) - metrics.unweighted_accuracy(labels, np.roll(a, 3))
    expected = stats.t.interval(0.9, 5, estimate, error)
    assert gap == pytest.approx((*expected, estimate))
    assert p == pytest.approx(2 * stats.t.sf(estimate / error, 5))
    one_way, _ = intervals.clustered_difference(UA, first, second, speakers, level=0.9)
    assert one_way == pytest.approx((*stats.t.interval(0.9, 5, estimate, math.sqrt(spreads[0])), estimate))
    reverse, same_p = intervals.clustered_difference(UA, second, first, speakers, trainings, level=0.9)
    assert (reverse.low, reverse.high, same_p) == pytest.approx((-gap.high, -gap.low, p))
    assert intervals.clustered_difference(UA, first, first, speakers) == ((0, 0, 0), 1)


def test_of_a_mean_it_is_students_interval() -> None:
    """Each cluster one recording, its score a mean of as many: the textbook's formula."""
    values = np.array([0.3, 0.5, 0.1, 0.4, 0.6, 0.2])
    mean = metrics.Measure("mean", lambda *_: _, lambda sums: sums[..., 0] / sums[..., 1])
    statistics = np.stack([values, np.ones(6)], axis=1)
    assert intervals.clustered_interval(mean, statistics, list("abcdef")) == pytest.approx(
        metrics.mean_interval(values)
    )


def test_curves_are_served_too() -> None:
    draw, ccc = np.random.default_rng(0), CONTINUOUS.measures["ccc"]
    pairs = [(target, target + draw.normal(0, 0.5, target.shape)) for target in draw.normal(size=(8, 50, 3))]
    sums = np.stack([ccc.statistics(*pair) for pair in pairs])
    low, high, estimate = intervals.clustered_interval(ccc, sums, list("aabbccde"))
    assert 0.5 < low < estimate < high < 1


def test_too_few_clusters_cannot_tell() -> None:
    labels, said = answers(40, [0.8] * 4, [0.25] * 4, 3)
    first, second = UA.statistics(labels, said), UA.statistics(labels, (said + 1) % 4)
    four, five = np.arange(40) % 4, np.arange(40) % 5
    for clusters in ([four], [four, five], [five, four], [np.zeros(40)]):
        gap, p = intervals.clustered_difference(UA, first, second, *clusters)
        assert gap.estimate > 0 and all(math.isnan(one) for one in (gap.low, gap.high, p))
        assert math.isnan(intervals.clustered_interval(UA, first, *clusters).low)
    assert not math.isnan(intervals.clustered_difference(UA, first, second, five)[1])
    always = WA.statistics(np.zeros(40, int), np.zeros(40, int)), WA.statistics(np.zeros(40, int), np.ones(40, int))
    assert math.isnan(intervals.clustered_difference(WA, *always, five)[1])  # no spread at all: too good to be told


def test_broken_input_is_named() -> None:
    two = UA.statistics([0, 1], [0, 1])
    for call in (intervals.recall_interval, intervals.accuracy_interval):
        for wrong in (two[:0], two[0], two[:, :15]):
            with pytest.raises(ValueError, match=r"expected counts \(n, classes²\), got shape"):
                call(wrong)
        with pytest.raises(ValueError, match="a group for each of 2 rows, got 1"):
            call(two, groups=["a"])
        with pytest.raises(ValueError, match="between 0 and 1"):
            call(two, level=95)
    for wrong in ([two[:0]], [two, two[:1]], [two[0], two[0]]):
        with pytest.raises(ValueError, match=r"expected statistics \(n, k\) of the same items"):
            intervals.clustered_difference(UA, wrong[0], wrong[-1], ["a", "b"])
    for wrong in ([], [["a"]], [["a", "b"]] * 3):
        with pytest.raises(ValueError, match="expected one or two clusters of 2 rows each"):
            intervals.clustered_interval(UA, two, *wrong)
    with pytest.raises(ValueError, match="between 0 and 1"):
        intervals.clustered_interval(UA, np.tile(two, (5, 1)), np.repeat(np.arange(5), 2), level=95)


@pytest.mark.parametrize("seeds", [1, 3])
def test_systems_that_differ_by_luck_and_by_speaker_are_rarely_told_apart(seeds: int) -> None:
    """No system is better: 5 folds of 2 speakers, who suit one or the other, and trainings with luck."""
    found, rounds = 0, 200
    for draw in map(np.random.default_rng, range(rounds)):
        person = np.repeat(np.arange(10), 40)  # two to a fold
        labels, fold = draw.integers(0, 4, 400), person // 2
        both = []
        for _ in range(2):
            suits, luck = draw.normal(0, 0.05, 10)[person], draw.normal(0, 0.02, (5, seeds))[fold]
            right = draw.random((seeds, 400)) < 0.7 + suits + luck.T
            both.append(
                np.concatenate([UA.statistics(labels, np.where(one, labels, (labels + 1) % 4)) for one in right])
            )
        trained = np.concatenate([5 * seed + fold for seed in range(seeds)])
        _, p = intervals.clustered_difference(UA, *both, np.tile(person, seeds), trained)
        found += p < 0.05
    assert found / rounds <= 0.09
