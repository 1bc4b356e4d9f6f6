"""CONTRIBUTING.md followed as written, in a copy of the library: a paper of one small system and a corpus of a folder
are added, step by step, and then work as the others do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

SYSTEM = '''"""A mean of word vectors (Toy 2026); taught in chapter `toy2026`."""

import torch
from torch import Tensor, nn

from serlib.batching import Batch
from serlib.inputs import Words
from serlib.models.system import System, Variant
from serlib.settings import Settings, Sizes
from serlib.tasks import CLASSES


class Bag(nn.Module):
    """Mean word vector and a linear layer (equation 1)."""

    def __init__(self, sizes: Sizes, size: int = 16, bias: bool = True) -> None:
        super().__init__()
        self.words = nn.Embedding(sizes.vocabulary, size)
        self.output = nn.Linear(size, sizes.outputs, bias=bias)

    def forward(self, batch: Batch) -> Tensor:
        words = self.words(batch["tokens"])  # (batch, tokens, size)
        lengths = batch.lengths["tokens"].to(words.device)[:, None]
        spoken = torch.arange(words.shape[1], device=words.device) < lengths
        return self.output((words * spoken[:, :, None]).sum(dim=1) / lengths)


SMALL = Settings(epochs=20, max_steps=None, batch_size=8, learning_rate=0.05, folds=1, seeds=1)
PROFILES = {"quick": SMALL, "paper": SMALL}
BAG = System("bag", "mean of word vectors", {"tokens": Words()}, CLASSES, Bag, PROFILES, "random-folds")
SYSTEMS = {"bag": BAG}
VARIANTS = {"no bias": Variant("bag", {"model": {"bias": False}})}
'''

NUMBERS = """        Paper(
            key="toy2026", authors=("A. Toy",), year=2026, title="Words", venue="Journal", pages="1", doi="10.1234/1",
            arxiv=None, corpus="IEMOCAP", results=(Published("bag", "ua", 0.6, None, "Table 1", "BAG"),),
        ),
