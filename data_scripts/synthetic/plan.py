"""Who says what, how and with which emotion: the whole corpus decided before any of it is spoken.

The design of the controlled corpus, with the class counts and sessions of IEMOCAP (Busso et al. 2008); chapter `intro`.
Everything follows from the number of utterances and a seed.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from data_scripts.synthetic import grammar
from data_scripts.synthetic.lexicon import EMOTIONS
from data_scripts.synthetic.voice import Reading

T = TypeVar("T")

FULL = 5531
LABELS = {"ang": 1103, "hap": 595, "exc": 1041, "neu": 1708, "sad": 1084}
"""IEMOCAP's utterances of each label, excited apart from happy as in its files."""
SESSIONS = {1: 1085, 2: 1023, 3: 1151, 4: 1031, 5: 1241}
SCRIPTED = 2588
SCRIPTS = ("script01_1", "script01_2", "script01_3", "script02_1", "script02_2", "script03_1", "script03_2")
IMPROVISATIONS = 16  # a session
EMOTION_OF = {"ang": "angry", "hap": "happy", "exc": "happy", "neu": "neutral", "sad": "sad"}

ITEMS = {"plain": 0.75, "emphasis": 0.25}
SHOWN = 0.6  # how often the words, or the voice, of a plain item show its emotion
KEPT = 0.8  # how often a play gives a shared line of a script its intended emotion
KEPT_STRESS = 0.75  # how often a play stresses the intended word
SHORT = 0.1  # plain items of a few words
FILLERS = {"plain": (0.68, 0.17, 0.065, 0.04, 0.03, 0.015), "emphasis": (0.89, 0.07, 0.02, 0.02)}
"""Probabilities of 0, 1, ... shared sentences around the one that carries the cue."""
TAGS = {"": 0.985, "[LAUGHTER]": 0.008, "[BREATHING]": 0.007}  # of improvised utterances

SPEAKERS = {
    "Ses01F": Reading("f3", 176, 54, 50, -5.9),
    "Ses02F": Reading("f2", 170, 46, 52, -7.0),
    "Ses03F": Reading("f5", 182, 62, 48, -5.2),
    "Ses04F": Reading("f1", 166, 58, 50, -6.5),
    "Ses05F": Reading("f4", 188, 48, 50, -6.8),
    "Ses01M": Reading("m1", 172, 52, 50, -4.0),
    "Ses02M": Reading("m2", 180, 44, 52, -3.8),
    "Ses03M": Reading("m3", 164, 58, 48, -5.2),
    "Ses04M": Reading("m6", 186, 40, 50, -5.0),
    "Ses05M": Reading("m7", 176, 50, 48, -6.6),
}
"""A plain reading by each speaker; the gains bring all to about -31 dB below full scale."""


@dataclass(frozen=True, slots=True)
class Style:
    """What an emotion does to a plain reading: a factor for the rate, additions to pitch, range and gain."""

    rate: float
    pitch: int
    range: int
    gain: float


STYLES = {
    "angry": Style(1.22, 6, 30, 6.0),
    "happy": Style(1.06, 22, 48, 2.0),
    "neutral": Style(1.0, 0, 0, 0.0),
    "sad": Style(0.76, -14, -38, -6.0),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """An utterance before it is spoken.

    Attributes:
        id, session, dialogue, speaker: names as in IEMOCAP.
        label: `ang`, `hap`, `exc`, `neu` or `sad`.
        emotion: one of the four classes.
        item: `plain` or `emphasis`.
        words: plain: the emotion that the words show, or `shared`; emphasis: the two named, `angry|sad`.
        voice: the emotion of the voice; `neutral` is a plain reading.
        stressed, decoy: for emphasis, indices of the stressed word of emotion and of the other stressed word, or None.
        line: for instance `script01_1:12`; "" if improvised.
        tokens: the transcript's words with their punctuation.
        tag: `[LAUGHTER]` or `[BREATHING]` after the words, or "".
        reading: voice settings.
        pause: seconds before the turn.
    """

    id: str
    session: int
    dialogue: str
    speaker: str
    label: str
    emotion: str
    item: str
    words: str
    voice: str
    stressed: int | None
    decoy: int | None
    line: str
    tokens: tuple[str, ...]
    tag: str
    reading: Reading
    pause: float

    @property
    def text(self) -> str:
        """The transcript."""
        return " ".join([*self.tokens, self.tag] if self.tag else self.tokens)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A turn to be: its cues and words, before it has a name and a voice."""

    emotion: str
    item: str
    words: str
    voice: str
    sentence: grammar.Sentence
    clause: int | None = None  # of an emphasis item, whose word is stressed
    line: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of a script: the same words by the same role in every play."""

    key: str
    role: str
    emotion: str
    item: str
    words: str
    sentence: grammar.Sentence
    clause: int | None = None


def apportion(total: int, weights: Mapping[T, float]) -> dict[T, int]:
    """Share out `total` in proportion to `weights` in whole numbers, by largest remainder."""
    whole = sum(weights.values())
    exact = {key: total * weight / whole for key, weight in weights.items()}
    shares = {key: int(value) for key, value in exact.items()}
    rest = total - sum(shares.values())
    for key in sorted(exact, key=lambda k: shares[k] - exact[k])[:rest]:
        shares[key] += 1
    return shares


def class_counts(utterances: int) -> dict[str, int]:
    """Return how many utterances have each label; exactly IEMOCAP's for 5,531."""
    return apportion(utterances, LABELS)


def deck(total: int, weights: Mapping[T, float], rng: random.Random) -> list[T]:
    """Return `total` draws whose counts are in proportion to `weights`, in random order."""
    cards = [key for key, count in apportion(total, weights).items() for _ in range(count)] if total else []
    rng.shuffle(cards)
    return cards


PRIORS = {e: sum(n for label, n in LABELS.items() if EMOTION_OF[label] == e) / FULL for e in EMOTIONS}

# Ordered pairs of named emotions. The weight of a pair is the sum of its classes' priors less a third: then each class
# has its prior also among the emphasis items, though either word of any pair is the label half of the time.
PAIRS = {(a, b): PRIORS[a] + PRIORS[b] - 1 / 3 for a, b in itertools.permutations(EMOTIONS, 2)}
ORDERS = tuple(itertools.product(("first", "last"), repeat=2))


def plan(utterances: int, seed: int = 0) -> dict[str, list[Planned]]:
    """Decide the whole corpus.

    Args:
        utterances: how many, at least 50.
        seed: of every choice.

    Returns:
        dialogue name to its utterances in the order in which they are spoken.

    Raises:
        ValueError: for fewer than 50 utterances.
    """
    if utterances < 50:
        raise ValueError(f"{utterances} utterances were asked for; the corpus needs at least 50")
    rng = random.Random(f"{seed}/plan")
    labels = class_counts(utterances)
    totals = Counter()
    for label, count in labels.items():
        totals[EMOTION_OF[label]] += count
    sessions = apportion(utterances, SESSIONS)
    scripted = apportion(round(utterances * SCRIPTED / FULL), sessions)
    writer = _Writer(rng)

    while True:  # a small corpus may by chance script more of a class than it has
        plays = _plays(writer, scripted, rng)
        left = totals - Counter(turn.emotion for turns in plays.values() for turn in turns)
        improvised = _improvised(writer, left, utterances - sum(scripted.values()), rng)
        if improvised is not None:
            break
    rng.shuffle(improvised)
    dialogues = plays
    for session, count in sessions.items():
        turns, improvised = improvised[: count - scripted[session]], improvised[count - scripted[session] :]
        dialogues |= _scenes(session, turns, rng)
    return _named(dialogues, labels, seed, rng)


def digest(dialogues: Mapping[str, Sequence[Planned]]) -> str:
    """Return a hash of everything that was decided."""
    content = repr([asdict(utterance) for turns in dialogues.values() for utterance in turns])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


class _Writer:
    """Writes sentences, no two alike as far as short ones allow."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._seen: set[tuple[str, ...]] = set()

    def plain(self, words: str) -> grammar.Sentence:
        short = self._rng.random() < SHORT
        fillers = 0 if short and self._rng.random() < 0.8 else self._fillers("plain")
        emotion = None if words == "shared" else words
        return self._new(lambda: grammar.compose(self._rng, emotion=emotion, short=short, fillers=fillers))

    def emphasis(self, pair: tuple[str, str], order: tuple[str, str]) -> grammar.Sentence:
        fillers = self._fillers("emphasis")
        return self._new(lambda: grammar.compose(self._rng, pair=pair, order=order, fillers=fillers))

    def _fillers(self, item: str) -> int:
        return self._rng.choices(range(len(FILLERS[item])), FILLERS[item])[0]

    def _new(self, write: Callable[[], grammar.Sentence]) -> grammar.Sentence:
        for _ in range(8):
            sentence = write()
            if sentence.tokens not in self._seen:
                break
        self._seen.add(sentence.tokens)
        return sentence


def _scripts(writer: _Writer, lines: int, rng: random.Random) -> dict[str, list[_Line]]:
    """Write the seven scripts, each of `lines` lines."""
    total = lines * len(SCRIPTS)
    items = deck(total, ITEMS, rng)
    plain = []
    for emotion, count in apportion(items.count("plain"), PRIORS).items():
        plain += [(emotion, words) for words in deck(count, {emotion: SHOWN, "shared": 1 - SHOWN}, rng)]
    rng.shuffle(plain)
    cells = _cells(items.count("emphasis"), rng)
    scripts: dict[str, list[_Line]] = {script: [] for script in SCRIPTS}
    role = "F"
    for i, item in enumerate(items):
        script = SCRIPTS[i // lines]
        key = f"{script}:{len(scripts[script]):02d}"
        if item == "plain":
            emotion, words = plain.pop()
            line = _Line(key, role, emotion, item, words, writer.plain(words))
        else:
            pair, order, clause = cells.pop()
            line = _Line(key, role, pair[clause], item, "|".join(pair), writer.emphasis(pair, order), clause)
        scripts[script].append(line)
        role = _other(role, rng)
    return scripts


def _cells(total: int, rng: random.Random) -> list[tuple[tuple[str, str], tuple[str, str], int]]:
    """Return for each emphasis item its pair, the order within its clauses, and the clause that is stressed."""
    weights = {(pair, clause): weight for pair, weight in PAIRS.items() for clause in (0, 1)}
    cells = []
    for (pair, clause), count in apportion(total, weights).items():
        cells += [(pair, order, clause) for order in _spread(ORDERS, count, rng)]
    rng.shuffle(cells)
    return cells


def _spread(values: Sequence[T], total: int, rng: random.Random) -> list[T]:
    """Return `total` values, each as often as the others, in random order."""
    shuffled = rng.sample(values, len(values))
    return [shuffled[i % len(values)] for i in range(total)]


def _other(role: str, rng: random.Random) -> str:
    """Return who speaks next: mostly the other one."""
    return role if rng.random() < 0.2 else "MF"["FM".index(role)]


def _plays(writer: _Writer, scripted: Mapping[int, int], rng: random.Random) -> dict[str, list[_Turn]]:
    """Let every session play the scripts twice, each time with some lines left out."""
    sizes = {}
    for session, count in scripted.items():
        names = [f"Ses0{session}{wearer}_{script}" for script in SCRIPTS for wearer in "FM"]
        sizes |= {name: size for name, size in apportion(count, dict.fromkeys(names, 1)).items() if size}
    scripts = _scripts(writer, -(-13 * max(sizes.values()) // 10), rng)
    chosen = {
        name: [scripts[name[7:]][i] for i in sorted(rng.sample(range(len(scripts[name[7:]])), size))]
        for name, size in sizes.items()
    }
    keys = [(name, i) for name, lines in chosen.items() for i in range(len(lines))]
    turns = {key: _play(chosen[key[0]][key[1]], rng) for key in keys}
    for pair in PAIRS:
        _stress([key for key in keys if turns[key].words == "|".join(pair)], pair, turns, rng)
    for emotion, words in itertools.product(EMOTIONS, (*EMOTIONS, "shared")):
        alike = [key for key in keys if (turns[key].emotion, turns[key].words) == (emotion, words)]
        for key, voice in zip(alike, deck(len(alike), _voices(emotion), rng), strict=True):
            turns[key] = replace(turns[key], voice=voice)
    return {name: [turns[name, i] for i in range(len(lines))] for name, lines in chosen.items()}


def _play(line: _Line, rng: random.Random) -> _Turn:
    """Say a line: what the words leave open is mostly, not always, played as it is meant."""
    emotion = line.emotion
    if line.words == "shared" and rng.random() >= KEPT:
        emotion = rng.choices(EMOTIONS, [PRIORS[e] for e in EMOTIONS])[0]
    return _Turn(emotion, line.item, line.words, "neutral", line.sentence, line.clause, line.key, line.role)


def _stress(keys: list, pair: tuple[str, str], turns: dict, rng: random.Random) -> None:
    """Choose which word the plays of lines naming `pair` stress.

    KEPT_STRESS of them stress the word that the line intends, and each of the two words is stressed by half of them, so
    that the text alone tells nothing about the emotion.
    """
    meant = [[key for key in keys if turns[key].clause == clause] for clause in (0, 1)]
    lean = (len(meant[0]) - len(meant[1])) / 2
    first = min(max(round((KEPT_STRESS * len(keys) + lean) / 2), 0), len(meant[0]))
    second = min(max(round(first - lean), 0), len(meant[1]))
    for clause, kept in ((0, first), (1, second)):
        rng.shuffle(meant[clause])
        for key in meant[clause][kept:]:
            turns[key] = replace(turns[key], clause=1 - clause, emotion=pair[1 - clause])


def _voices(emotion: str) -> dict[str, float]:
    """Return the voices of plain items of a class and how often each is used."""
    return {"neutral": 1.0} if emotion == "neutral" else {emotion: SHOWN, "neutral": 1 - SHOWN}


def _improvised(writer: _Writer, left: Counter, total: int, rng: random.Random) -> list[_Turn] | None:
    """Return improvised turns with exactly the class counts `left`, or None where that is impossible."""
    turns = []
    cells = _cells(apportion(total, ITEMS)["emphasis"], rng)
    plain = left - Counter(pair[clause] for pair, _, clause in cells)
    if plain.total() + len(cells) != total:
        return None
    for pair, order, clause in cells:
        sentence = writer.emphasis(pair, order)
        turns.append(_Turn(pair[clause], "emphasis", "|".join(pair), "neutral", sentence, clause))
    for emotion in EMOTIONS:
        shown = {emotion: SHOWN, "shared": 1 - SHOWN}
        cues = {(w, v): p * q for w, p in shown.items() for v, q in _voices(emotion).items()}
        for words, voice in deck(plain[emotion], cues, rng):
            turns.append(_Turn(emotion, "plain", words, voice, writer.plain(words)))
    return turns


def _scenes(session: int, turns: list[_Turn], rng: random.Random) -> dict[str, list[_Turn]]:
    """Part a session's improvised turns into dialogues."""
    half = min(IMPROVISATIONS // 2, max(1, len(turns) // 12))
    names = [f"Ses0{session}{wearer}_impro{i:02d}" for wearer in "FM" for i in range(1, half + 1)]
    scenes: dict[str, list[_Turn]] = {}
    role = rng.choice("FM")
    for name, size in apportion(len(turns), {name: rng.uniform(0.7, 1.3) for name in names}).items():
        scene, turns = turns[:size], turns[size:]
        for i, turn in enumerate(scene):
            scene[i] = replace(turn, role=role)
            role = _other(role, rng)
        if scene:
            scenes[name] = scene
    return scenes


def _named(
    dialogues: Mapping[str, list[_Turn]], labels: Mapping[str, int], seed: int, rng: random.Random
) -> dict[str, list[Planned]]:
    """Give the turns names, labels and voices."""
    happy = deck(labels["hap"] + labels["exc"], {"hap": labels["hap"], "exc": labels["exc"]}, rng)
    label_of = {emotion: label for label, emotion in EMOTION_OF.items() if emotion != "happy"}
    named: dict[str, list[Planned]] = {}
    for dialogue in sorted(dialogues):
        named[dialogue] = []
        counts: Counter[str] = Counter()
        for turn in dialogues[dialogue]:
            name = f"{dialogue}_{turn.role}{counts[turn.role]:03d}"
            counts[turn.role] += 1
            own = random.Random(f"{seed}/{name}")
            sentence, clause = turn.sentence, turn.clause
            speaker = dialogue[:5] + turn.role
            utterance = Planned(
                id=name,
                session=int(dialogue[4]),
                dialogue=dialogue,
                speaker=speaker,
                label=label_of.get(turn.emotion) or happy.pop(),
                emotion=turn.emotion,
                item=turn.item,
                words=turn.words,
                voice=turn.voice,
                stressed=None if clause is None else sentence.named[clause],
                decoy=None if clause is None else own.choice(sentence.decoys[1 - clause]),
                line=turn.line,
                tokens=sentence.tokens,
                tag="" if turn.line else own.choices(list(TAGS), list(TAGS.values()))[0],
                reading=_reading(SPEAKERS[speaker], STYLES[turn.voice], own),
                pause=round(own.lognormvariate(-0.9, 0.7), 4),
            )
            named[dialogue].append(utterance)
    return named


def _reading(plain: Reading, style: Style, rng: random.Random) -> Reading:
    """Return a speaker's reading in a style, a little different every time."""

    def scale(value: float) -> int:
        return round(min(max(value, 0), 99))

    return Reading(
        variant=plain.variant,
        rate=round(plain.rate * style.rate * rng.uniform(0.93, 1.07)),
        pitch=scale(plain.pitch + style.pitch + rng.uniform(-5, 5)),
        range=scale(plain.range + style.range + rng.uniform(-8, 8)),
        gain=round(plain.gain + style.gain + rng.uniform(-1.5, 1.5), 2),
    )
