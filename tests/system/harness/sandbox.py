"""One end-to-end test's own user, home, runtime directory and workspace, and the search for leftovers at its end."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spraycc.notices import starting
from tests import measured
from tests.system.harness.needs import TEST_USER, overlay_refusal
from tests.system.harness.waiting import HANG_S, wait_until

TESTS = Path(__file__).resolve().parents[2]
TOOLS = TESTS / "tools"
EXAMPLES = TESTS.parent / "examples"

#: In the environment of every process that a sandbox starts. Variables named SPRAYCC_… are not sent to executors.
MARKER = "E2E_SANDBOX"

TEST_GROUP = "spraycc-proj"

#: The server's and an executor's command line.
_MODULE = re.compile(r" -m spraycc\.(server|executor)\b|/spraycc/executor/start\.py ")

_TRACEBACK = re.compile(rb"Traceback \(most recent call last\):")

#: The last line of a traceback of an interpreter that has too little memory, or no free file table. Also during its start.
#: It matches anywhere in a line: an interpreter writes a fatal error in pieces, and other processes write lines between them.
_OUT_OF_MEMORY = re.compile(
    rb"(?<!['\"])(?:MemoryError\b|OSError: \[Errno (?:12|23)\]|ImportError: .*(?:failed to map segment|annot allocate memory))"
)


def internal_error(log: bytes, *, short_of_memory: bool) -> bool:
    """Whether a log has a traceback. With `short_of_memory`, tracebacks that end with a lack of memory do not count.

    The function counts both patterns, as executors that start at the same time mix their lines.
    """
    tracebacks = len(_TRACEBACK.findall(log))
    return tracebacks > (len(_OUT_OF_MEMORY.findall(log)) if short_of_memory else 0)


@dataclass(frozen=True)
class Account:
    """The user that the commands run as."""

    name: str
    uid: int
    gid: int
    home: Path
    #: a supplementary group that the workspace belongs to, as on clusters; None if the user has none
    group: int | None

    @property
    def is_me(self) -> bool:
        return self.uid == os.geteuid()

    @classmethod
    def mine(cls) -> Account:
        entry = pwd.getpwuid(os.geteuid())
        others = [group for group in os.getgroups() if group != os.getegid()]
        group = others[0] if others and os.geteuid() != 0 else None
        return cls(entry.pw_name, entry.pw_uid, os.getegid(), Path(entry.pw_dir), group)

    @classmethod
    def unprivileged(cls) -> Account:
        """This user; for root, the test user, which is created if it is missing."""
        if os.geteuid() != 0:
            return cls.mine()
        return cls.named(TEST_USER)

    @classmethod
    def named(cls, name: str) -> Account:
        """A user for tests, created if it is missing. Only root may call this."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            subprocess.run(["groupadd", "--force", TEST_GROUP], check=True)
            subprocess.run(["useradd", "--create-home", "--groups", TEST_GROUP, name], check=True)
            entry = pwd.getpwnam(name)
        group = grp.getgrnam(TEST_GROUP).gr_gid
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), group)

    def command(self, argv: Sequence[str | bytes | Path]) -> list[str | bytes | Path]:
        """``argv`` as it must be started to run as this user."""
        if self.is_me:
            return list(argv)
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--", *argv]


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    argv: tuple[str | bytes | Path, ...]
    status: int
    out: bytes
    err: bytes
    #: the build's figures (--summary); empty for a plain command
    figures: dict[str, Any] = field(default_factory=dict)

    def ok(self) -> Finished:
        """Returns itself. If the command failed, fails the test and shows the command's output."""
        assert self.status == 0, f"{self.argv} ended with {self.status}\n{self.words()}"
        return self

    def words(self) -> str:
        return f"--- stdout\n{_tail(self.out)}\n--- stderr\n{_tail(self.err)}\n--- figures {self.figures}"

    def own_lines(self) -> list[str]:
        """SprayCC's own lines on stderr, without the one that only tells of a busy host."""
        lines = self.err.decode(errors="replace").splitlines()
        return [line for line in lines if line.startswith("spraycc") and _SLOW_START not in line]


