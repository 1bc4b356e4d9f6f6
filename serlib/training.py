"""Train and test a paper's systems: fit with early stopping, predict, and whole runs
over folds and seeds.

The training regime is that of yoon2018's released code. Taught in chapter `yoon2018`.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import cpu_count, delayed
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from serlib import metrics, models, parallel, results
from serlib.batching import Dataset, buckets, padding_share
from serlib.checkpoints import Checkpoint
from serlib.corpora import with_transcripts
from serlib.corpora.records import EMOTIONS, Corpus
from serlib.determinism import find_device, reproducible
from serlib.embeddings import word2vec
from serlib.embeddings.vectors import read_glove, rows_for
from serlib.features import FEATURES, extract
from serlib.features.text import Vocabulary, tokenize
from serlib.models.system import Inputs, Settings, System
from serlib.progress import Progress
from serlib.protocols import PROTOCOLS, Split
from serlib.results import Predictions, Record

log = logging.getLogger(__name__)

Tables = Mapping[str, Mapping[str, Any]]
"""Feature name to utterance id to array; to a list of words for `tokens`."""

WORD2VEC = "word2vec"
"""In place of vectors: train them on the texts of each fold's training part."""

PREDICT_BATCH = 256
"""Utterances that are predicted together."""

UNKNOWN: dict[str, Any] = {
    "metrics": {},
    "confusion": [],
    "parameters": 0,
    "steps": 0,
    "best_step": 0,
    "history": [],
    "wall_time": 0.0,
}
"""What a record cannot say before its run."""


