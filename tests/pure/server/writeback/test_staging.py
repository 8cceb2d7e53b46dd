"""Staging and commit in real directories: the files that appear, and the paths that an executor may not use."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from spraycc.errors import ProtocolError, WriteBackError
from spraycc.model import TaskId
from spraycc.server.host.temp_names import Temporaries
from spraycc.server.writeback import staging as staging_module
from spraycc.server.writeback.staging import Staging
from spraycc.wire.executor import Deleted, FileHole, MadeDirectory, MadeFile, MadeSymlink

T = TaskId(1)
#: above the largest process id that Linux gives (PID_MAX_LIMIT, 2**22)
NO_PROCESS = 2**22 + 1
#: a time in 2001, before any test ran
LONG_AGO_NS = 10**18


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path.resolve() / "root"
    path.mkdir()
    return path


def staging(root: Path, *, is_repeatable: bool = True) -> Staging:
    return Staging((os.fsencode(root),), b"7-1", Temporaries(), is_repeatable=is_repeatable)


def is_in(directory: Path, fd: str) -> bool:
    """Whether this process has the descriptor open on a file in the directory, named or unnamed."""
    with suppress(FileNotFoundError):  # the descriptor that was used for the listing
        return os.readlink(f"/proc/self/fd/{fd}").startswith(f"{directory}/")
    return False


def without_unnamed_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """O_TMPFILE fails, as on NFS."""
    real = os.open

    def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "as NFS says it")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", open_)


def test_what_a_killed_server_left_is_removed_by_the_next_in_that_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_unnamed_files(monkeypatch)
    (root / "d").mkdir()
    (root / "other").mkdir()
    kept = set()
    for place, pid in ((b"00000000", NO_PROCESS), (None, os.getppid())):
        for directory in (root / "d", root / "other"):
            kept.add(left(directory, pid, place))
    gone, elsewhere = left(root / "d", NO_PROCESS), left(root / "other", NO_PROCESS)
    old = left(root / "d", NO_PROCESS, b"11111111")
    os.utime(old, (time.time() - 90_000,) * 2)
    (root / "d" / ".spraycc.toml").touch()
    work = staging(root)
    work.take(file(root / "d" / "a.o", b"object"))
    work.spill()
    assert len(list((root / "d").glob(".spraycc-*.tmp"))) == 3
    work.commit()
    assert (root / "d" / "a.o").read_bytes() == b"object"
    assert (root / "d" / ".spraycc.toml").exists()
    assert all(path.exists() for path in kept)
    assert elsewhere.exists()  # until a server writes into this directory
    assert not gone.exists()
    assert not old.exists()


def left(directory: Path, pid: int, place: bytes | None = None) -> Path:
    """A temporary file as the server with process id ``pid`` makes it, on this host or in another place."""
    maker = Temporaries()
    maker._pid = pid
    maker._place = place or maker._place
    maker._known.add(os.fsencode(directory))
    path = Path(os.fsdecode(maker.name(os.fsencode(directory), b"7-1")))
    path.write_bytes(b"half an obj")
    return path


def file(path: Path, data: bytes, mode: int = 0o644, mtime_ns: int | None = None) -> MadeFile:
    return MadeFile(T, os.fsencode(path), mode, len(data), mtime_ns, data)


def names(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*")}


def test_nothing_is_visible_before_the_commit(root: Path) -> None:
    work = staging(root)
    work.take(file(root / "a.o", b"object"))
    work.spill()
    assert names(root) == set()
    work.commit()
    assert (root / "a.o").read_bytes() == b"object"
    assert names(root) == {"a.o"}


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o444, 0o000, 0o1755])
def test_modes_are_the_commands_own_whatever_the_servers_umask(root: Path, mode: int) -> None:
    old = os.umask(0o077)
    try:
        work = staging(root)
        work.take(file(root / "f", b"x", mode))
        work.commit()
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "f").stat().st_mode) == mode


@pytest.mark.parametrize("unnamed", [False, True])
def test_a_file_with_an_ordinary_mode_needs_no_chmod(
    root: Path, unnamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS each chmod is a request to the file server."""
    if not unnamed:
        monkeypatch.setattr(staging_module, "_OPEN_FILES", 0)
    monkeypatch.delattr(os, "fchmod")
    old = os.umask(0o077)
    try:
        work = staging(root)
        work.take(file(root / "f", b"x", 0o664))
        work.commit()
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o664


