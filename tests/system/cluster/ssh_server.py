"""A real sshd of the account under test, on loopback, on its own port, with its own keys."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.system.cluster.managers import free_ports
from tests.system.harness.sandbox import MARKER, Account, Sandbox
from tests.system.harness.waiting import HANG_S

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") or ""


class SshServer:
    """Runs until :meth:`close`. Clients that use :attr:`options` know each of ``names`` as a host."""

    def __init__(
        self, sandbox: Sandbox, names: Sequence[str], address: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        """``prefix``: words before sshd's command line, for example to enter a namespace."""
        self.sandbox = sandbox
        self._prefix = list(prefix)
        # Not in the sandbox, or sshd's processes would count as the sandbox's.
        self.directory = Path(tempfile.mkdtemp(prefix="spraycc-sshd-", dir="/var/tmp"))
        self.address = address
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host_key", "user_key"):
            path = self.directory / name
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        self._write("authorized_keys", (self.directory / "user_key.pub").read_text())
        server = [
            f"Port {self.port}", f"ListenAddress {address}", f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys", "PidFile none", "StrictModes no", "UsePAM no",
            # sshd drops a client that can no longer be reached
            "ClientAliveInterval 1", "ClientAliveCountMax 3",
            "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        ]  # fmt: skip
        self._write("sshd_config", "\n".join(server) + "\n")
        self._client_config(names)
        for path in (self.directory, *self.directory.iterdir()):
            os.chown(path, sandbox.account.uid, sandbox.account.gid)
        for name in ("host_key", "user_key"):
            (self.directory / name).chmod(0o600)

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    def _client_config(self, names: Sequence[str]) -> None:
        key = (self.directory / "host_key.pub").read_text()
        self._write("known_hosts", f"{','.join(names)} {key}")
        common = [
            f"  HostName {self.address}", f"  Port {self.port}", f"  User {self.sandbox.account.name}",
            f"  IdentityFile {self.directory}/user_key", "  IdentitiesOnly yes", "  StrictHostKeyChecking yes",
            f"  UserKnownHostsFile {self.directory}/known_hosts", "  GlobalKnownHostsFile none",
        ]  # fmt: skip
        sections = [[f"Host {name}", *common, f"  HostKeyAlias {name}"] for name in names]
        # A host with an unknown key, and a host on which nothing listens.
        sections.append(["Host stranger", *common, "  HostKeyAlias stranger"])
        sections.append(["Host down", "  HostName 127.0.0.1", f"  Port {free_ports(1)[0]}"])
        self._write("ssh_config", "\n".join(line for section in sections for line in section) + "\n")

    @property
    def options(self) -> str:
        """The value of ``submit_arguments`` for this server."""
        return f"-F {self.directory}/ssh_config"

    def start(self) -> None:
        """Returns when the server accepts connections."""
        account = dataclasses.asdict(self.sandbox.account)
        user = Account(*[account[name] for name in ("name", "uid", "gid", "home", "group")])
        argv = [*self._prefix, *user.command([SSHD, "-D", "-e", "-f", self.directory / "sshd_config"])]
        with open(self.directory / "log", "ab") as log:
            # sshd makes the environment of a login: as on another host, it has nothing of the sandbox's environment.
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": "/usr/bin:/bin", MARKER: "sshd"},
                start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + HANG_S
        while f"Server listening on {self.address} port {self.port}." not in self.log():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def connections(self) -> int:
        """The number of logins so far."""
        return self.log().count("Accepted publickey")

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def sessions(self) -> list[int]:
        """The processes of all connections: a monitor and its child each."""
        assert self._process is not None
        found, parents = [], [self._process.pid]
        while parents:
            argv = ["pgrep", "-x", "sshd", "-P", ",".join(map(str, parents))]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            parents = [int(word) for word in done.stdout.split()]
            found += parents
        return found

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(HANG_S)
        shutil.rmtree(self.directory)