@dataclass(frozen=True)
class Fold:
    """One fold of a protocol, ready to train on.

    Attributes:
        system, settings: what is trained, and how.
        split: whose utterances are in which part.
        train, dev, test: the parts.
        inputs: what `system.build` wants to know, but for word vectors.
        vocabulary: the words behind the token numbers; None for a system without text.
        vectors: pretrained word vectors, or None.
        device: where to train.
    """

    system: System
    settings: Settings
    split: Split
    train: Dataset
    dev: Dataset
    test: Dataset
    inputs: Inputs
    vocabulary: Vocabulary | None
    vectors: Mapping[str, np.ndarray] | None
    device: torch.device


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        history: one `{"step", "train_loss", "dev_loss"}` per look at the development
            set; the training loss is the mean over the updates since the look before.
        steps: updates made.
        best_step: the update with the lowest development loss, whose weights the model
            has now.
    """

    history: list[dict[str, float]]
    steps: int
    best_step: int


def run(
    paper: str,
    system: str,
    corpus: Corpus,
    *,
    protocol: str | None = None,
    profile: str = "quick",
    device: str = "auto",
    seeds: int | Sequence[int] | None = None,
    folds: int | Sequence[int] | None = None,
    results_dir: str | Path | None = None,
    vectors: str | Path | Mapping[str, np.ndarray] | None = None,
    cache: str | Path | None = None,
    progress: bool = True,
    jobs: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Record]:
    """Train and test a system on folds of a corpus, with several seeds.

    Everything random follows from the seed: on one machine and device the same call
    gives the same numbers. What is set to that end is put back afterwards, see
    `reproducible`.

    Args:
        paper, system: keys, for instance `yoon2018` and `mdre`.
        corpus: the corpus; its four classes are taken. A system that reads recognised
            text takes the transcripts of that name that lie in the corpus's folder.
        protocol: key of `serlib.protocols.PROTOCOLS`; by default the paper's own.
        profile: `quick` or `paper`.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        seeds, folds: None for what the profile says, n for the first n, or a list of
            the very ones.
        results_dir: where each record is written as soon as it is there. A record that
            is there already and was made from the same things is read, not made again:
            an interrupted run continues.
        vectors: what words start from: a GloVe file, token to vector, or `word2vec` for
            vectors that are trained on the texts of each fold's training part (a file
            of that name is `./word2vec`); None for random ones.
        cache: where features are kept; by default in the cache folder.
        progress: show progress bars.
        jobs: runs that are made at the same time, each in a process of its own; None
            for one per CPU core, or a single one on a GPU. The numbers are the same.
        overrides: fields of Settings to replace; of `model`, only the options named.

    Returns:
        a record per fold and seed, each with its predictions.

    Raises:
        ValueError: for an unknown paper, system, protocol, profile, device, fold or
            setting.
        FloatingPointError: if a loss is not a number any more.

    Example:
        >>> records = run("yoon2018", "mdre", corpora.load("synthetic"))
        >>> [record.metrics["ua"] for record in records]
    """
    chosen = find_system(paper, system)
    settings = settings_of(chosen, profile, overrides)
    target = find_device(device)
    protocol = protocol or chosen.protocol
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"no protocol is called {protocol!r}; expected one of"
            f" {', '.join(PROTOCOLS)}"
        )
    corpus = corpus_for(chosen, corpus)
    splits = PROTOCOLS[protocol](corpus, seed=0)
    numbers = _choose(
        folds, settings.folds if settings.folds is not None else len(splits)
    )
    if not all(0 <= number < len(splits) for number in numbers):
        raise ValueError(
            f"{protocol} has folds 0 to {len(splits) - 1} on this corpus; asked for"
            f" {numbers}"
        )
    seeds = _choose(seeds, settings.seeds)
    tables = tables_for(chosen, corpus, cache=cache, progress=progress)
    vectors = vectors_for(vectors, tables, settings)
    plain = asdict(settings) | {
        "vectors": _digest(vectors),
        "transcripts": chosen.transcripts,
    }
    extractors = {
        name: [FEATURES[name].version, FEATURES[name].settings()]
        for name in tables
        if name in FEATURES
    }
    known = {
        "paper": paper,
        "system": system,
        "corpus": corpus.name,
        "synthetic": corpus.synthetic,
        "protocol": protocol,
        "profile": profile,
        "device": target.type,
        "hardware": results.hardware(str(target)),
        "versions": results.versions(),
        "commit": results.commit(),
        "settings": plain,
        "skipped": len(corpus.skipped),
    }
    identity = {
        "paper": paper,
        "system": system,
        "device": target.type,
        "torch": torch.__version__,
    }
    made: dict[tuple[int, int], Record] = {}
    wanted: list[Record] = []
    for number, seed in itertools.product(numbers, seeds):
        key = results.run_key(
            corpus, splits[number], plain, seed, features=extractors, **identity
        )
        sizes = {
            part: len(getattr(splits[number], part))
            for part in ("train", "dev", "test")
        }
        record = Record(
            fold=number, seed=seed, sizes=sizes, key=key, **known, **UNKNOWN
        )
        there = (
            None if results_dir is None else results.find(record.path, key, results_dir)
        )
        if there is None:
            wanted.append(record)
        else:
            made[number, seed] = there

    @functools.lru_cache(maxsize=1)
    def fold(number: int) -> Fold:
        return prepare(
            chosen,
            settings,
            corpus,
            splits[number],
            tables,
            vectors=vectors,
            device=target,
        )

    if jobs is None:
        jobs = 1 if target.type == "cuda" else cpu_count()
    checkpoints = {record.path: _checkpoint(record, results_dir) for record in wanted}
    for record in _make_all(
        wanted, fold, checkpoints, min(jobs, len(wanted)), progress
    ):
        if results_dir is not None:
            results.write(record, record.predictions, results_dir)
            checkpoints[record.path].remove()
        made[record.fold, record.seed] = record
    return [made[place] for place in itertools.product(numbers, seeds)]


def prepare(
    system: System,
    settings: Settings,
    corpus: Corpus,
    split: Split,
    tables: Tables | None = None,
    *,
    vectors: Mapping[str, np.ndarray] | str | None = None,
    device: torch.device | str = "cpu",
) -> Fold:
    """Make the three parts of a fold: words numbered, frames cut and averaged, acoustic
    features standardised.

    Standardisation, vectors of Word2Vec and, unless `settings.vocabulary` is `corpus`,
    the vocabulary know the training part only.

    Args:
        system, settings: what will be trained, and how.
        corpus: utterances of the four classes, with the text that the system reads.
        split: whose utterances are in which part.
        tables: what `tables_for` gave; None asks it.
        vectors: token to pretrained vector, or `word2vec` to train them here; all seeds
            of a fold share them, as they would share a file.
        device: where to train. The data is moved there whole if it takes less than half
            of the free memory.

    Raises:
        ValueError: if a part is empty, or a feature is missing or not finite, or for an
            unknown `settings.vocabulary`.
    """
    for part in ("train", "dev", "test"):
        if not getattr(split, part):
            raise ValueError(
                f"fold {split.name} has nobody in its {part} part; the corpus is too"
                " small for this protocol"
            )
    tables = tables_for(system, corpus) if tables is None else tables
    arrays: dict[str, Mapping[str, np.ndarray]] = {
        name: tables[name] for name in system.features if name != "tokens"
    }
    ids = [*split.train, *split.dev, *split.test]
    vocabulary = None
    if "tokens" in system.features:
        words = tables["tokens"]
        if settings.vocabulary not in ("train", "corpus"):
            raise ValueError(
                f"settings.vocabulary is {settings.vocabulary!r}; expected train or"
                " corpus"
            )
        if isinstance(vectors, str):
            vectors = word2vec.train_word2vec(
                (words[id] for id in split.train), settings.model["embedding"]
            )
        if settings.vocabulary == "train":
            vocabulary = Vocabulary.build(
                (words[id] for id in split.train), min_count=2, keep=vectors or ()
            )
        else:
            vocabulary = Vocabulary.build(words[u.id] for u in corpus)
        arrays["tokens"] = {id: vocabulary.encode(words[id]) for id in ids}
    for name, derive in system.derived.items():
        arrays[name] = {id: derive(corpus[id], settings) for id in ids}
    data = Dataset.build(
        ids,
        [EMOTIONS.index(corpus[id].emotion) for id in ids],
        arrays,
        max_frames=settings.max_frames,
        max_tokens=settings.max_tokens,
        frame_stride=settings.frame_stride,
    )
    if settings.standardise:
        data = data.standardise(split.train)
    device = torch.device(device)
    if device.type != "cuda" or data.bytes < torch.cuda.mem_get_info(device)[0] / 2:
        data = data.to(device)
    parts = [data.select(part) for part in (split.train, split.dev, split.test)]
    inputs = Inputs(
        data.dims,
        len(vocabulary) if vocabulary is not None else 0,
        classes=len(EMOTIONS),
    )
    return Fold(system, settings, split, *parts, inputs, vocabulary, vectors, device)


def train(
    fold: Fold,
    seed: int,
    progress: bool | Progress = True,
    checkpoint: Checkpoint | None = None,
) -> tuple[nn.Module, Fit]:
    """Build the system's model from a seed and fit it to a fold.

    Args:
        fold: what to train on.
        seed: of the weights and of everything else that is random.
        progress: show a progress bar.
        checkpoint: see `fit`.

    Returns:
        the model, with the weights that had the lowest development loss, and how the
        training went.

    Raises:
        FloatingPointError: if a loss is not a number any more.
    """
    inputs = fold.inputs
    with reproducible(seed, fold.device, fold.settings.threads):
        if fold.vectors is not None and fold.vocabulary is not None:
            rows, _ = rows_for(
                fold.vocabulary, fold.vectors, fold.settings.model["embedding"], seed
            )
            inputs = replace(inputs, vectors=rows)
        model = fold.system.build(inputs, **fold.settings.model)
        try:
            return model, fit(
                model,
                fold.train,
                fold.dev,
                fold.settings,
                seed,
                fold.device,
                progress,
                checkpoint,
            )
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{fold.system.name}, fold {fold.split.name}, seed {seed}: {error}"
            ) from None


def fit(
    model: nn.Module,
    train: Dataset,
    dev: Dataset,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool | Progress = True,
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train a model with Adam until its development loss falls no more (yoon2018's
    released code).

    The development loss is looked at every `settings.check_every` epochs. Training ends
    after `settings.patience` looks in a row without a lower one, after
    `settings.epochs`, or after `settings.max_steps` updates; the weights with the
    lowest one are put back.

    Args:
        model: any module that takes a Batch and returns logits (batch, classes); it is
            moved to `device`.
        train, dev: what to learn from and what to look at.
        settings: how to train.
        seed: of dropout and of the order of batches.
        device: where to compute.
        progress: show a progress bar.
        checkpoint: where to keep, at looks, all that the next update depends on, and
            what to go on from. A training that was interrupted and goes on ends with
            the same weights as one that was not.

    Raises:
        FloatingPointError: if a loss is not a number any more; the message names the
            update.
        ValueError: for an unknown `settings.loss`.
        OSError: if the checkpoint cannot be written.
    """
    loss_of = loss_function(settings.loss)
    model.to(device)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    an_epoch = math.ceil(len(train) / settings.batch_size)
    budget = min(settings.epochs * an_epoch, settings.max_steps or math.inf)
    interval = max(1, round(settings.check_every * an_epoch))
    course = _Course()
    since: list[Tensor] = []  # losses since the last look, left on the device: no wait
    with reproducible(seed, device, settings.threads), Progress.of(progress) as bar:
        bar.expect(budget)
        generator = torch.Generator().manual_seed(seed)
        _log_padding(train, settings.batch_size, seed)
        if checkpoint is not None and (state := checkpoint.load()) is not None:
            course = _restore(state, model, optimiser, generator, device)
            bar.look(course.history[-1], course.best)
        while course.step < budget and course.misses < settings.patience:
            epoch_start = generator.get_state()
            for rows in buckets(train.lengths, settings.batch_size, generator)[
                course.step % an_epoch :
            ]:
                model.train()
                batch = train.batch(rows).to(device)
                loss = loss_of(model(batch), batch.labels)
                for group in optimiser.param_groups:
                    group["lr"] = settings.learning_rate / (
                        1 + settings.decay * course.step
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                if settings.clip_value is not None:
                    nn.utils.clip_grad_value_(model.parameters(), settings.clip_value)
                optimiser.step()
                since.append(loss.detach())
                course.step += 1
                if course.step % interval and course.step < budget:
                    continue
                losses = torch.stack(since).tolist()
                _check_finite(losses, course.step - len(losses) + 1, settings)
                dev_loss = loss_of(predict(model, dev), dev.labels.cpu()).item()
                _check_finite([dev_loss], course.step, settings)
                since.clear()
                course.note(sum(losses) / len(losses), dev_loss, model)
                bar.look(course.history[-1], course.best)
                if checkpoint is not None and checkpoint.due():
                    order = (
                        epoch_start if course.step % an_epoch else generator.get_state()
                    )
                    checkpoint.save(_state(course, model, optimiser, order, device))
                if course.step >= budget or course.misses >= settings.patience:
                    break
        bar.end()
    model.load_state_dict(course.best_weights)
    return Fit(course.history, course.step, course.best_step)


@dataclass
class _Course:
    """How far a training is.

    Attributes:
        step: updates made.
        best, best_step, best_weights: the lowest development loss, when it was, and the
            weights that had it.
        misses: looks since then.
        history: see `Fit`.
    """

    step: int = 0
    best: float = math.inf
    best_step: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    misses: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def note(self, train_loss: float, dev_loss: float, model: nn.Module) -> None:
        """Note a look at the development set, and keep the weights if it is the best so
        far.
        """
        self.history.append(
            {"step": self.step, "train_loss": train_loss, "dev_loss": dev_loss}
        )
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
    order: Tensor,
    device: torch.device | str,
) -> dict[str, Any]:
    """All that the next update depends on; `order` is the generator's state before the
    epoch's batches are drawn.
    """
    cuda = torch.device(device).type == "cuda"
    return {
        "course": vars(course),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "order": order,
        "random": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if cuda else None,
    }


