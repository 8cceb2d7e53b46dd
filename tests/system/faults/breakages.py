"""The faults: the preparation, the action at the chosen moment, and the permitted results of the build.

A fault that lasts does so for a random time in tests/stress, and until a fact holds at the gate (`Lab.last`).
"""

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
from tests.system.faults.faultlab import (
    HANG_S,
    Expected,
    Lab,
    Reference,
    check_build,
    check_next,
    prepare,
    running,
    unit_of,
    warnings,
)
from tests.system.harness.sandbox import Process

#: Small, so that a run is long enough for the heartbeat to find a fault.
SETTINGS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}

#: docs/explanation/reliability.md: all processes of an attempt are killed within this time after its runner is gone.
CANCEL_S = 2.0

_TMPFS_BYTES = 24 * 1024 * 1024


@dataclass(frozen=True)
class Fault:
    name: str
    #: the fault itself: at a random moment of the build, or while its compiles wait at the gate
    strike: Callable[[Lab], None]
    #: at the gate, a build that may fail does fail
    expected: Expected = field(default_factory=lambda: Expected())
    #: before the build: settings, mounts; the code after the yield runs after everything else
    prepare: Callable[[Lab], contextlib.AbstractContextManager[None]] = field(
        default=lambda lab: contextlib.nullcontext()
    )
    #: after the build, before the next one
    mend: Callable[[Lab], None] = lambda lab: None
    needs_root: bool = False


def build_under(fault: Fault, lab: Lab, reference: Reference, moment: Callable[[], None]) -> tuple[bool, bool]:
    """Runs a build that the fault hits when `moment` returns, and the next build; compares each with the reference.

    Returns:
        Whether the first build succeeded, and whether it was over before the fault.
    """
    prepare(lab.sandbox, lab.scale)
    try:
        with fault.prepare(lab):
            with running(lab):
                moment()
                late = lab.over()
                if not late:
                    fault.strike(lab)
                lab.let_go()
            if lab.rng is None:
                lab.wait_for("all processes of the build's recipes are gone", lambda: not lab.sandbox.strangers())
            fault.mend(lab)
            whole = check_build(lab, reference, Expected() if late else fault.expected)
            check_next(lab, reference)
            lab.sandbox.stop()
    finally:
        print("\n".join(lab.story))
        print(warnings(lab.sandbox))
    return whole, late


def _kill(what: str) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        if process := lab.one(what, getattr(lab, what)):
            lab.signal(process, signal.SIGKILL)
            lab.last("it is gone", lambda: process.pid not in {p.pid for p in lab.sandbox.processes()})

    return strike


def _kill_executor(lab: Lab) -> None:
    if process := lab.one("executors", lab.executors):
        lab.signal(process, signal.SIGKILL)
        lab.last("the server knows that it is lost", lambda: process.pid not in lab.connected())


def _stop(
    what: str, until: Callable[[Lab, Process], tuple[str, Callable[[], bool]]], *seconds: float
) -> Callable[[Lab], None]:
    """SIGSTOP, and SIGCONT when a fact holds or after one of these times, at the latest when the build ends."""

    def strike(lab: Lab) -> None:
        if process := lab.one(what, getattr(lab, what)):
            lab.signal(process, signal.SIGSTOP)
            try:
                lab.last(*until(lab, process), *seconds)
            finally:
                lab.signal(process, signal.SIGCONT)

    return strike


def _until_it_is_lost(lab: Lab, executor: Process) -> tuple[str, Callable[[], bool]]:
    return "the server has given the executor up", lambda: executor.pid not in lab.connected()


def _until_executors_have_left(lab: Lab, server: Process) -> tuple[str, Callable[[], bool]]:
    return "the server's executors have given it up", lambda: not lab.executors()


def _until_its_compile_is_over(lab: Lab, runner: Process) -> tuple[str, Callable[[], bool]]:
    lab.let_go()
    return "the runner's compile is over", lambda: not lab.compiles_of(unit_of(runner))


def _until_all_recipes_are_over(lab: Lab, make: Process) -> tuple[str, Callable[[], bool]]:
    lab.let_go()
    return "all that make has started is over", lambda: not lab.waiting_runners() and not lab.compiles()


