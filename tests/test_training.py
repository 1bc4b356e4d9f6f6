"""The loop: when it stops and what it ends with, what follows from the seed, what a model then says."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from serlib import checkpoints, training
from serlib.batching import Dataset, Ragged
from serlib.checkpoints import Checkpoint
from serlib.determinism import find_device, reproducible, seed_everything
from serlib.settings import Settings
from serlib.tasks import concordance_loss, softmax_loss


def fit(model: nn.Module, train: Dataset, dev: Dataset, settings: Settings, **options) -> training.Fit:
    how = {"loss_of": softmax_loss, "seed": 0, "progress": False}
    return training.fit(model, train, dev, settings=settings, **how | options)


class Falling(nn.Module):
    """A model whose development loss is what the test says; counts the updates between."""

    def __init__(self, dev_losses: list[float]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.dev_losses, self.looks, self.weights = iter(dev_losses), 0, []

    def forward(self, batch):
        if self.training:
            return batch["prosody"][:, :4] * 0 + self.weight
        self.looks += 1
        self.weights.append(self.weight.tolist())
        other = torch.tensor(next(self.dev_losses)).expm1().log()  # so that -log softmax is the loss asked for
        return functional.one_hot(batch.targets, 2) * -other


def numbers(count: int, classes: int = 4) -> Dataset:
    ids = [f"u{row}" for row in range(count)]
    rng = np.random.default_rng(0)
    labels = [row % classes for row in range(count)]
    return Dataset.build(ids, labels, {"prosody": {i: rng.normal(size=4).astype("f4") for i in ids}})


# Stopping


def test_stops_after_patience_looks_and_restores_the_best_weights():
    losses = [0.9, 0.5, 0.7, 0.4, 0.6, 0.4, 0.5, 0.45, 0.1]
    model = Falling(losses)
    settings = Settings(epochs=100, batch_size=4, check_every=0.5, patience=4, learning_rate=0.1)
    done = fit(model, numbers(40), numbers(6, classes=1), settings)
    # an epoch is ten updates, with a look every five; the fourth look is the best, four more are not lower
    assert [look["step"] for look in done.history] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert [round(look["dev_loss"], 5) for look in done.history] == losses[:8]
    assert (done.steps, done.best_step) == (40, 20)
    assert model.weight.tolist() == model.weights[3] != model.weights[-1]


@pytest.mark.parametrize(("epochs", "max_steps", "steps"), [(3, None, 30), (100, 12, 12)])
def test_stops_when_the_budget_is_spent_with_a_last_look(epochs, max_steps, steps):
    settings = Settings(epochs=epochs, max_steps=max_steps, batch_size=4, check_every=0.8)
    model = Falling([1 / look for look in range(1, 20)])
    done = fit(model, numbers(40), numbers(6, classes=1), settings)
    assert done.steps == done.best_step == done.history[-1]["step"] == steps
    assert model.looks == len(done.history) == -(-steps // 8)


def test_training_loss_is_the_mean_since_the_look_before():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            return batch["prosody"] + 0 * self.weight

    data = numbers(40)
    settings = Settings(epochs=1, batch_size=4, check_every=1.0)
    done = fit(Constant(), data, data, settings)
    loss = functional.cross_entropy(data.vectors["prosody"], data.targets).item()
    assert done.history == [{"step": 10, "train_loss": pytest.approx(loss), "dev_loss": pytest.approx(loss)}]


def test_gradients_are_clipped_element_by_element():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def forward(self, batch):
            slope = torch.tensor([1e4, 1.0])
            return functional.one_hot(batch.targets, 4) * -(self.weight * slope).sum()

    seen = []
    for clip in (10.0, None):
        model = Steep()
        settings = Settings(epochs=1, batch_size=4, check_every=1.0, clip_value=clip)
        fit(model, numbers(4), numbers(4), settings)
        seen.append(model.weight.grad.tolist())
    assert seen[0] == [10.0, pytest.approx(0.75)]
    assert seen[1] == [pytest.approx(7500), pytest.approx(0.75)]


def test_gradients_are_shortened_together():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (nn.Parameter(torch.zeros(1)) for _ in range(2))

        def forward(self, batch):
            slope = 40 * self.first + 30 * self.second  # a gradient of 30 and 22.5, after softmax over four
            return functional.one_hot(batch.targets, 4) * -slope

    for norm, expected in ((5.0, [4.0, 3.0]), (50.0, [30.0, 22.5]), (None, [30.0, 22.5])):
        model = Steep()
        settings = Settings(epochs=1, batch_size=4, check_every=1.0, clip_value=None, clip_norm=norm)
        fit(model, numbers(4), numbers(4), settings)
        assert [p.grad.item() for p in model.parameters()] == pytest.approx(expected, rel=1e-4)


def test_a_penalty_in_adam_shrinks_vectors_that_get_no_gradient_and_can_spare_them():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.output = nn.Embedding(3, 4), nn.Linear(4, 4)

        def forward(self, batch):
            return self.output(self.words.weight[1] + batch["prosody"])

    settings = Settings(epochs=10, batch_size=4, check_every=1.0, learning_rate=1e-3, weight_decay=1e-4)
    moved = {}
    for decay_words in (True, False):
        torch.manual_seed(0)
        model = Reader()
        before = model.words.weight.detach().clone()
        start = fit(model, numbers(4), numbers(4), replace(settings, decay_words=decay_words))
        assert start.steps == 10
        moved[decay_words] = (model.words.weight.detach() - before).abs()
    unseen = moved[True][[0, 2]]
    np.testing.assert_allclose(unseen, 0.01, rtol=0.02)  # the learning rate, ten times, however small the penalty
    assert not moved[False][[0, 2]].any() and moved[False][1].all()


def test_a_given_number_of_looks_is_the_beginning_of_the_whole():
    settings = Settings(epochs=100, batch_size=4, check_every=0.5, patience=9)
    losses = [1 / look for look in range(1, 30)]
    short = fit(Falling(losses), numbers(40), numbers(6, classes=1), settings, looks=2)
    whole = fit(Falling(losses), numbers(40), numbers(6, classes=1), Settings(epochs=5, batch_size=4, check_every=0.5))
    assert (short.steps, len(short.history)) == (10, 2)
    assert short.history == whole.history[:2] and short.opening == whole.opening


# Losses


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, batch):
        return self.linear(batch["prosody"])


def test_the_opening_is_what_a_whole_training_begins_with():
    data, settings = numbers(40), Settings(epochs=2, batch_size=4, learning_rate=0.1)
    torch.manual_seed(1)
    one, other = Linear(), Linear()
    other.load_state_dict(one.state_dict())
    done = fit(one, data, data, settings)
    assert len(done.opening) == training.OPENING and len(set(done.opening)) == training.OPENING
    assert training.opening(other, data, softmax_loss, settings, seed=0) == done.opening
    assert training.opening(other, data, softmax_loss, settings, seed=1) != done.opening


class Breaking(Linear):
    """Says something that is no number when it is asked for the `at`-th time, in training or out of it."""

    def __init__(self, at: int, training: bool):
        super().__init__()
        self.at, self.when, self.asked = at, training, 0

    def forward(self, batch):
        self.asked += self.training == self.when
        return super().forward(batch) * (float("nan") if self.asked == self.at else 1)


@pytest.mark.parametrize(("at", "in_training", "update"), [(7, True, 7), (10, True, 10), (2, False, 10)])
def test_a_loss_that_is_no_number_says_when_and_why(at, in_training, update):
    settings = Settings(epochs=2, batch_size=4, check_every=0.5, learning_rate=0.5, clip_value=None)
    message = rf"^the loss is nan at update {update}\. Likely causes: a learning rate .* \(it is 0\.5\), gradients that"
    with pytest.raises(FloatingPointError, match=message):
        fit(Breaking(at, in_training), numbers(40), numbers(6), settings)


def test_how_much_is_padding_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="serlib.training"):
        fit(Linear(), numbers(8), numbers(8), Settings(epochs=1, batch_size=4))
    assert caplog.messages == ["2 batches of 4, 0.0 % of their steps is padding"]


# Curves


class Follow(nn.Module):
    """Curves that are the input's first three dimensions, scaled."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch):
        return batch["mfcc"][..., :3] * self.scale + self.shift


