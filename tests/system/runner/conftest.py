"""The runner, built in three ways that must pass the same tests, and a server that sends the messages of the test."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hatch_build import RUNNER, sources_of
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.runner import FROM_SERVER, TO_SERVER, RunTask
from spraycc.wire.schema import Message
from tests import measured
from tests.system.harness import needs
from tests.system.harness.native import STRICT
from tests.system.harness.waiting import HANG_S, wait_until

HERE = Path(__file__).parent
FALLBACK = HERE.parents[2] / "spraycc" / "runner" / "fallback.py"
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
#: Processes that still run after these seconds count as left over.
LEAVE_S = 60.0
VERSION = "1.2.3"


def compile_c(target: Path, sources: Sequence[Path], *flags: str) -> Path:
    """The program; skips the test if there is no compiler."""
    needs.program("cc", package="gcc")
    try:
        subprocess.run(["cc", *flags, "-o", target, *sources], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as exc:
        pytest.fail(exc.stderr)
    return target


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds each kind of runner once."""
    made: dict[str, Path] = {}
    # All users can read it, as some tests stop being root.
    top = tmp_path_factory.mktemp("runners")

    def build(kind: str) -> Path:
        if kind in made:
            return made[kind]
        target = top / kind / "spraycc-run"
        target.parent.mkdir()
        if kind == "fallback":
            text = FALLBACK.read_text().replace("@VERSION@", VERSION)
            if measured.ENVIRONMENT:  # coverage must count the lines of the source file
                text = f"exec(compile({text!r}, {str(FALLBACK)!r}, 'exec'))\n"
            target.write_text(f"#!{sys.executable}\n{text}")
            target.chmod(0o755)
        else:
            how = ["-O2", "-static"] if kind == "native" else SANITIZE
            compile_c(target, sources_of(RUNNER), *STRICT, *how, f'-DSPRAYCC_VERSION="{VERSION}"')
        made[kind] = target
        return target

    return build


@pytest.fixture(scope="session")
def probe_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_c(tmp_path_factory.mktemp("probe") / "probe", [HERE / "probe.c"], *STRICT, "-O1", "-static")


@dataclass
class Report:
    """The report of probe.c."""

    argv: list[bytes] = field(default_factory=list)
    env: list[bytes] = field(default_factory=list)
    fds: dict[int, bytes] = field(default_factory=dict)
    signals: list[bytes] = field(default_factory=list)
    cwd: bytes = b""
    stdin: bytes = b""


