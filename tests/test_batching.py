"""Batches: nothing lost, nothing padded that need not be, the same again from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serlib.batching import Dataset, Ragged, buckets, padding_share


def random_dataset(frames, words, dims: int = 3) -> Dataset:
    random = np.random.default_rng(0)
    ids = [f"u{row}" for row in range(len(frames))]
    features = {
        "mfcc": {i: random.normal(5, 2, (n, dims)).astype("f4") for i, n in zip(ids, frames, strict=True)},
        "prosody": {i: random.normal(-3, 4, 2).astype("f4") for i in ids},
        "tokens": {i: random.integers(2, 30, n) for i, n in zip(ids, words, strict=True)},
    }
    return Dataset.build(ids, [row % 4 for row in range(len(ids))], features)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_padded_is_what_a_loop_pads(lengths, random):
    arrays = [np.random.default_rng(n).normal(size=(n, 2)).astype("f4") for n in lengths]
    rows = [random.randrange(len(lengths)) for _ in range(5)]
    values, real = Ragged.of(arrays).select(torch.tensor(rows)).padded()
    expected = np.zeros((5, max(1, *(lengths[row] for row in rows)), 2), "f4")
    for place, row in enumerate(rows):
        expected[place, : lengths[row]] = arrays[row]
    assert np.array_equal(values.numpy(), expected)
    assert real.tolist() == [max(1, lengths[row]) for row in rows]


LENGTHS = st.lists(st.integers(0, 12), min_size=1, max_size=20)
SHAPES = st.sampled_from([((), np.int64), ((), np.float32), ((2,), np.int64), ((3,), np.float32), ((2, 2), np.float32)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(LENGTHS, SHAPES, st.data())
def test_steps_undo_padding_whatever_is_selected(lengths, shape, data):
    """Every real step exactly once and in order, integers as they are, and nothing but zeros beside them."""
    tail, dtype = shape
    count = iter(range(1, 10**6))
    arrays = [np.array([np.full(tail, next(count)) for _ in range(n)], dtype).reshape(n, *tail) for n in lengths]
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=12))
    ragged = Ragged.of(arrays)
    chosen = ragged.select(torch.tensor(rows)) if data.draw(st.booleans()) else ragged
    rows = rows if chosen is not ragged else range(len(lengths))
    expected = np.concatenate([arrays[row] for row in rows])
    assert np.array_equal(chosen.steps().numpy(), expected) and chosen.steps().dtype == torch.from_numpy(expected).dtype
    values, real = chosen.padded()
    assert values.dtype == chosen.flat.dtype and values.shape == (len(rows), max(real.tolist()), *tail)
    true = [lengths[row] for row in rows]
    assert real.tolist() == [max(1, n) for n in true]
    inside = torch.arange(values.shape[1]) < torch.tensor(true)[:, None]
    assert np.array_equal(values[inside].numpy(), expected)
    assert not values[~inside].any()
    again = chosen.select(torch.arange(len(rows)).flip(0)).select(torch.arange(len(rows)).flip(0))
    assert torch.equal(again.steps(), chosen.steps())  # there and back


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=25), st.integers(1, 9), st.data())
def test_an_epoch_holds_every_step_of_every_utterance_once(sizes, size, data):
    ids = [f"u{row}" for row in range(len(sizes))]
    count = iter(range(2, 10**6))
    tables = {
        "mfcc": {
            i: np.array([[next(count), 7] for _ in range(a)], "f4").reshape(a, 2)
            for i, (a, _, _) in zip(ids, sizes, strict=True)
        },
        "tokens": {i: np.array([next(count) for _ in range(b)], "i8") for i, (_, b, _) in zip(ids, sizes, strict=True)},
        "where": {
            i: np.array([[next(count), -1] for _ in range(c)], "i8").reshape(c, 2)
            for i, (_, _, c) in zip(ids, sizes, strict=True)
        },
        "prosody": {i: np.array([next(count)], "f4") for i in ids},
    }
    steps = [c + 1 for _, _, c in sizes]
    curves = data.draw(st.booleans())
    targets = [np.full((n, 3), next(count), "f4") for n in steps] if curves else [row % 4 for row in range(len(ids))]
    whole = Dataset.build(ids, targets, tables)
    assert whole.curves == curves
    part = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
    generator = data.draw(st.none() | st.integers(0, 99).map(lambda seed: torch.Generator().manual_seed(seed)))
    seen = []
    for batch in whole.select(part).batches(size, generator):
        assert 0 < len(batch) == len(batch.ids) <= size
        for row, id in enumerate(batch.ids):
            seen.append(id)
            target = targets[ids.index(id)]
            if curves:
                n = int(batch.lengths["targets"][row])
                assert n == len(target) and np.array_equal(batch.targets[row, :n].numpy(), target)
                assert not batch.targets[row, n:].any()
            else:
                assert batch.targets[row] == target and "targets" not in batch.lengths
            assert torch.equal(batch["prosody"][row], torch.from_numpy(tables["prosody"][id]))
            for name in ("mfcc", "tokens", "where"):
                array, n = tables[name][id], int(batch.lengths[name][row])
                if not len(array):
                    array = np.zeros((1, *array.shape[1:]), array.dtype)
                assert n == len(array) and np.array_equal(batch[name][row, :n].numpy(), array)
                assert not batch[name][row, n:].any()
    assert sorted(seen) == sorted(part)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 9))
def test_every_utterance_is_in_one_batch(lengths, size, seed):
    lengths = torch.tensor(lengths)
    for generator in (None, torch.Generator().manual_seed(seed)):
        batches = buckets(lengths, size, generator)
        assert sorted(torch.cat(batches).tolist()) == list(range(len(lengths)))
        assert max(map(len, batches)) <= size
        assert 0 <= padding_share(lengths, batches) < 1


def test_batches_follow_from_the_seed_and_differ_between_epochs():
    lengths = torch.randint(10, 700, (1000,), generator=torch.Generator().manual_seed(0))

    def epochs(seed: int) -> list[list[list[int]]]:
        generator = torch.Generator().manual_seed(seed)
        return [[rows.tolist() for rows in buckets(lengths, 32, generator)] for _ in range(2)]

    assert epochs(3) == epochs(3)
    first, second = epochs(3)
    assert first != second
    assert epochs(4)[0] != first
    together = [{frozenset((a, b)) for rows in epoch for a in rows for b in rows if a < b} for epoch in (first, second)]
    assert len(together[0] & together[1]) < 0.5 * len(together[0])  # company changes, not only the order of batches


def test_bucketing_leaves_little_padding():
    # log-normal lengths like IEMOCAP's: median 3.6 s, mean 4.5 s, cut at 7.5 s
    generator = torch.Generator().manual_seed(0)
    lengths = (360 * torch.exp(0.67 * torch.randn(4400, generator=generator))).clamp(58, 750).long()
    at_random = torch.randperm(4400, generator=generator).split(128)
    assert padding_share(lengths, at_random) > 0.4
    assert padding_share(lengths, buckets(lengths, 128, generator)) < 0.1


def test_a_batch_holds_what_the_tables_held():
    data = random_dataset([4, 7, 2], [3, 1, 5])
    batch = data.batch(torch.tensor([2, 0]))
    assert batch.ids == ["u2", "u0"]
    assert batch.targets.tolist() == [2, 0]
    assert batch["mfcc"].shape == (2, 4, 3)
    assert batch["tokens"].dtype == torch.int64
    assert batch["tokens"].shape == (2, 5)
    assert batch["tokens"][1, 3:].tolist() == [0, 0]
    assert batch["prosody"].shape == (2, 2)
    assert {name: lengths.tolist() for name, lengths in batch.lengths.items()} == {"mfcc": [2, 4], "tokens": [5, 3]}
    assert torch.equal(data.select(["u2", "u0"]).batch(torch.arange(2))["mfcc"], batch["mfcc"])
    assert data.dims == {"mfcc": 3, "prosody": 2}
    assert [batch.ids for batch in data.batches(2)] == [["u2", "u0"], ["u1"]]


def test_what_is_empty_becomes_one_step_of_zeros():
    batch = random_dataset([0, 5], [0, 2]).batch(torch.tensor([0]))
    assert batch["tokens"].tolist() == [[0]]
    assert batch["mfcc"].tolist() == [[[0, 0, 0]]]
    assert {name: lengths.tolist() for name, lengths in batch.lengths.items()} == {"mfcc": [1], "tokens": [1]}
    only = random_dataset([0], [0]).batch(torch.tensor([0]))
    assert only["mfcc"].shape == (1, 1, 3)


def test_batches_are_sorted_by_the_input_that_is_longest_on_average():
    data = random_dataset([9, 3, 6], [1, 8, 2])
    assert data.lengths.tolist() == [9, 3, 6]  # more frames than words
    assert random_dataset([9, 3, 6], [1, 28, 2]).lengths.tolist() == [1, 28, 2]
    assert Dataset.build(["a"], [0], {"prosody": {"a": np.ones(2, "f4")}}).lengths.tolist() == [1]


def test_broken_features_are_named():
    frames = np.ones((3, 2), "f4")
    with pytest.raises(ValueError, match="b has no mfcc"):
        Dataset.build(["a", "b"], [0, 1], {"mfcc": {"a": frames}})
    with pytest.raises(ValueError, match="the mfcc of a holds NaN or infinity; delete it from the cache"):
        Dataset.build(["a"], [0], {"mfcc": {"a": frames * np.nan}})
    with pytest.raises(ValueError, match="at least one item"):
        Dataset.build([], [], {"mfcc": {}})
    with pytest.raises(KeyError, match="nobody"):
        random_dataset([3], [2]).select(["nobody"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1, 14), st.booleans())
def test_curves_are_cut_into_sequences_that_are_the_whole_again(lengths, steps, reverse):
    ids = [f"r{row}" for row in range(len(lengths))]
    curves = {i: np.random.default_rng(n).normal(size=(n, 3)).astype("f4") for i, n in zip(ids, lengths, strict=True)}
    mean = {i: curve.mean(0) for i, curve in curves.items()}
    data = Dataset.build(ids, list(curves.values()), {"sound": {i: c * 2 for i, c in curves.items()}, "mean": mean})
    order = ids[::-1] if reverse else ids
    cut = data.select(order).cut(steps)
    expected = [(i, a, min(a + steps, len(curves[i]))) for i in order for a in range(0, len(curves[i]), steps)]
    assert cut.ids == [f"{i}[{a}:{b}]" for i, a, b in expected]
    for row, (i, a, b) in enumerate(expected):
        batch = cut.batch(torch.tensor([row]))
        assert np.array_equal(batch.targets[0], curves[i][a:b]) and batch.lengths["targets"].tolist() == [b - a]
        assert np.array_equal(batch["sound"][0], curves[i][a:b] * 2) and np.array_equal(batch["mean"][0], mean[i])
    assert cut.targets.flat.data_ptr() == data.targets.flat.data_ptr()


def test_what_cannot_be_cut_is_named():
    curves = [np.zeros((4, 3), "f4")]
    with pytest.raises(ValueError, match="sequences of 2 steps of classes: expected one step or more, of curves"):
        random_dataset([3], [2]).cut(2)
    with pytest.raises(ValueError, match="sequences of 0 steps of curves"):
        Dataset.build(["a"], curves, {}).cut(0)
    with pytest.raises(ValueError, match="mfcc cannot be cut with the curves: expected as many steps"):
        Dataset.build(["a"], curves, {"mfcc": {"a": np.zeros((5, 2), "f4")}}).cut(2)
