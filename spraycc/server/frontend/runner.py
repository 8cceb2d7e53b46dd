"""Serves one runner: from its request to the end of its process."""

from __future__ import annotations

import logging
import time
from typing import Any

from spraycc.errors import ProtocolError
from spraycc.model import UNKNOWN, BuildId, Kind, Placement, Usage
from spraycc.notices import executors, starting
from spraycc.scheduler.events import TaskArrived, TaskGone
from spraycc.server.builds.build import Build, Builds
from spraycc.server.builds.token_pool import TokenPool
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.frontend.decide import HELD_KINDS, Decider
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.command_files import environment_of
from spraycc.server.tasks.record_lines import target_of
from spraycc.server.tasks.stats import is_compile
from spraycc.server.tasks.task import Phase, Task
from spraycc.server.tasks.toolchains import needs_of
from spraycc.wire.framing import FrameReader
from spraycc.wire.runner import FROM_SERVER, RUNNER_PROTOCOL, TO_SERVER, Done, Refused, RunTask

log = logging.getLogger(__name__)

#: Larger numbers of microseconds or KiB are a fault of the report.
_MOST = 1 << 40


async def serve_runner(dispatcher: Dispatcher, decider: Decider, peer: Peer, request: RunTask) -> None:
    """Serve the task until its runner's process has ended. The caller closes the peer."""
    task, by_default = await decider.task_of(peer, request)
    description = task.description
    figures = dispatcher.builds.figures(task.build)
    figures.tasks += 1
    figures.reasons[description.reason] += 1
    figures.compiles += is_compile(description)
    dispatcher.tasks.known[task.id] = task
    build = dispatcher.builds.open.get(task.build)
    if build is not None:
        build.expectation.arrived(target_of(task))
    pool = None
    try:
        pool = _register(build, task)
        dispatcher.post(
            TaskArrived(
                task.id,
                task.build,
                description.placement,
                priority=0 if description.kind is Kind.DEPENDENCIES else 1,
                must_be_remote=request.wish == "remote" and description.placement is Placement.REMOTE,
                needs=needs_of(task.same),
                expected=dispatcher.tasks.history.expect(task.key) if task.plan is not None else UNKNOWN,
                # Compilers talk to no other process; the user's other commands may.
                may_run_twice=by_default and description.kind in HELD_KINDS and task.capture in ("auto", "overlay"),
                build_is_over=bool(task.build) and build is None,
            )
        )
        word = await peer.wait_word()
        if word and task.phase is Phase.HERE_STAYS:
            # The slot is free. The token stays with the recipe until the runner has been told that it may end.
            task.enter(Phase.HERE_OVER)
            report = _report_of(word)
            dispatcher.tasks.here_over(task, report.status, _usage_of(report, task))
            dispatcher.post(TaskGone(task.id))
            if pool is not None:
                pool.finish(task.id, peer.dismiss)
            else:
                peer.dismiss()  # a runner of an older release waits for this
        if word:
            await peer.wait_closed()
        if task.runs_here:
            await peer.wait_process()
    finally:
        del dispatcher.tasks.known[task.id]
        if pool is not None:
            pool.runner_gone(task.id)
        if task.phase is Phase.WAITING:
            task.enter(Phase.CANCELLED)
            figures.cancelled += 1
        if build is not None and task.phase is not Phase.ANSWERED:  # an answered task was noted with its result
            build.note(task)
        if build is not None and not dispatcher.tasks.known:
            build.flush_record()  # nothing else waits for the server now, and the user may read the record
        if task.phase is not Phase.HERE_OVER:
            dispatcher.post(TaskGone(task.id))


def _report_of(word: bytes) -> Done:
    """A runner's report of its command's end. The word only informs, so an empty report stands for a wrong one."""
    reader = FrameReader()
    reader.feed(word)
    try:
        item = reader.next_item()
        message = TO_SERVER.unpack(item) if item is not None else None
    except ProtocolError:
        return Done()
    return message if isinstance(message, Done) else Done()


def _usage_of(report: Done, task: Task) -> Usage | None:
    """The resources of a command that has just ended on the submit host; None if the report has no sane numbers."""
    numbers = report.user_us, report.system_us, report.peak_rss_kib - 1
    if task.here_began is None or not all(0 <= number < _MOST for number in numbers):
        return None
    return Usage(
        user_s=report.user_us / 1e6,
        system_s=report.system_us / 1e6,
        peak_rss_bytes=report.peak_rss_kib << 10,
        wall_s=time.monotonic() - task.here_began,
    )


def _register(build: Build | None, task: Task) -> TokenPool | None:
    """Tell the build's jobserver, if there is one, of the task's runner."""
    if build is None or build.pool is None:
        return None
    if task.description.placement is Placement.HERE_NOW:
        # It runs without a slot, so only the governor can bound such commands: they are unseen work. With a further
        # token for each of them, all of a build would run at once.
        build.pool.note_progress()
        return None
    is_foreign = build.pool.is_foreign(environment_of(task.command.env).variables.get(b"MAKEFLAGS", b""))
    build.pool.runner_registered(task.id, task.peer.pid, is_foreign)
    if is_foreign:
        build.notice(executors.LEFT_JOBSERVER.text())
    return build.pool


def refuse_version(builds: Builds, peer: Peer, item: list[Any]) -> None:
    """Refuse a runner of another version, which then executes the command. Tell its build why."""
    version = item[1] if len(item) > 1 else "unknown"
    text = f"the server speaks runner protocol {RUNNER_PROTOCOL}, the runner {version!r}"[:200]
    log.warning("process %d: %s", peer.pid, text)
    # Version, wish and build have the same places in every version.
    build_id = item[3] if len(item) > 3 and isinstance(item[3], bytes) else b""
    if build := builds.open.get(BuildId(build_id.decode("ascii", "replace"))):
        build.notice(starting.INSTALLED_ANEW.text(difference=text))
    peer.send_now(FROM_SERVER.pack(Refused(text)))
