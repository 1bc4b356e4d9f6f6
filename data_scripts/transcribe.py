"""Recognise the speech of a corpus: `python data_scripts/transcribe.py --corpus iemocap --root FOLDER`.

Transcripts for the rows `-ASR` of yoon2018 and xu2019, in place of Google's, by a wav2vec 2.0 of torchaudio (Baevski
et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations"); chapter `corpora`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import pickle
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from serlib import corpora, files
from serlib.corpora.corpus import Corpus, Utterance
from serlib.corpora.transcripts import HEADER
from serlib.determinism import find_device
from serlib.features.waveform import read_waveform
from serlib.progress import bar

log = logging.getLogger(__name__)

PIPELINE = "WAV2VEC2_ASR_BASE_960H"
WEIGHTS = {PIPELINE: "488fd4f16de84438ffc945334278c1b9fb9b7159a806c1080b16111a958c945d"}
"""SHA-256 of the weights that are published for a recogniser, as far as it is known."""

SHORTEST = 400
"""Samples that a clip is filled up to with zeros: what wav2vec 2.0 needs for one frame."""

BLANK = 0
"""The label of torchaudio's pipelines that stands for nothing."""

WORD_END = "|"

MULTIPLIER = 6364136223846793005
"""Of a hash modulo 2**64 (Knuth's, for linear congruences)."""

Acoustics = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""From waveforms (batch, samples) and lengths (batch,) to logits (batch, frames, labels) and frames (batch,)."""


@dataclass(frozen=True)
class Recogniser:
    """An acoustic model with what belongs to it.

    Attributes:
        model: gives logits of the labels, some 50 times a second.
        labels: a character each, the first is CTC's blank, `|` ends a word.
        rate: samples per second that the model wants.
        weights: SHA-256 of the file that the model's weights are from; None if there is no such file.
    """

    model: Acoustics
    labels: Sequence[str]
    rate: int
    weights: str | None = None


def load_recogniser(pipeline: str, device: torch.device, checksum: str | None = None) -> Recogniser:
    """Load a recogniser of torchaudio; its weights (360 MB for the default) are downloaded once, by `torch.hub`.

    Nothing but tensors is read from their file, which is compared with a checksum before that, if it is there already.

    Args:
        pipeline: name in `torchaudio.pipelines`.
        device: where to compute.
        checksum: SHA-256 that the weights must have; None for the one in `WEIGHTS`, if there is one.

    Raises:
        ValueError: if torchaudio has no such one, the message names those it has; or if the weights are others.
        OSError: if the weights cannot be downloaded.
    """
    from torchaudio import pipelines

    names = [name for name in dir(pipelines) if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2ASRBundle)]
    if pipeline not in names:
        raise ValueError(f"torchaudio has no recogniser {pipeline!r}; expected one of {', '.join(names)}")
    bundle = getattr(pipelines, pipeline)
    path, checksum = (
        Path(torch.hub.get_dir(), "checkpoints", Path(bundle._path).name),
        checksum or WEIGHTS.get(pipeline),
    )
    if path.is_file():
        _check_weights(path, checksum)
    try:
        model = bundle.get_model(dl_kwargs={"weights_only": True}).to(device)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: expected the weights of {pipeline}, found something else; remove it") from error
    except OSError as error:
        raise OSError(
            f"cannot get the weights of {pipeline}: {error}; is there a network and a gigabyte free?"
        ) from error
    return Recogniser(model, bundle.get_labels(), int(bundle.sample_rate), _check_weights(path, checksum))


def _check_weights(path: Path, expected: str | None) -> str:
    """The SHA-256 of a file; raise ValueError if another is expected."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if expected and found != expected.lower():
        raise ValueError(f"{path}: expected weights with SHA-256 {expected}, found {found}; remove it to get them anew")
    if not expected:
        log.warning("%s: no checksum to compare its SHA-256 with, %s", path, found)
    return found


