"""A virtual machine with a file server and two hosts that mount its tree by NFS.

The machine has no network to the outside. The file server is the machine's own kernel. The hosts ``submit`` and
``exec`` are namespaces of it. Each host has its own NFS client, so its own cache. ``server`` is the machine itself: it
has the exported tree at the same path, ``/proj``, without NFS.

One kernel has one clock. A host with another clock is a host of a second machine, which a cable connects with the first
one (:mod:`tests.nfs.clocks`).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Host = Literal["server", "submit", "exec"]
User = Literal["root", "dev", "dev2"]

TOP = Path(__file__).parents[2]
CACHE = Path(os.environ.get("SPRAYCC_NFS_CACHE", "/var/cache/spraycc-nfs"))
#: The hosts that have an NFS client.
CLIENTS: tuple[Host, ...] = ("submit", "exec")
#: The exported tree, on every host.
PROJ = "/proj"
#: The machine boots within seconds with KVM, and within a minute without it. Only a hang reaches this limit.
BOOT_LIMIT_S = 600.0
#: The agent ends a script after its own limit. The rest is time for the answer to arrive.
ANSWER_LIMIT_S = 60.0


class MachineError(Exception):
    """The machine does not boot, or does not answer."""


class ScriptFailed(AssertionError):
    """A script that has to succeed failed in the machine."""


@dataclass(frozen=True)
class Done:
    """A script that has ended."""

    status: int  #: 124: its time limit ended it
    output: str  #: stdout and stderr together


@dataclass(frozen=True)
class Mount:
    """How both hosts mount the exported tree."""

    version: str = "4.2"
    options: str = ""  #: further options, with commas

    def __str__(self) -> str:
        return f"vers={self.version}" + (f",{self.options}" if self.options else "")


class Hosts:
    """A file server and two hosts that mount its tree."""

    def run(
        self, script: str, *, host: Host = "server", user: User = "root", timeout_s: float = 600, check: bool = True
    ) -> Done:
        """Runs a bash script on a host, waits for its end, and gives its status and output.

        Raises:
            ScriptFailed: ``check`` is set, and the status is not 0.
            MachineError: the machine has ended or does not answer.
        """
        raise NotImplementedError

    def address(self, host: Host) -> str:
        """A host's address. All hosts reach it."""
        raise NotImplementedError

    def program(self, name: str, *words: object, host: Host = "server", user: User = "root", **more: Any) -> Any:
        """The JSON that a program of tests/nfs prints when it runs in the machine."""
        line = " ".join(["python3", f"$RIG/{name}", *(shlex.quote(str(word)) for word in words)])
        return json.loads(self.run(line, host=host, user=user, **more).output)

    def mount(self, mount: Mount) -> None:
        """Mounts the exported tree on both hosts anew, with nothing in their caches. No process may use it."""
        for host in CLIENTS:
            # Each client unmounts all before it mounts: mounts of one export share a cache, whatever their options.
            self.run(
                f"for n in 1 2 3; do mountpoint -q {PROJ} || break; umount {PROJ} || sleep 1; done\n"
                f"mountpoint -q {PROJ} && {{ echo '{PROJ} is busy'; ps -eo user,pid,args; exit 1; }}\n"
                f"mount -t nfs -o {mount} {self.address('server')}:/srv/export {PROJ}",
                host=host,
                timeout_s=120,
            )


class Machine(Hosts):
    """A running machine, with all three hosts. ``booted`` makes it."""

    def __init__(self, process: subprocess.Popen[bytes], console: Path, number: int = 0) -> None:
        self._process = process
        self._console = console
        self._number = number
        self._received = b""
        self.up_s = 0.0  #: from the start of qemu until the machine takes scripts

    def run(
        self, script: str, *, host: Host = "server", user: User = "root", timeout_s: float = 600, check: bool = True
    ) -> Done:
        request = {"host": host, "user": user, "script": script, "timeout_s": timeout_s}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        end = time.monotonic() + timeout_s + ANSWER_LIMIT_S
        answer = self._line(end)
        output = self._bytes(answer["bytes"], end).decode(errors="replace")
        done = Done(answer["status"], output)
        if check and done.status != 0:
            raise ScriptFailed(f"status {done.status} of a script of {user} on {host}:\n{script}\n-- output:\n{output}")
        return done

    def address(self, host: Host) -> str:
        return {"server": "10.{}.1.1", "submit": "10.{}.1.2", "exec": "10.{}.2.2"}[host].format(self._number)

    def wait_until_up(self) -> None:
        began = time.monotonic()
        self._line(began + BOOT_LIMIT_S)
        self.up_s = time.monotonic() - began

    def _line(self, end: float) -> Mapping[str, Any]:
        while b"\n" not in self._received:
            self._receive(end)
        line, _, self._received = self._received.partition(b"\n")
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    def _bytes(self, size: int, end: float) -> bytes:
        while len(self._received) < size:
            self._receive(end)
        content, self._received = self._received[:size], self._received[size:]
        return content

    def _receive(self, end: float) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        ready, _, _ = select.select([fd], [], [], max(0.0, end - time.monotonic()))
        data = os.read(fd, 1 << 16) if ready else b""
        if not data:
            why = "has ended" if ready else "does not answer"
            console = self._console.read_text(errors="replace")[-3000:]
            raise MachineError(f"the virtual machine {why}; the end of its console:\n{console}")
        self._received += data


