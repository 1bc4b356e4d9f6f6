"""The device to compute on, and everything random put under one seed.

Used by `serlib.training`; taught in no chapter.
"""

from __future__ import annotations

import getpass
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from serlib.files import cache_folder


def find_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:1` means.

    Raises:
        ValueError: for another name, or CUDA without a GPU.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"device is {name!r}; expected auto, cpu or cuda")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"device is {name!r}, but torch {torch.__version__} finds no GPU; take auto"
            " or cpu"
        )
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, NumPy and PyTorch, on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def single_thread() -> Iterator[None]:
    """Inside this block, or in a function that it decorates, PyTorch and NumPy compute
    with one thread: many small products only wait with more, and how many there are
    decides how sums are rounded.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def reproducible(
    seed: int, device: torch.device | str = "cpu", threads: int = 1
) -> Iterator[None]:
    """Inside this block everything random follows from `seed`; afterwards all is as
    before.

    Random states, `torch.use_deterministic_algorithms`, cuDNN's flags and the number of
    threads (which decides how sums are rounded) are put back at the end. Only the
    environment variable `CUBLAS_WORKSPACE_CONFIG` stays, which deterministic CUDA wants
    and reads once: it is set if it was not.

    Args:
        seed: of Python, NumPy and PyTorch.
        device: where will be computed.
        threads: of the CPU.

    Raises:
        FileNotFoundError: if there is neither a user's name nor a folder to cache in.
    """
    _name_torchs_cache()
    cuda = torch.device(device).type == "cuda"
    if cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    strict, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn, filling = (
        torch.backends.cudnn,
        torch.utils.deterministic.fill_uninitialized_memory,
    )
    flags = cudnn.deterministic, cudnn.benchmark
    before, python, numpy = (
        torch.get_num_threads(),
        random.getstate(),
        np.random.get_state(),
    )
    with torch.random.fork_rng(
        devices=range(torch.cuda.device_count()) if cuda else []
    ):
        try:
            seed_everything(seed)
            torch.use_deterministic_algorithms(True, warn_only=False)
            torch.utils.deterministic.fill_uninitialized_memory = False
            cudnn.deterministic, cudnn.benchmark = True, False
            torch.set_num_threads(threads)
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn)
            torch.utils.deterministic.fill_uninitialized_memory = filling
            cudnn.deterministic, cudnn.benchmark = flags
            torch.set_num_threads(before)
            random.setstate(python)
            np.random.set_state(numpy)


def _name_torchs_cache() -> None:
    """Name the folder for what torch compiles, which nothing here does: an optimiser
    wants it named, after the user, who in a container may have no name.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        folder = str(cache_folder() / "torch")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", folder)
