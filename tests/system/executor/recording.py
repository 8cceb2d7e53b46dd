"""Runs commands with the recorder: shared code of its tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hatch_build import LIBRARY, LIBRARY_END, LIBRARY_FLAGS, sources_of
from spraycc.executor.recorder import Accesses, RecordFile, environment
from tests.system.harness.native import STRICT
from tests.system.harness.waiting import HANG_S

HERE = Path(__file__).resolve().parent
#: The environment of the tests' commands.
PLAIN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled like in the build hook, with all warnings."""
    path = tmp_path_factory.mktemp("recorder") / LIBRARY
    subprocess.run(["cc", *STRICT, *LIBRARY_FLAGS, *sources_of(LIBRARY), "-o", path, *LIBRARY_END], check=True)
    return path


def exported(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    # The linker's marks of a section's bounds.
    return {line.split()[2] for line in lines.splitlines()} - {"__start_spraycc_reals", "__stop_spraycc_reals"}


def compiled(directory: Path, name: str, *words: str) -> Path:
    source, program = str(HERE / f"{name}.c"), directory / name
    subprocess.run(["cc", *STRICT, source, "-o", str(program), "-pthread", *words], check=True)
    return program


def shared(path: Path, text: str, *words: str | Path) -> Path:
    """A library from this C text."""
    path.with_suffix(".c").write_text(text)
    command = ["cc", *STRICT, "-fPIC", "-shared", path.with_suffix(".c"), "-o", path, *words]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("program"), "recorder_program")


@dataclass
class Recorder:
    """Runs commands in ``work`` with the recorder."""

    work: Path
    library: Path
    file: RecordFile

    def env(self, **changes: str) -> dict[bytes, bytes]:
        entries = [os.fsencode(f"{name}={value}") for name, value in {**PLAIN, **changes}.items()]
        recorded = environment(entries, bytes(self.library), self.file.path)
        return dict(entry.split(b"=", 1) for entry in recorded)

    def run(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command after the record was emptied."""
        self.file.reset()
        return subprocess.run(argv, cwd=cwd or self.work, env=self.env(**changes), stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG_S)  # fmt: skip

    def reads(self, *argv: str | Path, cwd: Path | None = None, **changes: str) -> Accesses:
        """The record of a command that must succeed and print nothing."""
        done = self.run(*argv, cwd=cwd, **changes)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return self.file.read()

    def run_alike(self, command: list[str | Path], **changes: str) -> bool:
        """Checks that the command runs as without the recorder. Returns whether the record is complete."""
        done = self.run(*command, cwd=None, **changes)
        without = plain(command, self.work, **changes)
        assert (done.returncode, done.stdout, done.stderr) == (without.returncode, without.stdout, without.stderr)
        return self.file.read().complete

    def lookup(self, kind: str, path: str) -> bytes:
        return os.fsencode(f"{kind}{self.work}/{path}")


def plain(argv: list[str | Path], work: Path, **changes: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv, cwd=work, env={**PLAIN, **changes}, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG_S
    )


@pytest.fixture
def recorder(tmp_path: Path, library: Path) -> Iterator[Recorder]:
    (tmp_path / "work").mkdir()
    file = RecordFile(bytes(tmp_path / "record"))
    yield Recorder(tmp_path / "work", library, file)
    file.close()


def stamps_of(reads: Accesses) -> dict[bytes, bytes]:
    return {lookup: stamp for lookup, stamp, is_write in reads.entries if not is_write}


def products_of(reads: Accesses) -> set[bytes]:
    return {lookup for lookup, _, is_write in reads.entries if is_write}
