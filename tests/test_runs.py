"""Runs: what is planned and under which key, what is kept, read again and made anew, and the model behind a record."""

from __future__ import annotations

import logging
import random
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from serlib import inputs, models, provenance, results, runs, training
from serlib.corpora.corpus import EMOTIONS, Corpus, Segment, Utterance
from serlib.features import FEATURES, UNK
from serlib.models.yoon2018 import SYSTEMS, VARIANTS
from serlib.protocols import PROTOCOLS
from serlib.results import Record
from serlib.settings import ADDED, Settings

WORDS = {"angry": "furious", "happy": "lovely", "neutral": "table", "sad": "lonely"}
TINY = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01, "frame_stride": 1, "model": {"hidden": 8}}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """160 utterances that say their emotion, spoken by ten speakers in five sessions."""
    folder, made = tmp_path / "corpus", []
    folder.mkdir()
    for number in range(160):
        speaker = f"Ses0{number % 5 + 1}{'FM'[number // 5 % 2]}"
        emotion = EMOTIONS[number % 4]
        audio = folder / f"{number}.wav"
        audio.write_bytes(bytes([number]))
        made.append(
            Utterance(
                id=f"{speaker}_impro{number // 40:02}_{number:03}",
                speaker=speaker,
                session=speaker[:5],
                dialogue=f"{speaker}_impro{number // 40:02}",
                scripted=False,
                emotion=emotion,
                dimensions=None,
                text=f"the {WORDS[emotion]} {number % 7}" if number % 10 else "",
                audio=audio,
                duration=1.0,
            )
        )
    return Corpus("made-up", folder, made)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Features at a glance: the mean of three dimensions says the emotion; returns the names asked for."""
    asked = []

    def extract(corpus: Corpus, name: str, *, cache=None, progress=True) -> dict[str, np.ndarray]:
        asked.append(name)
        table = {}
        for u in corpus:
            rng = np.random.default_rng(int(u.id[-3:]))
            shape = (int(rng.integers(3, 9)), 39) if name == "mfcc" else (35,)
            table[u.id] = rng.normal(EMOTIONS.index(u.emotion) - 1.5, 1.0, shape).astype("f4")
        return table

    monkeypatch.setattr(inputs, "extract", extract)
    monkeypatch.setattr(runs, "_LAST", {})
    return asked


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A seed for every training that was begun."""
    begun, fit = [], training.fit

    def noted(model, train, dev, loss_of, settings, seed, *more):
        begun.append(seed)
        return fit(model, train, dev, loss_of, settings, seed, *more)

    monkeypatch.setattr(training, "fit", noted)
    return begun


def plan(corpus: Corpus, system: str = "tre", **options) -> list[runs.Run]:
    options["overrides"] = {**TINY, **options.get("overrides", {})}
    return runs.plan("yoon2018", system, corpus, **{"device": "cpu", "folds": 2, "seeds": 1} | options)


def make(wanted: list[runs.Run], corpus: Corpus, **options) -> list[Record]:
    return runs.make(wanted, corpus, **{"jobs": 1, "progress": False} | options)


def same(one: Record, other: Record) -> bool:
    """Whether two records are equal, but for the time taken, and their predictions to the last bit."""
    equal = replace(one, wall_time=0.0) == replace(other, wall_time=0.0)
    return equal and np.array_equal(one.predictions.outputs, other.predictions.outputs)


# Which folds and seeds


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(2, [0, 1]), ("2", [0, 1]), (" 2 ", [0, 1]), ("[0, 2]", [0, 2]), ("[ 2,0 ]", [2, 0]), ([0, 2], [0, 2]),
     ((4,), [4]), (range(2), [0, 1]), (None, [0, 1, 2])],
)  # fmt: skip
def test_folds_and_seeds_as_a_cell_or_a_command_line_gives_them(asked, meant) -> None:
    assert runs.choose("folds", asked, 3) == meant
    assert runs.choose("folds", None, None) is None