@pytest.mark.parametrize("spill", [False, True])
@pytest.mark.parametrize("unnamed", [False, True])
def test_an_existing_file_is_replaced_whole(
    root: Path, spill: bool, unnamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unnamed:
        monkeypatch.setattr(staging_module, "_OPEN_FILES", 0)
    (root / "f").write_bytes(b"old and longer")
    reader = (root / "f").open("rb", buffering=0)
    work = staging(root)
    work.take(file(root / "f", b"new"))
    if spill:
        work.spill()
    work.commit()
    assert (root / "f").read_bytes() == b"new"
    assert reader.read() == b"old and longer"
    reader.close()
    assert names(root) == {"f"}


def test_large_contents_come_in_pieces_and_leave_memory(root: Path) -> None:
    size = 3 * staging_module.MEMORY_BYTES
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "big"), 0o644, size, None, b""))
    for start in range(0, size, 65536):
        work.expect(65536)
        work.write(bytes([start // 65536 % 251]) * 65536)
        assert not work.memory_bytes
    work.commit()
    data = (root / "big").read_bytes()
    assert len(data) == size
    assert data[65536] == 1
    assert data[-1] == (size // 65536 - 1) % 251


@pytest.mark.parametrize("spilled", [False, True])
def test_holes_stay_holes(root: Path, spilled: bool) -> None:
    """This includes a hole at the end of the file, with no data after it."""
    mib = 1 << 20
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "sparse"), 0o644, 3 * mib + 1, None, b""))
    work.take(FileHole(T, mib))
    if spilled:
        work.spill()
    work.expect(1)
    work.write(b"x")
    work.take(FileHole(T, 2 * mib))
    if spilled:
        work.spill()
    work.commit()
    assert (root / "sparse").read_bytes() == bytes(mib) + b"x" + bytes(2 * mib)
    assert os.stat(root / "sparse").st_blocks * 512 < mib


def test_contents_follow_what_the_file_has_in_memory(root: Path) -> None:
    """The first contents came with the message, and are still in memory."""
    work = staging(root)
    work.take(file(root / "other", b"other"))
    work.take(MadeFile(T, os.fsencode(root / "f"), 0o644, 9, None, b"first"))
    work.expect(4)
    work.write(b"la")
    assert work.memory_bytes == len(b"other")
    work.write(b"st")
    work.commit()
    assert (root / "f").read_bytes() == b"firstlast"
    assert (root / "other").read_bytes() == b"other"


def test_contents_without_a_file(root: Path) -> None:
    with pytest.raises(ProtocolError):
        staging(root).expect(1)


@pytest.mark.parametrize("size", [0, -1, 4])
def test_holes_that_can_t_be(root: Path, size: int) -> None:
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "f"), 0o644, 3, None, b""))
    with pytest.raises(ProtocolError):
        work.take(FileHole(T, size))


def test_the_named_output_is_never_older_than_what_came_before_it(root: Path) -> None:
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "a.o"), 0o644, 3, None, b""))
    work.expect(3)
    work.write(b"obj")
    [spilled] = [fd for fd in os.listdir("/proc/self/fd") if is_in(root, fd)]
    os.utime(int(spilled), ns=(LONG_AGO_NS, LONG_AGO_NS))
    work.take(file(root / "a.d", b"a.o: a.c"))
    work.commit()
    # In this test the executor sends a.o first. Both files have the time of the commit.
    assert (root / "a.o").stat().st_mtime_ns > LONG_AGO_NS
    assert (root / "a.d").stat().st_mtime_ns > LONG_AGO_NS


def test_an_explicit_time_is_kept(root: Path) -> None:
    work = staging(root)
    work.take(file(root / "f", b"x", mtime_ns=1_000_000_000_123_456_789))
    work.commit()
    assert (root / "f").stat().st_mtime_ns == 1_000_000_000_123_456_789


