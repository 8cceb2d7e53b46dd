"""Several hosts on this machine: network namespaces, each with its own cable to the submit host's. Only for root.

The submit host has its own address on each cable, and no host forwards: a host reaches only one of these addresses.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import ClassVar

_NOWHERE = "02:00:00:00:99:99"


class Network:
    """``submit`` and the hosts ``red``, ``blue`` and ``green``; ``green`` is on an IPv6 network."""

    NAMES = ("red", "blue", "green")
    #: program → Debian package
    PROGRAMS: ClassVar = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}

    def __init__(self) -> None:
        self._tag = f"sprcc{os.getpid()}"
        self.submit = f"{self._tag}-submit"

    def namespace(self, name: str) -> str:
        return f"{self._tag}-{name}"

    def addresses(self, name: str) -> tuple[str, str]:
        """The addresses of the submit host and of the host, on their cable."""
        number = self.NAMES.index(name) + 1
        return (
            (f"fd77:{number}::1", f"fd77:{number}::2")
            if name == "green"
            else (f"10.77.{number}.1", f"10.77.{number}.2")
        )

    def enter(self, name: str) -> list[str]:
        """Words before a command line: the command runs on that host, with a host name of its own."""
        hostname = f'hostname {name} && exec "$@"'
        return ["nsenter", f"--net=/run/netns/{self.namespace(name)}", "unshare", "--uts", "sh", "-c", hostname, "sh"]

    def start(self) -> None:
        for name in ("submit", *self.NAMES):
            _ip("netns", "add", self.namespace(name))
            _ip("-n", self.namespace(name), "link", "set", "lo", "up")
        for name in self.NAMES:
            near, far = self.addresses(name)
            size = "64" if ":" in near else "24"
            peer = ["peer", "name", "lan0", "netns", self.namespace(name)]
            _ip("link", "add", f"lan-{name}", "netns", self.submit, "type", "veth", *peer)
            for namespace, link, address in ((self.submit, f"lan-{name}", near), (self.namespace(name), "lan0", far)):
                nodad = ["nodad"] if ":" in address else []
                _ip("-n", namespace, "address", "add", f"{address}/{size}", "dev", link, *nodad)
                _ip("-n", namespace, "link", "set", link, "up")

    def cut(self, name: str) -> None:
        """From now on all packets between both sides are dropped without notice."""
        near, far = self.addresses(name)
        for namespace, link, address in ((self.submit, f"lan-{name}", far), (self.namespace(name), "lan0", near)):
            words = ["lladdr", _NOWHERE, "nud", "permanent", "dev", link]
            _ip("-n", namespace, "neighbour", "replace", address, *words)

    def processes(self, name: str) -> list[int]:
        """The process ids of that host."""
        done = subprocess.run(["ip", "netns", "pids", self.namespace(name)], capture_output=True, text=True, check=True)
        return [int(word) for word in done.stdout.split()]

    def close(self) -> None:
        for name in ("submit", *self.NAMES):
            subprocess.run(["ip", "netns", "delete", self.namespace(name)], check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def command_line(pid: int) -> str:
    """The command line of a process; empty if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def executors_among(pids: Sequence[int]) -> list[int]:
    return [pid for pid in pids if "/spraycc/executor/start.py" in command_line(pid)]