@pytest.mark.parametrize(
    "asked",
    [2.0, "0,1", True, False, 0, -1, "0", "-1", [0, 0], [], "[]", [1.5], "[1.5]", [-1], [True], ["0"], "two", "", "02",
     "[0, 02]", "[0, 0]", "2.0", "٢", "1e1", "[[0]]", {0, 1}, {"a": 1}, np.arange(2), "range(2)", "[0, 2"],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("name", ["folds", "seeds"])
def test_anything_else_is_one_clear_error(name, asked) -> None:
    message = f"{name} is {asked!r}; expected a number, such as 2 for the first two, or a list of different ones"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}, such as"):
        runs.choose(name, asked, 3)
    with pytest.raises(ValueError, match=re.escape(message)):
        runs.options(**{"profile": "quick", "device": "cpu", "folds": 1, "seeds": 1, "results_dir": None, name: asked})


def test_folds_and_seeds_of_a_plan(corpus) -> None:
    usual = runs.plan("yoon2018", "tre", corpus, device="cpu")
    settings = SYSTEMS["tre"].settings["quick"]
    folds, seeds = range(settings.folds or 5), range(settings.seeds)
    assert [(run.fold, run.seed) for run in usual] == [(fold, seed) for fold in folds for seed in seeds]
    some = plan(corpus, folds="[3, 0]", seeds="2")
    assert [(run.fold, run.seed) for run in some] == [(3, 0), (3, 1), (0, 0), (0, 1)]
    with pytest.raises(
        ValueError, match=r"random-folds has folds 0 to 4 on this corpus; asked for 2 folds, of which 5 is not"
    ):
        plan(corpus, folds="[0, 5]")
    with pytest.raises(ValueError, match="has folds 0 to 4"):
        plan(corpus, folds=6)