def test_directories_links_and_deletions(root: Path) -> None:
    (root / "gone").write_text("x")
    (root / "tree/below").mkdir(parents=True)
    (root / "tree/below/f").write_text("x")
    (root / "opaque").mkdir()
    (root / "opaque/old").write_text("x")
    (root / "was-dir").mkdir()
    (root / "was-dir/f").write_text("x")
    (root / "was-file").write_text("x")
    work = staging(root)
    for change in (
        Deleted(T, os.fsencode(root / "gone")),
        Deleted(T, os.fsencode(root / "tree")),
        Deleted(T, os.fsencode(root / "never-was")),
        MadeDirectory(T, os.fsencode(root / "opaque"), 0o750, True, None),
        MadeDirectory(T, os.fsencode(root / "new"), 0o711, False, None),
        MadeDirectory(T, os.fsencode(root / "new/deep"), 0o755, False, None),
        MadeDirectory(T, os.fsencode(root / "was-file"), 0o755, False, None),
        MadeSymlink(T, os.fsencode(root / "link"), b"/no/where \xff"),
        file(root / "new/deep/f", b"deep"),
        file(root / "was-dir", b"now a file"),
    ):
        work.take(change)
    work.spill()
    work.commit()
    assert names(root) == {"opaque", "new", "new/deep", "new/deep/f", "was-file", "link", "was-dir"}
    assert os.readlink(os.fsencode(root / "link")) == b"/no/where \xff"
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o711
    assert stat.S_IMODE((root / "opaque").stat().st_mode) == 0o750
    assert (root / "was-dir").read_bytes() == b"now a file"


def test_a_directory_in_a_setgid_one_stays_setgid(root: Path) -> None:
    root.chmod(0o2775)
    work = staging(root)
    work.take(MadeDirectory(T, os.fsencode(root / "d"), 0o755, False, None))
    work.commit()
    assert stat.S_IMODE((root / "d").stat().st_mode) == 0o2755


@pytest.mark.parametrize(
    "path",
    [
        b"relative",
        b"/etc/passwd",
        b"ROOT/../x",
        b"ROOT/./x",
        b"ROOT//x",
        b"ROOT/x/",
        b"ROOT",
        b"ROOTx/y",
        b"ROOT/a\0b",
        b"",
    ],
)
def test_a_path_out_of_bounds_is_refused(root: Path, path: bytes) -> None:
    path = path.replace(b"ROOT", os.fsencode(root))
    with pytest.raises(ProtocolError):
        staging(root).take(MadeFile(T, path, 0o644, 0, None, b""))


def test_no_write_through_a_symbolic_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    work = staging(root)
    work.take(MadeSymlink(T, os.fsencode(root / "door"), os.fsencode(outside)))
    work.take(file(root / "door/f", b"x"))
    with pytest.raises(ProtocolError, match="symbolic link"):
        work.commit()
    assert list(outside.iterdir()) == []


def test_no_write_through_a_link_that_was_a_directory_before(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "door").mkdir()
    work = staging(root)
    work.take(file(root / "door/first", b"x"))
    work.take(Deleted(T, os.fsencode(root / "door")))
    work.take(MadeSymlink(T, os.fsencode(root / "door"), os.fsencode(outside)))
    work.take(file(root / "door/f", b"x"))
    with pytest.raises(ProtocolError, match="symbolic link"):
        work.commit()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("change", [Deleted, MadeDirectory])
def test_no_change_through_a_link_either(root: Path, tmp_path: Path, change: type) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (root / "door").symlink_to(outside)
    work = staging(root)
    path = os.fsencode(root / "door/kept")
    work.take(Deleted(T, path) if change is Deleted else MadeDirectory(T, path, 0o777, True, None))
    with pytest.raises(ProtocolError, match="symbolic link"):
        work.commit()
    assert (outside / "kept").read_text() == "x"


@pytest.mark.parametrize("mode", [0o077, 0o755])
@pytest.mark.parametrize("below", ["", "/inner"])
def test_no_mode_or_time_through_a_link_that_was_a_directory(root: Path, tmp_path: Path, mode: int, below: str) -> None:
    """A directory gets its mode and time last. By then the same result may have replaced it."""
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    for path in (outside / "inner", outside):
        path.chmod(0o700)
        os.utime(path, ns=(10**18, 10**18))
    work = staging(root)
    work.take(MadeDirectory(T, os.fsencode(root / "d"), 0o755, False, None))
    if below:
        work.take(MadeDirectory(T, os.fsencode(root / "d/inner"), mode, False, 10**17))
    else:
        work.take(MadeDirectory(T, os.fsencode(root / "d"), mode, False, 10**17))
    work.take(MadeSymlink(T, os.fsencode(root / "d"), os.fsencode(outside), None))
    with suppress(ProtocolError):
        work.commit()
    for path in (outside, outside / "inner"):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_mtime_ns) == (0o700, 10**18)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711])
