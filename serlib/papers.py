"""Every number that the five papers print about their systems, with the table and row
it stands in.

All five papers; chapters and `serlib.results.table` read from here, so no published
number is typed twice. Taught in chapter `intro`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pandas as pd


@dataclass(frozen=True)
class Published:
    """One number in a paper.

    Attributes:
        system: key of the system, as in the paper's module (`mdre`); for a row that the
            paper quotes from another one, the name it is given there.
        metric: as the paper names it: `wap`, `wa`, `ua`, `ccc_arousal`, `ccc_valence`,
            `ccc_liking`, `ccc_mean` (the table's average column), `wer` (of the speech
            recogniser), `ua_gain` (a difference that the text states), `accuracy`
            (where it says no more than that), or
            `happy->neutral` (share of happy utterances that were taken for neutral).
        value: a fraction; percentages are divided by 100.
        spread: standard deviation that the paper gives, or None.
        table: where it stands, for instance `Table 1`.
        row: label of the row as printed.
        note: what a reader must know, or empty.
        partition: `test`, or `development` (tzirakis2021); cross-validated results are
            `test`.
        cites: the work that the number is quoted from; None for the paper's own
            systems.
    """

    system: str
    metric: str
    value: float
    spread: float | None
    table: str
    row: str
    note: str = ""
    partition: str = "test"
    cites: str | None = None


@dataclass(frozen=True)
class Paper:
    """A paper and its numbers.

    Attributes:
        key: used for its module, chapter, tests and results.
        authors: as printed.
        year, title, venue, pages: bibliographic facts.
        doi, arxiv: identifiers, None where not known for certain.
        corpus: the corpus that all its numbers are on.
        results: every number, in the order of the paper.
    """

    key: str
    authors: tuple[str, ...]
    year: int
    title: str
    venue: str
    pages: str
    doi: str | None
    arxiv: str | None
    corpus: str
    results: tuple[Published, ...]


def published(
    paper: str, system: str, metric: str, partition: str | None = None
) -> Published | None:
    """Look up what a paper reports.

    Args:
        paper: key of the paper.
        system, metric, partition: as in `Published`; `partition` is only needed where
            the paper gives two.

    Returns:
        the number with its source, or None if the paper does not report it. Where a
        paper prints the same number in two tables, the first.

    Raises:
        ValueError: for an unknown paper, or if the paper reports it for two partitions
            and none is named.

    Example:
        >>> published("yoon2018", "mdre", "wap").value
        0.718
    """
    found = [
        one
        for one in _paper(paper).results
        if (one.system, one.metric) == (system, metric)
        and partition in (None, one.partition)
    ]
    partitions = sorted({one.partition for one in found})
    if len(partitions) > 1:
        raise ValueError(
            f"{paper} reports {metric} of {system} for {' and '.join(partitions)}: name"
            " a partition"
        )
    return found[0] if found else None


def frame(paper: str) -> pd.DataFrame:
    """Return all numbers of a paper, a row each; columns as the attributes of
    `Published`.

    Raises:
        ValueError: for an unknown paper.
    """
    return pd.DataFrame([asdict(one) for one in _paper(paper).results])


def _paper(key: str) -> Paper:
    if key not in PAPERS:
        raise ValueError(f"expected a paper among {', '.join(PAPERS)}; got {key!r}")
    return PAPERS[key]


def _wa_ua(
    table: str,
    row: str,
    system: str,
    wa: float,
    ua: float | None,
    note: str = "",
    cites: str | None = None,
) -> list[Published]:
    """A row of a table with the columns WA and UA; `ua` is None where the paper prints
    a dash.
    """
    values = {"wa": wa, "ua": ua}
    return [
        Published(system, metric, value, None, table, row, note, cites=cites)
        for metric, value in values.items()
        if value is not None
    ]


def _ccc(
    table: str,
    row: str,
    system: str,
    values: tuple[float | None, ...],
    partition: str = "development",
    note: str = "",
    cites: str | None = None,
) -> list[Published]:
    """A row of concordance coefficients: arousal, valence, liking and, where printed,
    their average.
    """
    names = ("ccc_arousal", "ccc_valence", "ccc_liking", "ccc_mean")
    return [
        Published(system, name, value, None, table, row, note, partition, cites)
        for name, value in zip(names, values, strict=False)
        if value is not None
    ]


RECOGNISER = "Google Cloud Speech"
"""What both papers with rows on recognised text recognised it with."""

_MIRSAMADI = "Mirsamadi et al. 2017"
_XU = "Xu et al. 2019"
_YOON = "Yoon et al. 2018"
_SARMA = "Sarma et al. 2018"
_YENIGALLA = "Yenigalla et al. 2018"
_AVEC = {
    "Baseline": "Ringeval et al. 2017",
    "Dang": "Dang et al. 2017",
    "Huang": "Huang et al. 2017",
    "Chen": "Chen et al. 2017",
}

_YOON2018 = (
    Published(
        "ACNN", "wap", 0.561, None, "Table 1", "ACNN [31]", cites="Neumann and Vu 2017"
    ),
    Published(
        "LLD RNN-attn",
        "wap",
        0.635,
        None,
        "Table 1",
        "LLD RNN-attn [26]",
        cites=_MIRSAMADI,
    ),
    Published(
        "RNN-ELM",
        "wap",
        0.628,
        None,
        "Table 1",
        "RNN(prop.)-ELM [34]",
        cites="Lee and Tashev 2015",
    ),
    Published(
        "3CNN-LSTM10H",
        "wap",
        0.688,
        None,
        "Table 1",
        "3CNN-LSTM10H [20]",
        cites="Satt et al. 2017",
    ),
    Published("are", "wap", 0.546, 0.009, "Table 1", "ARE"),
    Published("tre", "wap", 0.635, 0.018, "Table 1", "TRE"),
    Published("mdre", "wap", 0.718, 0.019, "Table 1", "MDRE"),
    Published("mdrea", "wap", 0.690, 0.019, "Table 1", "MDREA"),
    Published("tre-asr", "wap", 0.593, 0.022, "Table 1", "TRE-ASR"),
    Published("mdre-asr", "wap", 0.691, 0.019, "Table 1", "MDRE-ASR"),
    Published("mdrea-asr", "wap", 0.677, 0.013, "Table 1", "MDREA-ASR"),
    Published("are", "happy->neutral", 0.4351, None, "Figure 3(a)", "ARE"),
    Published("are", "happy->happy", 0.3515, None, "Figure 3(a)", "ARE"),
    Published("tre", "happy->happy", 0.7573, None, "Figure 3(b)", "TRE"),
    Published("tre", "sad->happy", 0.1620, None, "Figure 3(b)", "TRE"),
    Published("mdre", "sad->happy", 0.0915, None, "Figure 3(c)", "MDRE"),
    Published(
        "proposed, at least",
        "accuracy",
        0.688,
        None,
        "Abstract",
        "accuracies ranging from",
        "in Table 1 it is another paper's: 3CNN-LSTM10H",
    ),
    Published(
        "proposed, at most",
        "accuracy",
        0.718,
        None,
        "Abstract",
        "accuracies ranging to",
    ),
    Published(
        RECOGNISER,
        "wer",
        0.0553,
        None,
        "Section 4.3",
        "word error rate of the ASR transcripts",
    ),
)

_XU2019 = (
    *_wa_ua(
        "Table 1", "Speech-only: LSTM+Attn (our implementation)", "speech", 0.634, 0.574
    ),
    *_wa_ua(
        "Table 1",
        "Speech-only: LSTM+Attn (Mirsamadi et al., 2017)",
        "LSTM+Attn",
        0.635,
        0.588,
        cites=_MIRSAMADI,
    ),
    *_wa_ua(
        "Table 1",
        "Speech-only: CNN+LSTM (Satt et al., 2018)",
        "CNN+LSTM",
        0.68,
        0.594,
        "printed as 68, and with the year 2018 for a paper of 2017",
        "Satt et al. 2017",
    ),
    *_wa_ua(
        "Table 1",
        "Speech-only: TDNN+LSTM (Sarma et al., 2018)",
        "TDNN+LSTM",
        0.701,
        0.607,
        cites=_SARMA,
    ),
    *_wa_ua("Table 1", "Text-only (ASR text): LSTM+Attn", "text-asr", 0.603, 0.548),
    *_wa_ua(
        "Table 1",
        "Multimodal (ASR text): Concat (our implementation)",
        "concat-asr",
        0.681,
        0.660,
    ),
    *_wa_ua(
        "Table 1",
        "Multimodal (ASR text): Concat (Yoon et al., 2018)",
        "Concat (ASR text)",
        0.691,
        None,
        "MDRE-ASR, which yoon2018 reports as WAP on random folds",
        _YOON,
    ),
    *_wa_ua("Table 1", "Multimodal (ASR text): Proposed", "aligned-asr", 0.704, 0.695),
    *_wa_ua("Table 2", "Oracle text: Text-only", "text", 0.633, 0.578),
    *_wa_ua(
        "Table 2",
        "Oracle text: Concat (our implementation)",
        "concat",
        0.71,
        0.677,
        "WA is printed as 71",
    ),
    *_wa_ua(
        "Table 2",
        "Oracle text: Concat (Yoon et al., 2018)",
        "Concat (oracle text)",
        0.718,
        None,
        "MDRE, which yoon2018 reports as WAP on random folds",
        _YOON,
    ),
    *_wa_ua("Table 2", "Oracle text: Hard alignment", "hard", 0.715, 0.686),
    *_wa_ua("Table 2", "Oracle text: Proposed", "aligned", 0.725, 0.709),
    *_wa_ua(
        "Table 2",
        "Proposed (ASR text)",
        "aligned-asr",
        0.704,
        0.695,
        "repeated from Table 1",
    ),
    Published(
        RECOGNISER,
        "wer",
        0.147,
        None,
        "Section 4.2",
        "word error rate of the ASR transcripts",
    ),
)

_SHEN2020 = (
    *_wa_ua("Table 1", "Audio only", "audio", 0.665, 0.657),
    *_wa_ua("Table 1", "Text only", "text", 0.692, 0.701),
    *_wa_ua("Table 1", "LSTM+Attn [10]", "LSTM+Attn", 0.725, 0.709, cites=_XU),
    *_wa_ua(
        "Table 1", "CNN+Phoneme [24]", "CNN+Phoneme", 0.739, 0.685, cites=_YENIGALLA
    ),
    *_wa_ua(
        "Table 1",
        "Dual RNNs [2]",
        "Dual RNNs",
        0.737,
        0.753,
        "yoon2018 itself reports a WAP of 0.718, no WA and no UA",
        _YOON,
    ),
    *_wa_ua("Table 1", "WISE", "wise", 0.759, 0.764),
    *_wa_ua(
        "Table 2",
        "IM+DMF",
        "im+dmf",
        0.729,
        0.742,
        "without the hierarchical representation",
    ),
    *_wa_ua("Table 2", "HR+DMF", "hr+dmf", 0.734, 0.741, "without the interaction"),
    *_wa_ua("Table 2", "IM+HR", "im+hr", 0.752, 0.736, "without the attention layer"),
    *_wa_ua(
        "Table 2",
        "IM+DMF+HR⁻",
        "im+dmf+hr-",
        0.743,
        0.754,
        "hierarchy without the phoneme level",
    ),
    *_wa_ua("Table 2", "WISE", "wise", 0.759, 0.764, "repeated from Table 1"),
)

_KRISHNA2020 = (
    Published(
        "E-Vector",
        "ua",
        0.5725,
        None,
        "Table 1",
        "E-Vector [29]",
        cites="Jin et al. 2015",
    ),
    Published(
        "MCNN+LSTM",
        "ua",
        0.6433,
        None,
        "Table 1",
        "MCNN + LSTM [13]",
        cites="Cho et al. 2018",
    ),
    Published(
        "MCNN+phoneme",
        "ua",
        0.6850,
        None,
        "Table 1",
        "MCCN+phoneme embeddings [14]",
        cites=_YENIGALLA,
    ),
    Published(
        "H. Xu",
        "ua",
        0.7090,
        None,
        "Table 1",
        "H.Xu et. al [2]",
        "multimodal",
        cites=_XU,
    ),
    Published("cma-spec", "ua", 0.7224, None, "Table 1", "CMA+spec (proposed)"),
    Published("cma-raw", "ua", 0.7282, None, "Table 1", "CMA+Raw waveform (proposed)"),
    Published(
        "TDNN+LSTM",
        "ua",
        0.6070,
        None,
        "Table 2",
        "Audio-only: TDNN+LSTM [18]",
        cites=_SARMA,
    ),
    Published(
        "LSTM+Attn",
        "ua",
        0.5880,
        None,
        "Table 2",
        "Audio-only: LSTM+Attn [28]",
        "reference 28 is missing from the list; the number is the one that xu2019"
        " quotes from Mirsamadi et al.",
        cites=_MIRSAMADI,
    ),
    Published(
        "audio", "ua", 0.5560, None, "Table 2", "Audio-only: Self-Attn+LSTM(Ours)"
    ),
    Published(
        "H. Xu (text)",
        "ua",
        0.5780,
        None,
        "Table 2",
        "Text-only: H.Xu et. al [2]",
        cites=_XU,
    ),
    Published(
        "Speech-Embedding",
        "ua",
        0.6040,
        None,
        "Table 2",
        "Text-only: Speech-Embedding [15]",
        cites="Krishna and Reddy 2019",
    ),
    Published("text", "ua", 0.6590, None, "Table 2", "Text-only: Self-Attn+LSTM"),
    Published(
        "cma-raw over cma-spec",
        "ua_gain",
        0.0054,
        None,
        "Abstract",
        "raw waveform over spectrogram",
    ),
    Published(
        "cma-raw over cma-spec",
        "ua_gain",
        0.0052,
        None,
        "Section 5",
        "raw waveform over spectrogram",
    ),
    Published(
        "cma-raw over H. Xu",
        "ua_gain",
        0.019,
        None,
        "Section 5",
        "over the previous state of the art",
    ),
)

_TZIRAKIS2021 = (
    *_ccc("Table 2", "Word2Vec", "word2vec", (0.434, 0.513, 0.208, 0.385)),
    *_ccc("Table 2", "Speech2Vec", "speech2vec", (0.433, 0.470, 0.182, 0.362)),
    *_ccc(
        "Table 2",
        "Align Speech2Vec",
        "aligned-speech2vec",
        (0.453, 0.452, 0.257, 0.387),
    ),
    *_ccc("Table 2", "Paralinguistic", "paralinguistic", (0.508, 0.436, 0.154, 0.366)),
    *_ccc("Table 3", "Concatenation", "concat", (0.427, 0.428, 0.306, 0.387)),
    *_ccc(
        "Table 3", "Disentangled attention", "attention", (0.499, 0.497, 0.311, 0.435)
    ),
    *_ccc(
        "Table 4",
        "Baseline [16]",
        "Baseline",
        (0.225, 0.224, -0.020),
        "test",
        cites=_AVEC["Baseline"],
    ),
    *_ccc(
        "Table 4",
        "Baseline [16]",
        "Baseline",
        (0.344, 0.351, 0.081),
        cites=_AVEC["Baseline"],
    ),
    *_ccc(
        "Table 4",
        "Dang et. al. [18]",
        "Dang",
        (0.344, 0.346, None),
        "test",
        cites=_AVEC["Dang"],
    ),
    *_ccc(
        "Table 4",
        "Dang et. al. [18]",
        "Dang",
        (0.494, 0.507, None),
        cites=_AVEC["Dang"],
    ),
    *_ccc(
        "Table 4",
        "Huang et. al. [19]",
        "Huang",
        (0.583, 0.487, None),
        "test",
        cites=_AVEC["Huang"],
    ),
    *_ccc(
        "Table 4",
        "Huang et. al. [19]",
        "Huang",
        (0.584, 0.585, None),
        cites=_AVEC["Huang"],
    ),
    *_ccc(
        "Table 4",
        "Chen et. al. [17]",
        "Chen",
        (0.422, 0.405, 0.054),
        "test",
        cites=_AVEC["Chen"],
    ),
    *_ccc(
        "Table 4",
        "Chen et. al. [17]",
        "Chen",
        (0.524, 0.504, 0.273),
        cites=_AVEC["Chen"],
    ),
    *_ccc("Table 4", "Proposed", "attention", (0.429, 0.503, 0.312), "test"),
    *_ccc(
        "Table 4",
        "Proposed",
        "attention",
        (0.499, 0.497, 0.311),
        note="repeated from Table 3",
    ),
)

PAPERS: dict[str, Paper] = {
    paper.key: paper
    for paper in (
        Paper(
            key="yoon2018",
            authors=("Seunghyun Yoon", "Seokhyun Byun", "Kyomin Jung"),
            year=2018,
            title="Multimodal Speech Emotion Recognition Using Audio and Text",
            venue="IEEE Spoken Language Technology Workshop (SLT)",
            pages="112–118",
            doi="10.1109/SLT.2018.8639583",
            arxiv="1810.04635",
            corpus="IEMOCAP",
            results=_YOON2018,
        ),
        Paper(
            key="xu2019",
            authors=(
                "Haiyang Xu",
                "Hui Zhang",
                "Kun Han",
                "Yun Wang",
                "Yiping Peng",
                "Xiangang Li",
            ),
            year=2019,
            title="Learning Alignment for Multimodal Emotion Recognition from Speech",
            venue="Interspeech",
            pages="3569–3573",
            doi=None,
            arxiv="1909.05645",
            corpus="IEMOCAP",
            results=_XU2019,
        ),
        Paper(
            key="shen2020",
            authors=(
                "Guang Shen",
                "Riwei Lai",
                "Rui Chen",
                "Yu Zhang",
                "Kejia Zhang",
                "Qilong Han",
                "Hongtao Song",
            ),
            year=2020,
            title=(
                "WISE: Word-Level Interaction-Based Multimodal Fusion for Speech"
                " Emotion Recognition"
            ),
            venue="Interspeech",
            pages="369–373",
            doi="10.21437/Interspeech.2020-3131",
            arxiv=None,
            corpus="IEMOCAP",
            results=_SHEN2020,
        ),
        Paper(
            key="krishna2020",
            authors=("Krishna D N", "Ankita Patil"),
            year=2020,
            title=(
                "Multimodal Emotion Recognition using Cross-Modal Attention and 1D"
                " Convolutional Neural Networks"
            ),
            venue="Interspeech",
            pages="4243–4247",
            doi="10.21437/Interspeech.2020-1190",
            arxiv=None,
            corpus="IEMOCAP",
            results=_KRISHNA2020,
        ),
        Paper(
            key="tzirakis2021",
            authors=(
                "Panagiotis Tzirakis",
                "Anh Nguyen",
                "Stefanos Zafeiriou",
                "Björn W. Schuller",
            ),
            year=2021,
            title="Speech Emotion Recognition Using Semantic Information",
            venue=(
                "IEEE International Conference on Acoustics, Speech and Signal"
                " Processing (ICASSP)"
            ),
            pages="6279–6283",
            doi=None,
            arxiv="2103.02993",
            corpus="SEWA",
            results=_TZIRAKIS2021,
        ),
    )
}
"""The five papers by key, in the order of their years."""
