"""Corpora that a program in `data_scripts` makes: made on first use, known to the last
cue.

What `synthetic` and `conversations` share; taught in chapter `corpora`.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from serlib import files

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MARKER = "corpus.json"
"""Written last by a generator: a tree that has it is whole."""

UNFINISHED = ".unfinished"
"""Folder inside a corpus that is being made."""

DIGESTS = "digests"
"""What the marker says of itself and of the files that only the generator knows, name
to `digest`; corpora of earlier versions have none.
"""


def digest(content: bytes | Mapping[str, Any]) -> str:
    """Of a file's bytes, or of what a marker says beside its digests."""
    if isinstance(content, Mapping):
        told = {name: one for name, one in content.items() if name != DIGESTS}
        content = json.dumps(told, sort_keys=True).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check(path: Path, digests: Any, found: str) -> None:
    """Raise ValueError unless a file has the digest that the marker tells, if any."""
    told = digests if isinstance(digests, Mapping) else {}
    if told.get(path.name, found) != found:
        raise ValueError(f"it was changed since it was made ({MARKER} tells)")


@dataclass(frozen=True)
class Generator:
    """A program that makes a corpus.

    Attributes:
        corpus: what it makes, for instance `synthetic corpus`.
        program: its module in `data_scripts`; its function `make` makes the corpus.
        size: the options of the corpus in the cache folder; the first is how many items
            it has.
    """

    corpus: str
    program: str
    size: Mapping[str, Any]

    @property
    def command(self) -> str:
        """The command that makes a corpus."""
        return f"python data_scripts/{self.program}.py"

    @property
    def usage(self) -> str:
        """The command with its options; the folder is to follow."""
        return f"{self.command} {_options(self.size)} --out"

    def about(self, root: str | Path) -> dict[str, Any]:
        """Return what the generator says of its tree: its size, `seed`, `generator`
        (version), `counts` and so on.

        Raises:
            FileNotFoundError: if the tree is not whole.
            ValueError: if the file is damaged.
        """
        path = Path(root) / MARKER
        if not path.is_file():
            begun = (Path(root) / UNFINISHED).is_dir()
            other = f"give the folder of one, or make one: {self.usage} FOLDER"
            if (Path(root) / "Session1").is_dir():
                other = 'it looks like IEMOCAP: give corpus="iemocap", or ' + other
            raise FileNotFoundError(
                f"{root} holds no complete {self.corpus} ({MARKER}, which is written"
                " last, is missing); "
                + (f"finish it: {self.usage} {root}" if begun else other)
            )
        told = self.json(path, ("name", *self.size, "seed"))
        try:
            check(path, told.get(DIGESTS), digest(told))
        except ValueError as error:
            raise self.damaged(path, error) from error
        return told

    def make_if_absent(
        self, root: str | Path, seed: int = 0, progress: bool = True, **size: Any
    ) -> None:
        """Generate the corpus unless it is there; of several processes that ask at
        once, one does it.

        Args:
            root: the folder to generate into.
            seed: of the generator; the same seed gives the same bytes.
            progress: show a progress bar.
            size: options of the generator.

        Raises:
            RuntimeError: if the generator is not installed.
            ValueError: if `root` holds a corpus of another size, seed or version of the
                generator.
            OSError: if `root` cannot be written.
        """
        root = Path(root)
        if not (root / MARKER).is_file():
            with files.locked(root):
                if not (root / MARKER).is_file():
                    self._make(root, seed, progress, size)
        wanted = size | {"seed": seed} | self._version()
        found = {name: one for name, one in self.about(root).items() if name in wanted}
        if found != wanted:
            described = [
                ", ".join(f"{name} {value}" for name, value in one.items())
                for one in (wanted, found)
            ]
            raise ValueError(
                "{}: expected {}, found {}; remove the folder or name another".format(
                    root, *described
                )
            )

    def file(self, root: str | Path, name: str) -> Path:
        """Return the path of a file that only a generated corpus has.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is not the file that the generator wrote.
        """
        path = Path(root) / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: only a {self.corpus} has it; make one:"
                f" {self.command} --out FOLDER"
            )
        whole = (Path(root) / MARKER).is_file()
        digests = self.about(root).get(DIGESTS) if whole else None
        try:
            check(path, digests, digest(path.read_bytes()))
        except ValueError as error:
            raise self.damaged(path, error) from error
        return path

    def json(self, path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
        """Read a JSON file that has these keys.

        Raises:
            ValueError: if it is damaged.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(value, dict) or not set(keys) <= value.keys():
                raise ValueError(f"expected an object with {', '.join(keys)}")
        except (ValueError, RecursionError) as error:
            raise self.damaged(path, error) from error
        return value

    def scores(self, root: str | Path, keys: tuple[str, ...]) -> dict[str, Any]:
        """Read the best scores that anyone could reach (`ceilings.json`).

        Raises:
            FileNotFoundError: if the corpus has no such file.
            ValueError: if it is damaged, or a score is not between -1 and 1.
        """
        path = self.file(root, "ceilings.json")
        value = self.json(path, keys)
        for name, leaf in _leaves(value):
            if name in ("size", "recordings", "definition"):
                continue
            if not isinstance(leaf, float | int) or not -1 <= leaf <= 1:
                error = ValueError(f"expected {name} from -1 to 1, found {leaf!r}")
                raise self.damaged(path, error)
        return value

    def table(
        self,
        path: Path,
        columns: tuple[str, ...],
        rows: int | None = None,
        separator: str = ",",
    ) -> pd.DataFrame:
        """Read a table of strings with these columns.

        Args:
            path: of the file.
            columns: names of the header, in order.
            rows: how many there must be; None for any number but 0.
            separator: of fields.

        Raises:
            ValueError: if it is damaged.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.reader(file, delimiter=separator, strict=True))
            header, found = tuple(lines[0]) if lines else (), lines[1:]
            if header != columns:
                raise ValueError(
                    f"expected the columns {', '.join(columns)}, found"
                    f" {', '.join(header) or 'none'}"
                )
            for number, row in enumerate(found, 1):
                if len(row) != len(columns):
                    raise ValueError(
                        f"row {number} has {len(row)} fields, expected {len(columns)}"
                    )
            if len(found) != (rows or max(1, len(found))):
                raise ValueError(f"expected {rows or 'some'} rows, found {len(found)}")
        except (ValueError, csv.Error) as error:
            raise self.damaged(path, error) from error
        import pandas as pd  # only here: processes that extract features do without

        return pd.DataFrame(found, columns=list(columns), dtype=str)

    def cues(self, root: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
        """Read what the generator noted of each item (`cues.csv`): strings, indexed by
        `id`, the first column.

        Raises:
            FileNotFoundError: if the corpus has no such file or is not whole.
            ValueError: if it is damaged.
        """
        path = self.file(root, "cues.csv")
        cues = self.table(path, columns, self.about(root)[next(iter(self.size))])
        if (twice := cues.id[cues.id.duplicated()]).size:
            raise self.damaged(path, ValueError(f"two rows for {twice.iloc[0]}"))
        return cues.set_index("id")

    def damaged(self, path: Path, error: Exception) -> ValueError:
        """Return the error of a file that cannot be read, for the caller to raise."""
        return ValueError(
            f"{path} is damaged: {error}; make the corpus again: {self.command}"
        )

    def _version(self) -> dict[str, int]:
        """The version of the generator, if it is installed."""
        try:
            return {"generator": self._module().VERSION}
        except (ImportError, AttributeError):
            return {}

    def _make(
        self, root: Path, seed: int, progress: bool, size: Mapping[str, Any]
    ) -> None:
        try:
            make = self._module().make
        except ImportError as error:
            raise RuntimeError(
                f"cannot make the {self.corpus} in {root}: {error}; run this from a"
                f" clone of the project, or make the corpus there ({self.command}"
                f" {_options(size)} --out {root})"
            ) from error
        log.info("making a %s (%s) in %s", self.corpus, _options(size), root)
        make(root, seed=seed, jobs=None, progress=progress, **size)

    def _module(self) -> ModuleType:
        package = importlib.import_module("data_scripts")
        return importlib.import_module(f".{self.program}", package.__name__)


def _options(size: Mapping[str, Any]) -> str:
    return " ".join(f"--{name} {value}" for name, value in size.items())


def _leaves(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of whatever is no object in an object of objects."""
    for name, one in value.items():
        if isinstance(one, Mapping):
            yield from _leaves(one)
        else:
            yield name, one
