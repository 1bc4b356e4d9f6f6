"""Write the repository's address, which _config.yml alone holds, into the Colab cell of every chapter.

    python workflow/colab.py

In Colab the cell fetches the repository, with the records that chapters read, and installs the library; elsewhere it
does nothing. A chapter without one gets it after its first cell.
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
    folder = "/content/book"
    return (
        "import sys\n"
        "\n"
        'if "google.colab" in sys.modules:  # elsewhere the book is already there\n'
        f'    address = "{address()}"\n'
        f"    ![ -d {folder} ] || git clone --quiet --depth 1 $address {folder}\n"
        f'    %pip install --quiet "{folder}[synthetic]"\n'
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