def test_parameters_of_a_chapter(corpus, tmp_path) -> None:
    known = {"profile": "quick", "device": "cpu", "folds": "2", "seeds": None}
    assert runs.options(**known, results_dir=None)["results_dir"] is None
    ours = runs.options(**known, results_dir=str(tmp_path / "new"))
    assert ours["results_dir"] == tmp_path / "new" and not (tmp_path / "new").exists()
    assert known.items() <= ours.items()
    assert runs.options(**known, results_dir="~/x")["results_dir"] == Path.home() / "x"
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", "", " ", True):
        with pytest.raises(ValueError, match=r"results_dir is .*; expected a folder"):
            runs.options(**known, results_dir=folder)
        for call in (partial(make, plan(corpus)), partial(runs.trained, plan(corpus)[0])):
            with pytest.raises(ValueError, match=r"results_dir is .*; expected a folder"):
                call(corpus, results_dir=folder)
    with pytest.raises(OSError, match=r"results_dir is .*file/below, where nothing can be written \(Not a directory\)"):
        make(plan(corpus), corpus, results_dir=tmp_path / "file" / "below")
    for jobs in (0, -1):
        with pytest.raises(ValueError, match=f"jobs is {jobs}; expected 1 or more, or None for all cores"):
            make(plan(corpus), corpus, jobs=jobs)
    with pytest.raises(ValueError, match="profile is 'slow'; expected quick or paper"):
        runs.options(**known | {"profile": "slow"}, results_dir=None)
    with pytest.raises(ValueError, match="device is 'tpu'; expected auto, cpu or cuda"):
        runs.options(**known | {"device": "tpu"}, results_dir=None)
    assert runs.options(**known, results_dir=None)["transcripts"] is None
    assert runs.options(**known, results_dir=None, transcripts="asr")["transcripts"] == "asr"
    for transcripts in (5, "", True):
        with pytest.raises(ValueError, match=r"transcripts is .*; expected a name, as of transcripts/NAME\.tsv"):
            runs.options(**known, results_dir=None, transcripts=transcripts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "bert"}, "yoon2018 has no system 'bert'; expected one of are, tre"),
        ({"profile": "slow"}, "tre has no profile 'slow'; expected one of quick, paper"),
        ({"protocol": "none"}, "no protocol is called 'none'; expected one of random-folds"),
        ({"device": "tpu"}, "device is 'tpu'; expected auto, cpu or cuda"),
        ({"device": None}, "device is None; expected auto, cpu or cuda"),
        ({"seeds": [2**40]}, "seeds is .*; expected a number, .* at most 1,000 of them, none above 4,294,967,295"),
        ({"seeds": 2**40}, "seeds is 1099511627776; expected a number"),
        ({"overrides": {"hidden": 5}}, "no setting is called hidden; expected some of epochs, max_steps"),
        ({"variant": "hinge"}, "tre of yoon2018 has no variant 'hinge'; expected one of none"),
        ({"system": "mdre", "variant": "readout projected"}, "mdre of .* has no variant .*; expected one of loss sig"),
    ],
)
def test_unknown_names_are_told_the_known_ones(corpus, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        plan(corpus, **options)
    with pytest.raises(ValueError, match="no paper is called 'yoon'; expected one of yoon2018, xu2019"):
        runs.plan("yoon", "tre", corpus)


def test_a_corpus_without_the_four_classes_says_so(corpus) -> None:
    surprised = Corpus(corpus.name, corpus.root, [replace(u, emotion="surprised") for u in corpus])
    with pytest.raises(ValueError, match="none of 160 utterances is angry, happy, neutral, sad or excited"):
        plan(surprised)


# Variants


def test_every_variant_is_another_run_in_another_place(corpus) -> None:
    for name, variant in VARIANTS.items():
        (usual,) = runs.plan("yoon2018", variant.system, corpus, folds=1, seeds=1, device="cpu")
        (other,) = runs.plan("yoon2018", variant.system, corpus, folds=1, seeds=1, device="cpu", variant=name)
        assert (usual.variant, other.variant) == ("", name)
        assert usual.key != other.key and usual.record().path != other.record().path
        assert f"{variant.system}, {name}, fold 0" in other.name
        for field, value in variant.overrides.items():
            now, before = getattr(other.settings, field), getattr(usual.settings, field)
            assert now == ({**before, **value} if field == "model" else value)


def test_overrides_have_a_name_and_a_place_of_their_own(corpus, tmp_path) -> None:
    def one(**overrides) -> runs.Run:
        more = {"overrides": overrides} if overrides else {}
        return runs.plan("yoon2018", "tre", corpus, folds=1, seeds=1, device="cpu", **more)[0]

    several = [
        one(),
        one(epochs=2),
        one(epochs=3),
        one(model={"hidden": 8}),
        one(model={"hidden": 9}),
        one(vectors={"the": np.zeros(100, "f4")}),
        one(vectors={"the": np.ones(100, "f4")}),
        one(vectors={"the": np.ones(100, "f4")}, **{name: value for name, value in TINY.items() if name != "model"}),
        one(vectors={"the": np.zeros(100, "f4")}, **{name: value for name, value in TINY.items() if name != "model"}),
    ]
    assert several[1].variant == "epochs=2"
    assert len({run.record().path for run in several}) == len({run.key for run in several}) == len(several)
    for run in several:
        assert len(str(run.record().path.parent.name).encode()) < 230  # with an ending, a name that a disk takes
        results.write(run.record(), tmp_path)


# The key


def key(corpus: Corpus, **options) -> str:
    return plan(corpus, **{"folds": [1], "seeds": [0]} | options)[0].key


def test_what_the_result_depends_on_is_in_the_key(corpus, monkeypatch) -> None:
    def changed(**changes) -> Corpus:
        first, *rest = corpus.utterances
        return replace(corpus, utterances=[replace(first, **changes), *rest])

    vectors = {"the": np.zeros(100, "f4")}
    (sound := corpus.root / "another.wav").write_bytes(b"another")
    keys = [
        key(corpus),
        *(key(changed(**one)) for one in ({"text": "oh"}, {"emotion": "sad"}, {"audio": sound}, {"duration": 2.0})),
        key(changed(words=(Segment("oh", 0, 0.5),))),
        key(corpus.select(u.id for u in corpus.utterances[1:])),
        key(replace(corpus, classes=EMOTIONS[::-1])),
        key(corpus, folds=[0]),
        key(corpus, seeds=[1]),
        key(corpus, protocol="leave-one-session-out"),
        key(corpus, system="are"),
        key(corpus, overrides={"model": {"hidden": 9}}),
        key(corpus, overrides={"learning_rate": 0.02}),
        key(corpus, overrides={"vocabulary": "corpus"}),
        key(corpus, overrides={"vectors": vectors}),
        key(corpus, overrides={"vectors": {"the": np.ones(100, "f4")}}),
        key(corpus, overrides={"vectors": "word2vec"}),
    ]
    before = key(corpus, system="mdre")
    monkeypatch.setitem(FEATURES, "mfcc", replace(FEATURES["mfcc"], version=FEATURES["mfcc"].version + 1))
    keys += [before, key(corpus, system="mdre")]
    assert len(set(keys)) == len(keys)
    assert key(corpus) == keys[0]  # which hears nothing
    assert key(corpus, overrides={"vectors": vectors | {"never": np.ones(100, "f4")}}) == keys[-5]  # in no text


def test_what_it_does_not_depend_on_is_not(corpus, tmp_path, monkeypatch) -> None:
    one = plan(corpus, folds=[1], seeds=[0], profile="quick")[0]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    several = [
        plan(corpus, folds=3, seeds=4)[4],
        plan(corpus, folds=[1], overrides={"folds": 3, "seeds": 7})[0],
        plan(corpus, folds=[1], device="cuda")[0],
        plan(corpus, folds=[1], overrides={"model": dict(reversed(TINY["model"].items()))})[0],
    ]
    copy = shutil.copytree(corpus.root, tmp_path / "elsewhere")
    moved = [replace(u, audio=copy / u.audio.name) for u in corpus]
    several += plan(Corpus("renamed", copy, moved), folds=[1])
    assert {(run.fold, run.seed, run.key) for run in several} == {(1, 0, one.key)}
    labelled = [*moved, replace(moved[0], id="more", emotion="bored")]
    assert plan(Corpus("made-up", copy, labelled), folds=[1])[0].key == one.key  # no target, no part of it


# Making


def test_a_run_learns_what_there_is_to_learn(corpus, made_up) -> None:
    text = make(plan(corpus, "tre"), corpus)
    audio = make(plan(corpus, "are", overrides={"epochs": 12}), corpus)
    assert [(record.fold, record.seed) for record in text] == [(0, 0), (1, 0)]
    for record in text:
        split = PROTOCOLS["random-folds"](corpus)[record.fold]
        words = [word for id in split.train for word in corpus[id].text.split()]
        tokens = 2 + len({word for word in words if words.count(word) > 1})
        assert record.metrics["ua"] > 0.6  # one utterance in ten says nothing
        assert record.sizes == {"train": 128, "dev": len(split.dev), "test": 24}
        assert record.parameters == 3 * (8 * 100 + 8 * 8 + 16) + 8 * 4 + 4 + 100 * tokens
        assert np.sum(record.confusion) == record.sizes["test"] == len(record.predictions.ids)
        assert record.predictions.ids == split.test
        assert record.predictions.targets.tolist() == [EMOTIONS.index(corpus[id].emotion) for id in split.test]
        assert (record.task, tuple(record.outputs), record.synthetic) == ("classes", EMOTIONS, False)
        assert (record.settings["model"]["hidden"], record.settings["model"]["embedding"]) == (8, 100)
        assert record.best_step <= record.steps and 0 < len(record.opening) <= record.steps
        assert record.code == provenance.code("yoon2018") and record.device == "cpu"
    assert set(made_up) == {"mfcc", "prosody"}
    assert all(record.metrics["ua"] > 0.5 for record in audio)


def test_classes_are_those_of_the_corpus(corpus, made_up) -> None:
    two = [replace(u, emotion="calm" if u.emotion in ("neutral", "sad") else "excited") for u in corpus]
    other = Corpus("table", corpus.root, two, classes=("excited", "calm", "never"))
    record = make(plan(other, folds=1), other)[0]
    assert tuple(record.outputs) == other.classes and record.predictions.outputs.shape == (24, 3)
    assert record.confusion.shape == (3, 3) and record.metrics["ua"] > 0.6
    assert record.predictions.targets.tolist() == [
        other.classes.index(other[i].emotion) for i in record.predictions.ids
    ]


def state() -> list:
    return [
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.random.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.get_num_threads(),
    ]


def test_the_same_seed_gives_the_same_numbers_and_nothing_is_left_changed(corpus, made_up) -> None:
    before = state()
    first = make(plan(corpus, "mdrea", folds=1, seeds=2), corpus)
    assert state() == before
    random.random(), np.random.random(), torch.rand(3)  # other states to start from
    before = state()
    second = make(plan(corpus, "mdrea", folds=1, seeds=[1]), corpus)
    assert state() == before
    assert same(first[1], second[0])
    assert first[1].key == second[0].key != first[0].key
    assert not np.array_equal(first[0].predictions.outputs, first[1].predictions.outputs)


def test_runs_side_by_side_give_the_same_records(corpus, tmp_path) -> None:
    wanted = plan(corpus, folds=2, seeds=2, overrides={"epochs": 2})
    one = make(wanted, corpus)
    two = make(wanted, corpus, jobs=2, results_dir=tmp_path / "results")
    assert [(record.fold, record.seed) for record in two] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert len(results.read(tmp_path / "results")) == 4


def test_a_system_that_was_added_or_replaced_is_known_side_by_side(corpus, monkeypatch) -> None:
    usual = SYSTEMS["tre"]

    def smaller(sizes, **options):
        return usual.build(sizes, **options | {"hidden": 3})

    for name in ("smaller", "tre"):  # of the second another process had silently made the library's own
        monkeypatch.setitem(SYSTEMS, name, replace(usual, name=name, build=smaller))
        options = {"folds": 2, "seeds": 1, "device": "cpu", "overrides": {"epochs": 1}, "progress": False}
        one, two = (runs.run("yoon2018", name, corpus, jobs=jobs, **options) for jobs in (1, 2))
        assert all(same(a, b) for a, b in zip(one, two, strict=True)) and len(one) == 2


def test_plan_and_make_in_one_call(corpus, tmp_path) -> None:
    options = {"folds": [1], "seeds": 1, "device": "cpu", "overrides": TINY | {"epochs": 1}}
    (record,) = runs.run("yoon2018", "tre", corpus, jobs=1, progress=False, results_dir=tmp_path / "r", **options)
    (again,) = make(runs.plan("yoon2018", "tre", corpus, **options), corpus)
    assert same(record, again)
    with pytest.raises(TypeError, match="unexpected keyword argument 'fold'"):
        runs.run("yoon2018", "tre", corpus, fold=1)


def test_a_loss_that_is_no_number_says_whose(corpus, made_up) -> None:
    with pytest.raises(FloatingPointError, match=r"^tre, fold .*, seed 0: the loss is (nan|inf) at update \d+\. "):
        make(plan(corpus, overrides={"learning_rate": 1e37, "clip_value": None}), corpus)


def test_finished_records_are_read_and_an_interrupted_plan_continues(corpus, fits, tmp_path, monkeypatch) -> None:
    folder, noted = tmp_path / "results", training.fit

    def interrupted(*arguments):
        if len(fits) == 1:
            raise KeyboardInterrupt
        return noted(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make(plan(corpus), corpus, results_dir=folder)
    (kept,) = results.read(folder, predictions=True)
    assert (kept.fold, kept.seed, len(fits)) == (0, 0, 1)
    again = make(plan(corpus), corpus, results_dir=folder)
    assert len(fits) == 2  # the second fold only
    assert same(again[0], kept) and same(again[0], make(plan(corpus), corpus)[0])
    fits.clear()
    results.pack(folder)
    more = make(plan(corpus, folds=3), corpus, results_dir=folder)
    assert len(fits) == 1 and [record.fold for record in more] == [0, 1, 2]
    make(plan(corpus, overrides={"loss": "sigmoid"}), corpus, results_dir=folder)
    assert len(fits) == 3  # other settings are another run


def test_a_plan_is_made_of_the_data_it_was_planned_for(corpus, tmp_path) -> None:
    wanted = plan(corpus, folds=1, overrides={"epochs": 1})
    other = Corpus(corpus.name, corpus.root, [replace(u, text=u.text + " indeed") for u in corpus])
    for use in (make, lambda wanted, corpus: runs.trained(wanted[0], corpus, progress=False)):
        with pytest.raises(ValueError, match=r"tre, epochs=1.*, fold 0, seed 0 was planned for other data than those"):
            use(wanted, other)
    copy = shutil.copytree(corpus.root, tmp_path / "elsewhere")
    moved = Corpus("made-up", copy, [replace(u, audio=copy / u.audio.name) for u in corpus])
    assert same(make(wanted, moved)[0], make(wanted, corpus)[0])


# Records that other code made


@pytest.fixture
def older(corpus, fits, tmp_path, monkeypatch) -> Path:
    """A folder of results whose two records other code made than is there now."""
    folder = tmp_path / "results"
    make(plan(corpus), corpus, results_dir=folder)
    monkeypatch.setattr(provenance, "code", lambda paper: "fedcba9876543210")
    fits.clear()
    return folder


def test_in_an_ordinary_folder_they_are_made_anew_after_a_line(corpus, fits, older, caplog) -> None:
    results.pack(older)
    with caplog.at_level(logging.INFO, logger="serlib.runs"):
        made = make(plan(corpus), corpus, results_dir=older)
    assert len(fits) == 2 and {record.code for record in made} == {"fedcba9876543210"}
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert re.match(
        rf"{older}: records that other code made \(commit .*\) are made anew \(older='use' keeps them\)",
        said.getMessage(),
    )
    caplog.clear()
    again = make(plan(corpus), corpus, results_dir=older)
    assert len(fits) == 2 and not caplog.records
    assert all(same(a, b) for a, b in zip(made, again, strict=True))


@pytest.mark.parametrize("guarded", [False, True])
def test_where_asked_or_where_replay_guards_them_they_are_used(corpus, fits, older, caplog, guarded) -> None:
    before = results.read(older, predictions=True)
    if guarded:
        (older / "made-up" / results.MARKER).write_text("")
    with caplog.at_level(logging.INFO, logger="serlib.runs"):
        found = make(plan(corpus), corpus, results_dir=older, older=None if guarded else "use")
    assert not fits and all(same(a, b) for a, b in zip(found, before, strict=True))
    (said,) = caplog.records
    assert said.levelno == logging.INFO and said.getMessage().endswith(") are used")
    make(plan(corpus), corpus, results_dir=older, older="remake")
    assert len(fits) == 2


def test_what_to_do_with_them_is_a_word(corpus) -> None:
    with pytest.raises(ValueError, match="older is 'keep'; expected use, remake or None"):
        make([], corpus, older="keep")


def test_a_record_of_another_device_is_not_what_was_asked_for(corpus, fits, tmp_path, monkeypatch) -> None:
    wanted = plan(corpus, folds=1)
    (one,) = make(wanted, corpus, results_dir=tmp_path / "r")
    results.write(replace(one, device="cuda"), tmp_path / "r")
    assert make([replace(wanted[0], device="auto")], corpus, results_dir=tmp_path / "r")[0].device == "cuda"
    assert make([replace(wanted[0], device="cuda:1")], corpus, results_dir=tmp_path / "r")[0].device == "cuda"
    assert len(fits) == 1
    assert make(wanted, corpus, results_dir=tmp_path / "r")[0].device == "cpu"
    assert len(fits) == 2


# The model behind a record


def outputs(run: runs.Run, corpus: Corpus, folder: Path) -> np.ndarray:
    model, fold = runs.trained(run, corpus, results_dir=folder, progress=False)
    return training.predict(model, fold.test).numpy()


def test_kept_weights_say_what_their_record_says(corpus, made_up, fits, tmp_path) -> None:
    folder, (run,) = tmp_path / "r", plan(corpus, "mdrea", folds=[1])
    (record,) = make([run], corpus, results_dir=folder, weights=True)
    assert runs.weights_path(run, folder).is_file()
    assert np.array_equal(outputs(run, corpus, folder), record.predictions.outputs)
    results.pack(folder)
    assert np.array_equal(outputs(run, corpus, folder), record.predictions.outputs)
    assert len(fits) == 1
    assert np.array_equal(outputs(run, corpus, tmp_path / "nothing"), record.predictions.outputs)
    assert len(fits) == 2  # trained anew


def test_damaged_weights_are_one_clear_error(corpus, tmp_path) -> None:
    folder, (run,) = tmp_path / "r", plan(corpus, folds=1, overrides={"epochs": 1})
    make([run], corpus, results_dir=folder, weights=True)
    path = runs.weights_path(run, folder)
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:-40], b"\xff" * len(whole), whole.replace(b"text.", b"test.")):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"(?s)\.safetensors: not the weights of .*; delete it and train anew"
        ) as error:
            outputs(run, corpus, folder)
        assert str(error.value).startswith(f"{path}: ")


