"""The server's parts of the reply to ``spraycc status``: builds with their progress, and tasks on no executor."""

from __future__ import annotations

from typing import Any

from spraycc.model import BuildId
from spraycc.scheduler.tasks import TaskState
from spraycc.server.builds.build import Build
from spraycc.server.builds.progress import progress_of
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.tasks.names import status_of
from spraycc.server.tasks.task import Phase
from spraycc.status_reply import BuildCounts, HereTask, Snapshot, SubmitHost, WaitingTask

#: Waiting tasks that the reply names. Thousands may wait.
MOST_WAITING = 100
_WAITS_FOR = {TaskState.QUEUED: "executor", TaskState.WAITING: "slot"}


def build_status(build: Build, counts: BuildCounts | None) -> dict[str, Any]:
    """An open build, as :class:`spraycc.status_reply.BuildStatus`; ``counts``: the scheduler's."""
    progress = progress_of(build, counts)
    return build.status() | {"running_here": progress.pop("here"), **progress}


def builds_status(dispatcher: Dispatcher, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The open builds, the oldest first."""
    builds = dispatcher.builds.open
    return [build_status(build, snapshot["builds"].get(BuildId(id_))) for id_, build in builds.items()]


def submit_host(dispatcher: Dispatcher, workspace: bytes) -> SubmitHost:
    """The tasks that run on the submit host, and the tasks that wait, the oldest first. O(tasks)."""
    running: list[HereTask] = []
    waiting: list[WaitingTask] = []
    waiting_in_all = 0
    for task in dispatcher.tasks.known.values():
        if task.phase in (Phase.HERE, Phase.HERE_STAYS):
            reason = f"here: {task.why_here}" if task.why_here else task.description.reason
            running.append(HereTask(**status_of(task, workspace, task.here_began), reason=reason))
        elif task.phase is Phase.WAITING and (waits_for := _WAITS_FOR.get(dispatcher.state_of(task.id))):
            waiting_in_all += 1
            if len(waiting) < MOST_WAITING:
                waiting.append(WaitingTask(**status_of(task, workspace, None), waits_for=waits_for))
    return SubmitHost(running=running, waiting=waiting, waiting_in_all=waiting_in_all)
