"""The configuration of the library that intercepts the execution of programs (spraycc/native/exec/). Pure.

docs/interception.md describes the format.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Sequence

from spraycc.commands.names import grammar

#: Name of the library, in ``lib/spraycc`` of the installation.
LIBRARY_NAME = "libspraycc-exec.so"
#: Names the configuration's file. With an empty value, no program below is intercepted.
VARIABLE = b"SPRAYCC_INTERCEPT"

_PRELOAD = b"LD_PRELOAD="
_FIRST = b"spraycc-exec\t1\n"
_LAST = b"end\n"


def configuration(
    *,
    runner: bytes,
    library: bytes,
    workspace: bytes,
    wrap: Iterable[str] = (),
    never: Iterable[str] = (),
    stems: Sequence[bytes] = (),
) -> bytes:
    """The text of the configuration's file.

    Args:
        runner: absolute path of the runner.
        library: absolute path of the library.
        workspace: absolute path of the workspace, without symbolic links.
        wrap: patterns of programs to wrap beside the tools that SprayCC knows. A pattern with a slash is for the
            program's path, absolute or relative to the workspace; any other pattern is for its name.
        never: the same for programs that are not wrapped, whatever else says so.
        stems: names of further tools, which may have targets and versions as gcc has.

    Raises:
        ValueError: a path is not absolute, or a value has a line's end.
    """
    for path in (runner, library, workspace):
        if not path.startswith(b"/"):
            raise ValueError(f"not an absolute path: {os.fsdecode(path)}")
    lines = [(b"runner", runner), (b"library", library), (b"workspace", workspace)]
    lines += [(b"path" if b"/" in pattern else b"name", pattern) for pattern in map(_tidy, wrap)]
    lines += [(b"never", pattern) for pattern in map(_tidy, never)]
    lines += sorted(((b"stem", stem) for stem in stems), key=lambda line: -len(line[1]))
    lines += grammar()
    if any(b"\n" in value or b"\0" in value for _, value in lines):
        raise ValueError("a path or a pattern has a line's end")
    return _FIRST + b"".join(key + b"\t" + value + b"\n" for key, value in lines) + _LAST


def _tidy(pattern: str) -> bytes:
    """The pattern in bytes. ``./test`` means ``test`` at the top of the workspace: a path, not a name."""
    path = os.fsencode(pattern)
    return b"./" + path[2:].lstrip(b"/") if path.startswith(b"./") else path


def environment(env: Sequence[bytes], library: bytes, path: bytes) -> tuple[bytes, ...]:
    """The environment (``NAME=value`` entries) in which programs are intercepted by the configuration in ``path``.

    The library is the last in LD_PRELOAD, so the user's own libraries keep their places. A library of
    a build around this one is replaced.
    """
    preload = next((entry[len(_PRELOAD) :] for entry in env if entry.startswith(_PRELOAD)), b"")
    others = [entry for entry in env if not entry.startswith((_PRELOAD, VARIABLE + b"="))]
    name = os.fsencode(LIBRARY_NAME)
    theirs = [word for word in preload.split(b":") if word and not word.endswith(b"/" + name)]
    return (*others, _PRELOAD + b":".join([*theirs, library]), VARIABLE + b"=" + path)
