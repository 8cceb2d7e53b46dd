"""The messages of the server's Unix socket: with runners, and with the command line (docs/reference/protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from spraycc.model import Command, StdStream
from spraycc.wire.schema import Grammar, Message

#: Version of everything in this module, sent in the first frame of each connection.
RUNNER_PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class RunTask(Message):
    """Runner → server, first and only frame: the command to run."""

    TAG: ClassVar[str] = "task"
    version: int
    #: "remote" or "local" if the user gave that option, else "auto"
    wish: str
    #: id of the command's build (SPRAYCC_BUILD); empty outside a build
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
    #: rows and columns of the terminal that is stdout, or else stderr; 0 without a terminal
    window: tuple[int, int] = (0, 0)
    #: the runner's context, as in spraycc/context.py; empty from an older runner
    context: str = ""

    def command(self) -> Command:
        stdin, stdout, stderr = (StdStream(*s) for s in self.streams)
        return Command(
            self.argv, self.program, self.cwd, self.env, self.umask, self.rlimits, self.nice, stdin, stdout, stderr,
            self.window,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunHere(Message):
    """Server → runner: execute the program on the submit host, in the runner's place. Last frame.

    If output of an earlier attempt was passed on, the runner drops the first ``skip_stdout`` and ``skip_stderr`` bytes,
    so that no diagnostic appears twice.
    """

    TAG: ClassVar[str] = "here"
    skip_stdout: int = 0
    skip_stderr: int = 0
    #: 0: execute the program in the runner's own place. 1: run the program as a child, send Done at its end, and exit
    #: when the server closes the connection. 2: the same, and exit at once; older runners take it for 1
    stay: int = 0


@dataclass(frozen=True, slots=True)
class Done(Message):
    """Runner → server: the command of RunHere has ended. With ``stay`` 1 the runner waits for leave to exit."""

    TAG: ClassVar[str] = "done"
    #: exit status as in ``$?``; None from a runner that does not tell
    status: int | None = None
    #: CPU time of the command and its children
    user_us: int = 0
    system_us: int = 0
    #: peak resident set of the largest of its processes; 0 from an older runner
    peak_rss_kib: int = 0


@dataclass(frozen=True, slots=True)
class Output(Message):
    """Server → runner: write these bytes to descriptor ``fd`` (1 or 2)."""

    TAG: ClassVar[str] = "out"
    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Exited(Message):
    """Server → runner: the command has ended, and its files are written. Last frame.

    The runner exits with ``code``, or dies of ``signal`` if that is not 0.
    """

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
    """Command line → server: a build begins. It lasts as long as this connection or the build tool's process.

    ``settings`` are all settings in force (spraycc.settings.Settings as a map). For everything that builds share, the
    settings of the newest open build count.
    """

    TAG: ClassVar[str] = "build-open"
    #: the largest number of tasks that the user wants at once (-jN); None without a limit
    cap: int | None
    #: the build tool's command line, for the log and the status
    argv: tuple[bytes, ...]
    cwd: bytes
    settings: dict[str, Any]
    #: whether the build tool is a client of the jobserver
    jobserver: bool = True
    #: whether the server may take a free token back from the build tool (make 4.2 can wait for the token for ever)
    live_tokens: bool = True
    #: seconds between two Progress messages; 0: none
    progress_s: float = 0.0
    #: a build of ``spraycc doctor``: it leaves no record, and the server that it starts ends with it
    probe: bool = False
    #: the command line as the user has typed it, for the status; empty: ``argv``
    typed: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildOpened(Message):
    """Server → command line: the build's id and the path of its jobserver's fifo (empty without one)."""

    TAG: ClassVar[str] = "build"
    build: str
    fifo: bytes


@dataclass(frozen=True, slots=True)
class ToolProcess(Message):
    """Command line → server: the build tool runs as this process."""

    TAG: ClassVar[str] = "build-tool"
    pid: int


@dataclass(frozen=True, slots=True)
class CloseBuild(Message):
    """Command line → server: the build tool has ended, with the exit status ``status`` (as in ``$?``)."""

    TAG: ClassVar[str] = "build-close"
    status: int
    #: seconds that the user waited
    wall_s: float


@dataclass(frozen=True, slots=True)
class Summary(Message):
    """Server → command line: the build's figures, keys as in docs/reference/protocol.md."""

    TAG: ClassVar[str] = "summary"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice(Message):
    """Server → command line, at any time during a build: one line that the user must see, on stderr."""

    TAG: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class Progress(Message):
    """Server → command line, at the interval of ``OpenBuild.progress_s``, if the figures have changed.

    Keys as in docs/reference/protocol.md. A command line gets no further figures until it has read
    these.
    """

    TAG: ClassVar[str] = "progress"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AskStatus(Message):
    """Command line → server: the answer is Status."""

    TAG: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Status(Message):
    """Server → command line: the server's state (keys as in docs/reference/protocol.md)."""

    TAG: ClassVar[str] = "status-is"
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Command line → server: end. The server answers by closing the connection.

    Hello, Welcome, Refused, Status and this message are the same in every version, so that a command line can replace a
    server of another version.
    """

    TAG: ClassVar[str] = "stop"
    #: do not wait for the end of open builds
    now: bool = False
    #: end only if no build is open; otherwise the answer is Refused, and nothing changes
    if_idle: bool = False


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Server → peer: the request failed, with a text for the user. The connection stays open."""

    TAG: ClassVar[str] = "refused"
    text: str


TO_SERVER = Grammar(RunTask, Done, Hello, OpenBuild, ToolProcess, CloseBuild, AskStatus, Stop)
FROM_SERVER = Grammar(RunHere, Output, Exited, Welcome, BuildOpened, Summary, Notice, Progress, Status, Refused)
