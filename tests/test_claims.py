"""Claims: what is compared, corrected and told, and when nothing can be."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from serlib import claims, intervals, models, papers, tables
from serlib.claims import Claim
from serlib.results import Predictions

CORPUS = {f"s{speaker}u{n:02}": SimpleNamespace(speaker=f"s{speaker}") for speaker in range(10) for n in range(20)}
"""Ten speakers with twenty items each."""


def records(share: float, folds: int = 5, seeds: int = 1) -> list[SimpleNamespace]:
    """A system that is right on about this share of the items; what is read of a Record."""
    found = []
    for seed, fold in itertools.product(range(seeds), range(folds)):
        ids = [id for n, id in enumerate(CORPUS) if n % 5 == fold]
        targets = np.arange(len(ids)) % 4
        right = np.random.default_rng([int(100 * share), fold, seed]).random(len(ids)) < share
        said = Predictions(ids, targets, np.eye(4)[np.where(right, targets, (targets + 1) % 4)])
        of = {"fold": fold, "seed": seed, "said": said, "predictions": said, "group": "g", "task": "classes"}
        found.append(SimpleNamespace(**of, outputs=(), metrics={"ua": float(right.mean())}))
    return found


def test_a_claim_is_a_difference_over_speakers_and_trainings() -> None:
    own = {"good": records(0.9), "bad": records(0.5)}
    asked = {"good beats bad": Claim("good", "bad"), "bad beats good": Claim("bad", "good"), "?": Claim("good", "none")}
    tested = claims.test(asked, own, CORPUS)
    assert list(tested.index) == ["good beats bad", "bad beats good"]  # nothing is there of the third
    assert list(tested["verdict"]) == ["confirmed", "not confirmed"]
    assert list(tested["speakers"]) == [10, 10] and list(tested["trainings"]) == [5, 5]
    of, first, second = tables.paired(own["good"], own["bad"])
    people = [CORPUS[id].speaker for _, id in first.index]
    luck = [list(CORPUS).index(id) % 5 for _, id in first.index]
    both = first.to_numpy(), second.to_numpy()
    gap, p = intervals.clustered_difference(of, *both, people, luck)
    assert tested["gap"].iloc[0] == gap and tested["p"].iloc[0] == p
    np.testing.assert_allclose(tested["corrected"], np.minimum(1, 2 * tested["p"]))


def test_scores_are_over_speakers_and_trainings_too() -> None:
    own = {"good": records(0.9, seeds=2), "few": records(0.5, folds=2)}
    table = claims.scores(own, CORPUS)
    of, sums, _ = tables.paired(own["good"], own["good"])
    people = [CORPUS[id].speaker for _, id in sums.index]
    luck = [f"{list(CORPUS).index(id) % 5} {seed}" for seed, id in sums.index]
    found = intervals.clustered_interval(of, sums.to_numpy(), people, luck)
    assert table.loc["good", ["low", "high", "estimate", "speakers", "trainings"]].tolist() == [*found, 10, 10]
    assert np.isnan(table.loc["few", "low"]) and table.loc["few", "trainings"] == 2


def test_tables_of_several_measures_say_what_each_says_alone() -> None:
    own = {"good": records(0.9), "bad": records(0.5)}
    for one in (record for of in own.values() for record in of):
        one.system, one.variant = "good" if one in own["good"] else "bad", ""
    measures = {"ua": "UA", "wa": "WA"}
    gaps = tables.gaps(own, {"good − bad": ("good", "bad")}, measures)
    assert gaps.shape == (1, 2) and gaps.loc["good − bad", "WA"] == tables.clustered(*own.values(), "wa")[0]
    with pytest.raises(ValueError, match="good and few have no fold and seed in common"):
        tables.gaps(own | {"few": []}, {"": ("good", "few")}, measures)
    told = tables.by_measure(own, measures)
    assert told.loc["bad", "UA"] == tables.with_interval(tables.scores(own["bad"]).loc["bad"])
    assert tables.with_interval(intervals.Interval(math.nan, math.nan, 0.25)) == "25.0"


def test_two_folds_tell_nothing_and_do_not_count_among_the_questions() -> None:
    own = {"good": records(0.9), "bad": records(0.5), "few": records(0.5, folds=2)}
    asked = {"good beats few": Claim("good", "few"), "good beats bad": Claim("good", "bad")}
    tested = claims.test(asked, own, CORPUS)
    assert list(tested["verdict"]) == ["cannot tell", "confirmed"]
    assert math.isnan(tested["p"].iloc[0]) and tested["corrected"].iloc[1] == tested["p"].iloc[1]
    told = claims.table(tested)
    assert "[" not in told["points"].iloc[0] and told["p, corrected"].iloc[0] == ""
    assert told["over"].iloc[0] == "10 speakers, 2 trainings"
    alone = claims.test(
        {"": Claim("one", "other")}, {"one": records(0.9, folds=1), "other": records(0.5, folds=1)}, CORPUS
    )
    assert claims.table(alone)["over"].iloc[0] == "10 speakers, 1 training"
    assert list(claims.table(tested, ["good beats bad"]).index) == ["good beats bad"]


def test_published_differences_and_what_cannot_be_tested() -> None:
    own = {"mdre": records(0.9), "are": records(0.5)}
    asked = {"two beat one": Claim("mdre", "are", "wap"), "on some": Claim("mdre", "are", ids=list(CORPUS)[:40])}
    tested = claims.test(asked, own, CORPUS, paper="yoon2018")
    assert list(claims.table(tested)["published"]) == ["+17.2", ""]
    told = claims.verdicts(tested, {"on IEMOCAP": "needs it"})
    assert list(told.loc["on IEMOCAP", ["here", "over"]]) == ["untestable here", "needs it"]
    assert list(told.index) == [*asked, "on IEMOCAP"]


def test_by_fold_is_the_mean_over_seeds() -> None:
    a, b = records(0.9, folds=2, seeds=2), records(0.5, folds=2, seeds=2)
    told = claims.by_fold({"a": a, "b": b}, [("a", "b")])
    gaps = [100 * (one.metrics["ua"] - two.metrics["ua"]) for one, two in zip(a, b, strict=True)]  # seed, fold
    assert told["a − b"].to_dict() == {f"fold {n}": f"{(gaps[n] + gaps[2 + n]) / 2:+.1f}" for n in range(2)}


@pytest.mark.parametrize("counts", [(1103, 1636, 1708, 1084), (10, 10, 10, 10), (1, 1, 8)])
def test_recalls_that_give_two_accuracies_are_as_close_as_a_search_finds(counts: tuple[int, ...]) -> None:
    share, steps = np.array(counts) / sum(counts), np.linspace(0, 1, 21)
    grid = np.array(list(itertools.product(steps, repeat=len(counts))))
    recalls = grid[len(grid) // 3]
    wa, ua = float(recalls @ share), float(recalls.mean())
    near = grid[(abs(grid @ share - wa) < 1e-9) & (abs(grid.mean(axis=1) - ua) < 1e-9)]
    least = claims.least_spread(wa, ua, counts)
    assert least <= (near.max(axis=1) - near.min(axis=1)).min() + 1e-9
    assert least >= abs(wa - ua)


def test_impossible_accuracies_have_no_recalls() -> None:
    assert math.isnan(claims.least_spread(0.9, 0.2, (10, 10, 10)))


def test_only_the_whole_synthetic_corpus_in_its_own_profile_is_standard() -> None:
    class Corpus(list):
        synthetic = True

    whole = Corpus(range(5531))
    assert claims.standard(whole, "quick", None, None)
    assert not claims.standard(whole, "paper", None, None)
    assert not claims.standard(whole, "quick", 2, None)
    assert not claims.standard(Corpus(range(300)), "quick", None, None)


def test_tables_are_text() -> None:
    tested = claims.test({"x": Claim("a", "b")}, {"a": records(0.9), "b": records(0.5)}, CORPUS)
    assert all(isinstance(cell, str) for cell in claims.table(tested).to_numpy().flat)
    assert isinstance(claims.test({}, {}, CORPUS), pd.DataFrame)


@pytest.mark.parametrize("paper", claims.CLAIMED)
def test_what_papers_claim_is_about_their_systems_and_measures(paper: str) -> None:
    systems = models.systems(paper)
    for one in claims.CLAIMED[paper].values():
        assert one.better != one.worse and one.measure in systems[one.worse].task.measures, one
        assert {one.better, one.worse} <= systems.keys()
    assert not claims.CLAIMED[paper].keys() & claims.UNTESTABLE_HERE[paper].keys()
    assert claims.CLAIMED.keys() == claims.UNTESTABLE_HERE.keys() == papers.PAPERS.keys()


def test_claims_of_several_papers_are_one_family() -> None:
    own = {"good": records(0.7), "bad": records(0.5)}
    one = claims.test({"good beats bad": Claim("good", "bad")}, own, CORPUS)
    few = claims.test({"good beats bad": Claim("good", "bad")}, own | {"bad": records(0.5, folds=2)}, CORPUS)
    family = claims.judged(pd.concat({"a": one, "b": one, "c": few}))
    np.testing.assert_allclose(
        family["corrected"][:2], np.minimum(1, 2 * one["p"].iloc[0])
    )  # of the third nothing is told
    assert np.isnan(family["corrected"].iloc[2]) and family["verdict"].iloc[2] == claims.OPEN
    assert one["corrected"].iloc[0] == one["p"].iloc[0]


def test_only_whole_seeds_count() -> None:
    ragged = records(0.9, seeds=2) + [one for one in records(0.9, seeds=3) if one.seed == 2 and one.fold < 2]
    assert {(one.seed, one.fold) for one in tables.whole(ragged)} == set(itertools.product(range(2), range(5)))
    assert tables.whole([]) == []
