"""A tree that CMake configured without SprayCC names its compilers by path, where no shim is met.

CMakeCache.txt has a line ``CMAKE_CXX_COMPILER:FILEPATH=/usr/bin/c++`` for each language, and where one was given a line
``CMAKE_CXX_COMPILER_LAUNCHER:STRING=...`` (observed of CMake 3.25; the type after the colon differs).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence

_CACHE = "CMakeCache.txt"
_ENTRY = re.compile(r"^CMAKE_(C|CXX|CUDA)_COMPILER(_LAUNCHER)?:\w+=(.+)$", re.MULTILINE)


def unseen_compilers(cache: str, shims: str) -> dict[str, str]:
    """The compilers that SprayCC does not see, by language, of a tree with this CMakeCache.txt.

    They are named by a path that is none of our shims', and our runner is not their launcher.
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
    """Where the tree of a command line's build may be: the working directory, and what ``-C`` or ``--build`` names."""
    yield "."
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word in ("-C", "--directory", "--build") and following is not None:
            yield following
        elif word.startswith("-C") and len(word) > 2:
            yield word[2:]
        elif word.startswith("--directory="):
            yield word.partition("=")[2]


def advice(words: Sequence[str], shims: str, runner: str) -> str | None:
    """What to say after a build of which SprayCC has seen nothing; None where CMake is not the reason.

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
                f"no compile came by SprayCC, as {os.path.join(directory, _CACHE)} names the compiler by its path, "
                f"{next(iter(unseen.values()))}; to have them come: {shlex.join(['cmake', *launchers, directory])}"
            )
    return None
