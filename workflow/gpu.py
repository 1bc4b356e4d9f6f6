"""What a machine with a GPU is good for, in a few minutes and without a network.

    python workflow/gpu.py --download FOLDER             with a network: the wheels that such a machine lacks
    python workflow/gpu.py --wheels FOLDER --minutes 8 --out OUT
    python workflow/gpu.py --device cpu --minutes 3 --out OUT       a rehearsal

It makes the corpora there, extracts features with torch beside openSMILE, runs the tests that want a GPU, measures
throughput and memory at the papers' sizes, makes one short training of every system on CPU and on the device, and
then the runs of the `paper` profile that `workflow/runs.yml` lists and `results/` lacks, in the order of the list,
until the time is up. What it leaves in OUT: `gpu.md` and `gpu.json`, tables for `benchmarks/`; `results.zip`, records;
`session.json` and `log.txt`. Started again with the same OUT it goes on: `results.zip` is unpacked first, and
finished steps are kept; one for which the time was too short starts anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import multiprocessing
import os
import queue
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NEEDED = (
    "soundfile cffi pycparser opensmile audinterface audobject asttokens audeer audformat audiofile audmath "
    "audresample oyaml iso639-lang iso3166 importlib-metadata lazy-importer zipp espeakng-loader jiwer rapidfuzz nltk "
    "gensim smart-open safetensors"
)
"""Packages that runs and tests import and that an image for training lacks, with all that they need."""

IMAGE = (
    "torch torchaudio numpy scipy pandas scikit-learn joblib filelock tqdm pytest packaging pyyaml pyarrow click regex "
    "wrapt defusedxml typing-extensions"
)
"""What such an image has."""

PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in (17, 24, 26, 27, 28, 31, 34, 35)] + ["manylinux2014_x86_64"]
"""What pip may take wheels of; it matches these names exactly."""

UPDATES, SHORT = 12, 40
"""Updates that a throughput is measured over, and that a short training makes, or an epoch where that is less."""

AT_ONCE = 8
"""Runs that share the GPU, each in a process of its own: a small net alone leaves most of it idle."""


def download(folder: Path) -> None:
    """Fetch the wheels of `NEEDED`, as pinned, for Linux and Python 3.12."""
    pins = dict(
        line.split("#")[0].split(";")[0].strip().split("==")
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line.split("#")[0].split(";")[0]
    )
    tags = [f"--platform={one}" for one in PLATFORMS]
    wanted = [f"{name}=={pins[name]}" for name in NEEDED.split() if name in pins]
    how = ["--no-deps", "--only-binary=:all:", "--python-version=3.12", "--implementation=cp", *tags]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *how, "-d", str(folder), *wanted], check=True)
    size = sum(path.stat().st_size for path in folder.glob("*.whl"))
    print(f"{len(wanted)} wheels in {folder}, {size / 2**20:.0f} MiB")


def install(folder: Path) -> None:
    """Install wheels into a folder of their own, and start this program again with them."""
    target = folder.resolve() / "site"
    if not target.is_dir():
        how = ["--no-index", "--no-deps", "--no-compile", "--target", str(target)]
        wheels = [str(path) for path in sorted(folder.glob("*.whl"))]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *how, *wheels], check=True)
    again = [one for n, one in enumerate(sys.argv) if one != "--wheels" and sys.argv[n - 1] != "--wheels"]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), str(ROOT)])
    os.execv(sys.executable, [sys.executable, *again])


class Session:
    """The time that is left, and what was found so far: written after every step, so that a kill loses one step."""

    def __init__(self, out: Path, minutes: float, device: str):
        self.out, self.device, self.total = out, device, 60 * minutes
        self.end = time.monotonic() + self.total
        self.whole = True  # whether the step at work has done, or will do, all that it is for
        self.path = out / "session.json"
        self.found = json.loads(self.path.read_text()) if self.path.is_file() else {}

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()

    @property
    def share(self) -> float:
        """Share of the time that is left."""
        return self.left / self.total

    def step(self, name: str, work: Callable[[Session], object], least: float = 0.0) -> None:
        """Do a step that was not done before, if at least this share of the time is left; if it fails, others go on."""
        if self.found.get(name, {}).get("whole"):
            return
        if self.share < least:
            self._note(name, {"left out": f"{self.left:.0f} s were left"})
            return
        start = time.monotonic()
        self.whole = True
        try:
            what = {"result": work(self)} | {"whole": self.whole}
        except Exception as error:  # said, kept, and the next step tried
            logging.exception("%s failed", name)
            what = {"failed": "".join(traceback.format_exception_only(error)).strip()}
        self._note(name, {"seconds": round(time.monotonic() - start, 1)} | what)

    def _note(self, name: str, what: dict) -> None:
        logging.info("%s: %s", name, json.dumps(what, default=str)[:400])
        self.found[name] = what
        from serlib.files import write_json
        from serlib.results import plain

        write_json(self.path, plain(self.found))


def machine(session: Session) -> dict:
    """What this machine is."""
    from serlib import provenance

    devices = dict.fromkeys(("cpu", session.device))
    return {
        "hardware": {name: provenance.hardware(name) for name in devices},
        "arithmetic": {name: provenance.arithmetic(name) for name in devices},
        "versions": provenance.versions(),
        "commit": provenance.commit(),
    }


def corpus(session: Session) -> dict:
    """Make the synthetic corpora with all cores."""
    from serlib import corpora

    found = {}
    for name in ("synthetic", "conversations"):
        made = corpora.load(name, progress=False)
        found[name] = {"items": len(made), "hours": sum(one.duration for one in made) / 3600}
    return found


def features(session: Session) -> list[dict]:
    """Extract with torch, sound already on the device, beside what the cache has from openSMILE or from the CPU."""
    import numpy as np
    import torch

    from serlib import corpora
    from serlib.features import FEATURES, extract, mfcc_batch, read_waveform, short_term_batch

    made = corpora.load("synthetic", progress=False).four_class()
    few = sorted(made.utterances, key=lambda one: one.duration)[:: 1 if session.device != "cpu" else 200]
    rows = []
    for name, batch, kind in (("mfcc", mfcc_batch, torch.float32), ("short_term", short_term_batch, torch.float64)):
        start = time.monotonic()
        table = extract(made, name, progress=False)
        reference, seconds, apart, heard = time.monotonic() - start, 0.0, 0.0, 0.0
        for begin in range(0, len(few), 64):
            part = few[begin : begin + 64]
            sounds = [torch.from_numpy(read_waveform(one.audio)).to(kind) for one in part]
            lengths = torch.tensor([len(one) for one in sounds])
            padded = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True).to(session.device)
            start = time.monotonic()
            values, counts = batch(padded, lengths.to(session.device))
            values, counts = values.cpu().numpy(), counts.tolist()
            seconds += time.monotonic() - start
            heard += sum(one.duration for one in part)
            for one, value, count in zip(part, values, counts, strict=True):
                apart = max(apart, float(np.abs(value[:count] - table[one.id]).max()))
        row = {"feature": name, "version": FEATURES[name].version, "times real time": heard / seconds}
        rows.append(row | {"largest difference": apart, "utterances": len(few), "cache seconds": reference})
    return rows


def tests(session: Session) -> dict:
    """Run the tests that want a GPU."""
    want = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "cuda.is_available" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, want), "-k", "gpu"]
    limit = max(30.0, session.left / 3)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"code": None, "said": [f"the tests took longer than {limit:.0f} s"]}
    return {"code": done.returncode, "said": done.stdout.strip().splitlines()[-3:]}


def systems() -> list[tuple[str, str]]:
    """Every system of every paper."""
    from serlib import models

    return [(paper, name) for paper in models.PAPERS for name in models.systems(paper)]


@cache
def source(paper: str):
    """What a paper's systems read: the items of a synthetic corpus that have a target of their task, and what was made
    of them."""
    from serlib import corpora, models
    from serlib.inputs import Source

    (task,) = {one.task for one in models.systems(paper).values()}
    made = corpora.load("synthetic" if task.name == "classes" else "conversations", progress=False)
    return Source(task.select(made))


def answers(model, data):
    """What a model tells: the class of each item, or the three numbers of each step of it."""
    import torch

    from serlib import training

    told = training.predict(model, data)
    return told.argmax(1) if torch.is_tensor(told) else told.steps()


def side_by_side(session: Session) -> list[dict]:
    """Train every system for a few updates on CPU and device: the same numbers, but for how each rounds, and for what
    dropout leaves out, which each draws in its own way."""
    jobs = {f"{paper} {name}": (paper, name, session.device) for paper, name in systems()}
    found = dict(shared_out(session, _both_ways, jobs, leave=0.3 * session.total))
    return [{"system": name} | found[name] for name in sorted(found)]


def _both_ways(paper: str, name: str, device: str) -> dict:
    from serlib import runs

    read = source(paper).corpus if name.endswith("-asr") else source(paper)  # that reads its own texts
    losses, told = [], []
    for one in ("cpu", device):
        how = {"folds": [0], "seeds": [0], "device": one, "overrides": {"max_steps": SHORT, "epochs": 1}}
        (run,) = runs.plan(paper, name, source(paper).corpus, **how)
        fold = runs.prepare(run, read)
        model, fitted = runs.train(fold, 0, progress=False)
        losses.append(fitted.history[-1]["dev_loss"])
        told.append(answers(model, fold.test))
    row = {"cpu loss": f"{losses[0]:.4f}", "device loss": f"{losses[1]:.4f}"}
    return row | {"answers that agree": float(((told[0] - told[1]).abs() < 0.01).float().mean())}


def throughput(session: Session) -> list[dict]:
    """Updates at the papers' sizes: items per second and peak memory."""
    import torch

    from serlib import runs, training
    from serlib.determinism import reproducible

    rows, on_gpu = [], session.device != "cpu"
    how = {"folds": [0], "seeds": [0], "profile": "paper", "device": session.device}
    how |= {} if on_gpu else {"overrides": {"batch_size": 4}}  # a rehearsal
    for paper, name in systems():
        if name.endswith("-asr"):
            continue
        if session.share < 0.25:
            session.whole = False
            break
        (run,) = runs.plan(paper, name, source(paper).corpus, **how)
        fold = runs.prepare(run, source(paper))
        loss, updates = fold.task.loss(run.settings.loss), UPDATES if on_gpu else 2
        with reproducible(0, session.device, os.cpu_count() if not on_gpu else 1):
            model = runs.build(fold, 0)
            if on_gpu:
                torch.cuda.reset_peak_memory_stats()
            start, begun = training._start(model, run.settings, 0, session.device), time.monotonic()
            made_updates = training._updates(model, fold.train, loss, run.settings, *start, training._Course())
            for number, value in enumerate(made_updates):
                if number == 1:  # the first one pays for what is set up once
                    value.item()
                    begun = time.monotonic()
                if number == updates:
                    value.item()
                    break
            seconds = time.monotonic() - begun
        row = {"system": f"{paper} {name}", "batch": run.settings.batch_size}
        batches = math.ceil(len(fold.train) / run.settings.batch_size)  # of which the last may be small
        row["items/s"] = (updates - 1) * len(fold.train) / batches / seconds
        rows.append(row | {"peak MiB": torch.cuda.max_memory_allocated() / 2**20 if on_gpu else None})
    return rows


