"""The pack that executors start from (``spraycc/executor/start.py``): found, or made if it is missing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from pathlib import Path

import spraycc
from spraycc import isolated, kept_variables
from spraycc.cluster.driver import ClusterError
from spraycc.server.host.subprocesses import run_command

log = logging.getLogger(__name__)

#: An idle host makes a pack in half a second.
_TIMEOUT_S = 60.0


def packs_dir(state_dir: Path) -> Path:
    """The directory of all packs of this user, beside the state directories of the servers."""
    return state_dir.parent / "packs"


def existing_pack(directory: Path) -> Path | None:
    """The pack of this installation; None if there is none or a source file has changed since."""
    try:
        note = json.loads((directory / f"executor-{_key()}.json").read_bytes())
        pack = directory / Path(note["pack"]).name
        fresh = pack.exists() and all(_stamp(path) == stamp for path, *stamp in note["sources"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pack if fresh else None


def planned_pack(directory: Path) -> Path:
    """The path of the pack for `spraycc cluster show`. Until the pack is made, the end of its name is unknown."""
    return existing_pack(directory) or directory / f"executor-{_key()}-XXXXXXXXXXXXXXXXXXXXXXXX.pack"


async def ready_pack(directory: Path) -> Path | None:
    """The pack of this installation, made if it is missing; None after a failure, which is logged."""
    if found := existing_pack(directory):
        return found
    # In a process of its own, because the pack consists of the modules that the process imports.
    argv = isolated.command("spraycc.executor.pack", os.fspath(directory), _key())
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        reply = await run_command(argv, b"", kept_variables.for_executor(os.environ), _TIMEOUT_S)
    except (OSError, ClusterError) as exc:
        log.warning("executors start without a pack: %s", exc)
        return None
    if reply.status:
        log.warning("executors start without a pack: %s", reply.words)
        return None
    return existing_pack(directory)


def _key() -> str:
    """Identifies the installation: Python and the path of the modules. Each installation has its own pack."""
    changed = [os.environ.get(name, "") for name in kept_variables.OF_AN_EXECUTOR]
    place = "|".join([sys.version, sys.executable, spraycc.__file__, *changed])
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]
