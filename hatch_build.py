"""Build hook: compiles the native programs, ``spraycc``, ``spraycc-run`` and ``spraycc-box``, into the wheel's scripts.

``spraycc`` starts the script ``spraycc-main``, which is spraycc/cli/command_script.py. Without the native program, that
script itself is ``spraycc``.

The libraries that are preloaded into programs go to ``lib/spraycc`` of the installation (shared data): the recorder,
which executors preload into commands, and the library that intercepts the execution of compilers.

``SPRAYCC_RUNNER`` decides:

- ``auto`` (the default): native if a C compiler works, else the Python runner.
- ``native``: native, or no wheel. The error has the compiler's messages.
- ``python``: the Python runner (spraycc/runner/fallback.py), even if there is a compiler. Such a wheel has neither
  spraycc-box nor the libraries.

The hook uses ``CC``, ``CFLAGS`` and ``LDFLAGS``. It links programs statically if that works, else dynamically: a static
runner starts faster, and runs on hosts with another C library. A native wheel is tagged ``py3-none-<platform>``: it has
programs for the platform but no extension module, so it serves every Python. Hatchling's own ``infer_tag`` would tie
the wheel to one Python. The platform is read from the compiled files, so it is the compiler's target
(``CC=aarch64-linux-gnu-gcc``), not the building host.

The same sources, compiler and ``SOURCE_DATE_EPOCH`` give the same wheel, in every directory.

The man pages and the scripts of the shells' completion go to the installation's ``share`` (shared data). The module
spraycc.cli.reference writes them. It needs click, which pyproject.toml asks for. Without click, as in a build without
isolation, the wheel goes without them, with a warning.

An editable install gets the same scripts, but a changed source does not rebuild them: run ``pip install -e .`` again.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

VARIABLE = "SPRAYCC_RUNNER"
CHOICES = ("auto", "native", "python")
ROOT = Path(__file__).resolve().parent
RUNNER = "spraycc-run"
COMMAND = "spraycc"
LIBRARY = "libspraycc-recorder.so"
EXEC_LIBRARY = "libspraycc-exec.so"
LIBRARIES = (LIBRARY, EXEC_LIBRARY)
#: The C sources: program or library -> patterns below spraycc/native. Tests use this list, too.
SOURCES = {
    RUNNER: ("runner/*.c", "common/*.c"),
    COMMAND: ("launcher/*.c", "runner/environment.c", "runner/find_program.c", "runner/width.c", "common/*.c"),
    "spraycc-box": ("box/*.c", "common/*.c"),
    LIBRARY: ("recorder/*.c", "preload/*.c", "common/text.c"),
    EXEC_LIBRARY: ("exec/*.c", "preload/*.c", "common/text.c", "common/preload_list.c"),
}
#: The libraries' directory in the installation.
LIBRARY_PLACE = "lib/spraycc"
FALLBACK = "spraycc/runner/fallback.py"
COMMAND_SCRIPT = "spraycc/cli/command_script.py"
#: Writes the man pages and the scripts of the shells' completion.
REFERENCE = "spraycc.cli.reference"
#: The script's name beside the native ``spraycc``.
COMMAND_MAIN = "spraycc-main"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
#: With few segments, the loader maps a library faster: 0.05 ms for each program that loads it (glibc 2.36).
LIBRARY_FLAGS = ("-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,noseparate-code", "-Wl,-z,norelro")
#: These follow the user's flags. Link-time optimization loses the symbol version that the libraries request by .symver.
#: glibc before 2.34 has dlsym in libdl; later versions have an empty libdl.
LIBRARY_END = ("-fno-lto", "-ldl")

#: e_machine of elf(5) -> the name in manylinux tags.
MACHINES = {62: "x86_64", 183: "aarch64"}
#: The libraries that are part of glibc, and that a manylinux wheel of ours may load.
GLIBC_LIBRARIES = frozenset({"libc.so.6", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"})
#: pip 19.3 and later know this tag under its older name, too.
OLDEST_GLIBC = (2, 17)
OLDEST_TAG = "manylinux_2_17_{0}.manylinux2014_{0}"


class CompileError(Exception):
    """A program could not be compiled; ``str()`` has the command and the compiler's messages."""


