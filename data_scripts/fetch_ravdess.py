"""Get RAVDESS's speech: `python data_scripts/fetch_ravdess.py`, or with `--from` a folder or zip that you have.

Source: Livingstone and Russo 2018, PLoS ONE 13(5): e0196391, Zenodo record 1188976, CC BY-NC-SA 4.0. Real speech for
yoon2018; taught in chapter `corpora`.
"""

from __future__ import annotations

import argparse
import logging
import shutil
from collections import Counter
from pathlib import Path, PurePath, PurePosixPath

from data_scripts.download import Remote, command, download, put, unpack, vacant, workshop, writing
from serlib import files
from serlib.corpora import ravdess

log = logging.getLogger(__name__)

PUBLISHED = Remote(
    url="https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip?download=1",
    size=208_468_073,
    checksum="md5:bc696df654c87fed845eb13823edef8a",
)
WHOLE = 24 * 60
"""Files in all. An actor's 60: neutral in 4 ways (2 statements, twice), 7 emotions in 8 (and 2 intensities)."""

MOST_FILES, MOST_BYTES = 10_000, 2 << 30


def fetch(
    out: str | Path | None = None,
    source: str | Path | None = None,
    progress: bool = True,
    *,
    remote: Remote = PUBLISHED,
) -> Path:
    """Put RAVDESS's 1,440 files of speech where `corpora.load("ravdess")` looks for them.

    A download is checked by length and MD5 as published, then every file's CRC, name and wav header. The folder appears
    when all is there; until then, everything is in a folder `.NAME.fetch` beside it, from which the next call goes on.
    If the folder is complete already, nothing is done.

    Args:
        out: the folder to make, holding `Actor_01` to `Actor_24`; None for `cache_folder() / "ravdess"`. One that is
            there and is not empty is never replaced.
        source: instead of a download, a folder that holds the actors' folders (itself, or in its only folder that does;
            `out` becomes a link to it, or a copy where there are no links), or a zip file of them. It may be part of
            the corpus: what there is, is logged.
        progress: show progress bars.
        remote: the published zip file.

    Returns:
        `out`.

    Raises:
        OSError: if the download fails, `source` is not there, or `out` cannot be written or holds files.
        ValueError: if the zip or files in it are damaged, missing or harmful.
    """
    out = Path(out or files.cache_folder() / "ravdess").expanduser().absolute()
    with workshop(out, "Audio_Speech_Actors_01-24.zip") as (archive, new):
        if source is None and _is_whole(out):
            log.info("RAVDESS is complete in %s: %s files, nothing to do", out, f"{WHOLE:,}")
            return out
        least = WHOLE if source is None else 1
        source = Path(source).expanduser().absolute() if source else None
        if source and not source.exists():
            raise FileNotFoundError(f"{source}: no such folder or zip file; give --from the one that you have")
        if source and source.is_dir():
            emotions = _link(_actors_in(source), out, new)
        else:
            vacant(out)
            source = source or download(remote, archive, progress=progress)
            unpack(source, new, _place, most_files=MOST_FILES, most_bytes=MOST_BYTES, progress=progress)
            emotions = _check(new, source)
            if emotions.total() < least:
                raise ValueError(f"{source}: expected {least:,} files of RAVDESS, found {emotions.total():,}")
            put(new, out)
    if emotions.total() == WHOLE:
        log.info("RAVDESS is complete in %s: %s files", out, f"{WHOLE:,}")
    else:
        counts = ", ".join(f"{emotion} {count}" for emotion, count in sorted(emotions.items()))
        log.warning("%s holds %s of RAVDESS's %s files: %s", out, f"{emotions.total():,}", f"{WHOLE:,}", counts)
    return out


def _link(root: Path, out: Path, new: Path) -> Counter[str]:
    """Make `out` a link to `root`, or a copy where there are no links."""
    emotions = _check(root, root)
    if out.exists() and out.samefile(root):
        return emotions
    vacant(out)
    with writing(out):
        new.parent.mkdir(exist_ok=True)
        try:
            new.symlink_to(root.resolve(), target_is_directory=True)
        except OSError:
            for actor in ravdess.ACTORS:
                for path in sorted((root / actor).glob("*.wav")):
                    (new / actor).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, new / actor / path.name)
    put(new, out)
    return emotions


def _place(name: PurePosixPath) -> PurePosixPath | None:
    """Where a file of the zip belongs: `Actor_NN/name.wav`, whatever folder that lies in there."""
    if name.parent.name in ravdess.ACTORS and _is_speech(name):
        return PurePosixPath(name.parent.name, name.name)
    return None


def _is_speech(path: PurePath) -> bool:
    return path.suffix == ".wav" and ravdess.FILE_NAME.fullmatch(path.stem) is not None


def _actors_in(folder: Path) -> Path:
    """The folder itself or the one in it that holds the actors' folders."""
    candidates = [folder, *(path for path in sorted(folder.iterdir()) if path.is_dir())]
    for candidate in candidates:
        if any((candidate / actor).is_dir() for actor in ravdess.ACTORS):
            return candidate
    raise ValueError(
        f"{folder}: expected folders Actor_01 to Actor_24 in it, found none; give --from the one with them"
    )


def _is_whole(root: Path) -> bool:
    try:
        return root.is_dir() and _check(root, root).total() == WHOLE
    except ValueError:
        return False


def _check(root: Path, source: Path) -> Counter[str]:
    """How many files of each emotion `root` holds; raises, naming `source`, if there are none or some are damaged.

    Files with other names, such as RAVDESS's songs, do not count: `corpora.load` leaves them out, too.
    """
    if not any(_is_speech(path) for path in root.glob("Actor_*/*.wav")):
        raise ValueError(f"{source}: expected files such as Actor_12/03-01-05-01-02-01-12.wav, found none")
    try:
        corpus = ravdess.read(root, progress=False)
    except ValueError as error:
        raise ValueError(f"{source}: no file can be read: {error}. Get them anew") from error
    damaged = [skip for skip in corpus.skipped if _is_speech(Path(skip.where))]
    if damaged:
        count = f"{len(damaged):,} of {len(damaged) + len(corpus.utterances):,} files are damaged"
        raise ValueError(f"{source}: {count}, first {damaged[0].where}: {damaged[0].why}. Get them anew")
    return Counter(utterance.emotion for utterance in corpus.utterances)


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Get RAVDESS: 1,440 files of speech, 24 actors, 208 MB to download.")
    parser.add_argument("--out", metavar="FOLDER", help="folder to make (default: ravdess in the cache folder)")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FOLDER_OR_ZIP",
        help="take this folder of Actor_NN folders or zip file instead",
    )
    return command(parser, fetch, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
