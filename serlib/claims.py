"""What a paper claims and what was found of it: differences of two systems that would
hold for other speakers and other trainings, corrected for how many a page tests.

Used for the papers of the book; how the test works is taught in chapter `evaluation`,
and chapter `claims` tests those of all papers together.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize

from serlib import intervals, papers, tables
from serlib.corpora import synthetic
from serlib.corpora.corpus import Corpus
from serlib.metrics import Interval
from serlib.results import Record

CONFIRMED, OTHERWISE, OPEN = "confirmed", "not confirmed", "cannot tell"
UNTESTABLE = "untestable here"
LEVEL = 0.05
"""Of p, corrected, below which a claim counts as confirmed or as the other way round.
"""


@dataclass(frozen=True)
class Claim:
    """That one system is better than another.

    Attributes:
        better, worse: keys of the records that are compared.
        measure: of their task, for instance `ua`.
        ids: only these test items; None for all.
    """

    better: str
    worse: str
    measure: str = "ua"
    ids: Collection[str] | None = None


CLAIMED = {
    "yoon2018": {
        "two encoders beat the sound alone": Claim("mdre", "are"),
        "two encoders beat the text alone": Claim("mdre", "tre"),
        "plain fusion beats attention": Claim("mdre", "mdrea"),
        "recognised text costs tre": Claim("tre", "tre-asr"),
        "recognised text costs mdre": Claim("mdre", "mdre-asr"),
        "recognised text costs mdrea": Claim("mdrea", "mdrea-asr"),
    },
    "xu2019": {
        "concatenation beats speech": Claim("concat", "speech"),
        "concatenation beats text": Claim("concat", "text"),
        "learned alignment beats concatenation": Claim("aligned", "concat"),
        "the same on recognised text": Claim("aligned-asr", "concat-asr"),
        "learned alignment beats the given one": Claim("aligned", "hard"),
        "the given alignment beats concatenation": Claim("hard", "concat"),
        "recognised text costs text alone": Claim("text", "text-asr"),
        "recognised text costs learned alignment": Claim("aligned", "aligned-asr"),
    },
    "shen2020": {
        "both modalities beat the sound alone": Claim("wise", "audio"),
        "both modalities beat the text alone": Claim("wise", "text"),
        "the hierarchy helps": Claim("wise", "im+dmf"),
        "the interaction helps": Claim("wise", "hr+dmf"),
        "the attention helps": Claim("wise", "im+hr"),
        "the level of phonemes helps": Claim("wise", "im+dmf+hr-"),
    },
    "krishna2020": {
        "both modalities beat the sound alone": Claim("cma-raw", "audio"),
        "samples and words beat words alone": Claim("cma-raw", "text"),
        "spectra and words beat words alone": Claim("cma-spec", "text"),
        "samples beat spectra": Claim("cma-raw", "cma-spec"),
    },
    "tzirakis2021": {
        "Word2Vec is slightly better than Speech2Vec": Claim(
            "word2vec", "speech2vec", "ccc"
        ),
        "aligned, Speech2Vec is better than Word2Vec": Claim(
            "aligned-speech2vec", "word2vec", "ccc"
        ),
        "alignment makes Speech2Vec better": Claim(
            "aligned-speech2vec", "speech2vec", "ccc"
        ),
        "speech carries what the text says: valence": Claim(
            "aligned-speech2vec", "word2vec", "valence"
        ),
        "aligned vectors keep the voice: arousal": Claim(
            "aligned-speech2vec", "word2vec", "arousal"
        ),
        "samples are worse than aligned Speech2Vec": Claim(
            "aligned-speech2vec", "paralinguistic", "ccc"
        ),
        "samples are best for arousal": Claim(
            "paralinguistic", "aligned-speech2vec", "arousal"
        ),
        "both together beat the words": Claim("attention", "aligned-speech2vec", "ccc"),
        "both together beat the samples": Claim("attention", "paralinguistic", "ccc"),
        "attention, not concatenation: arousal": Claim(
            "attention", "concat", "arousal"
        ),
        "attention, not concatenation: valence": Claim(
            "attention", "concat", "valence"
        ),
        "attention, not concatenation: liking": Claim("attention", "concat", "liking"),
    },
}
"""Of each paper what it says of its systems, in words, and the two that it is about."""

UNTESTABLE_HERE = {
    "yoon2018": {
        "68.8 to 71.8 % accuracy on IEMOCAP": "needs IEMOCAP; 68.8 is another system's",
        "better than the systems before": "needs their predictions on the same folds",
        "less pull towards neutral than before": "needs the systems before",
    },
    "xu2019": {
        "better than the systems before, on IEMOCAP": "needs their predictions",
        "other speech encoders give comparable results": "no numbers are printed",
    },
    "shen2020": {
        "better than the systems before, by 2.0 WA and 1.1 UA": "other papers' tests",
        "LSTM, Bi-LSTM and Bi-GRU do as well": "no numbers are printed; exercise 3",
    },
    "krishna2020": {
        "better than the systems before, by 1.9 points": "another paper's other test",
    },
    "tzirakis2021": {
        "best in valence and liking, second in arousal": "needs SEWA, others' systems",
        "generalises from devel to test": "synthetic partitions are drawn alike",
    },
}
"""Of each paper what it says further, and why no run of the book can test it."""


def test(
    claims: Mapping[str, Claim],
    records: Mapping[str, Sequence[Record]],
    corpus: Corpus,
    paper: str | None = None,
) -> pd.DataFrame:
    """Test claims, all of them as one family.

    An interval is a jackknife's over speakers and over trainings (a fold and a seed
    each), whichever vary more, see `intervals.clustered_difference`: how would the
    difference come out with other people and other luck? Where there are fewer than
    five of either nothing can be told.

    Args:
        claims: what is claimed, in words, to which systems it is about.
        records: system to its records, with predictions; a pair is compared on the
            folds and seeds that both have, and left out if there are none.
        corpus: what they are of; gives the speakers.
        paper: adds the difference of the two numbers that it prints.

    Returns:
        a row per claim: `gap`, an Interval; `p`; `corrected`, Holm's; numbers of
        `speakers` and `trainings`; `published`; `verdict`.
    """
    rows = {}
    for said, one in claims.items():
        pair = [records.get(system, ()) for system in (one.better, one.worse)]
        a, b = tables.shared(*pair)
        if a:
            row = _compared(a, b, one, corpus)
            rows[said] = row | {"published": _published(paper, one)}
    names = ["gap", "p", "speakers", "trainings", "published"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    return judged(table)


def judged(tested: pd.DataFrame) -> pd.DataFrame:
    """Correct p for how many claims there are, and judge each by it.

    Args:
        tested: a row per claim with `gap` and `p`, as `test` returns it; of several
            papers, one below the other, all are one family.

    Returns:
        the same rows with `corrected` and `verdict` as they follow from this family.
    """
    p = tested["p"].to_numpy(dtype=float, copy=True)
    p[~np.isnan(p)] = tables.holm(p[~np.isnan(p)])
    verdicts = [
        OPEN if not low < LEVEL else CONFIRMED if gap.estimate > 0 else OTHERWISE
        for gap, low in zip(tested["gap"], p, strict=True)
    ]
    return tested.assign(corrected=p, verdict=verdicts)


def scores(
    records: Mapping[str, Sequence[Record]], corpus: Corpus, measure: str = "ua"
) -> pd.DataFrame:
    """Score systems with an interval over speakers and trainings, as `test` has it.

    Args:
        records: system to its records, with predictions.
        corpus: what they are of; gives the speakers.
        measure: of their task.

    Returns:
        a row per system with `estimate`, `low`, `high` (95 %; nan where there are fewer
        than five speakers or trainings) and numbers of `speakers` and `trainings`.
    """
    rows = {}
    for system, own in records.items():
        of, sums, _ = tables.paired(own, own, measure)
        clusters = _clusters(own, sums.index, corpus)
        found = intervals.clustered_interval(of, sums.to_numpy(), *clusters.values())
        counts = {name: len(set(one)) for name, one in clusters.items()}
        rows[system] = found._asdict() | counts
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def _compared(
    a: list[Record], b: list[Record], claim: Claim, corpus: Corpus
) -> dict[str, object]:
    of, first, second = tables.paired(a, b, claim.measure, claim.ids)
    clusters = _clusters(a, first.index, corpus)
    both = first.to_numpy(), second.to_numpy()
    gap, p = intervals.clustered_difference(of, *both, *clusters.values())
    return {"gap": gap, "p": p} | {n: len(set(one)) for n, one in clusters.items()}


def _clusters(
    records: Sequence[Record], places: pd.Index, corpus: Corpus
) -> dict[str, list[str]]:
    """Speaker and training, a fold and a seed, of each seed and item."""
    folds = {(r.seed, id): r.fold for r in records for id in r.predictions.ids}
    return {
        "speakers": [corpus[id].speaker for _, id in places],
        "trainings": [f"{folds[place]} {place[0]}" for place in places],
    }


def _published(paper: str | None, claim: Claim) -> float:
    if paper is None or claim.ids is not None:
        return math.nan
    pair = [
        papers.published(paper, system, claim.measure)
        for system in (claim.better, claim.worse)
    ]
    return math.nan if None in pair else pair[0].value - pair[1].value


def table(tested: pd.DataFrame, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Tabulate tested claims as text: points with the interval, what it is over, p
    corrected, and the paper's difference where it prints one.

    Args:
        tested: as `test` returns it.
        only: these claims; None for all.
    """
    chosen = (
        tested if only is None else tested.loc[[n for n in only if n in tested.index]]
    )
    rows = {
        said: {
            "here": one["verdict"],
            "points": points(one["gap"]),
            "p, corrected": ""
            if math.isnan(one["p"])
            else tables.p_value(one["corrected"]),
            "over": f"{one['speakers']} speakers, {one['trainings']} training"
            + "s" * (one["trainings"] != 1),
            "published": tables.signed(one["published"]),
        }
        for said, one in chosen.iterrows()
    }
    names = ["here", "points", "p, corrected", "over", "published"]
    told = pd.DataFrame.from_dict(rows, orient="index", columns=names)
    told = told.rename_axis("claim")
    return told if told["published"].any() else told.drop(columns="published")


