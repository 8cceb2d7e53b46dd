"""A copy of the installation that a test may change or break."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import spraycc
from tests.system.harness.sandbox import Sandbox

PACKAGE = Path(spraycc.__file__).resolve().parent


class Installed:
    """The copy, in the form of ``pip install --target``, or in a directory ``packages`` of the prefix."""

    def __init__(
        self, sandbox: Sandbox, python: str | Path = sys.executable, packages: str = "", name: str = "installed"
    ) -> None:
        self.root = sandbox.aside / name
        self.bin = self.root / "bin"
        self.bin.mkdir(parents=True)
        #: the copy of the package
        self.package = self.root / packages / "spraycc"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("native", "__pycache__"))
        for program in ("spraycc", "spraycc-run", "spraycc-main", "spraycc-box"):
            shutil.copy(sandbox.bin / program, self.bin)
        shutil.copytree(sandbox.bin.parent / "lib" / "spraycc", self.root / "lib" / "spraycc")
        self.spraycc = self.bin / "spraycc"
        self.main = self.bin / "spraycc-main"
        self.name_interpreter(f"#!{python}\n")
        sandbox.give(self.root)

    def name_interpreter(self, lines: str) -> None:
        """Give the script these first lines."""
        self.main.write_text(lines + (PACKAGE / "cli" / "command_script.py").read_text())
        self.main.chmod(0o755)
