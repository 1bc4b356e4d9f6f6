"""Training that can be interrupted: everything that the next update depends on, kept in
one file.

Used by `serlib.training`; taught in no chapter.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from serlib.files import atomic

log = logging.getLogger(__name__)

SECONDS = 60.0
"""Time from one checkpoint to the next: what an interruption costs at most, and a file
of up to 30 MB.
"""

SEAL = 16
"""Bytes at the file's end, a BLAKE2b of the others: torch does not look at checksums.
"""


@dataclass
class Checkpoint:
    """The file of one run's checkpoint.

    Attributes:
        path: where it lies.
        key: of the run (`serlib.results.run_key`); a checkpoint of another run is not
            taken up.
        earlier: seconds that the run had taken when it was interrupted.
    """

    path: Path
    key: str
    earlier: float = 0.0
    _begun: float = field(default=0.0, repr=False)
    _saved: float = field(default=0.0, repr=False)

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, on the CPU; None if there is nothing, or nothing
        of this run that can be read.
        """
        self._begun = self._saved = time.monotonic()
        if not self.path.is_file():
            return None
        try:
            content = self.path.read_bytes()
            if _seal(content[:-SEAL]) != content[-SEAL:]:
                raise ValueError("its checksum is another")
            content = io.BytesIO(content[:-SEAL])
            state = torch.load(content, map_location="cpu", weights_only=True)
            key, seconds = state.pop("key"), state.pop("seconds")
        except (
            OSError,
            RuntimeError,
            EOFError,
            KeyError,
            AttributeError,
            ValueError,
            pickle.UnpicklingError,
        ) as error:
            log.warning(
                "%s is damaged (%s); the run starts anew",
                self.path,
                str(error).partition("\n")[0],
            )
            return None
        if key != self.key:
            log.warning("%s belongs to another run; this one starts anew", self.path)
            return None
        self.earlier = seconds
        return state

    def due(self) -> bool:
        """Say whether `SECONDS` have passed since the last save, or since `load`."""
        return time.monotonic() - self._saved >= SECONDS

    def save(self, state: dict[str, Any]) -> None:
        """Write tensors, numbers, strings, lists and dictionaries of them; raise
        OSError if that cannot be done.
        """
        seconds = self.earlier + time.monotonic() - self._begun
        content = io.BytesIO()  # torch's own way does not say why it cannot write
        torch.save(state | {"key": self.key, "seconds": seconds}, content)
        content.write(_seal(content.getvalue()))
        with atomic(self.path) as temporary:
            temporary.write_bytes(content.getbuffer())
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _seal(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=SEAL).digest()
