"""Small trees in the layouts of IEMOCAP and RAVDESS, for tests that then break them."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import pytest

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
WORDS = """\tSFrm  EFrm    SegAScr Word
\t   0     9     -61309 <s>
\t  10    29     -81309 WHAT(2)
\t  30    34      -1309 <sil>
\t  35    69     -91309 NOW
\t  70    79      -1309 ++LAUGHTER++
\t  80    99     -61309 </s>
Total score:     -298154
"""
PHONES = """\tSFrm  EFrm   SegAScr Phone
\t   0     9    -61309 SIL
\t  10    14    -81309 W SIL AH b
\t  15    29    -81309 AH W T i
\t  30    34     -1309 SIL
\t  35    69    -91309 N SIL AW b
\t  70    99     -1309 +LAUGH+
Total score:     -298154
"""


def write_wav(path: Path, seconds: float = 1.0, rate: int = 16000, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * channels * round(seconds * rate)))


class Iemocap:
    """A tree in IEMOCAP's layout; `add` dialogues, then `change` what should be wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wav = root.parent / "one-second.wav"
        write_wav(self.wav)

    def add(self, dialogue: str, emotions: list[str], *, alignment: bool = True) -> Iemocap:
        """Write a dialogue whose utterances F000, M001, F002, ... have these emotions."""
        session = self.root / f"Session{dialogue[4]}"
        ids = [f"{dialogue}_{'FM'[i % 2]}{i:03}" for i in range(len(emotions))]
        labels, texts = HEADER, ""
        for i, (id, emotion) in enumerate(zip(ids, emotions, strict=True)):
            labels += (
                f"[{i}.2901 - {i}.9357]\t{id}\t{emotion}\t[2.5000, 3.0000, 3.5000]\n"
                "C-E2:\tNeutral;\t()\nC-F1:\tNeutral; Other;\t(curious)\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
            )
            texts += f"{id} [{i:03}.2901-{i:03}.9357]: What now?\n"
        for path, text in (("EmoEvaluation", labels), ("transcriptions", texts)):
            file = session / "dialog" / path / f"{dialogue}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        waves, aligned = (session / "sentences" / name / dialogue for name in ("wav", "ForcedAlignment"))
        waves.mkdir(parents=True)
        aligned.mkdir(parents=True)
        for id in ids:
            os.link(self.wav, waves / f"{id}.wav")
            if alignment:
                (aligned / f"{id}.wdseg").write_text(WORDS)
                (aligned / f"{id}.phseg").write_text(PHONES)
        return self

    def path(self, kind: str, name: str) -> Path:
        """The file of a dialogue (`labels`, `text`) or of an utterance (`wav`, `wdseg`, `phseg`)."""
        session = self.root / f"Session{name[4]}"
        if kind in ("labels", "text"):
            return session / "dialog" / {"labels": "EmoEvaluation", "text": "transcriptions"}[kind] / f"{name}.txt"
        folder = "wav" if kind == "wav" else "ForcedAlignment"
        return session / "sentences" / folder / name.rpartition("_")[0] / f"{name}.{kind}"

    def change(self, kind: str, name: str, old: str | bytes, new: str | bytes) -> None:
        """Replace a piece of a file that must be there once."""
        path = self.path(kind, name)
        old, new = (piece.encode() if isinstance(piece, str) else piece for piece in (old, new))
        content = path.read_bytes()
        assert content.count(old) == 1
        path.unlink()
        path.write_bytes(content.replace(old, new))


@pytest.fixture
def iemocap_tree(tmp_path: Path) -> Iemocap:
    """Two sessions: an improvised dialogue of three utterances in one, a scripted one of two in the other."""
    tree = Iemocap(tmp_path / "IEMOCAP_full_release")
    return tree.add("Ses01F_impro01", ["neu", "ang", "xxx"]).add("Ses02M_script02_2", ["exc", "sad"])


@pytest.fixture
def empty_iemocap_tree(tmp_path: Path) -> Iemocap:
    return Iemocap(tmp_path / "IEMOCAP_full_release")


@pytest.fixture
def ravdess_tree(tmp_path: Path) -> Path:
    """Two actors with a file in each of three emotions: mono, stereo, and at another rate."""
    root = tmp_path / "ravdess"
    for actor in ("01", "02"):
        folder = root / f"Actor_{actor}"
        write_wav(folder / f"03-01-01-01-01-01-{actor}.wav", 1.0, rate=48000)
        write_wav(folder / f"03-01-02-02-02-01-{actor}.wav", 2.0, rate=48000, channels=2)
        write_wav(folder / f"03-01-05-01-02-02-{actor}.wav", 3.0, rate=16000)
    return root
