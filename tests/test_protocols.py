"""Who may be on which side, on random corpora; and what each protocol does not keep apart, on IEMOCAP's plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serlib.corpora.corpus import EMOTIONS, Corpus, Utterance
from serlib.protocols import PROTOCOLS, Split, describe, random_folds

OF_UTTERANCES = {name: protocol for name, protocol in PROTOCOLS.items() if name != "partitions"}
TESTED_ONCE = [name for name in OF_UTTERANCES if name != "random-folds"]
SPEAKERS_APART = ["leave-one-session-out", "leave-one-speaker-out", "leave-speakers-out"]


def utterance(
    id: str, speaker: str, session: str, dialogue: str, emotion: str, script: str | None, text=""
) -> Utterance:
    return Utterance(
        id=id,
        speaker=speaker,
        session=session,
        dialogue=dialogue,
        scripted=script is not None,
        emotion=emotion,
        dimensions=None,
        text=text or f"words of {id}",
        audio=Path(f"{id}.wav"),
        duration=1.0,
        script=script,
    )


def like_iemocap(turns: int = 6, sessions: int = 5, scripts: int = 4, seed: int = 0, priors=None) -> Corpus:
    """A woman and a man a session; improvised scenes and scripts, both played in every session."""
    rng = np.random.default_rng(seed)
    utterances = []
    for n in range(1, sessions + 1):
        for scene in [*(f"impro{i:02}" for i in range(1, 5)), *(f"script{i:02}_1" for i in range(1, scripts + 1))]:
            script = scene if scene.startswith("script") else None
            for turn in range(int(rng.integers(2, 2 * turns))):
                dialogue, who = f"Ses0{n}F_{scene}", "FM"[turn % 2]
                id, emotion = f"{dialogue}_{who}{turn:03}", str(rng.choice(EMOTIONS, p=priors))
                text = f"{scene} line {turn}" if script else f"{id} speaks"
                utterances.append(utterance(id, f"Ses0{n}{who}", f"Session{n}", dialogue, emotion, script, text))
    return Corpus("iemocap", Path("."), utterances)


def like_ravdess() -> Corpus:
    return Corpus(
        "ravdess",
        Path("."),
        [
            utterance(
                f"{a:02}-{e}-{s}-{i}", f"Actor_{a:02}", f"Actor_{a:02}", f"Actor_{a:02}", e, f"statement{s}", f"{s}"
            )
            for a in range(1, 25)
            for e in EMOTIONS
            for s in (1, 2)
            for i in range(2 if e == "neutral" else 4)
        ],
    )


CORPORA = st.builds(
    like_iemocap,
    turns=st.integers(2, 12),
    sessions=st.integers(3, 6),
    scripts=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
    priors=st.sampled_from([None, [0.02, 0.48, 0.48, 0.02]]),
)


def sides(split: Split, corpus: Corpus) -> list[list[Utterance]]:
    return [[corpus[id] for id in ids] for ids in (split.train, split.dev, split.test)]


def of(name: str, utterances: list[Utterance]) -> set[str]:
    return {getattr(u, name) for u in utterances}


@given(CORPORA, st.sampled_from(list(OF_UTTERANCES)), st.integers(0, 5))
@settings(max_examples=120, deadline=None)
def test_what_every_protocol_promises(corpus: Corpus, protocol: str, seed: int) -> None:
    splits = PROTOCOLS[protocol](corpus, seed=seed)
    order = {u.id: i for i, u in enumerate(corpus)}
    for split in splits:
        ids = split.train + split.dev + split.test
        assert len(ids) == len(set(ids)) == len(corpus)
        assert split.train and split.dev and split.test
        for side in (split.train, split.dev, split.test):
            assert side == sorted(side, key=order.__getitem__)
    assert len({split.name for split in splits}) == len(splits)
    assert splits == PROTOCOLS[protocol](corpus, seed=seed)
    tested = Counter(id for split in splits for id in split.test)
    assert max(tested.values()) == 1
    if protocol in TESTED_ONCE:
        assert set(tested) == set(order)


@given(CORPORA, st.sampled_from(SPEAKERS_APART), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_nobody_tested_is_trained_or_tuned_on(corpus: Corpus, protocol: str, seed: int) -> None:
    for split in PROTOCOLS[protocol](corpus, seed=seed):
        train, dev, test = sides(split, corpus)
        assert not of("speaker", test) & of("speaker", train + dev)
        assert not of("dialogue", dev) & of("dialogue", train + test)
        if protocol == "leave-one-session-out":
            assert not of("dialogue", test) & of("dialogue", train)
            assert of("session", test) == {split.name}
        if protocol == "leave-one-speaker-out":
            assert of("speaker", test) == {split.name}


@given(CORPORA, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_no_script_is_on_two_sides(corpus: Corpus, seed: int) -> None:
    splits = PROTOCOLS["script-independent"](corpus, seed=seed)
    assert len(splits) == 5
    for split in splits:
        train, dev, test = sides(split, corpus)
        for one, other in ((train, dev), (train, test), (dev, test)):
            assert not (of("script", one) & of("script", other)) - {None}
            assert not of("dialogue", one) & of("dialogue", other)


def test_random_folds_have_the_papers_sizes() -> None:
    corpus = like_iemocap(turns=23, scripts=20)
    n = len(corpus)
    splits = random_folds(corpus, seed=3)
    assert len(splits) == 5
    for split in splits:
        assert len(split.train) / n == pytest.approx(0.8, abs=1 / n)
        assert len(split.dev) / n == pytest.approx(0.05, abs=1 / n)
        assert len(split.test) / n == pytest.approx(0.15, abs=1 / n)
    assert random_folds(corpus, seed=4) != splits
    released = random_folds(corpus, seed=3, dev_share=0.3)
    assert len(released[0].dev) / n == pytest.approx(0.06, abs=1 / n)
    assert released[0].train == splits[0].train


@pytest.mark.parametrize("protocol", TESTED_ONCE)
def test_development_sets_are_about_a_tenth_with_every_emotion(protocol: str) -> None:
    corpus = like_iemocap(turns=20, priors=[0.1, 0.4, 0.4, 0.1])
    for split in PROTOCOLS[protocol](corpus):
        train, dev, _ = sides(split, corpus)
        assert 0.05 < len(dev) / len(train + dev) < 0.15
        assert of("emotion", dev) == of("emotion", train) == set(EMOTIONS)
    assert PROTOCOLS[protocol](corpus, seed=1) != PROTOCOLS[protocol](corpus, seed=0)


def test_speakers_are_dealt_with_women_and_men_in_every_fold() -> None:
    for split in PROTOCOLS["leave-speakers-out"](like_iemocap()):
        assert sorted(speaker[-1] for speaker in of("speaker", [u for u in like_iemocap() if u.id in split.test])) == [
            "F",
            "M",
        ]
    corpus = like_ravdess()
    splits = PROTOCOLS["leave-speakers-out"](corpus)
    sizes = []
    for split in splits:
        train, dev, test = sides(split, corpus)
        women = {speaker for speaker in of("speaker", test) if int(speaker[-2:]) % 2 == 0}
        men = of("speaker", test) - women
        assert abs(len(women) - len(men)) <= 1
        sizes.append(len(women | men))
        # a single dialogue per speaker: the development set is whole speakers, a woman and a man
        assert not of("speaker", dev) & of("speaker", train)
        assert {int(speaker[-2:]) % 2 for speaker in of("speaker", dev)} == {0, 1}
        assert len(of("speaker", dev)) == 2
    assert sorted(sizes) == [4, 5, 5, 5, 5]


def test_script_folds_are_about_equal() -> None:
    corpus = like_iemocap(turns=20, scripts=7)
    sizes = [len(split.test) for split in PROTOCOLS["script-independent"](corpus)]
    assert max(sizes) < 1.3 * min(sizes)


def test_describe_shows_what_each_protocol_leaves_open() -> None:
    corpus = like_iemocap(turns=12)
    tables = {name: describe(protocol(corpus), corpus) for name, protocol in OF_UTTERANCES.items()}
    scripted = np.mean([u.scripted for u in corpus])
    random = tables["random-folds"]
    assert (random["speaker in train"] == 1).all() and (random["dialogue in train"] > 0.9).all()
    session = tables["leave-one-session-out"]
    assert (session[["speaker in train", "dialogue in train"]] == 0).all(axis=None)
    assert session["script in train"].mean() == pytest.approx(scripted, abs=0.1)
    assert session["text in train"].mean() > 0.2  # the same scripts are played in every session
    speaker = tables["leave-one-speaker-out"]
    assert (speaker["speaker in train"] == 0).all() and (speaker["dialogue in train"] == 1).all()
    script = tables["script-independent"]
    assert (script[["script in train", "text in train", "dialogue in train"]] == 0).all(axis=None)
    assert (script["speaker in train"] == 1).all()
    assert (script.test.sum(), session.test.sum()) == (len(corpus), len(corpus))


def test_describe_counts_by_hand() -> None:
    corpus = Corpus(
        "toy",
        Path("."),
        [
            utterance("a", "x", "1", "d1", "sad", "s", "Oh  no"),
            utterance("b", "y", "1", "d1", "sad", None, "well"),
            utterance("c", "x", "2", "d2", "sad", "s", "oh no"),
            utterance("d", "z", "2", "d1", "sad", None, " "),
            utterance("e", "y", "1", "d1", "sad", None, " "),
        ],
    )
    row = describe([Split("one", ["a", "e"], ["b"], ["c", "d"])], corpus).loc["one"]
    assert row.to_dict() == {
        "train": 2,
        "dev": 1,
        "test": 2,
        "speaker in train": 0.5,
        "dialogue in train": 0.5,
        "script in train": 0.5,
        "text in train": 0.5,
    }


def only(corpus: Corpus, name: str, *values: str | None) -> Corpus:
    return corpus.select([u.id for u in corpus if getattr(u, name) in values])


@pytest.mark.parametrize(
    ("protocol", "corpus", "message"),
    [
        ("random-folds", like_iemocap().select([u.id for u in like_iemocap()][:9]), "at least 10 utterances.* has 9"),
        ("leave-one-session-out", like_iemocap(sessions=1), "at least two sessions; corpus iemocap has Session1. Try"),
        (
            "leave-one-session-out",
            Corpus("toy", Path("."), [utterance(f"{i}", "x", f"{i}", f"{i}", "sad", None) for i in range(3)]),
            "one session each; in corpus toy x is in 3",
        ),
        ("leave-one-speaker-out", only(like_iemocap(), "speaker", "Ses02F"), "two speakers.* has Ses02F"),
        ("leave-one-speaker-out", like_iemocap(sessions=1), "a dialogue to tune on.*0 of 8.* when Ses01F is left out"),
        (
            "leave-one-speaker-out",
            Corpus("toy", Path("."), [utterance(f"{i}", f"{i % 2}", "", f"{i % 2}", "sad", None) for i in range(4)]),
            "only 1 of 1 to tune on when 0 is left out. A table tells them in a column dialogue; without, try random-f",
        ),
        ("partitions", like_iemocap(), "has 0, 0 and 0. A table tells it in a column split; without, try random-folds"),
        ("leave-speakers-out", like_iemocap(sessions=2), "at least 5 speakers; corpus iemocap has 4"),
        ("script-independent", only(like_iemocap(), "script", None), "needs scripted utterances.* has none"),
        ("script-independent", like_ravdess(), "at least 5 scripts and improvised dialogues.* has 2"),
    ],
)
def test_a_corpus_that_cannot_be_split_so_is_told_why(protocol: str, corpus: Corpus, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PROTOCOLS[protocol](corpus, seed=0)


def test_a_dev_share_that_cuts_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, such as 0\.25; got 0"):
        random_folds(like_iemocap(), dev_share=0)
