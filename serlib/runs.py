"""What a run is, the plan of many, making them, and getting a trained model back.

Used for all five papers; taught in chapter `yoon2018`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import re
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import cpu_count, delayed
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from serlib import files, inputs, models, parallel, provenance, results, training
from serlib.batching import Dataset, Ragged
from serlib.checkpoints import Checkpoint
from serlib.corpora import transcripts as heard
from serlib.corpora.corpus import Corpus
from serlib.determinism import find_device, reproducible, single_thread
from serlib.embeddings.vectors import rows_for
from serlib.features import FEATURES
from serlib.features.text import Vocabulary
from serlib.inputs import Source, Vectored
from serlib.models.system import System
from serlib.progress import Progress, bar
from serlib.protocols import PROTOCOLS, Split
from serlib.results import Predictions, Record
from serlib.settings import ADDED, Settings, Sizes
from serlib.tasks import Task

log = logging.getLogger(__name__)

MOST = 1_000
"""Folds or seeds that may be asked for as a number."""

PROFILES = ("quick", "paper")
"""Profiles that every system has settings for."""


@dataclass(frozen=True)
class Run:
    """One training and test that may be made: everything that determines its numbers.

    Attributes:
        paper, system, variant, corpus, protocol, profile: their names; the variant is
            empty for the defaults.
        fold: index of the split; seed: of the weights and the order of training.
        device: where to compute: `auto`, `cpu` or `cuda`.
        settings: how to train, and how large.
        split: who is trained on, tuned on and tested on.
        vectors: what words start from: token to vector, `word2vec`, or None.
        data: hash of the items, see `Corpus.content`.
        key: hash of what determines the numbers: data, split, settings, seed, versions
            of the features. Neither the device nor the versions of libraries count:
            these the record tells.
    """

    paper: str
    system: str
    variant: str
    corpus: str
    protocol: str
    profile: str
    fold: int
    seed: int
    device: str
    settings: Settings = field(repr=False, compare=False)
    split: Split = field(repr=False, compare=False)
    vectors: Mapping[str, np.ndarray] | str | None = field(repr=False, compare=False)
    data: str = field(repr=False)
    key: str

    @property
    def name(self) -> str:
        """For progress bars and messages."""
        system = f"{self.system}, {self.variant}" if self.variant else self.system
        return f"{self.paper} {system}, fold {self.fold}, seed {self.seed}"

    def record(self, **known: Any) -> Record:
        """Return a record of the run, with what is known beside what it is."""
        names = ("paper", "system", "variant", "corpus", "protocol", "profile")
        mine = {name: getattr(self, name) for name in (*names, "fold", "seed", "key")}
        return Record(**mine | {"metrics": {}, "history": []} | known)


@dataclass(frozen=True)
class Fold:
    """One fold of a protocol, ready to train on.

    Attributes:
        system, settings: what is trained, and how.
        task: with the corpus's own outputs.
        split: whose items are in which part.
        train, dev, test: the parts.
        sizes: what `system.build` wants to know, but for word vectors.
        vocabulary: the words behind the token numbers; None for a system without text.
        vectors: pretrained word vectors, or None.
        device: where to train.
    """

    system: System
    settings: Settings
    task: Task
    split: Split
    train: Dataset
    dev: Dataset
    test: Dataset
    sizes: Sizes
    vocabulary: Vocabulary | None
    vectors: Mapping[str, np.ndarray] | None
    device: torch.device


def run(
    paper: str,
    system: str,
    corpus: Corpus,
    *,
    results_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
    older: str | None = None,
    **planned: Any,
) -> list[Record]:
    """Plan the runs of a system and make them: `plan` and `make` in one call.

    Args:
        paper, system, corpus: as for `plan`.
        results_dir, jobs, progress, older: as for `make`.
        planned: further arguments of `plan`.

    Returns:
        a record per fold and seed, each with its predictions.

    Raises:
        ValueError, FloatingPointError: as `plan` and `make`.

    Sketch:
        records = run("yoon2018", "mdre", corpora.load("synthetic"))
        [record.metrics["ua"] for record in records]
    """
    how = {"jobs": jobs, "progress": progress, "older": older}
    wanted = plan(paper, system, corpus, **planned)
    return make(wanted, corpus, results_dir=results_dir, **how)


def run_all(
    paper: str,
    corpus: Corpus,
    systems: Sequence[str] | None = None,
    *,
    results_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
    older: str | None = None,
    **planned: Any,
) -> dict[str, list[Record]]:
    """Run systems of a paper, all by default; all are planned before one is trained.

    A system whose recognised text does not come with the corpus is left out, and that
    is said in a warning, unless `transcripts` asks for some.

    Args:
        paper, corpus: as for `plan`.
        systems: keys, in the order wanted.
        results_dir, jobs, progress, older: as for `make`.
        planned: further arguments of `plan`, the same for all systems.

    Returns:
        system to its records.

    Raises:
        ValueError, FloatingPointError: as `plan` and `make`.
        FileNotFoundError: if the transcripts asked for are missing.
    """
    plans = {}
    for name in models.systems(paper) if systems is None else systems:
        try:
            plans[name] = plan(paper, name, corpus, **planned)
        except FileNotFoundError as error:
            reads_text_as_heard = find_system(paper, name).settings["quick"].transcripts
            if reads_text_as_heard is None or planned.get("transcripts") is not None:
                raise
            log.warning(
                "%s is left out: %s. Give transcripts=NAME to read others;"
                " data_scripts/transcribe.py makes some",
                name,
                error,
            )
    how = {"results_dir": results_dir, "jobs": jobs}
    how |= {"progress": progress, "older": older}
    return {name: make(wanted, corpus, **how) for name, wanted in plans.items()}


def plan(
    paper: str,
    system: str,
    corpus: Corpus,
    *,
    protocol: str | None = None,
    profile: str = "quick",
    variant: str = "",
    overrides: Mapping[str, Any] | None = None,
    seeds: int | str | Sequence[int] | None = None,
    folds: int | str | Sequence[int] | None = None,
    device: str = "auto",
    transcripts: str | Path | None = None,
) -> list[Run]:
    """List the runs of a system, by fold and then by seed; nothing is trained.

    Args:
        paper, system: keys, for instance `yoon2018` and `mdre`.
        corpus: the corpus; of it, the items that have a target are taken.
        protocol: key of `serlib.protocols.PROTOCOLS`; by default the paper's own.
        profile: `quick` or `paper`.
        variant: a key of the paper's `VARIANTS`; empty for the defaults.
        overrides: fields of Settings to replace, of `model` and `inputs` only the
            options named; the variant is then named after them unless it has a name.
        seeds, folds: None for what the profile says, n for the first n, or a list of
            the very ones; either may be text, as from a command line.
        device: `auto` (a GPU if there is one), `cpu` or `cuda`.
        transcripts: what a system on recognised text reads, a name or path as
            `corpora.with_transcripts` takes it; the variant then says `on NAME`. None
            for those that its paper's module names, which the synthetic corpus has.
            Systems on the reference text are what they are.

    Raises:
        ValueError: for an unknown paper, system, variant, protocol, profile, device,
            fold or setting.
        FileNotFoundError: if transcripts or vectors are missing.
    """
    chosen = find_system(paper, system)
    changes = variant_of(paper, system, variant), overrides
    settings = settings_of(chosen, profile, *changes)
    variant = variant or _named(overrides)
    if reads_otherwise(chosen, profile, transcripts):
        variant = variant_on(variant, transcripts)
        settings = replace(settings, transcripts=transcripts)
    find_device(device)
    protocol = protocol or chosen.protocol
    _check("no protocol is called", protocol, PROTOCOLS)
    seeds = choose("seeds", seeds, settings.seeds)
    folds = choose("folds", folds, settings.folds)
    corpus = items_for(chosen, settings, corpus)
    splits = PROTOCOLS[protocol](corpus, seed=0)
    numbers = range(len(splits)) if folds is None else folds
    if absent := [number for number in numbers if not 0 <= number < len(splits)]:
        raise ValueError(
            f"{protocol} has folds 0 to {len(splits) - 1} on this corpus; asked for"
            f" {len(numbers)} folds, of which {absent[0]} is not there"
        )
    vectors, source = None, Source(corpus)
    for one in chosen.inputs.values():
        if isinstance(one, Vectored):
            vectors = one.find(source, settings)
    used = {n: FEATURES[n] for n in inputs.features_of(chosen.inputs.values())}
    facts = {
        "paper": paper,
        "system": system,
        "data": corpus.content,
        "outputs": chosen.task.of(corpus).outputs,
        "settings": described(settings, vectors),
        "features": {n: [used[n].version, used[n].settings()] for n in sorted(used)},
    }
    names = (paper, system, variant, corpus.name, protocol, profile)
    runs = []
    for fold, seed in itertools.product(numbers, seeds):
        split = splits[fold]
        parts = [split.train, split.dev, split.test]
        text = json.dumps(results.plain(facts | {"split": parts, "seed": seed}))
        key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        own = (fold, seed, device, settings, split, vectors, corpus.content, key)
        runs.append(Run(*names, *own))
    return runs


def make(
    plan: Sequence[Run],
    corpus: Corpus,
    *,
    results_dir: str | Path | None = None,
    jobs: int | None = None,
    progress: bool = True,
    older: str | None = None,
    weights: bool = False,
) -> list[Record]:
    """Make the runs of a plan; what is there already is read, not made again.

    Everything random follows from the seed: on one machine and device the same call
    gives the same numbers. What is set to that end is put back afterwards, see
    `reproducible`. From one machine to another the last bits differ, and training
    amplifies them.

    Args:
        plan: what to make.
        corpus: the corpus that it was planned for.
        results_dir: where each record is written as soon as it is there: an interrupted
            plan continues.
        jobs: runs that are made at the same time, each in a process of its own; None
            for one per CPU core, or a single one on a GPU. The numbers are the same.
        progress: show a progress bar.
        older: what to do with a record that other code made than the present: `use` or
            `remake`. None uses those of a corpus whose records replay guards (its
            folder holds `results.MARKER`) and makes others anew; either is said in a
            line.
        weights: keep the trained weights beside the record, for `trained`.

    Returns:
        a record per run, in the plan's order, each with its predictions.

    Raises:
        ValueError: if a part of a fold is empty, a feature is not finite, a record is
            damaged, the plan is of other data, or an argument makes no sense.
        FloatingPointError: if a loss is not a number any more.
        OSError: if the results cannot be written.
    """
    if older not in (None, "use", "remake"):
        raise ValueError(f"older is {older!r}; expected use, remake or None")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs!r}; expected 1 or more, or None for all cores")
    folder = _folder(results_dir)
    there = {} if folder is None else _there(plan, folder, older, weights)
    missing = [run for run in plan if run not in there]
    if missing:
        if jobs is None:
            on_gpu = find_device(missing[0].device).type == "cuda"
            jobs = 1 if on_gpu else cpu_count()
        if folder is not None:
            _check_writable(folder)
        there |= _make_all(missing, corpus, jobs, progress, (folder, weights))
    return [there[run] for run in plan]


def trained(
    run: Run,
    corpus: Corpus,
    *,
    results_dir: str | Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, Fold]:
    """Return the model that a run ends with, and its fold.

    Args:
        run: the run.
        corpus: the corpus that it was planned for.
        results_dir: where its weights may have been kept; else it is trained anew.
        progress: show a progress bar.

    Raises:
        ValueError: if the kept weights are damaged, or the run was planned for other
            data.
    """
    folder = _folder(results_dir)
    fold = prepare(run, _read(run, corpus))
    model = None if folder is None else _kept(run, fold, folder)
    if model is None:
        model, _ = train(fold, run.seed, progress)
    return model, fold


@single_thread()
def prepare(run: Run, corpus: Corpus | Source) -> Fold:
    """Make the three parts of a fold, with inputs that know the training part only.

    Args:
        run: what will be trained.
        corpus: the corpus that it was planned for, or what inputs read of it.

    Raises:
        ValueError: if a part is empty, or a feature is missing or not finite.
    """
    system, source = find_system(run.paper, run.system), corpus
    settings, split = run.settings, run.split
    if not isinstance(source, Source):
        source = Source(items_for(system, settings, corpus))
    for part in ("train", "dev", "test"):
        if not getattr(split, part):
            raise ValueError(
                f"fold {split.name} has nobody in its {part} part; the corpus is too"
                " small for this protocol"
            )
    task = system.task.of(source.corpus)
    items = [source.corpus[id] for id in (*split.train, *split.dev, *split.test)]
    arrays, vocabulary, vectors = {}, None, None
    for name, one in system.inputs.items():
        if isinstance(one, Vectored):
            known = "random" if run.vectors is None else run.vectors
            one = replace(one, vectors=known)
        fitted = one.fit(source, split.train, settings)
        arrays[name] = {item.id: fitted.encode(item) for item in items}
        if fitted.vocabulary is not None:
            vocabulary, vectors = fitted.vocabulary, fitted.vectors
    targets = [task.target(item) for item in items]
    data = Dataset.build([item.id for item in items], targets, arrays)
    device = find_device(run.device)
    if device.type != "cuda" or data.bytes < torch.cuda.mem_get_info(device)[0] / 2:
        data = data.to(device)
    parts = [data.select(part) for part in (split.train, split.dev, split.test)]
    if settings.sequence is not None:
        parts[0] = parts[0].cut(settings.sequence)
    words = 0 if vocabulary is None else len(vocabulary)
    sizes = Sizes(data.dims, words, outputs=len(task.outputs))
    known = (sizes, vocabulary, vectors, device)
    return Fold(system, settings, task, split, *parts, *known)


def build(fold: Fold, seed: int) -> nn.Module:
    """Build the system's model, with word vectors if the fold has some. Weights that
    are drawn at random follow from torch's generator.

    Args:
        fold: what it will be trained on.
        seed: of the vectors of words without a pretrained one.
    """
    sizes = fold.sizes
    if fold.vectors is not None and fold.vocabulary is not None:
        embedding = fold.settings.model["embedding"]
        rows, _ = rows_for(fold.vocabulary, fold.vectors, embedding, seed)
        sizes = replace(sizes, vectors=rows)
    return fold.system.build(sizes, **fold.settings.model)


def train(
    fold: Fold,
    seed: int,
    progress: bool | Progress = True,
    checkpoint: Checkpoint | None = None,
    looks: int | None = None,
) -> tuple[nn.Module, training.Fit]:
    """Build the system's model from a seed and fit it to a fold.

    Args:
        fold: what to train on.
        seed: of the weights and of everything else that is random.
        progress, checkpoint, looks: see `training.fit`.

    Returns:
        the model, with the weights that had the lowest development loss, and how the
        training went.

    Raises:
        FloatingPointError: if a loss is not a number any more.
    """
    how = (fold.task.loss(fold.settings.loss), fold.settings, seed, fold.device)
    how += (progress, checkpoint, looks)
    with reproducible(seed, fold.device, fold.settings.threads):
        model = build(fold, seed)
        try:
            return model, training.fit(model, fold.train, fold.dev, *how)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{fold.system.name}, fold {fold.split.name}, seed {seed}: {error}"
            ) from None


def opening(fold: Fold, seed: int) -> list[float]:
    """Return the losses of the first updates of `train`."""
    how = (fold.task.loss(fold.settings.loss), fold.settings, seed, fold.device)
    with reproducible(seed, fold.device, fold.settings.threads):
        return training.opening(build(fold, seed), fold.train, *how)


def items_for(system: System, settings: Settings, corpus: Corpus) -> Corpus:
    """Return the items of a corpus that have a target, with recognised text if the
    settings name some.

    Raises:
        ValueError: if no item has a target.
        FileNotFoundError: if the corpus does not come with these transcripts.
    """
    chosen = system.task.select(corpus)
    if settings.transcripts is None:
        return chosen
    return heard.with_transcripts(chosen, settings.transcripts)


def find_system(paper: str, name: str) -> System:
    """Return a system of a paper; raise ValueError, which lists what there is, for an
    unknown one.
    """
    known = models.systems(paper)
    _check(f"{paper} has no system", name, known)
    return known[name]


def variant_of(paper: str, system: str, name: str) -> Mapping[str, Any]:
    """Return what a variant of a system overrides; nothing for an empty name.

    Raises:
        ValueError: for an unknown variant, or one of another system.
    """
    if not name:
        return {}
    known = models.variants(paper)
    own = [one for one, variant in known.items() if variant.system == system]
    _check(f"{system} of {paper} has no variant", name, own)
    return known[name].overrides


def settings_of(
    system: System, profile: str, *overrides: Mapping[str, Any] | None
) -> Settings:
    """Return a system's settings in a profile, with some fields replaced.

    Args:
        system: the system.
        profile: `quick` or `paper`.
        overrides: fields of Settings, one mapping after the other; `model` and `inputs`
            are mappings of which only the options named are replaced.

    Raises:
        ValueError: for an unknown profile or field.
    """
    _check(f"{system.name} has no profile", profile, system.settings)
    settings, names = system.settings[profile], [one.name for one in fields(Settings)]
    for changes in (dict(one or {}) for one in overrides):
        if unknown := sorted(set(changes) - set(names)):
            raise ValueError(
                f"no setting is called {', '.join(unknown)}; expected some of"
                f" {', '.join(names)}"
            )
        for name in changes.keys() & {"model", "inputs"}:
            changes[name] = {**getattr(settings, name), **changes[name]}
        settings = replace(settings, **changes)
    return settings


def described(
    settings: Settings, vectors: Mapping[str, np.ndarray] | str | None = None
) -> dict[str, Any]:
    """Return the settings that matter to one run, in JSON's types; without those of
    `ADDED` that have their default.

    Args:
        settings: of the run.
        vectors: what words start from, as `Words.find` gives it.
    """
    told = vars(settings) | {"vectors": inputs.digest(vectors)}
    if settings.transcripts is not None:  # by name: their words are among the data
        told["transcripts"] = heard.name_of(settings.transcripts)
    usual = vars(Settings())
    unused = {name for name in ADDED if told[name] == usual[name]}
    unused |= {"folds", "seeds"}
    return results.plain({k: v for k, v in told.items() if k not in unused})


def reads_otherwise(
    system: System, profile: str, transcripts: str | Path | None
) -> bool:
    """Whether a system reads recognised text, and other than its paper's module names,
    if it is told to read these transcripts.
    """
    usual = system.settings[profile].transcripts
    return None not in (usual, transcripts) and str(transcripts) != usual


def variant_on(variant: str, transcripts: str | Path) -> str:
    """Return what a variant is called if its system reads other transcripts.

    Example:
        >>> variant_on("", "transcripts/asr.tsv")
        'on asr'
    """
    return ", ".join(filter(None, [variant, f"on {heard.name_of(transcripts)}"]))


def choose(
    name: str, asked: int | str | Sequence[int] | None, usual: int | None
) -> list[int] | None:
    """Return the folds or seeds that are meant.

    Args:
        name: `folds` or `seeds`, for the message.
        asked: 2 or "2" for the first two; [0, 2] or "[0, 2]" for those two.
        usual: what None means; itself None for all.

    Raises:
        ValueError: for anything else.

    Example:
        >>> choose("folds", "[0, 2]", None)
        [0, 2]
    """
    meant = usual if asked is None else asked
    if meant is None:
        return None
    if isinstance(meant, str):
        n = r"(0|[1-9][0-9]*)"
        plain = re.fullmatch(rf"\s*({n}|\[\s*{n}(\s*,\s*{n})*\s*\])\s*", meant)
        meant = json.loads(meant) if plain else None
    if type(meant) is int and 0 < meant <= MOST:
        return list(range(meant))
    listed = isinstance(meant, list | tuple | range) and len(meant) > 0
    whole = listed and all(type(n) is int and 0 <= n < 2**32 for n in meant)
    if whole and len(set(meant)) == len(meant):
        return list(meant)
    raise ValueError(
        f"{name} is {asked!r}; expected a number, such as 2 for the first two, or a"
        f" list of different ones, such as [0, 2] for those two; at most {MOST:,} of"
        f" them, none above {2**32 - 1:,}"
    )


def options(
    *,
    profile: str,
    device: str,
    folds: Any,
    seeds: Any,
    results_dir: Any,
    transcripts: Any = None,
) -> dict[str, Any]:
    """Check a chapter's parameters, whether they come from a cell or a command line,
    and return them as `run` takes them.

    Raises:
        ValueError: for a value that none of them may have; the message says what is
            expected.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile is {profile!r}; expected {' or '.join(PROFILES)}")
    find_device(device)
    for name, asked in (("folds", folds), ("seeds", seeds)):
        choose(name, asked, None)
    if transcripts is not None and (
        not isinstance(transcripts, str | Path) or not str(transcripts).strip()
    ):
        raise ValueError(
            f"transcripts is {transcripts!r}; expected a name, as of"
            " transcripts/NAME.tsv in the corpus's folder, a path, or None"
        )
    chosen = {"profile": profile, "device": device, "folds": folds, "seeds": seeds}
    chosen |= {"transcripts": transcripts}
    return chosen | {"results_dir": _folder(results_dir), "progress": False}


