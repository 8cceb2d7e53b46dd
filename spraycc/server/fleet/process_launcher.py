"""Executors that are processes of the server's own: on this machine, over ssh, or by the user's own command."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from spraycc.cluster.hosts import Host, read_hosts, ssh_argv, template_argv
from spraycc.server.host.subprocesses import executor_environment, see_off, start_process
from spraycc.settings import Settings

log = logging.getLogger(__name__)

#: Seconds after which a failed start is tried again.
RETRY_S = 10.0
#: A host that could not be reached is left alone for so long.
HOST_RETRY_S = 60.0
#: A command of the user's own may have submitted something: so long its executor may take to connect.
CALL_HOME_S = 600.0

Failed = Callable[[int, float, str], None]


class ProcessStarter:
    """Starts a process for each executor (over ssh: for all that are asked of a host at once), and sees them off."""

    def __init__(
        self, nursery: trio.Nursery, settings: Settings, command: Sequence[str], log_path: Path, failed: Failed
    ) -> None:
        """``command`` is an executor's command line without its id. ``failed(count, retry_s, text)`` is told of
        executors that won't come; without a text there is nothing that the user should know.

        Raises:
            ConfigError: the settings name no host, or no command.
        """
        self._nursery = nursery
        self._settings = settings
        self._command = tuple(command)
        self._log_path = log_path
        self._failed = failed
        #: ids of executors that were started and have not connected yet
        self._awaited: set[str] = set()
        self._hosts = read_hosts(settings.hosts) if settings.cluster == "ssh" else ()
        #: executors on each host
        self._taken: dict[Host, int] = dict.fromkeys(self._hosts, 0)
        #: id of an executor that was started on a host -> that host, as long as it counts there
        self._places: dict[str, Host] = {}
        #: ids of those that are connected
        self._connected: set[str] = set()
        self._not_before: dict[Host, float] = {}
        if settings.cluster == "command":
            template_argv(settings.start_command, self._command, "check")
        self._scopes: set[trio.CancelScope] = set()
        self.processes = 0

    def ask(self, count: int) -> None:
        if self._hosts:
            self._ask_hosts(count)
            return
        for _ in range(count):
            executor_id = secrets.token_hex(4)
            if self._settings.cluster == "command":
                argv = template_argv(self._settings.start_command, self._command, executor_id)
            else:
                argv = (*self._command, "--id", executor_id)
            self._start(argv, [executor_id], None)

    def withdraw(self) -> None:
        pass  # a process that was started is there within a second

    def connected(self, executor_id: str) -> None:
        if executor_id in self._awaited:
            self._awaited.discard(executor_id)
            self._connected.add(executor_id)

    def gone(self, executor_id: str) -> None:
        """Its place is free, though the login that started it may last as long as others of that host."""
        self._connected.discard(executor_id)
        self._free(executor_id)

    def _free(self, executor_id: str) -> None:
        if host := self._places.pop(executor_id, None):
            self._taken[host] -= 1

    async def close(self) -> None:
        for scope in list(self._scopes):
            scope.cancel()

    def _ask_hosts(self, count: int) -> None:
        """The hosts with the most room first, so that all have some before one is full."""
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
                self._start(ssh_argv(host.name, self._command, ids, self._settings), ids, host)
        if missing := count - sum(shares.values()):
            self._failed(missing, HOST_RETRY_S, "")

    def _start(self, argv: Sequence[str], ids: Sequence[str], host: Host | None) -> None:
        self._awaited.update(ids)
        self.processes += 1
        self._nursery.start_soon(self._run, argv, ids, host)

    async def _run(self, argv: Sequence[str], ids: Sequence[str], host: Host | None) -> None:
        why = ""
        begin = _size(self._log_path)
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                process = await start_process(argv, executor_environment(os.environ), self._log_path)
                log.info("executors %s: started as process %d", " ".join(ids), process.pid)
                try:
                    status = await process.wait()
                    log.info("executors %s: process %d ended with status %d", " ".join(ids), process.pid, status)
                    why = f"ended with status {status} before it connected; see {self._log_path}"
                    if host is not None and (words := _last_words(self._log_path, begin)):
                        why = words
                    if status == 0 and self._settings.cluster == "command":
                        await self._wait_for_submitted(ids)
                        why = f"did not connect within {CALL_HOME_S:.0f} s; see {self._log_path}"
                finally:
                    await see_off(process)
            except OSError as exc:  # it could not be started
                why = f"{argv[0]}: {exc.strerror}"
            except Exception as exc:
                log.exception("executors %s: a fault at their start", " ".join(ids))
                why = f"a fault of the server: {exc}"
            finally:
                self._scopes.discard(scope)
                self.processes -= 1
                for executor_id in ids:
                    if executor_id not in self._connected:  # else it outlives its login, which broke
                        self._free(executor_id)
            lost = self._awaited & set(ids)
            self._awaited -= lost
            if lost:
                where = ""
                if host is not None:
                    self._not_before[host] = trio.current_time() + HOST_RETRY_S
                    where = f" on {host.name}"
                text = f"an executor could not be started{where}: {why}"
                self._failed(len(lost), RETRY_S, text)

    async def _wait_for_submitted(self, ids: Sequence[str]) -> None:
        end = trio.current_time() + CALL_HOME_S
        while self._awaited & set(ids) and trio.current_time() < end:
            await trio.sleep(1)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_words(log_path: Path, begin: int) -> str:
    """The last line in the log from ``begin`` on. Others write there as well; ssh mostly fails before they do."""
    try:
        with open(log_path, "rb") as file:
            file.seek(begin)
            lines = file.read(65536).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
