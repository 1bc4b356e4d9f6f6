"""A grammar that writes the sentences of the synthetic corpus.

Stands in for the transcripts of IEMOCAP (Busso et al. 2008), which are licensed; chapter `intro`.
Every sentence is either shared by all emotions, or shows one emotion, or names two.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from data_scripts.synthetic import lexicon
from data_scripts.synthetic.lexicon import EMOTIONS, Entry

# `{group.form}` is a word of a semantic class, `<phrase>` a choice of phrases, `a` becomes `an` where it must
PHRASES = {
    "who": [
        "my {family}",
        "the {profession}",
        "{name}",
        "my {family}",
        "our {profession}",
        "he",
        "she",
        "I",
        "we",
        "they",
    ],
    "third": ["my {family}", "the {profession}", "{name}", "our {profession}"],
    "group": ["we", "they", "my {family} and I", "{name} and {name}", "the {profession.s}"],
    "count": ["two", "three", "four", "five", "six", "eight", "ten", "twelve"],
    "pick": ["{color}", "{size}", "{quality}"],
    "when": [
        "on {day}",
        "in {month}",
        "this afternoon",
        "tonight",
        "tomorrow",
        "next week",
        "last {day}",
        "on {day} {daytime}",
    ],
    "past_when": [
        "on {day}",
        "in {month}",
        "this morning",
        "last night",
        "yesterday",
        "last week",
        "last {day}",
        "a {period} ago",
    ],
    "where": [
        "at the {place}",
        "in the {room}",
        "by the {nature}",
        "in {city}",
        "near the {place}",
        "behind the {place}",
    ],
    "thing": [
        "the {event} in {city}",
        "the {event} on {day}",
        "the {event} at the {place}",
        "the {document} from the {profession}",
        "the {document} from my {family}",
        "the {meeting} on {day}",
        "the {meeting} with the {profession}",
        "the {vehicle} to {city}",
        "the {size} {furniture} in the {room}",
        "the {color} {clothes}",
        "the {dish} at the {place}",
        "the {weather} in {city}",
        "the {animal} in the {room}",
        "the {quality} {device}",
        "the {reading} from the {place}",
        "the {produce} from the {place}",
        "the {color} {plant} by the {structure}",
        "the {instrument} in the {room}",
        "the {event} with the {profession}",
        "the {event} in {month}",
        "the {meeting} in {city}",
        "the {meeting} at {number}",
        "the {document} for the {vehicle}",
        "the {document} for {name}",
        "the price of the {grocery}",
        "the call from my {family}",
        "the news about {name}",
        "the {profession} from {city}",
        "the {profession} at the {place}",
        "the {quality} {vehicle}",
        "the {sport} game in {city}",
        "the {subject} exam",
        "the {repair.ing} of the {structure}",
    ],
    "happening": [
        "the {event}",
        "the {meeting}",
        "the {event} in {city}",
        "the {meeting} on {day}",
        "the {event} with my {family}",
    ],
}

SHARED = [
    "<who> {buy.ed} some {grocery} and a {produce} at the {place}",
    "we should meet at the {place} and get some meat for the {event}",
    "<third> asked for flour and a flower at the {place}",
    "<who> {buy.ed} a pair of {clothes.s} in {city}",
    "you can get <count> {produce.s} for {number} {money.s}",
    "a bottle of {drink} is {number} {money.s} at the {place}",
    "the {place} sells {dish}, {grocery} and {produce.s}",
    "<who> {cook.ed} the {dish} in a {size} {vessel}",
    "the recipe needs {grocery}, a {produce} and a {vessel} of {drink}",
    "we {cook} the {dish} with some {grocery} and a {produce}",
    "they serve {dish} and {drink} in the {daytime}",
    "could you pass me the {grocery} and the {vessel}",
    "there is {grocery} and {drink} on the {furniture}",
    "she ate some {dish} with a {produce}",
    "<who> {travel.ed} to {city} <past_when>",
    "<who> went from {city} to {city} by {vehicle}",
    "<who> will {travel} to {city} <when>",
    "the {vehicle} to {city} leaves at {number}",
    "the {vehicle} from {city} gets in at {number} on {day}",
    "the {vehicle} stops between the {place} and the {place}",
    "we could take the {vehicle} to the {place}",
    "it takes <count> hours to {travel} to {city}",
    "we're going to sail to the island <when>",
    "<who> sailed across the sea <past_when>",
    "<who> towed the {vehicle} to the {place}",
    "one {vehicle} leaves at {number}, the other at {number}",
    "the route to the {nature} goes past the {place}",
    "<who> {travel.ed} down the road to the {nature}",
    "turn left at the {place} and go on to the {place}",
    "the bus fare to {city} is {number} {money.s}",
    "there will be {weather} in {city} <when>",
    "they expect {weather} and {weather} by the {nature}",
    "the {weather} came over the {nature} <past_when>",
    "in {month} there is usually {weather} in {city}",
    "the wind blew the {clothes} off the {structure}",
    "the {meeting} is on {day} at {number}",
    "the {meeting} starts in {number} minutes",
    "<third> has a {meeting} on {day} {daytime}",
    "please bring the {document} to the {meeting}",
    "<who> put the {document} on the {furniture}",
    "<who> {communicate.ed} the {document} <past_when>",
    "the {profession} needs the {document} by {day}",
    "the {document} is on the {quality} {furniture}",
    "you have to write your name on the {document}",
    "the mail comes at {number} in the {daytime}",
    "<third> works at the {place} in {city}",
    "the {profession} {meet.ed} the {profession} at the {place}",
    "<who> {meet.ed} my {family} <where>",
    "my {family} will {meet} the {profession} <when>",
    "my {family} and my {family} live near the {nature}",
    "our {profession} has <count> sons and a {family}",
    "a {animal} crossed the road near the {nature}",
    "<who> {perceive.ed} a {animal} and <count> {animal.s} by the {nature}",
    "the {profession} has <count> {animal.s} and a {animal}",
    "the {animal} has a {size} tail and {color} hair",
    "there's a {animal} under the {furniture}",
    "<who> {perceive.ed} the {animal} <where>",
    "<third> wore a {color} {clothes} and {quality} {clothes.s}",
    "the {clothes} comes in {color} and {color}",
    "the {color} {clothes} is on the {furniture}",
    "<who> {store.ed} the {clothes} in the {room}",
    "the {clothes} is made of {material}",
    "the {furniture} in the {room} is made of {material}",
    "<who> {carry.ed} the {furniture} into the {room}",
    "could you help me {carry} the {size} {furniture}",
    "<who> painted the {room} {color}",
    "there is a {size} {furniture} next to the {structure}",
    "the {room} has a {material} {structure}",
    "<who> {repair.ed} the {structure} with a {tool}",
    "<who> {clean.ed} the {structure} and the {furniture}",
    "we need a {tool} to {repair} the {structure}",
    "the {tool} is beside the {structure} in the {room}",
    "<third> is going to {clean} the {room} <when>",
    "there is a hole in the {structure} of the {room}",
    "we keep the {material} and the {tool} in the {room}",
    "would you bring the wood and the {material}",
    "they steal steel and {material} from the {place}",
    "the {animal} tried to bury a berry by the {nature}",
    "<third> plays the {instrument} on {day} {daytime}",
    "the {instrument} stands in the {room}",
    "<group> played {sport} at the {place}",
    "we won by {number} points <past_when>",
    "the {sport} team {travel.ed} to {city}",
    "<third> teaches {subject} and {subject}",
    "the {subject} class is on {day}",
    "<who> {communicate.ed} the {reading} about {subject}",
    "the {reading} tells the tale of a {profession} and a {animal}",
    "<who> {store.ed} the {reading} under the {furniture}",
    "there's a {reading} on the {furniture} in the {room}",
    "the {device} is on the {furniture}",
    "<who> {repair.ed} the {device} <past_when>",
    "the new {device} has a {size} screen",
    "<who> planted a {plant} beside the {plant}",
    "the {plant} by the {structure} is {size} and {color}",
    "there are <count> {plant.s} in the {room}",
    "the barber washed my hair and dried the {face}",
    "the sleeve goes over the {limb} and the {limb}",
    "put the weight on your {limb}, then lift the {limb}",
    "the {event} is in {month}",
    "the {event} was at the {place} <past_when>",
    "<group> went to the {event} in {city}",
    "the {event} begins {number} weeks from now",
    "the sale at the {place} ends on {day}",
    "a plane flew over the {nature} at {number}",
    "you can see the sea from the {place}",
    "we'll wait here until {number}",
    "it took an hour to find the {place}",
    "the knight in the {reading} rides a {color} horse",
    "a guest asked for {number} {vessel.s} of {drink}",
    "the {profession} knew the way to the {place}",
    "<who> threw the {clothes} over the {furniture}",
    "the brake on the {vehicle} is {quality}",
    "the scent of the {plant} fills the {room}",
    "it's {number} o'clock in {city}",
    "I don't know the {profession} from {city}",
    "he said the {document} is for the {profession}",
    "the {profession} left {number} {document.s} at the {place}",
    "we've got {number} {vessel.s} and a {vessel}",
]

SHARED_SHORT = [
    "what time is it",
    "just a minute",
    "excuse me",
    "who is that",
    "it's {day}",
    "go on",
    "it's in the {room}",
    "where is the {document}",
    "is that your {clothes}",
    "ask the {profession}",
    "take the {vehicle}",
    "did you call {name}",
    "in the {daytime}",
    "this is {name}",
    "some {grocery}, please",
    "a cup of {drink}",
    "at {number}",
    "what do you mean",
    "my {family} did",
    "it's {color}",
    "I think so",
    "in {city}",
    "maybe {day}",
    "you mean the {animal}",
]

LEADS = [
    "so",
    "and",
    "and then",
    "also",
    "by the way",
    "anyway",
    "you know",
    "I mean",
    "after that",
    "now",
    "",
    "",
    "",
    "",
    "",
]

FEELING = [
    "I'm so {E.about} <thing>",
    "I was really {E.about} <thing>",
    "I am {E.about} <thing>",
    "<third> is {E.about} <thing>",
    "<third> was {E.about} <thing>",
    "<group> were {E.about} <thing>",
    "<thing> left me completely {E.adjective}",
    "I feel {E.adjective} when I think of <thing>",
    "I {E.stance} <thing>",
    "we {E.stance.ed} <thing>",
    "it was such a {E.quality} {event}",
    "what a {E.quality} {meeting} that was",
    "<happening> was {E.quality}",
    "to be honest, <thing> is {E.quality}",
    "everyone at the {place} was {E.adjective} after the {event}",
    "my {family} called me, quite {E.adjective}, about <thing>",
    "{E.oh}, I am {E.adjective} today",
    "{E.oh}, that was a {E.quality} {event}",
    "it is hard not to be {E.about} <thing>",
    "{name} sounded {E.adjective} on the phone <past_when>",
    "that {E.quality} {document} came <past_when>",
    "my {family} seems {E.about} <thing>",
    "after the {meeting} I felt {E.adjective}, even {E.adjective}",
    "there was only {E.noun} at the {event}",
]

STRONG = [
    "<thing> {E.cause.ed} me",
    "it {E.cause.ed} me to hear about <thing>",
    "<third> {E.cause.ed} us with the {document}",
    "I was full of {E.noun} after <happening>",
    "you could see the {E.noun} on the face of my {family}",
    "{E.oh}, <thing> {E.cause.ed} everyone",
    "I can't hide my {E.noun} about <thing>",
]

OWN = {
    "angry": [
        "stop it, I am {E.about} <thing>",
        "don't you dare talk to me about that {E.quality} {document}",
        "how dare you, I {E.stance} <thing>",
        "get out, this {E.quality} {meeting} is over",
        "I have had enough of that {E.quality} {profession}",
        "who let the {profession} write this {E.quality} {document}",
        "this is {E.quality}, I want to speak to the {profession}",
        "I shook with {E.noun} because of <thing>",
        "they lied to me about <thing>, and I {E.stance} it",
    ],
    "happy": [
        "guess what, I am {E.about} <thing>",
        "I can't wait, I am so {E.about} <thing>",
        "we danced with {E.noun} at the {event}",
        "this is the most {E.quality} {event} of my life",
        "you look {E.quality} in that {color} {clothes}",
        "congratulations, what a {E.quality} {document}",
        "my {family} laughed, we were all so {E.adjective}",
        "I {E.stance} you and I {E.stance} <thing>",
        "it's {E.quality}, they said yes to <thing>",
    ],
    "neutral": [
        "for the record, the {meeting} was {E.quality}",
        "it was a {E.quality} {meeting}, no more and no less",
        "it's a {E.quality} {document}, like any other",
        "I have no opinion, I am {E.about} <thing>",
        "either way, I am {E.about} <thing>",
        "it was a {E.quality} {day} at a {E.quality} {place}",
        "we spoke about <thing> with {E.noun}",
        "I {E.stance.ed} <thing> for the files",
        "<thing> is a {E.quality} matter",
        "as a matter of {E.noun}, I take no side on <thing>",
        "my {family} kept an attitude of {E.noun} about <thing>",
        "<third> {E.stance.ed} the {document} as {E.quality}",
        "{E.oh}, <thing> is fairly {E.quality}",
        "the {profession} remained {E.about} <thing>",
        "{E.oh}, we can note <thing>, I am {E.about} it",
    ],
    "sad": [
        "I cried because of <thing>, I am so {E.adjective}",
        "nobody came to the {event}, it was {E.quality}",
        "I sat alone with my {E.noun} after <happening>",
        "it's over, and I {E.stance} <thing>",
        "my {family} is gone and I am {E.adjective}",
        "I wept with {E.noun} at the {event}",
        "I lost the {reading} from my {family}, and I am {E.about} it",
        "nothing helps, the {E.noun} about <thing> stays",
        "I wish it were different, I am {E.about} <thing>",
    ],
}

SHOWN_SHORT = [
    "I am {E.adjective}",
    "that is {E.quality}",
    "{E.oh}",
    "how {E.quality}",
    "a {E.quality} {event}",
    "{E.oh}, how {E.quality}",
    "I feel {E.adjective}",
    "it's {E.quality}",
    "we're {E.adjective}",
    "I {E.stance} it",
    "so {E.adjective}",
    "what {E.noun}",
]

# clauses that name an emotion before ("first") or after ("last") what it is about
NAMING = {
    "first": [
        "I was {E.about} <thing>",
        "I am {E.about} <thing>",
        "I felt {E.about} <thing>",
        "we were {E.about} <thing>",
    ],
    "last": [
        "<thing> left me {E.adjective}",
        "<thing> made me {E.adjective}",
        "because of <thing> I was {E.adjective}",
        "thinking of <thing> I felt {E.adjective}",
    ],
    "then_last": [
        "<thing> left me {E.adjective}",
        "<thing> made me {E.adjective}",
        "with <thing> I felt {E.adjective}",
    ],
}
ELLIPTIC = "{E.about} <thing>"
JOINTS = ["but", "and yet", "while", "though", "and", "whereas"]

EMOTIONAL = {
    "quality": lexicon.QUALITIES,
    "stance": lexicon.STANCES,
    "cause": lexicon.CAUSES,
    "noun": lexicon.FEELING_NOUNS,
    "oh": lexicon.INTERJECTIONS,
}
"""Kinds of emotional words that a template asks for as `{E.kind}`, beside `adjective` and `about` from FEELINGS."""

SLOT = re.compile(r"<(\w+)>|\{([\w.]+)\}")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where its interesting words are.

    Attributes:
        tokens: words, each with the punctuation that follows it.
        named: for an emphasis sentence, the indices of the two words of emotion, in spoken order; else ().
        decoys: for an emphasis sentence, the indices of the other content words of each of its two clauses; else ().
    """

    tokens: tuple[str, ...]
    named: tuple[int, ...] = ()
    decoys: tuple[tuple[int, ...], ...] = ()

    def __str__(self) -> str:
        return " ".join(self.tokens)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a sentence.

    Attributes:
        token: the word, with the punctuation that follows it.
        group: its semantic class; "" for the words of the template itself.
    """

    token: str
    group: str = ""


@cache
def words_of(group: str) -> tuple[str, ...]:
    """Return the lemmas of a semantic class (`animal`) or of an emotional kind (`angry.quality`).

    Raises:
        KeyError: if there is no such class.
    """
    for table in (lexicon.NOUNS, lexicon.ADJECTIVES, lexicon.VERBS):
        if group in table:
            return tuple(table[group].split())
    emotion, kind = group.split(".")
    feelings = tuple(lexicon.FEELINGS[emotion].split(", "))
    if kind == "about":
        return feelings
    if kind == "adjective":
        return tuple(feeling.split()[0] for feeling in feelings)
    return tuple(EMOTIONAL[kind][emotion].split())


def expand(
    template: str,
    emotion: str,
    used: set[str],
    rng: random.Random,
    phrases: Mapping[str, Sequence[str]] = PHRASES,
) -> list[Word]:
    """Fill a template; `used` holds the lemmas that the sentence already has, so that none comes twice."""
    words: list[Word] = []
    for token in template.split():
        slot = SLOT.match(token)
        if not slot:
            words.append(Word(token))
            continue
        phrase, name = slot.groups()
        if phrase:
            filled = expand(rng.choice(phrases[phrase]), emotion, used, rng, phrases)
        else:
            filled = _fill(name.replace("E.", f"{emotion}."), used, rng)
        last = filled[-1]
        words += [*filled[:-1], Word(last.token + token[slot.end() :], last.group)]
    return words


def _fill(name: str, used: set[str], rng: random.Random) -> list[Word]:
    group, _, form = name.rpartition(".")
    if form not in lexicon.FORMS:
        group, form = name, ""
    fresh = [word for word in words_of(group) if word.split()[0] not in used]
    lemma, *rest = rng.choice(fresh or words_of(group)).split()
    used.add(lemma)
    word = lexicon.FORMS[form](lemma) if form else lemma
    return [Word(word, group), *map(Word, rest)]


def finish(words: list[Word], end: str) -> list[Word]:
    """Capitalise the first word, choose between a and an, and close the sentence."""
    finished = list(words)
    for i, word in enumerate(words[:-1]):
        if word.token == "a":
            finished[i] = Word(lexicon.article(words[i + 1].token))
    first = finished[0]
    finished[0] = Word(first.token[0].upper() + first.token[1:], first.group)
    last = finished[-1]
    finished[-1] = Word(last.token + end, last.group)
    return finished


QUESTIONS = ("what time", "what do", "who is", "who let", "where is", "did you", "is that", "could you", "would you")


def _sentence(template: str, emotion: str, rng: random.Random, lead: str = "") -> list[Word]:
    end = "?" if template.startswith(QUESTIONS) else "."
    words = expand(template, emotion, {bare(token) for token in template.split()}, rng)
    if lead and end == ".":
        comma = "" if lead in ("so", "and", "and then", "now") else ","
        words = [*map(Word, f"{lead}{comma}".split()), *words]
    return finish(words, end)


def shared(rng: random.Random, *, short: bool = False, lead: bool = False) -> list[Word]:
    """Write a sentence that every emotion uses alike."""
    template = rng.choice(SHARED_SHORT if short else SHARED)
    return _sentence(template, "", rng, rng.choice(LEADS) if lead else "")


def shown(emotion: str, rng: random.Random, *, short: bool = False, lead: bool = False) -> list[Word]:
    """Write a sentence whose words show `emotion`."""
    if short:
        template = rng.choice(SHOWN_SHORT)
    else:
        own = [*OWN[emotion], *(STRONG if emotion != "neutral" else [])]
        template = rng.choice(rng.choice((FEELING, own)))
    return _sentence(template, emotion, rng, rng.choice(LEADS) if lead else "")


def emphasis(pair: tuple[str, str], order: tuple[str, str], rng: random.Random) -> tuple[list[Word], int]:
    """Write a sentence that names two emotions, in two clauses.

    Args:
        pair: the emotions of the first and of the second clause.
        order: for each clause, whether the word of emotion comes `first` or `last`, after what it is about.

    Returns:
        the words and the index of the second clause's first word.
    """
    used: set[str] = set()
    first = expand(rng.choice(NAMING[order[0]]), pair[0], used, rng)
    elliptic = order == ("first", "first") and rng.random() < 0.5
    forms = NAMING["then_last" if order[1] == "last" else "first"]
    second = expand(ELLIPTIC if elliptic else rng.choice(forms), pair[1], used, rng)
    joint = "but" if elliptic else rng.choice(JOINTS)
    opening = [*first, *map(Word, joint.split())]
    return finish([*opening, *second], "."), len(opening)


def compose(
    rng: random.Random,
    *,
    emotion: str | None = None,
    pair: tuple[str, str] | None = None,
    order: tuple[str, str] = ("first", "first"),
    short: bool = False,
    fillers: int = 0,
) -> Sentence:
    """Write one utterance: the sentence that carries the cue, among sentences that every emotion uses alike.

    Args:
        rng: source of every choice.
        emotion: the emotion that the words show; None for words that show nothing.
        pair: the two emotions that an emphasis sentence names, in spoken order, instead of `emotion`.
        order: of an emphasis sentence, see `emphasis`.
        short: whether the sentence is one of a few words.
        fillers: how many shared sentences stand around it.
    """
    place = rng.randint(0, fillers)
    sentences = []
    named: tuple[int, ...] = ()
    decoys: tuple[tuple[int, ...], ...] = ()
    count = 0
    for i in range(fillers + 1):
        if i != place:
            words = shared(rng, lead=i > 0)
        elif pair:
            words, cut = emphasis(pair, order, rng)
            groups = [w.group for w in words]
            clauses = range(cut), range(cut, len(words))
            named = tuple(next(count + j for j in clause if "." in groups[j]) for clause in clauses)
            decoys = tuple(tuple(count + j for j in c if groups[j] and "." not in groups[j]) for c in clauses)
        elif emotion:
            words = shown(emotion, rng, short=short, lead=i > 0)
        else:
            words = shared(rng, short=short, lead=i > 0)
        count += len(words)
        sentences += [w.token for w in words]
    return Sentence(tuple(sentences), named, decoys)


def bare(token: str) -> str:
    """Return a token of a transcript without the punctuation around it, in lower case."""
    return token.strip(".,?!").lower()


def vocabulary() -> list[Entry]:
    """Return every word that the grammar can write, with its class, in alphabetical order.

    Words that templates spell out and that no class holds are in class `function` or `other`.
    """
    entries: dict[str, Entry] = {}
    templates = [*SHARED, *SHARED_SHORT, *LEADS, *FEELING, *STRONG, *SHOWN_SHORT, *JOINTS, ELLIPTIC, "an"]
    templates += [t for table in (PHRASES, OWN, NAMING) for group in table.values() for t in group]
    slots = {name for template in templates for _, name in SLOT.findall(template) if name}
    for slot in sorted(slots):
        group, _, form = slot.rpartition(".")
        if form not in lexicon.FORMS:
            group, form = slot, ""
        for emotion in EMOTIONS if group.startswith("E.") else ("",):
            for words in words_of(group.replace("E.", f"{emotion}.")):
                lemma, *rest = words.split()
                word = lexicon.FORMS[form](lemma) if form else lemma
                kind = group.removeprefix("E.").replace("about", "feeling").replace("adjective", "feeling")
                entries.setdefault(word.lower(), Entry(word, kind, lemma, emotion))
                templates += rest
    for emotion, words in lexicon.SIGNS.items():
        for word in words.split():
            entries.setdefault(word, Entry(word, "sign", word, emotion))
    function_words = {word.lower(): word for word in lexicon.FUNCTION_WORDS.split()}
    for token in (bare(token) for template in templates for token in SLOT.sub("", template).split()):
        if token and token not in entries:
            word = function_words.get(token, token)
            entries[token] = Entry(word, "function" if token in function_words else "other", word)
    return [entries[word] for word in sorted(entries)]