def _restore(
    state: Mapping[str, Any],
    model: nn.Module,
    optimiser: torch.optim.Adam,
    generator: torch.Generator,
    device: torch.device | str,
) -> _Course:
    """Put a training back to where `_state` was taken."""
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    generator.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"], device)
    return _Course(**state["course"])


def predict(
    model: nn.Module, dataset: Dataset, ids: Sequence[str] | None = None
) -> Tensor:
    """Return a model's logits, (utterances, classes) on the CPU, in the order of `ids`
    or else of the dataset.

    The model is put into evaluation mode, computes where its weights are, and is put
    back into the mode it was in.
    """
    dataset = dataset if ids is None else dataset.select(ids)
    device = next(model.parameters()).device
    order = buckets(dataset.lengths, PREDICT_BATCH)
    before = model.training
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(dataset.batch(rows).to(device)) for rows in order])
    model.train(before)
    return logits.cpu()[torch.cat(order).argsort()]


def loss_function(name: str):
    """Return the loss of that name, a function of logits (batch, classes) and labels
    (batch,) to the mean loss.

    `softmax` is the cross-entropy of equation (2) of yoon2018, in which a sum over the
    classes of y log ŷ was surely meant where a product of sums is printed; of equations
    (15) and (16) of xu2019; and of (13) of shen2020, whose minus is missing. `sigmoid`
    is what yoon2018's released code trains on, one binary cross-entropy per class, mean
    over classes.

    Raises:
        ValueError: for another name.
    """
    if name == "softmax":
        return functional.cross_entropy
    if name == "sigmoid":
        return _sigmoid_loss
    raise ValueError(f"settings.loss is {name!r}; expected softmax or sigmoid")


