"""Versions of build tools, and the command line of a build without a server."""

from __future__ import annotations

import contextlib
import re

from spraycc.jobserver.cmdline import Stripped
from spraycc.jobserver.makeflags import parse

#: The first ninja that is a client of a jobserver. Kitware's older ninjas with a jobserver have it in their version.
_NINJA_WITH_JOBSERVER = (1, 13)


def is_jobserver_ninja(version: str) -> bool:
    """True if the ninja with this version (``1.11.1.git.kitware.jobserver-1``) is a client of a jobserver."""
    numbers = version.split(".")[:2]
    try:
        return tuple(map(int, numbers)) >= _NINJA_WITH_JOBSERVER or "jobserver" in version
    except ValueError:
        return True  # an unknown form of version, probably newer


def is_blocking_make(version: str) -> bool:
    """True if the make with this first line of ``--version`` can wait for ever when the server withdraws a token.

    4.2 and 4.2.1 can: they call pselect(2) and then read(2). If another process took the token in between, read(2)
    blocks, and no child's end interrupts the call. (With withdrawn tokens 4.2.1 hung in two of three runs.)
    """
    found = re.match(r"GNU Make (\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) == (4, 2)


def version_line(program: bytes) -> str | None:
    """The first line that ``program --version`` prints; None if it fails."""
    import subprocess

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10, text=True
        )
        return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else None
    return None


def plain_argv(stripped: Stripped, local_slots: int, makeflags: bytes) -> tuple[bytes, ...]:
    """The command line for a build without a server, with a -j of at most the local slots and the user's own -j.

    Below a make with a jobserver the command line stays as it is: that make's tokens limit the build.
    """
    if parse(makeflags).auth is not None:
        return stripped.argv
    return stripped.with_jobs(min(filter(None, (stripped.cap, local_slots))))
