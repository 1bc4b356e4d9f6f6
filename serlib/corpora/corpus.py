"""What a corpus is made of: utterances or recordings, the segments of their alignments,
and what could not be read.

Every reader in `serlib.corpora` returns these, so nothing after it knows a file format.
Taught in chapter `corpora`; used by all five papers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
"""The four classes that the papers compare, in the order of their class indices."""

MERGED = {"excited": "happy"}
"""Labels that yoon2018, shen2020 and krishna2020 fold into one of the four classes."""


class Segment(NamedTuple):
    """A word or a phone with the stretch of time it occupies.

    Attributes:
        label: the word as spoken (lower case) or the phone symbol.
        start, end: seconds from the start of the utterance.
    """

    label: str
    start: float
    end: float


class Skip(NamedTuple):
    """Something that a reader could not use.

    Attributes:
        where: file, with its line number where there is one (`Ses01F_impro01.txt:12`).
        why: what was expected and what was found.
    """

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """One speaker's turn.

    Attributes:
        id: unique name, for instance `Ses01F_impro01_F000`.
        speaker: unique over the corpus, for instance `Ses01F`; empty if nobody knows.
        session: recording session, the unit that leave-one-session-out leaves out;
            empty if nobody knows.
        dialogue: the conversation that the utterance belongs to.
        scripted: True if the words come from a script, which other sessions may repeat.
        emotion: a full English word such as `angry` or `frustrated`; None without a
            label.
        dimensions: mean (valence, activation, dominance) ratings, or None.
        text: the transcript as written.
        audio: path of the waveform.
        duration: seconds.
        words, phones: the alignment, empty where there is none.
        script: name of the script (`script02_2`), the same in every session that plays
            it; None for improvised speech.
        partition: `train`, `devel` or `test`, where they are published; else None.
    """

    id: str
    speaker: str
    session: str
    dialogue: str
    scripted: bool
    emotion: str | None
    dimensions: tuple[float, float, float] | None
    text: str
    audio: Path
    duration: float
    words: tuple[Segment, ...] = ()
    phones: tuple[Segment, ...] = ()
    script: str | None = None
    partition: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A long recording of one subject whose emotion is a curve over time.

    Attributes:
        id: unique name, for instance `Train_01`.
        speaker: the subject; `id` where nobody is in two recordings.
        partition: `train`, `devel` or `test`, as published.
        audio: path of the waveform.
        duration: seconds.
        labels: (frames, 3) float32 arousal, valence and liking; None where they are
            withheld.
        hop: seconds from one row of `labels` to the next.
        turns: when the subject speaks, not the interlocutor.
        text, words, phones: as for `Utterance`.
    """

    id: str
    speaker: str
    partition: str
    audio: Path
    duration: float
    labels: np.ndarray | None
    hop: float = 0.1
    turns: tuple[Segment, ...] = ()
    text: str = ""
    words: tuple[Segment, ...] = ()
    phones: tuple[Segment, ...] = ()


Item = Utterance | Recording