def tables_for(
    system: System,
    corpus: Corpus,
    *,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Mapping[str, Any]]:
    """Extract, or take from the cache, what a system eats; `tokens` are lists of words,
    not yet numbers.

    Args:
        system: gives the names of the features.
        corpus: the utterances, with the text that the system reads.
        cache: folder of the features; by default in the cache folder.
        progress: show a progress bar.
    """
    tables: dict[str, Mapping[str, Any]] = {}
    for name in system.features:
        if name == "tokens":
            tables[name] = {u.id: tokenize(u.text) for u in corpus}
        else:
            tables[name] = extract(corpus, name, cache=cache, progress=progress)
    return tables


def vectors_for(
    vectors: str | Path | Mapping[str, np.ndarray] | None,
    tables: Tables,
    settings: Settings,
) -> Mapping[str, np.ndarray] | str | None:
    """Return the pretrained vectors of the corpus's words, as `prepare` takes them.

    Args:
        vectors: a GloVe file, or token to vector; None for none. `word2vec` stays what
            it is: each fold has its own.
        tables: what `tables_for` gave.
        settings: whose `model` says how long a vector is.
    """
    if vectors is None or "tokens" not in tables:
        return None
    if vectors == WORD2VEC:
        return WORD2VEC
    words = {word for tokens in tables["tokens"].values() for word in tokens}
    if isinstance(vectors, Mapping):
        return {word: vectors[word] for word in sorted(words) if word in vectors}
    return read_glove(vectors, words, settings.model["embedding"])


