"""Speech2Vec: the decoder against a loop, pairs against the text, vectors against means, resuming, bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib.checkpoints import Checkpoint
from serlib.embeddings import speech2vec
from serlib.embeddings.speech2vec import Settings, Speech2Vec, load, save, train, vectors
from serlib.embeddings.spoken import SpokenText, gather

SMALL = Settings(dims=6, window=2, stride=1, min_count=1, sample=None, epochs=2, batch_size=8, held_out=0.2)


def text(sentences: int = 20, seed: int = 0) -> SpokenText:
    """Sentences of four to seven spoken words, of one to nine frames each."""
    rng = np.random.default_rng(seed)
    words, numbers, lengths, frames = [], [], [], []
    shapes = {word: rng.normal(size=(9, 3)) for word in "abcdefgh"}
    for number in range(sentences):
        for word in rng.choice(list(shapes), rng.integers(4, 8)):
            length = int(rng.integers(1, 10))
            words.append(str(word))
            numbers.append(number)
            lengths.append(length)
            frames.append(shapes[word][:length] + 0.1 * rng.normal(size=(length, 3)))
    rows = np.concatenate(frames).astype(np.float32)
    return gather(words, numbers, np.array(numbers) % 2, lengths, rows, ["F", "M"])


def test_parameters_by_hand_and_a_gradient_for_each() -> None:
    model = Speech2Vec(13, 50)
    encoder = 2 * (4 * 25 * (13 + 25) + 2 * 4 * 25)
    decoder = 4 * 50 * (13 + 50) + 2 * 4 * 50
    assert sum(one.numel() for one in model.parameters()) == encoder + decoder + 50 * 13 + 13
    model, spoken = Speech2Vec(3, 6), text()
    words = speech2vec._Words(torch.from_numpy(spoken.frames), torch.from_numpy(spoken.starts))
    error, size = speech2vec.squared_error(model, words, torch.tensor([[0, 0, 1], [1, 2, 0]]), 1.0)
    (error / size).backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in model.parameters())


def test_all_at_once_is_what_a_loop_over_words_and_frames_gives() -> None:
    torch.manual_seed(1)
    model, spoken = Speech2Vec(3, 6), text()
    frames = torch.from_numpy(spoken.frames)
    words = speech2vec._Words(frames, torch.from_numpy(spoken.starts))
    pairs = torch.tensor([[0, 0, 3, 9, 9, 30], [1, 2, 4, 8, 9, 31]])
    total = count = 0.0
    cell = torch.nn.LSTMCell(3, 6)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(cell, name, getattr(model.decoder, f"{name}_l0"))
    for first, second in pairs.T.tolist():
        heard = torch.from_numpy(spoken.segment(first))[:, None]
        forward, _ = model.encoder(heard)[1]
        state = torch.cat([forward[0], forward[1]], dim=1), torch.zeros(1, 6)
        before = torch.zeros(1, 3)
        for frame in torch.from_numpy(spoken.segment(second)):
            state = cell(before, state)
            total += (model.output(state[0])[0] - frame).square().sum().item()
            count += 3
            before = frame[None]
    error, size = speech2vec.squared_error(model, words, pairs, 1.0)
    assert size == count
    assert error.item() == pytest.approx(total, rel=1e-5)


def test_without_forcing_the_true_frames_do_not_matter() -> None:
    torch.manual_seed(1)
    model, targets = Speech2Vec(3, 6), torch.randn(5, 4, 3)
    start = torch.randn(4, 6)
    blind = model.decode(start, targets, forcing=0.0)
    torch.testing.assert_close(blind, model.decode(start, torch.randn(5, 4, 3), forcing=0.0))
    seen = model.decode(start, targets)
    assert not torch.allclose(seen, blind)
    torch.testing.assert_close(seen[0], blind[0])  # before the first frame there is none


def test_padding_changes_no_vector() -> None:
    torch.manual_seed(0)
    model, spoken = Speech2Vec(3, 6), text()
    words = speech2vec._Words(torch.from_numpy(spoken.frames), torch.from_numpy(spoken.starts))
    together = speech2vec._encode(model, words, torch.arange(len(spoken)))
    for word in range(0, len(spoken), 7):
        alone = model(torch.from_numpy(spoken.segment(word))[:, None], torch.tensor([spoken.lengths[word]]))
        torch.testing.assert_close(alone[0], together[word])
    assert (spoken.lengths == 1).any()  # a segment of one frame is among them


def test_pairs_are_neighbours_in_a_sentence() -> None:
    spoken = text()
    everything = np.ones(len(spoken), dtype=bool)
    pairs = speech2vec._pairs(spoken, everything, replace(SMALL, window=1), np.random.default_rng(0))
    expected = {
        (i, j) for i in range(len(spoken)) for j in (i - 1, i + 1)
        if 0 <= j < len(spoken) and spoken.sentences[i] == spoken.sentences[j]
    }  # fmt: skip
    assert {tuple(pair) for pair in pairs.T.tolist()} == expected and pairs.shape[1] == len(expected)
    wide = speech2vec._pairs(spoken, everything, replace(SMALL, window=3), np.random.default_rng(0))
    apart = (wide[0] - wide[1]).abs()
    assert apart.min() == 1 and apart.max() == 3 and expected < {tuple(pair) for pair in wide.T.tolist()}
    assert torch.equal(spoken_of(spoken, wide[0]), spoken_of(spoken, wide[1]))
    for first in wide[0].unique().tolist():  # one reach for a word, on both sides and without gaps
        own = apart[wide[0] == first]
        assert set(own.tolist()) == set(range(1, int(own.max()) + 1))
    itself = speech2vec._pairs(spoken, everything, replace(SMALL, objective="autoencoder"), np.random.default_rng(0))
    assert torch.equal(itself[0], itself[1]) and itself.shape[1] == len(spoken)


def spoken_of(spoken: SpokenText, words: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(spoken.sentences)[words]


def test_frequent_words_are_left_out_as_word2vec_does() -> None:
    words = ["the"] * 9_000 + ["rare"] * 1_000
    spoken = gather(words, [0] * 10_000, [0] * 10_000, [1] * 10_000, np.zeros((10_000, 2), np.float32), ["F"])
    kept = speech2vec._sampled(spoken, replace(SMALL, sample=0.01), np.random.default_rng(0))
    share = 0.01 / np.array([0.9, 0.1])
    expected = np.sqrt(share) + share
    assert kept[:9_000].mean() == pytest.approx(expected[0], abs=0.02)
    assert kept[9_000:].mean() == pytest.approx(expected[1], abs=0.05)


def test_every_pair_is_in_one_batch_and_a_word_has_all_its_neighbours_there() -> None:
    spoken = text()
    pairs = speech2vec._pairs(spoken, np.ones(len(spoken), dtype=bool), SMALL, np.random.default_rng(0))
    batches = list(speech2vec._batches(pairs, 8, np.random.default_rng(1)))
    assert sorted(pair for batch in batches for pair in batch.T.tolist()) == sorted(pairs.T.tolist())
    firsts = [set(batch[0].tolist()) for batch in batches]
    assert all(len(own) <= 8 for own in firsts) and sum(map(len, firsts)) == len(set.union(*firsts))


@pytest.mark.parametrize("objective", ["skipgram", "autoencoder"])
def test_it_learns_and_says_what_the_vectors_tell(objective: str) -> None:
    settings = replace(SMALL, objective=objective, epochs=30, learning_rate=0.03)
    trained = train(text(60), settings, seed=0, progress=False)
    first, last = trained.history[0], trained.history[-1]
    assert last["train"] < 0.7 * first["train"]
    if objective == "autoencoder":
        assert last["held_out"] < 0.8 * last["other"]  # another word's vector is of less use


def test_the_vector_of_another_word_is_one_of_the_same_voice() -> None:
    voices = torch.tensor([0, 0, 1, 1, 1, 0])
    firsts = torch.tensor([0, 2, 1, 3, 5, 4])
    others = speech2vec._next_of_voice(firsts, voices)
    assert torch.equal(voices[others], voices[firsts]) and not (others == firsts).any()
    assert sorted(others.tolist()) == sorted(firsts.tolist())
    spoken, settings = text(60), replace(SMALL, objective="autoencoder", epochs=3)
    trained = train(spoken, settings, seed=0, progress=False)
    again = speech2vec.told(trained, spoken)
    assert again == {name: trained.history[-1][name] for name in ("held_out", "voice", "other")}


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SMALL, epochs=3)
    whole = train(text(), settings, seed=3, progress=False)
    looks, look = [], speech2vec._look

    def killed(*args: object) -> dict[str, float]:
        looks.append(1)
        if len(looks) == 2:
            raise KeyboardInterrupt
        return look(*args)

    monkeypatch.setattr(speech2vec, "_look", killed)
    with pytest.raises(KeyboardInterrupt):
        train(text(), settings, seed=3, checkpoint=Checkpoint(tmp_path / "x", "k"), progress=False)
    again = train(text(), settings, seed=3, checkpoint=Checkpoint(tmp_path / "x", "k"), progress=False)
    assert len(looks) == 4  # the first epoch was not made again
    assert again.history == whole.history and again.opening == whole.opening
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    began = train(text(), settings, seed=3, updates=4, progress=False)
    assert began.opening == whole.opening and not began.history


def test_vectors_are_means_over_segments_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = text()
    trained = train(spoken, SMALL, seed=0, progress=False)
    monkeypatch.setattr(speech2vec, "BLOCK", 7)
    space = vectors(trained, spoken)
    assert space.words == spoken.vocabulary and space.rows.shape == (8, 6)
    for number, word in enumerate(spoken.vocabulary):
        own = [i for i in range(len(spoken)) if spoken.labels[i] == number]
        heard = [trained.model.standardise(torch.from_numpy(spoken.segment(i)))[:, None] for i in own]
        with torch.no_grad():
            rows = torch.cat([trained.model(one, torch.tensor([len(one)])) for one in heard])
        np.testing.assert_allclose(space[word], rows.mean(dim=0), atol=1e-5)
    every = np.concatenate(list(speech2vec.segments(trained.model, spoken)))
    means = np.stack([every[spoken.voices == voice].mean(axis=0) for voice in (0, 1)])
    centred = vectors(trained, spoken, centred=True)
    for number, word in enumerate(spoken.vocabulary):
        own = spoken.labels == number
        expected = (every[own] - means[spoken.voices[own]]).mean(axis=0)
        np.testing.assert_allclose(centred[word], expected, atol=1e-5)


def test_the_random_encoder_is_not_trained_and_one_word_alone_is_enough() -> None:
    one = gather(["a"], [0], [0], [1], np.ones((1, 3), np.float32), ["F"])
    trained = train(one, replace(SMALL, objective="random"), seed=0, progress=False)
    assert trained.history == [] and np.isfinite(vectors(trained, one)["a"]).all()
    assert not np.array_equal(
        vectors(trained, one).rows, vectors(train(one, trained.settings, 1, progress=False), one).rows
    )


def test_weights_come_back(tmp_path: Path) -> None:
    trained = train(text(), SMALL, seed=0, progress=False)
    save(tmp_path / "encoder.safetensors", trained)
    again = load(tmp_path / "encoder.safetensors", SMALL)
    np.testing.assert_array_equal(vectors(again, text()).rows, vectors(trained, text()).rows)
    with pytest.raises(FileNotFoundError, match=r"absent: expected weights of Speech2Vec, found none"):
        load(tmp_path / "absent", SMALL)
    with pytest.raises(ValueError, match="expected weights of a Speech2Vec of 8 numbers"):
        load(tmp_path / "encoder.safetensors", replace(SMALL, dims=8))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="objective is 'cbow'; expected skipgram, autoencoder or random"):
        Settings(objective="cbow")
    with pytest.raises(ValueError, match="dims is 5; expected an even number"):
        Settings(dims=5)
    with pytest.raises(ValueError, match="no word is spoken 1000 times or more; the most frequent of 8 is"):
        train(text(), replace(SMALL, min_count=1000), seed=0)
    lonely = gather(["a", "b"], [0, 1], [0, 0], [2, 2], np.zeros((4, 3), np.float32), ["F"])
    with pytest.raises(ValueError, match="found 2 spoken words and no pair of neighbours"):
        train(lonely, replace(SMALL, held_out=0), seed=0, progress=False)
