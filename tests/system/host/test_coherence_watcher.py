"""The kernel's events for changes in directories."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spraycc.server.coherence.watcher import EVERYTHING, Change, Watcher


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    opened = Watcher.open()
    assert opened is not None
    with opened:
        yield opened


@pytest.fixture
def directory(tmp_path: Path, watcher: Watcher) -> bytes:
    """A watched directory with the file "old" and the directory "sub"."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory/old").write_text("old")
    (tmp_path / "directory/sub").mkdir()
    directory = os.fsencode(tmp_path / "directory")
    assert watcher.watch(directory)
    return directory


def name_changes(changes: list[Change]) -> set[bytes]:
    return {change.name for change in changes if change.names}


def test_nothing_happened(watcher: Watcher, directory: bytes) -> None:
    os.listdir(directory)
    os.stat(directory + b"/old")
    Path(os.fsdecode(directory), "old").read_text()
    assert watcher.events() == []


def test_a_file_is_made(watcher: Watcher, directory: bytes) -> None:
    Path(os.fsdecode(directory), "new").write_text("x")
    assert Change(directory, b"new", names=True) in watcher.events()
    assert watcher.events() == []


def test_a_file_is_replaced_by_rename(watcher: Watcher, directory: bytes) -> None:
    other = os.path.dirname(directory) + b"/other"
    Path(os.fsdecode(other)).write_text("x")
    os.rename(other, directory + b"/old")
    assert watcher.events() == [Change(directory, b"old", names=True)]


def test_a_file_is_edited_in_place(watcher: Watcher, directory: bytes) -> None:
    with open(directory + b"/old", "r+") as file:
        file.write("x")
        file.flush()
        assert watcher.events() == [Change(directory, b"old")]
        file.write("y")
    assert set(watcher.events()) == {Change(directory, b"old")}
    os.truncate(directory + b"/old", 1)
    os.utime(directory + b"/old", (1, 1))
    assert set(watcher.events()) == {Change(directory, b"old")}


def test_a_file_is_deleted(watcher: Watcher, directory: bytes) -> None:
    os.unlink(directory + b"/old")
    assert name_changes(watcher.events()) == {b"old"}