def transcribe(
    corpus: Corpus,
    recogniser: Recogniser,
    out: str | Path,
    *,
    decoder: str = "greedy",
    beam: int = 25,
    batch_seconds: float = 60.0,
    device: torch.device | str = "cpu",
    pipeline: str = PIPELINE,
    progress: bool = True,
) -> dict[str, Any]:
    """Write what a recogniser hears in each utterance, and how much of it is wrong.

    Utterances of like length are recognised together, the longest first. After each batch everything so far is written
    to `.OUT.part.json` beside `out`; the next call with the same settings goes on from there. The batches do
    not depend on that, so it ends with the same file: with models whose first layer normalises over
    time, as `WAV2VEC2_ASR_BASE_960H` does, a transcript can depend on how much padding its batch has.

    Args:
        corpus: whose utterances.
        recogniser: of `load_recogniser`, its model on `device`.
        out: the table to write, as `serlib.corpora.read_transcripts` reads it; `OUT.wer.json` is put beside it.
        decoder: `greedy` takes the likeliest label of each frame, `beam` the likeliest text, see `beam_search`.
        beam: texts that the beam search keeps.
        batch_seconds: length of a batch, padding included; 0 for one utterance at a time.
        device: where `recogniser.model` is.
        pipeline: its name, which is noted.
        progress: show a progress bar.

    Returns:
        what is in `OUT.wer.json`: settings, and the word error rate of the corpus and of each session.

    Raises:
        ValueError: if an utterance cannot be read, after all others have been recognised; the message names it. If
            what is there was begun with other settings.
        FileExistsError: if `out` is there and complete.
        RuntimeError: if a batch does not fit into memory.
        OSError: if `out` cannot be written.
    """
    out = Path(out)
    settings = {"corpus": corpus.name, "utterances": len(corpus), "pipeline": pipeline, "decoder": decoder}
    settings |= {"beam": beam if decoder == "beam" else None, "batch_seconds": batch_seconds}
    settings |= {"weights": recogniser.weights}
    ids = hashlib.blake2b("\n".join(u.id for u in corpus).encode(), digest_size=10).hexdigest()
    with files.locked(out):
        if out.exists() and not _part(out).exists():
            raise FileExistsError(f"{out}: there are such transcripts already; remove them or choose another --out")
        texts = _recognise_all(corpus, recogniser, out, settings | {"ids": ids}, device, progress)
        report = settings | word_error_rates(corpus, texts)
        files.write_text(out, "".join(f"{line}\n" for line in [HEADER, *(f"{u.id}\t{texts[u.id]}" for u in corpus)]))
        files.write_json(out.with_name(f"{out.stem}.wer.json"), report)
        _part(out).unlink(missing_ok=True)
    return report


def _part(out: Path) -> Path:
    return out.with_name(f".{out.name}.part.json")


def _recognise_all(
    corpus: Corpus,
    recogniser: Recogniser,
    out: Path,
    settings: dict[str, Any],
    device: torch.device | str,
    progress: bool,
) -> dict[str, str]:
    """Recognise what is not in the file of what is finished, and add it there."""
    texts = _finished(_part(out), settings)
    failures: list[str] = []
    with bar(
        progress,
        desc=out.stem,
        total=_milliseconds(corpus),
        initial=_milliseconds(u for u in corpus if u.id in texts),
        unit=" s of speech",
        unit_scale=0.001,
    ) as shown:
        for batch in batches(corpus.utterances, settings["batch_seconds"]):
            if all(u.id in texts for u in batch):
                continue
            waveforms = []
            for u in batch:
                try:
                    waveforms.append(torch.from_numpy(read_waveform(u.audio, recogniser.rate)))
                except (OSError, ValueError) as error:
                    failures.append(f"{u.id}: {error}")
            if len(waveforms) == len(batch):
                heard = _recognise(recogniser, waveforms, settings["decoder"], settings["beam"], device)
                texts |= {u.id: text for u, text in zip(batch, heard, strict=True)}
                files.write_json(_part(out), {"settings": settings, "texts": texts})
            shown.update(_milliseconds(batch))
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(corpus)} utterances cannot be read, the first is {failures[0]}. Their batches "
            f"are left out, the other {len(texts)} utterances kept in {_part(out)}; mend the files and run this again"
        )
    return texts


def _milliseconds(utterances: Iterable[Utterance]) -> int:
    return sum(round(1000 * u.duration) for u in utterances)


