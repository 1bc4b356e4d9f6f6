"""Measure what a paper leaves open: run its systems with every option that is not the default, beside the default.

    python workflow/options.py yoon2018 [--profile quick] [--folds 2] [--seeds 1]

The records go to `results/options/`, where the paper's chapter finds them; runs that are there are not made again.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from serlib import corpora, training

RESULTS = Path(__file__).resolve().parent.parent / "results" / "options"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--folds", type=int)
    parser.add_argument("--seeds", type=int)
    arguments = vars(parser.parse_args())
    paper = arguments.pop("paper")
    options = importlib.import_module(f"serlib.models.{paper}").OPTIONS
    corpus = corpora.load("synthetic")
    for system in dict.fromkeys(system for system, _ in options.values()):
        training.run(paper, system, corpus, results_dir=RESULTS / "default", **arguments)
    for name, (system, overrides) in options.items():
        folder = RESULTS / name.replace(" ", "-")
        training.run(paper, system, corpus, results_dir=folder, overrides=overrides, **arguments)


if __name__ == "__main__":
    main()
