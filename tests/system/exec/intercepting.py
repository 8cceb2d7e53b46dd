"""Runs commands with the library that intercepts executions: shared code of its tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hatch_build import EXEC_LIBRARY, LIBRARY_END, LIBRARY_FLAGS, sources_of
from spraycc.commands.interception import configuration, variables
from tests.system.harness.native import STRICT
from tests.system.harness.waiting import HANG_S

HERE = Path(__file__).resolve().parent
#: The environment of the tests' commands.
PLAIN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
#: The runner's output ends with this status.
RUNNER_STATUS = 42

Done = subprocess.CompletedProcess[bytes]


def compile_library(path: Path, compiler: str = "cc", *flags: str) -> Path:
    """The library, compiled like in the build hook, with all warnings."""
    command: list[str | Path] = [
        compiler,
        *STRICT,
        *LIBRARY_FLAGS,
        *flags,
        *sources_of(EXEC_LIBRARY),
        "-o",
        path,
        *LIBRARY_END,
    ]
    subprocess.run(command, check=True)
    return path


#: A library with a sanitizer's own library could not be preloaded. So undefined behaviour is a trap.
TRAPS = ("clang", "-fsanitize=undefined", "-fsanitize-trap=undefined")


@pytest.fixture(scope="session", params=[("cc",), pytest.param(TRAPS, marks=pytest.mark.slow)], ids=["plain", "traps"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("exec") / EXEC_LIBRARY, *request.param)


def compiled(directory: Path, name: str, *words: str, compiler: str = "cc") -> Path:
    source, program = str(HERE / f"{name}.c"), directory / name
    subprocess.run([compiler, *STRICT, source, "-o", str(program), "-pthread", *words], check=True)
    return program


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("calls"), "calls")


@pytest.fixture(scope="session")
def fake_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program, like the runner."""
    return compiled(tmp_path_factory.mktemp("runner"), "fake_runner", "-static")


@dataclass
class Interception:
    """Runs commands in ``work``, which is in the workspace ``ws``, with the library."""

    top: Path
    library: Path
    runner: Path
    wrap: Sequence[str] = ()
    never: Sequence[str] = ()
    work: Path = field(init=False)
    ws: Path = field(init=False)

    def __post_init__(self) -> None:
        self.ws = self.top / "ws"
        self.work = self.ws / "work"
        self.work.mkdir(parents=True)
        (self.top / "outside").mkdir()
        # Runners without a server use the slots beside the socket. Without slots they would use those of the user.
        (self.socket.parent / "slots").mkdir(parents=True)
        for number in range(3):
            (self.socket.parent / "slots" / str(number)).touch(0o600)
        self.configure()

    @property
    def socket(self) -> Path:
        """The server's socket, which is missing."""
        return self.top / "run" / "socket"

    @property
    def file(self) -> Path:
        return self.top / "intercept"

    def configure(self, **changes: Path | Sequence[str]) -> None:
        """Write the configuration, after attributes were changed."""
        for name, value in changes.items():
            setattr(self, name, value)
        text = configuration(
            runner=bytes(self.runner),
            library=bytes(self.library),
            workspace=bytes(self.ws.resolve()),
            wrap=self.wrap,
            never=self.never,
        )
        self.file.write_bytes(text)

    def env(self, **changes: str) -> dict[str, str]:
        """A build's environment. A change in capitals is a variable."""
        given = {**PLAIN, "SPRAYCC_SOCKET": str(self.socket), "SPRAYCC_BUILD": "b1", **changes}
        ours = variables(
            {os.fsencode(n): os.fsencode(v) for n, v in given.items()}, bytes(self.library), bytes(self.file)
        )
        return given | {os.fsdecode(name): os.fsdecode(value) for name, value in ours.items()}

    def run(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> Done:
        return _run(argv, cwd or self.work, self.env(**changes))

    def plain(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> Done:
        return _run(argv, cwd or self.work, {**PLAIN, **changes})

    def run_alike(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> Done:
        """Checks that the command runs as without the library."""
        done, without = self.run(*argv, cwd=cwd, **changes), self.plain(*argv, cwd=cwd, **changes)
        assert (done.returncode, done.stdout, done.stderr) == (without.returncode, without.stdout, without.stderr)
        return done

    def got(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> list[str]:
        """The programs that runners got from the command, in the order of their output."""
        done = self.run(*argv, cwd=cwd, **changes)
        return programs(done)


def _run(argv: Sequence[str | Path], cwd: Path, env: dict[str, str]) -> Done:
    return subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG_S)


def programs(done: Done) -> list[str]:
    lines = done.stdout.decode(errors="replace").splitlines()
    return [line.removeprefix("SPRAYCC_PROGRAM=") for line in lines if line.startswith("SPRAYCC_PROGRAM=")]


@pytest.fixture
def interception(tmp_path: Path, library: Path, fake_runner: Path) -> Interception:
    return Interception(tmp_path, library, fake_runner)
