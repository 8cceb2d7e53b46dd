"""Decides whether a server may stay after its last build, or something outside waits for the server's end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

#: The inode of the first pid namespace (PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h).
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
#: Names of inits that run as long as their container.
_LASTING_INITS = frozenset({"init", "systemd"})


def why_not_linger(proc: Path = Path("/proc"), me: int | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The reason for which this process must end after its last build; empty if the process may stay.

    - A tracer (strace -f, proot) waits for all processes that it traces.
    - The init of a sandbox (bwrap --unshare-pid) waits for all processes of its pid namespace, and is ended with the
      build in other sandboxes (docker run IMAGE spraycc make). Then process 1 is an ancestor of this process. A process
      that was started from outside (docker exec) has another ancestor. Nor does a sandbox end before its terminal if
      its process 1 is the shell at the terminal.

    - A cluster manager ends all processes of a batch script with the script, some of them by SIGKILL.

    In doubt the process must end. That costs the next build the start of a server.

    Args:
        proc: the /proc of this process's pid namespace.
        me: this process's id.
        environ: this process's environment.
    """
    me = os.getpid() if me is None else me
    if _is_batch_script(environ):
        return "it was started by a batch script"
    try:
        status = (proc / "self/status").read_text(errors="replace")
        tracer = next(line.split()[1] for line in status.splitlines() if line.startswith("TracerPid:"))
        if tracer != "0":
            return f"process {tracer} traces it"
        if (proc / "self/ns/pid").stat().st_ino == _FIRST_PID_NAMESPACE:
            return ""
        if os.readlink(proc / "self") != str(me):
            return "it is in a pid namespace, and /proc is another namespace's"
        name, _, session, terminal = _stat(proc, 1)
    except (OSError, ValueError, StopIteration):
        return "/proc does not show whether a process waits for its end"
    if name in _LASTING_INITS or (session == 1 and terminal) or not _descends_from_init(proc, me):
        return ""
    return f"process 1 of its pid namespace, {name}, may wait for its end"


def _is_batch_script(environ: Mapping[str, str]) -> bool:
    """POSIX batch services, Slurm and Grid Engine set ENVIRONMENT, PBS another one; LSF marks interactive ones."""
    if "BATCH" in (environ.get("ENVIRONMENT"), environ.get("PBS_ENVIRONMENT", "").removeprefix("PBS_")):
        return True
    return "LSB_JOBID" in environ and environ.get("LSB_INTERACTIVE") != "Y"


def _descends_from_init(proc: Path, pid: int) -> bool:
    """False if an ancestor of the process was started from outside the pid namespace: it has the parent 0."""
    with suppress(OSError, ValueError):
        while pid > 1:
            pid = _stat(proc, pid)[1]
        return pid == 1
    return True


def _stat(proc: Path, pid: int) -> tuple[str, int, int, int]:
    """Name, parent, session and controlling terminal of a process (proc_pid_stat(5)). A name may have any character."""
    head, _, rest = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")
    _state, parent, _group, session, terminal = rest.split()[:5]
    return head.partition("(")[2], int(parent), int(session), int(terminal)
