"""The systems of each paper, one module per paper.

`systems("yoon2018")` gives that paper's rows; the module is imported only then. Each
paper's own chapter teaches its module.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from serlib.models.system import System

PAPERS = ("yoon2018", "xu2019", "shen2020", "krishna2020")
"""Papers whose systems are here; each is the name of a module."""


def systems(paper: str) -> Mapping[str, System]:
    """Return the systems of a paper by name.

    Args:
        paper: key of the paper, for instance `yoon2018`.

    Raises:
        ValueError: if there is no such paper; the message lists those that there are.
    """
    if paper not in PAPERS:
        raise ValueError(
            f"no paper is called {paper!r}; expected one of {', '.join(PAPERS)}"
        )
    return import_module(f"serlib.models.{paper}").SYSTEMS
