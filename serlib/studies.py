"""Measurements that are no run of a paper's system, such as those of word vectors: a
table, and what made it.

Used for tzirakis2021; chapters `embeddings` and `alignment` read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serlib.files import write_json

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "studies"
"""Where they lie in a folder of results."""


@dataclass(frozen=True)
class Study:
    """A table of measurements.

    Attributes:
        name: of the study and its file.
        rows: what was measured, a mapping of column to value each; what could not be
            measured is None.
        about: what made it: versions, hardware, commit, digest of the code, seconds.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]

    def table(self, **wanted: Any) -> pd.DataFrame:
        """Return the rows, or those with the values wanted; None becomes NaN."""
        import pandas as pd

        rows = [r for r in self.rows if all(r.get(k) == v for k, v in wanted.items())]
        return pd.DataFrame(rows)


def path(results_dir: str | Path, name: str) -> Path:
    """Return the file of a study."""
    return Path(results_dir) / FOLDER / f"{name}.json"


def write(study: Study, results_dir: str | Path) -> None:
    """Write a study into a folder of results.

    Raises:
        OSError: if that cannot be done.
    """
    rows = [dict(row) for row in study.rows]
    write_json(path(results_dir, study.name), {**study.about, "rows": rows})


def read(name: str, results_dir: str | Path) -> Study:
    """Read a study from a folder of results.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if the file is damaged.
    """
    file = path(results_dir, name)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: expected a study, found none; the book's repository has it in"
            " results"
        )
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        rows = about.pop("rows")
        if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            raise TypeError("its rows are not a table")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{file}: expected a study with rows, found something else ({error})"
        ) from error
    return Study(name, rows, about)
