"""The plan of the synthetic corpus: what is drawn, and that it tells no more than it should."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from data_scripts.synthetic import grammar
from data_scripts.synthetic.lexicon import EMOTIONS
from data_scripts.synthetic.plan import EMOTION_OF, LABELS, PRIORS, SESSIONS, SPEAKERS, Planned, apportion, digest, plan


@pytest.fixture(scope="module")
def full() -> list[Planned]:
    return [utterance for turns in plan(5531).values() for utterance in turns]


@pytest.fixture(scope="module")
def emotion_of() -> dict[str, str]:
    return {entry.word.lower(): entry.emotion for entry in grammar.vocabulary()}


def test_counts_are_iemocaps(full):
    assert Counter(u.label for u in full) == LABELS
    assert Counter(u.session for u in full) == SESSIONS
    assert sum(bool(u.line) for u in full) == 2588
    assert all(EMOTION_OF[u.label] == u.emotion for u in full)
    assert {u.speaker for u in full} == SPEAKERS.keys()
    assert len({u.id for u in full}) == 5531
    scripted = {u.dialogue for u in full if u.line}
    assert Counter(name[:5] for name in scripted) == dict.fromkeys(("Ses01", "Ses02", "Ses03", "Ses04", "Ses05"), 14)
    assert all(re.fullmatch(rf"{u.dialogue}_[FM]\d\d\d", u.id) and u.speaker == u.dialogue[:5] + u.id[-4] for u in full)


@pytest.mark.parametrize("utterances", [50, 67, 600])
def test_other_sizes_scale_the_counts(utterances):
    turns = [u for dialogue in plan(utterances, seed=3).values() for u in dialogue]
    assert Counter(u.label for u in turns) == apportion(utterances, LABELS)


def test_plan_follows_from_the_seed():
    assert digest(plan(80, 1)) == digest(plan(80, 1)) != digest(plan(80, 2))


def test_too_few_utterances_are_refused():
    with pytest.raises(ValueError, match="at least 50"):
        plan(49)


@pytest.mark.parametrize("scripted", [False, True])
def test_cues_of_plain_items_are_independent_given_the_class(full, scripted):
    plain = [u for u in full if u.item == "plain" and bool(u.line) == scripted]
    for emotion in EMOTIONS:
        own = [u for u in plain if u.emotion == emotion]
        assert {u.words for u in own} == {emotion, "shared"}
        for words in (emotion, "shared"):
            voices = Counter(u.voice for u in own if u.words == words)
            if emotion == "neutral":
                assert set(voices) == {"neutral"}
            else:
                assert set(voices) == {emotion, "neutral"}
                assert voices[emotion] / voices.total() == pytest.approx(0.6, abs=0.02)
        assert sum(u.words == emotion for u in own) / len(own) == pytest.approx(0.6, abs=0.08 if scripted else 0.01)


def test_items_and_shared_sentences_do_not_tell_the_class(full):
    for chosen in ([u for u in full if u.item == "emphasis"], [u for u in full if u.words == "shared"]):
        shares = Counter(u.emotion for u in chosen)
        for emotion in EMOTIONS:
            assert shares[emotion] / len(chosen) == pytest.approx(PRIORS[emotion], abs=0.03)
    shared = [u for u in full if u.words == "shared" and not u.line]
    counts = CountVectorizer().fit_transform(u.text for u in shared)
    accuracy = cross_val_score(
        LogisticRegression(max_iter=300, C=0.1), counts, [u.emotion for u in shared], cv=4
    ).mean()
    assert accuracy < max(Counter(u.emotion for u in shared).values()) / len(shared) + 0.03


def test_length_in_words_does_not_tell_the_class(full):
    means = {}
    for emotion in EMOTIONS:
        lengths = [len(u.tokens) for u in full if u.emotion == emotion]
        means[emotion] = sum(lengths) / len(lengths)
    assert max(means.values()) / min(means.values()) < 1.1


def test_words_show_what_the_cues_say(full, emotion_of):
    for u in full:
        words = [grammar.bare(token) for token in u.tokens]
        shown = {emotion_of[word] for word in words} - {""}  # every word is in the lexicon
        assert shown == (set() if u.words == "shared" else set(u.words.split("|"))), u.text
        if u.item == "emphasis":
            first, second = u.words.split("|")
            assert emotion_of[words[u.stressed]] == u.emotion
            assert emotion_of[words[u.decoy]] == ""
            assert (u.emotion == first) == (u.stressed < u.decoy), "the decoy is in the other clause"
            assert first != second


@pytest.mark.parametrize("scripted", [False, True])
def test_emphasis_text_leaves_the_class_open(full, scripted):
    counts: dict[str, Counter] = defaultdict(Counter)
    for u in full:
        if u.item == "emphasis" and bool(u.line) == scripted:
            counts[u.words][u.emotion] += 1
    assert len(counts) == 12
    for words, labels in counts.items():
        first, second = words.split("|")
        assert abs(labels[first] - labels[second]) <= 1


def test_time_of_the_stresses_leaves_the_clause_open(full):
    """The two stressed words are near or far, early or late, equally often whichever clause holds the emotion."""
    gaps: dict[bool, list[int]] = {True: [], False: []}
    for u in full:
        if u.item == "emphasis":
            gaps[u.stressed < u.decoy].append(abs(u.stressed - u.decoy))
    early, late = (sum(g) / len(g) for g in gaps.values())
    assert early == pytest.approx(late, rel=0.05)


def test_scripts_repeat_their_lines(full):
    lines = defaultdict(list)
    for u in full:
        if u.line:
            lines[u.line].append(u)
    assert sum(len(plays) > 4 for plays in lines.values()) > 0.9 * len(lines)
    kept = []
    for plays in lines.values():
        assert len({(u.tokens, u.id[-4], u.words) for u in plays}) == 1
        if plays[0].words in EMOTIONS:
            assert {u.emotion for u in plays} == {plays[0].words}
        else:
            kept.append(max(Counter(u.emotion for u in plays).values()) / len(plays))
    assert 0.7 < sum(kept) / len(kept) < 0.9


def test_improvised_sentences_are_distinct(full):
    improvised = [u.tokens for u in full if not u.line]
    assert len(set(improvised)) > 0.97 * len(improvised)
    assert not set(improvised) & {u.tokens for u in full if u.line and len(u.tokens) > 5}


def test_lexicon_is_large_and_unambiguous():
    entries = grammar.vocabulary()
    assert len({entry.word.lower() for entry in entries}) == len(entries)
    content = {entry.lemma for entry in entries if entry.group not in ("function", "other")}
    assert len(content) > 500
    for emotion in EMOTIONS:
        assert len({entry.lemma for entry in entries if entry.emotion == emotion}) >= 25


def test_english_is_inflected_rightly(full):
    exceptions = {"hour", "uniform", "euphoric", "one"}
    wrong = {*itertools.product(("they", "we", "i", "you"), ("is", "has")), ("he", "are"), ("she", "are")}
    for u in full:
        for before, after in itertools.pairwise(u.tokens):
            pair = grammar.bare(before), grammar.bare(after)
            if before[-1] not in ".,?":
                assert pair[0] != pair[1] and pair not in wrong, u.text
            if pair[0] in ("a", "an") and pair[1] not in exceptions:
                assert (pair[0] == "an") == (pair[1][0] in "aeiou"), u.text
        assert u.tokens[0][0].isupper() and u.tokens[-1][-1] in ".?"
