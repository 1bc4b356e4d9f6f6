"""Speech from the espeak-ng synthesiser, with the time of every word and phone.

Stands in for the actors of IEMOCAP (Busso et al. 2008); chapter `intro`.
espeak-ng comes as a shared library in the package `espeakng-loader` and is called through ctypes.
"""

from __future__ import annotations

import _ctypes
import ctypes
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from xml.sax.saxutils import escape

import numpy as np

NATIVE_RATE = 22_050
VOLUME = 60  # of espeak's own scale, which clips near 100; levels are set by `Reading.gain`
STRESS = '<prosody pitch="+60%" volume="+50%" rate="70%">'
"""What emphasis does to a word: higher, louder, longer."""

ARPABET = {
    "i": "IY", "i:": "IY", "i@": "IY", "i@3": "IR", "I": "IH", "I#": "IH", "I2": "IH", "E": "EH",
    "e@": "EHR", "eI": "EY",
    "a": "AE", "aa": "AE", "a#": "AH", "@": "AH", "@-": "AH", "@2": "AH", "@L": "EL", "V": "AH", "3": "AXR", "3:": "ER",
    "A:": "AA", "A@": "AAR", "0": "AA", "O2": "AO", "O:": "AO", "O@": "AOR", "o@": "AOR", "oU": "OW", "OI": "OY",
    "U": "UH", "U@": "UHR", "u:": "UW", "aI": "AY", "aI@": "AY", "aI3": "AYR", "aU": "AW", "aU@": "AWR",
    "p": "P", "b": "B", "t": "T", "t#": "DX", "t2": "T", "?": "T", "d": "D", "k": "K", "g": "G", "tS": "CH", "dZ": "JH",
    "f": "F", "v": "V", "T": "TH", "D": "DH", "s": "S", "z": "Z", "S": "SH", "Z": "ZH", "h": "HH",
    "m": "M", "n": "N", "n-": "N", "N": "NG", "l": "L", "r": "R", "r-": "R", "w": "W", "j": "Y",
}  # fmt: skip
"""espeak's phones and the symbols in alignments: the ARPAbet (EL, AXR and DX as in TIMIT), vowels with R where espeak
speaks vowel and R as one phone."""

GLIDES = {";"}
"""Transitions that espeak reports as phones: they belong to the phone before."""

PUNCTUATION = ".,?!"


@dataclass(frozen=True, slots=True)
class Reading:
    """How an utterance is read.

    Attributes:
        variant: espeak's voice variant, for instance `f3`.
        rate: words a minute.
        pitch, range: espeak's scales of 0 to 100; 50 is the variant's own.
        gain: decibels, applied to the samples.
    """

    variant: str
    rate: int
    pitch: int
    range: int
    gain: float


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone as the synthesiser spoke it.

    Attributes:
        symbol: espeak's name.
        start, end: samples at NATIVE_RATE.
        word: index of its word; -1 for a pause.
    """

    symbol: str
    start: int
    end: int
    word: int


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken utterance.

    Attributes:
        samples: (samples,) int16 at NATIVE_RATE.
        phones: in order, without gaps, from 0 to the end; each word has at least one.
    """

    samples: np.ndarray
    phones: tuple[Phone, ...]


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))

# constants of espeak-ng's speak_lib.h
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _DO_NOT_EXIT = 0x1, 0x8000
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_UTF8, _SSML = 0x1, 0x10
_PHONEME = 7
_SEED = 1  # 0 would be the time of day


