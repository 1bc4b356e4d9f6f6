"""Recognise the speech of a corpus: `python data_scripts/transcribe.py --corpus iemocap --root FOLDER`.

Transcripts for the rows `-ASR` of yoon2018 and xu2019, in place of Google's: by PocketSphinx, which needs no network,
or by a wav2vec 2.0 of torchaudio (`data_scripts/recognisers/`); chapter `corpora`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__" and __package__ in (None, ""):  # python data_scripts/transcribe.py
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data_scripts.recognisers import Engine, sphinx, wav2vec
from data_scripts.workshop import same_settings
from serlib import corpora, files
from serlib.corpora.corpus import Corpus, Utterance
from serlib.corpora.transcripts import HEADER, word_error_rates
from serlib.determinism import find_device
from serlib.progress import bar

log = logging.getLogger(__name__)


def transcribe(
    corpus: Corpus, engine: Engine, out: str | Path, *, batch_seconds: float = 60.0, progress: bool = True
) -> dict[str, Any]:
    """Write what a recogniser hears in each utterance, and how much of it is wrong.

    Utterances of like length are recognised together, the longest first. After each batch everything so far is written
    to `.OUT.part.json` beside `out`; the next call with the same settings goes on from there. The batches do not depend
    on that, so it ends with the same file.

    Args:
        corpus: whose utterances.
        engine: what recognises them.
        out: the table to write, as `serlib.corpora.read_transcripts` reads it; `OUT.wer.json` is put beside it.
        batch_seconds: length of a batch, padding included; 0 for one utterance at a time.
        progress: show a progress bar.

    Returns:
        what is in `OUT.wer.json`: settings, and the word error rates of `serlib.corpora.word_error_rates`.

    Raises:
        ValueError: if an utterance cannot be read, after all others have been recognised; the message names it. If
            what is there was begun with other settings. If the corpus has recordings and no utterances.
        FileExistsError: if `out` is there and complete.
        RuntimeError: if the memory is too small.
        OSError: if `out` cannot be written.
    """
    out = Path(out)
    if not corpus.utterances:
        raise ValueError(f"{corpus.root}: expected a corpus of utterances, found {len(corpus.recordings)} recordings")
    settings = {"corpus": corpus.name, "utterances": len(corpus), **engine.settings}
    ids = hashlib.blake2b("\n".join(u.id for u in corpus).encode(), digest_size=10).hexdigest()
    with files.locked(out):
        if out.exists() and not _part(out).exists():
            raise FileExistsError(f"{out}: there are such transcripts already; remove them or choose another --out")
        planned = list(batches(corpus.utterances, batch_seconds))
        texts = _hear(planned, engine, out, settings | {"ids": ids}, progress)
        report = settings | word_error_rates(corpus, texts)
        files.write_text(out, "".join(f"{line}\n" for line in [HEADER, *(f"{u.id}\t{texts[u.id]}" for u in corpus)]))
        files.write_json(out.with_name(f"{out.stem}.wer.json"), report)
        _part(out).unlink(missing_ok=True)
    return report


def _part(out: Path) -> Path:
    return out.with_name(f".{out.name}.part.json")


def _hear(
    planned: Sequence[Sequence[Utterance]], engine: Engine, out: Path, settings: Mapping[str, Any], progress: bool
) -> dict[str, str]:
    """Recognise what is not in the file of what is finished, and add it there."""
    texts, failures = _finished(_part(out), settings), {}
    left = [batch for batch in planned if any(u.id not in texts for u in batch)]
    total, todo = (sum(map(_milliseconds, some)) for some in (planned, left))
    how = {"total": total, "initial": total - todo, "unit": " s of speech", "unit_scale": 0.001}
    with bar(progress, desc=out.stem, **how) as shown:
        for heard in engine.hear(left):
            texts |= heard.texts
            failures |= heard.failures
            files.write_json(_part(out), {"settings": settings, "texts": texts})
            shown.update(_milliseconds(heard.batch))
    if failures:
        first, number = min(failures), sum(map(len, planned))
        lost = number - len(texts) - len(failures)
        beside = f" {lost} more are in batches with them." if lost else ""
        raise ValueError(
            f"{len(failures)} of {number} utterances cannot be read, the first is {first}: {failures[first]}.{beside} "
            f"The other {len(texts)} are kept in {_part(out)}; mend the files and run this again"
        )
    return texts


def _milliseconds(utterances: Iterable[Utterance]) -> int:
    return sum(round(1000 * u.duration) for u in utterances)


def _finished(part: Path, settings: Mapping[str, Any]) -> dict[str, str]:
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
    same_settings(part, begun, settings, "run with that, remove the file, or choose another --out")
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


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        device = find_device(options.device)
        corpus = corpora.load(options.corpus, options.root)
        if options.limit:
            corpus = corpus.select([u.id for u in corpus.utterances[: options.limit]])
        out = Path(options.out).expanduser()
        if out.suffix != ".tsv":
            out = corpus.root / "transcripts" / f"{options.out}.tsv"
        if options.engine == "pocketsphinx":
            engine = sphinx.PocketSphinx(options.jobs)
        else:
            recogniser = wav2vec.load_recogniser(options.pipeline, device, options.sha256)
            how = (options.decoder, options.beam, options.batch_seconds, device, options.pipeline)
            engine = wav2vec.Wav2Vec(recogniser, *how)
        report = transcribe(corpus, engine, out, batch_seconds=options.batch_seconds)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    for line in told(report):
        log.info("%s", line)
    log.info("%s is written", out)
    return 0


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """Say the word error rates of a report, a line each; groups with the same members are told once."""
    groups = {name: members for name, members in report.items() if name != "all" and isinstance(members, dict)}
    shown: list[Mapping[str, Any]] = []
    for name, members in ({"all": {"all": report["all"]}} | groups).items():
        if members in shown or not members:
            continue
        shown.append(members)
        for member, found in members.items():
            rate = "no reference words" if found["wer"] is None else f"word error rate {100 * found['wer']:.2f} %"
            called = member if name == "all" else f"{name}, {member}"
            nothing = f", nothing heard in {found['empty']} of {found['utterances']:,} utterances"
            yield f"{called}: {rate}, {found['words']:,} words{nothing if found['empty'] else ''}"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Recognise the speech of a corpus; corpora.load(..., transcripts=NAME) then reads what was heard.",
        epilog="Any other recogniser will do as well: put its output into a table with the header id<TAB>text and an "
        "utterance per line, as transcripts/NAME.tsv in the folder of the corpus.",
    )
    parser.add_argument("--corpus", default="iemocap", choices=corpora.NAMES)
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        help="of the corpus; of table, it or its folder (default: what SERLIB_NAME says, or NAME in the cache folder)",
    )
    parser.add_argument(
        "--out",
        default="asr",
        metavar="NAME",
        help="transcripts/NAME.tsv below the corpus, or a path that ends in .tsv (default: %(default)s)",
    )
    parser.add_argument(
        "--engine",
        default="pocketsphinx",
        choices=("pocketsphinx", "torchaudio"),
        help="pocketsphinx has its model with it, torchaudio downloads one (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, help="only the first utterances, to try it out with an --out of its own")
    parser.add_argument(
        "--batch-seconds",
        type=float,
        default=60.0,
        help="speech per batch, after each of which what is done is kept; 0: one utterance (default: %(default)s)",
    )
    own = parser.add_argument_group("pocketsphinx")
    own.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    own = parser.add_argument_group("torchaudio")
    own.add_argument(
        "--pipeline", default=wav2vec.PIPELINE, help="recogniser of torchaudio.pipelines (default: %(default)s)"
    )
    own.add_argument("--sha256", metavar="HEX", help="that its weights must have (default: as published, if known)")
    own.add_argument("--device", default="auto", help="auto, cpu or cuda")
    own.add_argument("--decoder", default="greedy", choices=("greedy", "beam"))
    own.add_argument("--beam", type=int, default=25, help="texts that the beam search keeps (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.beam < 1 or options.jobs < 1 or (options.limit is not None and options.limit < 1):
        parser.error("--beam, --jobs and --limit must be at least 1")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
