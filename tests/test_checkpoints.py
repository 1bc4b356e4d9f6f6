"""A training that is killed goes on as if nothing had happened; a checkpoint that cannot be used is not."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib import checkpoints, results
from serlib.checkpoints import Checkpoint

SCRIPT = """
import os, signal, sys
from pathlib import Path
from serlib import checkpoints, runs
from serlib.corpora.corpus import EMOTIONS, Corpus, Utterance

folder, kill_after = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(exist_ok=True)
words = dict(zip(EMOTIONS, ("furious", "lovely", "table", "lonely")))
made = []
for number in range(200):
    emotion, audio = EMOTIONS[number % 4], folder / f"{number}.wav"
    audio.write_bytes(bytes([number]))
    text = f"the {words[emotion] if number % 3 else 'plain'} {number % 7} and {number % 11}"
    speaker = f"Ses0{number % 5 + 1}F"
    made.append(Utterance(f"{speaker}_{number:03}", speaker, speaker[:5], "d", False, emotion, None, text, audio, 1.0))

saves, save = [], checkpoints.Checkpoint.save
def save_and_die(self, state):
    save(self, state)
    saves.append(state)
    if len(saves) == kill_after:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.Checkpoint.save = save_and_die
checkpoints.SECONDS = 0
more = {"epochs": 8, "batch_size": 16, "check_every": 0.5, "patience": 5, "decay": 0.01, "model": {"hidden": 8}}
corpus = Corpus("made-up", folder, made)
plan = runs.plan("yoon2018", "tre", corpus, folds=1, seeds=1, overrides=more, device="cpu")
runs.make(plan, corpus, results_dir=folder, progress=False, jobs=1)
print(len(saves))
"""
"""Train on a made-up corpus in the folder of the first argument; die after as many checkpoints as the second says."""


def train(folder: Path, kill_after: int = 0) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", SCRIPT, str(folder), str(kill_after)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> results.Record:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 6
    return results.read(folder, predictions=True)[0]


@pytest.mark.parametrize("deaths", [(1,), (4,), (2, 3)], ids=["in an epoch", "between epochs", "twice"])
def test_a_training_killed_in_the_middle_ends_with_the_same_record(undisturbed, tmp_path, deaths):
    for kill_after in deaths:
        killed = train(tmp_path, kill_after)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not list(tmp_path.rglob("*.json"))
    assert len(list(tmp_path.rglob("*.pt"))) == 1
    resumed = train(tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout) == len(undisturbed.history) - sum(deaths)  # it went on, it did not start anew
    (record,) = results.read(tmp_path, predictions=True)
    assert replace(record, wall_time=0.0) == replace(undisturbed, wall_time=0.0)
    assert np.array_equal(record.predictions.outputs, undisturbed.predictions.outputs)
    assert not list(tmp_path.rglob("*.pt"))


def test_only_a_whole_checkpoint_of_the_same_run_is_taken_up(tmp_path, caplog):
    path = tmp_path / "run.pt"
    assert Checkpoint(path, "a").load() is None
    Checkpoint(path, "a").save({"weights": torch.arange(3.0)})
    found = Checkpoint(path, "a")
    assert found.load()["weights"].tolist() == [0.0, 1.0, 2.0]
    assert found.earlier >= 0
    with caplog.at_level(logging.WARNING, logger="serlib"):
        assert Checkpoint(path, "b").load() is None
        path.write_bytes(path.read_bytes()[:-40])
        assert Checkpoint(path, "a").load() is None
        path.write_bytes(b"")
        assert Checkpoint(path, "a").load() is None
        for other in (torch.arange(2), Path("x")):  # whole, but not ours; and an object that only pickle can make
            torch.save({"key": "a", "seconds": 0.0, "weights": other}, path)
            assert Checkpoint(path, "a").load() is None
        torch.save({"key": "a", "seconds": 0.0, "weights": Path("x")}, path)
        path.write_bytes((content := path.read_bytes()) + checkpoints._seal(content))
        assert Checkpoint(path, "a").load() is None
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{path} belongs to another run; this one starts anew"
    assert all(message.startswith(f"{path} is damaged (") for message in said[1:])
    assert len(said) == 6
    Checkpoint(path, "a").remove()
    assert not path.exists()
