"""Makes the server's process independent of the process that started it. The server's children inherit the result.

A build under `nohup`, `ulimit`, `taskset` or `nice` may start a server that serves later builds, too. A command on an
executor gets the limits, the umask and the nice value of its own runner.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress

#: Limits that would end or hinder a process that lives longer than one build, or its executors.
_RAISED = (
    *(resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA, resource.RLIMIT_AS),
    *(resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE),
)
#: The kernel's default for the stack. Not the hard limit: without a limit the kernel lays out memory in another way.
_STACK_BYTES = 8 * 1024 * 1024
#: CPU numbers that the kernel may know. It ignores the numbers of CPUs that the host or the cpuset does not have.
_MOST_CPUS = 8192
_QUERY_PERSONALITY = 0xFFFFFFFF
#: Python itself ignores these, and gives its children the default action.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def begin_afresh() -> None:
    """Leave the starter's session, directory, umask, descriptors except 1 and 2, signals, limits, CPUs and priority."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 1 << 20 else 1 << 20)
    with suppress(PermissionError):  # the server leads a session already
        os.setsid()
    os.chdir("/")
    os.umask(0o077)
    _reset_signals()
    _raise_limits()
    with suppress(OSError):
        os.sched_setaffinity(0, range(_MOST_CPUS))
    with suppress(PermissionError):  # without a privilege the server keeps a lower priority
        os.setpriority(os.PRIO_PROCESS, 0, min(0, os.getpriority(os.PRIO_PROCESS, 0)))
    _reset_personality()


def _reset_signals() -> None:
    """Undo nohup, and what a shell ignores or blocks in a background process."""
    for number in signal.valid_signals() - {*_IGNORED_BY_PYTHON}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _raise_limits() -> None:
    """Raise soft limits to the hard ones. Write no core files: a core would contain the session's secret."""
    for number in _RAISED:
        _set_soft_limit(number, resource.getrlimit(number)[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK_BYTES:
        _set_soft_limit(resource.RLIMIT_STACK, hard if 0 <= hard < _STACK_BYTES else _STACK_BYTES)
    _set_soft_limit(resource.RLIMIT_CORE, 0)


def _set_soft_limit(number: int, soft: int) -> None:
    with suppress(ValueError, OSError):
        resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))


def _reset_personality() -> None:
    """Undo setarch(8), for the programs that this process executes."""
    with suppress(OSError, AttributeError):
        personality = ctypes.CDLL(None).personality
        personality.argtypes = [ctypes.c_ulong]
        if personality(_QUERY_PERSONALITY) != 0:
            personality(0)