class ReferenceFailed(Exception):
    """The man pages and completion scripts could not be written; ``str()`` has the cause."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # generic in name only
    """Adds the programs to ``shared_scripts`` and sets the wheel's tag."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called for ``standard`` and for ``editable`` wheels."""
        choice = os.environ.get(VARIABLE) or "auto"
        if choice not in CHOICES:
            raise SystemExit(f"{VARIABLE}={choice}: allowed is {', '.join(CHOICES[:-1])} or {CHOICES[-1]}")
        # Not in the source tree, which may be read-only, or shared by two builds at once. Removed with this object.
        self._scratch = tempfile.TemporaryDirectory(prefix="spraycc-build-")
        scratch = Path(self._scratch.name)
        built = {} if choice == "python" else self._native(scratch, hard=choice == "native")
        if RUNNER in built:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform(built)}"
        else:  # this wheel is for every platform, so it has no native part
            built = {RUNNER: self._script(scratch / RUNNER, FALLBACK)}
            build_data["tag"] = "py3-none-any"
        command = COMMAND_MAIN if COMMAND in built else COMMAND
        built[command] = self._script(scratch / command, COMMAND_SCRIPT)
        for name, path in built.items():
            if name in LIBRARIES:
                build_data["shared_data"][str(path)] = f"{LIBRARY_PLACE}/{name}"
            else:
                build_data["shared_scripts"][str(path)] = name
        for path, place in self._reference(scratch / "share").items():
            build_data["shared_data"][str(path)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._scratch.cleanup()

    def _native(self, scratch: Path, *, hard: bool) -> dict[str, Path]:
        """The programs and libraries that could be compiled. With ``hard``, a failure raises SystemExit."""
        built = {}
        for name in SOURCES:
            try:
                built[name] = compile_native(name, scratch, self.metadata.version)
            except CompileError as exc:
                if hard:
                    raise SystemExit(f"{VARIABLE}=native: {exc}") from None
                self.app.display_warning(f"{name} is left out: {exc}")
        return built

    def _reference(self, share: Path) -> dict[Path, str]:
        """The generated man pages and completion scripts, and their places. Empty, with a warning, if that fails."""
        try:
            write_reference(share)
        except ReferenceFailed as exc:
            self.app.display_warning(f"the man pages and the shells' completion are left out: {exc}")
            return {}
        return {path: f"share/{path.relative_to(share)}" for path in sorted(share.rglob("*")) if path.is_file()}

    def _script(self, script: Path, source: str) -> Path:
        """A Python file as a script. Installers put their interpreter's path in place of ``#!python``."""
        text = (ROOT / source).read_bytes()
        script.write_bytes(b"#!python\n" + text.replace(b"@VERSION@", self.metadata.version.encode("ascii")))
        script.chmod(0o755)
        return script


def sources_of(name: str) -> list[Path]:
    """The C sources of a program or library.

    Raises:
        CompileError: this tree has no file for one of the patterns.
    """
    found: list[Path] = []
    for pattern in SOURCES[name]:
        matches = sorted((ROOT / "spraycc" / "native").glob(pattern))
        if not matches:
            raise CompileError(f"there are no C sources spraycc/native/{pattern} in this tree")
        found += matches
    return found


def compile_native(name: str, out_dir: Path, version: str) -> Path:
    """Compile and link a program or library of ``SOURCES`` to ``out_dir/name``. A program is static if that links.

    Raises:
        CompileError: no compiler, no sources, or dynamic linking fails, too.
    """
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("no C compiler: neither CC is set nor is cc, gcc or clang on PATH")
    is_library = name in LIBRARIES
    flags = LIBRARY_FLAGS if is_library else (f'-DSPRAYCC_VERSION="{version}"',)
    command = [*compiler, *FLAGS, *flags, f"-fdebug-prefix-map={ROOT}=.", *shlex.split(os.environ.get("CFLAGS", ""))]
    # Relative paths, because absolute paths would get into debugging information, and change the wheel.
    command += [str(source.relative_to(ROOT)) for source in sources_of(name)]
    command += ["-o", str(out_dir.resolve() / name), *shlex.split(os.environ.get("LDFLAGS", ""))]
    return run_compiler([[*command, *LIBRARY_END]] if is_library else [[*command, "-static"], command], out_dir / name)


def write_reference(share: Path) -> None:
    """Write the man pages and the scripts of the shells' completion below ``share``.

    Raises:
        ReferenceFailed: a module can't be imported, or a file can't be written.
    """
    # In a process of its own, because this process may have imported another SprayCC. The tree's package comes first.
    # Python writes no bytecode into the tree.
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    environ = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", REFERENCE, str(share)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ)
    if done.returncode != 0:
        raise ReferenceFailed((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])


def run_compiler(commands: Sequence[list[str]], out: Path) -> Path:
    """Make ``out`` by the first of these commands that succeeds. They run in the source tree.

    Raises:
        CompileError: no command succeeds; the text has the last command and its output.
    """
    words = ""
    for command in commands:
        try:
            done = subprocess.run(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
            )
        except OSError as exc:
            raise CompileError(f"{command[0]}: {exc.strerror}") from None
        if done.returncode == 0:
            out.chmod(0o755)
            return out
        words = f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}".rstrip()
    raise CompileError(words)