def _finished(part: Path, settings: dict[str, Any]) -> dict[str, str]:
    """The texts in the file of what is finished, if there is one."""
    if not part.is_file():
        return {}
    try:
        found = json.loads(part.read_text(encoding="utf-8"))
        begun, texts = found["settings"], dict(found["texts"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{part}: expected what an earlier run has finished, found a damaged file; remove it"
        ) from error
    for name, value in settings.items():
        if begun.get(name) != value:
            raise ValueError(
                f"{part}: begun with {name} {begun.get(name)!r}, not {value!r}; run with that, remove the file, "
                "or choose another --out"
            )
    return texts


def batches(utterances: Sequence[Utterance], seconds: float) -> Iterator[list[Utterance]]:
    """Group utterances of like length, the longest first; each group with its padding is at most `seconds` long.

    An utterance that is longer is alone.
    """
    batch: list[Utterance] = []
    for u in sorted(utterances, key=lambda u: (-u.duration, u.id)):
        if batch and batch[0].duration * (len(batch) + 1) > seconds:
            yield batch
            batch = []
        batch.append(u)
    if batch:
        yield batch


@torch.inference_mode()
def _recognise(
    recogniser: Recogniser, waveforms: list[Tensor], decoder: str, beam: int | None, device: torch.device | str
) -> list[str]:
    lengths = torch.tensor([max(len(waveform), SHORTEST) for waveform in waveforms])
    padded = pad_sequence([*waveforms, torch.zeros(SHORTEST)], batch_first=True)[:-1]
    try:
        logits, frames = recogniser.model(padded.to(device), lengths.to(device))
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"{len(waveforms)} utterances of up to {int(lengths.max()) / recogniser.rate:.1f} s do not fit into the "
            f"memory of {device}; give a smaller --batch-seconds"
        ) from error
    frames = torch.full((len(logits),), logits.shape[1]) if frames is None else frames
    scores, frames = logits.float().log_softmax(2), frames.to(logits.device)
    found = greedy(scores, frames) if decoder == "greedy" else beam_search(scores, frames, beam)
    heard = ("".join(recogniser.labels[i] for i in labels).lower() for labels in found)
    return [" ".join(filter(None, text.split(WORD_END))) for text in heard]


def greedy(scores: Tensor, frames: Tensor) -> list[list[int]]:
    """Take the likeliest label of each frame, join equal neighbours and drop blanks.

    Args:
        scores: (batch, frames, labels) logarithms of probabilities.
        frames: (batch,) frames of each utterance.

    Returns:
        the labels of each utterance.
    """
    best = scores.argmax(2)
    new = torch.ones_like(best, dtype=torch.bool)
    new[:, 1:] = best[:, 1:] != best[:, :-1]
    new &= (best != BLANK) & (torch.arange(best.shape[1], device=best.device) < frames[:, None])
    return [row[keep].tolist() for row, keep in zip(best, new, strict=True)]