def _folder(results_dir: Any) -> Path | None:
    """A folder of results, as a cell or a command line may name it."""
    if results_dir is None:
        return None
    folder = Path(str(results_dir)).expanduser()
    wrong = isinstance(results_dir, bool) or not str(results_dir).strip()
    if wrong or folder.is_file():
        raise ValueError(
            f"results_dir is {results_dir!r}; expected a folder, or None to keep none"
        )
    return folder


def _check_writable(folder: Path) -> None:
    """Notice before a training, not after it, that its record cannot be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or error
        raise OSError(
            f"results_dir is {folder}, where nothing can be written ({why}); expected a"
            " folder of your own, or None to keep none"
        ) from error


def _check(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        told = ", ".join(known) or "none"
        raise ValueError(f"{what} {name!r}; expected one of {told}")


def _named(overrides: Mapping[str, Any] | None) -> str:
    """What a variant is called after what it overrides, short enough for a file."""
    told = dict(overrides or {})
    if isinstance(told.get("vectors"), Mapping):
        told["vectors"] = inputs.digest(told["vectors"])
    name = ", ".join(f"{key}={value}" for key, value in told.items())
    if len(name.encode()) <= 200:
        return name
    return f"{name[:40]} {hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def _there(
    plan: Sequence[Run], folder: Path, older: str | None, weights: bool
) -> dict[Run, Record]:
    """The runs that a folder of results has, of the present code or allowed to be
    older.
    """
    found, others, use = {}, set(), False
    for run in plan:
        record = results.find(run.record(), folder)
        if record is None:
            continue
        if run.device.partition(":")[0] not in ("auto", record.device):
            continue
        if weights and not weights_path(run, folder).is_file():
            continue
        if record.code != provenance.code(run.paper):
            guarded = (folder / run.corpus / results.MARKER).is_file()
            use = older == "use" or (older is None and guarded)
            others.add(f"commit {record.commit or 'unknown'}")
            if not use:
                continue
        found[run] = record
    if others:
        made = ", ".join(sorted(others))
        what = "used" if use else "made anew (older='use' keeps them)"
        said = f"{folder}: records that other code made ({made}) are {what}"
        log.log(logging.INFO if use else logging.WARNING, said)
    return found


def _make_all(
    missing: Sequence[Run],
    corpus: Corpus,
    jobs: int,
    progress: bool,
    keep: tuple[Path | None, bool],
) -> Iterator[tuple[Run, Record]]:
    """Make runs, one after the other or several at a time, and give each back as soon
    as it is complete.
    """
    _extract(missing, corpus, progress)
    jobs = min(jobs, len(missing))
    if jobs <= 1:
        with Progress(len(missing), progress) as told:
            for run in missing:
                told.begin(run.name)
                yield run, _make(run, corpus, told, *keep)
        return
    how = (corpus, False, *keep)
    tasks = (
        delayed(_numbered)(n, find_system(run.paper, run.system), run, *how)
        for n, run in enumerate(missing)
    )
    made = parallel.run(tasks, jobs, ordered=False, pre_dispatch=jobs)
    shown = {"total": len(missing), "unit": "run", "leave": False}
    with bar(progress, desc=missing[0].system, **shown) as told:
        for n, record in made:
            told.update()
            dev = min(look["dev_loss"] for look in record.history)
            told.set_postfix(dev=f"{dev:.3f}")
            yield missing[n], record


def _numbered(number: int, system: System, run: Run, *how: Any) -> tuple[int, Record]:
    """Make a run in another process, which knows only the systems of the library and
    not one that was added or replaced where the run was asked for.
    """
    models.systems(run.paper)[run.system] = system
    return number, _make(run, *how)


def _extract(plan: Sequence[Run], corpus: Corpus, progress: bool) -> None:
    """Have all cores extract what the runs need, before processes share the runs; and
    see that the corpus is the one that they were planned for.
    """
    for run in {run.data: run for run in plan}.values():
        _read(run, corpus)
    for paper, name in dict.fromkeys((run.paper, run.system) for run in plan):
        system = find_system(paper, name)
        source = Source(system.task.select(corpus), progress=progress)
        for feature in inputs.features_of(system.inputs.values()):
            source.table(feature)


_LAST: dict[tuple, Source] = {}
"""What the last run of this process read, by its data: the next one may find it."""


def _source(run: Run, corpus: Corpus) -> Source:
    wanted = run.data, corpus.classes
    if wanted not in _LAST:
        _LAST.clear()
        _LAST[wanted] = _read(run, corpus)
    return _LAST[wanted]


def _read(run: Run, corpus: Corpus) -> Source:
    items = items_for(find_system(run.paper, run.system), run.settings, corpus)
    if items.content != run.data:
        raise ValueError(
            f"{run.name} was planned for other data than those in {corpus.root}; plan"
            " it for this corpus"
        )
    return Source(items)


def _make(
    run: Run,
    corpus: Corpus,
    progress: bool | Progress,
    folder: Path | None,
    weights: bool,
) -> Record:
    """Train and test, and keep the record."""
    start, checkpoint = time.perf_counter(), None
    if folder is not None:
        checkpoint = Checkpoint(folder / run.record().path.with_suffix(".pt"), run.key)
    fold = prepare(run, _source(run, corpus))
    model, fitted = train(fold, run.seed, progress, checkpoint)
    with reproducible(run.seed, fold.device, run.settings.threads):
        outcome = _tested(model, fold)
    earlier = checkpoint.earlier if checkpoint is not None else 0.0
    record = run.record(
        **vars(fitted),
        **outcome,
        synthetic=corpus.synthetic,
        word_errors=_word_errors(run, corpus),
        sizes={p: len(getattr(fold.split, p)) for p in ("train", "dev", "test")},
        parameters=training.parameters(model),
        wall_time=earlier + time.perf_counter() - start,
        device=fold.device.type,
        hardware=provenance.hardware(str(fold.device)),
        arithmetic=provenance.arithmetic(str(fold.device)),
        versions=provenance.versions(),
        commit=provenance.commit(),
        code=provenance.code(run.paper),
        settings=described(run.settings, run.vectors),
        skipped=len(corpus.skipped),
    )
    if folder is not None:
        if weights:
            state = {k: v.cpu().contiguous() for k, v in model.state_dict().items()}
            with files.atomic(weights_path(run, folder)) as temporary:
                temporary.write_bytes(save(state, {"key": run.key}))
        results.write(record, folder)
        checkpoint.remove()
    return record


def _word_errors(run: Run, corpus: Corpus) -> float | None:
    """How wrong the text is that a run read, beside the corpus's own."""
    if run.settings.transcripts is None:
        return None
    own = find_system(run.paper, run.system).task.select(corpus)
    return heard.word_error_rate(own, run.settings.transcripts)


