"""What made a result: versions, hardware, commit, and a digest of the code.

Used for all five papers; taught in chapter `evaluation`.
"""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import serlib

ROOTS = ("serlib.inputs", "serlib.tasks", "serlib.training")
"""Modules that every run goes through, whatever its system."""


@cache
def code(paper: str) -> str:
    """Return a digest of the code that decides what a paper's systems learn.

    It is of the paper's module, of inputs, tasks and the training loop, and of whatever
    of serlib these import. Docstrings, comments and formatting do not count.

    Args:
        paper: key of the paper.

    Returns:
        16 hexadecimal digits.
    """
    return code_of(f"serlib.models.{paper}", *ROOTS)


@cache
def code_of(*modules: str) -> str:
    """Return a digest of some modules of serlib and of whatever of it they import.

    Args:
        modules: full names.

    Returns:
        16 hexadecimal digits.
    """
    found: dict[str, str] = {}
    wanted = [*modules]
    while wanted:
        name = wanted.pop()
        path = _source(name)
        if name in found or path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wanted += _imports(tree)
        found[name] = _dump(_without_docstrings(tree))
    text = "\n".join(f"{name} {found[name]}" for name in sorted(found))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _source(module: str) -> Path | None:
    """The file of a module of serlib; None for a name that is no module."""
    base = Path(serlib.__file__).parent.joinpath(*module.split(".")[1:])
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def _imports(tree: ast.AST) -> list[str]:
    """Modules of serlib that a module imports, within functions too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "serlib"
        ):
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names if a.name.startswith("serlib")]
    return names


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [one for one in body if not _is_text(one)] or [ast.Pass()]
    return tree


def _dump(node: ast.AST | list | object) -> str:
    """What `ast.dump` says, but the same from every version of Python: each adds fields
    that are empty in older code.
    """
    if isinstance(node, list):
        return f"[{', '.join(_dump(one) for one in node)}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    told = {name: getattr(node, name, None) for name in node._fields}
    there = (f"{k}={_dump(v)}" for k, v in told.items() if v is not None and v != [])
    return f"{type(node).__name__}({', '.join(there)})"


def _is_text(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result depends on.

    Nothing is imported for it; a library that is not installed is left out.
    """
    found = {"python": platform.python_version(), "serlib": serlib.__version__}
    for name in ("torch", "torchaudio", "numpy", "opensmile"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: str = "cpu") -> str:
    """Name what a run is computed on: the GPU, or the processor with the number of its
    cores.

    Args:
        device: `cpu`, `cuda` or `cuda:1`; another device is named by its type.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    if device != "cpu":
        return device
    model = platform.processor() or platform.machine()
    try:
        lines = (
            Path("/proc/cpuinfo")
            .read_text(encoding="utf-8", errors="replace")
            .splitlines()
        )
        model = next(
            line.partition(":")[2].strip()
            for line in lines
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores"


@cache
def arithmetic(device: str = "cpu") -> str:
    """Return a digest of how a device rounds: of the bits that a small net, its
    gradients, and a spectrum come to on fixed numbers.

    Where two digests are equal, a run repeats to the last digit, as far as this sees;
    where they differ, only within a tolerance.

    Args:
        device: `cpu`, `cuda` or `cuda:1`.

    Returns:
        16 hexadecimal digits.
    """
    import torch

    from serlib.determinism import reproducible

    digest = hashlib.blake2b(digest_size=8)
    with reproducible(0, device):
        x = torch.randn(8, 64, 40, device=device)
        for net in (torch.nn.LSTM(40, 32, batch_first=True), torch.nn.GRU(40, 32)):
            states, _ = net.to(device)(x)
            states.softmax(2).log().mean().backward()
            parts = [states, *(one.grad for one in net.parameters())]
            power = torch.fft.rfft(x, 512).abs().log()
            image = torch.nn.functional.conv1d(x, torch.randn(16, 64, 5, device=device))
            for part in (*parts, power, image):
                digest.update(part.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def commit(folder: Path | None = None) -> str | None:
    """Return the commit of the repository that serlib lies in, with `+` if serlib was
    changed since.

    Args:
        folder: of the package; by default serlib's own.

    Returns:
        a short hash; None if the package is not part of a repository (installed by
        pip), or there is no git.
    """
    folder = folder or Path(serlib.__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "--short", "HEAD") + (
            "+" if git("status", "--porcelain", "--", ".") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return None
