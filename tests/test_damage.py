"""Files that are damaged by chance: a flipped bit, a missing end, two parts exchanged, another digit. None is taken up
as if nothing had happened: it is named, or what is read is what was written."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib import corpora, results
from serlib.checkpoints import Checkpoint
from serlib.corpora import synthetic
from serlib.results import Predictions, Record

Draw = np.random.Generator


def flipped(whole: bytes, draw: Draw) -> bytes:
    at = draw.integers(len(whole))
    return whole[:at] + bytes([whole[at] ^ 1 << draw.integers(8)]) + whole[at + 1 :]


def cut(whole: bytes, draw: Draw) -> bytes:
    return whole[: draw.integers(len(whole))]


def exchanged(whole: bytes, draw: Draw) -> bytes:
    """Two neighbouring pieces of one length change their places."""
    size = int(draw.integers(1, max(2, min(100, len(whole) // 3))))
    at = draw.integers(len(whole) - 2 * size + 1)
    return whole[:at] + whole[at + size : at + 2 * size] + whole[at : at + size] + whole[at + 2 * size :]


def edited(whole: bytes, draw: Draw) -> bytes:
    """A digit becomes another one; in a file without any, a bit is flipped."""
    places = [at for at, byte in enumerate(whole) if chr(byte) in "0123456789"]
    if not places:
        return flipped(whole, draw)
    at = draw.choice(places)
    other = draw.choice([byte for byte in b"0123456789" if byte != whole[at]])
    return whole[:at] + bytes([other]) + whole[at + 1 :]


def damaged(path: Path, times: int, seed: int) -> Iterator[str]:
    """Damage a file again and again, each time in another way, and mend it at the end."""
    whole, draw = path.read_bytes(), np.random.default_rng(seed)
    for n in range(times):
        way = (flipped, cut, exchanged, edited)[n % 4]
        while (content := way(whole, draw)) == whole:
            pass
        path.write_bytes(content)
        yield way.__name__
    path.write_bytes(whole)


def taken_up(read: Callable[[], object]) -> bool:
    """Whether something is read that is not what was written; `read` says whether it is, or raises ValueError."""
    try:
        return not read()
    except (ValueError, OSError):
        return False


def test_no_damaged_checkpoint_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    Checkpoint(path, "a").save({"model": {"weight": torch.randn(50, 40)}, "step": 7, "random": torch.get_rng_state()})
    silent = Counter(way for way in damaged(path, 60, 0) if Checkpoint(path, "a").load() is not None)
    assert not silent
    assert Checkpoint(path, "a").load()["step"] == 7


@pytest.mark.parametrize(("name", "packed"), [("mdre.json", True), ("mdre.npz", True), ("fold1-seed0.json", False)])
def test_no_damaged_record_is_taken_up(tmp_path: Path, name: str, packed: bool) -> None:
    draw = np.random.default_rng(0)
    for fold in range(3):
        said = Predictions([f"{fold}-{n}" for n in range(40)], draw.integers(0, 4, 40), draw.normal(size=(40, 4)))
        measured = {name: float(one.value(said.statistics(one).sum(axis=0))) for name, one in MEASURES.items()}
        results.write(replace(RECORD, fold=fold, metrics=measured | {"loss": 1.25}, predictions=said), tmp_path)
    if packed:
        results.pack(tmp_path)
    written = results.read(tmp_path, predictions=True)

    def same() -> bool:
        found = results.read(tmp_path, predictions=True)
        said = zip(found, written, strict=True)
        return found == written and all(
            a.said.ids == b.said.ids
            and np.array_equal(a.said.outputs, b.said.outputs)
            and np.array_equal(a.said.targets, b.said.targets)
            for a, b in said
        )

    path = next(tmp_path.rglob(name))
    assert not Counter(way for way in damaged(path, 40, 1) if taken_up(same))
    assert same()


MEASURES = results.classification_measures(4)
KNOWN = {"paper": "yoon2018", "system": "mdre", "corpus": "synthetic", "protocol": "random-folds", "profile": "quick"}
RECORD = Record(**KNOWN, fold=0, seed=0, key="k", metrics={}, history=[{"step": 10, "dev_loss": 1.5}], steps=30)


@pytest.mark.parametrize("name", ["corpus.json", "cues.csv", "lexicon.csv", "ceilings.json"])
def test_nothing_that_only_the_generator_knows_is_read_damaged(synthetic_root: Path, tmp_path: Path, name: str) -> None:
    for one in (corpora.generated.MARKER, *GENERATED):
        shutil.copy(synthetic_root / one, tmp_path / one)
    whole = known(tmp_path)
    silent = Counter(way for way in damaged(tmp_path / name, 12, 2) if taken_up(lambda: known(tmp_path) == whole))
    assert not silent
    assert known(tmp_path) == whole


GENERATED = {"cues.csv": synthetic.read_cues, "lexicon.csv": synthetic.read_lexicon}
GENERATED |= {"ceilings.json": synthetic.read_ceilings}


def known(root: Path) -> list[object]:
    """What the generator says of its corpus."""
    about = synthetic.about(root)
    tables = [str(read(root).to_dict() if name.endswith("csv") else read(root)) for name, read in GENERATED.items()]
    return [{name: about[name] for name in ("utterances", "seed", "plan", "counts", "lexicon")}, *tables]


@pytest.mark.parametrize("kind", ["EmoEvaluation/*.txt", "transcriptions/*.txt", "*/*.wdseg", "*/*.phseg", "*/*.wav"])
def test_a_damaged_item_is_another_item_or_none(synthetic_root: Path, tmp_path: Path, kind: str) -> None:
    """Where a person's corpus has no digests: what is left out is said, and what is read otherwise is other data, so
    that no record of the whole corpus passes for one of it (`Corpus.content` is part of a run's key)."""
    session = tmp_path / "corpus" / "Session1"
    shutil.copytree(synthetic_root / "Session1", session)
    whole = corpora.load("iemocap", session.parent, progress=False)
    said = whole.skipped

    def told() -> bool:
        found = corpora.load("iemocap", session.parent, progress=False)
        return found.skipped != said or found.content != whole.content or found.utterances == whole.utterances

    path = sorted(session.rglob(kind))[0]
    assert not Counter(way for way in damaged(path, 12, 3) if taken_up(told))
