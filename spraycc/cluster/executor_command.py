"""The command line of an executor, for all ways to start executors. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from spraycc import isolated
from spraycc.kept_variables import OF_AN_EXECUTOR

#: The start from a pack, run by its path so that Python need not search for the module.
_START = Path(__file__).parents[1] / "executor" / "start.py"


def executor_command(
    session_file: Path,
    prefix: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    pack: Path | None = None,
    scratch_dir: str | None = None,
) -> tuple[str, ...]:
    """The command line of an executor, without its id. It holds no secret, only the session file's path.

    With a ``pack`` the executor copies the pack to ``scratch_dir`` or another local directory and starts from the copy.
    A cluster manager may pass no variables on, so the command line sets the variables that an executor needs.
    The Python is isolated (:mod:`spraycc.isolated`); ``-S`` skips site-packages.
    """
    needed = [f"{name}={environ[name]}" for name in OF_AN_EXECUTOR if environ.get(name)] if environ else []
    start = ["/usr/bin/env", *needed] if needed else []
    program = isolated.command("spraycc.executor")
    if pack is not None:
        unpack = ("--unpack-in", scratch_dir) if scratch_dir else ()
        program = [sys.executable, *isolated.OPTIONS, "-S", str(_START), *unpack, str(pack)]
    return (*prefix, *start, *program, "--session", str(session_file))
