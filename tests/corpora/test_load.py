from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from serlib import corpora


@pytest.fixture(autouse=True)
def no_environment(monkeypatch, tmp_path):
    for name in corpora.NAMES:
        monkeypatch.delenv(f"SERLIB_{name.upper()}", raising=False)
    monkeypatch.setenv("SERLIB_CACHE", str(tmp_path / "cache"))


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown corpus 'emodb'; expected one of iemocap, ravdess, sewa, "):
        corpora.load("emodb")


def test_root_then_environment_then_cache(iemocap_tree, empty_iemocap_tree, monkeypatch, tmp_path):
    cached = tmp_path / "cache" / "iemocap"
    cached.parent.mkdir()
    cached.symlink_to(iemocap_tree.root)
    assert corpora.load("iemocap", progress=False).root == cached
    monkeypatch.setenv("SERLIB_IEMOCAP", str(iemocap_tree.root))
    assert corpora.load("iemocap", progress=False).root == iemocap_tree.root
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        corpora.load("iemocap", tmp_path / "elsewhere")


def test_absent_folder_says_where_it_looked_and_how_to_get_the_corpus(monkeypatch, tmp_path):
    def message(name, root=None):
        with pytest.raises(FileNotFoundError) as caught:
            corpora.load(name, root)
        return str(caught.value)

    assert message("iemocap") == (
        f"no folder {tmp_path}/cache/iemocap (the default, since neither root nor SERLIB_IEMOCAP is set). "
        "IEMOCAP is free for research: ask for it at https://sail.usc.edu/iemocap/iemocap_release.htm; then pass its "
        "folder as root or set SERLIB_IEMOCAP to it"
    )
    assert message("ravdess", "/nowhere") == (
        "no folder /nowhere (given as root). RAVDESS is open: unpack Audio_Speech_Actors_01-24.zip from "
        "https://zenodo.org/records/1188976; then pass its folder as root or set SERLIB_RAVDESS to it"
    )
    monkeypatch.setenv("SERLIB_SYNTHETIC", "/nowhere")
    assert message("synthetic") == (
        "no folder /nowhere (from the environment variable SERLIB_SYNTHETIC). make it: python "
        "data_scripts/make_synthetic.py --utterances 5531 --out /nowhere; then pass its folder as root or set "
        "SERLIB_SYNTHETIC to it"
    )


def test_relative_folder_says_where_it_looked(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path}/data/IEMOCAP"):
        corpora.load("iemocap", "data/IEMOCAP")


def test_archive_in_place_of_a_folder(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"a\.zip is a file, expected the folder of iemocap; unpack it"):
        corpora.load("iemocap", tmp_path / "a.zip")


@pytest.mark.parametrize("form", ['"{}"', "'{}'", "{}\n", "{}/"])
def test_folder_as_people_copy_it(iemocap_tree, form):
    assert len(corpora.load("iemocap", form.format(iemocap_tree.root), progress=False)) == 5


def test_synthetic_tree_that_is_not_whole(iemocap_tree):
    with pytest.raises(FileNotFoundError) as caught:
        corpora.load("synthetic", iemocap_tree.root)
    assert str(caught.value) == (
        f"{iemocap_tree.root} holds no complete synthetic corpus (corpus.json, which is written last, is missing); "
        'it looks like IEMOCAP: give corpus="iemocap", or '
        "give the folder of one, or make one: python data_scripts/make_synthetic.py --utterances 5531 --out FOLDER"
    )
    (iemocap_tree.root / ".unfinished").mkdir()
    with pytest.raises(FileNotFoundError, match=f"finish it: .* --out {iemocap_tree.root}$"):
        corpora.load("synthetic", iemocap_tree.root)


def test_synthetic_speech_never_passes_for_iemocap(iemocap_tree):
    assert corpora.load("iemocap", iemocap_tree.root, progress=False).synthetic is False
    marker = {"name": "synthetic", "utterances": 5, "seed": 0}
    (iemocap_tree.root / "corpus.json").write_text(json.dumps(marker))
    assert corpora.load("synthetic", iemocap_tree.root, progress=False).name == "synthetic"
    assert corpora.load("iemocap", iemocap_tree.root, progress=False).name == "synthetic"


def test_synthetic_corpus_is_made_on_first_use(iemocap_tree, monkeypatch, tmp_path):
    calls = []

    def make(root, *, utterances, seed=0, jobs=None, progress=True):
        calls.append((root, utterances, seed))
        root.symlink_to(iemocap_tree.root)
        (root / "corpus.json").write_text(json.dumps({"name": "synthetic", "utterances": utterances, "seed": seed}))

    generator = ModuleType("data_scripts.make_synthetic")
    generator.make = make
    package = ModuleType("data_scripts")
    package.make_synthetic = generator
    monkeypatch.setitem(sys.modules, "data_scripts", package)
    monkeypatch.setitem(sys.modules, "data_scripts.make_synthetic", generator)
    for _ in range(2):
        assert len(corpora.load("synthetic", progress=False)) == 5
    assert calls == [(tmp_path / "cache" / "synthetic", 5531, 0)]
