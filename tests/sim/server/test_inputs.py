"""The server's account of the files that tasks read: expected, told to executors, checked."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor.proof import bit_set
from spraycc.model import Command, Description, Kind, Placement
from spraycc.server.coherence.inputs import NO_STAMP, Expected, Inputs, Stamps, Told
from spraycc.server.coherence.tracker import Tracker
from spraycc.server.host.offload import Disk
from spraycc.stamps import (
    ALLOWED,
    CONTENTS,
    DENIED,
    EXISTS,
    FILE,
    MISSING,
    NAMES,
    READ,
    Lookup,
    Stamp,
    of_contents,
    of_error,
)
from tests.sim.server.silent_watcher import SilentWatcher

SOURCE, HEADER, OBJECT = b"/w/src/u.c", b"/w/inc/a.h", b"/w/obj/u.o"


def stamp(number: int) -> Stamp:
    return bytes([number]) * 40


class Host:
    """A submit host whose disk is a dict, and executors with another dict."""

    def __init__(self, limit: int = 1000, *, fresh: bool = False) -> None:
        """``fresh``: the server reuses stamps for a while, as it does if directories can be watched."""
        self.disk: dict[Lookup, Stamp] = {
            FILE + SOURCE: stamp(1), FILE + HEADER: stamp(2), NAMES + b"/w/inc": stamp(3), NAMES + b"/w/src": stamp(4),
            NAMES + b"/w": stamp(5), NAMES + b"/w/obj": stamp(6),
        }  # fmt: skip
        self.looks: list[Lookup] = []
        self.now = 100.0
        self.seconds_per_look = 0.0
        self._waited_s = 0.0
        tracker = Tracker(SilentWatcher() if fresh else None, look=self.look, limit=limit)
        self._disk = Disk(clock=lambda: self._waited_s, cpu_clock=lambda: 0.0, in_thread=self._inline)
        self.inputs = Inputs(tracker, self._disk, clock=lambda: self.now)

    @staticmethod
    async def _inline(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    def disk_is_slow(self) -> bool:
        return self._disk.is_slow("read")

    def look(self, lookup: Lookup) -> Stamp:
        self.looks.append(lookup)
        self._waited_s += self.seconds_per_look
        return self.disk.get(lookup, MISSING)

    def expect_words(self, *argv: bytes) -> Expected:
        """The expectation for a command of which only the command line is known."""
        command = Command(argv, b"/usr/bin/" + argv[0].lstrip(b"./"), b"/w", (), 0o22)
        return self.inputs.expect(command, Description(Kind.UNKNOWN, Placement.REMOTE, "remote"), ())

    def expect(self, source: bytes = b"src/u.c", target: bytes = OBJECT, kind: Kind = Kind.COMPILE) -> Expected:
        argv = (b"gcc", b"-Iinc", b"-c", source, b"-o", target)
        command = Command(argv, b"/usr/bin/gcc", b"/w", (), 0o22)
        inputs = (source,) if kind is Kind.COMPILE else ()
        description = Description(kind, Placement.REMOTE, "compile", inputs, (target,), searches=(b"inc",))
        return self.inputs.expect(command, description, (target,))


def told_by(stamps: Stamps) -> dict[Lookup, Stamp]:
    return {lookup: stamp for _, lookup, stamp in stamps}


def matched(stamps: Stamps, *lookups: Lookup) -> bytes:
    ids = {lookup: entry for entry, lookup, _ in stamps}
    return bit_set({ids[lookup] for lookup in lookups})


async def test_a_first_task_is_told_what_its_line_names() -> None:
    host = Host()
    expected = host.expect()
    await host.inputs.prepare(expected)
    stamps, _ = host.inputs.tell(expected, Told())
    told = told_by(stamps)
    assert told == {lookup: host.disk[lookup] for lookup in told}
    assert {FILE + SOURCE, NAMES + b"/w/inc", NAMES + b"/w/src", NAMES + b"/w"} == set(told)


async def test_what_a_task_read_is_told_with_the_next_one_of_its_target_or_source() -> None:
    host = Host()
    expected = host.expect()
    stamps, version = host.inputs.tell(expected, told := Told())
    assert await host.inputs.check(expected, told, version, b"", [(FILE + HEADER, stamp(2))]) is None
    for again in (host.expect(), host.expect(target=b"/w/obj/other.o")):
        stamps, _ = host.inputs.tell(again, Told())
        assert told_by(stamps)[FILE + HEADER] == stamp(2)
    stamps, _ = host.inputs.tell(host.expect(b"src/v.c", b"/w/obj/v.o"), Told())
    assert FILE + HEADER not in told_by(stamps)


async def test_only_what_is_new_to_an_executor_is_told() -> None:
    host = Host()
    told = Told()
    first, version = host.inputs.tell(host.expect(), told)
    assert first
    assert host.inputs.tell(host.expect(), told) == ((), version)
    host.disk[FILE + SOURCE] = stamp(9)
    changed, later = host.inputs.tell(host.expect(), told)
    assert told_by(changed) == {FILE + SOURCE: stamp(9)}
    assert later > version
    other, _ = host.inputs.tell(host.expect(), Told())
    assert len(other) == len(first)


@pytest.mark.parametrize("theirs", [MISSING, stamp(7)], ids=["missing", "another file"])
async def test_another_file_than_ours_is_a_mismatch_and_is_told_next(theirs: Stamp) -> None:
    host = Host()
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    mismatch = await host.inputs.check(expected, told, version, b"", [(FILE + HEADER, theirs)])
    assert mismatch is not None
    assert str(mismatch).startswith("/w/inc/a.h was ")
    again, _ = host.inputs.tell(expected, told)
    assert told_by(again)[FILE + HEADER] == stamp(2)


async def test_a_file_that_was_missed_and_is_there_now() -> None:
    """For example a new header, earlier in the search order."""
    host = Host()
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    host.disk[FILE + b"/w/inc/new.h"] = stamp(8)
    mismatch = await host.inputs.check(expected, told, version, b"", [(FILE + b"/w/inc/new.h", MISSING)])
    assert mismatch is not None
    assert mismatch.ours == stamp(8)


async def test_a_change_while_the_command_ran() -> None:
    host = Host()
    expected = host.expect()
    stamps, version = host.inputs.tell(expected, told := Told())
    read = matched(stamps, FILE + SOURCE)
    assert await host.inputs.check(expected, told, version, read, []) is None
    host.disk[FILE + SOURCE] = stamp(9)
    mismatch = await host.inputs.check(expected, told, version, read, [])
    assert "/w/src/u.c has changed on the submit host" in str(mismatch)


async def test_names_that_come_into_a_directory_while_the_command_ran() -> None:
    """The first attempt does not count. Then the directory is known as busy, and the proof lists missing names."""
    host = Host()
    expected = host.expect()
    stamps, version = host.inputs.tell(expected, told := Told())
    host.disk[NAMES + b"/w/inc"] = stamp(33)
    assert await host.inputs.check(expected, told, version, matched(stamps, NAMES + b"/w/inc"), []) is not None
    again, _ = host.inputs.tell(expected, told)
    assert told_by(again)[NAMES + b"/w/inc"] == NO_STAMP
    again, version = host.inputs.tell(expected, told)
    assert NAMES + b"/w/inc" not in told_by(again)
    # The executor has forgotten the old stamp, so it lists the stamp that it read.
    assert await host.inputs.check(expected, told, version, b"", [(FILE + b"/w/inc/x.h", MISSING)]) is None


async def test_where_the_disk_is_slow_an_executor_forgets_what_is_not_looked_at_in_time() -> None:
    """Else the executor would take its old stamp for the submit host's, and no attempt would count."""
    host = Host()
    expected = host.expect()
    stamps, _ = host.inputs.tell(expected, told := Told())
    host.seconds_per_look = 1.0
    await host.inputs.prepare(expected)
    assert host.inputs.tell(host.expect(), told)[0] == tuple((entry, lookup, NO_STAMP) for entry, lookup, _ in stamps)
    host.seconds_per_look = 0.0
    while host.disk_is_slow():
        await host.inputs.prepare(expected)
    assert told_by(host.inputs.tell(host.expect(), told)[0]) == told_by(stamps)


