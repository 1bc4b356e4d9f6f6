"""The records that pages show: what is listed, what is missing, whether it still holds.

    python workflow/records.py status             what is missing, and what other code made
    python workflow/records.py make GROUP         make what is missing of a group, and pack it
    python workflow/records.py replay [--full]    start one listed run of each group anew, or all, and compare
    python workflow/records.py audit [--sample N] train listed runs anew and compare predictions

`workflow/runs.yml` is the list, `results/` holds the records; `make records` goes through the groups with
Snakemake. Replay compares the losses of the first updates of every run and, of one fold of each system, the
first look at the development set; with --full, that of every run. Without it, one run of each group takes its turn
by the commit's hash.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml
from joblib import cpu_count, delayed
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts.align import REPORT, align_corpus
from serlib import corpora, models, parallel, provenance, results, runs, training
from serlib.corpora.corpus import Corpus
from serlib.determinism import reproducible
from serlib.files import cache_folder
from serlib.inputs import Source
from serlib.results import Record
from serlib.runs import Run

ROOT = Path(__file__).resolve().parent.parent
LIST, RESULTS = ROOT / "workflow" / "runs.yml", ROOT / "results"

TOLERANCE = {"opening": 1e-3, "look": 3e-2}
"""Difference of losses that a machine which rounds otherwise than the record's may show, after a few updates and
at the first look."""

LOOK_SECONDS = 8
"""Runs whose first look took longer are only replayed to it with --full."""


@dataclass(frozen=True)
class Listed:
    """A run of the list.

    Attributes:
        run: what it is.
        weights: whether its weights are kept.
    """

    run: Run
    weights: bool = False

    @property
    def group(self) -> str:
        """Where the record lies; also the name of the Snakemake job that makes it."""
        return str(self.run.record().group)


def listed(group: str | None = None) -> tuple[list[Listed], dict[str, Corpus]]:
    """Return the listed runs on corpora that are here, each once, and these corpora.

    Args:
        group: only the runs of this one; None for all.
    """
    found: dict[tuple, Listed] = {}
    there: dict[str, Corpus] = {}
    for entry in yaml.safe_load(LIST.read_text(encoding="utf-8")):
        name = entry.pop("corpus", "synthetic")
        entry |= {"protocol": entry.get("protocol"), "profile": entry.get("profile", "quick")}
        if "transcripts" in entry:
            entry["transcripts"] = RESULTS / "transcripts" / name / f"{entry['transcripts']}.tsv"
        chosen = [one for one in _systems(entry) if group in (None, str(_group(name, entry, *one)))]
        if chosen and name not in there:
            try:
                there[name] = load(name)
            except FileNotFoundError as error:
                print(f"its listed runs are left out: {error}", file=sys.stderr)
                there[name] = None
        for system, variant in chosen if there.get(name) is not None else ():
            for run in runs.plan(entry["paper"], system, there[name], variant=variant, **_rest(entry)):
                place = (run.record().group, run.record().place)
                before = place in found and found[place].weights
                found[place] = Listed(replace(run, device="cpu"), before or entry.get("weights", False))
    return list(found.values()), {name: corpus for name, corpus in there.items() if corpus is not None}


def load(name: str) -> Corpus:
    """Return a corpus as listed runs read it."""
    return with_words(corpora.load(name, progress=sys.stderr.isatty()).four_class())


def with_words(corpus: Corpus) -> Corpus:
    """Return a corpus that comes without words and phones with those that PocketSphinx finds, once for all (a minute
    for RAVDESS)."""
    if corpus.recordings or any(u.words for u in corpus.utterances):
        return corpus
    folder = cache_folder() / "aligned" / corpus.name
    if not (folder / REPORT).is_file():
        align_corpus(corpus, folder, jobs=cpu_count(), progress=sys.stderr.isatty())
    return corpora.with_alignments(corpus, folder)


def _group(corpus: str, entry: dict, system: str, variant: str) -> Path:
    chosen, transcripts = models.systems(entry["paper"])[system], entry.get("transcripts")
    if runs.reads_otherwise(chosen, entry["profile"], transcripts):
        variant = runs.variant_on(variant, transcripts)
    protocol = entry["protocol"] or chosen.protocol
    return results.group(corpus, entry["paper"], protocol, entry["profile"], system, variant)


def _systems(entry: dict) -> list[tuple[str, str]]:
    paper, variants = entry["paper"], entry.get("variants", [])
    if variants:
        known = models.variants(paper)
        names = [name for name, one in known.items() if not one.reads_otherwise] if variants == "all" else variants
        return [(known[name].system, name) for name in names]
    systems = entry["systems"]
    return [(name, "") for name in (models.systems(paper) if systems == "all" else systems)]


def _rest(entry: dict) -> dict:
    return {name: entry[name] for name in ("protocol", "profile", "folds", "seeds", "transcripts") if name in entry}


def missing(wanted: Sequence[Listed], folder: Path | None = None) -> list[Listed]:
    """Return the listed runs that a folder of results, by default the book's, does not have, or not with the weights
    to be kept."""
    folder = folder or RESULTS
    return [one for one in wanted if _find(one, folder) is None or _lacks_weights(one, folder)]


def _find(one: Listed, folder: Path | None = None) -> Record | None:
    return results.find(one.run.record(), folder or RESULTS)


def _lacks_weights(one: Listed, folder: Path) -> bool:
    return one.weights and not runs.weights_path(one.run, folder).is_file()


def status(wanted: Sequence[Listed], folder: Path) -> None:
    """Say what is missing, what other code made, and which records are not listed."""
    absent, code = missing(wanted, folder), provenance.code
    others = [one for one in wanted if (record := _find(one, folder)) and record.code != code(one.run.paper)]
    for one in absent:
        print(f"missing: {one.run.name} ({one.group})")
    for group, own in itertools.groupby(sorted(one.group for one in others)):
        print(f"made by other code, guarded by replay: {group}, {len(list(own))} runs")
    places = {(one.run.record().group, one.run.record().place) for one in wanted}
    names = {one.run.corpus for one in wanted}
    for record in results.read(folder) if folder.is_dir() else []:
        if record.corpus in names and (record.group, record.place) not in places:
            print(f"not listed: {record.path}")
    print(f"{len(wanted)} runs listed, {len(absent)} missing, {len(others)} made by other code")


@contextmanager
def gpu() -> Iterator[str]:
    """Hold one of the GPUs that no other job of this machine holds, if there are any."""

    count = torch.cuda.device_count()
    if not count:
        yield "cpu"
        return
    from filelock import FileLock, Timeout

    for number in itertools.cycle(range(count)):
        lock = FileLock(cache_folder() / f"gpu-{number}.lock", timeout=1)
        try:
            lock.acquire()
        except Timeout:
            continue
        try:
            yield f"cuda:{number}"
        finally:
            lock.release()
        return


def make(group: str, folder: Path, jobs: int) -> None:
    """Make what is missing of a group, and pack it."""
    wanted, there = listed(group)
    absent = missing(wanted, folder)
    for weights, own in itertools.groupby(sorted(absent, key=lambda one: one.weights), key=lambda one: one.weights):
        with gpu() as device:
            plan = [replace(one.run, device=device) for one in own]
            how = {"jobs": jobs, "progress": sys.stderr.isatty(), "weights": weights}
            runs.make(plan, there[plan[0].corpus], results_dir=folder, **how)
    results.pack(folder / group)


@dataclass(frozen=True)
class Replay:
    """A run that is started anew, to be compared with its record.

    Attributes:
        run, record: what it is, and what it was.
        look: train to the first look at the development set, not only the first updates.
    """

    run: Run
    record: Record
    look: bool


def replay(wanted: Sequence[Listed], there: dict[str, Corpus], full: bool, jobs: int) -> int:
    """Start every listed run anew and compare with its record; return how many do not meet it.

    Unless `full`, of each group one run is enough to see a change, whose turn comes by the hash of the commit.
    """
    failures, left_out, elsewhere, replays, looked = 0, 0, 0, [], set()
    taken = Counter()
    wanted = sorted(wanted, key=_turn)
    for one in sorted(wanted, key=lambda one: (one.run.corpus, one.run.data, one.run.paper, one.group)):
        record = _find(one)
        if record is None:
            failures += 1
            print(f"missing, make records makes it: {one.run.name}")
            continue
        system = (one.run.corpus, one.run.paper, one.run.system)
        if not _here(record):
            elsewhere += 1
            continue
        taken[one.group] += 1
        if not full and taken[one.group] > 1:
            left_out += 1
            continue
        small = one.run.profile == "quick" and not one.run.variant  # others may be a GPU's, which is faster
        first = small and system not in looked and _look_seconds(record) < LOOK_SECONDS
        look = full or first or not record.opening
        looked |= {system} if look else set()
        replays.append(Replay(replace(one.run, device=record.device), replace(record, predictions=None), look))
    _extract([one.run for one in replays], there)
    start, exact, near = time.monotonic(), 0, 0
    size = max(1, math.ceil(len(replays) / (4 * jobs)))  # neighbours share what they read
    parts = [replays[begin : begin + size] for begin in range(0, len(replays), size)]
    for said in _in_parallel(_compare, parts, there, jobs):
        for message, apart in said:
            exact, near = exact + (apart == 0), near + (apart > 0 and message is None)
            if message is not None:
                failures += 1
                print(message)
    looks = sum(one.look for one in replays)
    print(
        f"replay: {len(replays)} runs started anew, {looks} of them to the first look: {exact} met to the last digit, "
        f"{near} within the tolerance of another processor, {failures} failed; {left_out} more left to FULL=1 and to "
        f"other commits, {elsewhere} to a GPU; {time.monotonic() - start:.0f} s"
    )
    return failures


@cache
def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout


def _turn(one: Listed) -> bytes:
    """What orders runs for replay: folds and seeds, so that those of one turn share what was made for them."""
    return _chance((one.run.fold, one.run.seed))


def _chance(of: object) -> bytes:
    """What orders things by chance, another way for every commit."""
    return hashlib.blake2b(f"{_commit()}{of}".encode()).digest()


def _here(record: Record) -> bool:
    """Whether a run can be repeated here: a GPU draws what dropout leaves out from random numbers of its own."""
    return record.device == "cpu" or torch.cuda.is_available()


def _look_seconds(record: Record) -> float:
    """About how long a run took to its first look."""
    return record.wall_time * record.history[0]["step"] / record.steps


def _extract(plan: Sequence[Run], there: dict[str, Corpus]) -> None:
    """Have all cores extract features before processes share the runs: a pool within a pool can wait for ever."""
    for name, corpus in there.items():
        runs._extract([run for run in plan if run.corpus == name], corpus, progress=False)


def _in_parallel(work, parts: Sequence[Sequence], there: dict[str, Corpus], jobs: int) -> Iterator[list]:
    parts = [part for part in parts if part]
    tasks = (delayed(work)(part, there) for part in parts)
    return parallel.run(tasks, jobs, ordered=False) if jobs > 1 else (work(part, there) for part in parts)


def _compare(replays: Sequence[Replay], there: dict[str, Corpus]) -> list[tuple[str | None, float]]:
    """Replay some runs: of each what is wrong, or None, and how far the losses are apart."""
    said, source = [], None
    for one in replays:
        run, record = one.run, one.record
        if source is None or source[0] != run.data:
            items = runs.items_for(runs.find_system(run.paper, run.system), run.settings, there[run.corpus])
            source = run.data, Source(items)
        fold = runs.prepare(run, source[1])
        if one.look:
            _, fitted = runs.train(fold, run.seed, progress=False, looks=1)
            numbers = [fitted.history[0][loss] for loss in ("train_loss", "dev_loss")]
            expected = [record.history[0][loss] for loss in ("train_loss", "dev_loss")]
        else:
            numbers, expected = runs.opening(fold, run.seed), list(record.opening)
        apart = max(abs(a - b) for a, b in zip(numbers, expected, strict=True))
        same = record.arithmetic == provenance.arithmetic()
        allowed = 0.0 if same else TOLERANCE["look" if one.look else "opening"]
        message = None
        if apart > allowed or math.isnan(apart):
            what = "losses at the first look" if one.look else "losses of the first updates"
            message = (
                f"{run.name} ({record.path}): {what}: expected {expected}, found {numbers}; "
                f"allowed on {'this' if same else 'another'} processor: {allowed}"
            )
        said.append((message, apart))
    return said


def audit(wanted: Sequence[Listed], there: dict[str, Corpus], sample: int | None, jobs: int) -> int:
    """Train listed runs from nothing and compare their predictions; return how many differ.

    Args:
        wanted, there: what `listed` gave.
        sample: how many, chosen by the hash of the commit; None for all.
        jobs: processes.
    """
    found = {one: _find(one) for one in wanted}
    chosen = [replace(one, run=replace(one.run, device=r.device)) for one, r in found.items() if r and _here(r)]
    if sample is not None:
        chosen = sorted(chosen, key=lambda one: _chance(one.run.key))[:sample]
    _extract([one.run for one in chosen], there)
    failures, same = 0, 0
    for said in _in_parallel(_audited, [[one.run] for one in chosen], there, jobs):
        for name, message in said:
            print(f"{name}: {message}", flush=True)
            same, failures = same + message.startswith("every"), failures + message.startswith("DIFFERENT")
    print(f"audit: {len(chosen)} runs trained anew, {same} with every output as recorded, {failures} failed")
    return failures


def _audited(plan: Sequence[Run], there: dict[str, Corpus]) -> list[tuple[str, str]]:
    said = []
    for run in plan:
        before = results.find(run.record(), RESULTS)
        (after,) = runs.make([run], there[run.corpus], jobs=1, progress=False)
        a, b = before.predictions, after.predictions
        agree = float((np.abs(a.outputs - b.outputs) < 0.01).mean())
        name = "ua" if before.task == "classes" else "ccc"
        scores = f"{name.upper()} {100 * before.metrics[name]:.1f} and {100 * after.metrics[name]:.1f}"
        if before.arithmetic != after.arithmetic:
            message = f"another processor than the record's: {agree:.1%} of the outputs agree, {scores}"
        elif np.array_equal(a.outputs, b.outputs):
            message = f"every output as recorded, {scores}"
        else:
            message = f"DIFFERENT: {agree:.1%} of the outputs agree, {scores}"
        said.append((run.name, message))
    return said


def weights(wanted: Sequence[Listed], there: dict[str, Corpus]) -> int:
    """Load every kept model and compare its predictions with the record's; return how many differ.

    Where it cannot be asked for the last digit, since another processor made the record, a hundred of the utterances
    are enough: large networks of a GPU take minutes here.
    """
    failures = 0
    for one in wanted:
        record = _find(one)
        if not one.weights or record is None:
            continue
        model, fold = runs.trained(one.run, there[one.run.corpus], results_dir=RESULTS, progress=False)
        same = record.arithmetic == provenance.arithmetic()
        some = slice(None, None, 1 if same or record.task != "classes" else math.ceil(len(fold.test) / 100))
        with reproducible(one.run.seed, fold.device, one.run.settings.threads):
            outputs = training.predict(model, fold.test, fold.test.ids[some])
        told = outputs.numpy() if isinstance(outputs, Tensor) else outputs.steps().numpy()
        apart = float(np.abs(told - record.predictions.outputs[some]).max())
        allowed = 0.0 if same else 1e-3
        failures += apart > allowed
        verdict = "reproduce the record" if apart <= allowed else "DO NOT reproduce the record"
        print(f"weights of {one.run.name} {verdict}: outputs at most {apart:.2g} apart")
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=cpu_count())
    actions = parser.add_subparsers(dest="action", required=True)
    saying = actions.add_parser("status")
    saying.add_argument("--folder", type=Path, default=RESULTS)
    making = actions.add_parser("make")
    making.add_argument("group")
    making.add_argument("--folder", type=Path, default=RESULTS)
    replaying = actions.add_parser("replay")
    replaying.add_argument("--full", action="store_true")
    auditing = actions.add_parser("audit")
    auditing.add_argument("--sample", type=int)
    arguments = parser.parse_args()
    if arguments.action == "make":
        make(arguments.group, arguments.folder, arguments.jobs)
        return
    wanted, there = listed()
    failures = 0
    if arguments.action == "status":
        status(wanted, arguments.folder)
    elif arguments.action == "replay":
        failures = replay(wanted, there, arguments.full, arguments.jobs) + weights(wanted, there)
    else:
        failures = audit(wanted, there, arguments.sample, arguments.jobs)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
