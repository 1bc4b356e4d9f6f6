"""What a subject says: sentences about a commercial and its product, with words of the sentiment that is felt.

Stands in for the German conversations of SEWA (tzirakis2021, section 4), which are licensed; chapter `corpora`. The
words of feeling are those of the synthetic corpus (`data_scripts.synthetic.lexicon`), sorted by strength; everything
else that is named comes from its semantic classes.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_scripts.conversations.latents import DIMENSIONS, SPREAD
from data_scripts.synthetic import grammar
from data_scripts.synthetic.grammar import Word

LEVELS = {-2: -0.7, -1: -0.35, 0: 0.0, 1: 0.35, 2: 0.7}
"""Strength of a word and the valence or liking that it stands for."""

# adjectives with the preposition they take, by strength; calm ones first, aroused ones after the bar
FEELINGS = {
    -2: "devastated by, heartbroken over, miserable about, depressed about, crushed by, hopeless about,"
    " despondent about, mournful about | furious about, livid about, outraged by, enraged by, infuriated by,"
    " incensed by, irate about, hostile about",
    -1: "sad about, gloomy about, unhappy about, downhearted about, melancholy about, disheartened by | annoyed about,"
    " irritated by, aggravated by, exasperated by, cranky about, resentful about",
    0: "indifferent to, neutral about, unconcerned about, unbothered by, unmoved by, impartial about, undecided about,"
    " unaffected by, unsurprised by, disinterested in",
    1: "glad about, pleased with, proud of, grateful for | happy about, amused by, cheerful about, charmed by",
    2: "delighted with, overjoyed about, joyful about, jubilant about | thrilled about, excited about, ecstatic about,"
    " elated by, euphoric about, enthusiastic about",
}
QUALITIES = {
    -2: "outrageous disgraceful appalling despicable tragic heartbreaking pitiful",
    -1: "dreary dismal bleak depressing saddening maddening",
    0: "ordinary routine standard average typical unremarkable regular mundane",
    1: "lovely delightful pleasant charming sweet",
    2: "wonderful fantastic amazing brilliant marvelous glorious",
}
STANCES = {
    -2: "hate despise loathe detest",
    -1: "dislike distrust doubt resent",
    0: "note record register acknowledge",
    1: "like enjoy welcome fancy",
    2: "love adore treasure cherish",
}
JUDGEMENTS = {
    -2: "useless worthless awful horrible dreadful ridiculous",
    -1: "clumsy bland flimsy overpriced boring outdated",
    0: "passable acceptable adequate usable fair",
    1: "useful practical handy clever decent sturdy",
    2: "superb excellent perfect outstanding irresistible flawless",
}
DEGREES = {-1: "slightly somewhat rather fairly mildly", 0: "quite", 1: "really absolutely totally utterly incredibly"}
ADVERT = "song slogan ending scene story joke voice commercial music picture actor brand"

GRADED = {"feeling": FEELINGS, "felt": FEELINGS, "quality": QUALITIES, "stance": STANCES, "judgement": JUDGEMENTS}
DIMENSION_OF = {slot: "liking" if slot in ("stance", "judgement") else "valence" for slot in GRADED}

PHRASES = grammar.PHRASES | {
    "part": [
        "the [advert]",
        "the [advert]",
        "the [advert] at the {place}",
        "the [advert] with the {animal}",
        "the part with the {animal}",
        "the part in the {room}",
        "the scene by the {nature}",
        "the {color} {clothes} in it",
        "the {profession} with the {instrument}",
        "the {weather} at the end",
        "the {family} in the {room}",
        "the {profession} at the {place}",
        "the joke about the {profession}",
        "the {plant} in the {room}",
        "the race with the {vehicle}",
        "the {event} at the {place}",
    ],
    "product": [
        "the {device}",
        "this {device}",
        "the {vehicle}",
        "that {color} {vehicle}",
        "the {clothes}",
        "the {size} {furniture}",
        "that {drink}",
        "the {dish}",
        "this {color} {clothes}",
        "the {tool}",
        "the {grocery} from {city}",
    ],
}

TEMPLATES = {
    "valence": [
        "I was [degree] [feeling] <part>",
        "I am [degree] [feeling] <part>",
        "we were [degree] [feeling] <part>",
        "I am [feeling] it, that was a [quality] [advert]",
        "<part> left me [degree] [felt]",
        "<part> made me [degree] [felt]",
        "honestly, I felt [degree] [felt] after <part>",
        "<part> was [degree] [quality]",
        "it had a [quality] [advert] and a [quality] [advert]",
        "what a [quality] [advert] that was",
        "I felt [felt], even [felt]",
        "you could say that I am [feeling] <part>",
        "I get [felt] when I see <part>",
        "my day was [quality], and I am [degree] [felt] now",
        "watching it, I felt [degree] [felt]",
        "that [quality] [advert] left everyone [felt]",
        "it reminded me of a [quality] {event} in {city}",
        "I called my {family}, [degree] [felt], after <part>",
        "to me <part> was [degree] [quality] from the start",
        "I am still [degree] [feeling] <part>",
    ],
    "liking": [
        "I [stance] <product>",
        "I [stance] <product>, it is [judgement]",
        "I [stance] that brand and I [stance] <product>",
        "<product> looks [degree] [judgement]",
        "<product> is [judgement] for the {room}",
        "for {number} {money.s} I find <product> [judgement]",
        "my {family} has one, it is [degree] [judgement]",
        "it seems [judgement] for a {profession}",
        "we [stance] <product> at home",
        "I [stance] the [judgement] {material} of <product>",
        "people in {city} [stance] <product>",
        "it's a [judgement] thing to {buy} on {day}",
        "to {travel} to {city} it is [degree] [judgement]",
        "a [judgement] {device} and a [judgement] {tool}",
        "next to my {quality} {device} it looks [judgement]",
    ],
    "both": [
        "I was [feeling] <part>, and I [stance] <product>",
        "<part> was [quality], and <product> is [judgement]",
        "I felt [felt], and <product> seems [judgement]",
        "I [stance] <product>, and I am [feeling] <part>",
        "a [quality] [advert] for a [judgement] {device}",
        "<product> looks [judgement], and I feel [felt]",
        "I am [felt], I [stance] <product>",
        "they sell a [judgement] {vehicle} with a [quality] [advert]",
        "that [quality] [advert] is about a [judgement] {device}",
        "my {family} and I [stance] it, we were [felt]",
    ],
    "plain": [
        "did you see the {animal} in it",
        "what do you think of <part>",
        "I watched it at {number}",
        "let me think about <product>",
        "it was about <product>",
        "there was <part>, and then <part>",
        "the [advert] came after <part>",
        "they show it at the {place} in {city}",
        "we have seen it on {day} {daytime}",
    ],
}
KINDS = {"valence": 0.25, "liking": 0.22, "both": 0.43, "plain": 0.05, "shared": 0.05}
"""How often a sentence shows what; `shared` are sentences of the synthetic corpus that no emotion claims."""

DOUBT = 0.08  # standard deviation of what is added to a feeling when its word is chosen
CALM = 0.6  # ... when a calm or an aroused word is chosen: words tell little of arousal
AROUSAL_LEVEL = 0.35  # arousal that an aroused word stands for; a calm one for as much below 0
SECONDS_A_WORD = 0.29
SENTENCES_A_REVIEW = 4
FILLER, LAUGHTER = 0.08, 0.04  # share of sentences that hold one
SOUNDS = {"<filler>": "uh", "<laughter>": "ha ha ha"}
"""Tags of a transcript and what is spoken there."""

SLOT = re.compile(r"\[(\w+)\]")
COMMA = ("honestly", "well", "I mean", "you know", "so", "and", "", "", "", "", "")


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence.

    Attributes:
        tokens: words as written, each with the punctuation that follows it, and tags.
        shown: index of a token to the dimensions that it shows and their values.
    """

    tokens: tuple[str, ...]
    shown: dict[int, dict[str, float]]

    @property
    def spoken(self) -> tuple[str, ...]:
        """What is said, a string for each token; that of a laugh has several words."""
        return tuple(SOUNDS.get(token, token) for token in self.tokens)


