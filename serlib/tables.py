"""What chapters show of results: scores beside published ones, paired differences,
variants measured, settings, ceilings.

A table is a DataFrame whose cells are text, ready for the page; what it is made of is
in the functions that return numbers. An interval answers: how would the score change
with other test items? An item that several seeds have judged is drawn with all its
judgements. Used for all five papers; taught in chapter `evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from serlib import metrics, models, papers, results
from serlib.corpora import conversations, synthetic
from serlib.corpora.corpus import Corpus
from serlib.corpora.transcripts import word_error_rate
from serlib.inputs import Words
from serlib.intervals import accuracy_interval, clustered_difference, recall_interval
from serlib.metrics import Interval, Measure
from serlib.models.system import System
from serlib.results import Predictions, Record, pooled
from serlib.tasks import CLASSES, CONTINUOUS

OBSERVERS = ("voice", "text", "memory", "both", "aligned")
"""Who the best possible scores are of, from those who know least."""

CEILINGS = (("all", "ua"), ("all", "accuracy"))
CEILINGS += (("plain", "accuracy"), ("emphasis", "accuracy"))
"""Subset and measure of each column of `ceilings`."""

TASKS = {task.name: task for task in (CLASSES, CONTINUOUS)}

INTERVALS = {"ua": recall_interval, "wa": accuracy_interval}
"""Measure to its interval over items, where there is a better one than a bootstrap's:
that holds too little near one and where a class is rare, see chapter `evaluation`.
"""


def measure_of(record: Record, name: str) -> Measure:
    """Return a measure of a record's task.

    Raises:
        ValueError: if the task has no measure of that name.
    """
    task = TASKS[record.task]
    if record.outputs:
        task = type(task)(tuple(record.outputs))
    if name not in task.measures:
        raise ValueError(
            f"expected a measure among {', '.join(task.measures)}; got {name!r}"
        )
    return task.measures[name]


def judgements(records: Iterable[Record]) -> pd.DataFrame:
    """Collect what one system said of every test item, seed by seed.

    Args:
        records: of one system that tells classes, with their predictions; any folds and
            seeds.

    Returns:
        a row per seed and item, indexed by both and sorted, with class indices `label`
        and `predicted`.

    Raises:
        ValueError: as `results.pooled`.
    """
    told = lambda one: {"label": one.targets, "predicted": one.predicted}  # noqa: E731
    return _by_seed(records, None, told)


def scores(
    records: Iterable[Record], measure: str = "ua", ids: Collection[str] | None = None
) -> pd.DataFrame:
    """Score every system, with an interval over test items: for `ua` and `wa` one that
    holds for rare classes and near one too, for other measures a bootstrap's.

    Args:
        records: of any systems and variants, with their predictions.
        measure: of the task, for instance `ua`, `wa` or `wap`.
        ids: only these items; None for all.

    Returns:
        a row per system, in the order in which they come, with columns `estimate`,
        `low`, `high` (95 %), `items` and `seeds`.
    """
    rows = {}
    for name, own in by_system(records).items():
        sums = _statistics(own, measure, ids)
        items = sums.index.get_level_values("id")
        of = measure_of(own[0], measure)
        interval = INTERVALS.get(measure, partial(metrics.bootstrap, of))
        low, high, estimate = interval(sums.to_numpy(), groups=items)
        seeds = sums.index.get_level_values("seed").nunique()
        rows[name] = {"estimate": estimate, "low": low, "high": high}
        rows[name] |= {"items": items.nunique(), "seeds": seeds}
    return _table(rows, "system")


def by_measure(
    records: Mapping[str, Sequence[Record]], measures: Mapping[str, str], kind: str = ""
) -> pd.DataFrame:
    """Tabulate several measures of systems, each with its interval, as text.

    Args:
        records: system to its records, with predictions.
        measures: of their task, to their headings.
        kind: put behind each measure's name, such as `, each`.

    Returns:
        a row per system, a column per measure.
    """
    columns = {}
    for one, name in measures.items():
        told = (scores(own, one + kind).iloc[0] for own in records.values())
        columns[name] = list(map(with_interval, told))
    return pd.DataFrame(columns, pd.Index(records, name="system"))


def difference(
    a: Iterable[Record],
    b: Iterable[Record],
    measure: str = "ua",
    ids: Collection[str] | None = None,
) -> tuple[Interval, float]:
    """Compare two systems on the same items and seeds: the score of `a` minus that of
    `b`.

    Args:
        a, b: records of one system each, with their predictions.
        measure, ids: as in `scores`.

    Returns:
        the 95 % interval of the difference by paired bootstrap, and its two-sided
        p-value.

    Raises:
        ValueError: if the two were not tested on the same items with the same seeds.
    """
    of, first, second = paired(a, b, measure, ids)
    both, items = (first.to_numpy(), second.to_numpy()), _level(first, "id")
    return metrics.paired_bootstrap(of, *both, groups=items)


def clustered(
    a: Iterable[Record], b: Iterable[Record], measure: str = "ccc"
) -> tuple[Interval, float]:
    """Compare two systems for other items and other trainings too: the score of `a`
    minus that of `b`, by `intervals.clustered_difference`; arguments and errors as for
    `difference`.
    """
    of, first, second = paired(a, b, measure)
    both = first.to_numpy(), second.to_numpy()
    return clustered_difference(of, *both, _level(first, "id"), _level(first, "seed"))


def paired(
    a: Iterable[Record],
    b: Iterable[Record],
    measure: str = "ua",
    ids: Collection[str] | None = None,
) -> tuple[Measure, pd.DataFrame, pd.DataFrame]:
    """Return a measure and what it sums up of two systems: a row per seed and item,
    sorted, the same rows for both. Arguments and errors as for `difference`.
    """
    a, b = list(a), list(b)
    first, second = _statistics(a, measure, ids), _statistics(b, measure, ids)
    if not first.index.equals(second.index):
        raise ValueError(
            "the two systems were not tested on the same items with the same seeds"
        )
    return measure_of(a[0], measure), first, second


def _level(table: pd.DataFrame, name: str) -> pd.Index:
    return table.index.get_level_values(name)


def shared(
    a: Iterable[Record], b: Iterable[Record]
) -> tuple[list[Record], list[Record]]:
    """Return the records of two systems on the folds and seeds that both have."""
    one, two = ({(r.fold, r.seed): r for r in records} for records in (a, b))
    places = sorted(one.keys() & two.keys())
    return [one[place] for place in places], [two[place] for place in places]


def by_system(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group records by system, with its variant, in the order in which they come."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        name = f"{record.system}, {record.variant}" if record.variant else record.system
        groups.setdefault(name, []).append(record)
    return groups


def published(
    records: Iterable[Record],
    paper: str | None = None,
    corpus: Corpus | None = None,
) -> pd.DataFrame:
    """Tabulate systems beside the numbers that the paper prints, with its own spread.

    Args:
        records: of one corpus.
        paper: whose numbers; by default the one that the records are of.
        corpus: what they were trained and tested on; tells the word error rate of
            recognised text where the records do not.

    Returns:
        a row per system in the order in which the records name them: how many runs, the
        word error rate of the text where it is recognised text,
        each measure in percent (mean over folds and seeds; where the paper prints a
        spread, with the standard deviation over them), and under `published` what the
        paper prints of it. The two corpora differ unless it is the paper's own.

    Raises:
        ValueError: if there are no records, or they are of more than one corpus.
    """
    records = list(records)
    corpora = sorted({(one.corpus, one.synthetic) for one in records})
    if len(corpora) != 1:
        names = ", ".join(name for name, _ in corpora)
        raise ValueError(f"expected records of one corpus, got {names or 'none'}")
    name, made = corpora[0]
    known = name if name.startswith("table-") else name.upper()
    ours = "ours (synthetic corpus)" if made else f"ours ({known})"
    paper = paper or records[0].paper
    theirs = f"published ({papers.PAPERS[paper].corpus})"
    rows: dict[str, dict[tuple[str, str], str]] = {}
    for system, own in by_system(records).items():
        row = {(ours, "runs"): str(len(own)), (ours, "WER"): "", (theirs, "WER"): ""}
        if own[0].settings.get("transcripts") is not None:
            row[ours, "WER"] = percent(word_errors(own[0], corpus)) or "unknown"
            printed = papers.published(paper, papers.RECOGNISER, "wer")
            row[theirs, "WER"] = "" if printed is None else _printed(printed)
        for key in TASKS[own[0].task].measures:
            heading = measure_of(own[0], key).name
            values = np.array([run.metrics.get(key) for run in own], dtype=float)
            printed = papers.published(paper, own[0].system, key)
            row[ours, heading] = percent(float(values.mean()))
            if len(own) > 2 and printed is not None and printed.spread is not None:
                row[ours, heading] += f" ± {percent(float(values.std(ddof=1)))}"
            row[theirs, heading] = "" if printed is None else _printed(printed)
        rows[system] = row
    frame = _table(rows, "system")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    empty = [column for column in frame if not frame[column].any()]
    return frame.drop(columns=empty).sort_index(axis=1, level=0, sort_remaining=False)


def word_errors(record: Record, corpus: Corpus | None = None) -> float:
    """Return the word error rate of the recognised text that a run read; nan where it
    read none, or nobody knows.

    Args:
        record: of the run, which tells it unless it is an older one.
        corpus: what it was trained and tested on; measured there if it is not told.
    """
    name, told = record.settings.get("transcripts"), record.word_errors
    if told is None and name is not None and corpus is not None:
        try:
            told = word_error_rate(corpus, name)
        except FileNotFoundError:
            return math.nan
    return math.nan if told is None else told


def gaps(
    records: Mapping[str, Sequence[Record]],
    pairs: Mapping[str, tuple[str, str]],
    measures: Mapping[str, str],
) -> pd.DataFrame:
    """Compare systems by several measures, each pair on the folds and seeds that both
    have: what to expect of other items and other trainings, see `clustered`.

    Args:
        records: system to its records, with predictions.
        pairs: what is told to two systems, of which the second is taken off the first.
        measures: of their task, to their headings.

    Returns:
        a row per pair, a column per measure: an Interval, for `signed` to write; its
        ends are nan where there are fewer than five items or trainings.

    Raises:
        KeyError: for a system without records.
        ValueError: if a pair has no fold and seed in common, or was tested on others.
    """
    rows = {}
    for told, (a, b) in pairs.items():
        both = shared(records[a], records[b])
        if not both[0]:
            raise ValueError(f"{a} and {b} have no fold and seed in common")
        rows[told] = {name: clustered(*both, m)[0] for m, name in measures.items()}
    return _table(rows, "difference")


def subsets(
    records: Iterable[Record], parts: Mapping[str, Collection[str]], measure: str = "wa"
) -> pd.DataFrame:
    """Tabulate scores on parts of the test set, each with its interval.

    Args:
        records: of any systems, with their predictions.
        parts: name of a part to ids of items.
        measure: as in `scores`.
    """
    records, columns = list(records), {}
    for name, ids in parts.items():
        rows = scores(records, measure, ids).itertuples()
        columns[f"{name} ({measure.upper()})"] = [with_interval(row) for row in rows]
    return pd.DataFrame(columns, index=pd.Index(by_system(records), name="system"))


def variants(
    paper: str,
    directory: str | Path | None,
    corpus: Corpus | str = "synthetic",
    profile: str = "quick",
    measure: str = "ua",
    ids: Collection[str] | None = None,
) -> pd.DataFrame:
    """Tabulate what each variant of a paper did, against the default on the same folds
    and seeds, run by run: one or two trainings are too few for an interval that holds
    for others.

    Args:
        paper: key of the paper.
        directory: folder of results; what is not in it is left out.
        corpus, profile: of the runs.
        measure, ids: as in `scores`.

    Returns:
        a row per variant: its system, by how many points it is ahead of the default in
        the mean of the runs and in each; where there is none, a row that says so.
    """
    rows = {}
    for name, variant in models.variants(paper).items():
        if variant.reads_otherwise:
            continue
        own = [(paper, variant.system, one, corpus, profile) for one in (name, "")]
        changed, usual = shared(*(kept(directory, *one) for one in own))
        if changed:
            a, b = (
                [scores([one], measure, ids).estimate.item() for one in records]
                for records in (changed, usual)
            )
            each = list(np.subtract(a, b))
            rows[name] = {"system": variant.system, "points": signed(np.mean(each))}
            rows[name] |= {"run by run": ", ".join(map(signed, each))}
    if not rows:
        nothing = dict.fromkeys(("system", "points", "run by run"), "")
        rows = {"no variant was trained here": nothing}
    return _table(rows, f"instead of the default, {measure.upper()}")


def kept(
    directory: str | Path | None,
    paper: str,
    system: str,
    variant: str = "",
    corpus: Corpus | str = "synthetic",
    profile: str = "quick",
    protocol: str | None = None,
) -> list[Record]:
    """Read the records of a system that a folder of results has, with predictions.

    Args:
        directory: the folder; None, or one that is not there, has none.
        paper, system, variant, profile: of the records.
        corpus: that they are of; of its name alone, or, given the corpus itself, only
            those whose items it has: a small synthetic corpus is not the book's.
        protocol: of the records; None for the paper's own.
    """
    protocol = protocol or models.systems(paper)[system].protocol
    name = corpus if isinstance(corpus, str) else corpus.name
    names = (name, paper, protocol, profile)
    own = {"system": system, "variant": variant}
    if directory is None or not (folder := Path(directory, *names)).is_dir():
        return []
    found = results.read(folder, predictions=True, **own)
    if isinstance(corpus, str):
        return found
    items = {one.id for one in (*corpus.utterances, *corpus.recordings)}
    return [record for record in found if items.issuperset(record.predictions.ids)]


def in_full(
    directory: str | Path | None,
    paper: str,
    systems: Iterable[str],
    corpus: Corpus,
    **variants: tuple[str, str],
) -> dict[str, list[Record]]:
    """Read what a folder has of systems in the paper's own size, under the paper's own
    protocol, see `kept`; an empty list for a system that was not trained so.

    Args:
        directory, paper, corpus: as for `kept`.
        systems: their keys, which are those of the result too.
        variants: further keys to a system and its variant.
    """
    chosen = {name: (name, "") for name in systems} | variants
    return {
        name: kept(directory, paper, *one, corpus, "paper")
        for name, one in chosen.items()
    }


def whole(records: Iterable[Record]) -> list[Record]:
    """Keep the seeds of which every fold is there that any seed has, so that no fold
    counts more than another.

    Args:
        records: of one system.
    """
    records, folds = list(records), {}
    for record in records:
        folds.setdefault(record.seed, set()).add(record.fold)
    every = set().union(*folds.values())
    return [record for record in records if folds[record.seed] == every]


def profiles(system: System, **shown: Any) -> pd.DataFrame:
    """Tabulate a system's settings in each profile.

    Args:
        system: the system.
        shown: heading, with underscores for spaces, to a field of Settings or of its
            `model`, or a function of Settings.
    """

    columns = {}
    for name, settings in system.settings.items():
        known, several = {**vars(settings), **settings.model}, shown.values()
        values = [what(settings) if callable(what) else known[what] for what in several]
        columns[f'profile="{name}"'] = ["all" if v is None else str(v) for v in values]
    return pd.DataFrame(columns, index=[name.replace("_", " ") for name in shown])


def made(records: Iterable[Record]) -> pd.DataFrame:
    """Tabulate how large systems are and how long they took: folds, seeds, parameters,
    mean updates and minutes, those of a processor and of a GPU apart.
    """
    rows = {}
    for name, own in by_system(records).items():
        rows[name] = {
            "folds": ", ".join(str(fold) for fold in sorted({r.fold for r in own})),
            "seeds": str(len({r.seed for r in own})),
            "parameters": f"{own[0].parameters:,}",
            "updates": f"{np.mean([r.steps for r in own]):,.0f}",
            "minutes": _minutes(own),
        }
    return _table(rows, "system")


def _minutes(records: Sequence[Record]) -> str:
    """Mean minutes of a run, for each kind of device."""
    by_kind: dict[str, list[float]] = {}
    for one in records:
        kind = "CPU" if one.device == "cpu" else "GPU"
        by_kind.setdefault(kind, []).append(one.wall_time / 60)
    return ", ".join(
        f"{np.mean(minutes):.1f} ({kind})"
        if len(by_kind) > 1
        else f"{np.mean(minutes):.1f}"
        for kind, minutes in sorted(by_kind.items())
    )


def about(records: Iterable[Record]) -> str:
    """Say in a line how many runs there are, how long they took, on what, and which
    commits made them; and of runs in a paper's size whether their word vectors started
    at random, for want of the paper's.
    """
    records = list(records)
    machines = ", ".join(sorted({one.hardware for one in records}))
    commits = ", ".join(sorted({one.commit or "unknown" for one in records}))
    minutes = sum(one.wall_time for one in records) / 60
    random = [one for one in records if one.profile == "paper" and _at_random(one)]
    return (
        f"{len(records)} runs, {minutes:.0f} minutes of training on {machines}; commits"
        f" {commits}"
        + (f"; IN {len(random)} OF THEM WORD VECTORS START AT RANDOM" if random else "")
    )


def _at_random(record: Record) -> bool:
    """Whether a run reads words, and their vectors started at random."""
    eats = models.systems(record.paper)[record.system].inputs.values()
    reads = any(isinstance(one, Words) for one in eats)
    return reads and record.settings.get("vectors") is None


def ceilings(
    corpus: Corpus,
    rows: Sequence[tuple[str, str]] = CEILINGS,
) -> pd.DataFrame:
    """Tabulate the best scores that observers could reach on a synthetic corpus.

    Args:
        corpus: a synthetic corpus, whose maker wrote them down.
        rows: subset of the items, and measure.
    """
    columns = {}
    for subset, measure in rows:
        best = synthetic.read_ceilings(corpus.root)[subset]
        heading = f"{'UA' if measure == 'ua' else measure}, {subset}"
        columns[heading] = [percent(best[one][measure]) for one in OBSERVERS]
    index = pd.Index(OBSERVERS, name="ceiling in % (synthetic corpus)")
    return pd.DataFrame(columns, index=index)


def lines(corpus: Corpus, subset: str = "all", measure: str = "ua") -> dict[str, float]:
    """Return the best possible scores by observer, for a figure; none but on a
    synthetic corpus. On one of conversations `subset` is a partition, and the measure
    one of `tasks.CONTINUOUS`.
    """
    if not corpus.synthetic:
        return {}
    if corpus.recordings:
        kind = "each" if measure.endswith(", each") else "ccc"
        name = measure.removesuffix(", each").replace("ccc", "mean")
        best = dict(conversations.read_ceilings(corpus.root)[subset])
        del best["recordings"]
        return {observer: scores[kind][name] for observer, scores in best.items()}
    best = synthetic.read_ceilings(corpus.root)[subset]
    return {one: best[one][measure] for one in OBSERVERS}


def caveat(corpus: Corpus) -> Markdown | None:
    """Return what must be said under numbers of a synthetic corpus; None elsewhere."""
    if not corpus.synthetic:
        return None
    return Markdown(
        "*Ours are of the synthetic corpus and cannot be compared with the published"
        " column number by number; only the order of the systems can.*"
    )


def learning(records: Iterable[Record]) -> pd.DataFrame:
    """Return the losses at every look, a row each: `run`, `step`, `train_loss`,
    `dev_loss`.
    """
    return pd.DataFrame(
        {"run": f"fold {one.fold} seed {one.seed}", **look}
        for one in records
        for look in one.history
    )


def alignments(tries: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Tabulate how well spaces of words were aligned.

    Args:
        tries: a row per seed of a study of alignments: `way`, `precision`,
            `supervised`, `succeeded` and `chosen`, beside the columns of `by`.
        by: what there is a line for.

    Returns:
        P@1 of supervision in percent; of each way that of the seed which its criterion
        chose, and how many seeds succeeded, or a dash where nothing could be found.
    """
    lines = {}
    for name, group in tries.groupby(by, sort=False):
        line = {("supervised", "P@1"): 100 * group["supervised"].iloc[0]}
        for way, own in group.groupby("way"):
            way = "game" if way == "adversarial" else way
            found = own["succeeded"].dropna()
            count = f"{int(found.sum())} of {len(own)}" if len(found) else "–"
            line[way, "P@1"] = 100 * own.loc[own["chosen"], "precision"].iloc[0]
            line[way, "seeds"] = count
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index").round(1)


