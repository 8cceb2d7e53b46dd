"""Serves one runner: from its request to the end of its process."""

from __future__ import annotations

import itertools
import logging
import os
import stat
from dataclasses import replace
from functools import partial
from typing import Any

from spraycc.commands.describe import describe
from spraycc.commands.policy import Policy
from spraycc.model import UNKNOWN, BuildId, Command, Description, Kind, Placement, TaskId
from spraycc.scheduler.events import TaskArrived, TaskGone
from spraycc.server.builds.build import Builds
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.capture_roots import CapturePlan, plan_capture
from spraycc.server.tasks.command_files import Environment, read_response_file
from spraycc.server.tasks.task import Task
from spraycc.server.tasks.toolchains import needs_of
from spraycc.wire.runner import FROM_SERVER, RUNNER_PROTOCOL, Refused, RunTask

log = logging.getLogger(__name__)

_task_ids = itertools.count(1)

#: Kinds whose output is only diagnostics: held until the end. What another command writes is passed on as it comes.
_HELD_KINDS = frozenset({Kind.COMPILE, Kind.DEPENDENCIES, Kind.PREPROCESS, Kind.ASSEMBLE, Kind.PCH})


async def serve_runner(dispatcher: Dispatcher, peer: Peer, request: RunTask, workspace: bytes, home: bytes) -> None:
    """Take the task through to the end. The caller closes the peer."""
    command = request.command()
    settings = dispatcher.settings
    rules = Policy(settings.policy_remote, settings.policy_here_heavy, settings.policy_here_light)
    look = partial(_decide, command, rules, request.wish, workspace, home)
    description, plan, by_default = await dispatcher.disk.do("look", look)
    same = await dispatcher.toolchains.sameness(command, description) if plan and settings.cluster != "local" else ()
    task = Task(
        id=TaskId(next(_task_ids)),
        build=BuildId(request.build.decode("ascii", "replace")),
        command=command,
        description=description,
        peer=peer,
        plan=plan,
        live=description.kind not in _HELD_KINDS,
        same=same,
    )
    expected = UNKNOWN
    if plan is not None and settings.cluster != "local":
        task.expected = dispatcher.inputs.expect(command, description, plan.outputs)
        await dispatcher.inputs.prepare(task.expected)
    if plan is not None:
        await dispatcher.history.loaded()
        task.key = dispatcher.history.key_of(task)
        expected = dispatcher.history.expect(task.key)
    figures = dispatcher.builds.figures(task.build)
    figures.tasks += 1
    figures.reasons[description.reason] += 1
    dispatcher.tasks[task.id] = task
    build = dispatcher.builds.open.get(task.build)
    pool = None
    try:
        if build is not None and build.pool is not None:
            foreign = build.pool.is_foreign(Environment(command.env).get(b"MAKEFLAGS", b""))
            build.pool.runner_registered(task.id, peer.pid, foreign)
            pool = build.pool
            if foreign:
                build.notice(
                    "a make below this build was given its own -j and left the jobserver: it runs that many recipes at "
                    "once, whatever the executors; take the -j out of its makefile or command line"
                )
        dispatcher.post(
            TaskArrived(
                task.id,
                task.build,
                description.placement,
                priority=0 if description.kind is Kind.DEPENDENCIES else 1,
                must_be_remote=request.wish == "remote" and description.placement is Placement.REMOTE,
                needs=needs_of(same),
                expected=expected,
                # Compilers talk to nobody; what else the user sends may.
                may_run_twice=by_default and description.kind in _HELD_KINDS,
            )
        )
        asks = await peer.wait_word()
        if asks and task.stays:
            # Its slot is free. The token is at a recipe of ours until it has been told that it may end.
            task.is_gone = True
            dispatcher.post(TaskGone(task.id))
            if pool is not None:
                pool.finish(task.id, peer.dismiss)
        if asks:
            await peer.wait_closed()
        if task.runs_here:
            await peer.wait_process()
    finally:
        del dispatcher.tasks[task.id]
        if pool is not None:
            pool.runner_gone(task.id)
        if not task.answered:
            figures.cancelled += 1
        if build is not None:
            build.note(task)
        if not task.is_gone:
            dispatcher.post(TaskGone(task.id))


def refuse_version(builds: Builds, peer: Peer, item: list[Any]) -> None:
    """Tell a runner of another version that it must help itself, and its build why it does."""
    version = item[1] if len(item) > 1 else "unknown"
    text = f"the server speaks runner protocol {RUNNER_PROTOCOL}, the runner {version!r}"[:200]
    log.warning("process %d: %s", peer.pid, text)
    # Version, wish and build stand where they do in every version.
    build_id = item[3] if len(item) > 3 and isinstance(item[3], bytes) else b""
    if build := builds.open.get(BuildId(build_id.decode("ascii", "replace"))):
        build.notice(
            f"{text}: SprayCC was installed anew while this server ran; commands run here until it is replaced, which "
            "the next build does when no other is in flight"
        )
    peer.send_now(FROM_SERVER.pack(Refused(text)))


def _decide(
    command: Command, rules: Policy, wish: str, workspace: bytes, home: bytes
) -> tuple[Description, CapturePlan | None, bool]:
    """What the command is, what its capture must hold (None: it runs here), and whether that was decided by the
    command line alone. Looks at files."""
    description = _describe(command)
    ruled = rules.apply(description, command.argv, command.program)
    by_default = ruled is description and wish == "auto"
    description = _apply_wish(ruled, wish)
    if description.placement is not Placement.REMOTE:
        return description, None, by_default
    plan = plan_capture(command, description, workspace, home)
    if plan is None:
        description = _here(description, "its directories can't be captured")
    elif any(map(_is_special, plan.outputs)):
        description, plan = _here(description, "writes to a special file"), None
    elif any(_is_special(os.path.join(command.cwd, name)) for name in description.inputs):
        description, plan = _here(description, "reads a special file"), None
    return description, plan, by_default


def _describe(command: Command) -> Description:
    def read_file(name: bytes) -> bytes | None:
        return read_response_file(os.path.join(command.cwd, name))

    return describe(command.argv, command.program, command.cwd, Environment(command.env), read_file)


def _is_special(path: bytes) -> bool:
    """Whether there is a fifo, a socket or a device: who is at its other end is on this host."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _apply_wish(description: Description, wish: str) -> Description:
    if wish == "local" and description.placement is Placement.REMOTE:
        return _here(description, "--local")
    if wish == "remote" and description.placement is not Placement.REMOTE:
        return replace(description, placement=Placement.REMOTE, reason="--remote")
    return description


def _here(description: Description, reason: str) -> Description:
    return replace(description, placement=Placement.HERE_HEAVY, reason=reason)