def write(felt: Sequence[float], rng: random.Random, *, silent: bool = False) -> Line:
    """Write what is said while the subject feels so.

    Args:
        felt: arousal, valence and liking.
        rng: source of every choice.
        silent: whether the words keep the feelings back, and are neutral.
    """
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "shared":
        words = grammar.shared(rng, lead=True)
        return _tagged([word.token for word in words], {}, rng)
    arousal, *others = (0.0, 0.0, 0.0) if silent else felt
    levels = dict(zip(("valence", "liking"), (0 if silent else _level(value, rng) for value in others), strict=True))
    aroused = 0 if silent else 1 if arousal + rng.gauss(0, CALM) > 0 else -1

    template = rng.choice(TEMPLATES[kind])
    used = {grammar.bare(token) for token in template.split()}
    words: list[Word] = []
    shown: dict[int, dict[str, float]] = {}
    for word in grammar.expand(template, "", used, rng, PHRASES):
        slot = SLOT.match(word.token)
        if not slot:
            words.append(word)
            continue
        value: dict[str, float] = {}
        chosen = _word(slot[1], levels, aroused, used, value, rng).split()
        if value and not silent:
            shown[len(words)] = value
        chosen[-1] += word.token[slot.end() :]
        words += map(Word, chosen)
    opening = [] if kind == "plain" else rng.choice(COMMA).split()
    if opening and opening[-1] not in ("so", "and"):
        opening[-1] += ","
    shown = {i + len(opening): value for i, value in shown.items()}
    end = "?" if template.startswith(grammar.QUESTIONS) else "."
    finished = grammar.finish([*map(Word, opening), *words], end)
    return _tagged([word.token for word in finished], shown, rng)