def series(lengths: list[int]) -> Dataset:
    rng = np.random.default_rng(0)
    ids = [f"r{row}" for row in range(len(lengths))]
    targets = [rng.normal(size=(n, 3)).astype("f4") for n in lengths]
    inputs = {i: np.hstack([one, one[:, :1]]) for i, one in zip(ids, targets, strict=True)}
    return Dataset.build(ids, targets, {"mfcc": inputs})


def test_curves_are_learnt_and_predicted_without_their_padding(monkeypatch):
    data, model = series([7, 3, 9, 5, 4]), Follow(0.1)
    before = training.mean_loss(concordance_loss, training.predict(model, data), data)
    settings = Settings(epochs=60, batch_size=2, learning_rate=0.1, check_every=1.0)
    done = fit(model, data, data, settings, loss_of=concordance_loss)
    said = training.predict(model, data)
    assert isinstance(said, Ragged) and said.lengths.tolist() == [7, 3, 9, 5, 4]
    expected = data.targets.steps() * model.scale + model.shift
    torch.testing.assert_close(said.steps(), expected.detach())
    after = training.mean_loss(concordance_loss, said, data)
    assert after == pytest.approx(min(look["dev_loss"] for look in done.history))
    assert before > 0.9 and after < 0.05
    monkeypatch.setattr(training, "PREDICT_BATCH", 2)
    torch.testing.assert_close(training.predict(model, data).steps(), said.steps())
    some = training.predict(model, data, ["r4", "r0"])
    assert some.lengths.tolist() == [4, 7]
    torch.testing.assert_close(some.steps()[:4], said.steps()[-4:])