def library() -> tuple[str, str]:
    """Return the paths of the espeak-ng library and of its data.

    Raises:
        RuntimeError: if the package that carries them is not installed.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise RuntimeError(
            "the synthetic corpus is spoken by espeak-ng, which is not installed; "
            "install it with: pip install espeakng-loader"
        ) from error
    return str(espeakng_loader.get_library_path()), str(espeakng_loader.get_data_path())


class Synthesiser:
    """espeak-ng, loaded afresh for every utterance.

    The library keeps oscillator phases and flutter from one utterance to the next, and neither its random seed nor
    `espeak_Terminate` resets them. Unloading it does, in a third of a millisecond; with the seed of the breath's noise
    set as well, an utterance sounds the same whatever was spoken before it.
    """

    def __init__(self) -> None:
        self._path, self._data = library()

    @contextmanager
    def _engine(self) -> Iterator[ctypes.CDLL]:
        engine = ctypes.CDLL(self._path)
        try:
            rate = engine.espeak_Initialize(_SYNCHRONOUS, 0, self._data.encode(), _PHONEME_EVENTS | _DO_NOT_EXIT)
            if rate != NATIVE_RATE:
                raise RuntimeError(f"espeak-ng did not start with its data in {self._data}; reinstall espeakng-loader")
            engine.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
            yield engine
            engine.espeak_Terminate()
        finally:
            _UNLOAD(engine._handle)

    def version(self) -> str:
        """Return the version of espeak-ng."""
        with self._engine() as engine:
            engine.espeak_Info.restype = ctypes.c_char_p
            return engine.espeak_Info(None).decode()

    def speak(self, words: Sequence[str], reading: Reading, stressed: Iterable[int] = ()) -> Speech:
        """Say an utterance.

        Args:
            words: tokens, each with the punctuation that follows it.
            reading: voice and style.
            stressed: indices of the words to emphasise.

        Raises:
            RuntimeError: if the library refuses a voice or the text.
        """
        chunks: list[bytes] = []
        events: list[tuple[int, str, int]] = []

        @_CALLBACK
        def receive(samples, count, event):  # called by espeak for every stretch of sound
            if count > 0:
                chunks.append(ctypes.string_at(samples, 2 * count))
            i = 0
            while event[i].type:
                if event[i].type == _PHONEME:
                    name = ctypes.string_at(ctypes.addressof(event[i].id), 8).split(b"\0")[0].decode()
                    events.append((event[i].sample, name, event[i].text_position))
                i += 1
            return 0

        with self._engine() as engine:
            engine.espeak_SetSynthCallback(receive)
            self._check(engine.espeak_SetVoiceByName(f"en-us+{reading.variant}".encode()), f"voice {reading.variant}")
            settings = {_RATE: reading.rate, _VOLUME: VOLUME, _PITCH: reading.pitch, _RANGE: reading.range}
            for parameter, value in settings.items():
                self._check(engine.espeak_SetParameter(parameter, value, 0), f"{reading}")
            text, positions = ssml(words, stressed)
            encoded = text.encode()
            self._check(
                engine.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8 | _SSML, None, None), " ".join(words)
            )
        samples = np.frombuffer(b"".join(chunks), np.int16)
        phones = _phones(events, positions, len(samples))
        return Speech(samples, self._share(phones, words))

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the phones of each word spoken alone, as espeak's names without stress marks."""
        pronunciations = {}
        with self._engine() as engine:
            self._check(engine.espeak_SetVoiceByName(b"en-us"), "voice en-us")
            engine.espeak_TextToPhonemes.restype = ctypes.c_char_p
            for word in words:
                text = ctypes.c_char_p(word.encode())
                names = engine.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, ord("_") << 8)
                symbols = map(bare, names.decode().replace(" ", "_").split("_"))  # `42` is spoken as two words
                pronunciations[word] = tuple(symbol for symbol in symbols if symbol and symbol not in GLIDES)
        return pronunciations

    def _share(self, phones: list[Phone], words: Sequence[str]) -> tuple[Phone, ...]:
        """Give every word its phones.

        espeak speaks some pairs of function words (`I am`, `out of`) as one word: the phones of such a group are shared
        out in proportion to the words' lengths when spoken alone.
        """
        spoken = {phone.word for phone in phones} - {-1}
        if len(spoken) == len(words):
            return tuple(phones)
        plain = [word.strip(PUNCTUATION) for word in words]
        alone = self.pronounce(plain)
        shared = list(phones)
        for first, after in pairwise([*sorted(spoken | {0}), len(words)]):
            own = [i for i, phone in enumerate(phones) if phone.word == first]
            if len(own) < after - first:
                raise RuntimeError(f"espeak-ng spoke too few sounds for {words[first:after]} in {' '.join(words)!r}")
            lengths = np.cumsum([len(alone[word]) or 1 for word in plain[first:after]])
            for rank, i in enumerate(own):
                word = first + int(np.searchsorted(lengths, (rank + 0.5) * lengths[-1] / len(own)))
                word = min(max(word, after - len(own) + rank), first + rank)  # a phone at least for each
                shared[i] = replace(phones[i], word=word)
        return tuple(shared)

    @staticmethod
    def _check(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng refused {what} (status {status})")


_UNLOAD = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary


def ssml(words: Sequence[str], stressed: Iterable[int] = ()) -> tuple[str, list[int]]:
    """Return the utterance as SSML with emphasis on the words `stressed`, and where each word starts (from 1)."""
    stressed = set(stressed)
    text = "<speak>"
    positions = []
    for i, token in enumerate(words):
        word = token.rstrip(PUNCTUATION)
        positions.append(len(text) + 1)
        text += f"{STRESS}{escape(word)}</prosody>" if i in stressed else escape(word)
        text += token[len(word) :] + " "
    return text.rstrip() + "</speak>", positions


def bare(symbol: str) -> str:
    """Return espeak's name of a phone without stress marks; "" for a pause."""
    return symbol.lstrip("',=%|_:!")


def arpabet(symbol: str) -> str:
    """Return the ARPAbet symbol of espeak's phone; raise RuntimeError for one that this version of espeak invented."""
    if symbol not in ARPABET:
        raise RuntimeError(
            f"espeak-ng speaks a phone {symbol!r} that is not in ARPABET; add it there, or use espeak-ng 1.52"
        )
    return ARPABET[symbol]


def _phones(events: list[tuple[int, str, int]], positions: list[int], length: int) -> list[Phone]:
    """Turn espeak's events into phones that follow one another without a gap.

    A phone's text position is that of its word, also where espeak's word events and marks come late or not at all.
    """
    phones: list[Phone] = []
    ends = [*(sample for sample, _, _ in events[1:]), length]
    for (start, name, position), end in zip(events, ends, strict=True):
        symbol = bare(name)
        if end <= start:
            continue
        longer_pause = not symbol and phones and not phones[-1].symbol
        if longer_pause or (symbol in GLIDES and phones):
            phones[-1] = replace(phones[-1], end=end)
        else:
            phones.append(Phone(symbol, start, end, bisect_right(positions, position) - 1 if symbol else -1))
    return phones