"""

READER = '''"""Reader of the toy corpus: sounds beside a list of them."""

from pathlib import Path

from serlib.corpora import wav
from serlib.corpora.corpus import Corpus, Skip, Utterance
from serlib.corpora.lines import read_lines


def read(root: str | Path, *, progress: bool = True) -> Corpus:
    """Read the tree."""
    utterances, skipped, path = [], [], Path(root) / "list.txt"
    for number, line in enumerate(read_lines(path), 1):
        name, speaker, emotion, text = line.split(maxsplit=3)
        try:
            audio = Path(root) / f"{name}.wav"
            item = name, speaker, speaker, name, False, emotion, None, text, audio, wav.duration(audio)
        except (OSError, ValueError) as error:
            skipped.append(Skip(f"{path.name}:{number}", f"{error}; left out"))
        else:
            utterances.append(Utterance(*item))
    return Corpus("toy", Path(root), utterances, skipped, classes=("bored", "curious"))
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the steps change, where nothing else sees it."""
    shutil.copytree(ROOT / "serlib", tmp_path / "serlib", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    for name in ("tests/test_papers.py", "tests/test_claims.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def add(path: Path, after: str, more: str, instead: str = r"\g<0>") -> None:
    """Change a file where a pattern is first found."""
    text, found = re.subn(after, lambda match: match.expand(instead) + more, path.read_text(encoding="utf-8"), count=1)
    assert found == 1, (path, after)
    path.write_text(text, encoding="utf-8")


def python(copy: Path, *arguments: str) -> str:
    known = {name: value for name, value in os.environ.items() if name != "SERLIB_TOY"}
    known |= {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=copy, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def section(name: str) -> str:
    return GUIDE.partition(f"## Add a {name}\n")[2].partition("\n## ")[0]


def test_the_guide_names_every_file_that_the_steps_below_change() -> None:
    paper = ("serlib/papers.py", "book/references.bib", "serlib/models/KEY.py", "`PAPERS`", "serlib/models/__init__.py")
    paper += ("`SYSTEMS`", "`VARIANTS`", "tests/test_papers.py", "workflow/runs.yml")
    paper += ("`CLAIMED`", "serlib/claims.py", "`UNTESTABLE_HERE`", "tests/test_claims.py")
    assert [name for name in paper if name not in section("paper")] == []
    corpus = ("serlib/corpora/NAME.py", "read(root, *, progress=True)", "`NAMES`", "`HOW_TO_GET`", "`load`")
    assert [name for name in (*corpus, "SERLIB_NAME") if name not in section("corpus")] == []


def test_a_paper_is_added(copy: Path, synthetic_root: Path) -> None:
    (copy / "serlib/models/toy2026.py").write_text(SYSTEM)
    add(copy / "serlib/models/__init__.py", r"(?m)^PAPERS = \((.*)\)$", "", r'PAPERS = (\1, "toy2026")')
    add(copy / "serlib/papers.py", r"results=_TZIRAKIS2021,\n        \),\n", NUMBERS)
    add(copy / "tests/test_papers.py", r"(?m)^SYSTEMS = \{\n", "")
    add(copy / "tests/test_papers.py", r'(?m)^    "tzirakis2021": \{.*\},\n', '    "toy2026": {"bag"},\n')
    add(copy / "serlib/claims.py", r"(?m)^CLAIMED = \{\n", '    "toy2026": {},\n')
    add(
        copy / "serlib/claims.py",
        r"(?m)^UNTESTABLE_HERE = \{\n",
        '    "toy2026": {"better than dice": "no dice"},\n',
    )
    said = python(
        copy,
        "-c",
        "import pytest, sys; from serlib import corpora, runs, tables\n"
        "tests = ['tests/test_papers.py', 'tests/test_claims.py', '-k', 'test_papers or papers_claim']\n"
        "assert pytest.main(['-q', '-p', 'no:cacheprovider', *tests]) == 0\n"
        "corpus = corpora.load('synthetic', sys.argv[1], progress=False).four_class()\n"
        "made = [runs.run('toy2026', 'bag', corpus, variant=name, jobs=1, progress=False, results_dir='out')[0]\n"
        "        for name in ('', 'no bias')]\n"
        "assert made[0].parameters - made[1].parameters == 4\n"
        "assert made[0].history[-1]['train_loss'] < made[0].history[0]['train_loss']\n"
        "print(tables.published(made[:1]).to_string())",
        str(synthetic_root),
    )
    assert "published (IEMOCAP)" in said and "60.0" in said


def test_a_corpus_is_added(copy: Path) -> None:
    place, root = copy / "serlib/corpora/__init__.py", copy / "toy"
    (copy / "serlib/corpora/toy.py").write_text(READER)
    add(place, r"(?m)^from serlib\.corpora import \w+", "", r"\g<0>, toy")
    add(place, r"(?m)^NAMES = \(", '"toy", ')
    add(place, r"(?m)^HOW_TO_GET = \{\n", '    "toy": "The toy corpus is in every toy shop",\n')
    branch = r'\1if name == "toy":\n        corpus = toy.read(root, progress=progress)\n    el\2'
    add(place, r'(el)?(if name == "ravdess":)', "", branch)
    root.mkdir()
    lines = [f"u{n:02} s{n % 4} {'bored' if n % 2 else 'curious'} word{n % 3} and word{n}" for n in range(40)]
    (root / "list.txt").write_text("\n".join(lines))
    for n in range(39):
        soundfile.write(root / f"u{n:02}.wav", np.random.default_rng(n).normal(0, 0.1, 8000), 16000)
    said = python(
        copy,
        "-c",
        "from serlib import corpora, runs\n"
        "try: corpora.load('toy', 'nowhere')\n"
        "except FileNotFoundError as error: print(error)\n"
        "corpus = corpora.load('toy', 'toy', progress=False)\n"
        "print(*corpus.skipped)\n"
        "how = {'folds': 1, 'overrides': {'epochs': 1}, 'jobs': 1, 'progress': False}\n"
        "(record,) = runs.run('yoon2018', 'tre', corpus, **how)\n"
        "print(len(corpus), record.corpus, record.outputs)",
    )
    missing, skipped, made = said.splitlines()
    assert missing.endswith("The toy corpus is in every toy shop; then pass its folder as root or set SERLIB_TOY to it")
    assert "list.txt:40" in skipped and "left out" in skipped
    assert made == "39 toy ('bored', 'curious')" or made == "39 toy ['bored', 'curious']"