def test_a_file_is_linked_and_appears(watcher: Watcher, directory: bytes) -> None:
    fd = os.open(directory, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.write(fd, b"x")
    os.link(f"/proc/self/fd/{fd}", directory + b"/new", src_dir_fd=fd, follow_symlinks=True)
    os.close(fd)
    assert b"new" in name_changes(watcher.events())


def test_a_directory_is_made_renamed_and_removed(watcher: Watcher, directory: bytes) -> None:
    os.mkdir(directory + b"/dir")
    assert watcher.events() == [Change(directory, b"dir", is_directory=True, names=True)]
    os.rename(directory + b"/dir", directory + b"/dir2")
    assert [change.name for change in watcher.events()] == [b"dir", b"dir2"]
    os.rmdir(directory + b"/dir2")
    assert watcher.events() == [Change(directory, b"dir2", is_directory=True, names=True)]


def test_a_link_is_made_to_lead_elsewhere(watcher: Watcher, directory: bytes) -> None:
    os.symlink("old", directory + b"/link")
    os.symlink("sub", directory + b"/link2")
    watcher.events()
    os.rename(directory + b"/link2", directory + b"/link")
    assert name_changes(watcher.events()) == {b"link", b"link2"}


def test_the_directory_is_deleted_and_made_again(watcher: Watcher, directory: bytes) -> None:
    sub = directory + b"/sub"
    assert watcher.watch(sub)
    os.rmdir(sub)
    changes = watcher.events()
    assert [change for change in changes if change.gone] == [
        Change(sub, gone=True, is_directory=changes[0].is_directory)
    ]
    assert name_changes(changes) == {b"sub"}
    assert len(watcher) == 1
    os.mkdir(sub)
    assert watcher.watch(sub)
    watcher.events()
    os.mkdir(sub + b"/x")
    assert watcher.events() == [Change(sub, b"x", is_directory=True, names=True)]


def test_the_directory_is_renamed_and_another_put_in_its_place(watcher: Watcher, directory: bytes) -> None:
    sub = directory + b"/sub"
    assert watcher.watch(sub)
    os.rename(sub, directory + b"/away")
    os.mkdir(sub)
    assert any(change.directory == sub and change.gone for change in watcher.events())
    os.mkdir(directory + b"/away/unseen")
    assert watcher.watch(sub)
    os.mkdir(sub + b"/seen")
    assert [(change.directory, change.name) for change in watcher.events()] == [(sub, b"seen")]


def test_a_path_that_is_given_again_is_watched_where_it_leads_now(watcher: Watcher, directory: bytes) -> None:
    """No event reports the rename of the directory above."""
    os.mkdir(directory + b"/sub/low")
    low = directory + b"/sub/low"
    other = Watcher.open()
    assert other is not None
    with other:
        assert other.watch(low)
        os.rename(directory + b"/sub", directory + b"/away")
        os.makedirs(low)
        assert other.watch(low)
        os.mkdir(directory + b"/away/low/unseen")
        os.mkdir(low + b"/seen")
        assert [change.name for change in other.events()] == [b"seen"]
        assert len(other) == 1


def test_one_directory_by_two_paths(watcher: Watcher, directory: bytes) -> None:
    link = os.path.dirname(directory) + b"/link"
    os.symlink(directory, link)
    assert watcher.watch(link)
    os.mkdir(directory + b"/new")
    assert {(change.directory, change.name) for change in watcher.events()} == {(directory, b"new"), (link, b"new")}
    os.unlink(link)
    os.symlink(directory + b"/sub", link)
    assert watcher.watch(link)
    os.mkdir(directory + b"/new2")
    os.mkdir(link + b"/low")
    changes = [(change.directory, change.name) for change in watcher.events()]
    assert changes == [(directory, b"new2"), (link, b"low")]


def test_a_burst(watcher: Watcher, directory: bytes) -> None:
    for number in range(3000):
        os.close(os.open(directory + b"/%d" % number, os.O_CREAT | os.O_WRONLY))
    assert name_changes(watcher.events()) == {b"%d" % number for number in range(3000)}


def test_lost_events_are_told(watcher: Watcher, directory: bytes) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"the kernel queues {limit} events")
    with open(directory + b"/old", "ab", buffering=0) as old, open(directory + b"/other", "ab", buffering=0) as other:
        for _ in range(limit // 2 + 1):  # equal events in a row are one event
            old.write(b"x")
            other.write(b"x")
    assert EVERYTHING in watcher.events()
    assert EVERYTHING not in watcher.events()


def test_events_of_a_watch_that_was_ended_are_dropped(watcher: Watcher, directory: bytes) -> None:
    os.mkdir(directory + b"/x")
    watcher.unwatch_all()
    assert watcher.events() == []
    assert len(watcher) == 0
    assert watcher.watch(directory)
    os.rmdir(directory + b"/x")
    assert [change.name for change in watcher.events()] == [b"x"]


def test_an_event_that_comes_before_its_watch_is_known_is_not_lost(watcher: Watcher, directory: bytes) -> None:
    """A thread is in ``watch`` and has the kernel's answer, but has not stored it yet."""
    libc = ctypes.CDLL(None)
    assert libc.inotify_add_watch(watcher.fileno(), directory + b"/sub", 0x100) >= 0
    os.mkdir(directory + b"/sub/x")
    assert watcher.events() == [EVERYTHING]


def test_directories_that_cannot_be_watched(watcher: Watcher, directory: bytes) -> None:
    assert not watcher.watch(directory + b"/none")
    assert not watcher.watch(directory + b"/old")
    assert not watcher.watch(directory + b"/" + b"long" * 1000)
    assert not watcher.watch(directory + b"/\0")
    assert not watcher.full
    assert len(watcher) == 1


def test_the_number_of_directories_is_bounded(tmp_path: Path) -> None:
    watcher = Watcher.open(limit=2)
    assert watcher is not None
    with watcher:
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
        a, b, c = (os.fsencode(tmp_path / name) for name in ("a", "b", "c"))
        assert watcher.watch(a)
        assert watcher.watch(b)
        assert not watcher.watch(c)
        assert watcher.full
        assert watcher.watch(a)
        watcher.unwatch_all()
        assert not watcher.full
        assert watcher.watch(c)


class RefusingKernel:
    """In place of libc: a limit of the kernel is reached."""

    def inotify_init1(self, flags: int) -> int:
        return -1

    def inotify_add_watch(self, fd: int, path: bytes, mask: int) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1


def test_the_kernel_has_no_more_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: RefusingKernel())
    assert Watcher.open() is None


def test_the_kernel_has_no_more_watches(watcher: Watcher, directory: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watcher, "_libc", RefusingKernel())
        assert not watcher.watch(directory + b"/sub")
    assert watcher.full
    watcher.unwatch_all()
    assert not watcher.full


def test_the_descriptor_does_not_reach_other_programs(watcher: Watcher) -> None:
    assert not os.get_inheritable(watcher.fileno())
    assert not os.get_blocking(watcher.fileno())


def test_a_closed_watcher_is_quiet(watcher: Watcher, directory: bytes) -> None:
    watcher.close()
    watcher.close()
    assert watcher.events() == []
    assert not watcher.watch(directory)