def _stop_for_ever(lab: Lab) -> None:
    """SIGSTOP to the server, and once more if the build has continued it."""
    server = lab.one("servers", lab.servers)
    if server is None:
        return
    for _ in range(2):
        lab.signal(server, signal.SIGSTOP)
        while not lab.over() and any(p.pid == server.pid and p.state == "T" for p in lab.servers()):
            time.sleep(0.05)


def _break_connection(number: signal.Signals) -> Callable[[Lab], None]:
    """Signals a relay, which ends after its executor."""

    def strike(lab: Lab) -> None:
        if relay := lab.one("relays", lab.relays):
            lab.signal(relay, number)
            lab.last("its executor is gone", lambda: relay.pid not in {p.pid for p in lab.relays()})

    return strike


def _delay_connection(lab: Lab) -> None:
    """Nothing passes through a relay until its executor has a result to send."""
    if relay := lab.one("relays", lab.relays):
        unit = lab.unit_at(relay) if lab.rng is None else ""
        lab.signal(relay, signal.SIGALRM)
        lab.let_go()
        lab.last(f"{unit} is compiled", lambda: not lab.compiles_of(unit), 2)
        lab.signal(relay, signal.SIGALRM)


def _kill_all_executors(lab: Lab) -> None:
    killed = lab.wait("executors", lab.executors)
    for process in killed:
        lab.signal(process, signal.SIGKILL)
    lab.last("the server knows that they are lost", lambda: lab.connected().isdisjoint(p.pid for p in killed))


def _kill_runner(lab: Lab) -> None:
    """All processes of its attempt end, although its compile at the gate would never end by itself."""
    runner = lab.one("runners", lab.runners)
    if runner is None:
        return
    unit = unit_of(runner)
    lab.signal(runner, signal.SIGKILL)
    began = time.monotonic()
    lab.wait_for("its compile is gone", lambda: not [p for p in lab.compiles_of(unit) if p.pid != runner.pid])
    lab.tell(f"its compile is gone after {time.monotonic() - began:.2f} s")
    if lab.rng is not None:
        assert time.monotonic() - began < CANCEL_S, "\n".join(lab.story)


def _kill_compiler(lab: Lab) -> None:
    """Like the out-of-memory killer."""
    if process := lab.one("compiles on executors", lab.remote_compiles):
        lab.signal(process, signal.SIGKILL)
        lab.last("it is gone", lambda: process.pid not in {p.pid for p in lab.remote_compiles()})


def _starve(lab: Lab) -> None:
    """From now on an executor and its processes have hardly any memory."""
    if process := lab.one("executors", lab.executors):
        used = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        limit = lab.pick([8 << 20, 40 << 20, used])
        lab.tell(f"{process.pid} may have {limit} bytes")
        lab.sandbox.short_of_memory = True
        # as the sandbox's user, who may limit its own processes (root in a container may not limit others')
        lab.sandbox.run("prlimit", "--pid", str(process.pid), f"--as={limit}")


def _interrupt(number: signal.Signals, times: int = 1) -> Callable[[Lab], None]:
    def strike(lab: Lab) -> None:
        assert lab.process is not None
        lab.wait("make", lab.makes)
        for _ in range(times):
            lab.tell(f"{number.name} to the terminal's process group")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(lab.process.pid, number)
            lab.last("runners have ended", lambda: not lab.waiting_runners(), 0.1)

    return strike


def _suspend(lab: Lab) -> None:
    """Ctrl-Z and fg."""
    assert lab.process is not None
    makes = lab.wait("make", lab.makes)
    lab.tell("SIGTSTP to the terminal's process group")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(lab.process.pid, signal.SIGTSTP)
    lab.last("make is stopped", lambda: all(p.state == "T" for p in lab.makes() if p.pid == makes[0].pid))
    lab.let_go()
    lab.last("executors have nothing left to do", lambda: not lab.remote_compiles(), 0.5, 5)
    lab.tell("SIGCONT to the terminal's process group")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(lab.process.pid, signal.SIGCONT)


