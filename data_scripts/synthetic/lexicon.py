"""The words of the synthetic corpus in named semantic classes, and their inflection.

Stands in for the vocabulary of IEMOCAP (Busso et al. 2008), which is licensed; chapters `intro` and `tzirakis2021`.
The classes are the ground truth for whatever is trained on the text.
"""

from __future__ import annotations

from dataclasses import dataclass

EMOTIONS = ("angry", "happy", "neutral", "sad")

NOUNS = {
    "family": "mother father sister brother aunt uncle cousin grandmother grandfather nephew niece daughter son "
    "wife husband twin",
    "profession": "neighbor teacher doctor nurse lawyer plumber driver manager dentist farmer baker waiter tailor "
    "sailor painter student captain pilot clerk janitor mechanic librarian maid knight colonel "
    "guest landlord carpenter barber coach gardener secretary accountant",
    "grocery": "bread cheese butter soup salad flour sugar salt cereal yogurt pepper mustard vinegar jam",
    "dish": "rice pasta chicken beef meat steak bacon ham fish",
    "produce": "apple pear orange banana lemon berry carrot potato tomato onion cucumber peach cherry melon "
    "mushroom kernel",
    "drink": "coffee tea milk juice water wine beer lemonade cider cocoa",
    "place": "park library museum market station airport hospital school church bank office hotel beach harbor "
    "stadium theater bakery pharmacy garage restaurant factory cafeteria",
    "city": "Boston Chicago Denver Dallas Seattle Portland Houston Atlanta Phoenix Miami Paris London Madrid "
    "Berlin Vienna Lisbon Toronto Dublin Oslo Athens",
    "nature": "river lake forest mountain valley hill creek field desert island sea ocean cliff meadow cave pond trail",
    "weather": "rain snow wind fog thunder hail sunshine frost mist drizzle sleet lightning",
    "vehicle": "car bus train plane boat truck bicycle taxi ferry van tram ship motorcycle scooter",
    "animal": "dog cat horse cow goat sheep deer bear hare rabbit duck pig mouse fox whale owl turtle toad goose "
    "donkey squirrel",
    "clothes": "shirt coat hat scarf glove sweater jacket dress skirt boot sock belt uniform apron tie vest",
    "furniture": "table chair sofa bed desk shelf lamp mirror carpet cupboard drawer bench stool bookcase",
    "room": "kitchen bathroom bedroom hall attic basement garden pantry cellar lobby",
    "structure": "door window roof wall floor fence gate porch chimney stair ceiling sink",
    "vessel": "plate cup fork spoon knife bowl pan kettle pot jar tray oven bottle",
    "tool": "hammer ladder drill rope nail screw bucket shovel brush pail wrench rake stake",
    "document": "letter report form contract invoice ticket bill receipt email memo card map list schedule passport",
    "meeting": "meeting interview deadline presentation conference project budget survey audit inspection workshop",
    "event": "trip party wedding concert game picnic race festival vacation dance parade barbecue fair reunion "
    "sale exam lecture rehearsal election",
    "subject": "history chemistry biology geography algebra physics grammar spelling economics literature",
    "instrument": "guitar piano violin drum flute trumpet cello harp organ",
    "sport": "tennis soccer baseball basketball golf hockey chess volleyball bowling",
    "limb": "hand foot knee toe arm shoulder elbow heel thumb ankle waist",
    "face": "hair nose eye ear chin",
    "color": "red blue green yellow white black brown gray purple pink",
    "material": "wood steel glass paper plastic leather cotton wool brick stone copper",
    "plant": "flower rose tulip tree bush oak pine daisy fern root cactus",
    "reading": "book newspaper magazine novel tale poem article chapter dictionary",
    "device": "phone radio laptop camera printer screen keyboard speaker cell",
    "money": "dollar cent coin",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January February March April June July August October November December",
    "daytime": "morning afternoon evening night",
    "period": "hour week minute month day year",
    "number": "two three four five six seven eight nine ten twelve",
    "name": "Alice Brian Carla David Emma Frank Henry Irene Jack Laura Martin Nina Oscar Paula Robert Susan Thomas "
    "Victor",
}

ADJECTIVES = {
    "size": "big small large tiny long short tall wide narrow huge",
    "quality": "new old plain weak round square heavy light thin thick pale dry clean spare whole",
}

VERBS = {
    "cook": "cook bake fry boil chop slice stir roast",
    "buy": "buy order sell choose find",
    "travel": "drive travel ride fly cycle",
    "clean": "wash clean sweep wipe scrub polish",
    "repair": "repair fix build paint measure replace",
    "carry": "carry bring move push pull haul",
    "communicate": "write mention explain describe read print send",
    "perceive": "see hear notice watch",
    "meet": "meet call visit help",
    "store": "hide keep pack",
}

