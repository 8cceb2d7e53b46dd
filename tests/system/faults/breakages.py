"""The faults: what is prepared, what is done at the chosen moment, and what the build may then look like."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.system.faults import garbage
from tests.system.faults.faultlab import UNITS, Expected, Lab

#: Small, so that a fault that the heartbeat must find is found within a run.
SETTINGS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}

_TMPFS_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True)
class Fault:
    name: str
    #: done at a random moment of the build
    strike: Callable[[Lab], None]
    expected: Expected = field(default_factory=lambda: Expected())
    #: before the build: settings, mounts; what follows the yield is done after everything else
    prepare: Callable[[Lab], contextlib.AbstractContextManager[None]] = field(
        default=lambda lab: contextlib.nullcontext()
    )
    #: after the build, before the next one
    mend: Callable[[Lab], None] = lambda lab: None
    needs_root: bool = False


def _kill(what: str) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        if process := lab.one(what, getattr(lab, what)):
            lab.signal(process, signal.SIGKILL)

    return strike


def _stop(what: str, *seconds: float) -> Callable[[Lab], None]:
    """SIGSTOP for a while; where the build ends before, until its end."""

    def strike(lab: Lab) -> None:
        if process := lab.one(what, getattr(lab, what)):
            lab.signal(process, signal.SIGSTOP)
            lab.pause(lab.rng.choice(seconds))
            lab.signal(process, signal.SIGCONT)

    return strike


def _stop_for_ever(lab: Lab) -> None:
    """SIGSTOP to the server, and once more where the build has made it go on."""
    server = lab.one("servers", lab.servers)
    if server is None:
        return
    for _ in range(2):
        lab.signal(server, signal.SIGSTOP)
        while not lab.over() and any(p.pid == server.pid and p.state == "T" for p in lab.servers()):
            time.sleep(0.05)


def _send(what: str, number: signal.Signals) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        if process := lab.one(what, getattr(lab, what)):
            lab.signal(process, number)

    return strike


def _kill_all_executors(lab: Lab) -> None:
    for process in lab.wait("executors", lab.executors):
        lab.signal(process, signal.SIGKILL)


def _kill_runner(lab: Lab) -> None:
    """What its attempt started is gone within two seconds."""
    runner = lab.one("runners", lab.runners)
    if runner is None:
        return
    unit = runner.command.split()[-1].removesuffix(".c")
    lab.signal(runner, signal.SIGKILL)
    end = time.monotonic() + 2
    while rest := [p for p in lab.compiles_of(unit) if p.pid != runner.pid]:
        assert time.monotonic() < end, f"still running 2 s after its runner: {rest}"
        time.sleep(0.02)


def _kill_compiler(lab: Lab) -> None:
    """As the out-of-memory killer does."""
    if process := lab.one("compiles on executors", lab.remote_compiles):
        lab.signal(process, signal.SIGKILL)


def _starve(lab: Lab) -> None:
    """From now on an executor and whatever it starts have hardly any memory."""
    if process := lab.one("executors", lab.executors):
        used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        limit = lab.rng.choice([8 << 20, 40 << 20, used])
        lab.tell(f"{process.pid} may have {limit} bytes")
        lab.sandbox.short_of_memory = True
        # as the sandbox's user, who may do that to its own processes (root in a container may not, to others')
        lab.sandbox.run("prlimit", "--pid", str(process.pid), f"--as={limit}")


def _interrupt(*numbers: signal.Signals) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        assert lab.process is not None
        lab.wait("make", lab.makes)
        for number in numbers:
            lab.tell(f"{number.name} to the terminal's process group")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(lab.process.pid, number)
            lab.pause(0.1)

    return strike


def _suspend(lab: Lab) -> None:
    """Ctrl-Z and fg."""
    assert lab.process is not None
    lab.wait("make", lab.makes)
    for number, seconds in ((signal.SIGTSTP, lab.rng.choice([0.5, 5])), (signal.SIGCONT, 0)):
        lab.tell(f"{number.name} to the terminal's process group")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(lab.process.pid, number)
        lab.pause(seconds)


def _garbage(lab: Lab) -> None:
    lab.wait("servers", lab.servers)
    for _ in range(12):
        path = lab.unix_socket()
        if path is not None:
            # as the sandbox's user, whom the server talks to
            script = lab.sandbox.aside / "garbage/garbage.py"
            if not script.exists():
                lab.sandbox.write({script.name: Path(garbage.__file__).read_text()}, script.parent)
            done = lab.sandbox.run("/usr/bin/python3", script, str(lab.rng.randrange(1 << 30)), path)
            lab.tell(f"the Unix socket gets {done.ok().out.decode().strip()}")
        for port in lab.tcp_ports():
            lab.tell(f"port {port} gets {garbage.send_garbage(lab.rng, ('127.0.0.1', port))}")
        if lab.over():
            return


@contextlib.contextmanager
def _tmpfs(path: Path, lab: Lab, mode: str) -> Iterator[None]:
    account = lab.sandbox.account
    options = f"size={_TMPFS_BYTES},mode={mode},uid={account.uid},gid={account.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "spraycc-faults", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextlib.contextmanager
def _small_workspace(lab: Lab) -> Iterator[None]:
    files = {path.name: path.read_bytes() for path in lab.sandbox.workspace.iterdir()}
    with _tmpfs(lab.sandbox.workspace, lab, "755"):
        lab.sandbox.write(files)
        yield


@contextlib.contextmanager
def _small_scratch(lab: Lab) -> Iterator[None]:
    with _tmpfs(lab.sandbox.scratch, lab, "700"):
        yield


def _fill(directory: Path, name: str) -> None:
    with contextlib.suppress(OSError), open(directory / name, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def _fill_workspace(lab: Lab) -> None:
    lab.tell("the workspace's disk is full")
    # a directory is the user's, and the file must not be part of the comparison
    _fill(lab.sandbox.workspace, ".full")


def _empty_workspace(lab: Lab) -> None:
    (lab.sandbox.workspace / ".full").unlink(missing_ok=True)


def _fill_scratch(lab: Lab) -> None:
    lab.tell("the scratch disk is full")
    _fill(lab.sandbox.scratch, "full")


def _empty_scratch(lab: Lab) -> None:
    (lab.sandbox.scratch / "full").unlink(missing_ok=True)
    lab.sandbox.stop()


def _unreadable(lab: Lab) -> None:
    lab.wait("servers", lab.servers)
    unit = f"u{lab.rng.randrange(1, UNITS + 1)}.c"
    lab.tell(f"{unit} is unreadable")
    (lab.sandbox.workspace / unit).chmod(0)


def _make_readable(lab: Lab) -> None:
    for path in lab.sandbox.workspace.glob("*.c"):
        path.chmod(0o644)


def _loopback_down(lab: Lab) -> None:
    lab.wait("executors", lab.executors)
    seconds = lab.rng.choice([0.3, 1.5, 5])
    lab.tell(f"no packet passes for {seconds} s")
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    try:
        lab.pause(seconds)
    finally:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextlib.contextmanager
def _relayed(lab: Lab) -> Iterator[None]:
    text = (Path(__file__).parent / "relay.py").read_text()
    lab.sandbox.write({"relay.py": text}, lab.sandbox.aside / "relay")
    lab.sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = f"{sys.executable} {lab.sandbox.aside}/relay/relay.py"
    yield


def _server_stop(*options: str) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        lab.wait("servers", lab.servers)
        lab.tell("spraycc server stop " + " ".join(options))
        lab.sandbox.run(lab.sandbox.bin / "spraycc", "server", "stop", *options, timeout_s=60).ok()

    return strike


_DIES = Expected(may_fail=True, signals=(signal.SIGKILL,))
_INTERRUPTED = Expected(may_fail=True, signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

FAULTS = [
    Fault("executor killed", _kill("executors")),
    Fault("server killed", _kill("servers")),
    Fault("runner killed", _kill_runner, Expected(may_fail=True)),
    Fault("make killed", _kill("makes"), _DIES),
    Fault("executor stopped", _stop("executors", 0.5, 5, 60)),
    Fault("server stopped and continued", _stop("servers", 0.5, 2, 6)),
    Fault("server stopped for ever", _stop_for_ever),
    Fault("runner stopped and continued", _stop("runners", 0.5, 3)),
    Fault("make stopped and continued", _stop("makes", 0.5, 4)),
    Fault("garbage on both sockets", _garbage),
    Fault(
        "disk full at write-back", _fill_workspace, Expected(may_fail=True, words=("No space left",), in_pieces=("*.d", "*.su")),
        _small_workspace, _empty_workspace, needs_root=True,
    ),
    Fault("disk full at executor", _fill_scratch, prepare=_small_scratch, mend=_empty_scratch, needs_root=True),
    Fault(
        "source unreadable", _unreadable, Expected(may_fail=True, words=("Permission denied",)), mend=_make_readable
    ),
    Fault("packets dropped", _loopback_down, needs_root=True),
    Fault("connection cut in mid-frame", _send("relays", signal.SIGUSR1), prepare=_relayed),
    Fault("bytes damaged on the way", _send("relays", signal.SIGUSR2), prepare=_relayed),
    Fault("connection delayed", _send("relays", signal.SIGALRM), prepare=_relayed),
    Fault("all executors killed", _kill_all_executors),
    Fault("compiler killed (out of memory)", _kill_compiler),
    Fault("executor out of memory", _starve),
    Fault("Ctrl-C", _interrupt(signal.SIGINT), _INTERRUPTED),
    Fault("Ctrl-C twice", _interrupt(signal.SIGINT, signal.SIGINT), _INTERRUPTED),
    Fault("terminal hangs up", _interrupt(signal.SIGHUP), _INTERRUPTED),
    Fault("Ctrl-Z and fg", _suspend),
    Fault("SIGTERM to the server", _send("servers", signal.SIGTERM)),
    Fault("server stop", _server_stop()),
    Fault("server stop --now", _server_stop("--now")),
]  # fmt: skip
