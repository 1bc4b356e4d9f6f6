"""Tables of studies and of results: what was measured, p-values corrected for how many there are, what a run read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serlib import results, tables
from serlib.corpora import word_error_rate
from serlib.results import Predictions, Record


def test_measured_is_the_value_with_its_interval_and_nothing_where_there_is_none() -> None:
    columns = {"rho": [0.446, None], "rho low": [0.344, None], "rho high": [0.538, None]}
    table = pd.DataFrame(columns, ["text", "none"], dtype=object)
    assert tables.measured(table, "rho").to_dict() == {"text": "0.45 [0.34, 0.54]", "none": ""}
    assert tables.measured(table, "rho", digits=1)["text"] == "0.4 [0.3, 0.5]"


@pytest.mark.parametrize("p", [[], [0.2], [0.01, 0.04, 0.03], [0.5, 0.001, 0.5, 0.001, 0.02]])
def test_holm_against_its_steps_written_out(p: list[float]) -> None:
    expected, largest = {}, 0.0
    for step, place in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        largest = max(largest, min(1.0, p[place] * (len(p) - step)))
        expected[place] = largest
    np.testing.assert_allclose(tables.holm(p), [expected[place] for place in range(len(p))])


def test_alignments_show_the_seed_that_the_criterion_chose() -> None:
    tries = pd.DataFrame(
        {
            "bed": ["near"] * 4 + ["far"] * 2,
            "way": ["adversarial", "adversarial", "self-learning", "self-learning", "adversarial", "self-learning"],
            "precision": [0.0, 0.9, 0.8, 0.7, 0.01, 0.02],
            "supervised": [1.0] * 4 + [0.03] * 2,
            "succeeded": [False, True, True, True, None, None],
            "chosen": [False, True, True, False, True, True],
        }
    )
    found = tables.alignments(tries, "bed")
    assert found.loc["near"].to_dict() == {
        ("supervised", "P@1"): 100.0,
        ("game", "P@1"): 90.0,
        ("game", "seeds"): "1 of 2",
        ("self-learning", "P@1"): 80.0,
        ("self-learning", "seeds"): "2 of 2",
    }
    assert found.loc["far", ("game", "seeds")] == "–"


def test_published_says_how_wrong_recognised_text_is(synthetic) -> None:
    facts = {"corpus": "synthetic", "protocol": "random-folds", "profile": "quick", "fold": 0, "seed": 0, "key": "k"}
    facts |= {"paper": "yoon2018", "synthetic": True, "history": [], "metrics": {"ua": 0.5, "wa": 0.5, "wap": 0.5}}
    own = [Record(system="tre", **facts)]
    assert "WER" not in tables.published(own).columns.get_level_values(1)
    read = {"settings": {"transcripts": "asr-14.7"}}
    told, older = Record(system="tre-asr", word_errors=0.4, **facts, **read), Record(system="tre-asr", **facts, **read)
    lost = Record(system="tre-asr", **facts, settings={"transcripts": "gone"})
    for record, corpus, expected in (
        (told, synthetic, "40.0"),
        (older, synthetic, tables.percent(word_error_rate(synthetic, "asr-14.7"))),
        (older, None, "unknown"),
        (lost, synthetic, "unknown"),
    ):
        table = tables.published([*own, record], corpus=corpus).xs("WER", axis=1, level=1)
        assert table.loc["tre"].tolist() == ["", ""]
        assert table.loc["tre-asr"].tolist() == [expected, "5.5"]


def told(system: str = "tre", **more: Any) -> Record:
    """A record of forty items, of which one is answered wrongly."""
    facts = {"corpus": "synthetic", "protocol": "random-folds", "profile": "quick", "fold": 0, "seed": 0, "key": "k"}
    facts |= {"paper": "yoon2018", "synthetic": True, "history": [], "metrics": {}, "settings": {"vectors": None}}
    targets = np.arange(40) % 4
    answers = np.eye(4)[np.where(np.arange(40) == 5, 3, targets)]
    said = Predictions([f"u{n:02}" for n in range(40)], targets, answers)
    return Record(system=system, predictions=said, **facts | more)


@pytest.mark.parametrize("measure", tables.INTERVALS)
def test_scores_have_an_interval_that_holds_near_one(measure: str) -> None:
    own = [told(seed=seed) for seed in (0, 1)]
    sums = tables._statistics(own, measure, None)
    found = tables.INTERVALS[measure](sums.to_numpy(), groups=sums.index.get_level_values("id"))
    row = tables.scores(own, measure).iloc[0]
    assert tuple(row[["low", "high", "estimate"]]) == pytest.approx(tuple(found))
    assert row["estimate"] == pytest.approx(0.975) and row["low"] < 0.9 < row["high"] < 1


def test_a_paper_s_size_without_its_word_vectors_says_so() -> None:
    large = [told(profile="paper"), told(profile="paper", fold=1)]
    assert tables.about(large).endswith("; IN 2 OF THEM WORD VECTORS START AT RANDOM")
    with_glove = told(profile="paper", settings={"vectors": "glove"})
    for fine in (told(), with_glove, told("are", profile="paper")):
        assert "RANDOM" not in tables.about([fine])


def test_variants_that_were_not_trained_are_said_and_not_an_empty_table(tmp_path) -> None:
    nothing = tables.variants("krishna2020", tmp_path)
    assert list(nothing.index) == ["no variant was trained here"] and nothing.index.name == "instead of the default, UA"
    assert list(nothing.columns) == ["system", "points", "run by run"]


def test_a_variant_stands_beside_the_default_run_by_run(tmp_path) -> None:
    changed = "ReLU after g"
    for fold in (0, 1):
        results.write(told("mdre", fold=fold), tmp_path)
        other = told("mdre", fold=fold, variant=changed)
        if fold:  # five more of the ten of its class, so that UA falls by 12.5 points
            other.predictions.outputs[[0, 4, 8, 12, 16]] = [0, 1, 0, 0]
        results.write(other, tmp_path)
    results.write(told("mdre", fold=2), tmp_path)  # the default has a fold more
    row = tables.variants("yoon2018", tmp_path).loc[changed]
    assert row.to_dict() == {"system": "mdre", "points": "-6.2", "run by run": "+0.0, -12.5"}


def test_records_of_a_larger_corpus_of_the_same_name_are_not_kept_for_a_small_one(synthetic, tmp_path) -> None:
    ids = [u.id for u in synthetic][:40]
    ours, theirs = told(), told(fold=1)
    ours.predictions.ids[:] = ids
    for record in (ours, theirs):
        results.write(record, tmp_path)
    assert [one.fold for one in tables.kept(tmp_path, "yoon2018", "tre")] == [0, 1]
    assert [one.fold for one in tables.kept(tmp_path, "yoon2018", "tre", corpus=synthetic)] == [0]


def test_systems_in_full_are_read_by_name_with_their_variants_and_without_small_ones(synthetic, tmp_path) -> None:
    changed = "ReLU after g"
    for record in (told("mdre"), told("mdre", fold=1), told("mdre", variant=changed), told("tre")):
        large = replace(record, profile="quick" if record.fold or record.system == "tre" else "paper")
        large.predictions.ids[:] = [u.id for u in synthetic][:40]
        results.write(large, tmp_path)
    full = tables.in_full(tmp_path, "yoon2018", ["mdre", "tre"], synthetic, changed=("mdre", changed))
    found = {name: [(one.system, one.variant, one.fold) for one in own] for name, own in full.items()}
    assert found == {"mdre": [("mdre", "", 0)], "tre": [], "changed": [("mdre", changed, 0)]}
    assert tables.in_full(None, "yoon2018", ["mdre"], synthetic) == {"mdre": []}
