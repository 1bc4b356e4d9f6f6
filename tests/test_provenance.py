"""What made a result: the digest of the code sees what it should and nothing else; versions, hardware, commit."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import serlib
from serlib import provenance


def digest_of(paper: str) -> str:
    """`provenance.code` as it is now, not as it was remembered."""
    return provenance.code_of.__wrapped__(f"serlib.models.{paper}", *provenance.ROOTS)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[str], str]], str]:
    """Change a module in a copy of the package, say what the digest of yoon2018 is then, and change it back."""
    folder = tmp_path / "serlib"
    shutil.copytree(Path(serlib.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(serlib, "__file__", str(folder / "__init__.py"))

    def digest(module: str, change: Callable[[str], str]) -> str:
        path = folder / module
        before = path.read_text(encoding="utf-8")
        after = change(before)
        assert after != before
        path.write_text(after, encoding="utf-8")
        try:
            return digest_of("yoon2018")
        finally:
            path.write_text(before, encoding="utf-8")

    return digest


def with_other_docstrings(text: str) -> str:
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value.value = "Another text."
    return ast.unparse(tree)  # without comments, and formatted otherwise


def test_words_about_the_code_do_not_count(copied) -> None:
    here = digest_of("yoon2018")
    assert len(here) == 16 and int(here, 16) >= 0
    for module in ("models/yoon2018.py", "training.py", "tasks.py", "inputs.py", "batching.py", "__init__.py"):
        assert copied(module, with_other_docstrings) == here
        assert copied(module, lambda text: text + "\n\n# a remark\n\n") == here
    assert copied("listen.py", lambda text: text + "\nRATE = 3\n") == here  # nothing that is trained imports it
    assert copied("models/xu2019.py", lambda text: text + "\nHEADS = 3\n") == here


@pytest.mark.parametrize(
    "module", ["models/yoon2018.py", "training.py", "tasks.py", "inputs.py", "batching.py", "features/framing.py"]
)
def test_a_changed_constant_counts_in_whatever_is_imported(copied, module: str) -> None:
    other = copied(module, lambda text: text + "\nANOTHER = 3\n")
    assert other != digest_of("yoon2018")
    assert other != copied(module, lambda text: text + "\nANOTHER = 4\n")


def test_each_paper_has_its_own() -> None:
    assert provenance.code("yoon2018") == digest_of("yoon2018") != provenance.code("xu2019")


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_is_that_of_the_packages_own_repository(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert provenance.commit(package) is None  # no repository at all
    git(tmp_path, "init", "-q")
    assert provenance.commit(package) is None  # installed into somebody else's repository
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert provenance.commit(package) == head
    (tmp_path / "notes.txt").write_text("not of the package")
    assert provenance.commit(package) == head
    (package / "__init__.py").write_text("changed = True")
    assert provenance.commit(package) == f"{head}+"


def test_commit_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None


def test_environment_facts_hold_no_path() -> None:
    facts = json.dumps([provenance.versions(), provenance.hardware(), provenance.hardware("mps")])
    assert {"python", "serlib", "torch", "torchaudio", "numpy", "opensmile"} <= set(provenance.versions())
    assert provenance.hardware().endswith(" cores") and provenance.hardware("mps") == "mps"
    assert str(Path.home()) not in facts


def test_arithmetic_is_the_same_whenever_it_is_asked_and_leaves_nothing_changed() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    first = provenance.arithmetic.__wrapped__("cpu")
    torch.set_num_threads(threads)
    torch.rand(3)
    assert first == provenance.arithmetic.__wrapped__("cpu") and len(first) == 16
    torch.set_rng_state(state)
    provenance.arithmetic.__wrapped__("cpu")
    assert torch.equal(torch.get_rng_state(), state)