_SLOW_START = starting.SERVER_IS_SLOW.words.partition(";")[0]


def _tail(data: bytes, size: int = 4000) -> str:
    return data[-size:].decode(errors="replace")


@dataclass(frozen=True)
class Process:
    """A living process, as /proc shows it."""

    pid: int
    parent: int
    state: str
    command: str
    #: its environment, its command line or its parent shows that it belongs to this sandbox
    marked: bool


def processes_of(uid: int) -> Iterator[tuple[Process, bytes | None]]:
    """All living processes of a user except this process, not yet marked, each with its environment.

    The environment is None if this user can't read it: while the process is about to execute a program, and always for some
    foreign processes.
    """
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.stat().st_uid != uid:
                continue
            directory = Path(entry.path)
            command = (directory / "cmdline").read_bytes()
            fields = (directory / "stat").read_text(errors="replace").rpartition(") ")[2].split()
            try:
                environment = (directory / "environ").read_bytes()
            except PermissionError:
                environment = None
        except OSError:  # it has just ended
            continue
        if fields[0] not in "ZX":
            shown = command.replace(b"\0", b" ").decode(errors="replace").strip()
            yield Process(int(entry.name), int(fields[1]), fields[0], shown, False), environment


def program(name: str) -> Path:
    """An installed program of the environment under test: in the directory E2E_BIN, or else beside this Python."""
    directory = Path(os.environ.get("E2E_BIN") or Path(sys.executable).parent)
    path = directory / name
    assert path.exists(), f"{path} does not exist: install the project ('pip install .[test]'), or set E2E_BIN"
    return path