def papers_own(session: Session) -> list[dict]:
    """Make listed runs of the `paper` profile that are no records yet, in the order of the list, until the time is up;
    those that are not ready then are left with their checkpoints.
    """
    from serlib import runs
    from workflow import records

    wanted, there = records.listed()
    wanted = [one for one in records.missing(wanted) if one.run.profile == "paper"]
    for name, made in there.items():
        runs._extract([one.run for one in wanted if one.run.corpus == name], made, progress=False)
    jobs = {one.run.name: (one, session.device, session.out / "results") for one in wanted}
    return [{"run": name} | row for name, row in shared_out(session, _make, jobs, leave=15)]


def _make(one, device: str, folder: Path) -> dict:
    from serlib import runs

    start, plan = time.monotonic(), [dataclasses.replace(one.run, device=device)]
    how = {"results_dir": folder, "jobs": 1, "progress": False, "weights": one.weights}
    runs.make(plan, listed_corpus(one.run.corpus), **how)
    return {"seconds": round(time.monotonic() - start)}


@cache
def listed_corpus(name: str):
    """A corpus as listed runs read it."""
    from workflow import records

    return records.load(name)


def shared_out(
    session: Session, work: Callable[..., dict], jobs: dict[str, tuple], leave: float
) -> Iterator[tuple[str, dict]]:
    """Have `AT_ONCE` processes do jobs; yield the name of each and what it gives, or the error that it failed with.

    When no more than `leave` seconds of the session are left the processes are killed: jobs at work, and those that
    nobody took, are then left undone, and the step is not whole.
    """
    fresh = multiprocessing.get_context("spawn")  # the GPU cannot be shared with a forked process
    waiting, finished = fresh.Queue(), fresh.Queue()
    waiting.cancel_join_thread()  # jobs that nobody took are left
    for job in [*jobs.items(), *[None] * AT_ONCE]:
        waiting.put(job)
    os.environ["OMP_NUM_THREADS"] = "1"
    children = [fresh.Process(target=_worker, args=(work, waiting, finished), daemon=True) for _ in range(AT_ONCE)]
    for child in children:
        child.start()
    undone = set(jobs)
    try:
        while undone and session.left > leave:
            alive = any(child.is_alive() for child in children)
            try:
                name, said = finished.get(timeout=0.5)
            except queue.Empty:
                if not alive:
                    break  # killed, for want of memory for instance
                continue
            logging.info("%s: %s, %.0f s left", name, said, session.left)
            undone.remove(name)
            yield name, said
    finally:
        for child in children:
            child.kill()
            child.join()
    if undone:
        session.whole = False
        logging.warning("not done: %s", ", ".join(sorted(undone)))