class Conversation:
    """One runner's connection, seen from the server."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(HANG_S)
        reader = FrameReader()
        while (item := reader.next_item()) is None:
            data = sock.recv(1 << 20)
            assert data, "the runner left before its request was whole"
            reader.feed(data)
        assert not reader._buffer
        self.item: list[Any] = item
        task = TO_SERVER.unpack(item)
        assert isinstance(task, RunTask)
        self.task = task

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.sock.sendall(encode_frame(FROM_SERVER.pack(message)))

    def closed_by_peer(self) -> bool:
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.sock.close()


class FakeServer:
    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.path = directory / "socket"
        self.listener = socket.socket(socket.AF_UNIX)
        fd = os.open(directory, os.O_PATH)
        self.listener.bind(f"/proc/self/fd/{fd}/socket")  # the directory's path may be too long for an address
        os.close(fd)
        self.listener.listen(1024)
        self.listener.settimeout(HANG_S)
        self.conversations: list[Conversation] = []

    def accept(self) -> Conversation:
        conversation = Conversation(self.listener.accept()[0])
        self.conversations.append(conversation)
        return conversation

    def nobody_connected(self) -> bool:
        self.listener.setblocking(False)
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self.listener.settimeout(HANG_S)
        return False

    def die(self) -> None:
        """Like a killed process: everything is closed, the socket file stays."""
        self.listener.close()
        for conversation in self.conversations:
            conversation.close()


Env = Mapping[str | bytes, str | bytes]


class Harness:
    """A runner with an environment of its own. Directories: ``real`` with the real programs, ``shims`` with links to the
    runner, ``runtime`` of the server, and ``work``, the working directory."""

    def __init__(self, kind: str, runner: Path, probe: Path, top: Path) -> None:
        self.kind = kind
        self.runner = runner
        self.probe = probe
        self.top = top
        self.real, self.shims, self.work = top / "real", top / "shims", top / "work"
        self.report_file = top / "report"
        for directory in (self.real, self.shims, self.work):
            directory.mkdir()
        self.runtime = top / "runtime"
        self.started: list[subprocess.Popen[bytes]] = []
        self.servers: list[FakeServer] = []
        self.program("probe")
        #: the complete environment; tests add to it
        self.env: dict[bytes, bytes] = {
            b"PATH": os.fsencode(f"{self.shims}:{self.real}:/usr/bin:/bin"),
            b"PROBE_OUT": os.fsencode(self.report_file),
            # never the user's real runtime directory
            b"SPRAYCC_RUNTIME_DIR": os.fsencode(top / "last-resort"),
        }
        if kind == "fallback":
            self.env |= {name.encode(): value.encode() for name, value in measured.ENVIRONMENT.items()}

    @property
    def native(self) -> bool:
        return self.kind != "fallback"

    def program(self, name: str, script: str | None = None, directory: Path | None = None) -> Path:
        """A real program: the probe, or a shell script."""
        path = (directory or self.real) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if script is None:
            os.link(self.probe, path) if self._same_device(path) else path.write_bytes(self.probe.read_bytes())
        else:
            path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def _same_device(self, path: Path) -> bool:
        return path.parent.stat().st_dev == self.probe.stat().st_dev

    def shim(self, name: str, directory: Path | None = None) -> Path:
        path = (directory or self.shims) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.runner)
        return path

    def serve(self, build: str | None = "b1", directory: Path | None = None) -> FakeServer:
        """A server, and the environment of one of its builds."""
        server = FakeServer(directory or self.runtime)
        self.servers.append(server)
        self.env[b"SPRAYCC_SOCKET"] = os.fsencode(server.path)
        self.env[b"SPRAYCC_SHIMS"] = os.fsencode(self.shims)
        if build is not None:
            self.env[b"SPRAYCC_BUILD"] = build.encode()
            (server.directory / "builds" / build).mkdir(parents=True)
        return server

    def slots(self, count: int) -> list[Path]:
        directory = self.runtime / "slots"
        directory.mkdir(parents=True)
        paths = [directory / str(number) for number in range(count)]
        for path in paths:
            path.touch(0o600)
        return paths

    def start(
        self,
        *words: str | bytes,
        file: Path | None = None,
        env: Env | None = None,
        under: str | None = None,
        **more: Any,
    ) -> subprocess.Popen[bytes]:
        """Starts ``file`` (default: the launcher) with these words after it; ``under`` is shell code around ``"$@"``. With
        ``file``, the words are the whole argv."""
        argv = [os.fsencode(word) for word in words]
        complete = dict(self.env)
        complete.update({os.fsencode(k): os.fsencode(v) for k, v in (env or {}).items()})
        for stream in ("stdout", "stderr"):
            more.setdefault(stream, subprocess.PIPE)
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("cwd", self.work)
        if file is None:
            argv.insert(0, os.fsencode(self.runner))
        else:
            more["executable"] = file
        if under is not None:
            argv = [b"/bin/sh", b"-c", under.encode(), b"sh", *argv]
        process = subprocess.Popen(argv, env=complete, start_new_session=True, **more)
        self.started.append(process)
        return process

    def run(self, *words: str | bytes, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return finish(self.start(*words, **more))

    def report(self) -> Report:
        """The only report that a probe has made so far."""
        (report,) = self.reports()
        return report

    def reports(self) -> list[Report]:
        if not self.report_file.exists():
            return []
        reports = [Report()]
        for item in self.report_file.read_bytes().split(b"\0")[:-1]:
            tag, text, last = item[:1], item[1:], reports[-1]
            if tag == b"A":
                last.argv.append(text)
            elif tag == b"E":
                last.env.append(text)
            elif tag == b"F":
                number, _, target = text.partition(b"=")
                last.fds[int(number)] = target
            elif tag == b"S":
                last.signals.append(text)
            elif tag == b"C":
                last.cwd = text
            elif tag == b"I":
                last.stdin = text
            else:
                reports.append(Report())
        return reports[:-1]

    def tear_down(self) -> None:
        for server in self.servers:
            server.die()
        unfinished = [p for p in self.started if p.poll() is None]
        # A program that writes to a killed runner ends at its next write.
        end = time.monotonic() + LEAVE_S
        while (left := [pid for p in self.started for pid in session_members(p.pid)]) and time.monotonic() < end:
            time.sleep(0.005)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for process in self.started:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        assert not unfinished, "a runner was left running"
        assert not left, "processes were left behind"


def finish(process: subprocess.Popen[bytes]) -> subprocess.CompletedProcess[bytes]:
    out, err = process.communicate(timeout=HANG_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def session_members(session: int) -> list[int]:
    """Living processes of a session (each process of a test leads its own)."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
                if int(fields[3]) == session and fields[0] != b"Z":
                    members.append(int(entry.name))
    return members


@pytest.fixture(params=["native", "fallback", pytest.param("sanitized", marks=pytest.mark.slow)])
def harness(
    request: pytest.FixtureRequest, builder: Callable[[str], Path], probe_program: Path, tmp_path: Path
) -> Iterator[Harness]:
    tmp_path.chmod(tmp_path.stat().st_mode | stat.S_IXOTH)
    made = Harness(request.param, builder(request.param), probe_program, tmp_path)
    yield made
    made.tear_down()


@pytest.fixture(name="finish")
def finish_fixture() -> Callable[[subprocess.Popen[bytes]], subprocess.CompletedProcess[bytes]]:
    return finish


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[[Callable[[], Any]], Any]:
    return wait_until


@pytest.fixture(name="compile_c")
def compile_c_fixture() -> Callable[..., Path]:
    return compile_c