def measured(table: pd.DataFrame, name: str, digits: int = 2) -> pd.Series:
    """Return what a study measured as text, with its interval: `0.45 [0.34, 0.54]`.

    Args:
        table: of a study (`serlib.studies`), with columns `name`, `name low` and
            `name high`.
        name: of the measure.
        digits: after the point.

    Returns:
        a text per row; nothing where it could not be measured.
    """
    parts = table[[name, f"{name} low", f"{name} high"]].astype(float)
    return pd.Series(
        [
            ""
            if math.isnan(one)
            else f"{one:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
            for one, low, high in parts.to_numpy()
        ],
        index=table.index,
        name=name,
    )


def holm(p: Sequence[float]) -> np.ndarray:
    """Correct p-values for how many there are (Holm 1979).

    The smallest of k is multiplied by k, the next by k - 1 and so on; none becomes
    smaller than one before it, or larger than 1.

    Args:
        p: (k,) of all tests of one question.

    Returns:
        (k,) in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(raised, 1)
    return corrected


def percent(value: float) -> str:
    """Return a share in percent with one decimal; nothing for nan."""
    return "" if math.isnan(value) else f"{100 * value:z.1f}"


def with_interval(score: Any) -> str:
    """Return a score in percent with its interval, if it has one: `61.2 [59.0,
    63.4]`.
    """
    if math.isnan(score.low):
        return percent(score.estimate)
    ends = f"[{percent(score.low)}, {percent(score.high)}]"
    return f"{percent(score.estimate)} {ends}"


def signed(gap: Interval | float) -> str:
    """Return a difference in points, with its interval if it has one: `+1.9 [0.3,
    3.5]`; nothing for nan.
    """
    if isinstance(gap, Interval):
        return f"{signed(gap.estimate)} [{percent(gap.low)}, {percent(gap.high)}]"
    return "" if math.isnan(gap) else f"{100 * gap:+z.1f}"


def p_value(p: float) -> str:
    """Return a p-value; below what 2,000 resamples can tell, that it is."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _printed(number: papers.Published) -> str:
    spread = "" if number.spread is None else f" ± {100 * number.spread:.1f}"
    return f"{100 * number.value:.1f}{spread}"


def _by_seed(
    records: Iterable[Record],
    ids: Collection[str] | None,
    told: Callable[[Predictions], Any],
) -> pd.DataFrame:
    """What is told of the test sets, a row per seed and item, sorted."""
    frames, records = {}, list(records)
    for seed in dict.fromkeys(record.seed for record in records):
        one = pooled(record for record in records if record.seed == seed)
        frames[seed] = pd.DataFrame(told(one), index=pd.Index(one.ids, name="id"))
    if not frames:
        raise ValueError("expected at least one record, got none")
    frame = pd.concat(frames, names=["seed"]).sort_index()
    if ids is not None:
        frame = frame[frame.index.get_level_values("id").isin(list(ids))]
    if frame.empty:
        raise ValueError("no test item of these records is among those asked for")
    return frame


def _statistics(
    records: Sequence[Record], measure: str, ids: Collection[str] | None
) -> pd.DataFrame:
    """What a measure sums up, a row per seed and item, sorted."""
    of = measure_of(records[0], measure) if records else None
    return _by_seed(records, ids, lambda one: one.statistics(of))


def _table(rows: Mapping[str, Any], name: str) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(name)