def _garbage(lab: Lab) -> None:
    lab.wait("servers", lab.servers)
    # as the sandbox's user: the server accepts only this user
    script = lab.sandbox.write({"garbage.py": Path(garbage.__file__).read_text()}, lab.sandbox.aside / "garbage")
    for kinds in [garbage.KINDS] if lab.rng is None else [lab.rng.choices(garbage.KINDS)] * 12:
        seed = 0 if lab.rng is None else lab.rng.randrange(1 << 30)
        addresses = [*filter(None, [lab.unix_socket()]), *lab.tcp_ports()]
        if lab.rng is None:
            assert len(addresses) == 2, addresses
        for address in addresses:
            lab.tell(f"{address} gets {', '.join(kinds)}")
            lab.sandbox.run("/usr/bin/python3", script / "garbage.py", str(seed), str(address), *kinds).ok()
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
    # a directory is a file of the user, and the file must not be part of the comparison
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
    unit = f"u{lab.pick(range(1, lab.scale.units + 1))}.c"
    lab.tell(f"{unit} is unreadable")
    (lab.sandbox.workspace / unit).chmod(0)


def _make_readable(lab: Lab) -> None:
    for path in lab.sandbox.workspace.glob("*.c"):
        path.chmod(0o644)


def _loopback_down(lab: Lab) -> None:
    executors = {p.pid for p in lab.wait("executors", lab.executors)}
    lab.tell("no packet passes")
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    try:
        lab.last(
            "the executors have given the server up",
            lambda: executors.isdisjoint(p.pid for p in lab.executors()), 0.3, 1.5, 5,
        )  # fmt: skip
    finally:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        lab.tell("packets pass again")


@contextlib.contextmanager
def _relayed(lab: Lab) -> Iterator[None]:
    text = (Path(__file__).parent / "relay.py").read_text()
    lab.sandbox.write({"relay.py": text}, lab.sandbox.aside / "relay")
    lab.sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = f"{sys.executable} {lab.sandbox.aside}/relay/relay.py"
    yield


def _server_stop(*options: str) -> Callable[[Lab], None]:
    """The command returns when the server has ended; without --now, after its last build."""

    def strike(lab: Lab) -> None:
        lab.wait("servers", lab.servers)
        lab.tell("spraycc server stop " + " ".join(options))
        with lab.sandbox.start([lab.sandbox.bin / "spraycc", "server", "stop", *options]) as command:
            lab.last(*_until_the_server_stops(lab))
            lab.let_go()
            assert command.wait(HANG_S) == 0

    return strike


def _terminate_server(lab: Lab) -> None:
    if server := lab.one("servers", lab.servers):
        lab.signal(server, signal.SIGTERM)
        lab.last(*_until_the_server_stops(lab))


def _until_the_server_stops(lab: Lab) -> tuple[str, Callable[[], bool]]:
    logs = lab.sandbox.home
    return "the server is about to end", lambda: any(": stopping " in p.read_text() for p in logs.rglob("server.log"))


_DIES = Expected(may_fail=True, signals=(signal.SIGKILL,))
_INTERRUPTED = Expected(may_fail=True, signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

FAULTS = [
    Fault("executor killed", _kill_executor),
    Fault("server killed", _kill("servers")),
    Fault("runner killed", _kill_runner, Expected(may_fail=True)),
    Fault("make killed", _kill("makes"), _DIES),
    Fault("executor stopped", _stop("executors", _until_it_is_lost, 0.5, 5, 60)),
    Fault("server stopped and continued", _stop("servers", _until_executors_have_left, 0.5, 2, 6)),
    Fault("server stopped for ever", _stop_for_ever),
    Fault("runner stopped and continued", _stop("runners", _until_its_compile_is_over, 0.5, 3)),
    Fault("make stopped and continued", _stop("makes", _until_all_recipes_are_over, 0.5, 4)),
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
    Fault("connection cut in mid-frame", _break_connection(signal.SIGUSR1), prepare=_relayed),
    Fault("bytes damaged on the way", _break_connection(signal.SIGUSR2), prepare=_relayed),
    Fault("connection delayed", _delay_connection, prepare=_relayed),
    Fault("all executors killed", _kill_all_executors),
    Fault("compiler killed (out of memory)", _kill_compiler),
    Fault("executor out of memory", _starve),
    Fault("Ctrl-C", _interrupt(signal.SIGINT), _INTERRUPTED),
    Fault("Ctrl-C twice", _interrupt(signal.SIGINT, times=2), _INTERRUPTED),
    Fault("terminal hangs up", _interrupt(signal.SIGHUP), _INTERRUPTED),
    Fault("Ctrl-Z and fg", _suspend),
    Fault("SIGTERM to the server", _terminate_server),
    Fault("server stop", _server_stop()),
    Fault("server stop --now", _server_stop("--now")),
]  # fmt: skip
