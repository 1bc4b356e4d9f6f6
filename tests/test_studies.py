"""Studies: what is written comes back, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from serlib import studies
from serlib.studies import Study


def test_a_study_comes_back_and_records_do_not_mind_it(tmp_path: Path) -> None:
    from serlib import results

    study = Study("made", [{"space": "a", "rho": 0.5}, {"space": "b", "rho": None}], {"commit": "x"})
    studies.write(study, tmp_path)
    again = studies.read("made", tmp_path)
    assert again == study
    assert again.table(space="a").rho.tolist() == [0.5]
    assert again.table().rho.isna().tolist() == [False, True]
    assert results.read(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 3}', '{"rows": [1]}', "{"])
def test_damage_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"made\.json: expected a study, found none"):
        studies.read("made", tmp_path)
    studies.path(tmp_path, "made").parent.mkdir()
    studies.path(tmp_path, "made").write_text(text)
    with pytest.raises(ValueError, match=r"made\.json: expected a study with rows, found something else"):
        studies.read("made", tmp_path)
