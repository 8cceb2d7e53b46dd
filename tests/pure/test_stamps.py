"""Stamps of real files, and their equality."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spraycc.stamps import FILE, LINK, MISSING, NAMES, STAMP_BYTES, describe, look, of_error, tidy


def test_a_stamp_changes_with_what_a_reader_can_see(tmp_path: Path) -> None:
    file = tmp_path / "a.h"
    lookup = FILE + bytes(file)
    stamps = [look(lookup)]
    file.write_text("one")
    stamps.append(look(lookup))
    other = tmp_path / "t"
    other.write_text("two")
    os.utime(other, ns=(1, file.stat().st_mtime_ns))
    other.rename(file)
    stamps.append(look(lookup))
    file.write_text("three")
    stamps.append(look(lookup))
    file.unlink()
    assert stamps[0] == look(lookup) == MISSING
    assert len(set(stamps)) == 4
    assert {len(stamp) for stamp in stamps} == {STAMP_BYTES}


def test_names_change_with_the_names_and_the_directory_itself_does_not(tmp_path: Path) -> None:
    names, directory = NAMES + bytes(tmp_path), FILE + bytes(tmp_path)
    before = look(names), look(directory)
    os.utime(tmp_path, ns=(5, 5))
    (tmp_path / "new").touch()
    assert look(names) != before[0]
    assert look(directory) == before[1]


def test_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    link = tmp_path / "link"
    link.symlink_to("file")
    assert look(FILE + bytes(link)) == look(FILE + bytes(tmp_path / "file"))
    assert look(LINK + bytes(link)) != look(FILE + bytes(link))
    link.unlink()
    link.symlink_to("nowhere")
    assert look(FILE + bytes(link)) == MISSING
    assert look(LINK + bytes(link)) != MISSING


def test_a_path_below_a_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert look(FILE + bytes(tmp_path / "file" / "x")) == MISSING


def test_errors_are_stamps_of_their_own() -> None:
    assert of_error(errno.ENOENT) == of_error(errno.ENOTDIR) == MISSING
    assert len({of_error(number) for number in (errno.EACCES, errno.ESTALE, errno.ELOOP, errno.ENOENT)}) == 4


@pytest.mark.parametrize(
    ("path", "tidied"),
    [
        (b"/", b"/"),
        (b"//", b"/"),
        (b"/.", b"/"),
        (b"/a/b.h", b"/a/b.h"),
        (b"/a/./b", b"/a/b"),
        (b"/a//b", b"/a/b"),
        (b"/./a/.//././b", b"/a/b"),
        (b"/a/", b"/a"),
        (b"/a/.", b"/a"),
        (b"/a//./", b"/a"),
        (b"/a/..", b"/a/.."),
        (b"/a/./../b/", b"/a/../b"),
        (b"/a/.b", b"/a/.b"),
        (b"/a/..b/.c./d", b"/a/..b/.c./d"),
        (b"/a/.\n", b"/a/.\n"),
        (b"/a/\n", b"/a/\n"),
    ],
)
def test_tidy(path: bytes, tidied: bytes) -> None:
    assert tidy(path) == tidied


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda path: None, FILE, "missing"),
        (lambda path: path.write_text("abc"), FILE, "3 bytes, modified "),
        (lambda path: path.mkdir(), FILE, "directory"),
        (lambda path: path.mkdir(), NAMES, "directory, inode "),
        (lambda path: os.mkfifo(path), FILE, "special file"),
        (lambda path: path.symlink_to("x"), LINK, "symbolic link, inode "),
        (lambda path: path.symlink_to(path), FILE, "Too many levels of symbolic links"),
    ],
    ids=["missing", "file", "directory", "names", "fifo", "link", "loop"],
)
def test_in_words(tmp_path: Path, make: object, kind: bytes, words: str) -> None:
    path = tmp_path / "it"
    make(path)  # type: ignore[operator]
    assert words in describe(look(kind + bytes(path)))