def test_weights_of_another_run_in_its_place_are_not_taken(corpus, fits, tmp_path, caplog) -> None:
    folder, (run,) = tmp_path / "r", plan(corpus, folds=1, overrides={"epochs": 1})
    make([run], corpus, results_dir=folder, weights=True)
    other = replace(run, key="other settings", settings=replace(run.settings, learning_rate=0.02))
    said = outputs(other, corpus, folder)
    assert len(fits) == 2 and "weights of another run" in caplog.text
    assert not np.array_equal(said, results.find(run.record(), folder).predictions.outputs)


# Folds


def test_statistics_and_words_come_from_the_training_part(corpus, made_up) -> None:
    split = PROTOCOLS["leave-one-session-out"](corpus, seed=0)[1]
    told = [replace(u, text="secret secret") if u.id in split.test[:3] else u for u in corpus]
    secret = Corpus(corpus.name, corpus.root, told)

    def planned(**overrides) -> runs.Run:
        return plan(secret, "mdre", protocol="leave-one-session-out", folds=[1], overrides=overrides)[0]

    fold = runs.prepare(planned(), secret)
    assert (fold.train.ids, fold.dev.ids, fold.test.ids) == (split.train, split.dev, split.test)
    assert "secret" not in fold.vocabulary.tokens
    assert fold.test.batch(torch.tensor([0]))["tokens"].tolist() == [[UNK, UNK]]
    frames = fold.train.sequences["mfcc"].steps()
    torch.testing.assert_close(frames.mean(0), torch.zeros(39), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0, correction=0), torch.ones(39), atol=1e-4, rtol=0)
    assert fold.test.sequences["mfcc"].steps().mean().abs() > 1e-4
    assert fold.sizes.dims == {"mfcc": 39, "prosody": 35} and fold.sizes.outputs == 4
    assert fold.sizes.vocabulary == len(fold.vocabulary)

    fold = runs.prepare(planned(vocabulary="corpus", standardise=False), secret)
    assert "secret" in fold.vocabulary.tokens
    assert fold.train.vectors["prosody"].std() > 1.2
    with pytest.raises(ValueError, match=r"settings\.vocabulary is 'world'; expected train or corpus"):
        runs.prepare(planned(vocabulary="world"), secret)
    with pytest.raises(ValueError, match="has nobody in its dev part"):
        runs.prepare(replace(planned(), split=replace(split, dev=[])), secret)
    with pytest.raises(ValueError, match=r"settings\.loss is 'hinge'; expected softmax or sigmoid"):
        runs.train(runs.prepare(planned(loss="hinge"), secret), 0, False)


