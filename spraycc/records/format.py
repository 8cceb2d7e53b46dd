"""The grammar of a build's record, version 2: the keys of each line, and the limits (docs/reference/records.md).

A record is a file of JSON lines: a header, then lines of tasks, executors and samples in the order of time, then an end
line. All times are seconds since the build's begin, unless a comment says otherwise. A reader must do without any line
and any key: a full disk cuts a record, and records of version 1 have fewer keys.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypedDict

#: The value of ``record`` in the header. Records of version 1 have no such key.
VERSION = 2
#: Directory of the records, below a server's state directory.
DIRECTORY = "builds"
#: Names are ``MILLISECONDS-BUILD.jsonl``, with the time of the build's begin in 15 digits, so they sort by time.
SUFFIX = ".jsonl"
#: The end of the name of a record without any task.
EMPTY_SUFFIX = "-empty.jsonl"
#: Files with other names are no records.
NAME = re.compile(r"[0-9]{1,15}-[!-~]+\.jsonl", re.ASCII)

#: A server keeps this many records with tasks, and this many without, the newest.
KEPT = 20
#: All records of a server together are not larger, but for the newest.
KEPT_BYTES = 256 * 1024 * 1024
#: Size of one record, without its end line: the sum of the rooms.
MOST_BYTES = 64 * 1024 * 1024
#: A command line is cut to this many characters.
ARGV_CHARACTERS = 2000
#: A link or an archive names what it waited for, so more of its command line is kept.
LINK_CHARACTERS = 50_000
#: Samples in the first interval of SAMPLE_S. Each further such number doubles the interval.
SAMPLES = 2000
SAMPLE_S = 1.0


class Room(NamedTuple):
    """Lines and bytes that one kind of lines may take of a record, so that no kind takes another's room."""

    lines: int
    size_bytes: int


TASKS_ROOM = Room(100_000, 56 * 1024 * 1024)
#: Tasks that failed, once the room of tasks is full.
FAILED_ROOM = Room(5_000, 4 * 1024 * 1024)
EXECUTORS_ROOM = Room(20_000, 2 * 1024 * 1024)
SAMPLES_ROOM = Room(20_000, 2 * 1024 * 1024)
assert sum(room.size_bytes for room in (TASKS_ROOM, FAILED_ROOM, EXECUTORS_ROOM, SAMPLES_ROOM)) == MOST_BYTES


def rank(name: str, now: float) -> tuple[bool, str]:
    """A key that sorts names of records from the oldest to the newest.

    A name from the future is older than all others: the clock was wrong when the record was written, or was set back
    since then. Otherwise a new record would be the first to be removed.

    Args:
        name: fits NAME.
        now: seconds since 1970.
    """
    return int(name.partition("-")[0]) <= (now + 1) * 1000, name


class Header(TypedDict, total=False):
    """The first line."""

    record: int  #: VERSION
    build: str  #: the build's id
    argv: str  #: the build tool's command line, its words joined by spaces
    cwd: str  #: its working directory
    began: float  #: seconds since 1970
    host: str  #: the submit host
    release: str  #: SprayCC's version
    cluster: str  #: the setting
    executors: int  #: the setting: most executors at once
    cap: int | None  #: the user's -j; None without a limit
    tool: str  #: name of the build tool, such as "make"
    server: list[int]  #: the server's process, see :mod:`spraycc.records.liveness`
    directory: str  #: a directory that is there while the server has the build open


class TaskLine(TypedDict, total=False):
    """A task. Written when its result is known, so lines come in the order of the tasks' ends."""

    target: str  #: the last output, else the first source, else the program; as the command line names it
    source: str  #: the first source; empty without one
    argv: str  #: the command line, cut to ARGV_CHARACTERS or LINK_CHARACTERS
    cwd: str
    kind: str  #: model.Kind
    placement: str  #: model.Placement
    reason: str  #: why the command line has this placement
    ran: str  #: "remote", "here" (on the submit host) or "cancelled"
    why: str  #: why a task for executors ran on the submit host; empty for other tasks
    refusals: list[str]  #: why attempts did not count
    attempts: int
    stale: int  #: attempts that read other files than the submit host has
    executor: str  #: the executor that gave the result, or had the task last; empty without one
    status: int | None  #: exit status as in ``$?``; None: not known
    s: float  #: seconds from the task's arrival to its result
    at: float  #: arrival
    #: each attempt: executor, begin, end, outcome, whether another attempt ran beside it. Outcomes are those of
    #: scheduler.events.Outcome, or "lost" if the executor was lost.
    runs: list[list[object]]
    here: list[float] | None  #: begin and end on the submit host; None: the task did not run on the submit host
    #: CPU time of the command. 0 together with wall_s 0: not known, as for most commands on the submit host
    user_s: float
    system_s: float
    rss: int  #: peak memory of the command's largest process, in bytes; 0: not known
    wall_s: float  #: seconds for which the command ran; 0: not known
    bytes: int  #: size of the files that the executor returned


class ExecutorLine(TypedDict, total=False):
    """An executor has joined (``host``, ``batch_job``, ``joined``) or left (``left``)."""

    executor: str
    host: str
    batch_job: str
    joined: float  #: below 0: it was connected before the build began
    left: float


class SampleLine(TypedDict, total=False):
    """The state at a moment. A sample that equals the last one is not written."""

    t: float
    running: int  #: attempts of the build on executors
    here: int  #: its commands on the submit host
    waiting: int  #: its tasks that wait for an executor or for a slot of the submit host
    executors: int  #: connected executors, of all builds
    asked: int  #: executors that were asked for and have not connected
    tokens: int | None  #: tokens in the build's jobserver; None: the tool has none


class EndLine(TypedDict, total=False):
    """The last line. A record without one is that of a running build, or of a server that was killed."""

    ended: float
    status: int | None  #: exit status of the build tool; None: not known (command line killed, or a shell)
    wall_s: float | None  #: seconds that the user waited
    figures: dict[str, object]  #: as in the build's summary, see docs/reference/protocol.md
    dropped: int  #: lines that were left out because their room was full, or the disk
