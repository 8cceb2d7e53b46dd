"""Slurm's accounting for tests: slurmdbd and its MariaDB, as an ordinary user, without authentication, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.system.harness.sandbox import Account
from tests.system.harness.waiting import HANG_S, wait_until

#: MariaDB's system tables: slurmdbd makes a stored procedure, which is kept in one of them
_SYSTEM_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")


class Accounting:
    """The database daemons of a Slurm, in a directory that belongs to its user."""

    #: program → Debian package
    PROGRAMS: ClassVar = {"mariadbd": "mariadb-server-core", "slurmdbd": "slurmdbd"}

    def __init__(self, account: Account, directory: Path, path: str, ports: Sequence[int]) -> None:
        self._account = account
        self._directory = directory
        self._path = path
        self._database_port, self.port = ports
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self, environment: Mapping[str, str]) -> None:
        """Make the database and start both daemons; return when slurmdbd listens."""
        data = self._directory / "data"
        data.mkdir()
        os.chown(data, self._account.uid, self._account.gid)
        database = ["mariadbd", "--no-defaults", f"--datadir={data}", "--skip-grant-tables", "--skip-name-resolve"]
        tables = b"create database mysql;\nuse mysql;\n" + _SYSTEM_TABLES.read_bytes()
        subprocess.run(
            self._command([*database, "--bootstrap"]),
            input=tables, capture_output=True, check=True, timeout=HANG_S, env=environment,
        )  # fmt: skip
        socket_file = self._directory / "mariadbd.socket"
        options = [
            "--bind-address=127.0.0.1", f"--port={self._database_port}", f"--socket={socket_file}",
            f"--pid-file={self._directory / 'mariadbd.pid'}", "--innodb-flush-log-at-trx-commit=0",
        ]  # fmt: skip
        self._start([*database, *options], environment, socket_file.exists)
        conf = self._directory / "slurmdbd.conf"
        settings = {
            "AuthType": "auth/none",
            "DbdHost": "localhost",
            "DbdAddr": "127.0.0.1",
            "DbdPort": self.port,
            "CommunicationParameters": "NoInAddrAny",
            "SlurmUser": self._account.name,
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "127.0.0.1",
            "StoragePort": self._database_port,
            "StorageUser": self._account.name,
            "StoragePass": "none",
            "LogFile": self._directory / "slurmdbd.log",
            "PidFile": self._directory / "slurmdbd.pid",
        }
        conf.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        conf.chmod(0o600)  # slurmdbd demands this
        os.chown(conf, self._account.uid, self._account.gid)
        # Its configuration is searched beside slurm.conf.
        self._start(["slurmdbd", "-D"], environment, self._listens)

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def _command(self, argv: Sequence[str]) -> list[str | bytes | Path]:
        program = shutil.which(argv[0], path=self._path) or argv[0]
        return self._account.command([program, *argv[1:]])

    def _start(self, argv: Sequence[str], environment: Mapping[str, str], is_up: Callable[[], bool]) -> None:
        output = self._directory / f"{argv[0]}.out"
        with open(output, "ab") as out:
            process = subprocess.Popen(
                self._command(argv),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True,
            )  # fmt: skip
        self._daemons.append(process)
        wait_until(lambda: process.poll() is not None or is_up(), f"{argv[0]} is up", output.read_text)
        assert process.poll() is None, output.read_text()

    def close(self) -> None:
        """End the daemons, slurmdbd first."""
        for process in reversed(self._daemons):
            process.terminate()
            try:
                process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
