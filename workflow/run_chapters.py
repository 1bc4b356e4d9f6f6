"""Run the chapters of the book: into a staging folder for `make book`, or in place to renew their stored outputs.

A chapter whose notebook metadata names a corpus in `serlib.needs` (say `ravdess`) runs only where that corpus is:
in the folder that `SERLIB_RAVDESS` names, or in the cache folder. Elsewhere it keeps its stored outputs.

    python workflow/run_chapters.py list                    the chapters that can run here; on stderr, why others cannot
    python workflow/run_chapters.py stage FOLDER            copy the book with its stored outputs
    python workflow/run_chapters.py stage FOLDER --execute  copy the book and execute what can run; --results R: with
                                                            the records in R in place of the book's own
    python workflow/run_chapters.py refresh [CHAPTER ...]   execute in place

Two chapters run at the same time, or as many as --at-once says.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill
import yaml
from joblib import cpu_count, delayed
from nbformat import NotebookNode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from serlib import parallel
from serlib.files import atomic, cache_folder

ROOT = Path(__file__).resolve().parent.parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
README_FIGURE = "readme-figure"
"""Tag of the cell whose picture the README shows."""
PROGRESS = re.compile(r"\r|\d%\||\[\d\d:\d\d")
"""What a progress bar of tqdm leaves on stderr: ` 50%|#####     | 1/2 [00:01<00:01]` or ` 3it [00:01, 2.9it/s]`."""


def chapters() -> list[Path]:
    """Return the notebooks of the table of contents, in order, relative to the repository."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [contents["root"]]
    for part in contents["parts"]:
        entries += [chapter["file"] for chapter in part["chapters"]]
    notebooks = [Path(f"{entry}.ipynb") for entry in entries]
    return [notebook for notebook in notebooks if (ROOT / notebook).is_file()]


def missing(notebook: NotebookNode) -> str | None:
    """Return why a chapter cannot run here, or None if it can."""
    corpus = notebook.metadata.get("serlib", {}).get("needs")
    if corpus is None:
        return None
    variable = f"SERLIB_{corpus.upper()}"
    folder = Path(os.environ.get(variable) or cache_folder() / corpus)
    if folder.is_dir():
        return None
    return f"needs the corpus {corpus}, which is not in {folder} (set {variable} to its folder)"


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without what one run alone knows: times, paths, versions, progress bars."""
    notebook.metadata = NotebookNode(
        kernelspec=KERNEL,
        language_info={"name": "python"},
        **{key: notebook.metadata[key] for key in ("serlib",) if key in notebook.metadata},
    )
    for cell in notebook.cells:
        for key in ("papermill", "execution", "ExecuteTime", "collapsed"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _progress_bar(output)]
    return notebook


def _progress_bar(output: NotebookNode) -> bool:
    if output.output_type != "stream" or output.name != "stderr":
        return False
    return not output.text.strip() or PROGRESS.search(output.text) is not None


def execute(source: Path, target: Path, parameters: dict[str, str] | None = None) -> None:
    """Execute a chapter and write it, tidied, to `target`.

    Raises:
        SystemExit: if a cell fails; the message names the chapter and what to do.
    """
    with atomic(target) as temporary:
        try:
            papermill.execute_notebook(
                source,
                temporary,
                parameters=parameters,
                cwd=source.parent,
                kernel_name="python3",
                coalesce_streams=True,
                progress_bar=False,
            )
        except papermill.PapermillExecutionError as error:
            raise SystemExit(
                f"{error}\n{source.name}: the cell above failed. Open the chapter in Jupyter, run it up to that cell, "
                "mend it, and run this step again."
            ) from None
        notebook = tidy(nbformat.read(temporary, as_version=4))
        nbformat.write(notebook, temporary)


def stage(folder: Path, run: bool, results: Path | None, at_once: int = 2) -> None:
    """Copy the book to `folder`, and execute there what can run, with the records in `results` or the book's own."""
    if folder.exists():
        shutil.rmtree(folder)
    try:
        shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns(".*"))
        shutil.copytree(ROOT / "results", folder / "results")  # which chapters read
        numbers_only = shutil.ignore_patterns("*.md", "*.py", "__pycache__")
        shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=numbers_only)
        for name in ("_config.yml", "_toc.yml"):
            shutil.copy(ROOT / name, folder / name)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise SystemExit(f"{folder}: cannot write a copy of the book: {why}; free some space or name another") from None
    if run:
        chosen = {} if results is None else {"results_dir": str(results.resolve())}
        for _ in execute_all([folder / chapter for chapter in runnable("keeps its stored outputs")], at_once, chosen):
            pass


def refresh(names: list[str], at_once: int = 2) -> None:
    """Execute chapters in place, all that can run or those named, and renew the README's figure."""
    chosen = [chapter for chapter in runnable("keeps its stored outputs") if not names or chapter.stem in names]
    for notebook in execute_all([ROOT / chapter for chapter in chosen], at_once):
        for cell in nbformat.read(notebook, as_version=4).cells:
            if README_FIGURE in cell.metadata.get("tags", []):
                _save_figure(cell, ROOT / "book" / "figures" / f"{notebook.stem}.png")


def runnable(consequence: str) -> list[Path]:
    """Return the chapters whose data is here; say on stderr which others there are, and the consequence."""
    found = []
    for chapter in chapters():
        reason = missing(nbformat.read(ROOT / chapter, as_version=4))
        if reason is None:
            found.append(chapter)
        else:
            print(f"{chapter} {reason}: it {consequence}", file=sys.stderr)
    return found


def execute_all(notebooks: list[Path], at_once: int, parameters: dict[str, str] | None = None) -> Iterator[Path]:
    """Execute chapters where they are, so many at the same time; yield each when it is done. The first that fails
    ends it."""
    for notebook, seconds in parallel.run(
        (delayed(_timed)(one, parameters) for one in notebooks), at_once, ordered=False
    ):
        print(f"{notebook.name}: {seconds:.0f} s", file=sys.stderr)
        yield notebook


def _timed(notebook: Path, parameters: dict[str, str] | None) -> tuple[Path, float]:
    start = time.monotonic()
    print(notebook.name, file=sys.stderr, flush=True)
    execute(notebook, notebook, parameters)
    return notebook, time.monotonic() - start


def _save_figure(cell: NotebookNode, path: Path) -> None:
    picture = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    with atomic(path) as temporary:
        temporary.write_bytes(base64.b64decode(picture))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list")
    staging = actions.add_parser("stage")
    staging.add_argument("folder", type=Path)
    staging.add_argument("--execute", action="store_true")
    staging.add_argument("--results", type=Path)
    refreshing = actions.add_parser("refresh")
    refreshing.add_argument("chapters", nargs="*")
    for action in (staging, refreshing):
        action.add_argument("--at-once", type=int, choices=range(1, 65), metavar="N", default=2)
    arguments = parser.parse_args()
    if arguments.action == "list":
        print(*runnable("is not run here"))
        return
    # The chapters' bars would end in their stored outputs.
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_count() // arguments.at_once)))  # of one chapter
    if arguments.action == "stage":
        stage(arguments.folder.resolve(), arguments.execute, arguments.results, arguments.at_once)
    else:
        refresh(arguments.chapters, arguments.at_once)


if __name__ == "__main__":
    main()
