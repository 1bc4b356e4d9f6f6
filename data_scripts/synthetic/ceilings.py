"""How well anyone could do on the synthetic corpus, counted from its cues.

The best possible scores that figures show beside the models of all five papers; chapter `intro`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from data_scripts.synthetic.lexicon import EMOTIONS

Cue = Mapping[str, str]
"""A row of cues.csv."""

SUBSETS: dict[str, Callable[[Cue], bool]] = {
    "all": lambda cue: True,
    "improvised": lambda cue: not cue["line"],
    "scripted": lambda cue: bool(cue["line"]),
    "plain": lambda cue: cue["item"] == "plain",
    "emphasis": lambda cue: cue["item"] == "emphasis",
}


def emphasised(cue: Cue) -> str:
    """Return the emotion whose word is stressed, as only the voice on that very word tells; "" for a plain item."""
    if cue["item"] == "plain":
        return ""
    return cue["emotion"]


def recalled(cues: Sequence[Cue]) -> dict[str, str]:
    """Return for each utterance what its script line carried most often in other sessions; "" if never spoken there."""
    played: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for cue in cues:
        if cue["line"]:
            played[cue["line"]][cue["id"][:5]][cue["emotion"]] += 1
    memory = {}
    for cue in cues:
        counts: Counter[str] = Counter()
        for session, emotions in played[cue["line"]].items() if cue["line"] else ():
            if session != cue["id"][:5]:
                counts += emotions
        most = max(counts.values(), default=0)
        memory[cue["id"]] = "/".join(e for e in EMOTIONS if most and counts[e] == most)
    return memory


def ceilings(cues: Sequence[Cue]) -> dict[str, dict]:
    """Return the best scores that each observer can reach on each subset of the corpus.

    Args:
        cues: the rows of cues.csv.

    Returns:
        {subset: {"size": utterances, observer: {"accuracy": best accuracy, "ua": best mean recall}}} with the observers
        `text` (the words, never seen before), `voice` (of the utterance as a whole), `both` (without knowing which word
        is stressed), `aligned` (knowing it) and `memory` (the words, and what script lines carried in other sessions).
    """
    memory = recalled(cues)
    observers: dict[str, Callable[[Cue], Hashable]] = {
        "text": lambda cue: cue["words"],
        "voice": lambda cue: cue["voice"],
        "both": lambda cue: (cue["words"], cue["voice"]),
        "aligned": lambda cue: (cue["words"], cue["voice"], emphasised(cue)),
        "memory": lambda cue: (cue["words"], memory[cue["id"]]),
    }
    table: dict[str, dict] = {}
    for subset, belongs in SUBSETS.items():
        chosen = [cue for cue in cues if belongs(cue)]
        table[subset] = {"size": len(chosen)}
        for name, observe in observers.items():
            table[subset][name] = best_scores([(observe(cue), cue["emotion"]) for cue in chosen])
    return table


def best_scores(pairs: Sequence[tuple[Hashable, str]]) -> dict[str, float]:
    """Return the best accuracy and the best mean recall of guessing an emotion from an observation.

    The best guess for an observation is its most frequent emotion; for mean recall, the emotion of which the
    observation holds the largest share.

    Args:
        pairs: observation and emotion of each utterance.
    """
    sizes = Counter(emotion for _, emotion in pairs)
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for observation, emotion in pairs:
        counts[observation][emotion] += 1
    accuracy = sum(max(c.values()) for c in counts.values()) / max(len(pairs), 1)
    recall = sum(max(n / sizes[emotion] for emotion, n in c.items()) for c in counts.values()) / len(EMOTIONS)
    return {"accuracy": round(accuracy, 6), "ua": round(recall, 6)}
