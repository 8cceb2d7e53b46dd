"""The configuration of the library that intercepts the execution of programs (spraycc/native/exec/). Pure.

docs/explanation/interception.md describes the format.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Mapping

from spraycc.build_tools import JOBSERVER_TOOLS, SHIMMED
from spraycc.commands.names import grammar

#: Name of the library, in ``lib/spraycc`` of the installation.
LIBRARY_NAME = "libspraycc-exec.so"
_OURS = b"/" + os.fsencode(LIBRARY_NAME)
#: Names the configuration's file. With an empty value, no program below is intercepted.
VARIABLE = b"SPRAYCC_EXEC"

#: Names the program to a runner that was executed in its place.
PROGRAM = b"SPRAYCC_PROGRAM"
_PRELOAD = b"LD_PRELOAD"
#: Programs that start compilers, and that users install in a workspace, too: virtual environments, packages of tools.
#: Interpreters count only in a directory named bin: a build may make a python or a perl.
_INSTALLED = (
    *(b"samu", b"cmake", b"meson", b"scons"),
    *(
        b"*/bin/" + name
        for name in (b"python*", b"perl*", b"ruby*", b"tclsh*", b"bash", b"dash", b"sh", b"zsh", b"ksh")
    ),
    # The build scripts that cargo makes and executes: those with the crate cc compile C.
    b"*/build/*/build-script-*",
)
_FIRST = b"spraycc-exec\t1\n"
_LAST = b"end\n"


def configuration(
    *,
    runner: bytes,
    library: bytes,
    workspace: bytes,
    wrap: Iterable[str] = (),
    never: Iterable[str] = (),
    below: Iterable[str] = (),
) -> bytes:
    """The text of the configuration's file.

    Args:
        runner: absolute path of the runner.
        library: absolute path of the library.
        workspace: absolute path of the workspace, without symbolic links.
        wrap: patterns of programs to wrap beside the tools that SprayCC knows. A pattern with a slash is for the
            program's path: as the call has it, absolute, or relative to the workspace. Any other is for its name.
        never: the same for programs that are not wrapped, whatever else says so.
        below: the same for programs of the workspace that start compilers.

    Raises:
        ValueError: a path is not absolute, or a value has a line's end.
    """
    for path in (runner, library, workspace):
        if not path.startswith(b"/"):
            raise ValueError(f"not an absolute path: {os.fsdecode(path)}")
    lines = [(b"runner", runner), (b"library", library), (b"workspace", workspace)]
    lines += [(b"path" if b"/" in pattern else b"name", pattern) for pattern in map(_tidy, wrap)]
    lines += [(b"never", pattern) for pattern in map(_tidy, never)]
    lines += [(b"tool", os.fsencode(name)) for name in JOBSERVER_TOOLS]
    lines += [(b"installed", pattern) for pattern in (*_INSTALLED, *map(_tidy, below))]
    lines += grammar()
    if any(b"\n" in value or b"\0" in value for _, value in lines):
        raise ValueError("a path or a pattern has a line's end")
    return _FIRST + b"".join(key + b"\t" + value + b"\n" for key, value in lines) + _LAST


def _tidy(pattern: str) -> bytes:
    """The pattern in bytes. ``./test`` means ``test`` at the top of the workspace: a path, not a name."""
    path = os.fsencode(pattern)
    return b"./" + path[2:].lstrip(b"/") if path.startswith(b"./") else path


def shell_function(wrap: Iterable[str] = ()) -> bytes:
    """Shell code for ``--wrap-shell``: ``may_be_wrapped WORD NAME`` is true if the word may be a wrapped program.

    Args:
        wrap: as for :func:`configuration`.
    """
    stems = [os.fsdecode(value) for key, value in grammar() if key == b"stem"]
    names = [
        shape.format(stem) for stem in stems for shape in ("{}", "*-{}", "{}-*", "*-{}-*", "{}[0-9]*", "*-{}[0-9]*")
    ]
    names += [*SHIMMED, "spraycc*"]
    # A shell would take other characters as its grammar. Without a pattern, the line has a slot of this host.
    wrap = [pattern for pattern in wrap if re.fullmatch(r"[\w./*?\[\]+@%,:=-]+", pattern, re.ASCII)]
    names += [pattern for pattern in wrap if "/" not in pattern]
    paths = [pattern for pattern in wrap if "/" in pattern]
    # A path may be relative to any directory.
    tests = [("$2", names), ("$1", [shape + pattern for pattern in paths for shape in ("", "*/")])]
    lines = [f"case {word} in {'|'.join(patterns)}) return 0 ;; esac" for word, patterns in tests if patterns]
    return "\n".join(["may_be_wrapped() {", *lines, "return 1", "}", ""]).encode()


def library_in(text: bytes) -> bytes | None:
    """The library's path in a configuration."""
    values = (line.partition(b"\t")[2] for line in text.split(b"\n") if line.startswith(b"library\t"))
    return next(values, None)


def variables(env: Mapping[bytes, bytes], library: bytes, path: bytes) -> dict[bytes, bytes]:
    """The variables with which programs are intercepted by the configuration in ``path``.

    The library is the last in LD_PRELOAD, so the user's own libraries keep their places. A library of a build around
    this one is replaced.
    """
    theirs = _without_ours(env.get(_PRELOAD, b""))
    return {_PRELOAD: theirs + b":" + library if theirs else library, VARIABLE: path}


def without(env: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The environment without the library and its variables.

    If the library is in this process, an empty variable keeps it away from the next program.
    """
    result = {name: value for name, value in env.items() if name not in (VARIABLE, PROGRAM)}
    if _OURS in env.get(_PRELOAD, b""):
        result[_PRELOAD] = _without_ours(env[_PRELOAD])
        if not result[_PRELOAD]:
            del result[_PRELOAD]
    return result | ({VARIABLE: b""} if env.get(VARIABLE) else {})


def _without_ours(preload: bytes) -> bytes:
    """The user's own libraries in a value of LD_PRELOAD."""
    if _OURS not in preload:
        return preload
    return b":".join(word for word in preload.replace(b" ", b":").split(b":") if word and not word.endswith(_OURS))
