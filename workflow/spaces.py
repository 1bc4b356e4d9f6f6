"""The spaces of words that pages show: what is missing, making it, checking it.

    python workflow/spaces.py status
    python workflow/spaces.py make [--text brown] [--name skipgram] [--seed 0]
    python workflow/spaces.py replay

A space is an npz file of words and vectors (float16) and a JSON file beside it that says what made it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts import speak
from data_scripts.synthetic.voice import Synthesiser
from serlib import corpora, provenance
from serlib.checkpoints import Checkpoint
from serlib.embeddings import Space, beds, counts, phones, speech2vec, spoken, vectors, word2vec
from serlib.embeddings.spoken import SpokenText
from serlib.files import cache_folder, write_json

ROOT = Path(__file__).resolve().parent.parent
LIST, FOLDER = ROOT / "workflow" / "spaces.yml", ROOT / "results" / "spaces"

TOLERANCE = 1e-3
"""Difference of the first losses that a machine which rounds otherwise than the record's may show."""


@dataclass(frozen=True)
class Recipe:
    """How a space is made, and whether its vectors are committed; see `spaces.yml`."""

    text: str
    name: str
    method: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    kept: bool = False
    weights: bool = False

    @property
    def place(self) -> Path:
        return Path(self.text, f"{self.name}-seed{self.seed}")

    @property
    def facts(self) -> Path:
        """The JSON file that says what made the space."""
        return FOLDER / self.place.with_suffix(".json")

    @property
    def vectors(self) -> Path:
        """The npz file."""
        return (FOLDER if self.kept else cache_folder() / "spaces") / self.place.with_suffix(".npz")


def listed(**wanted: Any) -> list[Recipe]:
    """Return the recipes of the list, or those whose fields are as wanted."""
    found = []
    for entry in yaml.safe_load(LIST.read_text(encoding="utf-8")):
        kept, weights = entry.pop("kept", []), entry.pop("weights", False)
        for seed in entry.pop("seeds"):
            found.append(Recipe(**entry, seed=seed, kept=seed in kept, weights=weights))
    return [one for one in found if all(getattr(one, key) == value for key, value in wanted.items())]


@cache
def spoken_text(name: str) -> SpokenText:
    """Return a text as it was spoken.

    Raises:
        FileNotFoundError: if the Brown corpus was not spoken yet.
    """
    if name == "synthetic":
        return spoken.spoken_words(corpora.load("synthetic", progress=False))
    return spoken.read_spoken(cache_folder() / f"spoken-{name}")


@cache
def sentences(name: str) -> list[list[str]]:
    """Return the words of each sentence of a text."""
    if name == "synthetic":
        return spoken_text(name).texts()
    return [words for words, _ in map(speak.words_of, speak.read_sentences(name)) if words]


def recipe_of(text: str, name: str, seed: int = 0) -> Recipe:
    """Return one recipe of the list."""
    (recipe,) = listed(text=text, name=name, seed=seed)
    return recipe


def read(text: str, name: str, seed: int = 0) -> Space:
    """Return a space that was made."""
    return vectors.read_vectors(recipe_of(text, name, seed).vectors)


def trained(recipe: Recipe) -> speech2vec.Trained:
    """Return the encoder of a space: its kept weights, or as it was drawn if it was never trained.

    Raises:
        FileNotFoundError: if the weights are not there.
    """
    settings = speech2vec.Settings(**recipe.settings)
    if settings.objective == "random":
        return speech2vec.train(spoken_text(recipe.text), settings, recipe.seed, progress=False)
    return speech2vec.load(FOLDER / recipe.place.with_suffix(".safetensors"), settings, recipe.seed)


def make(recipe: Recipe) -> None:
    """Make a space and say what made it."""
    start = time.monotonic()
    space, more = _METHODS[recipe.method](recipe)
    facts = {
        "recipe": asdict(recipe),
        "words": len(space),
        **more,
        "seconds": round(time.monotonic() - start),
        "load": os.getloadavg()[0],
        "code": provenance.code_of(f"serlib.embeddings.{MODULES.get(recipe.method, recipe.method)}"),
        "commit": provenance.commit(),
        "hardware": provenance.hardware(),
        "arithmetic": provenance.arithmetic(),
        "versions": provenance.versions(),
    }
    vectors.write_vectors(recipe.vectors, space, half=True)
    write_json(recipe.facts, facts)
    print(f"{recipe.place}: {len(space)} words, {facts['seconds']} s", flush=True)


def _word2vec(recipe: Recipe) -> tuple[Space, dict]:
    settings = dict(recipe.settings)
    texts, half = sentences(recipe.text), settings.pop("half", None)
    if half is not None:
        texts = beds.split_halves(texts, seed=0)[half]
    return word2vec.train_word2vec(texts, settings.pop("dims"), seed=recipe.seed, **settings), {}


