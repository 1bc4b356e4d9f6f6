"""Transcripts of a speech recogniser in place of the reference text.

yoon2018 and xu2019 measure their systems on them too (the rows with `-ASR`). Taught in
chapters `corpora` and `yoon2018`.

Any engine will do: put what it heard into a table in UTF-8 with the header
`id<TAB>text` and a line per utterance, as `transcripts/NAME.tsv` in the folder of the
corpus, and `corpora.load(..., transcripts="NAME")` reads it.
`data_scripts/transcribe.py` does that, with PocketSphinx or a wav2vec 2.0 of
torchaudio, by default under the name `asr`. What a table of transcripts is called
promises nothing: `word_error_rates` measures it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serlib.corpora import ravdess
from serlib.corpora.corpus import Corpus, Utterance
from serlib.corpora.lines import read_lines

HEADER = "id\ttext"


def read_transcripts(path: str | Path) -> dict[str, str]:
    """Read a table of transcripts: a header `id<TAB>text`, then one utterance per line.

    Args:
        path: the file; the text of an utterance may be empty.

    Returns:
        utterance id to transcript.

    Raises:
        ValueError: if the file is not such a table; the message names the line.
        OSError: if the file cannot be read.
    """
    path = Path(path)
    texts: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(read_lines(path) or [""], 1):
        where = f"{path}:{number}"
        if number == 1:
            if line != HEADER:
                raise ValueError(
                    f"{where}: expected the header 'id<TAB>text', found {line!r}"
                )
            continue
        id, *text = line.split("\t")
        if len(text) != 1 or not id:
            raise ValueError(
                f"{where}: expected 'id<TAB>text' with exactly one tab, found {line!r}"
            )
        if id in texts:
            raise ValueError(
                f"{where}: a second transcript of {id}, the first is in line"
                f" {lines[id]}; keep one"
            )
        texts[id], lines[id] = text[0], number
    return texts


def name_of(source: str | Path) -> str:
    """Return what transcripts are called: a path's last part without `.tsv`."""
    return Path(source).name.removesuffix(".tsv")


def with_transcripts(corpus: Corpus, source: str | Path) -> Corpus:
    """Return the corpus with other transcripts; the alignments stay those of the
    reference text.

    Args:
        corpus: the corpus.
        source: the name of transcripts that come with the corpus (`asr-5.53` is
            `transcripts/asr-5.53.tsv` below `corpus.root`), or the path of a table that
            `read_transcripts` reads.

    Raises:
        FileNotFoundError: if there is no such file; the message lists the names that
            there are.
        ValueError: if the table is damaged, or lacks an utterance.
    """
    folder = corpus.root / "transcripts"
    named = folder / f"{source}.tsv"
    path = named if named.is_file() else Path(source).expanduser()
    if not path.is_file():
        names = (
            ", ".join(sorted(file.stem for file in folder.glob("[!.]*.tsv"))) or "none"
        )
        raise FileNotFoundError(
            f"no transcripts {str(source)!r}: looked for {named} and {path}; names"
            f" available: {names}"
        )
    texts = read_transcripts(path)
    try:
        return corpus.with_texts(texts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


GROUPS: dict[str, Callable[[Utterance], str | None]] = {
    "emotions": lambda u: u.emotion,
    "speakers": lambda u: u.speaker or None,
    "sessions": lambda u: u.session or None,
    "scripts": lambda u: u.script,
}
"""What error rates are told by, and an utterance's place in it; None for nowhere."""


def word_error_rates(corpus: Corpus, texts: Mapping[str, str]) -> dict[str, Any]:
    """Compare transcripts with the corpus's own, both without case, punctuation and
    tags.

    Args:
        corpus: with the reference transcripts.
        texts: utterance id to what was recognised.

    Returns:
        `all`; and for each of `GROUPS`, and the `intensities` of RAVDESS, its members
        by name: the word error rate `wer` (None without a reference word), the number
        of `words` in the reference, `substitutions`, `deletions` and `insertions`, and
        how many `utterances` there are, of which `empty` were heard as nothing.
    """
    groups = dict(GROUPS)
    if corpus.name == "ravdess":
        groups["intensities"] = ravdess.intensity
    found: dict[str, Any] = {"all": _errors(corpus.utterances, texts)}
    for group, place in groups.items():
        members = defaultdict(list)
        for u in corpus.utterances:
            members[place(u)].append(u)
        members.pop(None, None)
        found[group] = {name: _errors(members[name], texts) for name in sorted(members)}
    return found


def word_error_rate(corpus: Corpus, source: str | Path) -> float | None:
    """Return the word error rate of transcripts, over all utterances of a corpus.

    Args:
        corpus: with the reference transcripts.
        source: of the others, as `with_transcripts` takes it.

    Returns:
        a share, which may exceed 1; None if the corpus has no words.

    Raises:
        FileNotFoundError, ValueError: as `with_transcripts`.
    """
    heard = with_transcripts(corpus, source)
    return _errors(corpus.utterances, {u.id: u.text for u in heard.utterances})["wer"]


def _errors(utterances: Sequence[Utterance], texts: Mapping[str, str]) -> dict:
    from jiwer import process_words  # only here: it loads slowly, and few need it

    said = [" ".join(normalise(u.text)) for u in utterances]
    heard = [" ".join(normalise(texts[u.id])) for u in utterances]
    found = process_words(said, heard)
    words = found.hits + found.substitutions + found.deletions
    kinds = ("substitutions", "deletions", "insertions")
    counts = {kind: getattr(found, kind) for kind in kinds}
    counts |= {"utterances": len(utterances), "empty": heard.count("")}
    return {"wer": found.wer if words else None, "words": words, **counts}


def normalise(text: str) -> list[str]:
    """Split a transcript into words as recognisers write them: no case, no punctuation
    but `'`, no tags.

    Example:
        >>> normalise("Well, I -- I can't. [LAUGHTER]")
        ['well', 'i', 'i', "can't"]
    """
    plain = re.sub(r"\[[^\]]*\]", " ", text.lower().replace("’", "'"))
    words = re.sub(r"[^\w']|_", " ", plain).split()
    return [word.strip("'") for word in words if word.strip("'")]