def _tested(model: nn.Module, fold: Fold) -> dict[str, Any]:
    """What a record says about the test set."""
    outputs, targets = training.predict(model, fold.test), fold.test.targets.to("cpu")
    loss = training.mean_loss(fold.task.loss(fold.settings.loss), outputs, fold.test)
    lengths = None
    if isinstance(outputs, Ragged):
        lengths = targets.lengths.numpy()
        outputs, targets = outputs.steps(), targets.steps()
    said = Predictions(fold.test.ids, targets.numpy(), outputs.numpy(), lengths)
    scores = {
        name: float(one.value(said.statistics(one).sum(axis=0)))
        for name, one in fold.task.measures.items()
    }
    facts = {"task": fold.task.name, "outputs": list(fold.task.outputs)}
    return facts | {"metrics": scores | {"loss": loss}, "predictions": said}


def _kept(run: Run, fold: Fold, folder: Path) -> nn.Module | None:
    """The model with the weights that are kept; None if there are none, or those of
    another run.
    """
    if not (path := weights_path(run, folder)).is_file():
        return None
    try:
        with safe_open(path, "pt") as kept:
            if (kept.metadata() or {}).get("key") != run.key:
                log.warning("%s: weights of another run; %s is trained", path, run.name)
                return None
            state = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
        with reproducible(run.seed, fold.device, run.settings.threads):
            model = build(fold, run.seed)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not the weights of {run.name} ({error}); delete it and train anew"
        ) from error
    return model.to(fold.device)


def weights_path(run: Run, folder: str | Path) -> Path:
    """Where the weights of a run are kept, if they are."""
    return Path(folder) / run.record().path.with_suffix(".safetensors")