def verdicts(tested: pd.DataFrame, others: Mapping[str, str]) -> pd.DataFrame:
    """Tabulate all claims of a paper, those that nothing here can test last.

    Args:
        tested: as `test` returns it.
        others: claim to why it cannot be tested here.
    """
    told = table(tested)
    rows = {said: {"here": UNTESTABLE, "over": why} for said, why in others.items()}
    rest = pd.DataFrame.from_dict(rows, orient="index", columns=told.columns)
    return pd.concat([told, rest.fillna("")]).rename_axis("claim")


def points(gap: Interval) -> str:
    """Return a difference in points with its interval, `+1.9 [0.3, 3.5]`; without one
    where nothing can be told of others.
    """
    return tables.signed(gap.estimate if math.isnan(gap.low) else gap)


def standard(corpus: Corpus, profile: str, *chosen: object) -> bool:
    """Whether a page is about what the book is about: the whole synthetic corpus, the
    profile `quick`, all folds and seeds. Only then does a page assert its findings.

    Args:
        corpus: that it is about.
        profile: its parameter.
        chosen: its parameters `folds` and `seeds`, None unless chosen.
    """
    whole = len(corpus) == synthetic.UTTERANCES and not any(
        one is not None for one in chosen
    )
    return corpus.synthetic and whole and profile == "quick"