# What a model says, where and from which seed


def test_inside_a_run_algorithms_are_deterministic_on_one_thread():
    threads = torch.get_num_threads()
    with reproducible(3):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == 1
        drawn = random.random(), np.random.random(), torch.rand(1).item()
    seed_everything(3)
    assert drawn == (random.random(), np.random.random(), torch.rand(1).item())
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_predict_keeps_the_order_and_the_mode(monkeypatch):
    class Echo(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, batch):
            assert not self.training
            return batch["prosody"]

    data, model = numbers(10), Echo().train()
    monkeypatch.setattr(training, "PREDICT_BATCH", 3)
    assert torch.equal(training.predict(model, data), data.vectors["prosody"])
    assert torch.equal(training.predict(model, data, ["u7", "u2"]), data.vectors["prosody"][[7, 2]])
    assert model.training


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device is 'cuda', but torch .* finds no GPU; take auto or cpu"):
        find_device("cuda")
    with pytest.raises(ValueError, match="device is 'tpu'; expected auto, cpu or cuda"):
        find_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda")


def test_parameters_are_those_that_are_trained():
    model = nn.Linear(3, 2)
    assert training.parameters(model) == 8
    model.bias.requires_grad_(False)
    assert training.parameters(model) == 6


def test_a_whole_checkpoint_of_another_net_is_not_gone_on_from(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0)
    settings, data = Settings(epochs=3, batch_size=4), numbers(12)
    kept = Checkpoint(tmp_path / "run.pt", "key")
    fit(Falling([3.0] * 9), data, numbers(6, classes=1), settings, checkpoint=kept)
    nets = [Linear(), Linear()]
    nets[1].load_state_dict(nets[0].state_dict())
    whole = fit(nets[0], data, data, settings)
    with caplog.at_level(logging.WARNING, logger="serlib"):
        again = fit(nets[1], data, data, settings, checkpoint=Checkpoint(tmp_path / "run.pt", "key"))
    assert again.history == whole.history
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'run.pt'} is of other code; the run starts anew"
    ]
