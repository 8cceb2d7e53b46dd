"""The lookups that a command must have made because it could make or remove a name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from spraycc import stamps
from tests.system.executor import recording
from tests.system.executor.recording import Recorder, products_of, stamps_of

library = recording.library
recorder = recording.recorder

pytestmark = pytest.mark.needs("cc", package="gcc")

BEGIN = "import ctypes, os, socket\nc = ctypes.CDLL(None)\n"


def run(recorder: Recorder, script: str, *, place: bytes = b"") -> tuple[dict[str, bytes], set[str], bool]:
    """The reads below the work directory, or ``place``, and the products, as relative paths; and the completeness."""
    (recorder.work.parent / "script.py").write_text(BEGIN + script)
    reads = recorder.reads(os.path.realpath(sys.executable), "-S", "-E", recorder.work.parent / "script.py")
    start = (place or bytes(recorder.work)) + b"/"
    found = {lookup[:1] + lookup[1 + len(start) :]: stamp for lookup, stamp in stamps_of(reads).items() if lookup[1:].startswith(start)}  # fmt: skip
    products = {lookup[1 + len(start) :] for lookup in products_of(reads) if lookup[1:].startswith(start)}
    return {os.fsdecode(name): stamp for name, stamp in found.items()}, set(map(os.fsdecode, products)), reads.complete


@pytest.fixture
def work(recorder: Recorder) -> Path:
    (recorder.work / "file").write_text("file")
    (recorder.work / "other").write_text("other")
    (recorder.work / "link").symlink_to("file")
    (recorder.work / "empty").mkdir()
    (recorder.work / "full").mkdir()
    (recorder.work / "full" / "x").touch()
    return recorder.work


NOREPLACE, EXCHANGE = 1, 2


@pytest.mark.parametrize(
    ("script", "missing", "products"),
    [
        ("os.mkdir('new')", {"lnew"}, {"new"}),
        ("os.mkdir('new/')", {"fnew"}, set()),
        ("os.symlink('file', 'new')", {"lnew"}, {"new"}),
        ("os.mkfifo('new')", {"lnew"}, {"new"}),
        ("os.mknod('new')", {"lnew"}, {"new"}),
        ("os.close(os.open('new', os.O_CREAT | os.O_EXCL | os.O_WRONLY))", {"lnew"}, {"new"}),
        ("c.fopen.restype = ctypes.c_void_p; c.fopen(b'new', b'wx')", {"lnew"}, {"new"}),
        ("os.close(os.open('new', os.O_CREAT | os.O_TRUNC | os.O_WRONLY))", set(), {"new"}),
        ("os.mkdir('new'); os.rmdir('new'); os.mkdir('new')", {"lnew"}, {"new"}),
        ("open('new', 'w').close(); os.unlink('new'); os.symlink('x', 'new'); os.remove('new')", set(), {"new"}),
        ("socket.socket(socket.AF_UNIX).bind('new')", set(), set()),
    ],
)
def test_a_name_that_was_made_was_missing(recorder: Recorder, work: Path, script: str, missing: set[str], products: set[str]) -> None:  # fmt: skip
    assert run(recorder, script) == (dict.fromkeys(missing, stamps.MISSING), products, True)


@pytest.mark.parametrize(
    ("script", "read", "products"),
    [
        ("os.unlink('file')", {"lfile"}, {"file"}),
        ("os.remove('link')", {"llink"}, {"link"}),
        ("c.remove(b'file')", {"lfile"}, {"file"}),
        ("os.rmdir('empty')", {"nempty"}, {"empty"}),
        ("c.remove(b'empty')", {"nempty"}, {"empty"}),
        ("os.rmdir('empty', dir_fd=os.open('.', os.O_PATH))", {"nempty"}, {"empty"}),
        ("os.link('file', 'new')", {"lfile", "lnew"}, {"new"}),
        ("os.link('link', 'new', follow_symlinks=False)", {"llink", "lnew"}, {"new"}),
        ("c.linkat(-100, b'link', -100, b'new', 0x400)", {"flink", "lnew"}, {"new"}),
        ("os.rename('file', 'new')", {"lfile"}, {"file", "new"}),
        ("os.rename('file', 'other')", {"lfile"}, {"file", "other"}),
        ("os.rename('full', 'empty')", {"lfull", "nempty"}, {"full", "empty"}),
        ("os.rename('full', 'new')", {"lfull"}, {"full", "new"}),
        (f"c.renameat2(-100, b'file', -100, b'new', {NOREPLACE})", {"lfile", "lnew"}, {"file", "new"}),
        (f"c.renameat2(-100, b'file', -100, b'other', {EXCHANGE})", {"lfile", "lother"}, {"file", "other"}),
        (f"c.renameat2(-100, b'file', -100, b'other', {NOREPLACE})", {"lfile", "lother"}, set()),
        ("c.rmdir(b'full')", {"nfull"}, set()),
        ("c.remove(b'full')", {"nfull"}, set()),
        ("c.rename(b'empty', b'full')", {"lempty", "nfull"}, set()),
        ("c.mkdir(b'full', 0o700)", {"lfull"}, set()),
        ("c.symlink(b'x', b'link')", {"llink"}, set()),
        ("c.link(b'file', b'other')", {"lfile", "lother"}, set()),
        ("c.open(b'link', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)", {"llink"}, set()),
    ],
)
def test_a_name_that_was_removed_was_there(recorder: Recorder, work: Path, script: str, read: set[str], products: set[str]) -> None:  # fmt: skip
    before = {lookup: stamps.look(lookup[:1].encode() + bytes(work / lookup[1:])) for lookup in read}
    assert run(recorder, script) == (before, products, True)


@pytest.mark.parametrize(
    ("script", "read"),
    [
        ("os.mkdir('t'); open('t/x', 'w').close(); os.rename('t', 'd'); open('d/x').close(); os.listdir('d')", {"lt"}),
        ("os.mkdir('t'); os.chmod('t', 0o700); os.path.exists('t/x'); os.utime('t'); os.path.exists('t/y')", {"lt"}),
        ("os.rename('full', 'd'); open('d/x').close(); os.listdir('d')", {"lfull", "fd/x", "nd"}),
        ("os.mkdir('t'); os.symlink('../full', 't/l'); os.rename('t', 'd'); open('d/l/x').close()", {"lt", "fd/l/x"}),
        ("os.symlink('file', 'l'); os.lstat('l'); open('l').close()", {"ll", "fl"}),
    ],
)  # fmt: skip
def test_below_a_directory_that_the_command_made(recorder: Recorder, work: Path, script: str, read: set[str]) -> None:
    found, _, complete = run(recorder, script)
    assert complete
    assert set(found) == read


def test_names_in_shared_memory(recorder: Recorder) -> None:
    name = f"spraycc-{os.getpid()}"
    script = f"""