class Sandbox:
    """Directories, environment and commands of one test. ``close()`` stops the server and fails if anything is left."""

    def __init__(self, account: Account, base: Path | None = None) -> None:
        self.account = account
        parent = os.environ.get("E2E_DIR", "/var/tmp")
        self.base = base or Path(tempfile.mkdtemp(prefix="spraycc-e2e-", dir=parent)).resolve()
        self.workspace = self.base / "ws"
        self.home = self.base / "home"
        self.runtime = self.base / "run"
        self.scratch = self.base / "scratch"
        self.temp = self.base / "tmp"
        #: for the test's own files, outside the workspace: copies of trees, logs, gates
        self.aside = self.base / "aside"
        self.tools = self.base / "tools"
        self.bin = program("spraycc").parent
        #: directories that come first on PATH
        self.path_front: list[Path] = []
        self.settings: dict[str, str] = {
            "SPRAYCC_RUNTIME_DIR": str(self.runtime),
            "SPRAYCC_SCRATCH_DIR": str(self.scratch),
            # Executors on this host, with cluster local, so that tests go the whole way: dispatch, capture, link and
            # write-back. By default cluster local has no executors: tests of that drop the variable (`without_executors`).
            "SPRAYCC_CAPTURE": "predict" if overlay_refusal(account.uid) else "overlay",
            # Long times, so that no time limit expires on a busy machine. A test of a time limit sets its own.
            "SPRAYCC_LOST_AFTER_S": "200",
            "SPRAYCC_PENDING_GRACE_S": "200",
            "SPRAYCC_RELEASE_DELAY_S": "600",
            "SPRAYCC_IDLE_SHUTDOWN_S": "600",
            # On a busy machine a build may last long enough for a line of progress. Tests of the line set their own value.
            "SPRAYCC_PROGRESS": "none",
            # Server and executors keep no other variables that only tests have.
            "SPRAYCC_KEPT_VARIABLES": " ".join([MARKER, *measured.KEPT]),
        }
        #: the test made interpreters run out of memory: their tracebacks are no internal errors
        self.short_of_memory = False
        #: processes that still run after these seconds count as left over
        self.leave_s = 60.0
        #: the test caused internal errors: tracebacks are expected
        self.expects_tracebacks = False
        self._summaries = 0
        self._before = {process.pid for process in self._mine()}
        self.base.chmod(0o755)
        for directory in (self.workspace, self.home, self.runtime, self.scratch, self.temp, self.aside):
            directory.mkdir(exist_ok=True)
        for directory in (self.home, self.runtime, self.scratch, self.temp):
            directory.chmod(0o700)
        if not self.tools.exists():  # the test user may be unable to read the checkout
            shutil.copytree(TOOLS, self.tools)
        (self.workspace / ".spraycc.toml").touch()
        self.give(self.base)
        self.give(self.workspace)

    def environment(self, extra: Mapping[str, str | bytes] | None = None) -> dict[bytes, bytes]:
        """A login's small environment, this sandbox's settings, and ``extra``."""
        plain: dict[str, str | bytes] = {
            "PATH": os.pathsep.join([*map(str, self.path_front), str(self.bin), "/usr/local/bin", "/usr/bin", "/bin"]),
            "HOME": str(self.home),
            "USER": self.account.name,
            "LOGNAME": self.account.name,
            "SHELL": "/bin/sh",
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.temp),
            MARKER: str(self.base),
            **measured.ENVIRONMENT,
            **self.settings,
            **(extra or {}),
        }
        return {os.fsencode(name): os.fsencode(value) for name, value in plain.items()}

    def give(self, path: Path) -> None:
        """Gives ``path`` and everything below it to the test user; in the workspace, also to the project group."""
        gid, shared = self.account.gid, False
        if self.account.group is not None and path.is_relative_to(self.workspace):
            gid, shared = self.account.group, True
        for directory, _, files in os.walk(path):
            os.chown(directory, self.account.uid, gid)
            if shared:
                os.chmod(directory, os.stat(directory).st_mode | stat.S_ISGID | 0o070)
            for name in files:
                os.chown(os.path.join(directory, name), self.account.uid, gid, follow_symlinks=False)

    def write(self, files: Mapping[str, str | bytes], below: Path | None = None, mode: int = 0o644) -> Path:
        """Writes files with names relative to ``below`` (default: the workspace); returns ``below``."""
        top = below or self.workspace
        for name, text in files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)
            path.chmod(mode)
        self.give(top)
        return top

    def without_executors(self) -> None:
        """From now on builds have the default of cluster local: this host runs all commands."""
        del self.settings["SPRAYCC_CAPTURE"]

    def read_only_workspace(self) -> None:
        """From now on the workspace is read-only for every executor: only the submit host can write to it."""
        wrapper = self.tools / "read-only-workspace"
        self.settings["SPRAYCC_EXECUTOR_PREFIX"] = shlex.join([str(wrapper), str(self.workspace)])

    @contextlib.contextmanager
    def start(
        self,
        argv: Sequence[str | bytes | Path],
        cwd: Path | None = None,
        env: Mapping[str, str | bytes] | None = None,
        **popen: Any,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Starts a command as the sandbox's user, in the workspace. If the test fails before the end, kills the command."""
        popen.setdefault("stdin", subprocess.DEVNULL)
        command = self.account.command(argv)
        environment = self.environment(env)
        with subprocess.Popen(command, cwd=cwd or self.workspace, env=environment, umask=0o022, **popen) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def run(
        self,
        *argv: str | bytes | Path,
        cwd: Path | None = None,
        env: Mapping[str, str | bytes] | None = None,
        timeout_s: float = HANG_S,
        merge: bool = False,
    ) -> Finished:
        """Runs a command to its end. With ``merge``, stderr is the same pipe as stdout: ``out`` has both."""
        pipe = subprocess.PIPE
        with self.start(argv, cwd, env, stdout=pipe, stderr=subprocess.STDOUT if merge else pipe) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=HANG_S)
                raise AssertionError(f"{argv} was not done after {timeout_s} s\n{self.describe()}") from None
        return Finished(argv, process.returncode, out, err or b"")

    def build(
        self,
        *argv: str | bytes | Path,
        options: Sequence[str] = (),
        executors: int = 2,
        local_slots: int = 1,
        cwd: Path | None = None,
        env: Mapping[str, str | bytes] | None = None,
        timeout_s: float = HANG_S,
        merge: bool = False,
    ) -> Finished:
        """Runs ``spraycc OPTIONS ARGV`` and returns its figures too; checks that all tokens of the build have come back."""
        command, summary = self.build_command(argv, options, executors, local_slots)
        finished = self.run(*command, cwd=cwd, env=env, timeout_s=timeout_s, merge=merge)
        figures = self.figures(summary)
        return Finished(finished.argv, finished.status, finished.out, finished.err, figures)

    def build_command(
        self,
        argv: Sequence[str | bytes | Path],
        options: Sequence[str] = (),
        executors: int = 2,
        local_slots: int = 1,
    ) -> tuple[list[str | bytes | Path], Path]:
        """The command line of a build, and the file that will hold its summary."""
        self._summaries += 1
        summary = self.temp / f"summary-{self._summaries}.json"
        numbers = ["--executors", str(executors), "--local-slots", str(local_slots)]
        return [self.bin / "spraycc", *numbers, "--summary", str(summary), *options, *argv], summary

    def figures(self, summary: Path) -> dict[str, Any]:
        """A build's figures; empty if it wrote none. All its tokens must have come back, if a server lived to count them."""
        if not summary.exists():
            return {}
        figures: dict[str, Any] = json.loads(summary.read_bytes())
        if "tokens_issued" in figures:
            assert figures["tokens_free_at_end"] == figures["tokens_issued"], figures
        return figures

    def status(self) -> dict[str, Any]:
        """``spraycc status --json``; empty if no server runs."""
        finished = self.run(self.bin / "spraycc", "status", "--json")
        figures: dict[str, Any] = json.loads(finished.out) if finished.out.strip() else {}
        return figures if figures.get("server") else {}

    def wait_for(self, what: str, condition: Callable[[], Any], timeout_s: float = HANG_S) -> Any:
        """Calls ``condition`` until it returns a true value, and returns that; fails the test if it never does."""
        return wait_until(condition, what, self.describe, timeout_s)

    def busy_executors(self) -> list[dict[str, Any]]:
        """The executors that run a task now, as status shows them."""
        return [executor for executor in self.status().get("executors", []) if executor["task"] is not None]

    def wait_for_busy_executors(self, count: int) -> list[dict[str, Any]]:
        """Waits until at least ``count`` executors run a task each."""

        def enough() -> list[dict[str, Any]] | None:
            busy = self.busy_executors()
            return busy if len(busy) >= count else None

        busy: list[dict[str, Any]] = self.wait_for(f"{count} executors run a task", enough)
        return busy

    def executor_counters(self) -> list[dict[str, Any]]:
        """The counters of the executors that have ended, from their logs."""
        counters = []
        for log in (self.home / ".local/state").rglob("executor-*.log"):
            for line in log.read_text(errors="replace").splitlines():
                _, found, text = line.partition("counters ")
                if found and text.startswith("{"):
                    counters.append(json.loads(text))
        return counters

    def processes(self) -> list[Process]:
        """All living processes that this sandbox has started."""
        return [process for process in self._mine() if process.pid not in self._before]

    def _mine(self) -> Iterator[Process]:
        base = os.fsencode(self.base)
        # In a serial run in CI, all processes of the test user belong to this sandbox. With several pytest workers, a
        # process without a marker may belong to another worker's test: tests/system/conftest.py searches for such
        # processes at the end of the whole run.
        only_tests = self.account.name == TEST_USER and "CI" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ
        unmarked: dict[int, Process] = {}
        found: list[Process] = []
        for process, environment in processes_of(self.account.uid):
            marked = base in (environment or b"") or str(self.base) in process.command
            of_a_sandbox = f"{MARKER}=".encode() in (environment or b"")
            if marked or (only_tests and environment is not None and not of_a_sandbox):
                found.append(replace(process, marked=marked))
            elif not of_a_sandbox:
                unmarked[process.pid] = process
        # The children of a marked process belong to its sandbox, even with an empty environment.
        mine = {process.pid for process in found if process.marked}
        while below := [process for process in unmarked.values() if process.parent in mine]:
            for process in below:
                mine.add(process.pid)
                found.append(replace(unmarked.pop(process.pid), marked=True))
        yield from found

    def strangers(self) -> list[Process]:
        """Processes that are neither the warm server nor its idle executors."""
        processes = self.processes()
        own = {process.pid for process in processes if _MODULE.search(process.command)}
        # An executor may keep a helper process ready.
        return [p for p in processes if p.pid not in own and not (p.parent in own and "spraycc" in p.command)]

    def describe(self) -> str:
        """The processes and the last lines of all logs, for the message of a failure."""
        text = "\n".join(f"{p.pid} {p.parent} {p.state} {p.command[:200]}" for p in self.processes())
        for log in sorted(self.home.rglob("*.log")):
            text += f"\n--- {log}\n{_tail(log.read_bytes(), 2000)}"
        return text

    def left_files(self) -> list[str]:
        """Sockets, fifos, temporary files and mounts that must be gone when the server has ended."""
        left = []
        for top in (self.runtime, self.workspace):
            for directory, names, files in os.walk(top):
                for name in (*names, *files):
                    path = os.path.join(directory, name)
                    mode = os.lstat(path).st_mode
                    temporary = ".spraycc" in name and name != ".spraycc.toml"
                    if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode) or temporary:
                        left.append(path)
        # The user's own directory and the lock for tidying it stay, in the scratch directory and in TMPDIR.
        kept = {
            base / f"spraycc-{uid}{lock}"
            for base in (self.scratch, self.temp)
            for uid in (self.account.uid, 0)  # the user is 0 in a user namespace
            for lock in ("", "/lock")
        }
        # The host's copy of the pack stays, too.
        packs = self.scratch / f"spraycc-packs-{self.account.uid}"
        paths = [*self.scratch.rglob("*"), *self.temp.glob("*spraycc*"), *self.temp.glob("*spraycc*/*")]
        left += [str(path) for path in paths if path not in kept and not path.is_relative_to(packs)]
        left += [str(path) for path in self.home.rglob("session-*.json")]  # they hold a secret
        mounts = Path("/proc/self/mountinfo").read_text()
        left += [line for line in mounts.splitlines() if str(self.base) in line.split()[4]]
        return left

    def _wait_for_none(self, find: Callable[[], list[Process]]) -> list[Process]:
        """Waits until ``find`` finds no process, at most ``leave_s``; returns the processes that are left."""
        end = time.monotonic() + self.leave_s
        while (found := find()) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def stop(self) -> None:
        """Stops the server and its executors, and waits until all processes are gone."""
        self.run(self.bin / "spraycc", "server", "stop", "--now")
        self._wait_for_none(self.processes)

    def close(self) -> None:
        """Stops the server, searches for leftovers and for internal errors in the logs, and removes the sandbox.

        Raises:
            AssertionError: Something was found. The message names each thing.
        """
        problems = []
        description = ""
        try:
            strangers = self._wait_for_none(self.strangers)
            problems += [f"still running beside the server: {process}" for process in strangers]
            self.stop()
            problems += [f"still running after the server's stop: {process}" for process in self.processes()]
            problems += [f"left behind: {path}" for path in self.left_files()]
            for log in self.home.rglob("*.log"):
                text = log.read_bytes()
                if internal_error(text, short_of_memory=self.short_of_memory) and not self.expects_tracebacks:
                    text = text[text.index(b"Traceback") :]
                    problems.append(f"an internal error in {log}:\n{text[:6000].decode(errors='replace')}")
            description = self.describe() if problems else ""
        finally:
            for process in self.processes():
                if process.marked:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)
            if not os.environ.get("E2E_KEEP"):
                # An overlay's work directories have no permissions at all.
                subprocess.run(["chmod", "-R", "u+rwX", self.base], check=False, stderr=subprocess.DEVNULL)
                shutil.rmtree(self.base, ignore_errors=True)
        assert not problems, "\n".join([*problems, description])
