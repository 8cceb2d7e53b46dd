"""The marker file of batch jobs that may exist, and the cancelling of a killed server's batch jobs.

``python -m spraycc.server.fleet.stale_jobs STATE_DIR…`` cancels them for `spraycc server stop --force`. The program
prints the number of submissions. Its exit status is 1 if the cluster manager's commands fail.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import trio

from spraycc.cluster.registry import BATCH
from spraycc.errors import SprayccError
from spraycc.server.fleet.batch_commands import BatchCommands, RunCommand
from spraycc.server.host.subprocesses import run_command
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: In the state directory while batch jobs of this server may exist. After a crash the file tells where they are.
MARKER = "batch-jobs.json"


def write_marker(state_dir: Path, settings: Settings, name: str) -> None:
    """Note that batch jobs may exist from now on. An existing marker stays; an error is only logged."""
    path = state_dir / MARKER
    if path.exists():
        return
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600)) as file:
            json.dump({"name": name, "settings": asdict(settings)}, file)
    except OSError as exc:
        log.warning("%s: %s", path, exc.strerror)


def remove_marker(state_dir: Path) -> None:
    """Note that no batch jobs are left."""
    (state_dir / MARKER).unlink(missing_ok=True)


async def cancel_stale_jobs(settings: Settings, state_dir: Path, run: RunCommand = run_command) -> int:
    """Cancel the batch jobs of a killed server. Returns the number of submissions, 0 without a marker.

    Raises:
        ClusterError: a command of the cluster manager failed; the marker stays.
    """
    try:
        marker = json.loads((state_dir / MARKER).read_text())
    except (OSError, ValueError):
        return 0
    with suppress(TypeError, KeyError):
        # The settings of the killed server, because today's may name another cluster.
        settings = Settings.from_map(marker["settings"])
    if settings.cluster not in BATCH:
        return 0
    found = await BatchCommands(settings, state_dir, run).cancel_all()
    remove_marker(state_dir)
    return found


class StaleJobs:
    """The batch jobs of the server that was killed before this server. All launchers of a server share one object."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._lock = trio.Lock()
        self._was_searched = False
        #: some may exist, so the marker must stay
        self.may_be_left = True

    async def cancel(self, settings: Settings, run: RunCommand) -> int:
        """As :func:`cancel_stale_jobs`, for the first caller. A later search would find this server's own batch jobs.

        A later caller waits until the first search has ended, and gets 0.
        """
        async with self._lock:
            if self._was_searched:
                return 0
            self._was_searched = True
            found = await cancel_stale_jobs(settings, self._state_dir, run)
            self.may_be_left = False
            return found


def main() -> int:
    found = 0
    for state_dir in map(Path, sys.argv[1:]):
        try:
            found += trio.run(cancel_stale_jobs, Settings(), state_dir)
        except SprayccError as exc:
            sys.stderr.write(f"{exc}\n")
            return 1
        # Session files hold secrets, and their server is gone.
        for path in state_dir.glob("session-*.json"):
            path.unlink(missing_ok=True)
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
