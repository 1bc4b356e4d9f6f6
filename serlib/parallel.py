"""Several processes for features and training: loky's, which start afresh and need no
guarded `__main__`.

They inherit no thread of torch, and work from a notebook. Used for all five papers.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

_WORKER = False
"""Whether this process is one of several that `run` started."""


def run(
    tasks: Iterable, jobs: int, *, ordered: bool = True, **options: Any
) -> Iterator:
    """Run tasks in processes and give their results as they come.

    A process whose memory has grown is replaced by a fresh one between two tasks;
    loky's warning of that is no news. The processes end when the one that started them
    is gone, killed for instance: what is started again in its place shall not meet them
    at work on the same files. One of them starts no processes of its own, but does the
    tasks itself: the cores are taken, and pools within pools wait for each other.

    Args:
        tasks: of `joblib.delayed`.
        jobs: number of processes.
        ordered: in the order of the tasks, or as they are ready.
        options: further arguments of `joblib.Parallel`.
    """
    from joblib import Parallel

    warnings.filterwarnings(
        "ignore", message="A worker stopped while some jobs were given to the executor"
    )
    order = "generator" if ordered else "generator_unordered"
    following = {"initializer": _follow, "initargs": (os.getpid(),)}
    jobs = 1 if _WORKER else jobs
    return Parallel(
        n_jobs=jobs, backend="loky", return_as=order, **following, **options
    )(tasks)


def _follow(parent: int) -> None:
    """End this process within a second after its parent, in whatever way that ended."""
    global _WORKER
    _WORKER = True

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
