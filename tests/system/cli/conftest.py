"""A project, an installed command and a fake server, all in the test's own directory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spraycc import runtime_dir
from tests import measured
from tests.system.cli.fake_server import FakeServer

ROOT = Path(__file__).resolve().parents[3]


def wait_until(condition: Callable[[], Any]) -> None:
    """Return once ``condition()`` is true. The limit only ends a test that hangs."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.01)


class Setup:
    """Runs the command line like a user."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.project = base / "project"
        self.bin = base / "bin"
        self.tools = base / "tools"
        for directory in (self.project, self.bin, self.tools):
            directory.mkdir()
        (self.project / ".git").mkdir()
        self.script(
            self.bin / "spraycc",
            f"#!{sys.executable}",
            "import sys",
            "from spraycc.cli.main import main",
            "sys.exit(main())",
        )
        # Found only if none is installed beside this Python.
        self.script(
            self.bin / "spraycc-run",
            "#!/bin/sh",
            "while [ $# -gt 0 ]; do case $1 in --) shift; break;; --*) shift;; *) break;; esac; done",
            'exec "$@"',
        )
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SPRAYCC_", "XDG_", "MAKE", "MFLAGS"))
        } | {
            "SPRAYCC_RUNTIME_DIR": str(base / "r"),
            "XDG_DATA_HOME": str(base / "data"),
            "XDG_STATE_HOME": str(base / "state"),
            "XDG_CONFIG_HOME": str(base / "config"),
            "XDG_CONFIG_DIRS": str(base / "site"),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{self.tools}:/usr/bin:/bin",
        }
        if measured.KEPT:
            self.env["SPRAYCC_KEPT_VARIABLES"] = " ".join(measured.KEPT)
        self.directory = Path(os.fsdecode(runtime_dir.locate(os.fsencode(self.project.resolve()), self.env)))

    @staticmethod
    def script(path: Path, *lines: str) -> Path:
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o755)
        return path

    def tool(self, name: str, *lines: str) -> Path:
        """A program on PATH, a shell script."""
        return self.script(self.tools / name, "#!/bin/sh", *lines)

    def argv(self, *words: str | bytes) -> list[Any]:
        return [self.bin / "spraycc", *words]

    def run(
        self, *words: str | bytes, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words),
            cwd=options.pop("cwd", self.project),
            env=self.env | (env or {}),
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def start(self, *words: str | bytes, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words), cwd=self.project, env=self.env | (env or {}), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def server(self, **options: Any) -> FakeServer:
        return FakeServer(self.directory, **options)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


@pytest.fixture
def server(setup: Setup) -> Iterator[FakeServer]:
    with setup.server() as fake:
        yield fake