def find_compiler() -> list[str] | None:
    """The compiler's command: ``$CC``, else the first of cc, gcc and clang on PATH."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        return chosen
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def platform(built: dict[str, Path]) -> str:
    """The platform tag of a wheel with these programs and libraries.

    A complete wheel with static programs is manylinux for the oldest glibc that its libraries load with. All other
    wheels get the plain tag, linux_x86_64 for instance, because they may work on hosts like this one only.
    """
    files = {name: read_elf(path) for name, path in built.items()}
    machine = MACHINES.get(files[RUNNER].machine)
    if machine is None:
        return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
    if files.keys() != SOURCES.keys() or not all(is_portable(elf, name in LIBRARIES) for name, elf in files.items()):
        return f"linux_{machine}"
    glibc = max(version for elf in files.values() for version in (OLDEST_GLIBC, *elf.glibc_versions()))
    if glibc == OLDEST_GLIBC:
        return OLDEST_TAG.format(machine)
    return "manylinux_{}_{}_{}".format(*glibc[:2], machine)


class Elf(NamedTuple):  # hatchling loads this file in a way that dataclass does not support
    """A compiled program or library. ``versions`` are those that it needs of libraries, such as GLIBC_2.17."""

    machine: int
    is_static: bool
    libraries: frozenset[str]
    versions: frozenset[str]

    def glibc_versions(self) -> Iterator[tuple[int, ...]]:
        for version in self.versions:
            if version.startswith("GLIBC_"):
                yield tuple(map(int, version.removeprefix("GLIBC_").split(".")))


def is_portable(elf: Elf, is_library: bool) -> bool:
    """Whether this works on each host with a glibc that has the needed versions."""
    if not is_library:
        return elf.is_static
    return elf.libraries <= GLIBC_LIBRARIES and all(re.fullmatch(r"GLIBC_[0-9.]+", name) for name in elf.versions)


#: Of elf(5): types of segments, and tags of the dynamic segment.
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 1, 5, 0x6FFFFFFE, 0x6FFFFFFF


def read_elf(path: Path) -> Elf:
    """The parts of an ELF file that decide where it runs. The machine is 0 unless the file is for a 64-bit
    little-endian one."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return Elf(0, False, frozenset(), frozenset())
    [machine] = struct.unpack_from("<H", data, 18)
    table, size, count = struct.unpack_from("<32xQ14xHH", data)
    # p_type, p_offset, p_vaddr, p_filesz
    segments: list[tuple[int, int, int, int]] = [
        struct.unpack_from("<I4xQQ8xQ", data, table + size * index) for index in range(count)
    ]
    dynamic: list[tuple[int, int]] = []
    for kind, offset, _, length in segments:
        if kind == _PT_DYNAMIC:
            dynamic += struct.iter_unpack("<QQ", data[offset : offset + length])
    values = dict(dynamic)

    def place(tag: int) -> int:
        """The offset in the file of the table with this tag."""
        for kind, offset, start, length in segments:
            if kind == _PT_LOAD and 0 <= values[tag] - start < length:
                return values[tag] - start + offset
        raise ValueError(f"{path}: no segment has the table {tag:#x}")

    def text(number: int) -> str:
        start = place(_DT_STRTAB) + number
        return data[start : data.index(b"\0", start)].decode()

    versions = set()
    at = place(_DT_VERNEED) if _DT_VERNEED in values else 0
    for _ in range(values.get(_DT_VERNEEDNUM, 0)):
        # Elf64_Verneed: vn_cnt, vn_aux, vn_next
        needs, first, next_library = struct.unpack_from("<2xH4xII", data, at)
        need = at + first
        for _ in range(needs):
            # Elf64_Vernaux: vna_name, vna_next
            name, next_need = struct.unpack_from("<8xII", data, need)
            versions.add(text(name))
            need += next_need
        at += next_library
    is_static = not any(kind == _PT_INTERP for kind, *_ in segments)
    libraries = frozenset(text(value) for tag, value in dynamic if tag == _DT_NEEDED)
    return Elf(machine, is_static, libraries, frozenset(versions))
