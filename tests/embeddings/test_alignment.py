"""Alignment: each equation against a literal loop, the game against autograd, both ways on beds of known truth."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from torch import nn

from serlib.embeddings import adversarial, alignment, beds, mapping, self_learning
from serlib.embeddings.adversarial import Adversarial, Discriminators, Players

TINY = Adversarial(hidden=16, batch=4, discriminator_steps=3, epochs=3, epoch_steps=7, judged=30, beta=0.01, scale=3.0)


def clusters(words: int, dims: int, seed: int = 0) -> np.ndarray:
    """Vectors in clusters of unequal size: a cloud of which no rotation is like another."""
    draw = np.random.default_rng(seed)
    sizes = 1 / np.arange(1, 31)
    centres = draw.standard_normal((30, dims)) * np.exp(-1.5 * np.arange(dims) / dims)
    chosen = centres[draw.choice(30, words, p=sizes / sizes.sum())]
    return (chosen + 0.3 * draw.standard_normal((words, dims))).astype(np.float32)


def space(words: int, dims: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((words, dims)).astype(np.float32)


def csls(mapped: np.ndarray, target: np.ndarray, k: int) -> np.ndarray:
    """Lample et al. 2018, equation 2, word by word."""
    mapped, target = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (mapped, target))
    cosine = [[float(np.dot(x, y)) for y in target] for x in mapped]
    near_x = [np.mean(sorted(row, reverse=True)[:k]) for row in cosine]
    near_y = [np.mean(sorted(column, reverse=True)[:k]) for column in zip(*cosine, strict=True)]
    return np.array(
        [[2 * c - x - y for c, y in zip(row, near_y, strict=True)] for row, x in zip(cosine, near_x, strict=True)]
    )


def test_normalise_takes_its_steps_in_order() -> None:
    rows = space(50, 7) + 3
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(mapping.normalise(rows), expected, atol=1e-6)
    np.testing.assert_allclose(mapping.normalise(rows, ("centre",)).mean(axis=0), 0, atol=1e-6)
    np.testing.assert_array_equal(mapping.normalise(rows, ()), rows)
    assert mapping.normalise(rows).dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 5)), r"rows: expected \(words, dims\), found shape \(0, 5\)"),
        (np.zeros(5), r"rows: expected \(words, dims\), found shape \(5,\)"),
        (np.array([[1.0, 2], [3, np.nan], [np.inf, 0]]), "rows: row 1 holds NaN or infinity"),
        (np.array([[1.0, 2], [0, 0]]), r"row 1 is zero and has no direction.*\(1 of 2 rows"),
        (np.full((4, 3), 0.1, dtype=np.float32), r"row 0 is equal to the mean and has no direction.*\(4 of 4 rows"),
        (np.ones((1, 3)), "row 0 is equal to the mean"),
    ],
)
def test_rows_without_direction_are_named(rows: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mapping.normalise(rows)


def test_unknown_steps_methods_and_ways_are_named() -> None:
    rows = space(5, 3)
    with pytest.raises(ValueError, match="no step is called 'center'; expected unit or centre"):
        mapping.normalise(rows, ("center",))
    with pytest.raises(ValueError, match="no method is called 'cosine'; expected csls or nn"):
        mapping.neighbours(rows, rows, 1, method="cosine")
    with pytest.raises(ValueError, match="no way is called 'magic'; expected one of adversarial, self-learning"):
        alignment.align(rows, rows, "magic")
    with pytest.raises(ValueError, match="the way self-learning takes SelfLearning as settings, got Adversarial"):
        alignment.align(rows, rows, "self-learning", settings=TINY)
    with pytest.raises(ValueError, match="at least one seed"):
        alignment.align(rows, rows, seeds=[], settings=TINY)
    with pytest.raises(ValueError, match="at least one alignment"):
        alignment.best([])


def test_procrustes_is_scipy_s() -> None:
    source, target = space(40, 6), space(40, 6, 1)
    ours = mapping.procrustes(source, target)
    theirs, _ = orthogonal_procrustes(source, target)  # of rows @ R
    np.testing.assert_allclose(ours, theirs.T, atol=1e-5)


def test_procrustes_into_more_dimensions_keeps_lengths_and_is_the_best() -> None:
    source, target = space(40, 3), space(40, 5, 1)
    ours = mapping.procrustes(source, target)
    assert ours.shape == (5, 3)
    np.testing.assert_allclose(ours.T @ ours, np.eye(3), atol=1e-6)
    draw = np.random.default_rng(0)
    others = [np.linalg.qr(ours + 0.3 * draw.standard_normal((5, 3)))[0] for _ in range(200)]
    distance = [np.linalg.norm(source @ w.T - target) for w in (ours, *others)]
    assert np.argmin(distance) == 0


def test_procrustes_refuses_what_has_no_answer() -> None:
    with pytest.raises(ValueError, match=r"found \(4, 3\) and \(5, 3\)"):
        mapping.procrustes(space(4, 3), space(5, 3))
    with pytest.raises(ValueError, match=r"at least as many dimensions; found \(4, 3\) and \(4, 2\)"):
        mapping.procrustes(space(4, 3), space(4, 2))
    with pytest.raises(ValueError, match=r"the source has 3 dimensions and the target 2.*the other way round"):
        alignment.align(space(4, 3), space(4, 2), settings=TINY)


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_csls_neighbours_are_those_of_a_literal_loop(chunk: int) -> None:
    mapped, target = space(30, 5), space(43, 5, 1)
    scores = csls(mapped, target, 10)
    indices, values = mapping.neighbours(mapped, target, 4, chunk=chunk)
    np.testing.assert_array_equal(indices, np.argsort(-scores, axis=1)[:, :4])
    np.testing.assert_allclose(values, -np.sort(-scores, axis=1)[:, :4], atol=1e-5)
    some, _ = mapping.neighbours(mapped, target, 4, chunk=chunk, queries=[8, 3])
    np.testing.assert_array_equal(some, indices[[8, 3]])


def test_nn_neighbours_are_those_of_cosine() -> None:
    mapped, target = space(30, 5), space(43, 5, 1)
    cosine = mapping.normalise(mapped, ("unit",)) @ mapping.normalise(target, ("unit",)).T
    indices, values = mapping.neighbours(mapped, target, 3, method="nn")
    np.testing.assert_array_equal(indices, np.argsort(-cosine, axis=1)[:, :3])
    np.testing.assert_allclose(values, -np.sort(-cosine, axis=1)[:, :3], atol=1e-6)


@pytest.mark.parametrize("columns", [1280, 1281, 3000])
def test_largest_is_topk(columns: int) -> None:
    block = torch.from_numpy(space(20, columns))
    expected = block.topk(10)
    values, places = mapping._largest(block, 10)
    assert torch.equal(values, expected.values)
    assert torch.equal(places, expected.indices)


def test_more_neighbours_than_words_are_all_words(caplog: pytest.LogCaptureFixture) -> None:
    mapped, target = space(3, 4), space(5, 4, 1)
    indices, values = mapping.neighbours(mapped, target, 50)
    assert indices.shape == (3, 5)
    np.testing.assert_allclose(values, -np.sort(-csls(mapped, target, 50), axis=1), atol=1e-5)
    with caplog.at_level(logging.INFO):
        mapping.criterion(mapped, target)
    assert "the limit is the 10000 most frequent words; there are 3 source and 5 target words" in caplog.text


def test_retrieval_never_holds_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, largest = [], mapping._largest
    monkeypatch.setattr(mapping, "_largest", lambda block, k: (seen.append(block.shape), largest(block, k))[1])
    rows = space(1_000, 4)
    mapping.neighbours(rows, rows[:900], 1, chunk=64)
    mapping.dictionary(rows, rows, 800, chunk=64)
    mapping.criterion(rows, rows, 800, chunk=64)
    assert max(seen) == (64, 1_000)


def test_precision_counts_any_right_translation_once() -> None:
    target = np.eye(4, dtype=np.float32)
    mapped = np.array([[1, 0.5, 0.2, 0.1], [0.1, 0.2, 0.5, 1], [0.2, 1, 0.5, 0.1]], dtype=np.float32)
    pairs = [(2, 0), (0, 3), (0, 1), (2, 1)]  # word 0 has its best right answer second, word 2 first
    shares, hits = mapping.precision(mapped, target, pairs, at=(1, 2), method="nn")
    assert shares == {1: 0.5, 2: 1.0}
    assert hits.tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], r"expected pairs of a source and a target word, found shape \(0,\)"),
        ([(0, 0), (1, 9)], r"pair 1 is \(1, 9\); there are 5 source and 6 target words"),
        ([(-1, 0)], r"pair 0 is \(-1, 0\)"),
    ],
)
def test_pairs_that_do_not_exist_are_named(pairs: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mapping.precision(space(5, 3), space(6, 3), pairs)
    with pytest.raises(ValueError, match=message):
        alignment.supervised(space(5, 3), space(6, 3), pairs)


def test_dictionary_holds_mutual_neighbours_among_the_frequent() -> None:
    mapped, target = space(40, 5), space(50, 5, 1)
    scores = csls(mapped[:30], target[:30], 10)
    there, back = scores.argmax(axis=1), scores.argmax(axis=0)
    expected = [(i, j) for i, j in enumerate(there) if back[j] == i]
    assert mapping.dictionary(mapped, target, 30).tolist() == [list(pair) for pair in expected]


def test_criterion_is_the_mean_cosine_of_translations() -> None:
    mapped, target = space(40, 5), space(50, 5, 1)
    found = csls(mapped[:30], target[:30], 10).argmax(axis=1)
    cosines = [
        x @ target[j] / np.linalg.norm(x) / np.linalg.norm(target[j]) for x, j in zip(mapped, found, strict=False)
    ]
    assert mapping.criterion(mapped, target, 30) == pytest.approx(np.mean(cosines), abs=1e-6)


def test_refinement_finds_the_rotation_from_near_it() -> None:
    source, target, pairs = beds.rotated(clusters(400, 10), 0.05, 0)
    truth = alignment.supervised(source, target, pairs)
    near = truth + 0.1 * space(10, 10)
    refined = mapping.refine(source, target, near)
    np.testing.assert_allclose(refined, truth, atol=0.02)


def reference(
    players: Players, draws: list[tuple], settings: Adversarial
) -> tuple[list[nn.Sequential], list[nn.Parameter]]:
    """The game as one would write it with modules, an optimiser and autograd, seed by seed."""
    nets, maps = [], []
    loss = nn.BCEWithLogitsLoss()
    size = settings.batch
    for seed in range(len(players.generators)):
        net = nn.Sequential(*_layers(players.discriminators, seed, settings.slope))
        w = nn.Parameter(players.mapping[seed].clone())
        descents = torch.optim.SGD(net.parameters(), settings.rate), torch.optim.SGD([w], settings.rate)
        label = torch.tensor([1 - settings.smoothing] * size + [settings.smoothing] * size)[:, None]
        for source, target, kept in draws:
            for turn in range(settings.discriminator_steps + 1):
                part = slice(turn * size, (turn + 1) * size)
                mapped = players.source[source[seed, part]] @ w.T
                rows = torch.cat([mapped, players.target[target[seed, part]]])
                for descent in descents:
                    descent.zero_grad()
                if turn < settings.discriminator_steps:
                    loss(net(rows.detach() * kept[seed, turn]), label).backward()
                    descents[0].step()
                else:
                    loss(net(rows), 1 - label).backward()
                    descents[1].step()
                    with torch.no_grad():
                        w.copy_((1 + settings.beta) * w - settings.beta * w @ w.T @ w)
        nets.append(net)
        maps.append(w)
    return nets, maps


def _layers(discriminators: Discriminators, seed: int, slope: float) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for weight, bias in zip(discriminators.weights, discriminators.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight = nn.Parameter(weight[seed].T.clone())
        linear.bias = nn.Parameter(bias[seed, 0].clone())
        layers += [linear, nn.LeakyReLU(slope)]
    return layers[:-1]


def test_the_game_is_that_of_autograd() -> None:
    """With more target than source dimensions, and every seed's own draws."""
    players = Players(space(30, 5), space(40, 6, 1), TINY, [3, 4])
    draws = list(zip(*players.draw(6), strict=True))
    nets, maps = reference(players, draws, TINY)
    for draw in draws:
        players.step(*draw)
    for seed, (net, w) in enumerate(zip(nets, maps, strict=True)):
        torch.testing.assert_close(players.mapping[seed], w.data, atol=1e-5, rtol=1e-4)
        for number, layer in enumerate([net[0], net[2], net[4]]):
            ours = players.discriminators.weights[number][seed].T, players.discriminators.biases[number][seed, 0]
            torch.testing.assert_close(ours[0], layer.weight.data, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(ours[1], layer.bias.data, atol=1e-5, rtol=1e-4)


def test_losses_are_half_of_equations_1_and_2() -> None:
    players = Players(space(30, 5), space(40, 5, 1), replace(TINY, smoothing=0.0), [0])
    logits = torch.from_numpy(space(8, 1))[None]
    p = torch.sigmoid(logits)[0, :, 0].double()
    first = -p[:4].log().mean() - (1 - p[4:]).log().mean()
    second = -(1 - p[:4]).log().mean() - p[4:].log().mean()
    assert float(players._loss(logits, players.label)) == pytest.approx(float(first) / 2, abs=1e-6)
    assert float(players._loss(logits, 1 - players.label)) == pytest.approx(float(second) / 2, abs=1e-6)


def test_a_seed_plays_the_same_game_alone() -> None:
    source, target = space(40, 5), space(50, 5, 1)
    together = adversarial.play(source, target, TINY, [7, 8, 9])
    alone = adversarial.play(source, target, TINY, [8])[0]
    assert together[1].seed == alone.seed == 8
    np.testing.assert_allclose(together[1].mappings, alone.mappings, atol=1e-5)
    np.testing.assert_allclose(together[1].mapping_loss, alone.mapping_loss, atol=1e-5)
    assert not np.allclose(together[0].mapping, alone.mapping, atol=1e-3)


def test_the_game_keeps_its_history_and_the_best_mapping() -> None:
    source, target = space(40, 5), space(50, 6, 1)
    (game,) = adversarial.play(source, target, TINY, [0])
    assert game.mappings.shape == (4, 6, 5)
    assert game.discriminator_loss.shape == game.mapping_loss.shape == (3,)
    np.testing.assert_array_equal(game.mappings[0], np.eye(6, 5))
    judged = [mapping.criterion(source @ w.T, target, 30) for w in game.mappings]
    np.testing.assert_allclose(game.criteria, judged)
    np.testing.assert_array_equal(game.mapping, game.mappings[np.argmax(judged)])
    assert game.criterion == max(judged)


def test_the_rate_falls_by_the_epoch_and_halves_from_the_second_fall_on(monkeypatch: pytest.MonkeyPatch) -> None:
    values, rates = iter([0.1, 0.5, 0.4, 0.6, 0.5, 0.3]), []
    monkeypatch.setattr(adversarial, "criterion", lambda *_, **__: next(values))

    def look(self: Players, steps: int) -> np.ndarray:
        rates.append(float(self.rate))
        return np.zeros((2, 1))

    monkeypatch.setattr(Players, "play", look)
    adversarial.play(space(9, 3), space(9, 3), replace(TINY, epochs=5, rate=1.0, decay=0.9), [0])
    np.testing.assert_allclose(rates, [1, 0.9, 0.81, 0.729, 0.9**4 / 2], rtol=1e-6)


def test_a_game_that_diverges_falls_back_on_where_it_was() -> None:
    (game,) = adversarial.play(space(40, 5), space(50, 5, 1), replace(TINY, rate=1e30), [0])
    assert np.isfinite(game.mapping).all()
    assert game.criteria[-1] == -1


def test_growth_pairs_as_a_literal_loop_does() -> None:
    mapped, target = (torch.from_numpy(mapping.normalise(space(n, 5, n))) for n in (30, 40))
    scores = csls(mapped.numpy(), target.numpy(), 10)
    pairs, objective = self_learning._pair(mapped, target, 10, self_learning.Dropping(1.0, 0))
    expected = [(i, int(row.argmax())) for i, row in enumerate(scores)]
    expected += [(int(column.argmax()), j) for j, column in enumerate(scores.T)]
    assert pairs.tolist() == [list(pair) for pair in expected]
    cosine = (mapped @ target.T).numpy()
    assert objective == pytest.approx((cosine.max(axis=1).mean() + cosine.max(axis=0).mean()) / 2, abs=1e-6)


def test_dropping_keeps_its_share() -> None:
    dropping = self_learning.Dropping(0.1, 0)
    for share in (0.1, 0.2, 0.4, 0.8, 1.0):
        block = torch.zeros(500, 400)
        dropping.add_to(block)
        assert float((block == 0).float().mean()) == pytest.approx(share, abs=0.005)
        dropping.weaken(2.0)
    assert dropping.keep == 1


def test_profiles_are_the_sorted_rows_of_the_root_of_similarity() -> None:
    rows = mapping.normalise(space(20, 6))
    values, vectors = np.linalg.eigh(rows.astype(float) @ rows.T)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    expected = mapping.normalise(np.sort(root, axis=1))
    np.testing.assert_allclose(self_learning._profile(rows), expected, atol=1e-4)


def test_the_game_turns_a_skewed_cloud_onto_its_copy() -> None:
    draw = np.random.default_rng(0)
    source = mapping.normalise(draw.exponential(size=(500, 2)) * (1.0, 0.4), ("centre",))
    turn = np.array([[np.cos(1.5), -np.sin(1.5)], [np.sin(1.5), np.cos(1.5)]])
    settings = replace(adversarial.QUICK, hidden=32, scale=2.0, epochs=3)
    for game in adversarial.play(source, source @ turn.T, settings, range(3)):
        assert np.linalg.norm(game.mappings[0] - turn) > 1.5
        np.testing.assert_allclose(game.mappings[-1], turn, atol=0.1)


def test_self_learning_finds_a_rotated_space() -> None:
    source, target, pairs = beds.rotated(clusters(400, 8), 0.05, 0)
    source, target = mapping.normalise(source), mapping.normalise(target)
    settings = replace(self_learning.QUICK, frequent=300, stall=3)  # fewer than in the first dictionary
    found = alignment.align(source, target, "self-learning", [5, 6, 7], settings, progress=False)
    assert [one.seed for one in found] == [5, 6, 7]
    chosen = alignment.best(found)
    assert chosen.criterion == max(one.criterion for one in found)
    assert beds.success(chosen.mapping, source, target, pairs).precision > 0.9
    history = chosen.history
    assert len(history["objective"]) == len(history["kept"])
    assert list(dict.fromkeys(history["kept"])) == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert len(chosen.mappings) == 6  # at the start, and after each of five stages
    again = alignment.align(source, target, "self-learning", [chosen.seed], settings, progress=False)[0]
    np.testing.assert_array_equal(again.mapping, chosen.mapping)


@pytest.mark.parametrize("way", ["self-learning", "adversarial"])
def test_twenty_words_are_enough_to_run(way: str) -> None:
    settings = {"self-learning": None, "adversarial": TINY}[way]
    made = alignment.align(space(20, 4), space(25, 6, 1).astype(float), way, [0], settings, progress=False)
    assert made[0].mapping.shape == made[0].proxy.shape == made[0].mappings.shape[1:] == (6, 4)
    np.testing.assert_allclose(made[0].mapping.T @ made[0].mapping, np.eye(4), atol=1e-5)
    with pytest.raises(ValueError, match="found 1 source and 25 target words; expected at least two of each"):
        alignment.align(space(1, 4), space(25, 6), way, [0], settings)
    bad = space(20, 4)
    bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="target: row 7 holds NaN or infinity"):
        alignment.align(space(20, 4), bad, way, [0], settings)