def test_training_starts_from_the_vectors_given(corpus) -> None:
    vectors = {"furious": np.full(100, 3, "f4")}
    (run,) = plan(corpus, folds=1, overrides={"epochs": 1, "learning_rate": 1e-9, "vectors": vectors})
    model, fold = runs.trained(run, corpus, progress=False)
    row = model.text.embedding.weight[fold.vocabulary.tokens.index("furious")]
    torch.testing.assert_close(row, torch.full((100,), 3.0))
    assert runs.opening(fold, run.seed) == runs.train(fold, run.seed, False)[1].opening


def test_systems_whose_transcripts_are_missing_are_left_out(corpus, made_up, tmp_path, caplog) -> None:
    how = {"folds": 1, "seeds": 1, "device": "cpu", "jobs": 1, "progress": False, "overrides": TINY | {"epochs": 1}}
    made = runs.run_all("yoon2018", corpus, ["tre", "tre-asr", "are"], **how)
    assert list(made) == ["tre", "are"] and "tre-asr is left out: " in caplog.text
    assert set(models.systems("yoon2018")) > set(made)
    assert "Give transcripts=NAME to read others" in caplog.text


def test_systems_on_recognised_text_read_the_transcripts_that_are_named(corpus, made_up, tmp_path) -> None:
    how = {"folds": 1, "seeds": 1, "device": "cpu"}
    usual = runs.plan("yoon2018", "tre", corpus, **how)
    assert runs.plan("yoon2018", "tre", corpus, transcripts="heard", **how) == usual  # it reads what was said
    with pytest.raises(FileNotFoundError, match="no transcripts 'heard'"):  # before anything is trained
        runs.run_all("yoon2018", corpus, ["tre", "tre-asr"], transcripts="heard", **how)
    path = tmp_path / "heard.tsv"
    texts = {u.id: f"{u.text} indeed" for u in corpus}
    path.write_text("id\ttext\n" + "".join(f"{id}\t{text}\n" for id, text in texts.items()))
    how |= {"overrides": TINY | {"epochs": 1}, "variant": ""}
    (run,) = runs.plan("yoon2018", "tre-asr", corpus, transcripts=path, **how)
    assert run.variant.endswith(", on heard") and run.data == corpus.with_texts(texts).content
    (record,) = make([run], corpus)
    assert record.settings["transcripts"] == "heard"
    assert record.word_errors == pytest.approx(len(corpus) / sum(len(u.text.split()) for u in corpus))
    moved = path.rename(tmp_path / "corpus" / path.name)
    assert runs.plan("yoon2018", "tre-asr", corpus, transcripts=str(moved), **how)[0].key == run.key


