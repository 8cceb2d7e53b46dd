"""The server as a whole: sockets, parts, and its end."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import pwd
import resource
import shutil
import signal
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

import spraycc
from spraycc.cluster.executor_command import executor_command
from spraycc.cluster.registry import BATCH, useful_s
from spraycc.errors import ProtocolError, SprayccError
from spraycc.landmarks import Landmarks
from spraycc.model import ExecutorId, Usage
from spraycc.scheduler.events import Event, Outcome, SubmissionFailed
from spraycc.server.builds.build import Builds, clear_builds
from spraycc.server.coherence.inputs import Inputs
from spraycc.server.dispatcher import Dispatcher
from spraycc.server.fleet.batch_launcher import BatchLauncher
from spraycc.server.fleet.connection import ExecutorLink
from spraycc.server.fleet.credentials import make_session, remove_session_file, write_session_file
from spraycc.server.fleet.launcher import Launcher
from spraycc.server.fleet.listener import ExecutorListener, TcpAcceptor
from spraycc.server.fleet.pack import packs_dir, ready_pack
from spraycc.server.fleet.process_launcher import RETRY_S, ProcessLauncher
from spraycc.server.frontend.command_line import Control
from spraycc.server.frontend.runner import refuse_version, serve_runner
from spraycc.server.host.addresses import listening_host, reachable
from spraycc.server.host.loop_lag import LoopLag
from spraycc.server.host.supervise import keep_going
from spraycc.server.host.unix_connection import Peer
from spraycc.server.tasks.durations import TaskHistory
from spraycc.server.tasks.task import Task
from spraycc.server.tasks.toolchains import needs_of
from spraycc.server.writeback.commit import WriteBack
from spraycc.settings import Settings
from spraycc.system.filesystems import FileSystems
from spraycc.system.signals import receive_signals
from spraycc.system.threads import run_in_thread
from spraycc.wire.executor import Ready
from spraycc.wire.runner import FROM_SERVER, RUNNER_PROTOCOL, TO_SERVER, Hello, Refused, RunTask

log = logging.getLogger(__name__)

#: The kernel cuts it to net.core.somaxconn. A runner connects blocking, so a full backlog delays it and loses nothing.
BACKLOG = 65535
#: Where this process has no descriptor for another connection, it tries again after so long, or when one has ended.
SHORT_S = 0.1
#: A peer of the Unix socket has so long to say what it wants.
FIRST_FRAME_S = 30.0
#: At the end, executors have so long to leave.
LEAVE_S = 1.0
#: Logs of executors that are kept, the newest, when a server starts.
EXECUTOR_LOGS = 200
#: A heartbeat that comes so late says that this process was stopped, or got no CPU.
LATE_S = 0.5
#: Heartbeats of all executors are spread over so many parts of their time.
_BEAT_PARTS = 10
#: Status waits so long for the executors' counters.
STATUS_S = 0.5
#: Descriptors a server needs beside those of tasks.
_SPARE_DESCRIPTORS = 100


class Server:
    """One server: one user, one workspace, one host."""

    def __init__(self, runtime_dir: Path, state_dir: Path, workspace: bytes, settings: Settings) -> None:
        self._runtime_dir = runtime_dir
        self._state_dir = state_dir
        self._workspace = os.path.realpath(workspace)
        self._home = os.path.realpath(os.fsencode(_home()))
        self._settings = settings
        self._started = time.monotonic()
        #: to end when the last build has
        self._stopping = False
        #: executors were told to go: what becomes of them concerns nobody any more
        self._leaving = False
        self._stop_scope = trio.CancelScope()
        self._peers = 0
        #: where a coroutine waits for a connection of the Unix socket to end
        self._peer_left = trio.lowlevel.ParkingLot()
        self._idle_since = 0.0
        self._session_file: Path | None = None
        self._starting_session = False
        self._to_start = 0
        #: who starts executors; None before the first is asked for. Those before it were for other settings.
        self._launcher: Launcher | None = None
        self._launcher_for: tuple[object, ...] = ()
        self._launchers: list[Launcher] = []
        #: files by which executors show that they see our workspace
        self._landmarks: Landmarks | None = None
        #: what was said to differ on some executor's host
        self._differing: set[str] = set()
        #: why executors did not come the last time, and when that was; empty again when one has
        self._trouble = ""
        self._trouble_at = 0.0
        #: who has proved to be an executor, by whichever listener
        self._links: dict[ExecutorId, ExecutorLink] = {}
        self._beats = 0
        #: by which we see that the socket at our path is still ours
        self._socket_inode = -1
        self._lag = LoopLag()

    @property
    def capture(self) -> str:
        return self._dispatcher.settings.capture

    @property
    def inputs(self) -> Inputs:
        return self._dispatcher.inputs

    async def why_unusable(self, ready: Ready) -> str:
        if self._landmarks is None:
            return ""
        if not await self._dispatcher.disk.do("look", partial(self._landmarks.agree, ready.landmarks)):
            return f"{os.fsdecode(self._workspace)} is not the submit host's directory of that name"
        if reason := ready.refusals.get("recorder"):
            return f"whether its files are old could not be seen, as it can't record what commands read ({reason})"
        return ""

    @property
    def executor_lasts_s(self) -> float | None:
        return useful_s(self._dispatcher.settings)

    async def run(self, listener: socket.socket) -> None:
        """Serve until stopped or idle for long enough. ``listener`` listens on the Unix socket; it is closed here."""
        with suppress(OSError):
            self._socket_inode = (self._runtime_dir / "socket").stat().st_ino
        trio.lowlevel.add_instrument(self._lag)
        try:
            with self._stop_scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    self._builds = Builds(self._runtime_dir, nursery, self._state_dir)
                    self._history = TaskHistory(self._state_dir, self._workspace)
                    self._dispatcher = Dispatcher(self._settings, self._builds, self._history)
                    self._dispatcher.ask_executors = self._ask_executors
                    self._dispatcher.withdraw_executors = self._withdraw_executors
                    self._clear_leftovers()
                    self._make_slots()
                    nursery.start_soon(self._watch_signals)
                    nursery.start_soon(keep_going, "deadlines", self._dispatcher.run_deadlines)
                    nursery.start_soon(keep_going, "memory", self._dispatcher.run_memory)
                    nursery.start_soon(keep_going, "heartbeats", self._beat)
                    nursery.start_soon(keep_going, "idleness", self._watch_idleness)
                    nursery.start_soon(self._history.run)
                    await self._accept(listener)
        finally:
            listener.close()
            if self._session_file is not None:
                remove_session_file(self._session_file)
            # Where builds go on without us, their runners still need the lock slots; the last build's end removes them.
            if not self._builds.open:
                shutil.rmtree(self._runtime_dir / "builds", ignore_errors=True)
                shutil.rmtree(self._runtime_dir / "slots", ignore_errors=True)

    # -- the Unix socket

    async def _accept(self, listener: socket.socket) -> None:
        is_short = False
        while True:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                is_short = False
                await trio.lowlevel.wait_readable(listener)
                continue
            except OSError as exc:
                if exc.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED):
                    raise
                if not is_short:
                    log.warning("accept: %s; runners wait", exc)
                is_short = True
                self._builds.make_room()
                with trio.move_on_after(SHORT_S):
                    await self._peer_left.park()
                continue
            self._nursery.start_soon(self._serve_peer, sock)

    async def _serve_peer(self, sock: socket.socket) -> None:
        try:
            peer = Peer(sock)
        except OSError as exc:  # it is gone already
            log.info("a connection that broke at once: %s", exc)
            sock.close()
            return
        self._peers += 1
        try:
            if peer.uid != os.geteuid():
                log.warning("process %d of user %d refused", peer.pid, peer.uid)
                return
            item = None
            with trio.move_on_after(FIRST_FRAME_S):
                item = await peer.receive()
            if item is None:
                return
            if isinstance(item, list) and item[:1] == ["task"] and item[1:2] != [RUNNER_PROTOCOL]:
                refuse_version(self._builds, peer, item)
                await peer.wait_closed()
                return
            message = TO_SERVER.unpack(item)
            if isinstance(message, RunTask):
                await serve_runner(self._dispatcher, peer, message, self._workspace, self._home)
            elif isinstance(message, Hello):
                control = Control(
                    self._dispatcher, peer, status=self.status, stop=self.stop, warnings=self._limit_warnings
                )
                await control.serve(message)
            else:
                raise ProtocolError(f"a connection does not begin with {message.TAG!r}")
        except ProtocolError as exc:
            log.warning("process %d: %s", peer.pid, exc)
            peer.send_now(FROM_SERVER.pack(Refused(str(exc))))
        except Exception:
            # A fault of ours: it costs this connection, whose runner then helps itself, and not everybody's server.
            log.exception("process %d: serving it failed", peer.pid)
        finally:
            self._peers -= 1
            peer.close()
            self._peer_left.unpark_all()

    # -- what executors' connections need (executors.Hub)

    def post(self, event: Event) -> None:
        if not self._leaving:
            self._dispatcher.post(event)

    def executor_ready(self, link: ExecutorLink) -> None:
        self._dispatcher.executors[link.id] = link
        assert link.ready is not None
        log.info("executor %s: ready on %s, process %d", link.id, link.ready.host, link.ready.pid)
        self._trouble = ""
        for launcher in self._launchers:
            launcher.connected(link.id)

    def executor_gone(self, link: ExecutorLink) -> None:
        log.info("executor %s: gone", link.id)
        self._dispatcher.executors.pop(link.id, None)
        for launcher in self._launchers:
            launcher.gone(link.id)

    def executor_unfit(self, link: ExecutorLink, text: str) -> None:
        for launcher in self._launchers:
            launcher.connected(link.id)
            launcher.gone(link.id)
        self._start_failed(1, 60.0, f"{text}; its tasks run here (see 'spraycc doctor')")

    def host_differs(self, task: Task, text: str) -> None:
        needs = needs_of(task.same)
        if needs not in self._differing:  # there may be hundreds of such hosts
            self._differing.add(needs)
            self._say(f"{text}; executors of such hosts get no such tasks")

    def attempt_over(self, task: Task, outcome: Outcome, usage: Usage, returned_bytes: int, ok: bool) -> None:
        self._dispatcher.attempt_over(task, outcome, usage, returned_bytes, ok)

    def finish(self, task: Task, code: int, signal: int) -> None:
        self._dispatcher.finish(task, code, signal)

    # -- executors

    def _ask_executors(self, count: int) -> None:
        if self._launcher is not None and self._launcher_for == _launching(self._dispatcher.settings):
            self._launcher.ask(count)
            return
        self._to_start += count
        if not self._starting_session:
            self._starting_session = True
            self._nursery.start_soon(self._start_session)

    def _withdraw_executors(self) -> None:
        for launcher in self._launchers:
            launcher.withdraw()

    async def _start_session(self) -> None:
        """Certificate, secret, listener, session file: made when the first executor is asked for, and anew for settings
        that have executors started in another way. Those of the old way stay until they are released."""
        settings = self._dispatcher.settings
        listener = None
        try:
            session = await run_in_thread(make_session)
            is_local = settings.cluster == "local"
            self._landmarks = None if is_local else await run_in_thread(Landmarks, self._workspace)
            bound = listening_host(settings.listen, local=is_local)
            is_shared = await run_in_thread(FileSystems().is_shared, self._workspace)
            write_back = WriteBack(self._dispatcher.disk, is_own_disk=not is_shared)
            listener = ExecutorListener(self, session, TcpAcceptor(bound), write_back, self._links)
            if self._session_file is not None:
                remove_session_file(self._session_file)
            self._session_file = write_session_file(
                session,
                self._state_dir,
                addresses=[(address, listener.address[1]) for address in reachable(bound)],
                workspace=self._workspace,
                scratch_dir=settings.scratch_dir,
                heartbeat_s=settings.heartbeat_s,
                lost_after_s=settings.lost_after_s,
                log_dir=self._state_dir,
                landmarks=() if self._landmarks is None else self._landmarks.lookups,
            )
            pack = None if is_local else await ready_pack(packs_dir(self._state_dir))
            self._launcher = self._make_launcher(settings, self._session_file, pack)
        except Exception as exc:
            if not isinstance(exc, (OSError, SprayccError)):
                log.exception("a fault at the start of a session")
            if listener is not None:
                listener.close()
            count, self._to_start = self._to_start, 0
            self._start_failed(count, RETRY_S, f"executors can't be started: {exc}")
            return
        finally:
            self._starting_session = False
        self._launcher_for = _launching(settings)
        self._launchers.append(self._launcher)
        self._nursery.start_soon(listener.run)
        self._nursery.start_soon(self._launcher.run)
        count, self._to_start = self._to_start, 0
        self._launcher.ask(count)

    def _make_launcher(self, settings: Settings, session_file: Path, pack: Path | None) -> Launcher:
        environ = None if settings.cluster == "local" else os.environ
        command = executor_command(session_file, settings.executor_prefix, environ, pack, settings.scratch_dir)
        if settings.cluster not in BATCH:
            log_path = self._state_dir / "executors.log"
            return ProcessLauncher(settings, command, log_path, self._start_failed)
        launcher = BatchLauncher(
            settings,
            command,
            self._state_dir,
            failed=self._start_failed,
            say=self._say,
            wanted=lambda: self._launcher is launcher and bool(self._builds.open or self._dispatcher.tasks),
            known=self._submission_ids,
        )
        return launcher

    def _submission_ids(self) -> list[str]:
        return [found for launcher in self._launchers for found in launcher.submission_ids()]

    def _say(self, text: str) -> None:
        log.warning("%s", text)
        for build in self._builds.open.values():
            build.notice(text)

    def _start_failed(self, count: int, retry_s: float, text: str) -> None:
        if text:
            self._trouble, self._trouble_at = text, trio.current_time()
            self._say(text)
        self.post(SubmissionFailed(count, retry_s))

    async def _beat(self) -> None:
        """Ask executors that have been silent for a heartbeat. A part of them at a time: a thousand pings at once take
        a while, in which nobody else is served."""
        for part in itertools.cycle(range(_BEAT_PARTS)):
            settings = self._dispatcher.settings
            due = trio.current_time() + settings.heartbeat_s / _BEAT_PARTS
            await trio.sleep_until(due)
            if trio.current_time() > due + LATE_S:
                for link in self._dispatcher.executors.values():
                    link.excuse()
            self._beats += 1
            for link in list(self._dispatcher.executors.values())[part::_BEAT_PARTS]:
                link.beat(self._beats, settings.heartbeat_s, settings.lost_after_s)

    def _ping_all(self) -> int:
        """Have all of them say how they are; the number of these pings."""
        self._beats += 1
        for link in list(self._dispatcher.executors.values()):
            link.ping(self._beats)
        return self._beats

    # -- life and end

    async def _watch_signals(self) -> None:
        with receive_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async for number in received:
                log.info("%s received", signal.Signals(number).name)
                # The first SIGTERM lets builds in flight end; who means it says so again.
                self.stop(now=number != signal.SIGTERM or self._stopping)

    def stop(self, now: bool) -> None:
        """End: at once, or when the last build has ended."""
        log.info("stopping %s", "now" if now else "after the last build")
        self._stopping = True
        if now or not self._builds.open:
            self._nursery.start_soon(self._leave)

    async def _leave(self) -> None:
        self._leaving = True
        for link in self._dispatcher.executors.values():
            link.leave()
        with trio.move_on_after(LEAVE_S):
            while self._dispatcher.executors or any(launcher.processes for launcher in self._launchers):
                await trio.sleep(0.01)
        async with trio.open_nursery() as nursery:
            for launcher in self._launchers:
                nursery.start_soon(self._close_launcher, launcher)
        self._stop_scope.cancel()

    async def _close_launcher(self, launcher: Launcher) -> None:
        try:
            await launcher.close()
        except Exception:
            # Of one; the others' batch jobs shall be cancelled all the same.
            log.exception("not all that was started could be ended")

    async def _watch_idleness(self) -> None:
        """End when there has been nothing to do for long enough, or nobody could reach us any more."""
        socket_path = self._runtime_dir / "socket"
        busy_at = trio.current_time()
        while True:
            limit_s = self._dispatcher.settings.idle_shutdown_s
            await trio.sleep(min(1.0, max(0.05, limit_s / 4)))
            now = trio.current_time()
            launched = any(launcher.processes for launcher in self._launchers)
            if self._peers or self._dispatcher.executors or launched:
                busy_at = now
            try:
                reachable = socket_path.stat().st_ino == self._socket_inode
            except OSError:
                reachable = False
            if self._stopping and not self._builds.open:
                self._nursery.start_soon(self._leave)
                return
            if not self._peers and not reachable:
                log.warning("the socket %s is no longer ours; ending", socket_path)
                self.stop(now=True)
                return
            if now - busy_at >= limit_s:
                log.info("idle for %.1f s", limit_s)
                self.stop(now=True)
                return

    def _clear_leftovers(self) -> None:
        """Remove what a server that was killed has left here; we hold the lock, so it is nobody's."""
        for path in self._state_dir.glob("session-*.json"):
            remove_session_file(path)
        logs = sorted(self._state_dir.glob("executor-*.log"), key=lambda path: path.stat().st_mtime)
        for path in logs[:-EXECUTOR_LOGS]:
            path.unlink(missing_ok=True)
        clear_builds(self._runtime_dir)

    def _make_slots(self) -> None:
        """Lock files for the time after us: as many commands may run here at once, should this server die."""
        directory = self._runtime_dir / "slots"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        for number in range(self._settings.local_slots_in_force):
            (directory / str(number)).touch(mode=0o600)

    def _limit_warnings(self) -> list[str]:
        """What the user should know of this host's limits."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self._dispatcher.settings.executors_in_force
        # An executor's connection, its task's runner, and a file of each that is being written.
        need = 3 * wanted + _SPARE_DESCRIPTORS
        if need <= soft:
            return []
        return [
            f"this host allows a process {soft} open files, {wanted} executors need about {need}; "
            f"raise the hard limit (ulimit -Hn) or lower --executors"
        ]

    async def status(self) -> dict[str, Any]:
        """Everything, as a map of CBOR's types; the executors' counters as of now, where they answer in time."""
        number = self._ping_all()
        with trio.move_on_after(STATUS_S):
            while any(link.answered_ping < number for link in self._dispatcher.executors.values()):
                await trio.sleep(0.002)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "server": {
                "pid": os.getpid(),
                "release": spraycc.__version__,
                "uptime_s": round(time.monotonic() - self._started, 3),
                "workspace": os.fsdecode(self._workspace),
                "runtime_dir": str(self._runtime_dir),
                "state_dir": str(self._state_dir),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 5),
                "peak_rss_bytes": usage.ru_maxrss * 1024,
                "descriptors": len(os.listdir("/proc/self/fd")),
                "loop_lag": self._lag.figures(),
                "local_slots": self._dispatcher.settings.local_slots_in_force,
            },
            "builds": [build.status() for build in self._builds.open.values()],
            "executors": [link.status() for link in self._dispatcher.executors.values()],
            "scheduler": self._dispatcher.snapshot(),
            "submissions": self._submission_ids(),
            "trouble": self._trouble,
            "trouble_age_s": round(trio.current_time() - self._trouble_at, 3) if self._trouble else 0.0,
        }


def _launching(settings: Settings) -> tuple[object, ...]:
    """What of the settings decides how executors are started."""
    return (
        settings.cluster, settings.listen, settings.queues, settings.queue_use, settings.queue_patience_s,
        settings.account, settings.project, settings.wall_time_s, settings.memory_mb, settings.cpus_per_executor,
        settings.parallel_environment, settings.submit_arguments, settings.batch_name, settings.setup,
        settings.array_limit, settings.keep_pending, settings.hosts, settings.start_command,
        settings.executor_prefix, settings.scratch_dir,
    )  # fmt: skip


def raise_descriptor_limit() -> None:
    """Take as many open files as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return os.environ.get("HOME", "/nonexistent")