def test_a_setuid_file_is_left_to_its_command(root: Path, mode: int) -> None:
    with pytest.raises(WriteBackError, match="setuid"):
        staging(root).take(file(root / "tool", b"x", mode))
    assert names(root) == set()


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_mode_never_makes_anything_but_a_plain_file(root: Path, kind: int) -> None:
    work = staging(root)
    work.take(file(root / "node", b"x", kind | 0o644))
    work.commit()
    status = (root / "node").lstat()
    assert stat.S_ISREG(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o644


@pytest.mark.parametrize("sent", [b"ab", b"abcd"])
def test_contents_of_another_size_than_announced(root: Path, sent: bytes) -> None:
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "f"), 0o644, 3, None, b""))

    def send_and_commit() -> None:
        work.expect(len(sent))
        work.write(sent)
        work.commit()

    with pytest.raises(ProtocolError):
        send_and_commit()
    work.discard()
    assert names(root) == set()


def test_discard_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "_OPEN_FILES", 1)
    before = len(os.listdir("/proc/self/fd"))
    work = staging(root)
    work.take(file(root / "a", b"a"))
    work.take(file(root / "b", b"b"))
    work.spill()
    work.discard()
    assert names(root) == set()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("there_are_unnamed_files", [True, False])
def test_a_read_only_directory_is_the_write_backs_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch, there_are_unnamed_files: bool
) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE and not there_are_unnamed_files:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if flags & os.O_TMPFILE == os.O_TMPFILE or flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *rest, **named)

    # A file mode can't test this, as root may write everywhere.
    monkeypatch.setattr(os, "open", refuse)
    work = staging(root)
    work.take(file(root / "f", b"x"))
    with pytest.raises(WriteBackError, match="Permission denied"):
        work.commit()
    assert names(root) == set()


def test_a_full_disk_is_the_write_backs_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    work = staging(root)
    work.take(file(root / "f", b"x"))
    with pytest.raises(WriteBackError, match="No space left"):
        work.commit()
    assert names(root) == set()


@pytest.mark.parametrize("emptied", [True, False])
def test_nothing_is_removed_before_all_contents_are_on_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, emptied: bool
) -> None:
    """``mv new.tmp out``: after a failure the command runs again, and needs ``new.tmp``."""
    (root / "d").mkdir()
    (root / "d" / "new.tmp").write_text("x")
    real = os.write
    written = []

    def full(fd: int, data: bytes) -> int:
        written.append(data)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    work = staging(root)
    if emptied:
        work.take(MadeDirectory(T, os.fsencode(root / "d"), 0o755, emptied=True, mtime_ns=None))
    else:
        work.take(Deleted(T, os.fsencode(root / "d" / "new.tmp")))
    work.take(file(root / "d" / "dep", b"dep"))
    work.take(file(root / "d" / "out", b"x"))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(WriteBackError, match="No space left"):
        work.commit()
    assert names(root) == {"d", "d/new.tmp"}


def as_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """access(2) answers by the owner's mode bits, also to root."""
    monkeypatch.setattr(os, "access", lambda path, rights: os.stat(path).st_mode >> 6 & rights == rights)


def without_inodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """mkdir(2) fails, as on a disk without free inodes."""

    def mkdir(path: Any, mode: int = 0o777) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "mkdir", mkdir)


@pytest.mark.parametrize(
    ("script", "condition"),
    [
        ("mv a b; chmod -R u+w ro; rm -r ro", as_an_ordinary_user),
        ("echo line >> a; chmod u+w ro; echo x > ro/new; chmod u-w ro", as_an_ordinary_user),
        ("mv a b; mkdir d", without_inodes),
    ],
)
def test_a_command_whose_write_back_fails_finds_its_files(
    root: Path, monkeypatch: pytest.MonkeyPatch, script: str, condition: Callable[[pytest.MonkeyPatch], None]
) -> None:
    (root / "a").write_text("line\n")
    (root / "ro").mkdir()
    (root / "ro" / "f").touch()
    (root / "ro").chmod(0o555)
    work = staging(root, is_repeatable=False)
    if "mv a b" in script:
        work.take(Deleted(T, os.fsencode(root / "a")))
    if "rm -r ro" in script:
        work.take(Deleted(T, os.fsencode(root / "ro")))
    if "mkdir d" in script:
        work.take(MadeDirectory(T, os.fsencode(root / "d"), 0o755, False, None))
    if "mv a b" in script:
        work.take(file(root / "b", b"line\n"))
    if "line >> a" in script:
        work.take(file(root / "a", b"line\nline\n"))
        work.take(file(root / "ro" / "new", b"x"))
    condition(monkeypatch)
    with pytest.raises(WriteBackError):
        work.commit()
    monkeypatch.undo()
    assert names(root) == {"a", "ro", "ro/f"}
    assert (root / "a").read_text() == "line\n"


