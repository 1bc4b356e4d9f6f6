"""Frames, phonemes and words of an utterance: a frame-by-frame transcription, and every awkward alignment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serlib.corpora.corpus import Segment, Utterance
from serlib.features import FEATURES, mfcc_15ms
from serlib.timing import Grid
from serlib.timing import phones as hierarchy
from serlib.timing.phones import Counts

WORDS = (Segment("so", 0.10, 0.30), Segment("don't", 0.30, 0.50), Segment("cry", 0.70, 0.90))
PHONES = (
    Segment("S", 0.10, 0.20),
    Segment("OW", 0.20, 0.30),
    Segment("D", 0.30, 0.35),
    Segment("OW", 0.35, 0.42),
    Segment("N", 0.42, 0.50),
    Segment("K", 0.70, 0.80),
    Segment("AY", 0.80, 0.90),
)


def utterance(words=WORDS, phones=PHONES, text="So, don't cry!", duration=1.0) -> Utterance:
    of = ("u", "s", "Session1", "d", False, "sad", None, text, Path("u.wav"), duration)
    return Utterance(*of, words=tuple(words), phones=tuple(phones))


def grid(one: Utterance, stride: int = 1, cut: int | None = None) -> Grid:
    feature = FEATURES["mfcc_15ms"]
    return Grid.of(one.duration, feature.hop, feature.window, stride=stride, cut=cut, shortest=feature.shortest)


def phones(one: Utterance, **shape) -> np.ndarray:
    return hierarchy.phones(one, grid(one, **shape))


def pairs(one: Utterance, max_tokens: int | None = None, **shape) -> np.ndarray:
    return hierarchy.pairs(one, grid(one, **shape), max_tokens)


def spoken_words(one: Utterance, **shape) -> np.ndarray:
    return hierarchy.spoken_words(one, grid(one, **shape))


def count(utterances) -> Counts:
    return hierarchy.count(utterances, grid)


def one_phone(start: float, end: float, **more) -> Utterance:
    return utterance([Segment("so", 0.0, 5.0)], [Segment("S", start, end)], **more)


def middles(duration: float, stride: int) -> list[float]:
    """When the middle of each frame is, in seconds: frames of 25 ms every 15 ms, `stride` of them averaged."""
    frames = len(mfcc_15ms(np.zeros(round(duration * 16_000), np.float32)))
    each = [0.015 * frame + 0.025 / 2 for frame in range(frames)]
    return [float(np.mean(each[first : first + stride])) for first in range(0, frames, stride)]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_phoneme_has_the_frames_whose_middle_lies_within_it(stride):
    expected = []
    for phone in PHONES:
        inside = [n for n, middle in enumerate(middles(1.0, stride)) if phone.start <= middle + 1e-9 < phone.end]
        word = [n for n, one in enumerate(WORDS) if one.start <= phone.start and phone.end <= one.end]
        expected.append([inside[0], len(inside), word[0]])
    assert phones(utterance(), stride=stride).tolist() == expected


def test_frames_of_silence_belong_to_nobody():
    heard = {frame for first, frames, _ in phones(utterance()).tolist() for frame in range(first, first + frames)}
    for frame, middle in enumerate(middles(1.0, 1)):
        assert (frame in heard) == any(word.start <= middle < word.end for word in WORDS)


@pytest.mark.parametrize(
    ("duration", "stride", "cut"),
    [(0.01, 1, None), (0.069, 1, None), (1.0, 1, None), (1.003, 3, None), (2, 2, 50)],
)
def test_the_last_frame_is_that_of_the_feature(duration, stride, cut):
    last = min(len(middles(duration, 1)), cut or 10**6)
    last = -(-last // stride)
    (row,) = phones(one_phone(0.0, 5.0, duration=duration), stride=stride, cut=cut).tolist()
    assert row == [0, min(last, 64 // stride), 0]
    (row,) = phones(one_phone(4.9, 5.0, duration=duration), stride=stride, cut=cut).tolist()
    assert row == [last - 1, 1, 0]  # an alignment that overruns the sound


def test_a_phone_across_a_boundary_goes_where_most_of_it_is():
    def owner(start: float, end: float) -> int:
        rows = phones(utterance(phones=[Segment("X", start, end)]))
        return next(
            int(word) for first, frames, word in rows if (first, frames) == tuple(phones(one_phone(start, end))[0, :2])
        )

    assert owner(0.20, 0.36) == 0
    assert owner(0.25, 0.45) == 1
    assert owner(0.25, 0.35) == 0  # half and half: the earlier word
    assert owner(0.40, 0.68) == 1  # runs on into the pause
    assert count([utterance(phones=[Segment("X", 0.25, 0.45)])]).divided_phones == 1


def test_a_phone_in_a_pause_is_left_out():
    laughter = Segment("AH", 0.52, 0.68)
    beside = Segment("AH", 0.50, 0.70)  # touches both words
    for stray in (laughter, beside):
        assert phones(utterance(phones=[*PHONES[:5], stray, *PHONES[5:]])).tolist() == phones(utterance()).tolist()
        assert count([utterance(phones=[*PHONES, stray])]).stray_phones == 1


def test_a_word_without_phones_is_one_phoneme():
    bare = utterance(phones=[*PHONES[:2], *PHONES[5:]])
    rows = phones(bare)
    assert rows[:, 2].tolist() == [0, 0, 1, 2, 2]
    first, frames, _ = rows[2]
    inside = [n for n, middle in enumerate(middles(1.0, 1)) if 0.30 <= middle < 0.50]
    assert (first, frames) == (inside[0], len(inside))
    assert count([bare]).phoneless_words == 1
    assert phones(utterance(phones=[]))[:, 2].tolist() == [0, 1, 2]


def test_a_phone_shorter_than_a_frame_has_the_nearest_one():
    # Middles of frames are at 12.5, 27.5, 42.5 ms and so on.
    for start, end, frame in [(0.028, 0.030, 1), (0.036, 0.040, 2), (0.0, 0.002, 0)]:
        assert phones(one_phone(start, end)).tolist() == [[frame, 1, 0]]
    assert count([one_phone(0.028, 0.030), one_phone(0.0, 0.1)]).short_phones == 1


def test_a_phone_of_no_length_counts_as_none():
    assert phones(one_phone(0.5, 0.5)).tolist() == phones(utterance([Segment("so", 0.0, 5.0)], [])).tolist()


def test_long_phones_words_and_utterances_are_cut():
    assert phones(one_phone(0.0, 1.5, duration=5.0)).tolist() == [[0, 64, 0]]
    assert phones(one_phone(0.0, 1.5, duration=5.0), stride=3)[0, 1] == 21
    assert count([one_phone(0.0, 1.5, duration=5.0)]).long_phones == 1

    many = [Segment("A", 0.1 * n, 0.1 * n + 0.1) for n in range(16)]
    crowded = utterance([Segment("aaaa", 0.0, 1.6)], many, duration=2.0)
    assert len(phones(crowded)) == 14
    assert phones(crowded)[-1, 0] == phones(one_phone(1.3, 1.4, duration=2.0))[0, 0]
    assert count([crowded]).lost_phones == 2

    wordy = utterance([Segment("a", 0.1 * n, 0.1 * n + 0.1) for n in range(130)], [], "a " * 130, duration=13.0)
    assert len(pairs(wordy)) == len(spoken_words(wordy)) == phones(wordy)[-1, 2] + 1 == 128
    assert count([wordy]).lost_words == 2
    # 6 frames end with 100 ms, which the second word only reaches: the others are not heard
    assert len(spoken_words(wordy, cut=6)) == 1
    assert pairs(wordy, max_tokens=5).tolist() == [[n, n] for n in range(5)]


# Words of the text and words of the sound


def test_tokens_are_paired_with_the_words_that_say_them():
    assert pairs(utterance()).tolist() == [[0, 0], [2, 1], [3, 1], [4, 2]]  # so , do n't cry !
    other = utterance(text="So, we cry")
    assert pairs(other).tolist() == [[0, 0], [3, 2]]
    assert (count([other]).wordless_tokens, count([other]).unclaimed_words) == (1, 1)
    assert spoken_words(other).tolist() == [[0, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [[0, 0], [0, 1], [0, 2]]),  # the single unknown token that `Words` makes of an empty text
        ("Hm!", [[0, 0], [0, 1], [1, 2]]),
        ("[LAUGHTER]", [[0, 0], [0, 1], [0, 2]]),
    ],
)
def test_tokens_that_nobody_says_are_spread_over_the_words(text, expected):
    assert pairs(utterance(text=text)).tolist() == expected


def test_an_utterance_without_an_alignment_is_divided_evenly():
    bare = utterance((), (), duration=1.0)  # so , do n't cry !
    assert pairs(bare).tolist() == [[0, 0], [2, 1], [3, 2], [4, 3]]
    assert len(spoken_words(bare)) == 4
    rows = phones(bare)
    assert rows[:, 2].tolist() == [0, 1, 2, 3]
    assert rows[:, 0].tolist() == [0, *(rows[:-1, 0] + rows[:-1, 1])] and rows[-1, 0] + rows[-1, 1] == 66
    counts = count([bare, utterance()])
    assert (counts.utterances, counts.unaligned_utterances, counts.words) == (2, 1, 3)
    assert (counts.wordless_tokens, counts.phoneless_words, counts.lost_words) == (0, 0, 0)
    for text in ("", "...", "[LAUGHTER]"):
        mute = utterance((), (), text)
        assert phones(mute).tolist() == [[0, 64, 0]]
        assert pairs(mute).tolist() == [[0, 0]]
    endless = utterance((), (), "a " * 150, duration=0.5)
    assert phones(endless)[:, 2].tolist() == list(range(128))
    assert pairs(endless)[:, 1].tolist() == list(range(128))
    unheard = utterance([Segment("so", 0.0, 0.4)], (), "zq " * 200)  # no token is the word that was aligned
    assert len(pairs(unheard)) == 128


def test_phones_without_words_are_kept():
    rows = phones(utterance(words=(), text="so"))
    assert rows[:, 2].tolist() == [0] * 7
    assert rows[:, :2].tolist() == phones(utterance())[:, :2].tolist()


def test_a_tidy_alignment_counts_nothing_odd(synthetic):
    counts = count(synthetic)
    assert (counts.utterances, counts.unaligned_utterances) == (len(synthetic), 0)
    assert counts.words == sum(len(u.words) for u in synthetic)
    assert counts.phones == sum(len(u.phones) for u in synthetic)
    assert counts.stray_phones == counts.divided_phones == counts.phoneless_words == counts.lost_words == 0
    for u in synthetic:
        rows, steps = phones(u), pairs(u)
        assert (rows[:, 1] >= 1).all() and (np.diff(rows[:, 2]) >= 0).all()
        assert set(rows[:, 2]) == set(range(len(u.words)))
        assert steps[:, 1].max() < len(u.words) and (np.diff(steps, axis=0) >= 0).all()


def test_counts_add_up():
    assert Counts(words=1, phones=2) + Counts(words=3) == Counts(words=4, phones=2)
