"""Train a model and let it predict: the loop, with early stopping and checkpoints.

The training regime is that of yoon2018's released code. Taught in chapter `yoon2018`;
used by all five papers.
"""

from __future__ import annotations

import copy
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from serlib.batching import Dataset, Ragged, buckets, padding_share
from serlib.checkpoints import Checkpoint
from serlib.determinism import reproducible
from serlib.progress import Progress
from serlib.settings import Settings
from serlib.tasks import Loss

log = logging.getLogger(__name__)

PREDICT_BATCH = 256
"""Items that are predicted together."""


OPENING = 4
"""Updates whose losses a record keeps one by one, see `opening`."""


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        history: one `{"step", "train_loss", "dev_loss"}` per look at the development
            set; the training loss is the mean over the updates since the look before.
        steps: updates made.
        best_step: the update with the lowest development loss, whose weights the model
            has now.
        opening: losses of the first updates.
    """

    history: list[dict[str, float]]
    steps: int
    best_step: int
    opening: list[float]


def fit(
    model: nn.Module,
    train: Dataset,
    dev: Dataset,
    loss_of: Loss,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool | Progress = True,
    checkpoint: Checkpoint | None = None,
    looks: int | None = None,
) -> Fit:
    """Train a model with Adam until its development loss falls no more (yoon2018's
    released code).

    The development loss is looked at every `settings.check_every` epochs. Training ends
    after `settings.patience` looks in a row without a lower one, after
    `settings.epochs`, or after `settings.max_steps` updates; the weights with the
    lowest one are put back.

    Args:
        model: any module that takes a Batch and returns logits, (batch, classes), or
            curves, (batch, steps, 3); it is moved to `device`.
        train, dev: what to learn from and what to look at.
        loss_of: one of a task's losses.
        settings: how to train.
        seed: of dropout and of the order of batches.
        device: where to compute.
        progress: show a progress bar.
        checkpoint: where to keep, at looks, all that the next update depends on, and
            what to go on from. A training that was interrupted and goes on ends with
            the same weights as one that was not.
        looks: stop after so many looks; None for no such limit.

    Raises:
        FloatingPointError: if a loss is not a number any more; the message names the
            update.
        OSError: if the checkpoint cannot be written.
    """
    an_epoch = math.ceil(len(train) / settings.batch_size)
    budget = min(settings.epochs * an_epoch, settings.max_steps or math.inf)
    interval = max(1, round(settings.check_every * an_epoch))
    if looks is not None:
        budget = min(budget, looks * interval)
    course = _Course()
    since: list[Tensor] = []  # losses since the last look, left on the device: no wait
    with reproducible(seed, device, settings.threads), Progress.of(progress) as bar:
        optimiser, generator = _start(model, settings, seed, device)
        bar.expect(budget)
        _log_padding(train, settings.batch_size, seed)
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            course = _resumed(state, model, optimiser, generator, device) or course
            if course.history:
                bar.look(course.history[-1], course.best)
            else:
                log.warning("%s is of other code; the run starts anew", checkpoint.path)
        over = course.step >= budget or course.misses >= settings.patience
        what = (model, train, loss_of, settings, optimiser, generator, course)
        for loss in [] if over else _updates(*what):
            since.append(loss)
            if course.step % interval and course.step < budget:
                continue
            losses = torch.stack(since).tolist()
            since.clear()
            _check_finite(losses, course.step - len(losses) + 1, settings)
            dev_loss = mean_loss(loss_of, predict(model, dev), dev)
            _check_finite([dev_loss], course.step, settings)
            course.note(losses, dev_loss, model)
            bar.look(course.history[-1], course.best)
            if checkpoint is not None and checkpoint.due():
                if course.step % an_epoch == 0:
                    course.order = generator.get_state()
                checkpoint.save(_state(course, model, optimiser, device))
            if course.step >= budget or course.misses >= settings.patience:
                break
        bar.end()
    model.load_state_dict(course.best_weights)
    return Fit(course.history, course.step, course.best_step, course.opening)


def opening(
    model: nn.Module,
    train: Dataset,
    loss_of: Loss,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
) -> list[float]:
    """Make the first updates of a training and return their losses: what replay
    compares. Arguments as for `fit`.
    """
    with reproducible(seed, device, settings.threads):
        start = _start(model, settings, seed, device)
        losses = _updates(model, train, loss_of, settings, *start, _Course())
        return [loss.item() for loss in itertools.islice(losses, OPENING)]


def _start(
    model: nn.Module, settings: Settings, seed: int, device: torch.device | str
) -> tuple[torch.optim.Adam, torch.Generator]:
    """The optimiser, and what shuffles the batches."""
    model.to(device)
    rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    words = [] if settings.decay_words else _word_vectors(model)
    others = [one for one in model.parameters() if all(one is not w for w in words)]
    groups = [{"params": others}, {"params": words, "weight_decay": 0.0}]
    optimiser = torch.optim.Adam(groups[: 1 + bool(words)], **rates)
    return optimiser, torch.Generator().manual_seed(seed)


def _word_vectors(model: nn.Module) -> list[nn.Parameter]:
    tables = (one for one in model.modules() if isinstance(one, nn.Embedding))
    return [one.weight for one in tables]


def _updates(
    model: nn.Module,
    train: Dataset,
    loss_of: Loss,
    settings: Settings,
    optimiser: torch.optim.Adam,
    generator: torch.Generator,
    course: _Course,
) -> Iterator[Tensor]:
    """Make one update after the other, epoch after epoch, and give its loss."""
    device = next(model.parameters()).device
    an_epoch = math.ceil(len(train) / settings.batch_size)
    while True:
        course.order = generator.get_state()
        batches = buckets(train.lengths, settings.batch_size, generator)
        for rows in batches[course.step % an_epoch :]:
            model.train()
            batch = train.batch(rows).to(device)
            steps = batch.lengths.get("targets")  # None for classes
            loss = loss_of(model(batch), batch.targets, steps)
            rate = settings.learning_rate / (1 + settings.decay * course.step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if settings.clip_value is not None:
                nn.utils.clip_grad_value_(model.parameters(), settings.clip_value)
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimiser.step()
            course.step += 1
            yield loss.detach()


@dataclass
class _Course:
    """How far a training is.

    Attributes:
        step: updates made.
        best, best_step, best_weights: the lowest development loss, when it was, and the
            weights that had it.
        misses: looks since then.
        history, opening: see `Fit`.
        order: state of the shuffling before the epoch's batches were drawn.
    """

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    misses: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    opening: list[float] = field(default_factory=list)
    order: Tensor | None = None

    def note(self, losses: list[float], dev_loss: float, model: nn.Module) -> None:
        """Note a look at the development set, and keep the weights if it is the best so
        far.

        Args:
            losses: of the updates since the last look.
            dev_loss: of the development set.
            model: whose weights.
        """
        self.opening += losses[: OPENING - len(self.opening)]
        look = {"train_loss": sum(losses) / len(losses), "dev_loss": dev_loss}
        self.history.append({"step": self.step} | look)
        if dev_loss < self.best:
            self.best, self.best_step, self.misses = dev_loss, self.step, 0
            self.best_weights = {
                name: tensor.clone() for name, tensor in model.state_dict().items()
            }
        else:
            self.misses += 1


def _state(
    course: _Course,
    model: nn.Module,
    optimiser: torch.optim.Adam,
    device: torch.device | str,
) -> dict[str, Any]:
    """All that the next update depends on."""
    cuda = torch.device(device).type == "cuda"
    return {
        "course": vars(course),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if cuda else None,
    }


def _resumed(
    state: Mapping[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Adam,
    generator: torch.Generator,
    device: torch.device | str,
) -> _Course | None:
    """Restore a state; None, with everything as it was, if it is not of such a model
    and such a training.
    """
    course = _Course(order=generator.get_state())
    before = copy.deepcopy(_state(course, model, optimiser, device))
    try:
        return _restore(state, model, optimiser, generator, device)
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError):
        _restore(before, model, optimiser, generator, device)
        return None


def _restore(
    state: Mapping[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Adam,
    generator: torch.Generator,
    device: torch.device | str,
) -> _Course:
    """Put a training back to where `_state` was taken."""
    course = _Course(**state["course"])
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(course.order)
    torch.set_rng_state(state["random"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    return course


def predict(
    model: nn.Module, dataset: Dataset, ids: Sequence[str] | None = None
) -> Tensor | Ragged:
    """Return what a model says of some items, on the CPU, in the order of `ids` or else
    of the dataset: logits, (items, classes), or curves of (steps, 3).

    The model is put into evaluation mode, computes where its weights are, and is put
    back into the mode it was in.
    """
    dataset = dataset if ids is None else dataset.select(ids)
    device = next(model.parameters()).device
    order = buckets(dataset.lengths, PREDICT_BATCH)
    back = torch.cat(order).argsort()
    before = model.training
    model.eval()
    outputs: list[Tensor] = []  # of batches, or of items
    with torch.no_grad():
        for rows in order:
            batch = dataset.batch(rows).to(device)
            output = model(batch).cpu()
            if dataset.curves:
                steps = batch.lengths["targets"].tolist()
                outputs += [one[:n] for one, n in zip(output, steps, strict=True)]
            else:
                outputs.append(output)
    model.train(before)
    if dataset.curves:
        return Ragged.of([outputs[row].numpy() for row in back.tolist()])
    return torch.cat(outputs)[back]


def mean_loss(loss_of: Loss, outputs: Tensor | Ragged, dataset: Dataset) -> float:
    """Return the loss of what `predict` said, over all items at once."""
    targets, lengths = dataset.targets.to("cpu"), None
    if isinstance(targets, Ragged):
        (outputs, lengths), (targets, _) = outputs.padded(), targets.padded()
    return loss_of(outputs, targets, lengths).item()


def parameters(model: nn.Module) -> int:
    """Count a model's trainable numbers."""
    return sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )


def _check_finite(losses: list[float], first: int, settings: Settings) -> None:
    for step, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at update {step}. Likely causes: a learning rate"
                f" that is too high (it is {settings.learning_rate}), gradients that"
                f" are not clipped (clip_value is {settings.clip_value}, clip_norm"
                f" {settings.clip_norm}), features of very different size (standardise"
                f" is {settings.standardise})"
            )


def _log_padding(train: Dataset, size: int, seed: int) -> None:
    batches = buckets(train.lengths, size, torch.Generator().manual_seed(seed))
    log.info(
        "%d batches of %d, %.1f %% of their steps is padding",
        len(batches),
        size,
        100 * padding_share(train.lengths, batches),
    )