name = b"{name}"
c.sem_open.restype = ctypes.c_void_p
assert c.shm_open(b"/" + name + b".a", os.O_RDWR, 0o600) == -1
assert c.shm_open(name + b".b", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600) >= 0
assert c.shm_unlink(b"/" + name + b".b") == 0
assert c.shm_unlink(b"/" + name + b".c") == -1
assert not c.sem_open(b"/" + name + b".d", 0)
assert c.sem_open(name + b".e", os.O_CREAT, 0o600, 1)
assert c.sem_unlink(name + b".e") == 0
assert c.sem_unlink(name + b".f") == -1
assert c.shm_open(b"a/b", os.O_RDWR, 0o600) == -1
assert c.shm_open(b"", os.O_RDWR, 0o600) == -1
assert c.shm_open(b"x" * 300, os.O_RDWR, 0o600) == -1
"""
    found, products, complete = run(recorder, script, place=b"/dev/shm")
    expected = {f"f{name}.a", f"l{name}.b", f"l{name}.c", f"fsem.{name}.d", f"fsem.{name}.e", f"lsem.{name}.f"}
    assert found == dict.fromkeys(expected, stamps.MISSING)
    assert (products, complete) == ({f"{name}.b"}, True)


NUMBERS = {
    "x86_64": {"open": 2, "stat": 4, "lstat": 6, "access": 21, "readlink": 89, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "statx": 332, "faccessat2": 439, "mkdir": 83, "execve": 59, "rename": 82, "unlinkat": 263, "openat2": 437, "mount": 165, "getpid": 39},
    "aarch64": {"openat": 56, "newfstatat": 79, "readlinkat": 78, "faccessat": 48, "statx": 291, "faccessat2": 439, "unlinkat": 35, "execve": 221, "openat2": 437, "mount": 40, "getpid": 172},
}.get(os.uname().machine, {})  # fmt: skip


def call(name: str, path: str) -> str:
    at = (
        ""
        if name in ("open", "stat", "lstat", "access", "readlink", "mkdir", "execve", "rename", "mount")
        else "-100, "
    )
    rest = {"open": "0", "openat": "0", "access": "0", "faccessat": "0", "readlink": "room, 99", "readlinkat": "room, 99", "statx": "0, 0xfff, room"}.get(name, "room, 0")  # fmt: skip
    return f"room = ctypes.create_string_buffer(1000); c.syscall({NUMBERS[name]}, {at}b'{path}', {rest})"


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() & {"open", "stat", "lstat", "access", "readlink", "openat", "newfstatat", "readlinkat", "faccessat", "faccessat2", "statx"}))  # fmt: skip
def test_the_function_syscall(recorder: Recorder, work: Path, name: str) -> None:
    kind = "l" if name in ("lstat", "readlink", "readlinkat") else "f"
    expected = {f"{kind}{path}": stamps.look(kind.encode() + bytes(work / path)) for path in ("link", "missing")}
    assert run(recorder, call(name, "link") + "; " + call(name, "missing")) == (expected, set(), True)


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() & {"mkdir", "execve", "rename", "unlinkat", "openat2", "mount", "getpid"}))  # fmt: skip
def test_a_system_call_that_the_recorder_does_not_describe(recorder: Recorder, work: Path, name: str) -> None:
    assert run(recorder, call(name, "missing/x"))[2] == (name == "getpid")
