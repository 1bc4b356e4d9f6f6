"""Protocols: who is trained on, tuned on and tested on.

The papers' own (yoon2018: random folds; krishna2020: leave one session out) and the
stricter ones they are compared under. Taught in chapter `protocols`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from serlib.corpora.corpus import Corpus, Utterance

FOLDS = 5
"""Folds of the protocols that do not leave out one session or one speaker at a time."""

DEV_SHARE = 0.1
"""Share of what is left after the test set that goes into the development set, about.
"""

DRAWS = 100
"""Random orders that are looked at for the development set with the best class counts.
"""


@dataclass(frozen=True)
class Split:
    """Who is on which side; every list is in the order of the corpus.

    Attributes:
        name: what is tested, for instance `Session1`, or `fold 0`.
        train, dev, test: utterance ids.
    """

    name: str
    train: list[str]
    dev: list[str]
    test: list[str]


def random_folds(
    corpus: Corpus, seed: int = 0, *, dev_share: float = 0.25
) -> list[Split]:
    """Five random folds of utterances, as yoon2018 (section 5.1): 80 % to train, the
    fold itself to tune and test.

    Speakers, scripts and dialogues are on both sides: the test asks for little that
    training has not heard. The part of each fold that tunes is never tested, so a
    quarter of the corpus has no prediction.

    Args:
        corpus: at least ten utterances.
        seed: of the shuffle.
        dev_share: part of the fold that is the development set. The paper says 8 : 0.5
            : 1.5, a quarter (the default); its released code cuts 0.3.

    Returns:
        five splits.

    Raises:
        ValueError: if the corpus is too small, or `dev_share` is not between 0 and 1.
    """
    if len(corpus) < 2 * FOLDS:
        raise ValueError(
            f"random-folds needs at least {2 * FOLDS} utterances; {_name(corpus)} has"
            f" {len(corpus)}"
        )
    if not 0 < dev_share < 1:
        raise ValueError(
            f"expected a dev_share between 0 and 1, such as 0.25; got {dev_share}"
        )
    order = np.random.default_rng(seed).permutation(len(corpus))
    splits = []
    for number, fold in enumerate(np.array_split(order, FOLDS)):
        cut = min(max(round(dev_share * len(fold)), 1), len(fold) - 1)
        dev, test = (
            {corpus.items[i].id for i in part} for part in (fold[:cut], fold[cut:])
        )
        splits.append(_split(f"fold {number}", corpus, dev, test))
    return splits


def leave_one_session_out(corpus: Corpus, seed: int = 0) -> list[Split]:
    """Test on each session in turn, train on the others (krishna2020, section 3).

    No speaker and no dialogue is on both sides of the test. Scripts are: on IEMOCAP
    every session plays the same ones. The development set is whole dialogues of the
    training sessions, about a tenth of their utterances; its speakers are heard in
    training, its dialogues are not. Where a speaker has a single dialogue, as in
    RAVDESS, it is whole speakers. None of the papers names a development set.

    Args:
        corpus: at least two sessions.
        seed: of the development sets.

    Returns:
        a split per session; every utterance is tested once.

    Raises:
        ValueError: if the corpus has a single session, a speaker is in two, or there
            are too few dialogues to tune on.
    """
    _check_known(corpus, "leave-one-session-out", "session")
    sessions = _groups(corpus, lambda u: u.session)
    if len(sessions) < 2:
        raise ValueError(
            f"leave-one-session-out needs at least two sessions; {_name(corpus)} has"
            f" {', '.join(sessions) or 'none'}. Try leave-one-speaker-out or"
            " leave-speakers-out"
        )
    for speaker, theirs in _groups(corpus, lambda u: u.speaker).items():
        if speaker and len({u.session for u in theirs}) > 1:
            raise ValueError(
                "leave-one-session-out needs speakers that are in one session each; in"
                f" {_name(corpus)} {speaker} is in {len({u.session for u in theirs})}."
                " Try leave-one-speaker-out"
            )
    return _leave_out(corpus, "leave-one-session-out", list(sessions.items()), seed)


def leave_one_speaker_out(corpus: Corpus, seed: int = 0) -> list[Split]:
    """Test on each speaker in turn, train on the others.

    The test speaker's partner in a dialogue may be trained on: the voice is new, the
    conversation half known. Scripts are on both sides. The development set is drawn as
    in `leave_one_session_out`, from dialogues that the test speaker takes no part in.

    Args:
        corpus: at least two speakers.
        seed: of the development sets.

    Returns:
        a split per speaker; every utterance is tested once.

    Raises:
        ValueError: if the corpus has a single speaker, or there are too few dialogues
            to tune on.
    """
    _check_known(corpus, "leave-one-speaker-out", "speaker")
    speakers = _groups(corpus, lambda u: u.speaker)
    if len(speakers) < 2:
        raise ValueError(
            f"leave-one-speaker-out needs at least two speakers; {_name(corpus)} has"
            f" {', '.join(speakers) or 'none'}"
        )
    return _leave_out(corpus, "leave-one-speaker-out", list(speakers.items()), seed)


def leave_speakers_out(corpus: Corpus, seed: int = 0) -> list[Split]:
    """Five folds of whole speakers: test on a fifth of the speakers, train on the
    others.

    Cheaper than one speaker at a time where there are many (RAVDESS: 24). Women and men
    are spread evenly over the folds where the speaker ids tell (`Ses01F`; RAVDESS's odd
    numbers are men). What is and is not kept apart, and the development set, are as in
    `leave_one_speaker_out`.

    Args:
        corpus: at least five speakers.
        seed: of the folds and of the development sets.

    Returns:
        five splits; every utterance is tested once.

    Raises:
        ValueError: if there are fewer than five speakers, or too few dialogues to tune
            on.
    """
    _check_known(corpus, "leave-speakers-out", "speaker")
    speakers = _groups(corpus, lambda u: u.speaker)
    if len(speakers) < FOLDS:
        raise ValueError(
            f"leave-speakers-out needs at least {FOLDS} speakers; {_name(corpus)} has"
            f" {len(speakers)}. Try leave-one-speaker-out"
        )
    folds = _partition(list(speakers.values()), np.random.default_rng(seed))
    return _leave_out(
        corpus,
        "leave-speakers-out",
        [(f"fold {n}", fold) for n, fold in enumerate(folds)],
        seed,
    )


def script_independent(corpus: Corpus, seed: int = 0) -> list[Split]:
    """Five folds of whole scripts and whole improvised dialogues.

    It controls what is *said*: a script is on one side in every session that plays it,
    so a text model cannot remember which line carried which emotion (Pepino et al.
    2020), and no conversation is cut in two. It does not control *who* speaks (all
    speakers are on both sides), nor the situation: the same improvised scene is played
    in every session in other words, the parts of a play (`script01_1`, `script01_2`)
    share their characters, and short turns ("Okay.") recur everywhere. `describe`
    counts what remains.

    The development set is drawn from the training side in the same units, about a tenth
    of its utterances.

    Args:
        corpus: with scripted utterances; at least five scripts and improvised dialogues
            together.
        seed: of the folds and of the development sets.

    Returns:
        five splits; every utterance is tested once.

    Raises:
        ValueError: if the corpus has no scripts, or too few scripts and dialogues.
    """
    units = _groups(corpus, _content)
    if all(u.script is None for u in corpus):
        raise ValueError(
            "script-independent needs scripted utterances, whose script is known;"
            f" {_name(corpus)} has none. Try leave-one-session-out"
        )
    if len(units) < FOLDS:
        raise ValueError(
            f"script-independent needs at least {FOLDS} scripts and improvised"
            f" dialogues; {_name(corpus)} has {len(units)}"
        )
    folds = _partition(list(units.values()), np.random.default_rng(seed))
    tests = [(f"fold {n}", fold) for n, fold in enumerate(folds)]
    return _leave_out(corpus, "script-independent", tests, seed, unit=_content)


def partitions(corpus: Corpus, seed: int = 0) -> list[Split]:
    """The published partitions: train on `train`, tune on `devel`, test on `test`, as
    the AVEC challenges have it, whose data tzirakis2021 takes.

    Nobody is in two of them there; elsewhere `describe` tells. The labels of `test` are
    often withheld; where they are, the last fifth of the training recordings tunes and
    `devel` is tested, so that what is tested has not chosen when to stop. A recording
    without labels is in no part, nor is an utterance without a partition. Where
    utterances have only two of the parts, `train` and another to test on, the
    development set is drawn from `train` as in `leave_one_session_out`.

    Args:
        corpus: whose partitions are known.
        seed: of a development set that is drawn.

    Returns:
        a single split.

    Raises:
        ValueError: if the corpus has no partitions, or too few recordings with labels,
            or utterances, in `train` or `devel`.
    """
    if corpus.utterances:
        return _of_utterances(corpus, seed)
    labelled = [one for one in corpus.recordings if one.labels is not None]
    train, devel, test = (
        [one.id for one in labelled if one.partition == part]
        for part in ("train", "devel", "test")
    )
    if len(train) < 2 or not devel:
        raise ValueError(
            "partitions needs at least two recordings with labels in train and one in"
            f" devel; {_name(corpus)} has {len(train)} and {len(devel)}"
        )
    if not test:
        cut = max(1, len(train) // FOLDS)
        train, devel, test = train[:-cut], train[-cut:], devel
    return [Split("partitions", train, devel, test)]


def _of_utterances(corpus: Corpus, seed: int) -> list[Split]:
    train, devel, test = (
        [u for u in corpus.utterances if u.partition == part]
        for part in ("train", "devel", "test")
    )
    if not train or not (devel or test):
        raise ValueError(
            "partitions needs utterances that are published as train and as test or"
            f" devel; {_name(corpus)} has {len(train)}, {len(test)} and {len(devel)}. A"
            " table tells it in a column split; without, try random-folds"
        )
    within = corpus.select([u.id for u in (*train, *devel, *test)])
    if devel and test:
        parts = ({u.id for u in part} for part in (devel, test))
        return [_split("partitions", within, *parts)]
    return _leave_out(within, "partitions", [("partitions", devel + test)], seed)


PROTOCOLS: dict[str, Callable[..., list[Split]]] = {
    "random-folds": random_folds,
    "leave-one-session-out": leave_one_session_out,
    "leave-one-speaker-out": leave_one_speaker_out,
    "leave-speakers-out": leave_speakers_out,
    "script-independent": script_independent,
    "partitions": partitions,
}
"""Name of a protocol to its function: `PROTOCOLS["random-folds"](corpus, seed=0)`."""


def describe(splits: Iterable[Split], corpus: Corpus) -> pd.DataFrame:
    """Count what each test set shares with its training set.

    Args:
        splits: of `corpus`.
        corpus: the corpus that was split.

    Returns:
        a row per split: `train`, `dev`, `test` (utterances), then the share of test
        utterances whose speaker, dialogue, script, or exact text (but for case and
        spaces; an empty text is never shared) occurs in training; nan where nobody
        knows who speaks.
    """
    shared: dict[str, Callable[[Utterance], str | None]] = {
        "speaker in train": lambda u: u.speaker,
        "dialogue in train": lambda u: u.dialogue,
        "script in train": lambda u: u.script,
        "text in train": lambda u: " ".join(u.text.lower().split()) or None,
    }
    rows = {}
    for split in splits:
        row: dict[str, float] = {
            "train": len(split.train),
            "dev": len(split.dev),
            "test": len(split.test),
        }
        for heading, of in shared.items():
            known = {of(corpus[id]) for id in split.train} - {None}
            told = [of(corpus[id]) in known for id in split.test]
            blind = heading == "speaker in train" and "" in known
            row[heading] = float("nan") if blind else float(np.mean(told))
        rows[split.name] = row
    return pd.DataFrame.from_dict(rows, orient="index").astype(
        {"train": int, "dev": int, "test": int}
    )


def _leave_out(
    corpus: Corpus,
    protocol: str,
    tests: list[tuple[str, list[Utterance]]],
    seed: int,
    unit: Callable[[Utterance], str] = lambda u: u.dialogue,
) -> list[Split]:
    """Test on each group in turn; tune on whole units of the others that have no part
    in the test.
    """
    rng = np.random.default_rng([seed, 1])
    splits = []
    for name, held_out in tests:
        test = {u.id for u in held_out}
        rest = [u for u in corpus if u.id not in test]
        tested = {unit(u) for u in held_out}
        units = _groups(rest, unit)
        candidates = [theirs for key, theirs in units.items() if key not in tested]
        if not candidates or len(units) < 2:
            raise ValueError(
                f"{protocol} needs a dialogue to tune on and another to train on beside"
                f" the test set; {_name(corpus)} has only {len(candidates)} of"
                f" {len(units)} to tune on when {name} is left out. A table tells them"
                " in a column dialogue; without, try random-folds"
            )
        dev = {u.id for u in _draw(candidates, rest, rng)}
        splits.append(_split(name, corpus, dev, test))
    return splits


def _draw(
    candidates: list[list[Utterance]], rest: list[Utterance], rng: np.random.Generator
) -> list[Utterance]:
    """Draw whole units for a development set: about a tenth of `rest`, with its
    classes, leaving some to train on.

    Of all beginnings of some random orders, those of about the right size are compared,
    and the one is taken that misses the fewest classes, then is closest to a tenth of
    each class of women and of men.
    """
    cells, counts = _count(candidates, rest)  # (units, cells)
    wanted = DEV_SHARE * np.bincount(
        [cells[_cell(u)] for u in rest], minlength=len(cells)
    )  # (cells,)
    orders = np.array([rng.permutation(len(candidates)) for _ in range(DRAWS)])
    begun = counts[orders].cumsum(axis=1)  # (draws, units, cells)
    size = begun.sum(axis=2)
    off = np.abs(size - wanted.sum()) / wanted.sum()
    off[size == len(rest)] = np.inf
    fits = off <= max(0.5, off.min())
    emotions = sorted({str(emotion) for emotion, _ in cells})
    of_emotion = np.array(
        [[str(emotion) == one for one in emotions] for emotion, _ in cells]
    )
    missed = (begun @ of_emotion == 0).sum(axis=2)
    distance = np.abs(begun - wanted).sum(axis=2)
    score = np.where(fits, missed * (1 + distance.max()) + distance, np.inf)
    draw, last = np.unravel_index(score.argmin(), score.shape)
    return [u for i in orders[draw, : last + 1] for u in candidates[i]]


def _partition(
    groups: list[list[Utterance]], rng: np.random.Generator
) -> list[list[Utterance]]:
    """Deal whole groups into five folds with about the same counts of each class of
    women and of men.

    Large groups first, in an order that chance decides in part; each goes to the fold
    that has the least of what the group brings.
    """
    cells, counts = _count(groups, [u for group in groups for u in group])
    shares = counts / counts.sum(axis=0)  # (groups, cells)
    order = np.argsort(-counts.sum(axis=1) * rng.uniform(0.5, 1, len(groups)))
    load, size = np.zeros((FOLDS, len(cells))), np.zeros(FOLDS)
    folds: list[list[Utterance]] = [[] for _ in range(FOLDS)]
    for i in order:
        chosen = np.lexsort((size, (load @ shares[i]).round(12)))[0]
        load[chosen] += shares[i]
        size[chosen] += len(groups[i])
        folds[chosen] += groups[i]
    return folds


def _count(
    groups: list[list[Utterance]], everyone: list[Utterance]
) -> tuple[dict[tuple, int], np.ndarray]:
    """Number the cells (emotion, gender) of `everyone`, and count those of each group:
    (groups, cells).
    """
    cells = {
        cell: i for i, cell in enumerate(dict.fromkeys(_cell(u) for u in everyone))
    }
    return cells, np.array(
        [
            np.bincount([cells[_cell(u)] for u in group], minlength=len(cells))
            for group in groups
        ]
    )


def _cell(u: Utterance) -> tuple[str | None, str | None]:
    return u.emotion, _gender(u.speaker)


@cache
def _gender(speaker: str) -> str | None:
    """Return `F` or `M` where the speaker's id tells, as in `Ses01F` and RAVDESS's
    `Actor_02`; else None.
    """
    if match := re.fullmatch(r"Ses\d+([FM])", speaker):
        return match[1]
    if match := re.fullmatch(r"Actor_(\d+)", speaker):
        return "FM"[int(match[1]) % 2]
    return None


def _content(u: Utterance) -> str:
    """What must not be on both sides of a script-independent test: the script, or the
    improvised dialogue.
    """
    return f"script {u.script}" if u.script is not None else f"dialogue {u.dialogue}"


def _groups(
    utterances: Iterable[Utterance], of: Callable[[Utterance], str]
) -> dict[str, list[Utterance]]:
    """Group utterances by what `of` says of them; the groups sorted by name."""
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        groups.setdefault(of(u), []).append(u)
    return dict(sorted(groups.items()))


def _split(name: str, corpus: Corpus, dev: set[str], test: set[str]) -> Split:
    ids = [u.id for u in corpus]
    return Split(
        name,
        [id for id in ids if id not in dev and id not in test],
        [id for id in ids if id in dev],
        [id for id in ids if id in test],
    )


def _check_known(corpus: Corpus, protocol: str, what: str) -> None:
    """Raise ValueError if nobody knows the speaker, or session, of some utterance."""
    unknown = sum(not getattr(u, what) for u in corpus.utterances)
    if unknown:
        raise ValueError(
            f"{protocol} needs the {what} of every utterance; of {unknown} of"
            f" {len(corpus)} in {_name(corpus)} nobody knows it. A table tells it in a"
            f" column {what}; without, try random-folds"
        )


def _name(corpus: Corpus) -> str:
    return f"corpus {corpus.name}"
