"""Add up the reports of all pytest runs into one closing line: `12 passed, 0 failed, 1 skipped`.

    python workflow/summary.py FOLDER --exit-status N

A step that failed outside pytest (style, formatting, the book's build) counts as one failure.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def totals(folder: Path) -> tuple[int, int, int]:
    """Return how many tests passed, failed (errors included) and were skipped in the JUnit files of `folder`."""
    tests = failed = skipped = 0
    for path in sorted(folder.glob("*.xml")):
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):
            tests += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return tests - failed - skipped, failed, skipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exit-status", type=int, default=0)
    arguments = parser.parse_args()
    passed, failed, skipped = totals(arguments.folder)
    if arguments.exit_status and not failed:
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")


if __name__ == "__main__":
    main()
