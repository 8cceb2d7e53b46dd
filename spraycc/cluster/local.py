"""An executor's command line, the same for every way of starting one.

Pure: the process itself is started by spraycc.server.host.subprocesses, or by the cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What an executor needs of the server's environment, where it is set: cluster managers don't hand it on.
_NEEDED = ("PYTHONPATH", "SPRAYCC_BOX")


#: The light start, run by its path so that nothing has to be found.
_START = Path(__file__).parents[1] / "executor" / "start.py"


def executor_command(
    session_file: Path,
    prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    pack: Path | None = None,
    scratch_dir: str | None = None,
) -> tuple[str, ...]:
    """The command line of an executor, without its id. Holds no secret: the session file's path is all it says.

    With a ``pack`` it is the light start, which copies that to ``scratch_dir`` (or where else the host's disk is).
    ``-P`` keeps the directory it is started in off Python's module path; ``-S`` has no directory searched at all.
    """
    needed = [f"{name}={environ[name]}" for name in _NEEDED if environ.get(name)] if environ else []
    start = ["/usr/bin/env", *needed] if needed else []
    program: tuple[str, ...] = (sys.executable, "-P", "-m", "spraycc.executor")
    if pack is not None:
        unpack = ("--unpack-in", scratch_dir) if scratch_dir else ()
        program = (sys.executable, "-S", "-P", str(_START), *unpack, str(pack))
    return (*prefix, *start, *program, "--session", str(session_file))