async def test_what_an_attempt_missed_is_told_with_the_next_one_even_where_the_disk_is_slow() -> None:
    host = Host(fresh=True)
    expected = host.expect()
    header = FILE + b"/w/src/gen.h"
    _, version = host.inputs.tell(expected, told := Told())
    host.seconds_per_look = 1.0
    await host.inputs.prepare(host.expect(b"v.c"))
    assert host.disk_is_slow()
    host.disk[header] = stamp(8)
    assert await host.inputs.check(expected, told, version, b"", [(header, MISSING)]) is not None
    assert told_by(host.inputs.tell(expected, told)[0])[header] == stamp(8)


async def test_where_outputs_go_is_busy_from_the_beginning() -> None:
    host = Host()
    """The server tells executors no stamps of the directory's names: they change with each object."""
    stamps, _ = host.inputs.tell(host.expect(target=b"/w/src/u.o"), Told())
    assert {lookup for lookup in told_by(stamps) if lookup[:1] == NAMES} == {NAMES + b"/w/inc", NAMES + b"/w"}


async def test_a_directory_that_becomes_busy_is_forgotten_by_executors() -> None:
    host = Host()
    told = Told()
    host.inputs.tell(host.expect(), told)
    stamps, _ = host.inputs.tell(host.expect(target=b"/w/src/u.o"), told)
    assert told_by(stamps) == {NAMES + b"/w/src": b""}
    assert host.inputs.tell(host.expect(target=b"/w/src/u.o"), told)[0] == ()


