"""Executors that are processes of the server: on the submit host, on other hosts, or by the user's own command."""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import trio

from spraycc import kept_variables
from spraycc.cluster.hosts import WAYS, Host, start_argv, template_argv
from spraycc.cluster.plan_actions import Limited
from spraycc.notices import cluster as notices
from spraycc.server.fleet.executors_log import ExecutorsLog
from spraycc.server.fleet.launcher import Failed
from spraycc.server.host.subprocesses import see_off, start_process
from spraycc.settings import Settings
from spraycc.status_reply import Pending

log = logging.getLogger(__name__)

#: Pause after a failed start.
RETRY_S = 10.0
#: Pause after a failed start on a host, for that host only, and if all hosts are full.
HOST_RETRY_S = 60.0
#: Executors that were withdrawn may be asked for again after this time.
WITHDRAWN_RETRY_S = 0.001
#: The user's own command may submit a batch job: wait this many seconds for the executor to connect.
CONNECT_S = 600.0


class ProcessLauncher:
    """A :class:`Launcher` that starts a process for each executor; with hosts, one for all new executors on a host."""

    def __init__(self, settings: Settings, command: Sequence[str], log_path: Path, failed: Failed) -> None:
        """
        Args:
            settings: how executors are started.
            command: an executor's command line without its id.
            log_path: file for the output of the processes.
            failed: told of executors that will not connect.

        Raises:
            ConfigError: the settings name no host or no command, or there is no allocation.
        """
        self._settings = settings
        self._command = tuple(command)
        self._log_path = log_path
        self._failed = failed
        #: executors that were started and have not connected -> when
        self._awaited: dict[str, float] = {}
        way = WAYS.get(settings.cluster)
        self._hosts = way.hosts(settings) if way else ()
        #: a line of a command's output that says that the allocation has ended
        self._ended = way.ended if way else None
        #: the allocation has ended: no executor can be started any more
        self._is_over = False
        #: executors on each host
        self._taken: dict[Host, int] = dict.fromkeys(self._hosts, 0)
        #: executor -> the host where it takes a slot
        self._places: dict[str, Host] = {}
        #: executors that are connected
        self._connected: set[str] = set()
        #: host -> no executor is started on the host before this time
        self._not_before: dict[Host, float] = {}
        if settings.cluster == "command":
            template_argv(settings.start_command, self._command, "check")
        #: executor -> ends the user's own command for it, which may wait for a CPU of the cluster
        self._withdrawals: dict[str, trio.CancelScope] = {}
        self._scope = trio.CancelScope()
        #: (command line, executors, host) of processes to start
        self._starts, self._to_start = trio.open_memory_channel[tuple[Sequence[str], Sequence[str], Host | None]](
            math.inf
        )
        self.processes = 0

    @property
    def is_idle(self) -> bool:
        return not self.processes

    def submission_ids(self) -> list[str]:
        return []

    def pending(self) -> list[Pending]:
        groups: dict[str, list[float]] = {}
        for executor_id, at in self._awaited.items():
            place = self._places.get(executor_id)
            groups.setdefault(place.name if place else "", []).append(at)
        now = trio.current_time()
        return [
            Pending(
                system=self._settings.cluster,
                queue=host,
                batch_jobs=0,
                executors=len(times),
                reason="",
                started=True,
                age_s=round(now - min(times), 3),
            )
            for host, times in groups.items()
        ]

    def limited(self) -> Limited | None:
        return None

    async def run(self) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                async for argv, ids, host in self._to_start:
                    nursery.start_soon(self._run_process, argv, ids, host)

    def ask(self, count: int) -> None:
        if self._is_over:
            self._failed(count, HOST_RETRY_S, "")
        elif self._hosts:
            self._ask_hosts(count)
        else:
            for _ in range(count):
                executor_id = secrets.token_hex(4)
                if self._settings.cluster == "command":
                    argv = template_argv(self._settings.start_command, self._command, executor_id)
                    self._withdrawals[executor_id] = trio.CancelScope()
                else:
                    argv = (*self._command, "--id", executor_id)
                self._start(argv, [executor_id], None)

    def withdraw(self) -> None:
        """End the user's own commands whose executors have not connected. Other processes connect within a second."""
        for executor_id, withdrawal in self._withdrawals.items():
            if executor_id in self._awaited:
                withdrawal.cancel()

    async def withdrawn(self) -> None:
        pass

    def connected(self, executor_id: str) -> None:
        if self._awaited.pop(executor_id, None) is not None:
            self._connected.add(executor_id)

    def gone(self, executor_id: str) -> None:
        """Free the executor's slot. Its process may last longer, for other executors on the host."""
        self._connected.discard(executor_id)
        self._free(executor_id)

    def _free(self, executor_id: str) -> None:
        if host := self._places.pop(executor_id, None):
            self._taken[host] -= 1

    async def close(self) -> None:
        self._scope.cancel()

    def _ask_hosts(self, count: int) -> None:
        """Choose the host with the most free slots for each executor, so that the load is even."""
        now = trio.current_time()
        shares = dict.fromkeys(self._hosts, 0)
        for _ in range(count):
            host = max(
                (h for h in self._hosts if self._not_before.get(h, now) <= now),
                key=lambda h: h.slots - self._taken[h] - shares[h],
                default=None,
            )
            if host is None or self._taken[host] + shares[host] >= host.slots:
                break
            shares[host] += 1
        for host, share in shares.items():
            if share:
                ids = [secrets.token_hex(4) for _ in range(share)]
                self._taken[host] += share
                self._places |= dict.fromkeys(ids, host)
                self._start(start_argv(host.name, self._command, ids, self._settings), ids, host)
        if missing := count - sum(shares.values()):
            self._failed(missing, HOST_RETRY_S, "")

    def _start(self, argv: Sequence[str], ids: Sequence[str], host: Host | None) -> None:
        self._awaited |= dict.fromkeys(ids, trio.current_time())
        self.processes += 1
        self._starts.send_nowait((argv, ids, host))

    async def _run_process(self, argv: Sequence[str], ids: Sequence[str], host: Host | None) -> None:
        """Start a process and wait for its end. Report its executors that have not connected."""
        log_file = ExecutorsLog(self._log_path)
        withdrawal = self._withdrawals.get(ids[0]) or trio.CancelScope()
        try:
            environ = self._environment()
            process = await start_process(argv, environ, self._log_path)
            log.info("executors %s: started as process %d", " ".join(ids), process.pid)
            try:
                with withdrawal:
                    await process.wait()
                status = process.returncode  # None: withdrawn, and the process is ended below
                ended = "is not wanted any more" if status is None else f"ended with status {status}"
                log.info("executors %s: process %d %s", " ".join(ids), process.pid, ended)
                lines = log_file.lines()
                why = lines[-1] if lines else f"the process ended with status {status} before"
                if host is None:
                    why = f"{why} (see {self._log_path})"
                elif status and any(map(self._says_ended, lines)):
                    self._end_allocation()
                if status == 0 and self._settings.cluster == "command":
                    await self._wait_for_connections(ids)
                    why = notices.NOTHING_CONNECTED.text(limit_s=CONNECT_S, log=self._log_path)
            finally:
                await see_off(process)
        except OSError as exc:  # the process could not be started
            why = f"{argv[0]}: {exc.strerror}"
        except Exception as exc:
            log.exception("executors %s: not started because of a fault of SprayCC", " ".join(ids))
            why = f"a fault of the server: {exc}"
        finally:
            self.processes -= 1
            self._withdrawals.pop(ids[0], None)
            for executor_id in ids:
                if executor_id not in self._connected:  # a connected executor may outlive its broken connection
                    self._free(executor_id)
        if missing := [executor_id for executor_id in ids if self._awaited.pop(executor_id, None) is not None]:
            if withdrawal.cancelled_caught:
                self._failed(len(missing), WITHDRAWN_RETRY_S, "")
                return
            if host is not None:
                self._not_before[host] = trio.current_time() + HOST_RETRY_S
            what = "an executor" if len(missing) == 1 else f"{len(missing)} executors"
            where = f" on {host.name}" if host is not None else ""
            text = notices.PROCESS_NOT_STARTED.text(executors=what, where=where, cause=why)
            self._failed(len(missing), RETRY_S, "" if self._is_over else text)

    def _says_ended(self, line: str) -> bool:
        """True if the allocation has ended by this line of a command."""
        found = self._ended.search(line) if self._ended else None
        allocation = self._settings.allocation
        return found is not None and (found[1] is None or allocation is None or found[1] == allocation.job)

    def _end_allocation(self) -> None:
        """Start no more executors, and tell the user once."""
        if not self._is_over and self._settings.allocation is not None:
            self._is_over = True
            text = notices.ALLOCATION_ENDED.text(allocation=self._settings.allocation.name)
            self._failed(0, HOST_RETRY_S, text)

    def _environment(self) -> dict[str, str]:
        """The environment of a process that starts executors."""
        allocation, more = self._settings.allocation, self._settings.kept_variables
        if allocation is None or self._settings.cluster != allocation.cluster:
            return kept_variables.for_executor(os.environ, more)
        # The cluster manager's command passes its environment on to another host.
        return kept_variables.for_cluster_command(os.environ, more) | dict(allocation.variables)

    async def _wait_for_connections(self, ids: Sequence[str]) -> None:
        end = trio.current_time() + CONNECT_S
        while self._awaited.keys() & set(ids) and trio.current_time() < end:
            await trio.sleep(1)
