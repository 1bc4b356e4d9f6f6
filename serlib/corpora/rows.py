"""Rows of a table that people made: text whose columns are parted by commas, semicolons
or tabs, or Parquet; each row with the place where it stands.

Used by `serlib.corpora.table`; taught in no chapter.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path

from serlib.corpora.corpus import Skip
from serlib.corpora.lines import read_lines

SUFFIXES = (".csv", ".tsv", ".parquet")
"""Of the files that a folder is looked through for, in either case."""

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}

NO_TABLES = {
    b"PK\3\4": "an archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
    b"\x1f\x8b": "a compressed file; unpack it",
    b"<": "a web page; download the table itself",
}
"""How files begin that are no tables though they may be called so, and what they are.
"""


def find(root: Path) -> Path:
    """Return the table: the file itself, or the only one in a folder.

    Raises:
        ValueError: if the folder holds none, or several.
    """
    if not root.is_dir():
        return root
    there = [p for p in sorted(root.iterdir()) if p.suffix.lower() in SUFFIXES]
    there = [path for path in there if path.is_file() and path.name[0] != "."]
    if len(there) != 1:
        found = ", ".join(path.name for path in there) or "none"
        raise ValueError(
            f"{root}: expected one table ({', '.join(SUFFIXES)}), found {found}; give"
            " the table itself as root"
        )
    return there[0]


def read_rows(
    table: Path, needed: Sequence[str]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Read a table.

    Args:
        table: the file. Text is in UTF-8, with or without a byte-order mark, or in
            Windows-1252; a row may hold line breaks in quotes; blank rows count for
            nothing.
        needed: columns by which the header is known, in small letters.

    Returns:
        the header, and of each row its place (file and line, or row of a Parquet file)
        and as many cells as the header has, all text.

    Raises:
        ValueError: if the file is no table, lacks a needed column, has no rows, or rows
            of another length than the header; the message names the line.
        OSError: if it cannot be read.
    """
    with table.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PAR1"):
        header, rows = _parquet(table)
    else:
        header, rows = _text(table, start, needed)
    names = [name.strip().lower() for name in header]
    if absent := [name for name in needed if name not in names]:
        raise ValueError(
            f"{table}: expected the columns {' and '.join(needed)}, found no"
            f" {' and no '.join(absent)} among {', '.join(header)}; rename yours"
        )
    if not rows:
        raise ValueError(f"{table}: expected rows, found a header alone")
    return header, rows


def _parquet(table: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Header and rows of a Parquet file, all as text."""
    import pandas as pd  # only here: most tables are text

    try:
        frame = pd.read_parquet(table)
    except ImportError as error:
        raise ValueError(
            f"{table}: Parquet needs pyarrow (pip install pyarrow); or save it as CSV"
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{table}: a damaged Parquet file ({error})") from error
    frame = frame.convert_dtypes().astype("string").fillna("")
    rows = enumerate(frame.itertuples(index=False, name=None), 1)
    return list(map(str, frame)), [(f"{table}, row {n}", [*row]) for n, row in rows]


def _text(
    table: Path, start: bytes, needed: Sequence[str]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Header and rows of a text file; a row may hold line breaks in quotes."""
    bare = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, what in NO_TABLES.items():
        if bare.startswith(mark):
            what = _archive(table) if what == "an archive" else what
            raise ValueError(f"{table}: expected CSV, TSV or Parquet, found {what}")
    lines = read_lines(table)
    first = next((n for n, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise ValueError(f"{table}: expected a table, found an empty file")
    split = {one: next(csv.reader([lines[first]], delimiter=one)) for one in SEPARATORS}
    fits = {
        one: len({name.strip().lower() for name in header} & set(needed))
        for one, header in split.items()
    }
    best = max(SEPARATORS, key=lambda one: (fits[one], len(split[one])))
    if not fits[best]:
        raise ValueError(
            f"{table}:{first + 1}: expected a header with the columns"
            f" {' and '.join(needed)}, separated by commas, semicolons or tabs; found"
            f" {lines[first][:80]!r}"
        )
    ends = (f"{line}\n" for line in lines)
    reader = csv.reader(ends, delimiter=best, strict=True)
    rows, faults, header = [], [], None
    while True:
        where = f"{table}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{where}: expected quotes that are closed, and doubled within a text;"
                f" {error}"
            ) from error
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = cells
            continue
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()  # a spreadsheet's empty columns
        if len(cells) != len(header):
            why = (
                f"expected {len(header)} cells separated by {SEPARATORS[best]}, found"
                f" {len(cells)}; put quotes around a text with {SEPARATORS[best]}"
            )
            faults.append(Skip(where, why))
        rows.append((where, cells))
    refuse(faults)
    return header, rows


def _archive(table: Path) -> str:
    """What a file is that begins like a zip file."""
    try:
        names = zipfile.ZipFile(table).namelist()
    except zipfile.BadZipFile:
        return "a damaged archive"
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook; save the sheet as CSV"
    if "content.xml" in names:
        return "a LibreOffice document; save the sheet as CSV"
    return f"a zip file of {len(names)} files; unpack it and give the table in it"


def refuse(faults: Sequence[Skip]) -> None:
    """Raise ValueError for what is wrong with a table, if anything is."""
    if faults:
        rest = len({fault.where for fault in faults}) - 1
        more = (
            f"; {rest} more row{'s are' if rest > 1 else ' is'} wrong" if rest else ""
        )
        raise ValueError(f"{faults[0].where}: {faults[0].why}{more}")