async def test_a_task_s_own_output_is_checked_and_not_remembered() -> None:
    host = Host()
    expected = host.expect()
    host.disk[FILE + OBJECT] = stamp(50)
    _, version = host.inputs.tell(expected, told := Told())
    assert await host.inputs.check(expected, told, version, b"", [(FILE + OBJECT, stamp(49))]) is not None
    expected = host.expect()
    _, version = host.inputs.tell(expected, told)
    assert await host.inputs.check(expected, told, version, b"", [(FILE + OBJECT, stamp(50))]) is None
    stamps, _ = host.inputs.tell(host.expect(), Told())
    assert FILE + OBJECT not in told_by(stamps)


async def test_names_that_ever_changed_are_told_to_tasks_that_search_there() -> None:
    host = Host()
    expected = host.expect()
    for number in (1, 2):
        host.disk[FILE + HEADER] = stamp(number)
        _, version = host.inputs.tell(expected, told := Told())
        assert await host.inputs.check(expected, told, version, b"", [(FILE + HEADER, stamp(number))]) is None
    stamps, _ = host.inputs.tell(host.expect(b"src/v.c", b"/w/obj/v.o"), Told())
    assert told_by(stamps)[FILE + HEADER] == stamp(2)


async def test_a_command_of_which_nothing_is_known() -> None:
    """Each word of the command may be a file or a directory."""
    host = Host()
    stamps, _ = host.inputs.tell(host.expect(source=b"data", target=b"/w/out/x", kind=Kind.UNKNOWN), Told())
    assert {FILE + b"/w/data", NAMES + b"/w/data"} <= set(told_by(stamps))


async def test_directories_in_which_builds_make_files() -> None:
    host = Host()
    for target in (b"/w/gen/made.h", b"/w/obj/a.o", b"/w/obj/b.o"):
        host.expect(target=target)
    assert host.inputs.busy_directories() == (b"/w/gen", b"/w/obj")


async def test_a_directory_that_a_command_lists_is_told_before_the_next_attempt() -> None:
    """The command saw the overlay's directory, whose stamp differs. The build makes files in the directory, too."""
    host = Host()
    names = NAMES + b"/w/obj"
    host.expect(target=b"/w/obj/z.o")
    for source, target in ((b"gen", b"/w/out/x"), (b"gen", b"/w/out/x"), (b"other", b"/w/obj/y.o")):
        expected = host.expect(source=source, target=target, kind=Kind.UNKNOWN)
        stamps, version = host.inputs.tell(expected, told := Told())
        if target == b"/w/obj/y.o":
            assert names not in told_by(stamps), "another command does not list it"
            continue
        if names not in told_by(stamps):
            mismatch = await host.inputs.check(expected, told, version, b"", [(names, stamp(99))])
            assert mismatch is not None
            stamps, version = host.inputs.tell(expected, told)
        assert told_by(stamps)[names] == stamp(6)
        assert await host.inputs.check(expected, told, version, matched(stamps, names), []) is None


async def test_dots_and_slashes_in_words_are_no_other_files() -> None:
    host = Host()
    stamps, _ = host.inputs.tell(host.expect(source=b"./data//x/.", target=b"/w/out/x", kind=Kind.UNKNOWN), Told())
    assert {FILE + b"/w/data/x", NAMES + b"/w/data/x"} <= set(told_by(stamps))


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ((b"./gen.sh", b"a.in", b"a.out"), True),
        ((b"sh", b"-c", b"./gen a.in >a.out"), True),
        ((b"python3", b"gen.py", b"a.in"), True),
        ((b"sh", b"-c", b"cat a.in >a.out"), False),
        ((b"python3", b"other.py", b"a.in"), False),
    ],
)
async def test_an_incomplete_record_is_remembered_for_the_tool(words: tuple[bytes, ...], same: bool) -> None:
    host = Host()
    for known in (
        (b"./gen.sh", b"b.in", b"b.out"),
        (b"sh", b"-c", b"./gen b.in >b.out"),
        (b"python3", b"gen.py", b"b.in"),
    ):
        host.inputs.note_incomplete(host.expect_words(*known))
    assert host.inputs.was_incomplete(host.expect_words(*words)) is same


@pytest.mark.parametrize("lookup", [b"", b"f", b"frelative", b"y/w/a", b"f/w/a\0b"])
async def test_lookups_that_are_none_are_ignored(lookup: bytes) -> None:
    host = Host()
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    assert await host.inputs.check(expected, told, version, b"", [(lookup, stamp(1))]) is None
    assert lookup not in host.looks


