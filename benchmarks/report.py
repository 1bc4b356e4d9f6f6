"""What every benchmark writes of its findings: tables as Markdown and as JSON, with hardware and versions."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch
from tqdm import tqdm

from serlib import provenance
from serlib.files import write_json, write_text

BEFORE = round(os.getloadavg()[0], 1)
"""Load average when a benchmark began: 0 on a machine that does nothing else."""

Found, Way = TypeVar("Found"), TypeVar("Way")


def report(
    folder: Path, name: str, tables: Mapping[str, pd.DataFrame], hardware: str | Mapping[str, str], **facts: Any
) -> None:
    """Print tables, and write them as `name.json` and `name.md`.

    Args:
        folder: where to.
        name: of the files.
        tables: key in the JSON file to table; what was not measured is NaN.
        hardware: what was measured on, see `serlib.provenance.hardware`; one for each device, or the only one.
        facts: what else a reader needs to know; underscores in a name become spaces.
    """
    about = {
        "date": date.today().isoformat(),
        "hardware": hardware,
        "load average before": BEFORE,
        "load average at the end": round(os.getloadavg()[0], 1),
        "versions": provenance.versions(),
        **{key.replace("_", " "): value for key, value in facts.items()},
    }
    plain = {key: json.loads(table.to_json(orient="records")) for key, table in tables.items()}
    write_json(folder / f"{name}.json", about | plain)
    lines = []
    for table in tables.values():
        rows = [table.columns, ["---"] * table.shape[1], *table.map(readable).itertuples(index=False)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    text = "\n".join([*lines, *(f"- {key}: {value}" for key, value in about.items())]) + "\n"
    write_text(folder / f"{name}.md", text)
    print(text)


def readable(value: object) -> str:
    """Return a number with as many digits as it is good for, NaN as nothing, and anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return "" if value != value else f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def in_turns(ways: Mapping[Way, Callable[[], Found]], rounds: int, what: str) -> dict[Way, list[Found]]:
    """Give every way a turn, round after round, so that a slow minute of the machine is nobody's own.

    Args:
        ways: what to call, by name.
        rounds: how often each is called.
        what: is measured, for the progress bar.

    Returns:
        What each way returned, in the order of the rounds.
    """
    found: dict[Way, list[Found]] = {way: [] for way in ways}
    for way in tqdm([*ways] * rounds, what):
        found[way].append(ways[way]())
    return found


def apart(program: str, *arguments: object) -> dict[str, Any]:
    """Run `program --measure` with arguments in a process of its own; return the JSON object that it prints last, or
    `{"failed": the last line of its error}`.
    """
    command = [sys.executable, program, "--measure", json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def clock(device: str) -> float:
    """Seconds of this process on the processor, which other programs disturb little; on a GPU, of the wall, once the
    GPU is ready.
    """
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def peak(device: str) -> int:
    """The most memory that this process, or its share of a GPU, has held, in bytes."""
    if device == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return torch.cuda.max_memory_allocated()