def test_the_transcripts_that_a_paper_names_are_no_variant(synthetic) -> None:
    how = {"folds": 1, "seeds": 1, "device": "cpu"}
    usual = runs.plan("yoon2018", "tre-asr", synthetic, **how)
    assert runs.plan("yoon2018", "tre-asr", synthetic, transcripts="asr-5.53", **how) == usual
    (other,) = runs.plan("yoon2018", "tre-asr", synthetic, transcripts="asr-30", **how)
    assert other.variant == "on asr-30" and other.key != usual[0].key


# With a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_run_is_repeatable_and_near_the_cpu_run(corpus, made_up) -> None:
    def once(device: str) -> Record:
        model = {"hidden": 8, "dropout_audio": 0.0, "dropout_text": 0.0}
        return make(plan(corpus, "mdrea", folds=1, device=device, overrides={"model": model}), corpus)[0]

    first = once("cuda").predictions.outputs
    assert np.array_equal(first, once("cuda").predictions.outputs)
    assert np.allclose(first, once("cpu").predictions.outputs, atol=0.05)


# On speech


def test_all_the_way_from_waveforms_and_recognised_text(synthetic, tmp_path) -> None:
    overrides = {"epochs": 2, "batch_size": 32, "frame_stride": 8, "model": {"hidden": 8}}
    how = {"protocol": "leave-one-session-out", "device": "cpu", "folds": 1, "seeds": 1, "overrides": overrides}
    (record,) = runs.run("yoon2018", "mdrea-asr", synthetic, jobs=1, progress=False, results_dir=tmp_path, **how)
    assert record.synthetic
    assert record.settings["transcripts"] == "asr-5.53"
    assert record.word_errors == pytest.approx(0.0553, abs=0.005)
    assert sum(record.sizes.values()) == len(synthetic)
    assert 0 < record.metrics["loss"] < 3
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic"]


def test_a_setting_that_was_added_later_leaves_older_keys_as_they_were(corpus):
    usual = set(vars(Settings())) - {"folds", "seeds"} - set(ADDED)
    assert set(runs.described(Settings())) == usual
    others = {"clip_norm": 5.0, "sequence": 300, "inputs": {"rate": 8_000}, "decay_words": False}
    assert set(others) == set(ADDED)
    keys = {runs.plan("yoon2018", "are", corpus, folds=1, seeds=1)[0].key}
    for name, value in others.items():
        assert runs.described(Settings(**{name: value}))[name] == value
        keys.add(runs.plan("yoon2018", "are", corpus, folds=1, seeds=1, overrides={name: value})[0].key)
    assert len(keys) == 1 + len(others)


def test_options_of_inputs_are_replaced_one_by_one():
    settings = runs.settings_of(SYSTEMS["are"], "quick", {"inputs": {"rate": 1, "dims": 2}}, {"inputs": {"dims": 3}})
    assert settings.inputs == {"rate": 1, "dims": 3}
