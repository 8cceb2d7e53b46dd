"""Executes a program past the libraries that are preloaded into this process.

A preloaded library may replace each execution by one of its own, with its variables put back. Bear's library does so,
and SprayCC's own. So a clean environment alone does not keep the library away from a program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn


def call(command: Sequence[str], environ: Mapping[str, str]) -> Callable[[], object] | None:
    """A call that executes ``command`` directly, and returns if it can't. None: no library is preloaded.

    Made before a fork, so that the child only has to call it.
    """
    if not (os.environ.get("LD_PRELOAD") or os.environ.get("LD_AUDIT")):
        return None
    import ctypes
    import functools

    try:
        # Looked up in the C library alone, so this is no function of another library.
        execve = ctypes.CDLL("libc.so.6").execve
    except (OSError, AttributeError):  # another C library than glibc
        return None

    def strings(values: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
        encoded = [*map(os.fsencode, values), None]
        return (ctypes.c_char_p * len(encoded))(*encoded)

    entries = strings(f"{name}={value}" for name, value in environ.items())
    return functools.partial(execve, os.fsencode(command[0]), strings(command), entries)


def execute(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Execute ``command``, whose first word is a path, in the place of this process.

    Raises:
        OSError: the program can't be executed.
    """
    directly = call(command, environ)
    if directly is not None:
        directly()
    os.execve(command[0], list(command), environ)
