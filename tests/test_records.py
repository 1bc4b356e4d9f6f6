"""The list of runs that pages show, and replay, which tells when a record does not hold any more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from serlib import corpora, inputs, models, provenance, results, runs
from serlib.corpora.corpus import Corpus
from serlib.features import text
from serlib.models import yoon2018
from serlib.tasks import CLASSES
from workflow import records

ENTRIES = [
    {"paper": "yoon2018", "systems": ["tre"], "folds": 2, "seeds": 1},
    {"paper": "yoon2018", "systems": ["tre"], "folds": [0], "seeds": 1, "weights": True},
]


@pytest.fixture
def kept(synthetic: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records of two short runs, one with its weights, as the list wants them."""
    (tmp_path / "runs.yml").write_text(yaml.safe_dump(ENTRIES))
    monkeypatch.setattr(records, "LIST", tmp_path / "runs.yml")
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(corpora, "load", lambda name, **_: synthetic)
    short = {name: replace(one, epochs=2) for name, one in yoon2018.SYSTEMS["tre"].settings.items()}
    monkeypatch.setitem(yoon2018.SYSTEMS, "tre", replace(yoon2018.SYSTEMS["tre"], settings=short))
    for one in {one.group for one in records.listed()[0]}:
        records.make(one, tmp_path / "results", jobs=1)
    return tmp_path / "results"


def replayed(capsys: pytest.CaptureFixture[str], full: bool = False) -> tuple[int, str]:
    wanted, there = records.listed()
    failures = records.replay(wanted, there, full, jobs=1)
    return failures, capsys.readouterr().out


def test_every_entry_of_the_list_names_what_there_is() -> None:
    """Planning it all needs the whole corpus; here, what an entry may say."""
    for entry in yaml.safe_load(records.LIST.read_text(encoding="utf-8")):
        assert entry.keys() <= {
            *("paper", "systems", "variants", "corpus", "protocol", "profile", "folds", "seeds", "weights"),
            "transcripts",
        }
        for system, variant in records._systems(entry):
            settings = runs.settings_of(models.systems(entry["paper"])[system], entry.get("profile", "quick"))
            assert runs.variant_of(entry["paper"], system, variant) is not None
            for several in ("folds", "seeds"):
                runs.choose(several, entry.get(several), getattr(settings, several))


def test_a_run_on_transcripts_that_come_with_the_records_is_listed(synthetic, tmp_path, monkeypatch) -> None:
    entry = {"paper": "yoon2018", "systems": ["tre", "tre-asr"], "folds": [0], "seeds": 1, "transcripts": "heard"}
    (tmp_path / "runs.yml").write_text(yaml.safe_dump([entry]))
    monkeypatch.setattr(records, "LIST", tmp_path / "runs.yml")
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(corpora, "load", lambda name, **_: synthetic)
    table = tmp_path / "transcripts" / "synthetic" / "heard.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("id\ttext\n" + "".join(f"{u.id}\twell\n" for u in synthetic))
    (tmp_path / "transcripts" / "synthetic" / "heard.wer.json").write_text("{}")
    wanted, _ = records.listed()
    groups = [one.group for one in wanted]
    assert [Path(one).name for one in groups] == ["tre", "tre-asr+on-heard"]
    assert [one.run for one in records.listed(groups[1])[0]] == [wanted[1].run]
    assert results.read(tmp_path) == []  # a table of transcripts is no record


def test_each_system_has_a_record_on_its_synthetic_corpus() -> None:
    systems = [(paper, name, one) for paper in models.PAPERS for name, one in models.systems(paper).items()]
    for paper, name, one in systems:
        corpus = "synthetic" if one.task is CLASSES else "conversations"
        group = results.group(corpus, paper, one.protocol, "quick", name, "")
        found = results.read(records.RESULTS / group.parent, system=name, variant="")
        assert found and all(record.synthetic and record.history for record in found), (paper, name)


