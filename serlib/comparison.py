"""Systems side by side: a score with its interval over all folds and seeds, and the
difference of two systems.

The interval answers: how would the score change with other test utterances? An
utterance that several seeds have judged is drawn with all its judgements. Used for all
five papers; taught in chapter `evaluation`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from serlib import metrics
from serlib.metrics import Interval
from serlib.results import Record, pooled


def judgements(
    records: Iterable[Record], ids: Collection[str] | None = None
) -> pd.DataFrame:
    """Collect what one system said of every test utterance, seed by seed.

    Args:
        records: of one system, with their predictions; any folds and seeds.
        ids: only these utterances; None for all.

    Returns:
        a row per seed and utterance, indexed by both and sorted, with class indices
        `label` and `predicted`.

    Raises:
        ValueError: as `results.pooled`, or if no utterance is left.
    """
    by_seed: dict[int, list[Record]] = {}
    for record in records:
        by_seed.setdefault(record.seed, []).append(record)
    parts = {seed: pooled(runs) for seed, runs in by_seed.items()}
    frames = {
        seed: pd.DataFrame(
            {"label": one.labels, "predicted": one.predicted},
            index=pd.Index(one.ids, name="id"),
        )
        for seed, one in parts.items()
    }
    if not frames:
        raise ValueError("expected at least one record, got none")
    joined = pd.concat(frames, names=["seed"]).sort_index()
    if ids is not None:
        joined = joined[joined.index.get_level_values("id").isin(list(ids))]
    if joined.empty:
        raise ValueError(
            "none of the utterances asked for is in the test sets of these records"
        )
    return joined


def scores(
    records: Iterable[Record], metric: str = "ua", ids: Collection[str] | None = None
) -> pd.DataFrame:
    """Score every system, with a bootstrap interval over test utterances.

    Args:
        records: of any systems, with their predictions.
        metric: `accuracy`, `wa`, `ua` or `wap`.
        ids: only these utterances; None for all.

    Returns:
        a row per system, in the order in which they come, with columns `estimate`,
        `low`, `high` (95 %), `utterances` and `seeds`.
    """
    by_system: dict[str, list[Record]] = {}
    for record in records:
        by_system.setdefault(record.system, []).append(record)
    rows = {}
    for system, runs in by_system.items():
        frame = judgements(runs, ids)
        names = frame.index.get_level_values("id")
        low, high, estimate = metrics.bootstrap(
            metric, frame["label"], frame["predicted"], groups=names
        )
        seeds = frame.index.get_level_values("seed").nunique()
        rows[system] = {
            "estimate": estimate,
            "low": low,
            "high": high,
            "utterances": names.nunique(),
            "seeds": seeds,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def difference(
    a: Iterable[Record],
    b: Iterable[Record],
    metric: str = "ua",
    ids: Collection[str] | None = None,
) -> tuple[Interval, float]:
    """Compare two systems on the same utterances and seeds: the score of `a` minus that
    of `b`.

    Args:
        a, b: records of one system each, with their predictions.
        metric, ids: as in `scores`.

    Returns:
        the 95 % interval of the difference by paired bootstrap, and its two-sided
        p-value.

    Raises:
        ValueError: if the two were not tested on the same utterances with the same
            seeds.
    """
    first, second = judgements(a, ids), judgements(b, ids)
    if not np.array_equal(first.index, second.index):
        raise ValueError(
            "the two systems were not tested on the same utterances with the same seeds"
        )
    names = first.index.get_level_values("id")
    return metrics.paired_bootstrap(
        metric, first["label"], first["predicted"], second["predicted"], groups=names
    )