def _counts(recipe: Recipe) -> tuple[Space, dict]:
    return counts.svd_vectors(sentences(recipe.text), **recipe.settings), {}


def _phones(recipe: Recipe) -> tuple[Space, dict]:
    words = spoken_text(recipe.text).frequent(recipe.settings["min_count"]).vocabulary
    pronounced = {word: own for word, own in Synthesiser().pronounce(words).items() if own}
    return phones.phonetic_vectors(pronounced, recipe.settings["dims"]), {}


def _speech2vec(recipe: Recipe) -> tuple[Space, dict]:
    text, settings = spoken_text(recipe.text), speech2vec.Settings(**recipe.settings)
    key = repr((recipe.text, settings, recipe.seed))
    checkpoint = Checkpoint(cache_folder() / "spaces" / recipe.place.with_suffix(".checkpoint"), key)
    made = speech2vec.train(text, settings, recipe.seed, checkpoint=checkpoint, progress=sys.stderr.isatty())
    if recipe.weights:
        speech2vec.save(FOLDER / recipe.place.with_suffix(".safetensors"), made)
    space = speech2vec.vectors(made, text)
    checkpoint.remove()
    return space, {"history": made.history, "opening": made.opening}


def _centred(recipe: Recipe) -> tuple[Space, dict]:
    """The vectors of an encoder that was trained for another space, each segment less the mean of its voice."""
    base = recipe_of(recipe.text, recipe.settings["of"], recipe.seed)
    return speech2vec.vectors(trained(base), spoken_text(recipe.text), centred=True), {}


_METHODS = {"word2vec": _word2vec, "counts": _counts, "phones": _phones, "speech2vec": _speech2vec, "centred": _centred}
MODULES = {"centred": "speech2vec"}
"""Modules of serlib.embeddings that methods are in, where they are called otherwise."""


def missing(wanted: list[Recipe]) -> list[Recipe]:
    """Return what is not there: facts, or vectors that are to be kept."""
    return [one for one in wanted if not one.facts.is_file() or (one.kept and not one.vectors.is_file())]


def replay(wanted: list[Recipe]) -> Iterator[tuple[str, float, float]]:
    """Start again what the record of a Speech2Vec began with, and make anew what takes seconds.

    Args:
        wanted: recipes; of each name the first seed is enough to see a change of the code.

    Yields:
        name, how far the numbers are apart, and how far they may be; texts that are not here are left out.
    """
    for recipe in wanted:
        if recipe in missing([recipe]):
            print(f"space {recipe.place} is missing, make records makes it")
            continue
        facts = json.loads(recipe.facts.read_text(encoding="utf-8"))
        allowed = 0.0 if facts["arithmetic"] == provenance.arithmetic() else TOLERANCE
        try:
            if recipe.method == "speech2vec" and facts["opening"]:
                settings = speech2vec.Settings(**recipe.settings)
                began = speech2vec.train(
                    spoken_text(recipe.text), settings, recipe.seed, updates=speech2vec.OPENING, progress=False
                )
                pairs = zip(began.opening, facts["opening"], strict=True)
                yield str(recipe.place), max(abs(a - b) for a, b in pairs), allowed
            elif recipe.text == "synthetic" and recipe.kept:
                space, kept = _METHODS[recipe.method](recipe)[0], vectors.read_vectors(recipe.vectors)
                same = space.words == kept.words
                apart = np.abs(space.rows.astype(np.float16) - kept.rows.astype(np.float16)).max()
                yield str(recipe.place), float(apart) if same else float("inf"), allowed
        except FileNotFoundError:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["status", "make", "replay"])
    parser.add_argument("--text")
    parser.add_argument("--name")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--full", action="store_true", help="replay every seed, not the first alone")
    options = parser.parse_args()
    asked = {key: getattr(options, key) for key in ("text", "name", "seed") if getattr(options, key) is not None}
    wanted = listed(**asked)
    if options.action == "make":
        for recipe in missing(wanted):
            make(recipe)
    elif options.action == "status":
        for recipe in missing(wanted):
            print(f"missing: {recipe.place}")
        print(f"{len(wanted)} spaces listed, {len(missing(wanted))} missing")
    else:
        failed = compared = 0
        start = time.monotonic()
        for name, apart, allowed in replay([one for one in wanted if options.full or one.seed == 0]):
            compared += 1
            if not apart <= allowed:
                failed += 1
                print(f"{name}: numbers {apart:.3g} apart, allowed on this processor: {allowed}")
        print(f"spaces: {compared} made or started anew, {failed} failed; {time.monotonic() - start:.0f} s")
        sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