def test_a_directory_of_the_result_is_writable_in_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``chmod u+w ro; touch ro/new; rm ro/f``, and another mode for a directory in one that is not writable."""
    (root / "ro").mkdir()
    (root / "ro" / "f").touch()
    (root / "ro").chmod(0o555)
    (root / "closed" / "d").mkdir(parents=True)
    (root / "closed").chmod(0o555)
    as_an_ordinary_user(monkeypatch)
    work = staging(root, is_repeatable=False)
    work.take(Deleted(T, os.fsencode(root / "ro" / "f")))
    work.take(MadeDirectory(T, os.fsencode(root / "closed" / "d"), 0o711, False, None))
    work.take(MadeDirectory(T, os.fsencode(root / "ro"), 0o755, False, None))
    work.take(file(root / "ro" / "new", b""))
    work.commit()
    assert names(root) == {"ro", "ro/new", "closed", "closed/d"}
    assert stat.S_IMODE((root / "closed" / "d").stat().st_mode) == 0o711


def test_no_file_is_older_than_the_directory_of_a_deletion(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``rm d/old; touch stamp``, with the rule ``stamp: d``."""
    (root / "d").mkdir()
    (root / "d" / "old").touch()

    def unlink(path: Any, **named: Any) -> None:
        """In a later tick of the file system's clock than all changes before."""
        monkeypatch.undo()
        now_ns(root)
        os.unlink(path, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    work = staging(root, is_repeatable=False)
    work.take(Deleted(T, os.fsencode(root / "d" / "old")))
    work.take(file(root / "stamp", b""))
    work.commit()
    assert (root / "stamp").stat().st_mtime_ns >= (root / "d").stat().st_mtime_ns


def test_a_name_is_removed_although_the_result_replaces_the_files_other_name(root: Path) -> None:
    (root / "a").touch()
    (root / "b").hardlink_to(root / "a")
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), now_ns(root))
    work.take(Deleted(T, os.fsencode(root / "a")))
    work.take(MadeSymlink(T, os.fsencode(root / "b"), b"c"))
    work.commit()
    assert names(root) == {"b"}


@pytest.mark.parametrize("is_local", [True, False])
def test_contents_survive_the_removal_of_their_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    """``rm -r d; mkdir d; cc -o d/f``: temporary names are outside of what is removed."""
    without_unnamed_files(monkeypatch)
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "old").touch()
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), now_ns(root) if is_local else None)
    work.take(MadeDirectory(T, os.fsencode(root / "d"), 0o755, emptied=True, mtime_ns=None))
    work.take(MadeDirectory(T, os.fsencode(root / "d" / "e"), 0o755, emptied=False, mtime_ns=None))
    work.take(file(root / "d" / "e" / "f", b"new"))
    work.spill()
    assert {name for name in names(root) if name.endswith(".tmp")} == {
        name for name in names(root) if name.startswith(".spraycc-")
    }
    work.commit()
    assert names(root) == {"d", "d/e", "d/e/f"}
    assert (root / "d" / "e" / "f").read_bytes() == b"new"


