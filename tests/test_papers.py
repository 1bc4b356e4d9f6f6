"""The published numbers against what the papers themselves say about them in their text."""

from __future__ import annotations

import re

import pytest

from serlib import models
from serlib.papers import PAPERS, frame, published

SYSTEMS = {
    "yoon2018": {"are", "tre", "mdre", "mdrea", "tre-asr", "mdre-asr", "mdrea-asr"},
    "xu2019": {"speech", "text-asr", "text", "concat-asr", "concat", "hard", "aligned-asr", "aligned"},
    "shen2020": {"audio", "text", "wise", "im+dmf", "hr+dmf", "im+hr", "im+dmf+hr-"},
    "krishna2020": {"cma-raw", "cma-spec", "audio", "text"},
    "tzirakis2021": {"word2vec", "speech2vec", "aligned-speech2vec", "paralinguistic", "concat", "attention"},
}


def value(paper: str, system: str, metric: str, partition: str | None = None) -> float:
    found = published(paper, system, metric, partition)
    assert found is not None
    return found.value


def test_every_system_of_every_paper_is_there() -> None:
    assert list(PAPERS) == list(SYSTEMS)
    for key, systems in SYSTEMS.items():
        rows = frame(key)
        own = rows[rows.cites.isna() & rows.table.str.startswith("Table")]
        assert set(own.system) == systems
        assert PAPERS[key].key == key and str(PAPERS[key].year) in key
        assert rows.value.between(-0.1, 1).all() and (rows.value.abs() > 0.005).all()
        assert rows.table.str.fullmatch(r"(Table|Section|Figure) [\d.]+(\([abc]\))?|Abstract").all()


def test_every_system_can_be_run() -> None:
    assert {paper: set(models.systems(paper)) for paper in models.PAPERS} == SYSTEMS


def test_a_number_printed_twice_is_the_same_both_times() -> None:
    for key in PAPERS:
        rows = frame(key)
        rows = rows[rows.metric != "ua_gain"]
        assert (rows.groupby(["system", "metric", "partition"]).value.nunique() == 1).all()
    # numbers that one paper quotes from another
    assert value("xu2019", "Concat (ASR text)", "wa") == value("yoon2018", "mdre-asr", "wap")
    assert value("xu2019", "Concat (oracle text)", "wa") == value("yoon2018", "mdre", "wap")
    for metric in ("wa", "ua"):
        assert value("shen2020", "LSTM+Attn", metric) == value("xu2019", "aligned", metric)
    assert value("krishna2020", "H. Xu", "ua") == value("xu2019", "aligned", "ua")
    assert value("krishna2020", "H. Xu (text)", "ua") == value("xu2019", "text", "ua")
    assert value("krishna2020", "TDNN+LSTM", "ua") == value("xu2019", "TDNN+LSTM", "ua")
    assert value("krishna2020", "LSTM+Attn", "ua") == value("xu2019", "LSTM+Attn", "ua")
    assert value("krishna2020", "MCNN+phoneme", "ua") == value("shen2020", "CNN+Phoneme", "ua")


def test_numbers_fit_the_papers_own_sentences() -> None:
    # yoon2018, section 5.1: "the attention model, MDREA, also outperforms the best existing" system, MDRE-ASR too
    best = value("yoon2018", "3CNN-LSTM10H", "wap")
    assert value("yoon2018", "mdrea", "wap") == pytest.approx(best + 0.002)
    assert value("yoon2018", "mdre-asr", "wap") == pytest.approx(best + 0.003)
    assert value("yoon2018", "mdre", "wap") == 0.718 and published("yoon2018", "mdre", "wap").spread == 0.019
    # the abstract: "accuracies ranging from 68.8% to 71.8%", of which the first is not its own
    assert (value("yoon2018", "proposed, at least", "accuracy"), best) == (0.688, 0.688)
    assert value("yoon2018", "proposed, at most", "accuracy") == value("yoon2018", "mdre", "wap")
    # section 5.2: most happy utterances are taken for neutral by ARE; TRE's 16.20 % become 9.15 %
    assert value("yoon2018", "are", "happy->neutral") > value("yoon2018", "are", "happy->happy")
    assert value("yoon2018", "tre", "sad->happy") - value("yoon2018", "mdre", "sad->happy") == pytest.approx(0.0705)
    # xu2019, section 4.3: oracle text gains "around 3%" for the text-only method and the direct concatenation
    for system in ("text", "concat"):
        assert 0.015 < value("xu2019", system, "wa") - value("xu2019", f"{system}-asr", "wa") < 0.035
    # shen2020, section 4.3: absolute gains of 2 % WA and 1.1 % UA over the best; HR brings 3 % and 2.2 %
    rows = frame("shen2020")
    for metric, gain, hierarchy in (("wa", 0.020, 0.030), ("ua", 0.011, 0.022)):
        wise = value("shen2020", "wise", metric)
        assert wise - rows[rows.cites.notna() & (rows.metric == metric)].value.max() == pytest.approx(gain)
        assert wise - value("shen2020", "im+dmf", metric) == pytest.approx(hierarchy)
    # krishna2020: 1.9 % over xu2019; the gain over spectra is 0.54 % or 0.52 % in the text, 0.58 % in the table
    best = value("krishna2020", "cma-raw", "ua")
    assert best - value("krishna2020", "H. Xu", "ua") == pytest.approx(0.0192)
    assert best - value("krishna2020", "cma-spec", "ua") == pytest.approx(0.0058)
    stated = [one.value for one in PAPERS["krishna2020"].results if one.system == "cma-raw over cma-spec"]
    assert stated == [0.0054, 0.0052]


def test_averages_of_tzirakis_are_averages() -> None:
    rows = frame("tzirakis2021")
    wide = rows.pivot_table(index=["system", "partition"], columns="metric", values="value")
    full = wide.dropna(subset="ccc_mean")
    assert len(full) == 6
    mean = full[["ccc_arousal", "ccc_valence", "ccc_liking"]].mean(axis=1)
    assert (mean - full.ccc_mean).abs().max() < 0.001  # each of the four is rounded to 0.001
    # section 5.4: best of all in valence and liking, second in arousal
    test = wide.xs("test", level="partition")
    assert test.ccc_valence.idxmax() == "attention" and test.ccc_liking.idxmax() == "attention"
    assert test.ccc_arousal.sort_values().index[-2] == "attention"


def test_look_up() -> None:
    assert published("yoon2018", "mdre", "ua") is None
    assert published("xu2019", "Concat (oracle text)", "ua") is None
    assert published("tzirakis2021", "word2vec", "ccc_valence").partition == "development"
    assert value("tzirakis2021", "attention", "ccc_liking", "test") == 0.312
    with pytest.raises(ValueError, match="development and test: name a partition"):
        published("tzirakis2021", "attention", "ccc_liking")
    with pytest.raises(ValueError, match=r"yoon2018, xu2019.*got 'yoon2019'"):
        published("yoon2019", "mdre", "wap")
    with pytest.raises(ValueError, match="got 'yoon'"):
        frame("yoon")


def test_identifiers_look_right() -> None:
    for paper in PAPERS.values():
        assert paper.doi is None or re.fullmatch(r"10\.\d{4,5}/\S+", paper.doi)
        assert paper.arxiv is None or re.fullmatch(r"\d{4}\.\d{5}", paper.arxiv)
        assert paper.doi or paper.arxiv
