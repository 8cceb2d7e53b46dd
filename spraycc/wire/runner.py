"""The messages of the server's Unix socket: with runners, and with the command line. Grammar: docs/protocol.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from spraycc.model import Command, StdStream
from spraycc.wire.schema import Grammar, Message

#: Version of everything in this module. In the first frame of each connection.
RUNNER_PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class RunTask(Message):
    """Runner → server, first and only frame: the command to run."""

    TAG: ClassVar[str] = "task"
    version: int
    #: "remote" or "local" if the user gave that option, else "auto"
    wish: str
    #: id of its build (SPRAYCC_BUILD); empty outside a build
    build: bytes
    argv: tuple[bytes, ...]
    program: bytes
    cwd: bytes
    env: tuple[bytes, ...]
    umask: int
    rlimits: tuple[tuple[int, int, int], ...]
    nice: int
    #: kind, device and inode of descriptors 0, 1, 2
    streams: tuple[tuple[str, int, int], tuple[str, int, int], tuple[str, int, int]]
    #: rows and columns of the terminal that stdout or else stderr is; 0 where none is
    window: tuple[int, int] = (0, 0)

    def command(self) -> Command:
        stdin, stdout, stderr = (StdStream(*s) for s in self.streams)
        return Command(
            self.argv, self.program, self.cwd, self.env, self.umask, self.rlimits, self.nice, stdin, stdout, stderr,
            self.window,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunHere(Message):
    """Server → runner: execute the program in your own place. The last frame of the connection.

    If output of an earlier attempt was passed on, the runner drops the first ``skip_stdout`` and ``skip_stderr`` bytes,
    so that no diagnostic appears twice.
    """

    TAG: ClassVar[str] = "here"
    skip_stdout: int = 0
    skip_stderr: int = 0
    #: 1: run it as a child, send Done at its end, and exit when the server closes the connection. Older runners ignore
    #: this, and execute the program in their own place.
    stay: int = 0


@dataclass(frozen=True, slots=True)
class Done(Message):
    """Runner → server: the command of RunHere has ended; the runner waits for leave to exit."""

    TAG: ClassVar[str] = "done"


@dataclass(frozen=True, slots=True)
class Output(Message):
    """Server → runner: write these bytes to descriptor ``fd`` (1 or 2)."""

    TAG: ClassVar[str] = "out"
    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Exited(Message):
    """Server → runner: the command is done, its files are written. ``signal`` > 0: die of that signal. Last frame."""

    TAG: ClassVar[str] = "exit"
    code: int
    signal: int


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Command line → server, first frame of a control connection."""

    TAG: ClassVar[str] = "control"
    version: int
    #: SprayCC's own version, for messages
    release: str


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Server → command line, answer to Hello."""

    TAG: ClassVar[str] = "welcome"
    version: int
    release: str
    pid: int


@dataclass(frozen=True, slots=True)
class OpenBuild(Message):
    """Command line → server: a build begins; it lasts as long as this connection or the tool's process.

    ``settings`` are all settings in force (spraycc.settings.Settings as a map); the newest build's hold for what builds
    share.
    """

    TAG: ClassVar[str] = "build-open"
    #: most tasks that the user wants at once (-jN); None is the whole width
    cap: int | None
    #: the tool's command line, for the log and status
    argv: tuple[bytes, ...]
    cwd: bytes
    settings: dict[str, Any]
    #: whether the tool is a client of the jobserver
    jobserver: bool = True
    #: whether a token that was free may be taken away from the tool again (make 4.2 can wait for it for ever)
    live_tokens: bool = True


@dataclass(frozen=True, slots=True)
class BuildOpened(Message):
    """Server → command line: the build's id and the path of its jobserver's fifo (empty without one)."""

    TAG: ClassVar[str] = "build"
    build: str
    fifo: bytes


@dataclass(frozen=True, slots=True)
class ToolStarted(Message):
    """Command line → server: the build tool runs as this process."""

    TAG: ClassVar[str] = "build-tool"
    pid: int


@dataclass(frozen=True, slots=True)
class CloseBuild(Message):
    """Command line → server: the tool has ended. ``status`` as ``$?`` shows it; ``wall_s`` as the user waited."""

    TAG: ClassVar[str] = "build-close"
    status: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Summary(Message):
    """Server → command line: the build's figures, keys as in docs/protocol.md."""

    TAG: ClassVar[str] = "summary"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice(Message):
    """Server → command line, at any time during a build: one line that the user must see, on stderr."""

    TAG: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class AskStatus(Message):
    TAG: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Status(Message):
    """Server → command line: the server's state (keys as in docs/protocol.md)."""

    TAG: ClassVar[str] = "status-is"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Command line → server: end. ``now``: without waiting for builds in flight. The server answers by closing.

    ``if_idle``: only where no build is open; else the answer is Refused, and nothing changes. Hello, Welcome, Refused,
    Status and this message are the same in every version: with them a server of another one is replaced.
    """

    TAG: ClassVar[str] = "stop"
    now: bool = False
    if_idle: bool = False


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Server → peer: the request failed, with a text for the user. The connection stays open."""

    TAG: ClassVar[str] = "refused"
    text: str


TO_SERVER = Grammar(RunTask, Done, Hello, OpenBuild, ToolStarted, CloseBuild, AskStatus, Stop)
FROM_SERVER = Grammar(RunHere, Output, Exited, Welcome, BuildOpened, Summary, Notice, Status, Refused)