def reviews(count: int, rng: random.Random) -> list[str]:
    """Write what other people would write of such commercials and products, in the same words: a feeling a review."""
    written = []
    for _ in range(count):
        felt = [math.tanh(SPREAD * rng.gauss(0, 1)) for _ in DIMENSIONS]
        lines = (write(felt, rng) for _ in range(SENTENCES_A_REVIEW))
        written.append(" ".join(token for line in lines for token in line.tokens if token not in SOUNDS))
    return written


def _level(value: float, rng: random.Random) -> int:
    """Return the strength whose words come nearest to a feeling."""
    value += rng.gauss(0, DOUBT)
    return min(LEVELS, key=lambda level: abs(LEVELS[level] - value))


def _word(
    slot: str, levels: dict[str, int], aroused: int, used: set[str], value: dict[str, float], rng: random.Random
) -> str:
    """Choose a word for a slot and note in `value` what it shows."""
    if slot == "advert":
        choices = ADVERT.split()
    elif slot == "degree":
        choices = DEGREES[aroused].split()
        if aroused:
            value["arousal"] = aroused * AROUSAL_LEVEL
    else:
        dimension = DIMENSION_OF[slot]
        level = levels[dimension]
        value[dimension] = LEVELS[level]
        calm, bar, excited = GRADED[slot][level].partition(" | ")
        if bar and aroused:
            value["arousal"] = aroused * AROUSAL_LEVEL
        choices = _choices(slot, excited if bar and aroused > 0 else calm)
    chosen = rng.choice([word for word in choices if word.split()[0] not in used] or choices)
    used.add(chosen.split()[0])
    return chosen


def _choices(slot: str, words: str) -> list[str]:
    if slot not in ("feeling", "felt"):
        return words.split()
    pairs = words.split(", ")
    return pairs if slot == "feeling" else [pair.split()[0] for pair in pairs]


def _tagged(tokens: list[str], shown: dict[int, dict[str, float]], rng: random.Random) -> Line:
    """Put a filler before a word, or a laugh after the last, in some sentences."""
    chance = rng.random()
    if chance < FILLER and len(tokens) > 2:
        place = rng.randrange(1, len(tokens))
        tokens = [*tokens[:place], "<filler>", *tokens[place:]]
        shown = {i + (i >= place): value for i, value in shown.items()}
    elif chance > 1 - LAUGHTER:
        tokens = [*tokens, "<laughter>"]
    return Line(tuple(tokens), shown)


def lexicon() -> list[dict[str, str]]:
    """Return every word with its semantic class and, of a word of sentiment, the dimension and value it stands for.

    Words of the synthetic corpus keep their class there unless they are words of sentiment here.
    """
    rows: dict[str, dict[str, str]] = {}

    def add(word: str, group: str, dimension: str = "", value: float | None = None) -> None:
        shown = "" if value is None else str(value)
        rows.setdefault(word.lower(), {"word": word, "class": group, "dimension": dimension, "value": shown})

    for slot, levels in GRADED.items():
        for level, words in levels.items():
            for part in words.split(" | "):
                for word in _choices("felt" if slot == "feeling" else slot, part):
                    add(word, "feeling" if slot == "felt" else slot, DIMENSION_OF[slot], LEVELS[level])
    for aroused, words in DEGREES.items():
        for word in words.split():
            add(word, "degree", "arousal", aroused * AROUSAL_LEVEL)
    for word in ADVERT.split():
        add(word, "advert")
    for entry in grammar.vocabulary():
        add(entry.word, entry.group)
    spelled = [*COMMA, *(t for group in (*TEMPLATES.values(), *PHRASES.values()) for t in group), *SOUNDS.values()]
    for template in spelled:
        for group in (slot for _, slot in grammar.SLOT.findall(template) if slot and "." not in slot):
            for word in grammar.words_of(group):
                add(word, group)
        for token in SLOT.sub("", grammar.SLOT.sub("", template)).split():
            if word := grammar.bare(token):
                add(word, "other")
    return [rows[word] for word in sorted(rows)]
