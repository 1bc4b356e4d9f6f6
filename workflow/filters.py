"""Train krishna2020's `cma-raw` at the paper's sizes and keep its first filters, as they began and as they ended.

    python workflow/filters.py [--fold 0] [--seed 0] [--device auto]

The record goes to `results/runs/`, the taps to `results/filters/cma-raw.csv`, where the chapter finds them. A training
that was interrupted goes on where it was; one that is complete is not made again.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from serlib import corpora, files, training
from serlib.models import krishna2020

RESULTS = Path(__file__).resolve().parent.parent / "results"
SYSTEM = "cma-raw"


def taps(model: nn.Module) -> np.ndarray:
    """Return the first convolution's weights, (filters, 3)."""
    return model.encoders["audio"].blocks[0].convolution.weight.detach().cpu().numpy()[:, 0].copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    system, built = krishna2020.SYSTEMS[SYSTEM], []

    def build(*args, **model) -> nn.Module:
        net = system.build(*args, **model)
        built.append((net, taps(net)))  # the training changes the net in place
        return net

    krishna2020.SYSTEMS[SYSTEM] = replace(system, build=build)
    corpus = corpora.load("synthetic")
    run = {"profile": "paper", "device": arguments.device, "jobs": 1}
    run |= {"folds": [arguments.fold], "seeds": [arguments.seed], "results_dir": RESULTS / "runs"}
    (record,) = training.run("krishna2020", SYSTEM, corpus, **run)
    print(f"UA {100 * record.metrics['ua']:.1f} %, {record.steps} updates, {record.wall_time / 60:.0f} minutes")
    if not built:
        parser.exit(1, f"{record.path} is complete: its taps are not made again; remove it to train anew\n")
    (net, fresh), places = built[-1], ["w0", "w1", "w2"]
    banks = {"fresh": pd.DataFrame(fresh, columns=places), "trained": pd.DataFrame(taps(net), columns=places)}
    text = pd.concat(banks, names=["when", "filter"]).to_csv(float_format="%.6g", lineterminator="\n")
    files.write_text(RESULTS / "filters" / f"{SYSTEM}.csv", text)


if __name__ == "__main__":
    main()
