"""Build hook: compiles the native programs, ``spraycc-run`` and ``spraycc-box``, into the wheel's scripts.

``SPRAYCC_RUNNER`` decides:

- ``auto`` (the default): native where a C compiler is there and works, else the Python runner.
- ``native``: native or no wheel; the compiler's words are the error.
- ``python``: the Python runner (spraycc/runner/fallback.py), even where there is a compiler. It has no spraycc-box.

``CC``, ``CFLAGS`` and ``LDFLAGS`` are honoured. Statically linked where that works, as such a runner starts faster
and serves hosts with another libc; else dynamically. A native wheel is tagged ``py3-none-<platform>``: it has a
program for that platform in it and no extension module, so it serves every Python. Hatchling's own ``infer_tag``
would tie it to one.

An editable install gets the same scripts, but a changed C source does not rebuild them: run ``pip install -e .`` again.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

VARIABLE = "SPRAYCC_RUNNER"
CHOICES = ("auto", "native", "python")
#: program -> directory of its C sources
PROGRAMS = {"spraycc-run": "spraycc/runner", "spraycc-box": "spraycc/box"}
FALLBACK = "spraycc/runner/fallback.py"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")


class CompileError(Exception):
    """A program could not be compiled; ``str()`` has the command and the compiler's words."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # generic in name only
    """Adds the programs to ``shared_scripts`` and sets the wheel's tag."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called for ``standard`` and for ``editable`` wheels alike."""
        choice = os.environ.get(VARIABLE) or "auto"
        if choice not in CHOICES:
            raise SystemExit(f"{VARIABLE}={choice}: allowed is {', '.join(CHOICES[:-1])} or {CHOICES[-1]}")
        # Never into the source tree: it may be read-only, or shared by two builds at once. Removed with this object.
        self._scratch = tempfile.TemporaryDirectory(prefix="spraycc-build-")
        scratch = Path(self._scratch.name)
        programs = [] if choice == "python" else self._native(scratch, hard=choice == "native")
        native = any(program.name == "spraycc-run" for program in programs)
        if native:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform()}"
        else:
            programs = [self._fallback(scratch)]
            build_data["tag"] = "py3-none-any"
        for program in programs:
            build_data["shared_scripts"][str(program)] = program.name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._scratch.cleanup()

    def _native(self, scratch: Path, *, hard: bool) -> list[Path]:
        """The programs that could be compiled; with ``hard`` all of them or SystemExit."""
        built = []
        for name, directory in PROGRAMS.items():
            sources = sorted(Path(self.root, directory).glob("*.c"))
            try:
                built.append(compile_program(name, sources, scratch, self.metadata.version))
            except CompileError as exc:
                if hard:
                    raise SystemExit(f"{VARIABLE}=native: {exc}") from None
                self.app.display_warning(f"{name} is left out: {exc}")
        return built

    def _fallback(self, scratch: Path) -> Path:
        """The Python runner as a script. Installers put their interpreter's path in place of ``#!python``."""
        source = Path(self.root, FALLBACK)
        text = source.read_bytes()
        first_line, newline, rest = text.partition(b"\n")
        if not first_line.startswith(b"#!"):
            rest = first_line + newline + rest
        script = scratch / "spraycc-run"
        script.write_bytes(b"#!python\n" + rest.replace(b"@VERSION@", self.metadata.version.encode("ascii")))
        script.chmod(0o755)
        return script


def compile_program(name: str, sources: Sequence[Path], out_dir: Path, version: str) -> Path:
    """Compile and link ``sources`` to ``out_dir/name``, static if that links.

    Raises:
        CompileError: no compiler, no sources, or it does not compile even for dynamic linking.
    """
    if not sources:
        raise CompileError("there are no C sources for it in this tree")
    compiler = find_compiler()
    if compiler is None:
        raise CompileError("no C compiler: neither CC is set nor is cc, gcc or clang on PATH")
    out = out_dir / name
    command = [
        *compiler,
        *FLAGS,
        f'-DSPRAYCC_VERSION="{version}"',
        *shlex.split(os.environ.get("CFLAGS", "")),
        *map(str, sources),
        "-o",
        str(out),
        *shlex.split(os.environ.get("LDFLAGS", "")),
    ]
    words = ""
    for attempt in ([*command, "-static"], command):
        try:
            done = subprocess.run(attempt, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        except OSError as exc:
            raise CompileError(f"{attempt[0]}: {exc.strerror}") from None
        if done.returncode == 0:
            out.chmod(0o755)
            return out
        words = f"{shlex.join(attempt)} ended with {done.returncode}:\n{done.stdout}{done.stderr}".rstrip()
    raise CompileError(words)


def find_compiler() -> list[str] | None:
    """The compiler's words: ``$CC``, else the first of cc, gcc and clang on PATH."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        return chosen
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def platform() -> str:
    """This platform's plain tag, linux_x86_64 for instance. No promise is made about older libcs, so no manylinux."""
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))