def test_every_kept_record_is_sealed() -> None:
    """One without a digest would be believed whatever its history or settings say."""
    kept = list(results._files(records.RESULTS))
    bare = [path for path in kept for one in json.loads(path.read_text())["records"] if results.SEAL not in one]
    assert kept and not bare


def test_a_run_that_is_listed_twice_is_made_once_and_keeps_its_weights(kept: Path) -> None:
    wanted, _ = records.listed()
    assert [(one.run.fold, one.weights) for one in wanted] == [(0, True), (1, False)]
    assert not records.missing(wanted, kept)
    assert [path.name for path in kept.rglob("*.safetensors")] == ["fold0-seed0.safetensors"]
    assert len(list(kept.rglob("*.json"))) == 1, "both folds lie packed in one file"


@pytest.mark.parametrize("full", [False, True])
def test_replay_meets_records_to_the_last_digit(kept: Path, capsys: pytest.CaptureFixture[str], full: bool) -> None:
    failures, said = replayed(capsys, full)
    assert failures == 0
    count = 2 if full else 1  # of the group, whose turn it is
    assert re.search(rf"{count} runs started anew, [12] of them to the first look: {count} met to the last digit", said)


def _model(patch: pytest.MonkeyPatch) -> None:
    forward = yoon2018.Dense.forward
    patch.setattr(yoon2018.Dense, "forward", lambda self, x: 1.0001 * forward(self, x))


def _feature(patch: pytest.MonkeyPatch) -> None:
    tokenize = text.tokenize
    patch.setattr(inputs, "tokenize", lambda words: [token for token in tokenize(words) if token != ","])


def _input(patch: pytest.MonkeyPatch) -> None:
    build = text.Vocabulary.build.__func__
    fewer = classmethod(lambda cls, texts, min_count=1, keep=(): build(cls, texts, min_count + 1, keep))
    patch.setattr(text.Vocabulary, "build", fewer)


def _optimiser(patch: pytest.MonkeyPatch) -> None:
    adam = torch.optim.Adam
    patch.setattr(torch.optim, "Adam", lambda parameters, **how: adam(parameters, betas=(0.9, 0.998), **how))


@pytest.mark.parametrize("plant", [_model, _feature, _input, _optimiser])
def test_replay_sees_one_coefficient(
    kept: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    plant(monkeypatch)
    failures, said = replayed(capsys, True)
    assert failures == 2
    line = next(line for line in said.splitlines() if line.startswith("yoon2018 tre, fold 0, seed 0"))
    assert re.search(r"losses .*: expected \[\d\S*, .*\], found \[\d\S*, .*\]; allowed on this processor: 0\.0", line)


def test_another_processor_is_allowed_a_tolerance(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "arithmetic", lambda device="cpu": "another")
    forward = yoon2018.Dense.forward
    monkeypatch.setattr(yoon2018.Dense, "forward", lambda self, x: 1.0001 * forward(self, x))
    failures, said = replayed(capsys, True)
    assert failures == 0
    assert "2 within the tolerance of another processor, 0 failed" in said


def test_a_missing_record_fails_and_is_named(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in kept.rglob("*.json"):
        path.unlink()
    failures, said = replayed(capsys)
    assert failures == 2
    assert "missing, make records makes it: yoon2018 tre, fold 1, seed 0" in said


def test_audit_trains_anew_and_compares(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, there = records.listed()
    assert records.audit(wanted, there, sample=1, jobs=1) == 0
    assert "1 runs trained anew, 1 with every output as recorded, 0 failed" in capsys.readouterr().out


def test_kept_weights_reproduce_their_record(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted, there = records.listed()
    assert records.weights(wanted, there) == 0
    assert "weights of yoon2018 tre, fold 0, seed 0 reproduce the record" in capsys.readouterr().out


def test_status_names_what_other_code_made(
    kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "code", lambda paper: "other")
    records.status(records.listed()[0], kept)
    said = capsys.readouterr().out
    assert "made by other code, guarded by replay: synthetic/yoon2018/random-folds/quick/tre, 2 runs" in said
    assert "2 runs listed, 0 missing, 2 made by other code" in said
    assert len(results.read(kept)) == 2
