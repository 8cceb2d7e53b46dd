"""Finds the box (``spraycc-box``), starts it and reads its report. Its options: spraycc/native/box/main.c."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import sysconfig
import termios
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from spraycc.executor.terminal import open_terminal

#: Name of the program, beside ``spraycc`` and ``spraycc-run``.
BOX_NAME = "spraycc-box"
#: Descriptor of the report inside the box.
_REPORT_FD = 3
_WORDS_OF_ENDED = 6


@dataclass(frozen=True, slots=True)
class Layer:
    """One overlay: files written below ``root`` land in ``upper``. All paths are absolute.

    ``upper`` and ``work`` are on one file system.
    """

    root: bytes
    upper: bytes
    work: bytes


@dataclass(frozen=True, slots=True)
class BoxOrder:
    """One run of the box."""

    program: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes
    umask: int | None = None
    nice: int | None = None
    rlimits: tuple[tuple[int, int, int], ...] = ()
    layers: tuple[Layer, ...] = ()
    #: directories that are writable and not captured
    writable: tuple[bytes, ...] = ()
    in_place: bool = False
    pid_namespace: bool = True

    def with_temporary(self, directory: bytes) -> BoxOrder:
        """The same order with ``directory`` as TMPDIR."""
        env = (*[entry for entry in self.env if not entry.startswith(b"TMPDIR=")], b"TMPDIR=" + directory)
        return replace(self, env=env)

    def words(self, box: bytes, parent: int) -> list[bytes]:
        """The box's argument vector."""
        return [box, b"--report", b"%d" % _REPORT_FD, b"--parent", b"%d" % parent, *self.options()]

    def options(self) -> list[bytes]:
        """The box's options for this order, the program, and its words."""
        words = []
        if self.in_place:
            words.append(b"--in-place")
        elif not self.pid_namespace:
            words.append(b"--no-pid-namespace")
        for layer in self.layers:
            words += (b"--overlay", layer.root, layer.upper, layer.work)
        for directory in self.writable:
            words += (b"--writable", directory)
        words += (b"--chdir", self.cwd)
        if self.umask is not None:
            words += (b"--umask", b"%o" % self.umask)
        if self.nice is not None:
            words += (b"--nice", b"%d" % self.nice)
        for resource, soft, hard in self.rlimits:
            words += (b"--rlimit", b"%d" % resource, b"%d" % soft, b"%d" % hard)
        return [*words, b"--", self._called, *self.argv]

    @property
    def _called(self) -> bytes:
        """The program's path as the build gave it: a script reads this path as $0, and may print it."""
        given = self.argv[0] if self.argv else b""
        is_path = b"/" in given and os.path.join(self.cwd, given) == self.program
        return given if is_path else self.program


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The command did not run: a step of the set-up failed, or the program could not be executed."""

    #: the step of spraycc/native/box that failed; "exec" if it is the execution of the program
    stage: str
    errno: int

    def __str__(self) -> str:
        return f"{self.stage}: {os.strerror(self.errno)}"


@dataclass(frozen=True, slots=True)
class Ended:
    """The command ran."""

    code: int
    signal: int
    user_s: float
    system_s: float
    peak_rss_bytes: int
    #: no file of the overlays is open any more, so they can serve another command (spraycc/native/box/serve.c)
    kept: bool = False


def parse_report(report: bytes) -> Ended | NotStarted:
    """The meaning of a whole report. An empty or cut report means that the box was killed, and counts as SIGKILL."""
    words = report.decode("ascii", "replace").split() if report.endswith(b"\n") else []
    match words:
        case ["setup", stage, error]:
            return NotStarted(stage, int(error))
        case ["exec", error]:
            return NotStarted("exec", int(error))
        case ["ended", code, signal_number, user_us, system_us, peak_kib]:
            return Ended(int(code), int(signal_number), int(user_us) / 1e6, int(system_us) / 1e6, int(peak_kib) * 1024)
        case ["ended", *_, "kept"] if len(words) == _WORDS_OF_ENDED + 1:
            ended = parse_report(b" ".join(report.split()[:-1]) + b"\n")
            return replace(ended, kept=True) if isinstance(ended, Ended) else ended
        case _:
            return Ended(0, signal.SIGKILL, 0.0, 0.0, 0)


def program_directories() -> list[str]:
    """Directories that may hold SprayCC's programs: this program's, the interpreter's, and those of scripts.

    The last two are those of ``pip install --target``, ``--user`` and ``--prefix``: the interpreter is elsewhere.
    """
    packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    directories = [os.path.dirname(sys.argv[0]), os.path.dirname(sys.executable), sysconfig.get_path("scripts")]
    directories.append(os.path.join(packages, "bin"))
    if os.path.basename(packages) in ("site-packages", "dist-packages"):  # PREFIX/lib/python3.11/site-packages
        directories.append(os.path.join(packages, "..", "..", "..", "bin"))
    return [os.path.abspath(directory) for directory in directories if directory]


def find_box() -> bytes:
    """Path of the box: ``SPRAYCC_BOX``, else in one of :func:`program_directories`.

    Raises:
        FileNotFoundError: not found; the text names the places.
    """
    named = os.environ.get("SPRAYCC_BOX")
    places = [named] if named else [os.path.join(directory, BOX_NAME) for directory in program_directories()]
    for place in places:
        if os.access(place, os.X_OK):
            return os.fsencode(os.path.abspath(place))
    where = " or ".join(dict.fromkeys(places))
    raise FileNotFoundError(f"{BOX_NAME} is not at {where}; install SprayCC with a C compiler")


class _Environment(Mapping[bytes, bytes]):
    """An environment with its order and duplicates, as a mapping for os.posix_spawn.

    os.posix_spawn joins ``keys()`` and ``values()``. It can't pass on an entry without a name or without ``=``.
    """

    __slots__ = ("_pairs",)

    def __init__(self, entries: tuple[bytes, ...]) -> None:
        split = [entry.partition(b"=") for entry in entries]
        self._pairs = [(name, value) for name, equals, value in split if name and equals]

    def __getitem__(self, name: bytes) -> bytes:
        return dict(self._pairs)[name]

    def __iter__(self) -> Iterator[bytes]:
        return iter([name for name, _ in self._pairs])

    def __len__(self) -> int:
        return len(self._pairs)

    def keys(self) -> list[bytes]:  # type: ignore[override]
        return [name for name, _ in self._pairs]

    def values(self) -> list[bytes]:  # type: ignore[override]
        return [value for _, value in self._pairs]


@dataclass(slots=True)
class BoxProcess:
    """A running box. Owns its descriptors: :meth:`close` them, after :meth:`reap`."""

    pid: int
    #: the command's stdout, non-blocking; also stderr if both are one stream
    stdout: int
    #: the command's stderr, non-blocking; None if both are one stream
    stderr: int | None
    #: pipe of the report; it ends when all processes of the command have ended
    report: int
    #: called in place of waitpid
    wait: Callable[[], None] | None = None
    was_killed: bool = field(default=False, init=False)
    is_reaped: bool = field(default=False, init=False)

    def kill(self, signal_number: int = signal.SIGTERM) -> None:
        """Make the box end all processes at once (SIGTERM), or kill the box itself (SIGKILL)."""
        if not self.is_reaped:
            self.was_killed = True
            os.kill(self.pid, signal_number)

    def reap(self) -> None:
        """Wait for the box's end. Returns at once when ``report`` is at its end."""
        if not self.is_reaped:
            if self.wait is None:
                os.waitpid(self.pid, 0)
            else:
                self.wait()
            self.is_reaped = True

    def close(self) -> None:
        for descriptor in (self.stdout, self.stderr, self.report):
            if descriptor is not None:
                os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Streams:
    """The kinds of the command's stdout and stderr."""

    #: both are one stream: all output counts as stdout's
    one: bool = False
    #: which of 1 and 2 are terminals
    terminals: tuple[int, ...] = ()
    #: rows and columns of the terminals
    window: tuple[int, int] = (0, 0)

    def open(self, number: int) -> tuple[int, int]:
        """Descriptors for reading from and writing to a stream. If no terminal can be opened, the stream is a pipe."""
        if number in self.terminals:
            with contextlib.suppress(OSError, termios.error):
                return open_terminal(self.window)
        return os.pipe()


