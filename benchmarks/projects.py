"""Two real projects for measurements, as their makefiles build them: lua in C, and the library of RE2 in C++."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Place, upstream


@dataclass(frozen=True)
class Project:
    """Unpacked sources, and how make builds them. Runs make with the caller's environment."""

    name: str
    directory: Path
    targets: tuple[str, ...]
    #: the variable of the makefile that names the compiler, and the compiler
    compiler: tuple[str, str]

    def make(self, *words: str) -> list[str]:
        """The words of a build."""
        return ["make", *words, *self.targets]

    def compile_lines(self) -> list[list[str]]:
        """The words of each line that compiles a unit, as a dry run of make prints them."""
        self.clean({})
        out = subprocess.run(
            self.make("-n"), cwd=self.directory, check=True, text=True, stdout=subprocess.PIPE
        ).stdout  # fmt: skip
        lines = [line.split() for line in out.splitlines()]
        return [words for words in lines if words[:1] == [self.compiler[1]] and "-c" in words]

    def make_directories(self) -> None:
        """The directories that the makefile makes beside each compile line."""
        for target in self.targets:
            if target.endswith(".o"):
                (self.directory / target).parent.mkdir(parents=True, exist_ok=True)

    def clean(self, env: Mapping[str, str] | None) -> None:
        """Remove the build's files."""
        subprocess.run(["make", "clean"], cwd=self.directory, env=env or None, check=True, stdout=subprocess.DEVNULL)


def lua(place: Place) -> Project:
    """35 units of C."""
    return Project("lua", upstream("lua5.4", place.workspace) / "src", ("linux",), ("CC", "gcc"))


def re2(place: Place) -> Project:
    """20 units of C++, -O3 -g, without RE2's tests and the units that need Unicode's tables."""
    source = upstream("re2", place.workspace)
    units = [*sorted(source.glob("re2/*.cc")), source / "util/rune.cc", source / "util/strutil.cc"]
    targets = tuple(f"obj/{unit.relative_to(source).with_suffix('.o')}" for unit in units)
    return Project("re2", source, targets, ("CXX", "g++"))