# adjectives with the preposition they take
FEELINGS = {
    "angry": "furious about, angry about, livid about, outraged by, irritated by, annoyed about, enraged by, "
    "infuriated by, indignant about, incensed by, resentful about, exasperated by, irate about, offended "
    "by, aggravated by, hostile about, insulted by, cranky about, bitter about",
    "happy": "happy about, thrilled about, delighted with, overjoyed about, excited about, ecstatic about, glad "
    "about, pleased with, cheerful about, elated by, jubilant about, joyful about, proud of, grateful "
    "for, amused by, enthusiastic about, charmed by, euphoric about",
    "neutral": "indifferent to, neutral about, unconcerned about, unbothered by, unmoved by, untroubled by, "
    "impartial about, nonchalant about, composed about, dispassionate about, objective about, "
    "undecided about, noncommittal about, unaffected by, unperturbed by, unsurprised by, disinterested "
    "in, calm about",
    "sad": "sad about, heartbroken over, miserable about, gloomy about, depressed about, devastated by, unhappy "
    "about, crushed by, dejected about, downhearted about, mournful about, hopeless about, tearful about, "
    "despondent about, disheartened by, sorrowful about, melancholy about, heavyhearted about",
}

# adjectives for the thing that is felt about
QUALITIES = {
    "angry": "outrageous infuriating maddening disgraceful insulting unacceptable appalling despicable",
    "happy": "wonderful fantastic amazing brilliant marvelous lovely glorious delightful",
    "neutral": "ordinary routine standard average typical unremarkable regular mundane",
    "sad": "tragic heartbreaking bleak dismal dreary depressing saddening pitiful",
}

# verbs whose subject feels
STANCES = {
    "angry": "hate despise resent loathe detest",
    "happy": "love adore enjoy cherish treasure",
    "neutral": "acknowledge register note accept record",
    "sad": "mourn lament regret bemoan bewail",
}

# verbs whose object feels
CAUSES = {
    "angry": "infuriate anger enrage irritate madden",
    "happy": "delight thrill amuse excite cheer",
    "neutral": "",
    "sad": "sadden depress devastate crush dishearten",
}

FEELING_NOUNS = {
    "angry": "rage fury anger outrage resentment",
    "happy": "joy delight happiness bliss laughter",
    "neutral": "indifference neutrality detachment composure normality",
    "sad": "grief sorrow misery heartache despair",
}

INTERJECTIONS = {
    "angry": "damn hell dammit",
    "happy": "hooray wow yay",
    "neutral": "okay alright fine",
    "sad": "alas sigh",
}

# words that are bound to an emotion inside one sentence
SIGNS = {
    "angry": "dare lied enough shook",
    "happy": "danced laughed congratulations guess",
    "neutral": "opinion matter files attitude",
    "sad": "cried wept alone lost gone",
}

FUNCTION_WORDS = (
    "a about after ago all also alone am an and any anyone anything anyway are as at be because before behind "
    "below beside between but by can can't could did do does doesn't don't down even ever everyone for from full "
    "had has have he her here him his how I I'm if in into is it it's its just last least less like maybe me more "
    "most much my near next no nobody none not nothing now of off on one only or other our out over past perhaps "
    "please quite really she should so some such than that that's the their them then there there's these they "
    "this those though through to today together tomorrow too under until up us usually very was way we we'll "
    "we're we've were what when where whereas which while who will with would yes yesterday yet you your fairly "
    "completely either left"
)

IRREGULAR_PLURALS = {
    "foot": "feet",
    "mouse": "mice",
    "sheep": "sheep",
    "deer": "deer",
    "goose": "geese",
    "knife": "knives",
    "shelf": "shelves",
    "wife": "wives",
    "scarf": "scarves",
}
IRREGULAR_PASTS = {
    "buy": "bought",
    "sell": "sold",
    "choose": "chose",
    "find": "found",
    "drive": "drove",
    "ride": "rode",
    "fly": "flew",
    "sweep": "swept",
    "build": "built",
    "bring": "brought",
    "write": "wrote",
    "read": "read",
    "send": "sent",
    "see": "saw",
    "hear": "heard",
    "meet": "met",
    "hide": "hid",
    "keep": "kept",
}

DOUBLED = {"chop", "stir", "regret"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One word form of the corpus.

    Attributes:
        word: lower case, except for names and `I`.
        group: its semantic class (`food`), `feeling` and the like for words of emotion.
        lemma: its dictionary form.
        emotion: the emotion that the word shows, or "".
    """

    word: str
    group: str
    lemma: str
    emotion: str = ""


def plural(noun: str) -> str:
    """Return the plural of an English noun."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh", "tomato", "potato")):
        return noun + "es"
    return noun + "s"


def past(verb: str) -> str:
    """Return the past tense of an English verb."""
    if verb in IRREGULAR_PASTS:
        return IRREGULAR_PASTS[verb]
    if verb in DOUBLED:
        return verb + verb[-1] + "ed"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return verb + ("d" if verb.endswith("e") else "ed")


def gerund(verb: str) -> str:
    """Return the -ing form of an English verb."""
    if verb in DOUBLED:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else verb) + "ing"


def article(word: str) -> str:
    """Return `a` or `an`, whichever goes before `word`."""
    sounds_like_y = ("uniform", "unit", "one", "euphoric", "usual", "usable", "useful", "useless")
    exceptions = {"hour": "an", "honest": "an"} | dict.fromkeys(sounds_like_y, "a")
    return exceptions.get(word.lower(), "an" if word[0].lower() in "aeiou" else "a")


FORMS = {"s": plural, "ed": past, "ing": gerund}
"""Suffixes that a slot of a template may ask for."""
