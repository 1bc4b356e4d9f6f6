"""The measurements that are no run of a system and that pages show: what is missing, making it, checking it.

    python workflow/studies.py status
    python workflow/studies.py make [NAME ...]
    python workflow/studies.py replay

A study is a table of rows; each job gives some of them, alone and in any order, so that what was killed goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from joblib import delayed

sys.path.insert(0, str(Path(__file__).resolve().parent))

import across_studies
import alignment_studies
import fresh_studies
import recognition_studies
import spaces
import speech_studies
import word_studies
from plan import Job, Row

from serlib import parallel, provenance, studies
from serlib.determinism import single_thread
from serlib.files import cache_folder, write_json
from serlib.studies import Study

RESULTS = spaces.ROOT / "results"
MODULES = (word_studies, alignment_studies, speech_studies, recognition_studies, across_studies, fresh_studies)
STUDIES = {name: plan for module in MODULES for name, plan in module.STUDIES.items()}


def missing() -> list[str]:
    """Return the studies that are not there."""
    return [name for name in STUDIES if not studies.path(RESULTS, name).is_file()]


def make(name: str, jobs: int) -> None:
    """Measure what a study lacks, and write it."""
    plan, start = STUDIES[name], time.monotonic()
    workshop = cache_folder() / "studies" / name
    wanted = plan.jobs()
    left = [job for job in wanted if not _kept_rows(workshop, job).is_file()]
    for done, _ in enumerate(_run([(name, job) for job in left], jobs), start=1):
        print(f"{name}: {done} of {len(left)}, {time.monotonic() - start:.0f} s", flush=True)
    kept = [json.loads(_kept_rows(workshop, job).read_text(encoding="utf-8")) for job in wanted]
    rows = [row for one in kept for row in one["rows"]]
    about = {
        "code": provenance.code_of(*plan.modules),
        "commit": provenance.commit(),
        "hardware": "; ".join(sorted({one["hardware"] for one in kept})),
        "arithmetic": provenance.arithmetic(),
        "versions": provenance.versions(),
    }
    studies.write(Study(name, rows, about), RESULTS)
    for job in wanted:
        _kept_rows(workshop, job).unlink()


def _kept_rows(workshop: Path, job: Job) -> Path:
    digest = hashlib.blake2b(json.dumps(job, sort_keys=True).encode(), digest_size=8).hexdigest()
    return workshop / f"{digest}.json"


def _run(work: Sequence[tuple[str, Job]], jobs: int) -> Iterator[None]:
    if jobs == 1:
        return (_measure(*one) for one in work)
    return parallel.run((delayed(_elsewhere)(*one) for one in work), jobs, ordered=False)


def _elsewhere(name: str, job: Job) -> None:
    """Measure in another process, by the module and not by a copy of its functions, which keep what they read."""
    import studies as here

    here._measure(name, job)


def _measure(name: str, job: Job) -> None:
    with single_thread():
        rows = [{**job, **row} for row in STUDIES[name].measure(job)]
    measured = {"rows": rows, "hardware": provenance.hardware()}
    write_json(_kept_rows(cache_folder() / "studies" / name, job), measured)


def replay() -> int:
    """Measure again what takes seconds, and compare; return how many rows differ."""
    failed = compared = 0
    start = time.monotonic()
    absent = missing()
    for name, plan in STUDIES.items():
        if name in absent:
            print(f"study {name} is missing, make records makes it")
            continue
        study = studies.read(name, RESULTS)
        same = study.about["arithmetic"] == provenance.arithmetic()
        for job in filter(plan.replayed, plan.jobs()):
            expected = [row for row in study.rows if all(row.get(key) == value for key, value in job.items())]
            with single_thread():
                found = [{**job, **row} for row in plan.measure(job)]
            compared += len(found)
            if not _equal(found, expected, 1e-9 if same else 0.02):
                failed += 1
                print(f"study {name}, {dict(job)}: expected {expected}, found {found}")
    print(f"studies: {compared} rows measured again, {failed} jobs differ; {time.monotonic() - start:.0f} s")
    return failed


def _equal(found: Sequence[Row], expected: Sequence[Row], tolerance: float) -> bool:
    """Whether rows are the same, numbers within a tolerance that is relative above 1."""
    if [row.keys() for row in found] != [row.keys() for row in expected]:
        return False
    return all(
        math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) if isinstance(a, float) and b is not None else a == b
        for row, other in zip(found, expected, strict=True)
        for a, b in zip(row.values(), other.values(), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["status", "make", "replay"])
    parser.add_argument("names", nargs="*", help="of studies; all that are missing when none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.action == "status":
        print(f"{len(STUDIES)} studies, missing: {', '.join(missing()) or 'none'}")
    elif options.action == "make":
        for name in options.names or missing():
            make(name, options.jobs)
    else:
        sys.exit(1 if replay() else 0)


if __name__ == "__main__":
    main()
