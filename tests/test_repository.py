"""The repository as a whole: chapters are executed and clean, addresses agree, the wheel is complete."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from workflow import colab, gpu, run_chapters, summary

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = ["corpus", "root", "profile", "device", "folds", "seeds", "results_dir"]
WITHOUT_MODULE = {"evaluation", "intro", "raw_audio", "real_speech", "your_recordings"}
"""Chapters that teach no single module."""

chapters = pytest.mark.parametrize("chapter", run_chapters.chapters(), ids=lambda chapter: chapter.stem)


def read(chapter: Path) -> NotebookNode:
    return nbformat.read(ROOT / chapter, as_version=4)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_contents_and_book_folder_agree() -> None:
    listed = {str(chapter) for chapter in run_chapters.chapters()}
    assert listed == {f"book/{path.name}" for path in (ROOT / "book").glob("[!.]*.ipynb")}


@chapters
def test_chapter_is_named_like_the_module_it_teaches(chapter: Path) -> None:
    modules = {path.stem for path in (ROOT / "serlib").rglob("*.py")} | {
        path.parent.name for path in (ROOT / "serlib").rglob("__init__.py")
    }
    assert chapter.stem in modules | WITHOUT_MODULE


@chapters
def test_chapter_has_the_seven_parameters(chapter: Path) -> None:
    (cell,) = tagged(read(chapter), "parameters")
    names = [ast.unparse(statement.targets[0]) for statement in ast.parse(cell.source).body]
    assert names[: len(PARAMETERS)] == PARAMETERS  # what only this chapter needs may follow


@chapters
def test_code_of_a_chapter_can_be_read(chapter: Path) -> None:
    """A page holds 88 columns and a screen 25 lines; a chapter of more than 250 lines is two."""
    cells = [cell.source.splitlines() for cell in code(read(chapter)) if "colab" not in cell.metadata.get("tags", [])]
    cells = [[line for line in cell if line.strip()] for cell in cells]
    lines = [line for cell in cells for line in cell]
    assert len(lines) <= 250
    assert max(len(cell) for cell in cells) <= 25
    assert max(len(line) for line in lines) <= 88


MYST = {
    "a directive": re.compile(r"^ *(`{3,}|~{3,}|:{3,}) *\{", re.MULTILINE),
    "a role": re.compile(r"\{[a-z][\w:+-]*\}`"),
    "a target": re.compile(r"^\([\w-]+\)=", re.MULTILINE),
    "a link without a text": re.compile(r"(?<!!)\[\s*\]\("),
    "a comment or a break": re.compile(r"^(%|\+\+\+)", re.MULTILINE),
    "a definition, substitution or autolink": re.compile(r"\{\{|^: +\S|<project:|<path:", re.MULTILINE),
}
"""What only MyST understands; in Colab, in Jupyter and on GitHub it is raw text."""


@chapters
@pytest.mark.parametrize("kind", MYST)
def test_prose_of_a_chapter_is_plain_markdown(chapter: Path, kind: str) -> None:
    prose = [cell for cell in read(chapter).cells if cell.cell_type == "markdown"]
    fences = re.compile(r"^```[a-z]*\n.*?^```$", re.MULTILINE | re.DOTALL)  # code: nothing in it is a directive
    found = [match[0] for cell in prose for match in MYST[kind].finditer(fences.sub("", cell.source))]
    assert not found, f"{kind} in {chapter}: {found}"


@chapters
def test_solutions_are_folded_and_end(chapter: Path) -> None:
    for cell in read(chapter).cells:
        if cell.cell_type == "markdown":
            opened = re.findall(r"^<details><summary>[^<\n]+</summary>\n\n", cell.source, re.MULTILINE)
            closed = re.findall(r"\n\n</details>$", cell.source, re.MULTILINE)
            assert len(opened) == cell.source.count("<details") == len(closed) == cell.source.count("</details")


@chapters
def test_colab_cell_installs_from_the_address_in_the_configuration(chapter: Path) -> None:
    (cell,) = tagged(read(chapter), colab.TAG)
    assert cell.source == colab.source()


def test_a_notebook_alone_fetches_the_book_once_and_one_beside_it_nothing(tmp_path: Path, monkeypatch) -> None:
    done: list[str] = []
    shell = SimpleNamespace(
        system=done.append, run_line_magic=lambda name, line: done.append(f"%{name} {line}"), var_expand=str
    )
    cell = TransformerManager().transform_cell(colab.source())
    repository, name = colab.address(), colab.address().rpartition("/")[2]

    def run_in(folder: Path) -> list[str]:
        done.clear()
        monkeypatch.chdir(folder)
        exec(cell, {"get_ipython": lambda: shell})
        return done

    rest = [f'%pip install --quiet "./{name}[synthetic]"', f"%cd -q {name}/book"]
    assert run_in(tmp_path) == [f"git clone --quiet --depth 1 $address {name}", *rest] and repository in cell
    (tmp_path / name / "book").mkdir(parents=True)
    assert run_in(tmp_path) == rest
    (tmp_path / name / "_toc.yml").touch()
    assert run_in(tmp_path / name / "book") == [] == run_in(tmp_path / name)


@chapters
def test_stored_outputs_come_from_one_clean_run(chapter: Path) -> None:
    counts = [cell.execution_count for cell in code(read(chapter)) if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1)), "run make refresh"


@chapters
def test_stored_outputs_hold_no_error_path_warning_or_progress_bar(chapter: Path) -> None:
    for cell in code(read(chapter)):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"
            for text in (output.get("text", ""), *output.get("data", {}).values()):
                shown = re.sub(r"data:[a-z]+/[a-z]+;base64,[\w+/=]+", "", str(text))
                assert not re.search(r"(?<![\w.])/(home|root|tmp|Users|work|content)/", shown), shown
                assert "Warning:" not in shown
                assert "\r" not in shown


@chapters
def test_chapter_can_be_shown_and_stored(chapter: Path) -> None:
    nbformat.validate(read(chapter))
    assert (ROOT / chapter).stat().st_size < 3_000_000


def test_address_outside_the_configuration_agrees_with_it() -> None:
    owner_and_name = colab.address().removeprefix("https://github.com/")
    for name in ("README.md", "CONTRIBUTING.md", "CITATION.cff"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found = re.findall(r"(?:github\.com|colab\.research\.google\.com/github)/([\w-]+/[\w-]+)", text)
        assert set(found) == {owner_and_name}, name


def test_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_requirements_are_all_pinned_and_hold_the_library_s() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.split(r" +[;#]", line)[0].split("==") for line in lines if line and not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    for requirement in wanted:
        name, version = re.fullmatch(r"([\w-]+)[=>]=([\d.]+)(?:,<[\d.]+)?", requirement).groups()
        numbers = [[int(part) for part in re.findall(r"\d+", text)] for text in (pins[name], version)]
        assert numbers[0] >= numbers[1], requirement


def test_wheel_holds_every_file_that_the_library_reads(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    built = subprocess.run([*command, str(_copy(tmp_path))], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    files = {str(path.relative_to(ROOT)) for name in ("serlib", "data_scripts") for path in (ROOT / name).rglob("*.*")}
    ours = {file for file in files if "__pycache__" not in file and "ruff" not in file}
    assert ours <= set(zipfile.ZipFile(wheel).namelist())


def _copy(folder: Path) -> Path:
    """Return a copy of what is packaged, so that building leaves nothing in the repository."""
    target = folder / "source"
    target.mkdir()
    for name in ("serlib", "data_scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def test_a_chapter_without_its_corpus_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"serlib": {"needs": "ravdess"}})
    monkeypatch.setenv("SERLIB_RAVDESS", str(tmp_path / "nowhere"))
    assert run_chapters.missing(notebook).startswith("needs the corpus ravdess, which is not in ")
    monkeypatch.setenv("SERLIB_RAVDESS", str(tmp_path))
    assert run_chapters.missing(notebook) is None


def test_tidy_keeps_outputs_and_drops_progress_bars() -> None:
    stream = nbformat.v4.new_output
    outputs = [
        stream("stream", name="stderr", text=" 0%|   | 0/2\r100%|###| 2/2"),
        stream("stream", name="stdout", text="UA 61.0\n"),
        stream("stream", name="stderr", text="a message\n"),
    ]
    cell = nbformat.v4.new_code_cell("run()", outputs=outputs, metadata={"papermill": {"duration": 1.0}, "tags": []})
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {}, "serlib": {"needs": "ravdess"}})
    tidied = run_chapters.tidy(notebook)
    assert [output.text for output in tidied.cells[0].outputs] == ["UA 61.0\n", "a message\n"]
    assert tidied.cells[0].metadata == {}
    assert set(tidied.metadata) == {"kernelspec", "language_info", "serlib"}


def test_two_chapters_at_the_same_time_and_the_first_that_fails_is_named(tmp_path: Path) -> None:
    def write(name: str, code: str) -> Path:
        cells = [nbformat.v4.new_code_cell(code)]
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": run_chapters.KERNEL}), tmp_path / name
        )
        return tmp_path / name

    good = [write(f"{name}.ipynb", f"print({name!r})") for name in ("one", "two")]
    assert sorted(run_chapters.execute_all(good, at_once=2)) == sorted(good)
    said = [nbformat.read(path, as_version=4).cells[0].outputs[0].text for path in good]
    assert said == ["one\n", "two\n"]
    with pytest.raises(SystemExit, match=r"(?s)of no use.*bad\.ipynb: the cell above failed"):
        list(run_chapters.execute_all([write("bad.ipynb", "raise ValueError('of no use')")], at_once=2))


def test_summary_adds_up_reports(tmp_path: Path) -> None:
    (tmp_path / "unit.xml").write_text(
        '<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1"/></testsuites>'
    )
    (tmp_path / "notebooks.xml").write_text('<testsuite tests="2" failures="0" errors="0" skipped="0"/>')
    assert summary.totals(tmp_path) == (4, 2, 1)


def test_a_gpu_machine_without_a_network_gets_all_that_its_packages_need() -> None:
    there = {*gpu.NEEDED.split(), *gpu.IMAGE.split()}
    for package in gpu.NEEDED.split():
        needs = importlib.metadata.requires(package) or []
        names = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in needs if "extra ==" not in one}
        assert names <= there, package


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("root", "passed"),
    [("/data/my own/r.csv", "/data/my own/r.csv"), ("my own/r.csv", f"{ROOT}/my own/r.csv"), ("~/r.csv", "~/r.csv")],
)
def test_a_corpus_is_found_from_here_whatever_its_path(root: str, passed: str) -> None:
    call = ["make", "--dry-run", "--no-print-directory", "reproduce", "CHAPTER=your_recordings", f"ROOT={root}"]
    said = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f'-p root "{passed}" -p profile paper' in said
