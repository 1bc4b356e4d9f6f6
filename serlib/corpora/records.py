"""What a corpus is made of: utterances, the segments of their alignments, and what
could not be read.

Every reader in `serlib.corpora` returns these records, so nothing after it knows a file
format. Taught in chapter `corpora`; used by all five papers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

EMOTIONS = ("angry", "happy", "neutral", "sad")
"""The four classes in the order of their class indices."""

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
        speaker: unique over the corpus, for instance `Ses01F`.
        session: recording session, the unit that leave-one-session-out leaves out.
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


@dataclass(frozen=True)
class Corpus:
    """Utterances sorted by id, and what could not be read.

    Attributes:
        name: `iemocap`, `synthetic`, `ravdess` or `sewa`.
        root: folder the corpus was read from.
        utterances: sorted by id.
        skipped: whatever the reader left out, and why.
    """

    name: str
    root: Path
    utterances: list[Utterance]
    skipped: list[Skip] = field(default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "utterances", sorted(self.utterances, key=lambda u: u.id)
        )
        if len(self._by_id) != len(self.utterances):
            seen: set[str] = set()
            twice = next(
                u.id for u in self.utterances if u.id in seen or seen.add(u.id)
            )
            raise ValueError(
                f"{self.root}: two utterances are named {twice}; ids must be unique"
            )

    @cached_property
    def _by_id(self) -> Mapping[str, Utterance]:
        return {u.id: u for u in self.utterances}

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def __getitem__(self, id: str) -> Utterance:
        """Return the utterance named `id`; raise KeyError if there is none."""
        return self._by_id[id]

    @property
    def synthetic(self) -> bool:
        """True if the speech was made by a synthesiser; results on it must say so."""
        return self.name.startswith("synthetic")

    def select(self, ids: Iterable[str]) -> Corpus:
        """Return the corpus of the utterances named in `ids`; raise KeyError for an
        unknown id.
        """
        return replace(self, utterances=[self[id] for id in ids])

    def four_class(self) -> Corpus:
        """Return the utterances of the four classes, excited merged into happy.

        yoon2018, shen2020 and krishna2020 say that they do this; xu2019 only names the
        four classes. On IEMOCAP it gives 5,531 utterances. Utterances with another
        label, or none, are left out; `len(corpus) - len(corpus.four_class())` says how
        many.
        """
        merged = (
            replace(u, emotion=MERGED.get(u.emotion, u.emotion))
            for u in self.utterances
        )
        return replace(self, utterances=[u for u in merged if u.emotion in EMOTIONS])

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
        for u in self.utterances:
            with u.audio.open("rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
            digest.update(f"{u.id} {content}\n".encode())
        return digest.hexdigest()
