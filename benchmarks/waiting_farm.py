"""A project of many units, and the compiler that waits: a farm of hundreds of slots that two cores can carry.

The compiler (waiting_compiler.c) sleeps for the recorded time of a unit and writes an object of the recorded size. The
rest is real: sources and headers, the preprocessor, the tools' clients and daemons, the links, the objects on disk.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recorded_units import Unit

#: The real compiler; its preprocessor's work is done where a tool preprocesses.
REAL = "/usr/bin/g++"
#: Headers of the project itself, and how many functions each declares.
_HEADERS, _FUNCTIONS = 100, 40
_LIBRARY = ("algorithm", "functional", "map", "memory", "optional", "set", "string", "unordered_map", "vector")
_OPTIONS = ("-std=c++17", "-O2", "-g1", "-Iinclude")

_MAKEFILE = """objects := $(patsubst %,$(OUT)/u%.o,$(shell seq -w 0 {last}))
all: $(objects)
$(OUT)/%.o: %.cc
\t@$(CXX) {options} $(of-$*) -c $< -o $@
"""


#: Makes an object of 2.5 MB, with debug information as the units have it.
_CONTENTS = """#include <iostream>
#include <map>
#include <regex>
bool narrow(const std::string &s) { return std::regex_match(s, std::regex("[a-z]+(x|y)*")); }
bool wide(const std::wstring &s) { return std::regex_match(s, std::wregex(L"[a-z]+(x|y)*")); }
"""


@dataclass(frozen=True)
class WaitingFarm:
    """The files of a farm. They are readable for all, because daemons have users of their own."""

    #: the project
    directory: Path
    #: holds the compiler under the name g++
    path_front: Path
    #: icecream's archive with the compiler
    toolchain: Path
    units: Sequence[Unit]

    def make(self, compiler: str, out: str, slots: int, count: int | None = None) -> list[str]:
        """The words of a build of all units, or of the first ``count``, into the new directory ``out``."""
        Path(out).mkdir()
        targets = ["all"] if count is None else [str(self._object(out, number)) for number in range(count)]
        return ["make", f"-j{slots}", f"CXX={compiler}", f"OUT={out}", *targets]

    def wrong(self, out: str) -> list[str]:
        """Objects that are missing or have another size than recorded."""
        found = []
        for number, unit in enumerate(self.units):
            path = self._object(out, number)
            size = path.stat().st_size if path.exists() else -1
            if size != unit.size_bytes:
                found.append(f"{path.name}: {size} of {unit.size_bytes} bytes")
        return found

    def _object(self, out: str, number: int) -> Path:
        return Path(out, f"u{number:0{_digits(self.units)}}.o")


def _digits(units: Sequence[Unit]) -> int:
    return len(str(len(units) - 1))


@contextlib.contextmanager
def waiting_farm(units: Sequence[Unit]) -> Iterator[WaitingFarm]:
    """Make the farm's files in a new directory, which is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="spraycc-farm-", dir="/var/tmp"))
    try:
        root.chmod(0o755)
        directory, path_front, toolchain = root / "ws", root / "bin", root / "toolchain.tar.gz"
        path_front.mkdir()
        _write_project(directory, units)
        _compile(root, directory, path_front / "g++")
        # distcc gives the compiler this name for its hosts.
        triple = subprocess.run([REAL, "-dumpmachine"], check=True, capture_output=True, text=True).stdout.strip()
        (path_front / f"{triple}-g++").hardlink_to(path_front / "g++")
        _pack(path_front / "g++", toolchain)
        yield WaitingFarm(directory, path_front, toolchain, units)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _write_project(directory: Path, units: Sequence[Unit]) -> None:
    (directory / "include").mkdir(parents=True)
    (directory / ".spraycc.toml").touch()
    for number in range(_HEADERS):
        lines = [f"int f{number}_{n}(const std::vector<std::string> &words, int n);" for n in range(_FUNCTIONS)]
        text = "#pragma once\n#include <string>\n#include <vector>\n" + "\n".join(lines) + "\n"
        (directory / f"include/h{number}.h").write_text(text)
    includes = [f"#include <{name}>" for name in _LIBRARY] + [f'#include "h{n}.h"' for n in range(_HEADERS)]
    for number, unit in enumerate(units):
        lines = [f"#pragma waiting_compiler {unit.seconds * 1e6:.0f} {unit.size_bytes}", *includes]
        lines += [f"int unit{number}(const std::map<int, std::string> &names) {{ return int(names.size()); }}", ""]
        (directory / f"u{number:0{_digits(units)}}.cc").write_text("\n".join(lines))
    # All tools have the same command lines. The macros are for SprayCC's simulated executors.
    lines = [
        f"of-u{number:0{_digits(units)}} := -DSIMULATED_S={unit.seconds} -DSIMULATED_BYTES={unit.size_bytes}\n"
        for number, unit in enumerate(units)
    ]
    makefile = _MAKEFILE.format(last=len(units) - 1, options=" ".join(_OPTIONS))
    (directory / "Makefile").write_text("".join(lines) + makefile)


def _compile(root: Path, project: Path, program: Path) -> None:
    """Compile the compiler. It holds a real object, so that the objects can be compressed as well as real objects."""
    source, contents = root / "contents.cc", root / "contents.o"
    source.write_text(_CONTENTS)
    subprocess.run([REAL, *_OPTIONS, "-c", source, "-o", contents], cwd=project, check=True,
                   stderr=subprocess.DEVNULL)  # fmt: skip
    words = ["cc", "-std=c11", "-O2", "-static", f'-DREAL="{REAL}"', f'-DOBJECT="{contents}"']
    subprocess.run([*words, Path(__file__).with_name("waiting_compiler.c"), "-o", program], check=True)


def _pack(program: Path, archive: Path) -> None:
    """icecream's archive: the compiler under all names by which its daemon starts or tries one."""
    # Contents each time: the daemon does not unpack hard links.
    with tarfile.open(archive, "w:gz", dereference=True) as tar:
        for name in ("usr/bin/g++", "usr/bin/gcc", "usr/bin/as", "bin/true"):
            tar.add(program, name)
        empty = tarfile.TarInfo("tmp")
        empty.type, empty.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(empty)
