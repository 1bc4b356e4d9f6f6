"""What every system that tells classes owes, on real batches: finite logits, padding that changes nothing, gradients
that reach every parameter, eight utterances learnt by heart; and the same of every variant."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from serlib import models, runs
from serlib.batching import Batch, Dataset
from serlib.corpora.corpus import Corpus
from serlib.determinism import reproducible
from serlib.inputs import Source
from serlib.runs import Fold
from serlib.settings import Sizes
from serlib.tasks import CLASSES

PAPERS = [one for one in models.PAPERS if all(system.task is CLASSES for system in models.systems(one).values())]
"""Those that tell classes; test_tzirakis2021.py asks the same of curves."""

SYSTEMS = [(paper, name, "") for paper in PAPERS for name in models.systems(paper)]
VARIANTS = [(paper, one.system, name) for paper in PAPERS for name, one in models.variants(paper).items()]
TRAINED = [case for case in SYSTEMS if not case[1].endswith("-asr")]
"""Recognised text makes no other model."""

PADDING_COUNTS = {("krishna2020", "cma-raw", "padding counts")}
"""Here padding is sound and words, as in the paper; all utterances are padded to one length first."""

NO_GARBAGE = ("waveform", "phones", "pairs")
"""Inputs that have to be zero on their padding: samples are convolved across the end, and the others are places."""

WITHOUT_GRADIENT = {
    "krishna2020": ("key.bias",),  # adds the same to all scores of a query
    "yoon2018 one bias per layer": ("output.bias",),  # adds the same to all logits
}

CASES = [*SYSTEMS, *VARIANTS]
each_case = pytest.mark.parametrize(
    ("paper", "system", "variant"), CASES, ids=["-".join(filter(None, c)) for c in CASES]
)
each_system = pytest.mark.parametrize(("paper", "system"), [case[:2] for case in TRAINED])


@pytest.fixture(scope="module")
def prepared(synthetic: Corpus):
    """From a paper, a system and a variant to the first fold; what was read once is read once."""
    sources: dict[object, Source] = {}

    @cache
    def fold(paper: str, system: str, variant: str) -> Fold:
        (run,) = runs.plan(paper, system, synthetic, variant=variant, folds=1, seeds=1, device="cpu")
        text = run.settings.transcripts
        if text not in sources:
            corpus = runs.items_for(runs.find_system(paper, system), run.settings, synthetic)
            sources[text] = Source(corpus)
        return runs.prepare(run, sources[text])

    return fold


def built(fold: Fold, seed: int = 0) -> nn.Module:
    with reproducible(seed):
        return runs.build(fold, seed)


def trained_a_little(model: nn.Module) -> nn.Module:
    """Some noise on every parameter and running mean, the biases too, so that none of them can hide."""
    with reproducible(1), torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and "running_var" not in name:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model.eval()


def shortest_and_longest(data: Dataset) -> Dataset:
    """Eight utterances with as much padding among them as there may be."""
    order = data.lengths.argsort(stable=True).tolist()
    return data.select(data.ids[row] for row in order[:5] + order[-3:])


def whole(data: Dataset) -> Batch:
    return data.batch(torch.arange(len(data)))


def close(one: Tensor, other: Tensor, variant: str) -> None:
    tolerance = {"rtol": 0.05, "atol": 0.02} if variant == "bfloat16" else {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(one, other, **tolerance)


@each_case
def test_logits_are_finite_and_padding_changes_nothing(prepared, paper, system, variant):
    fold = prepared(paper, system, variant)
    model, data = trained_a_little(built(fold)), shortest_and_longest(fold.test)
    with torch.no_grad():
        together = model(whole(data))
        assert together.shape == (8, 4) and torch.isfinite(together).all()
        assert together.std(dim=0).max() > 1e-3  # one says what another does not
        alone = torch.cat([model(data.batch(torch.tensor([row]))) for row in range(len(data))])
        close(together, alone, variant)
        batch = whole(data)
        for name, lengths in batch.lengths.items():
            assert lengths.min() < lengths.max()
            for row, length in enumerate(lengths.tolist()):
                batch[name][row, length:] = batch[name][row, length:] if name in NO_GARBAGE else 2
        if (paper, system, variant) not in PADDING_COUNTS:
            close(model(batch), together, variant)


@each_case
def test_a_gradient_reaches_every_parameter(prepared, paper, system, variant):
    fold = prepared(paper, system, variant)
    model, batch = built(fold).train(), whole(shortest_and_longest(fold.train))
    with reproducible(0):
        functional.cross_entropy(model(batch), batch.targets).backward()
    without = WITHOUT_GRADIENT.get(paper, ()) + WITHOUT_GRADIENT.get(f"{paper} {variant}", ())
    for name, parameter in model.named_parameters():
        largest = parameter.grad.abs().max()
        assert largest < 1e-6 if name.endswith(without) else 1e-9 < largest < torch.inf, name


@each_system
def test_it_can_overfit_eight_utterances(prepared, paper, system):
    fold = prepared(paper, system, "")
    model, batch = built(fold).train(), whole(two_of_each_class(fold.train))
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    with reproducible(0):
        for _ in range(150):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(batch), batch.targets)
            if loss < 0.1:
                break
            loss.backward()
            optimiser.step()
    assert loss < 0.1


def two_of_each_class(data: Dataset) -> Dataset:
    """The shortest eight utterances, two of each class, that do not say the same."""
    chosen: dict[str, tuple] = {}
    for row in data.lengths.argsort(stable=True).tolist():
        batch = data.batch(torch.tensor([row]))
        said = tuple(batch["tokens"][0].tolist()) if "tokens" in batch.inputs else row
        target = int(batch.targets)
        if said not in {one for one, _ in chosen.values()} and [c for _, c in chosen.values()].count(target) < 2:
            chosen[data.ids[row]] = said, target
    assert len(chosen) == 8
    return data.select(chosen)


@pytest.mark.parametrize("profile", runs.PROFILES)
@each_system
def test_it_builds_from_either_profile_for_as_many_outputs_as_there_are(prepared, paper, system, profile):
    fold = prepared(paper, system, "")
    settings = runs.settings_of(fold.system, profile)
    sizes = replace(fold.sizes, vectors=None, outputs=7)
    batch = whole(fold.test.select(shortest_and_longest(fold.test).ids[:2]))
    with torch.no_grad():
        assert fold.system.build(sizes, **settings.model).eval()(batch).shape == (2, 7)


@pytest.mark.parametrize(("paper", "system"), [case[:2] for case in SYSTEMS if case not in TRAINED])
def test_a_system_on_recognised_text_is_the_other_with_other_texts(paper, system):
    heard, read = (runs.find_system(paper, name) for name in (system, system.removesuffix("-asr")))
    assert (heard.inputs, heard.build, heard.task, heard.protocol) == (
        read.inputs,
        read.build,
        read.task,
        read.protocol,
    )
    for profile in runs.PROFILES:
        assert heard.settings[profile].transcripts and not read.settings[profile].transcripts
        assert replace(heard.settings[profile], transcripts=None) == read.settings[profile]


@pytest.mark.parametrize(("paper", "system", "variant"), VARIANTS)
def test_a_variant_is_another_run_of_the_same_system(synthetic, paper, system, variant):
    (usual,), (other,) = (
        runs.plan(paper, system, synthetic, variant=name, folds=1, seeds=1, device="cpu") for name in ("", variant)
    )
    assert other.settings != usual.settings and other.key != usual.key
    assert other.split == usual.split and other.record().path != usual.record().path
    for profile in runs.PROFILES:  # an option that the model does not have would be refused here
        settings = runs.settings_of(runs.find_system(paper, system), profile, runs.variant_of(paper, system, variant))
        dims = {"mfcc": 39, "mfcc_15ms": 39, "short_term": 34, "prosody": 35}
        assert isinstance(runs.find_system(paper, system).build(Sizes(dims, 50), **settings.model), nn.Module)