def corpus_for(system: System, corpus: Corpus) -> Corpus:
    """Return the four classes of a corpus, with recognised text if the system reads
    that.

    Raises:
        ValueError: if no utterance is of the four classes.
        FileNotFoundError: if the corpus does not come with these transcripts.
    """
    four = corpus.four_class()
    if not len(four):
        raise ValueError(
            f"{corpus.root}: none of {len(corpus)} utterances is {', '.join(EMOTIONS)}"
            " or excited"
        )
    return (
        four
        if system.transcripts is None
        else with_transcripts(four, system.transcripts)
    )


def find_system(paper: str, name: str) -> System:
    """Return a system of a paper; raise ValueError, which lists what there is, for an
    unknown one.
    """
    known = models.systems(paper)
    if name not in known:
        raise ValueError(
            f"{paper} has no system {name!r}; expected one of {', '.join(known)}"
        )
    return known[name]


def settings_of(
    system: System, profile: str, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Return a system's settings in a profile, with some fields replaced.

    Args:
        system: the system.
        profile: `quick` or `paper`.
        overrides: fields of Settings; `model` is a mapping of which only the options
            named are replaced.

    Raises:
        ValueError: for an unknown profile or field.
    """
    if profile not in system.settings:
        raise ValueError(
            f"{system.name} has no profile {profile!r}; expected one of"
            f" {', '.join(system.settings)}"
        )
    settings, changes = system.settings[profile], dict(overrides or {})
    unknown = sorted(set(changes) - {one.name for one in fields(Settings)})
    if unknown:
        names = ", ".join(one.name for one in fields(Settings))
        raise ValueError(
            f"no setting is called {', '.join(unknown)}; expected some of {names}"
        )
    if "model" in changes:
        changes["model"] = {**settings.model, **changes["model"]}
    return replace(settings, **changes)


def parameters(model: nn.Module) -> int:
    """Count a model's trainable numbers."""
    return sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )


def _checkpoint(record: Record, results_dir: str | Path | None) -> Checkpoint | None:
    return (
        None
        if results_dir is None
        else Checkpoint(Path(results_dir) / record.path.with_suffix(".pt"), record.key)
    )


