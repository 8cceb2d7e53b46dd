"""Finds build trees that CMake configured without SprayCC: they name compilers by path, so no shim is used.

CMakeCache.txt has a line ``CMAKE_CXX_COMPILER:FILEPATH=/usr/bin/c++`` for each language, and a line
``CMAKE_CXX_COMPILER_LAUNCHER:STRING=...`` if the user set a launcher (observed of CMake 3.25; the type after the colon
differs).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence

_CACHE = "CMakeCache.txt"
_ENTRY = re.compile(r"^CMAKE_(C|CXX|CUDA)_COMPILER(_LAUNCHER)?:\w+=(.+)$", re.MULTILINE)


def unseen_compilers(cache: str, shims: str) -> dict[str, str]:
    """The compilers of a tree with this CMakeCache.txt that bypass SprayCC, by language.

    Such a compiler has an absolute path outside the shim directory, and its launcher is not our runner.
    """
    found = {(language, bool(launcher)): value for language, launcher, value in _ENTRY.findall(cache)}
    return {
        language: value
        for (language, is_launcher), value in found.items()
        if not is_launcher
        and value.startswith("/")
        and os.path.dirname(value) != shims
        and "spraycc-run" not in found.get((language, True), "")
    }


def build_directories(words: Sequence[str]) -> Iterator[str]:
    """Directories that may hold the build tree: the working directory, and those after ``-C`` or ``--build``."""
    yield "."
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word in ("-C", "--directory", "--build") and following is not None:
            yield following
        elif word.startswith("-C") and len(word) > 2:
            yield word[2:]
        elif word.startswith("--directory="):
            yield word.partition("=")[2]


def advice(words: Sequence[str], shims: str, runner: str) -> str | None:
    """Advice to the user after a build without tasks; None if CMake is not the reason.

    Args:
        words: the build's command line.
        shims: the directory of our shims.
        runner: the path of our runner.
    """
    for directory in build_directories(words):
        try:
            with open(os.path.join(directory, _CACHE), errors="replace") as file:
                unseen = unseen_compilers(file.read(), shims)
        except OSError:
            continue
        if unseen:
            launchers = [f"-DCMAKE_{language}_COMPILER_LAUNCHER={runner}" for language in unseen]
            return (
                f"no compile used SprayCC, because {os.path.join(directory, _CACHE)} names the compiler by its path, "
                f"{next(iter(unseen.values()))}; to use SprayCC, run: {shlex.join(['cmake', *launchers, directory])}"
            )
    return None