@dataclass(frozen=True)
class Corpus:
    """Utterances or recordings sorted by id, and what could not be read.

    Iteration, `len` and `corpus[id]` are over the utterances, or over the recordings of
    a corpus that has those.

    Attributes:
        name: `iemocap`, `synthetic`, `ravdess`, `sewa` or `conversations`; of a table,
            see `table.read`.
        root: folder the corpus was read from.
        utterances: sorted by id.
        skipped: whatever the reader left out, and why.
        classes: names of the labels in the order of their class indices.
        recordings: sorted by id.
        info: what else the reader has to say, such as where the times of words come
            from.
    """

    name: str
    root: Path
    utterances: list[Utterance]
    skipped: list[Skip] = field(default_factory=list)
    classes: tuple[str, ...] = EMOTIONS
    recordings: list[Recording] = field(default_factory=list)
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        skipped = [Skip(*map(printable, skip)) for skip in self.skipped]
        object.__setattr__(self, "skipped", skipped)
        for kind in ("utterances", "recordings"):
            ordered = sorted(getattr(self, kind), key=lambda item: item.id)
            object.__setattr__(self, kind, ordered)
        if self.utterances and self.recordings:
            raise ValueError(
                f"{self.root}: expected utterances or recordings, not both"
            )
        if len(self._by_id) != len(self):
            seen: set[str] = set()
            twice = next(i.id for i in self if i.id in seen or seen.add(i.id))
            raise ValueError(
                f"{self.root}: two {'recordings' if self.recordings else 'utterances'}"
                f" are named {twice}; ids must be unique"
            )

    @property
    def items(self) -> list[Item]:
        """The utterances, or the recordings."""
        return self.recordings or self.utterances

    @cached_property
    def _by_id(self) -> Mapping[str, Item]:
        return {item.id: item for item in self.items}

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __getitem__(self, id: str) -> Item:
        """Return what is named `id`; raise KeyError if there is nothing."""
        return self._by_id[id]

    @property
    def synthetic(self) -> bool:
        """True if the speech was made by a synthesiser; results on it must say so."""
        return self.name.startswith(("synthetic", "conversations"))

    def select(self, ids: Iterable[str]) -> Corpus:
        """Return the corpus of what is named in `ids`; raise KeyError for an unknown
        id.
        """
        kind = "recordings" if self.recordings else "utterances"
        return replace(self, **{kind: [self[id] for id in ids]})

    def four_class(self, merge: bool = True) -> Corpus:
        """Return the utterances of the four classes, excited merged into happy.

        yoon2018, shen2020 and krishna2020 say that they do this; xu2019 only names the
        four classes. On IEMOCAP it gives 5,531 utterances. Utterances with another
        label, or none, are left out; `len(corpus) - len(corpus.four_class())` says how
        many.

        Args:
            merge: False leaves the excited out, like any other label.
        """
        merged = MERGED if merge else {}
        named = (
            replace(u, emotion=merged.get(u.emotion, u.emotion))
            for u in self.utterances
        )
        kept = [u for u in named if u.emotion in EMOTIONS]
        return replace(self, utterances=kept, classes=EMOTIONS)

    def with_texts(self, texts: Mapping[str, str]) -> Corpus:
        """Return the corpus with other transcripts, as speech recognition would give
        them.

        Args:
            texts: utterance id to transcript; ids that the corpus does not have are
                ignored.

        Raises:
            ValueError: if an utterance has no transcript in `texts` (an empty one is
                allowed).
        """
        missing = [u.id for u in self.utterances if u.id not in texts]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self)} utterances have no transcript, the"
                f" first is {missing[0]}; expected one for every utterance (an empty"
                " one is allowed)"
            )
        return replace(
            self, utterances=[replace(u, text=texts[u.id]) for u in self.utterances]
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the ids and the bytes of every waveform: the same wherever the corpus
        lies.

        Raises:
            OSError: if a waveform cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        for item in self:
            status = item.audio.stat()
            content = _digest(item.audio, status.st_size, status.st_mtime_ns)
            digest.update(f"{item.id} {content}\n".encode())
        return digest.hexdigest()

    @cached_property
    def content(self) -> str:
        """Hash of all that training may look at: waveforms, labels, texts, alignments;
        not of where they lie.
        """
        digest = hashlib.blake2b(self.fingerprint.encode(), digest_size=16)
        for item in self:
            for one in fields(item):
                value = getattr(item, one.name)
                if one.name != "audio" and (one.name, value) != ("partition", None):
                    plain = value.tolist() if isinstance(value, np.ndarray) else value
                    digest.update(repr(plain).encode())
        return digest.hexdigest()


@cache
def _digest(path: Path, size: int, changed: int) -> str:
    """Hash of a file, which is read again only if size or time of change differ."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def printable(text: str) -> str:
    """A text in which what a path has beside UTF-8 is replaced, so that it prints."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
