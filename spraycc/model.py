"""Values that every package shares: ids and frozen dataclasses. Imports nothing of SprayCC's but errors."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType

TaskId = NewType("TaskId", int)
BuildId = NewType("BuildId", str)
ExecutorId = NewType("ExecutorId", str)


class Placement(enum.Enum):
    """The host and quota for a task, as the command description and the policy decide."""

    REMOTE = "remote"  #: on an executor, or on the submit host if no executor can run it
    HERE_NOW = "here-now"  #: on the submit host at once, without a slot: probes, which are short and latency bound
    HERE_LIGHT = "here-light"  #: on the submit host, under the light quota: archives and other short work
    HERE_HEAVY = "here-heavy"  #: on the submit host, under the heavy quota: links


class Kind(enum.Enum):
    """The purpose of a command line."""

    COMPILE = "compile"
    DEPENDENCIES = "dependencies"  #: -M or -MM: writes make rules and no object
    PREPROCESS = "preprocess"
    ASSEMBLE = "assemble"
    PCH = "pch"
    LINK = "link"
    ARCHIVE = "archive"
    PROBE = "probe"  #: asks the compiler something, or is a configure test
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Description:
    """The meaning of a command line, from its words alone (plus response files and three environment variables)."""

    kind: Kind
    placement: Placement
    #: the reason for the placement: a short stable phrase that ``spraycc why`` counts and shows
    reason: str
    #: source files, as written on the line
    inputs: tuple[bytes, ...] = ()
    #: the known output files, as written or implied (relative to the working directory), the file of -o last
    outputs: tuple[bytes, ...] = ()
    #: directories in which the command may make further files, as written
    directories: tuple[bytes, ...] = ()
    #: the command makes code for the CPU of its own host (-march=native)
    native: bool = False
    #: a successful run writes ``outputs`` and nothing else
    complete: bool = False
    #: only an executor with an overlay may run the command
    needs_overlay: bool = False
    #: programs that the command starts and on which its outputs depend: names, or paths (also of their directories)
    starts: tuple[bytes, ...] = ()
    #: further files that the line names for reading (-include), as written
    reads: tuple[bytes, ...] = ()
    #: directories of the header search path that the line names, as written
    searches: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class StdStream:
    """The kind of one of the runner's descriptors 0-2, from fstat(2)."""

    #: "tty", "pipe", "file", "null", "socket", "other" or "closed"
    kind: str
    dev: int = 0
    ino: int = 0


@dataclass(frozen=True, slots=True)
class Command:
    """One wrapped command with all that is needed to run it on another host with the same result."""

    #: argument vector, argv[0] as the build tool gave it
    argv: tuple[bytes, ...]
    #: absolute path of the real program, behind the shims
    program: bytes
    #: absolute path of the working directory
    cwd: bytes
    #: the environment, ``NAME=value`` each, in its order
    env: tuple[bytes, ...]
    umask: int
    #: (resource, soft, hard) for each resource of getrlimit(2) that the host knows; 2**64 - 1 is unlimited
    rlimits: tuple[tuple[int, int, int], ...] = ()
    #: nice value, -20 to 19
    nice: int = 0
    stdin: StdStream = field(default_factory=lambda: StdStream("null"))
    stdout: StdStream = field(default_factory=lambda: StdStream("pipe"))
    stderr: StdStream = field(default_factory=lambda: StdStream("pipe"))
    #: rows and columns of the terminal, if stdout or stderr is a terminal
    window: tuple[int, int] = (0, 0)

    @property
    def terminals(self) -> tuple[int, ...]:
        """The descriptors, 1 or 2 or both, that are terminals."""
        return tuple([fd for fd, stream in ((1, self.stdout), (2, self.stderr)) if stream.kind == "tty"])

    @property
    def streams_are_one(self) -> bool:
        """True if stdout and stderr are the same open file, so that the order of writes to both matters."""
        out, err = self.stdout, self.stderr
        return out.kind == err.kind != "closed" and (out.dev, out.ino) == (err.dev, err.ino)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The expected time and memory of a task, from earlier runs of it and of similar tasks."""

    #: run time; 0 if unknown
    seconds: float = 0.0
    #: a task that runs longer than this is late; None if unknown
    late_s: float | None = None
    #: peak memory; 0 if unknown
    memory_bytes: int = 0


#: The expectation of an unknown task.
UNKNOWN = Expectation()


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources that an attempt used on the executor's host."""

    user_s: float = 0.0
    system_s: float = 0.0
    #: peak resident set of the attempt's largest process
    peak_rss_bytes: int = 0
    wall_s: float = 0.0
