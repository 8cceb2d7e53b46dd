"""Whether a server lacks rights that a build has, because a build with fewer rights has started the server.

A server raises its own soft limits. It can't raise a hard limit, which `ulimit` lowers too, and not its priority.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

#: Hard limits that end or hinder a server and its executors. A server copes with a low limit of open files.
_LIMITS = (
    *(resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA, resource.RLIMIT_AS, resource.RLIMIT_STACK),
    resource.RLIMIT_NPROC,
)


def is_hampered(server: int) -> bool:
    """True if the process ``server`` has a lower hard limit or a lower priority than this process. False in doubt."""
    with suppress(OSError, ValueError):
        if os.getpriority(os.PRIO_PROCESS, server) > os.getpriority(os.PRIO_PROCESS, 0):
            return True
        return any(_hard(server, number) < _hard(0, number) for number in _LIMITS)
    return False


def _hard(pid: int, number: int) -> float:
    hard = resource.prlimit(pid, number)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard
