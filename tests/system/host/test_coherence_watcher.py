"""What the kernel tells of changes in directories."""

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
def here(tmp_path: Path, watcher: Watcher) -> bytes:
    """A watched directory with the file "old" and the directory "sub"."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/old").write_text("old")
    (tmp_path / "here/sub").mkdir()
    directory = os.fsencode(tmp_path / "here")
    assert watcher.watch(directory)
    return directory


def name_changes(changes: list[Change]) -> set[bytes]:
    return {change.name for change in changes if change.names}


def test_nothing_happened(watcher: Watcher, here: bytes) -> None:
    os.listdir(here)
    os.stat(here + b"/old")
    Path(os.fsdecode(here), "old").read_text()
    assert watcher.events() == []


def test_a_file_is_made(watcher: Watcher, here: bytes) -> None:
    Path(os.fsdecode(here), "new").write_text("x")
    assert Change(here, b"new", names=True) in watcher.events()
    assert watcher.events() == []


def test_a_file_is_replaced_by_rename(watcher: Watcher, here: bytes) -> None:
    other = os.path.dirname(here) + b"/other"
    Path(os.fsdecode(other)).write_text("x")
    os.rename(other, here + b"/old")
    assert watcher.events() == [Change(here, b"old", names=True)]


def test_a_file_is_edited_in_place(watcher: Watcher, here: bytes) -> None:
    with open(here + b"/old", "r+") as file:
        file.write("x")
        file.flush()
        assert watcher.events() == [Change(here, b"old")]
        file.write("y")
    assert set(watcher.events()) == {Change(here, b"old")}
    os.truncate(here + b"/old", 1)
    os.utime(here + b"/old", (1, 1))
    assert set(watcher.events()) == {Change(here, b"old")}


def test_a_file_is_deleted(watcher: Watcher, here: bytes) -> None:
    os.unlink(here + b"/old")
    assert name_changes(watcher.events()) == {b"old"}


def test_a_file_is_linked_and_appears(watcher: Watcher, here: bytes) -> None:
    fd = os.open(here, os.O_TMPFILE | os.O_WRONLY, 0o600)
    os.write(fd, b"x")
    os.link(f"/proc/self/fd/{fd}", here + b"/new", src_dir_fd=fd, follow_symlinks=True)
    os.close(fd)
    assert b"new" in name_changes(watcher.events())


def test_a_directory_is_made_renamed_and_removed(watcher: Watcher, here: bytes) -> None:
    os.mkdir(here + b"/dir")
    assert watcher.events() == [Change(here, b"dir", is_directory=True, names=True)]
    os.rename(here + b"/dir", here + b"/dir2")
    assert [change.name for change in watcher.events()] == [b"dir", b"dir2"]
    os.rmdir(here + b"/dir2")
    assert watcher.events() == [Change(here, b"dir2", is_directory=True, names=True)]


def test_a_link_is_made_to_lead_elsewhere(watcher: Watcher, here: bytes) -> None:
    os.symlink("old", here + b"/link")
    os.symlink("sub", here + b"/link2")
    watcher.events()
    os.rename(here + b"/link2", here + b"/link")
    assert name_changes(watcher.events()) == {b"link", b"link2"}


def test_the_directory_is_deleted_and_made_again(watcher: Watcher, here: bytes) -> None:
    sub = here + b"/sub"
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


def test_the_directory_is_renamed_and_another_put_in_its_place(watcher: Watcher, here: bytes) -> None:
    sub = here + b"/sub"
    assert watcher.watch(sub)
    os.rename(sub, here + b"/away")
    os.mkdir(sub)
    assert any(change.directory == sub and change.gone for change in watcher.events())
    os.mkdir(here + b"/away/unseen")
    assert watcher.watch(sub)
    os.mkdir(sub + b"/seen")
    assert [(change.directory, change.name) for change in watcher.events()] == [(sub, b"seen")]


def test_a_path_that_is_given_again_is_watched_where_it_leads_now(watcher: Watcher, here: bytes) -> None:
    """No event tells that the directory above was renamed."""
    os.mkdir(here + b"/sub/low")
    low = here + b"/sub/low"
    other = Watcher.open()
    assert other is not None
    with other:
        assert other.watch(low)
        os.rename(here + b"/sub", here + b"/away")
        os.makedirs(low)
        assert other.watch(low)
        os.mkdir(here + b"/away/low/unseen")
        os.mkdir(low + b"/seen")
        assert [change.name for change in other.events()] == [b"seen"]
        assert len(other) == 1


def test_one_directory_by_two_paths(watcher: Watcher, here: bytes) -> None:
    link = os.path.dirname(here) + b"/link"
    os.symlink(here, link)
    assert watcher.watch(link)
    os.mkdir(here + b"/new")
    assert {(change.directory, change.name) for change in watcher.events()} == {(here, b"new"), (link, b"new")}
    os.unlink(link)
    os.symlink(here + b"/sub", link)
    assert watcher.watch(link)
    os.mkdir(here + b"/new2")
    os.mkdir(link + b"/low")
    changes = [(change.directory, change.name) for change in watcher.events()]
    assert changes == [(here, b"new2"), (link, b"low")]


def test_a_burst(watcher: Watcher, here: bytes) -> None:
    for number in range(3000):
        os.close(os.open(here + b"/%d" % number, os.O_CREAT | os.O_WRONLY))
    assert name_changes(watcher.events()) == {b"%d" % number for number in range(3000)}


def test_lost_events_are_told(watcher: Watcher, here: bytes) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 100_000:
        pytest.skip(f"the kernel queues {limit} events")
    with open(here + b"/old", "ab", buffering=0) as old, open(here + b"/other", "ab", buffering=0) as other:
        for _ in range(limit // 2 + 1):  # equal events in a row are one event
            old.write(b"x")
            other.write(b"x")
    assert EVERYTHING in watcher.events()
    assert EVERYTHING not in watcher.events()


def test_events_of_a_watch_that_was_ended_are_dropped(watcher: Watcher, here: bytes) -> None:
    os.mkdir(here + b"/x")
    watcher.unwatch_all()
    assert watcher.events() == []
    assert len(watcher) == 0
    assert watcher.watch(here)
    os.rmdir(here + b"/x")
    assert [change.name for change in watcher.events()] == [b"x"]


def test_an_event_that_comes_before_its_watch_is_known_is_not_lost(watcher: Watcher, here: bytes) -> None:
    """A thread is in ``watch`` and has the kernel's answer, but has not noted it."""
    libc = ctypes.CDLL(None)
    assert libc.inotify_add_watch(watcher.fileno(), here + b"/sub", 0x100) >= 0
    os.mkdir(here + b"/sub/x")
    assert watcher.events() == [EVERYTHING]


def test_directories_that_cannot_be_watched(watcher: Watcher, here: bytes) -> None:
    assert not watcher.watch(here + b"/none")
    assert not watcher.watch(here + b"/old")
    assert not watcher.watch(here + b"/" + b"long" * 1000)
    assert not watcher.watch(here + b"/\0")
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
    """Stands for libc where a limit of the kernel is reached."""

    def inotify_init1(self, flags: int) -> int:
        return -1

    def inotify_add_watch(self, fd: int, path: bytes, mask: int) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1


def test_the_kernel_has_no_more_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: RefusingKernel())
    assert Watcher.open() is None


def test_the_kernel_has_no_more_watches(watcher: Watcher, here: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watcher, "_libc", RefusingKernel())
        assert not watcher.watch(here + b"/sub")
    assert watcher.full
    watcher.unwatch_all()
    assert not watcher.full


def test_the_descriptor_does_not_reach_other_programs(watcher: Watcher) -> None:
    assert not os.get_inheritable(watcher.fileno())
    assert not os.get_blocking(watcher.fileno())


def test_a_closed_watcher_is_quiet(watcher: Watcher, here: bytes) -> None:
    watcher.close()
    watcher.close()
    assert watcher.events() == []
    assert not watcher.watch(here)
