"""Write the repository's address, which _config.yml alone holds, into the Colab cell of every chapter.

    python workflow/colab.py

Where the notebook lies alone, in Colab or in anybody's folder, the cell fetches the repository, with the records that
chapters read, and installs the library; beside the book it does nothing. A chapter without one gets it after its first
cell.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import yaml

from serlib.files import atomic

ROOT = Path(__file__).resolve().parent.parent
TAG = "colab"


def address() -> str:
    """Return the repository's address."""
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def source() -> str:
    """Return what the Colab cell says: fetch the book with its records, and install what is not good enough there."""
    folder = address().rpartition("/")[2]
    return (
        "from pathlib import Path\n"
        "\n"
        'if not any(Path(up, "_toc.yml").is_file() for up in (".", "..")):\n'
        "    # This notebook is alone, as in Colab: fetch the book, with its records.\n"
        f'    address = "{address()}"\n'
        f'    if not Path("{folder}").is_dir():\n'
        f"        !git clone --quiet --depth 1 $address {folder}\n"
        f'    %pip install --quiet "./{folder}[synthetic]"\n'
        f"    %cd -q {folder}/book"
    )


def main() -> None:
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = next((cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])), None)
        if cell is None:
            cell = nbformat.v4.new_code_cell(id=TAG, metadata={"tags": [TAG, "remove-cell"]})
            notebook.cells.insert(1, cell)
        if cell.source != source():
            cell.source = source()
            with atomic(path) as temporary:
                nbformat.write(notebook, temporary)


if __name__ == "__main__":
    main()