@contextmanager
def booted(cable: socket.socket, number: int = 0, checkout: Path = TOP) -> Iterator[Machine]:
    """A machine with the SprayCC of this checkout. It ends with the context. Needs root.

    Args:
        cable: an end of a socket pair, the network to the other machine. There need not be another machine.
        number: 0, or 1 for the other machine. Addresses and names of hosts have this number in them.
        checkout: of the SprayCC to try.
    """
    image = make_image()
    with tempfile.TemporaryDirectory(prefix="spraycc-nfs.", dir=_directory_for_disks()) as directory:
        rig_disk = Path(directory, "rig.img")
        rig = pack_rig(checkout, rig_disk)
        console = Path(directory, "console")
        process = subprocess.Popen(
            [*_qemu(image, rig, rig_disk, console, number), *_network(cable, number)],
            pass_fds=[cable.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "TMPDIR": directory},  # for the changed blocks of the disks
        )
        try:
            machine = Machine(process, console, number)
            machine.wait_until_up()
            yield machine
        finally:
            process.kill()  # its disks are copies, so nothing is lost
            process.communicate()


def make_image() -> Path:
    """The directory of the disk images. The first call takes minutes (make-image)."""
    done = subprocess.run([TOP / "tests/nfs/make-image"], stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode:
        raise MachineError("tests/nfs/make-image failed; its messages say why")
    return Path(done.stdout.strip())


def pack_rig(checkout: Path, disk: Path) -> Path:
    """Makes a disk of a virtual environment with the checkout's SprayCC, and of tests/nfs. Gives its mount point.

    The programs of a virtual environment name their Python by its path, so the machine mounts the disk at the path
    that the environment has on this host.
    """
    rig = CACHE / "rig"
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        venv = rig / "venv"
        if not (venv / "bin/pip").exists():
            # Debian's own Python, because the machine has the same.
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", venv], check=True)
        # ninja is in no package of the image: Debian's one of today does not know make's jobserver.
        subprocess.run([venv / "bin/pip", "install", "-q", checkout, "ninja>=1.13"], check=True)
        for path in rig.iterdir():
            if path != venv:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(Path(__file__).parent, rig, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        with open(disk, "wb") as file:
            file.truncate(512 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-d", rig, disk], check=True)
    return rig


def _directory_for_disks() -> Path:
    directory = CACHE / "running"
    directory.mkdir(exist_ok=True)
    return directory


def _qemu(image: Path, rig: Path, rig_disk: Path, console: Path, number: int) -> list[str]:
    disks = [image / "root.img", image / "export.img", rig_disk]
    words = [
        # The kernel ends qemu with this process, even if this process is killed.
        "setpriv", "--pdeathsig", "KILL",
        "qemu-system-x86_64", *accelerator(), "-m", "2G", "-smp", "2",
        "-display", "none", "-monitor", "none", "-no-reboot", "-nodefaults",
        "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.gz"),
        "-append", f"console=ttyS0 panic=-1 quiet mitigations=off no_timer_check rig={rig} machine={number}",
        "-serial", f"file:{console}",
        "-device", "virtio-serial-pci", "-chardev", "stdio,id=agent,signal=off", "-device", "virtserialport,chardev=agent",
    ]  # fmt: skip
    for disk in disks:
        words += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on,cache=unsafe"]
    return words


def _network(cable: socket.socket, number: int) -> list[str]:
    # No romfile: the firmware would look for a system to boot from the network.
    card = f"virtio-net-pci,netdev=cable,mac=52:54:00:00:00:0{number},romfile="
    return ["-netdev", f"socket,id=cable,fd={cable.fileno()}", "-device", card]


def accelerator() -> list[str]:
    """qemu's options for emulation, or for KVM if NFS_ACCELERATOR is "kvm".

    A /dev/kvm that can be opened may still fail in the middle of a boot (seen in a virtual machine), so it is not tried unasked.
    """
    if os.environ.get("NFS_ACCELERATOR") == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
