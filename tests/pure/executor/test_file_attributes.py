"""Attributes of a produced file that write-back would lose."""

from __future__ import annotations

import os
import stat

import pytest

from spraycc.executor import file_attributes
from spraycc.executor.file_attributes import is_owner_changed, lost_attribute

FILE = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
SETGID = stat.S_IFDIR | 0o2775


def status(mode: int, uid: int = 7, gid: int = 8) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.fixture(autouse=True)
def who(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(os, "getegid", lambda: 8)


@pytest.mark.parametrize(
    ("entry", "directory", "carried"),
    [
        (status(FILE), status(DIRECTORY, 0, 0), True),
        (status(FILE, gid=9), status(SETGID, gid=9), True),
        (status(FILE), status(SETGID, gid=9), False),
        (status(FILE, gid=9), status(DIRECTORY, gid=9), False),
        (status(FILE, uid=0), status(DIRECTORY), False),
        (status(stat.S_IFLNK | 0o777, uid=0), status(DIRECTORY), False),
        (status(stat.S_IFLNK | 0o777), status(DIRECTORY), True),
    ],
)
def test_owners(tmp_path, entry, directory, carried):
    path = os.fsencode(tmp_path / "f")
    assert (lost_attribute(path, entry, directory, path) == "") == carried


@pytest.mark.parametrize(
    ("attributes", "handed_down", "carried"),
    [
        ([], False, True),
        (["user.overlay.origin", "security.selinux"], False, True),
        (["user.x"], False, False),
        (["security.capability"], False, False),
        (["system.posix_acl_access"], False, False),
        (["system.posix_acl_access"], True, True),
        (["system.posix_acl_access", "user.x"], True, False),
    ],
)
def test_attributes(monkeypatch, attributes, handed_down, carried):
    there = {b"/u/d/f": attributes, b"/w/d": ["system.posix_acl_default"] if handed_down else []}
    monkeypatch.setattr(file_attributes, "_attributes", lambda path: there.get(path, []))
    assert (lost_attribute(b"/u/d/f", status(FILE), status(DIRECTORY), b"/w/d/f") == "") == carried


def test_a_directory_that_was_there(monkeypatch):
    assert not is_owner_changed(
        status(DIRECTORY, 7, 8), status(DIRECTORY, 7, 9)
    )  # the namespace's word is not the host's
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert is_owner_changed(status(DIRECTORY, 7, 8), status(DIRECTORY, 7, 9))
    assert not is_owner_changed(status(DIRECTORY, 7, 8), status(DIRECTORY, 7, 8))
