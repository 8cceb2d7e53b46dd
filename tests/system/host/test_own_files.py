"""Contents of real files as stamps, and what the user may do with files on the submit host."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spraycc.server.coherence.submit_host import SubmitHost
from spraycc.stamps import (
    ALLOWED,
    CONTENTS,
    DENIED,
    EXISTS,
    FILE,
    MISSING,
    STAMP_BYTES,
    describe,
    is_contents,
    look,
    of_error,
)
from spraycc.system import file_contents
from spraycc.system.file_contents import FileContents


def test_equal_contents_have_equal_stamps_whatever_their_inodes_and_times(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for path, text in ((one, "words"), (two, "words"), (other, "swords"[:5])):
        path.write_text(text)
    os.utime(two, ns=(5, 5))
    contents = FileContents()
    stamps = [contents.stamp(bytes(path)) for path in (one, two, other)]
    assert stamps[0] == stamps[1] != stamps[2]
    assert len(stamps[0]) == STAMP_BYTES
    assert is_contents(stamps[0])
    assert describe(stamps[0]).startswith("5 bytes with the digest ")


def test_a_file_is_read_once_for_each_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h"
    path.write_text("one")
    contents, state = FileContents(), look(FILE + bytes(path))
    assert contents.known(bytes(path), state) is None
    first = contents.stamp(bytes(path), state)
    assert contents.known(bytes(path), state) == first
    with monkeypatch.context() as patch:
        patch.setattr(file_contents, "_digest", None)
        assert contents.stamp(bytes(path)) == first
    path.write_text("other")
    # The contents that the command had are gone.
    assert contents.stamp(bytes(path), state) == of_error(errno.ESTALE)
    assert contents.known(bytes(path), look(FILE + bytes(path))) is None
    assert contents.stamp(bytes(path)) != first


def test_of_a_large_file_both_ends_and_the_time_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_contents, "WHOLE_BYTES", 10)
    monkeypatch.setattr(file_contents, "_END_BYTES", 4)
    stamps = []
    for number, (text, time) in enumerate((("head----tail", 1), ("head----tail", 1), ("head----tail", 2), ("heAd----tail", 1), ("head----tAil", 1))):  # fmt: skip
        path = tmp_path / str(number)
        path.write_text(text)
        os.utime(path, ns=(time, time))
        stamps.append(FileContents().stamp(bytes(path)))
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 4


def test_files_that_have_no_contents(tmp_path: Path) -> None:
    contents = FileContents()
    assert contents.stamp(bytes(tmp_path / "nothing")) == MISSING
    os.mkfifo(tmp_path / "fifo")
    assert contents.stamp(bytes(tmp_path / "fifo")) == ALLOWED
    assert contents.stamp(bytes(tmp_path)) == look(FILE + bytes(tmp_path))


def test_existence(tmp_path: Path) -> None:
    host, path = SubmitHost(), bytes(tmp_path / "a.h")
    assert host.look(EXISTS + path) == MISSING
    (tmp_path / "a.h").touch()
    there = host.look(EXISTS + path)
    assert describe(there) == "file"
    (tmp_path / "a.h").write_text("other contents")
    assert host.look(EXISTS + path) == there
    assert host.look(EXISTS + bytes(tmp_path)) != there


def test_a_file_that_must_be_read_is_slow(tmp_path: Path) -> None:
    host, path = SubmitHost(), bytes(tmp_path / "a.h")
    (tmp_path / "a.h").touch()
    assert host.is_slow(CONTENTS + path)
    assert not host.is_slow(FILE + path)
    host.look(CONTENTS + path)
    assert not host.is_slow(CONTENTS + path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_permissions(tmp_path: Path) -> None:
    host = SubmitHost()
    (tmp_path / "open").touch(0o600)
    (tmp_path / "shut").touch(0)
    (tmp_path / "dir").mkdir(0o500)
    may = {
        kind + name: host.look(kind.encode() + bytes(tmp_path) + b"/" + name.encode())
        for kind in "rwxd"
        for name in ("open", "shut", "none", "dir/new")
    }
    allowed = {name for name, stamp in may.items() if stamp == ALLOWED}
    assert allowed == {"ropen", "wopen", "wnone", "dopen", "dshut", "dnone"}
    missing = {name for name, stamp in may.items() if stamp == MISSING}
    assert missing == {"rnone", "xnone", "rdir/new", "xdir/new"}
    assert all(stamp == DENIED for name, stamp in may.items() if name not in allowed | missing)
