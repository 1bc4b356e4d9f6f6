from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from serlib import files


def test_cache_folder(monkeypatch):
    monkeypatch.setenv("SERLIB_CACHE", "~/here")
    assert files.cache_folder() == Path.home() / "here"
    monkeypatch.delenv("SERLIB_CACHE")
    assert files.cache_folder() == Path.home() / ".cache" / "serlib"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("SERLIB_CACHE", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where neither HOME nor the user's name is known
    with pytest.raises(FileNotFoundError, match=r"home directory\. Set SERLIB_CACHE to a folder for generated corpora"):
        files.cache_folder()
    monkeypatch.setenv("SERLIB_CACHE", "/scratch")
    assert files.cache_folder() == Path("/scratch")


def test_what_killed_processes_left_is_removed_a_day_later_and_nothing_else(tmp_path):
    ours, recent = (tmp_path / f".{digit * 32}.part{suffix}" for digit, suffix in (("a", ""), ("0", ".npz")))
    theirs = [
        tmp_path / name for name in (".notes.part", f"{'a' * 32}.part", f".{'a' * 32}.parts", f".{'g' * 32}.part")
    ]
    for path in (ours, recent, *theirs):
        path.write_text("half")
        os.utime(path, (then := time.time() - 2 * files.STALE * (path != recent), then))
    files.write_text(tmp_path / "a.txt", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([recent, *theirs, tmp_path / "a.txt"])


def test_atomic_makes_folders_and_leaves_one_file(tmp_path):
    path = tmp_path / "a" / "b" / "table.csv"
    with files.atomic(path) as temporary:
        temporary.write_text("1")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_atomic_keeps_the_old_file_on_failure(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_folder_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.txt"
    for write in (lambda: files.write_text(path, "x"), lambda: files.locked(path).__enter__()):
        with pytest.raises(OSError) as caught:
            write()
        assert str(caught.value).endswith(
            f"cannot write: File exists; part of the path is a file, not a folder; choose another folder: '{path}'"
        )


def test_full_disk_names_the_file(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as caught, files.atomic(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"[Errno 28] cannot write: No space left on device; the disk is full; free some space: '{path}'"
    )
    assert list(tmp_path.iterdir()) == []


def test_errors_of_other_files_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError) as caught, files.atomic(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "Permission denied", "/other")
    assert caught.value.filename == "/other"


def test_json(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": [1, 0.5], "a": "é"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1, 0.5], "a": "é"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, float("nan"))
    assert json.loads(path.read_text(encoding="utf-8")) == {"b": [1, 0.5], "a": "é"}


def _count_up(path: Path, times: int) -> None:
    for _ in range(times):
        with files.locked(path):
            value = int(path.read_text()) if path.exists() else 0
            path.write_text(str(value + 1))


def test_lock_lets_one_process_in(tmp_path):
    path = tmp_path / "counter"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(path, 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert path.read_text() == "150"
