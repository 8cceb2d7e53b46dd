"""Build tools: the system's, and other versions that are fetched once for many runs."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.system.harness.sandbox import TOOLS
from tests.system.harness.waiting import HANG_S


def version_of(program: str | Path) -> tuple[int, ...]:
    """A program's version as numbers; () if the program does not start."""
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ()
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def find_make(modern: bool) -> str | None:
    """The path of a make: with ``modern`` version 4.4 or newer (fifo jobserver), else an older version. None if there is none.

    The modern make is SPRAYCC_TEST_MAKE44, else the system's, else the one that tests/tools/get-make-4.4 puts into the
    user's cache.
    """
    system = shutil.which("make")
    named = os.environ.get("SPRAYCC_TEST_MAKE44")
    if not modern:
        return system if system and (3, 81) <= version_of(system) < (4, 4) else None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spraycc-tests" / "make-4.4"
    for candidate in (named, system, str(cache / "make")):
        if candidate and version_of(candidate) >= (4, 4):
            return candidate
    if shutil.which("apt-get"):
        subprocess.run([TOOLS / "get-make-4.4", cache], capture_output=True, timeout=HANG_S, check=False)
    return str(cache / "make") if version_of(str(cache / "make")) >= (4, 4) else None


def find_ninja() -> str | None:
    """A ninja that can use a jobserver: beside this Python, or on PATH."""
    for candidate in (str(Path(sys.executable).with_name("ninja")), shutil.which("ninja")):
        if candidate and version_of(candidate) >= (1, 13):
            return candidate
    return None


def from_pypi(cache: Path, requirement: str, name: str) -> Path:
    """The directory of a PyPI package, fetched once and kept apart from this environment's packages."""
    target = cache / name
    done = target / ".complete"
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
            subprocess.run([*pip, "--target", str(target), requirement], check=True)
            done.touch()
    return target