async def test_a_full_table_begins_anew() -> None:
    host = Host(limit=8)
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    others = [(FILE + b"/w/inc/%d.h" % number, MISSING) for number in range(6)]
    assert await host.inputs.check(expected, told, version, b"", others) is not None
    expected = host.expect()
    stamps, version = host.inputs.tell(expected, told)
    assert FILE + SOURCE in told_by(stamps)
    assert await host.inputs.check(expected, told, version, matched(stamps, FILE + SOURCE), []) is None


async def test_numbers_that_were_never_told_are_a_mismatch() -> None:
    host = Host()
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    assert await host.inputs.check(expected, told, version, bit_set({5000}), []) is not None


def test_of_the_real_disk(tmp_path: Path) -> None:
    """By default the real disk is examined."""
    (tmp_path / "a").touch()
    tracker = Tracker(None)
    ids = tracker.ids([FILE + bytes(tmp_path / "a"), FILE + bytes(tmp_path / "b")])
    tracker.refresh(ids, 0.0)
    assert tracker.view.stamp_of(0) != MISSING
    assert tracker.view.stamp_of(1) == MISSING


async def test_a_stamp_that_an_executor_was_told_for_an_earlier_task_is_not_taken_for_the_present_one() -> None:
    host = Host()
    low = FILE + b"/w/inc/sub/b.h"
    host.disk[low] = stamp(2)
    x, y = Told(), Told()
    # u.c reads sub/b.h; remembered
    _, version = host.inputs.tell(host.expect(), x)
    assert await host.inputs.check(host.expect(), x, version, b"", [(low, stamp(2))]) is None
    # u.c again on x: x is told sub/b.h
    stamps, version = host.inputs.tell(host.expect(), x)
    assert told_by(stamps)[low] == stamp(2)
    number = matched(stamps, low)
    assert await host.inputs.check(host.expect(), x, version, number, []) is None
    # sub/b.h is edited; u.c is rebuilt on y
    host.disk[low] = stamp(9)
    _, version = host.inputs.tell(host.expect(), y)
    # v.c, of which nothing is remembered, on x, whose cache still has the old sub/b.h: x still holds the old told stamp
    new = host.expect(b"src/v.c", b"/w/obj/v.o")
    stamps, version = host.inputs.tell(new, x)
    assert low not in told_by(stamps)
    assert await host.inputs.check(new, x, version, number, []) is not None


async def test_stamps_of_hosts_own_disks_are_told_with_any_task() -> None:
    """All tasks read the same system headers, also those that were never compiled before."""
    host = Host(fresh=True)
    system, lacking = CONTENTS + b"/usr/include/s.h", EXISTS + b"/usr/local/include/s.h"
    host.disk[system] = stamp(8)
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    others = [(system, stamp(8)), (lacking, MISSING), (FILE + HEADER, stamp(2))]
    assert await host.inputs.check(expected, told, version, b"", others) is None
    stamps, _ = host.inputs.tell(host.expect(b"src/v.c", b"/w/obj/v.o"), told)
    assert told_by(stamps)[system] == stamp(8)
    assert told_by(stamps)[lacking] == MISSING
    assert FILE + HEADER not in told_by(stamps)
    again, _ = host.inputs.tell(host.expect(b"src/x.c", b"/w/obj/x.o"), told)
    assert not {system, lacking} & set(told_by(again))


@pytest.mark.parametrize(
    ("ours", "theirs", "is_other"),
    [
        (of_contents(4, b"a" * 24), of_contents(4, b"b" * 24), True),
        (MISSING, of_contents(4, b"b" * 24), True),
        # A file that changes at this moment, and a file that the user may not read here, say nothing about the host.
        (of_contents(4, b"a" * 24), of_error(errno.ESTALE), False),
        (of_error(errno.EACCES), of_contents(4, b"b" * 24), False),
    ],
)
async def test_another_file_on_a_host_s_own_disk(ours: Stamp, theirs: Stamp, is_other: bool) -> None:
    host = Host()
    system = CONTENTS + b"/usr/include/s.h"
    host.disk[system] = ours
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    others = [(FILE + HEADER, stamp(7)), (system, theirs)]
    mismatch = await host.inputs.check(expected, told, version, b"", others)
    assert mismatch is not None
    assert mismatch.is_of_own_disk == is_other


async def test_a_denied_permission_is_a_mismatch_unless_it_is_denied_here_too() -> None:
    host = Host()
    host.disk[READ + HEADER] = ALLOWED
    others = [(FILE + HEADER, stamp(2)), (READ + HEADER, DENIED)]
    expected = host.expect()
    _, version = host.inputs.tell(expected, told := Told())
    mismatch = await host.inputs.check(expected, told, version, b"", others)
    assert str(mismatch) == "/w/inc/a.h: permission denied for the command, but not on the submit host"
    host.disk[READ + HEADER] = DENIED
    assert await host.inputs.check(expected, told, version, b"", others) is None