def beam_search(scores: Tensor, frames: Tensor, beam: int) -> list[list[int]]:
    """Find the likeliest label sequence, over all the ways in which CTC can spell it: a prefix beam search.

    Graves et al. (2006), "Connectionist temporal classification", section 3.2, keeping the `beam` likeliest prefixes.
    All utterances and prefixes are extended at once. There is no language model. torchaudio's `ctc_decoder` would need
    flashlight-text, and its `cuda_ctc_decoder` a GPU; this one needs neither.

    Args:
        scores: (batch, frames, labels) logarithms of probabilities.
        frames: (batch,) frames of each utterance.
        beam: prefixes that are kept. With as many as there are prefixes, the search is exact.

    Returns:
        the labels of each utterance.
    """
    number, length, labels = scores.shape
    never = -math.inf
    blank, other = scores.new_full((2, number, beam), never)  # log probability of a prefix, by what it ends in
    blank[:, 0] = 0.0
    places = torch.arange(beam, device=scores.device).expand(number, beam)
    name = -places  # of a prefix: a hash of its labels; 0 for the empty one, negative for an unused place
    parent = torch.full_like(places, -1 - beam)  # its name without the last label; of no prefix for those two
    last = torch.full_like(places, BLANK)  # that label
    history = []
    for time in range(length):
        score = scores[:, time]
        both = torch.logaddexp(blank, other)
        stay_blank = both + score[:, BLANK, None]
        stay_other = other + score.gather(1, last)
        extended = both[..., None] + score[:, None]  # (batch, beam, labels)
        extended.scatter_(2, last[..., None], (blank + score.gather(1, last))[..., None])  # a repetition needs a blank
        extended[..., BLANK] = never

        same = parent[:, :, None] == name[:, None]  # (batch, prefix, the one it extends)
        row, child, source = same.nonzero(as_tuple=True)  # in the beam both ways: by staying and by extension
        label = last[row, child]
        stay_other[row, child] = torch.logaddexp(stay_other[row, child], extended[row, source, label])
        extended[row, source, label] = never

        best, chosen = torch.cat([torch.logaddexp(stay_blank, stay_other), extended.flatten(1)], 1).topk(beam)
        stays = chosen < beam
        origin = torch.where(stays, chosen, (chosen - beam) // labels)
        added = torch.where(stays, BLANK, (chosen - beam) % labels)
        previous = name.gather(1, origin)
        going = (time < frames)[:, None]
        found = (
            torch.where(stays, stay_blank.gather(1, origin), never),
            torch.where(stays, stay_other.gather(1, origin), best),
            torch.where(best == never, -1 - places, torch.where(stays, previous, (previous + 1) * MULTIPLIER + added)),
            torch.where(best == never, -1 - beam, torch.where(stays, parent.gather(1, origin), previous)),
            torch.where(stays, last.gather(1, origin), added),
        )
        blank, other, name, parent, last = (
            torch.where(going, new, old) for new, old in zip(found, (blank, other, name, parent, last), strict=True)
        )
        history.append((torch.where(going, origin, places), torch.where(going, added, BLANK)))

    place = torch.logaddexp(blank, other).argmax(1, keepdim=True)
    spelt = []
    for origin, added in reversed(history):
        spelt.append(added.gather(1, place))
        place = origin.gather(1, place)
    if not spelt:
        return [[] for _ in range(number)]
    return [[label for label in row if label != BLANK] for row in torch.cat(spelt[::-1], 1).tolist()]


def normalise(text: str) -> list[str]:
    """Split a transcript into words as recognisers write them: no case, no punctuation but `'`, no tags.

    Example:
        >>> normalise("Well, I -- I can't. [LAUGHTER]")
        ['well', 'i', 'i', "can't"]
    """
    words = re.sub(r"[^\w']|_", " ", re.sub(r"\[[^\]]*\]", " ", text.lower().replace("’", "'"))).split()
    return [word.strip("'") for word in words if word.strip("'")]


def word_error_rates(corpus: Corpus, texts: dict[str, str]) -> dict[str, Any]:
    """Compare transcripts with the corpus's own, both without case, punctuation and tags.

    Args:
        corpus: with the reference transcripts.
        texts: utterance id to what was recognised.

    Returns:
        `all`, and `sessions` by name: the word error rate `wer` (None without a reference word), the number of `words`
        in the reference, `substitutions`, `deletions` and `insertions`.
    """
    sessions: dict[str, list[Utterance]] = defaultdict(list)
    for u in corpus:
        sessions[u.session].append(u)

    def errors(utterances: Sequence[Utterance]) -> dict[str, Any]:
        references = [" ".join(normalise(u.text)) for u in utterances]
        found = jiwer.process_words(references, [" ".join(normalise(texts[u.id])) for u in utterances])
        words = found.hits + found.substitutions + found.deletions
        counts = {name: getattr(found, name) for name in ("substitutions", "deletions", "insertions")}
        return {"wer": found.wer if words else None, "words": words, **counts}

    return {
        "all": errors(corpus.utterances),
        "sessions": {name: errors(utterances) for name, utterances in sorted(sessions.items())},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Recognise the speech of a corpus; corpora.load(..., transcripts=NAME) then reads what was heard.",
        epilog="Any other recogniser will do as well: put its output into a table with the header id<TAB>text and an "
        "utterance per line, as transcripts/NAME.tsv in the folder of the corpus.",
    )
    parser.add_argument("--corpus", default="iemocap", choices=corpora.NAMES)
    parser.add_argument("--root", metavar="FOLDER", help="of the corpus (default: as corpora.load)")
    parser.add_argument(
        "--out",
        default="asr",
        metavar="NAME",
        help="transcripts/NAME.tsv below the corpus, or a path that ends in .tsv",
    )
    parser.add_argument(
        "--pipeline", default=PIPELINE, help="recogniser of torchaudio.pipelines (default: %(default)s)"
    )
    parser.add_argument("--sha256", metavar="HEX", help="that its weights must have (default: as published, if known)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--decoder", default="greedy", choices=("greedy", "beam"))
    parser.add_argument("--beam", type=int, default=25, help="texts that the beam search keeps (default: %(default)s)")
    parser.add_argument(
        "--batch-seconds", type=float, default=60.0, help="speech per batch; 0: one utterance (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, help="only the first utterances, to try it out")
    options = parser.parse_args(arguments)
    if options.beam < 1 or (options.limit is not None and options.limit < 1):
        parser.error("--beam and --limit must be at least 1")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        device = find_device(options.device)
        corpus = corpora.load(options.corpus, options.root)
        if options.limit:
            corpus = corpus.select([u.id for u in corpus.utterances[: options.limit]])
        out = Path(options.out).expanduser()
        if out.suffix != ".tsv":
            out = corpus.root / "transcripts" / f"{options.out}.tsv"
        report = transcribe(
            corpus,
            load_recogniser(options.pipeline, device, options.sha256),
            out,
            decoder=options.decoder,
            beam=options.beam,
            batch_seconds=options.batch_seconds,
            device=device,
            pipeline=options.pipeline,
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    for name, found in {"all": report["all"], **report["sessions"]}.items():
        rate = "no reference words" if found["wer"] is None else f"word error rate {100 * found['wer']:.2f} %"
        log.info("%s: %s, %s words", name, rate, f"{found['words']:,}")
    log.info("%s is written", out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