def start_box(box: bytes, order: BoxOrder, stdin: int, streams: Streams) -> BoxProcess:
    """Start the box. Only from the main thread: the box ends with the thread that started it (PR_SET_PDEATHSIG).

    ``stdin`` becomes the command's stdin. Descriptors 0 to 2 of this process must be open, or the new pipes get these
    numbers.

    Raises:
        OSError: the box could not be started.
    """

    def spawn(out: int, err: int, report: int) -> int:
        return os.posix_spawn(
            box,
            order.words(box, os.getpid()),
            _Environment(order.env),
            # The report is last: _REPORT_FD may be the number of another descriptor until then.
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, err, 2),
                (os.POSIX_SPAWN_DUP2, report, _REPORT_FD),
            ],
        )

    return with_pipes(streams, spawn)


def with_pipes(streams: Streams, start: Callable[[int, int, int], int]) -> BoxProcess:
    """Call ``start`` with the writing ends of stdout, stderr and report; it returns the box's pid.

    Raises:
        OSError: no descriptors are left, or ``start`` raised the error.
    """
    pipes: list[tuple[int, int]] = []
    try:
        pipes.append(os.pipe())
        for number in (1,) if streams.one else (1, 2):
            pipes.append(streams.open(number))
        report, out, err = pipes[0], pipes[1], pipes[-1]
        pid = start(out[1], err[1], report[1])
    except BaseException:
        for reading, writing in pipes:
            os.close(reading)
            os.close(writing)
        raise
    for reading, writing in pipes:
        os.close(writing)
        os.set_blocking(reading, False)
    return BoxProcess(pid, out[0], None if streams.one else err[0], report[0])
