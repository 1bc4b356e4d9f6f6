"""What many tests need: a small synthetic corpus, made once and shared by all workers of a parallel run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from serlib.corpora.corpus import Corpus

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers of a parallel run share the cores


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all workers of this run see."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared_folder: Path) -> Iterator[None]:
    """Keep features and corpora that tests make out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERLIB_CACHE", str(shared_folder / "cache"))
        yield


@pytest.fixture(scope="session")
def synthetic_root(shared_folder: Path) -> Path:
    """The folder of a synthetic corpus of 200 utterances; do not write into it."""
    from serlib.corpora.synthetic import make_if_absent

    root = shared_folder / "synthetic-200"
    make_if_absent(root, utterances=200, progress=False)
    return root


@pytest.fixture(scope="session")
def synthetic(synthetic_root: Path) -> Corpus:
    """The four classes of that corpus."""
    from serlib import corpora

    return corpora.load("synthetic", synthetic_root, progress=False).four_class()
