"""Batch jobs that servers may have left in the cluster: a marker file for each launcher, and the cancelling.

A launcher writes its marker before its first submission, and removes it when the cluster manager lists none of its
batch jobs any more. So a marker that a server finds at its start names batch jobs of an earlier server, which was
killed, or could not reach the cluster manager at its end.

``python -m spraycc.server.fleet.stale_jobs STATE_DIR…`` cancels them for `spraycc server stop --force`. The program
prints the number of submissions. Its exit status is 1 if the cluster manager's commands fail.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import trio

from spraycc.cluster.driver import ClusterError, Trouble
from spraycc.cluster.registry import BATCH
from spraycc.notices import cluster as notices
from spraycc.server.fleet.batch_commands import BatchCommands, RunCommand
from spraycc.server.host.subprocesses import run_command
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: First part of the names of the markers, in the state directory.
MARKER = "batch-jobs"
#: Seconds between two attempts to cancel what an earlier server has left.
RETRY_S = 60.0
#: Another attempt will not help.
_IN_VAIN = (Trouble.NO_COMMAND, Trouble.REFUSED)


def write_marker(state_dir: Path, settings: Settings, name: str) -> Path:
    """Note that batch jobs with this name may exist from now on. Returns the marker; an error is only logged."""
    path = state_dir / f"{MARKER}-{name.rpartition('-')[2]}.json"
    try:
        with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600)) as file:
            json.dump({"name": name, "settings": asdict(settings)}, file)
    except OSError as exc:
        log.warning("%s: %s", path, exc.strerror)
    return path


def markers(state_dir: Path) -> list[Path]:
    """The markers in a state directory, also that of an older release."""
    return sorted(state_dir.glob(f"{MARKER}*.json"))


async def cancel_stale_jobs(marker: Path, run: RunCommand = run_command) -> int:
    """Cancel the batch jobs of a marker, and remove it. Returns the number of submissions.

    Raises:
        ClusterError: a command of the cluster manager failed, or it still lists some; the marker stays.
    """
    try:
        text = marker.read_text()
    except FileNotFoundError:
        return 0
    except OSError as exc:
        raise ClusterError(Trouble.UNREACHABLE, f"{marker}: {exc.strerror}") from None
    try:
        content = json.loads(text)
        # The settings of that server, because today's may name another cluster.
        name, settings = content["name"], Settings.from_map(content["settings"])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        # It is written before the first submission, so of a half of it nothing was submitted.
        log.warning("%s: not readable, so nothing is looked for: %s", marker, exc)
        name, settings = "", Settings()
    found = await BatchCommands(settings, name, run).cancel_all() if name and settings.cluster in BATCH else 0
    marker.unlink(missing_ok=True)
    return found


class StaleJobs:
    """The batch jobs that earlier servers have left. Made before this server writes a marker of its own."""

    def __init__(self, state_dir: Path, say: Callable[[str], None], run: RunCommand = run_command) -> None:
        """
        Args:
            state_dir: directory of the markers.
            say: shows the user a line.
            run: runs the cluster manager's commands.
        """
        self._markers = markers(state_dir)
        self._say = say
        self._run = run

    async def cancel(self) -> None:
        """Cancel them, and try again until it is done."""
        async with trio.open_nursery() as nursery:
            for marker in self._markers:
                nursery.start_soon(self._cancel, marker)

    async def _cancel(self, marker: Path) -> None:
        told = False
        while True:
            try:
                if found := await cancel_stale_jobs(marker, self._run):
                    self._say(notices.STALE_CANCELLED.text(count=found))
                return
            except ClusterError as exc:
                again = exc.kind not in _IN_VAIN
                if not told:
                    then = notices.TRIES_AGAIN if again else notices.FORCE_TRIES_AGAIN
                    self._say(notices.STALE_LEFT.text(error=exc, advice=then.text()))
                    told = True
                if not again:
                    return
            except Exception:
                log.exception("batch jobs of an earlier server may be left")
                return
            await trio.sleep(RETRY_S)


def main() -> int:
    found, status = 0, 0
    for state_dir in map(Path, sys.argv[1:]):
        for marker in markers(state_dir):
            try:
                found += trio.run(cancel_stale_jobs, marker)
            except ClusterError as exc:
                sys.stderr.write(f"{exc}\n")
                status = 1
        # Session files hold secrets, and their server is gone.
        for path in state_dir.glob("session-*.json"):
            with suppress(OSError):
                path.unlink()
    sys.stdout.write(f"{found}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