@pytest.mark.parametrize("in_pieces", [True, False])
def test_many_files_hold_few_descriptors(root: Path, in_pieces: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    work = staging(root)
    for number in range(100):
        if in_pieces:
            work.take(MadeFile(T, os.fsencode(root / f"{number}"), 0o640, 3, None, b""))
            work.expect(3)
            work.write(b"new")
        else:
            work.take(file(root / f"{number}", b"new", 0o640))
    work.spill()
    assert len(os.listdir("/proc/self/fd")) < before + 20
    work.commit()
    assert len(names(root)) == 100
    assert {(path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in root.iterdir()} == {(b"new", 0o640)}
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_incomplete_last_file_leaves_nothing(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    work = staging(root)
    work.take(MadeFile(T, os.fsencode(root / "f"), 0o644, 3, None, b""))
    work.expect(2)
    work.write(b"ne")
    with pytest.raises(ProtocolError):
        work.commit()
    assert names(root) == set()
    assert len(os.listdir("/proc/self/fd")) == before


def failing_close(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """close(2) of a file in the directory reports a full disk, as on NFS. The descriptor is closed all the same."""
    real = os.close

    def close(fd: int) -> None:
        is_file = is_in(directory, str(fd)) and stat.S_ISREG(os.fstat(fd).st_mode)
        real(fd)
        if is_file:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", close)


@pytest.mark.parametrize("there_are_unnamed_files", [True, False])
@pytest.mark.parametrize("is_removed", ["new.tmp", None])
@pytest.mark.parametrize("is_spilled", [True, False])
def test_a_disk_that_is_found_full_at_the_close(
    root: Path, monkeypatch: pytest.MonkeyPatch, there_are_unnamed_files: bool, is_removed: str | None, is_spilled: bool
) -> None:
    """``sed -i``, ``mv new.tmp out``: the command runs again, and finds its input."""
    if not there_are_unnamed_files:
        without_unnamed_files(monkeypatch)
    (root / "out").write_text("old")
    (root / "new.tmp").write_text("x")
    work = staging(root)
    if is_removed and not there_are_unnamed_files:
        work.take(Deleted(T, os.fsencode(root / is_removed)))
    work.take(file(root / "dep", b"dep"))
    work.take(file(root / "out", b"new"))
    if is_spilled:
        work.spill()
    failing_close(monkeypatch, root)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(WriteBackError, match="quota"):
        work.commit()
    work.discard()
    assert (root / "out").read_text() == "old"
    assert names(root) - {"dep"} == {"out", "new.tmp"}
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_disk_that_is_found_full_at_an_early_close(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging_module, "_OPEN_FILES", 1)
    without_unnamed_files(monkeypatch)
    failing_close(monkeypatch, root)
    work = staging(root)
    for number in range(2):
        work.take(MadeFile(T, os.fsencode(root / f"{number}"), 0o640, 3, None, b""))
        work.expect(3)
        work.write(b"new")
    with pytest.raises(WriteBackError, match="quota"):
        work.take(file(root / "2", b"new"))
    work.discard()
    assert names(root) == set()


def now_ns(root: Path) -> int:
    """The file system's present time, later than all existing files. Their times are those of the kernel's last tick."""
    newest = max(path.lstat().st_ctime_ns for path in (root, *root.rglob("*")))
    probe = root.parent / "probe"
    while True:
        probe.touch()
        time_ns = probe.stat().st_ctime_ns
        probe.unlink()
        if time_ns > newest:
            return time_ns


def test_files_of_parallel_tasks_survive_the_removal_of_their_directory(root: Path) -> None:
    """A command removed a directory with all files that it saw. Meanwhile another task has put a file into it."""
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "old").touch()
    (root / "d" / "gone").mkdir()
    (root / "d" / "link").symlink_to("gone")
    since_ns = now_ns(root)
    (root / "d" / "sub" / "new").touch()
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), since_ns)
    work.take(Deleted(T, os.fsencode(root / "d")))
    work.commit()
    assert {str(path.relative_to(root)) for path in root.rglob("*")} == {"d", "d/sub", "d/sub/new"}


def test_files_from_before_the_clock_was_set_back_are_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "d").mkdir()
    for name in ("d/old", "old"):
        (root / name).touch()
    an_hour_ago_ns = now_ns(root) - 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: an_hour_ago_ns)
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), an_hour_ago_ns - 10**9)
    work.take(Deleted(T, os.fsencode(root / "d")))
    work.take(Deleted(T, os.fsencode(root / "old")))
    work.commit()
    assert not list(root.iterdir())


@pytest.mark.parametrize("is_known", [True, False])
def test_all_else_is_removed(root: Path, is_known: bool) -> None:
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "sub" / "old").touch()
    (root / "d" / "another name").hardlink_to(root / "d" / "sub" / "old")
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), now_ns(root) if is_known else None)
    work.take(Deleted(T, os.fsencode(root / "d")))
    work.commit()
    assert not list(root.iterdir())


def test_times_of_another_clock_say_nothing(root: Path) -> None:
    """A build directory on a file server, and a workspace on the host's own disk."""
    for name in ("own", "shared"):
        (root / name / "d").mkdir(parents=True)
    since_ns = now_ns(root)
    for name in ("own", "shared"):
        (root / name / "d" / "later").touch()
        (root / name / "later").touch()
    shared = os.fsencode(root / "shared")
    work = Staging((os.fsencode(root),), b"7-1", Temporaries(), since_ns, lambda directory: directory == shared)
    for name in ("own", "shared"):
        work.take(Deleted(T, os.fsencode(root / name / "d")))
        work.take(Deleted(T, os.fsencode(root / name / "later")))
    work.commit()
    assert names(root) == {"own", "own/d", "own/d/later", "own/later", "shared"}