def test_rotated_bed_tells_nothing_by_order() -> None:
    rows = clusters(500, 8)
    source, target, pairs = beds.rotated(rows, 0.0, 3, shuffle=50)
    np.testing.assert_array_equal(source, rows)
    np.testing.assert_array_equal(pairs[:, 0], np.arange(500))
    moved = np.abs(pairs[:, 0] - pairs[:, 1])
    assert 0 < moved.max() <= 50
    assert (moved == 0).mean() < 0.1
    truth = alignment.supervised(source, target, pairs)
    np.testing.assert_allclose(source @ truth.T, target[pairs[:, 1]], atol=1e-4)
    assert not beds.success(np.eye(8), source, target, pairs).succeeded
    assert beds.success(truth, source, target, pairs) == beds.Success(1.0, 1.0)
    assert beds.Success(0.03, 0.05).succeeded and beds.Success(0.02, 0.05).succeeded is False
    assert beds.Success(0.04, 0.04).succeeded is None  # nothing to be found
    assert (beds.rotated(rows, 0.0, 3, shuffle=0)[2] == np.arange(500)[:, None]).all()
    for mirrored in (False, True):
        bed = beds.rotated(rows, 0.0, 3, mirrored=mirrored)
        mapping = alignment.supervised(*bed)
        assert np.linalg.det(mapping) == pytest.approx(-1 if mirrored else 1, abs=1e-4)


def test_halves_share_out_all_sentences() -> None:
    sentences = [f"sentence {number}" for number in range(101)]
    first, second = beds.split_halves(sentences, 0)
    assert len(first) == 50
    assert sorted(first + second) == sorted(sentences)
    assert first != beds.split_halves(sentences, 1)[0]


def test_common_words_are_paired_by_place() -> None:
    a = {"the": np.ones(2), "cat": np.zeros(2), "sat": np.full(2, 3.0)}
    b = {"sat": np.ones(3), "dog": np.zeros(3), "the": np.full(3, 2.0)}
    source, target, pairs = beds.common(a, b)
    assert source.shape == (3, 2)
    assert target.shape == (3, 3)
    assert pairs.tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match="none of 1 words is among the other space's 3"):
        beds.common({"fox": np.ones(2)}, b)


def test_success_needs_words_on_both_sides() -> None:
    source, target, pairs = beds.rotated(space(2, 2), 0.0, 0)
    with pytest.raises(ValueError, match=r"0\.1 of 2 words to test on leaves no word on one side"):
        beds.success(np.eye(2), source, target, pairs, held_out=0.1)
