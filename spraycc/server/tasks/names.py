"""The names by which a user knows a task: the file that it makes, and the first file that it reads."""

from __future__ import annotations

import os
import time

from spraycc.server.tasks.task import Task
from spraycc.status_reply import TaskStatus

#: Command lines in the status are cut to this many bytes.
_COMMAND_BYTES = 200


def name_in(workspace: bytes, cwd: bytes, name: bytes) -> str:
    """A path of a command line, relative to the workspace if the path is below it; else absolute.

    ``cwd``: the command's working directory. No link is followed.
    """
    if not name:
        return ""
    path = os.path.normpath(os.path.join(cwd, name))
    below = path.removeprefix(workspace.rstrip(b"/") + b"/")
    return os.fsdecode(below)


def status_of(task: Task, workspace: bytes, began: float | None) -> TaskStatus:
    """The task in the status. ``began``: when it began to run where it runs (time.monotonic); None: it waits."""
    now = time.monotonic()
    command, description = task.command, task.description
    target, source = (names[0] if names else b"" for names in (description.outputs[-1:], description.inputs[:1]))
    return TaskStatus(
        id=task.id,
        build=task.build,
        target=name_in(workspace, command.cwd, target),
        source=name_in(workspace, command.cwd, source),
        command=os.fsdecode(b" ".join(command.argv[:20])[:_COMMAND_BYTES]),
        kind=description.kind.value,
        age_s=round(now - task.arrived, 3),
        run_s=None if began is None else round(now - began, 3),
    )