def _make_all(
    wanted: Sequence[Record],
    fold: Callable[[int], Fold],
    checkpoints: Mapping[Path, Checkpoint | None],
    jobs: int,
    progress: bool,
) -> Iterator[Record]:
    """Make runs, one after the other or several at a time, and give back each as soon
    as it is complete.
    """
    if jobs <= 1:
        with Progress(len(wanted), progress) as bar:
            for record in wanted:
                bar.begin(f"{record.system} fold {record.fold} seed {record.seed}")
                yield _make(record, fold(record.fold), bar, checkpoints[record.path])
        return
    tasks = (
        delayed(_make)(record, fold(record.fold), False, checkpoints[record.path])
        for record in wanted
    )
    runs = parallel.run(tasks, jobs, ordered=False, pre_dispatch=jobs)
    with tqdm(
        desc=wanted[0].system,
        total=len(wanted),
        unit="run",
        leave=False,
        disable=not progress,
    ) as bar:
        for record in runs:
            bar.update()
            last, best = (
                record.history[-1],
                min(look["dev_loss"] for look in record.history),
            )
            bar.set_postfix(
                train=f"{last['train_loss']:.3f}",
                dev=f"{last['dev_loss']:.3f}",
                best=f"{best:.3f}",
            )
            yield record


def _make(
    record: Record, fold: Fold, progress: bool | Progress, checkpoint: Checkpoint | None
) -> Record:
    """Train and test, and complete the record."""
    start = time.perf_counter()
    model, fitted = train(fold, record.seed, progress, checkpoint)
    with reproducible(record.seed, fold.device, fold.settings.threads):
        outcome = _outcome(model, fold)
    record = replace(record, parameters=parameters(model), **vars(fitted), **outcome)
    earlier = checkpoint.earlier if checkpoint is not None else 0.0
    return replace(record, wall_time=earlier + time.perf_counter() - start)


def _outcome(model: nn.Module, fold: Fold) -> dict[str, Any]:
    """What a record says about the test set."""
    logits, labels = predict(model, fold.test), fold.test.labels.cpu()
    loss = loss_function(fold.settings.loss)(logits, labels).item()
    predictions = Predictions(fold.test.ids, labels.numpy(), logits.numpy())
    measured = metrics.summary(predictions.labels, predictions.logits) | {"loss": loss}
    confusion = metrics.confusion(
        predictions.labels, predictions.predicted, classes=len(EMOTIONS)
    )
    return {
        "metrics": measured,
        "confusion": confusion.tolist(),
        "predictions": predictions,
    }


def _sigmoid_loss(logits: Tensor, labels: Tensor) -> Tensor:
    targets = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, targets)


def _check_finite(losses: list[float], first: int, settings: Settings) -> None:
    for step, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss} at update {step}. Likely causes: a learning rate"
                f" that is too high (it is {settings.learning_rate}), gradients that"
                f" are not clipped (clip_value is {settings.clip_value}), features of"
                f" very different size (standardise is {settings.standardise})"
            )


def _log_padding(train: Dataset, size: int, seed: int) -> None:
    batches = buckets(train.lengths, size, torch.Generator().manual_seed(seed))
    log.info(
        "%d batches of %d, %.1f %% of their steps is padding",
        len(batches),
        size,
        100 * padding_share(train.lengths, batches),
    )


def _choose(asked: int | Sequence[int] | None, usual: int) -> list[int]:
    if asked is None:
        asked = usual
    chosen = (
        list(range(asked)) if isinstance(asked, int) else [int(one) for one in asked]
    )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            "folds and seeds are a positive number or a list of different numbers, not"
            f" {asked}"
        )
    return chosen


def _digest(
    vectors: Mapping[str, np.ndarray] | str | None,
) -> str | dict[str, Any] | None:
    """What stands for word vectors in the key of a run: their hash, or how they are
    trained.
    """
    if vectors is None:
        return None
    if isinstance(vectors, str):
        return word2vec.settings()
    digest = hashlib.blake2b(digest_size=16)
    for word in sorted(vectors):
        digest.update(
            f"{word}\n".encode() + np.asarray(vectors[word], dtype=np.float32).tobytes()
        )
    return digest.hexdigest()
