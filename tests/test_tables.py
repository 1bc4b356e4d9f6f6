"""Tables of studies: what was measured, and p-values corrected for how many there are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from serlib import tables


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