def _worker(work: Callable[..., dict], waiting, finished) -> None:
    """Do one job after the other, as long as there are any."""
    while (job := waiting.get()) is not None:
        name, arguments = job
        try:
            finished.put((name, work(*arguments)))
        except Exception as error:  # said, and the next one tried
            logging.exception("%s failed", name)
            finished.put((name, {"failed": repr(error)}))


def tables(session: Session) -> str:
    """Write what was measured as other benchmarks do."""
    import pandas as pd

    from benchmarks.report import report

    steps = ("features", "throughput", "side by side")
    found = {name: pd.DataFrame(rows) for name in steps if (rows := session.found.get(name, {}).get("result"))}
    hardware = session.found["machine"]["result"]["hardware"]
    input = f"throughput: {UPDATES - 1} updates of the paper profile after the first; side by side: {SHORT} of quick, "
    report(session.out, "gpu", found, hardware, input=input + "or one epoch where that is less")
    return f"{len(found)} tables"


def packed(out: Path) -> None:
    """Leave the records as one file."""
    from serlib import results

    folder = out / "results"
    if folder.is_dir():
        results.pack(folder)
        with zipfile.ZipFile(out / "results.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                if path.suffix in (".json", ".npz", ".safetensors") and path.stat().st_size < 8 * 2**20:
                    archive.write(path, path.relative_to(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--download", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    if arguments.download:
        download(arguments.download)
        return
    if arguments.out is None:
        parser.error("--out is needed: the folder to leave what was found in")
    if arguments.wheels:
        install(arguments.wheels)
    sys.path.insert(0, str(ROOT))
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    handlers = [logging.FileHandler(out / "log.txt"), logging.StreamHandler()]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", handlers=handlers)
    import benchmarks.report  # noqa: F401 it asks for the load when it is imported: before anything is done
    from serlib.determinism import find_device

    find_device(arguments.device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if (out / "results.zip").is_file() and not (out / "results").is_dir():
        with zipfile.ZipFile(out / "results.zip") as archive:
            archive.extractall(out / "results")
    session = Session(out, arguments.minutes, arguments.device)
    session.step("machine", machine)
    session.step("corpus", corpus)
    session.step("features", features, least=0.5)
    session.step("tests", tests, least=0.5)
    session.step("throughput", throughput, least=0.4)
    session.step("side by side", side_by_side, least=0.35)
    session.found.pop("tables", None)
    session.step("tables", tables)
    session.found.pop("papers' own runs", None)
    session.step("papers' own runs", papers_own, least=0.05)
    packed(out)
    print(f"look at {out}: gpu.md, gpu.json, results.zip, session.json, log.txt")


if __name__ == "__main__":
    main()