def by_fold(
    records: Mapping[str, Sequence[Record]],
    pairs: Sequence[tuple[str, str]],
    measure: str = "ua",
) -> pd.DataFrame:
    """Tabulate differences of two systems fold by fold, in points; a fold with several
    seeds has their mean. How much do they agree?

    Args:
        records: system to its records.
        pairs: of systems.
        measure: of their task.

    Returns:
        a row per fold, a column `a − b` per pair; empty where a pair lacks the fold.
    """
    columns = {}
    for a, b in pairs:
        for one, two in zip(*tables.shared(records[a], records[b]), strict=True):
            gap = 100 * (one.metrics[measure] - two.metrics[measure])
            columns.setdefault(f"{a} − {b}", {}).setdefault(one.fold, []).append(gap)
    means = {
        name: {f"fold {fold}": f"{np.mean(gaps):+.1f}" for fold, gaps in folds.items()}
        for name, folds in columns.items()
    }
    table = pd.DataFrame(means).sort_index().fillna("")
    return table.rename_axis("points of " + measure.upper())


def least_spread(wa: float, ua: float, counts: Sequence[int]) -> float:
    """How far apart highest and lowest recall are at least, if two accuracies are what
    a paper prints of them.

    WA weighs the recalls by the classes' shares, UA does not: a gap between the two
    asks for recalls that differ, the more the less the shares do.

    Args:
        wa, ua: as printed.
        counts: items of each class.

    Returns:
        the distance, in [0, 1]; nan if no recalls give these two numbers.
    """
    classes, share = len(counts), np.array(counts) / sum(counts)
    each, one = np.eye(classes), np.ones((classes, 1))
    above = np.hstack([each, -one, 0 * one])  # no recall is above the highest
    below = np.hstack([-each, 0 * one, one])  # and none below the lowest
    fixed = np.hstack([[share, np.full(classes, 1 / classes)], np.zeros((2, 2))])
    found = optimize.linprog(
        [0] * classes + [1, -1],
        A_ub=np.vstack([above, below]),
        b_ub=np.zeros(2 * classes),
        A_eq=fixed,
        b_eq=[wa, ua],
        bounds=(0, 1),
    )
    return float(found.fun) if found.success else math.nan
