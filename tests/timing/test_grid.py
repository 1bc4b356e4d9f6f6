"""Seconds and steps: against a loop over frames, and against the frames of real features."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from serlib.corpora.corpus import Segment
from serlib.features import FEATURES, RATE, read_waveform
from serlib.inputs import grid_of
from serlib.settings import Settings
from serlib.timing import Grid

SHAPES = st.sampled_from([(0.01, 0.025), (0.015, 0.025), (0.01, 0.02), (0.04, 0.04), (0.1, 0.1)])
MILLISECONDS = st.integers(0, 3_000).map(lambda n: n / 1000)
SEGMENTS = st.lists(st.tuples(MILLISECONDS, st.integers(0, 400)), max_size=8)
GRIDS = st.builds(
    lambda shape, duration, stride, cut: Grid.of(duration, *shape, stride=stride, cut=cut),
    SHAPES,
    MILLISECONDS,
    st.integers(1, 12),
    st.none() | st.integers(1, 60),
)


def middles(grid: Grid) -> list[float]:
    """The mean of the middles of a step's frames, frame by frame."""
    found = []
    for step in range(0, grid.frames, grid.stride):
        frames = [frame for frame in range(step, step + grid.stride) if frame < grid.frames]
        found.append(sum(frame * grid.hop + grid.window / 2 for frame in frames) / len(frames))
    return found


@examples(max_examples=300, deadline=None, derandomize=True)
@given(GRIDS, SEGMENTS)
def test_a_segment_has_the_steps_whose_middle_lies_within_it_or_the_nearest(grid, drawn):
    segments = [Segment("x", start, start + length / 1000) for start, length in drawn]
    spans, inside = grid.spans(segments)
    assert spans.shape == (len(segments), 2) and spans.dtype == np.int64
    of_steps = middles(grid)
    assert len(of_steps) == grid.steps == len(grid.middles)
    np.testing.assert_allclose(grid.middles, of_steps, atol=1e-12)
    for (_, start, end), (first, after), count in zip(segments, spans.tolist(), inside.tolist(), strict=True):
        within = [step for step, middle in enumerate(of_steps) if start - 1e-7 <= middle < end - 1e-7]
        assert count == len(within)
        if within:
            assert (first, after) == (within[0], within[-1] + 1)
        else:
            away = [abs(middle - (start + end) / 2) for middle in of_steps]
            least = [step for step, one in enumerate(away) if one < min(away) + 1e-7]
            assert after == first + 1 and first in least
            if len(least) == 2:  # as far from the one as from the other
                assert first % 2 == 0
        assert 0 <= first < after <= grid.steps


@examples(max_examples=200, deadline=None, derandomize=True)
@given(SHAPES, st.integers(1, 48_000), st.none() | st.integers(1, 60), st.sampled_from([0.0, 0.055, 0.07]))
def test_frames_are_those_that_lie_wholly_within_the_sound(shape, samples, cut, shortest):
    hop, window = (round(one * RATE) for one in shape)
    filled, frames = max(samples, round(shortest * RATE)), 0
    while frames * hop + window <= filled:
        frames += 1
    grid = Grid.of(samples / RATE, *shape, cut=cut, shortest=shortest)
    assert grid.frames == min(max(1, frames), cut or 10**6)
    assert grid.end == pytest.approx(((grid.frames - 1) * hop + window) / RATE)


@pytest.mark.parametrize("name", [name for name, feature in FEATURES.items() if feature.per_frame])
def test_frames_are_as_many_as_the_feature_has(name):
    """Lengths around every edge: of the shortest sound, of the first frames, of a second."""
    feature = FEATURES[name]
    hop, window, shortest = (round(one * RATE) for one in (feature.hop, feature.window, feature.shortest))
    edges = {window, shortest, window + hop, shortest + hop, window + 7 * hop, RATE, window + 97 * hop}
    lengths = sorted({max(1, edge + more) for edge in edges for more in (-1, 0, 1)} | {1, 17_777})
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, max(lengths)).astype(np.float32)
    for samples in lengths:
        grid = Grid.of(samples / RATE, feature.hop, feature.window, shortest=feature.shortest)
        assert grid.frames == len(feature.extract(sound[:samples])), samples


def test_so_they_are_of_speech_whose_duration_a_reader_tells(synthetic):
    for one in synthetic.utterances[::25]:
        for name, feature in FEATURES.items():
            if feature.per_frame:
                grid = grid_of(name, Settings(max_frames=10_000))(one)
                assert grid.frames == len(feature.extract(read_waveform(one.audio))), (one.id, name)


def test_a_tie_goes_to_the_even_step():
    grid = Grid.of(1.0, 0.1, 0.1)  # middles at 0.05, 0.15, ..., 0.95
    at = [0.1, 0.2, 0.3, 0.4, 0.5]
    spans, inside = grid.spans([Segment("x", one, one) for one in at])
    assert spans[:, 0].tolist() == [0, 2, 2, 4, 4]
    assert inside.tolist() == [0] * 5


def test_the_last_step_may_have_fewer_frames():
    grid = Grid.of(1.0, 0.1, 0.1, stride=4)  # frames 0 to 3, 4 to 7, and 8 and 9
    assert grid.steps == 3
    assert grid.middles.tolist() == pytest.approx([0.2, 0.6, 0.9])
    # between the second middle and the third, which is nearer than a step of four frames would be
    short = [Segment("x", 0.70, 0.72), Segment("x", 0.78, 0.80), Segment("x", 5.0, 5.1)]
    assert grid.spans(short)[0].tolist() == [[1, 2], [2, 3], [2, 3]]


def test_the_cut_is_in_frames_and_ends_what_is_heard():
    grid = Grid.of(3.0, 0.01, 0.025, stride=4, cut=10)
    assert (grid.frames, grid.steps, grid.end) == (10, 3, pytest.approx(0.115))
    spans, inside = grid.spans([Segment("x", 0.0, 3.0), Segment("x", 2.0, 3.0)])
    assert spans.tolist() == [[0, 3], [2, 3]] and inside.tolist() == [3, 0]
    assert Grid.of(0.05, 0.01, 0.025, cut=10).frames == 3


def test_no_segment_has_no_span():
    spans, inside = Grid.of(1.0, 0.01, 0.025).spans([])
    assert spans.shape == (0, 2) and inside.shape == (0,)


@pytest.mark.parametrize("wrong", [{"hop": 0}, {"window": -0.02}, {"stride": 0}, {"cut": 0}])
def test_what_is_not_positive_is_told(wrong):
    shape = {"hop": 0.01, "window": 0.02, "stride": 1, "cut": None} | wrong
    found = f"found {shape['hop']}, {shape['window']}, {shape['stride']} and {shape['cut']}"
    with pytest.raises(ValueError, match=f"hop, window, stride and cut are positive; {found}"):
        Grid.of(1.0, **shape)
