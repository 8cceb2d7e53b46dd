"""An internal fault in the middle of a build: a function of the server or of an executor raises an unexpected error.

In a copy of the installation, each server and executor first executes code that wraps the chosen functions. A test arms
one of them by a file. In the server exactly one call fails; in the executors, one call of each process that reaches it.
A second file tells the test that the call has failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.harness.installed import Installed
from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

UNITS, EXECUTORS = 6, 2

_FAILS = """\
import importlib, os, sys

directory = os.environ["OWN_FAULTS"]
armed = os.path.join(directory, "armed")

def wrap(function):
    module, name = function.split(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    real, calls = getattr(owner, last), {}

    def fails(*arguments, **named):
        try:
            with open(armed) as file:
                what, call, serial = file.read().split()
        except OSError:
            what = ""
        if what == function:
            calls[serial] = calls.get(serial, 0) + 1
            if calls[serial] == int(call):
                open(os.path.join(directory, "fired"), "w").close()
                raise RuntimeError("a fault of ours")
        return real(*arguments, **named)

    setattr(owner, last, fails)

with open(os.path.join(directory, "functions")) as file:
    for line in file:
        program, function = line.split()
        if program in sys.orig_argv:
            wrap(function)
"""

SERVER = "spraycc.server"
EXECUTOR = "spraycc.executor"


@dataclass(frozen=True)
class OwnFault:
    program: str
    function: str
    #: the number of the failing call, counted from the build's start in each process
    call: int = 1
    #: a timer calls the function: the build is held until the call has failed
    by_clock: bool = False
    #: with this fault no executor can be used
    no_executors: bool = False


#: With one server for all tests: a build of 7 remote compiles by 2 executors, one of which compiles at least 4 of them.
IN_A_BUILD = [
    OwnFault(SERVER, "spraycc.scheduler.core:Scheduler.handle", 8),
    OwnFault(SERVER, "spraycc.scheduler.core:Scheduler.next_deadline", 5),
    OwnFault(SERVER, "spraycc.server.dispatcher:Dispatcher._carry_out", 5),
    OwnFault(SERVER, "spraycc.server.task_table:TaskTable.attempt_over", 4),
    OwnFault(SERVER, "spraycc.server.task_table:TaskTable.finish", 4),
    OwnFault(SERVER, "spraycc.server.fleet.connection:ExecutorLink.start", 3),
    OwnFault(SERVER, "spraycc.server.fleet.connection:ExecutorLink._ended", 3),
    OwnFault(SERVER, "spraycc.server.fleet.connection:ExecutorLink.beat", by_clock=True),
    OwnFault(SERVER, "spraycc.server.writeback.staging:Staging.take", 5),
    OwnFault(SERVER, "spraycc.server.writeback.staging:Staging.commit", 3),
    OwnFault(SERVER, "spraycc.server.tasks.task:Task.answer", 3),
    OwnFault(SERVER, "spraycc.server.tasks.task:Task.run_here"),
    OwnFault(SERVER, "spraycc.server.frontend.decide:capture_roots", 5),
    OwnFault(SERVER, "spraycc.server.host.offload:Disk.do", 5),
    OwnFault(SERVER, "spraycc.server.host.unix_connection:Peer.send_now", 5),
    OwnFault(SERVER, "spraycc.server.builds.token_pool:TokenPool.runner_registered", 5),
    OwnFault(SERVER, "spraycc.server.builds.token_pool:TokenPool.runner_gone", 5),
    OwnFault(SERVER, "spraycc.jobserver.governor:Governor._end", 5),
    OwnFault(SERVER, "spraycc.jobserver.fifo:JobserverFifo.settle", 2),
    OwnFault(SERVER, "spraycc.server.builds.build:Build.note", 4),
    OwnFault(SERVER, "spraycc.server.tasks.log:line_of", 3),
    OwnFault(EXECUTOR, "spraycc.executor.tasks:Tasks._check_group", 2),
    OwnFault(EXECUTOR, "spraycc.executor.tasks:produced_messages", 2),
    OwnFault(EXECUTOR, "spraycc.executor.tasks:run_box", 2),
    OwnFault(EXECUTOR, "spraycc.executor.scratch:Scratch.take_again", 2),
    OwnFault(EXECUTOR, "spraycc.executor.view:View.task_ended", 2),
    OwnFault(EXECUTOR, "spraycc.executor.serving_box:ServingBox.start", 2),
    OwnFault(EXECUTOR, "spraycc.executor.scratch:Scratch.take", 2),
]

#: During the start or the end of a server and an executor.
AT_START_OR_END = [
    OwnFault(SERVER, "spraycc.server.fleet.connection:ExecutorLink._leave_fleet"),
    OwnFault(SERVER, "spraycc.server.fleet.launch:make_credentials", no_executors=True),
    OwnFault(SERVER, "spraycc.server.fleet.process_launcher:start_process", 2),
    OwnFault(SERVER, "spraycc.history.store:Store.load"),
    OwnFault(EXECUTOR, "spraycc.system.memory:Memory.available_bytes"),
    OwnFault(EXECUTOR, "spraycc.executor.main:explore", no_executors=True),
]


class Faulty:
    """A sandbox with a project, whose server and executors fail on demand."""

    def __init__(self) -> None:
        self.sandbox = Sandbox(Account.unprivileged())
        self.sandbox.expects_tracebacks = True
        self.directory = self.sandbox.aside / "fault"
        functions = "".join(f"{f.program} {f.function}\n" for f in (*IN_A_BUILD, *AT_START_OR_END))
        self.sandbox.write({"functions": functions}, self.directory)
        installed = Installed(self.sandbox)
        with (installed.package / "__init__.py").open("a") as package:
            package.write(_FAILS)
        self.sandbox.bin = installed.bin
        self.sandbox.settings["SPRAYCC_KEPT_VARIABLES"] += " OWN_FAULTS"
        self.sandbox.settings |= {
            "OWN_FAULTS": str(self.directory),
            "SPRAYCC_HEARTBEAT_S": "0.5",
        }
        self.sandbox.write(c_project(UNITS))
        self.compiler = GatedCompiler(self.sandbox)
        self._armed = 0

    def disarm(self) -> None:
        (self.directory / "armed").unlink(missing_ok=True)

    def arm(self, fault: OwnFault) -> None:
        self._armed += 1
        (self.directory / "fired").unlink(missing_ok=True)
        new = {"new": f"{fault.function} {fault.call} {self._armed}"}
        self.sandbox.write(new, self.directory)
        (self.directory / "new").rename(self.directory / "armed")

    def has_fired(self) -> bool:
        return (self.directory / "fired").exists()

    def server(self) -> int:
        pid: int = self.sandbox.status()["server"]["pid"]
        return pid

    def build(self, fault: OwnFault, by_clock: bool = False) -> None:
        """The build succeeds. `by_clock`: its compiles wait until the call has failed."""
        self.sandbox.run("make", "clean").ok()
        self.compiler.gate.close()
        command, summary = self.sandbox.build_command(["make", "-j6"], executors=EXECUTORS, local_slots=1)
        with self.sandbox.start(command) as process:
            if by_clock:
                self.sandbox.wait_for("the call has failed", self.has_fired, timeout_s=100)
            self.compiler.open()
            assert process.wait(200) == 0
        figures = self.sandbox.figures(summary)
        print(figures)
        assert len(objects(self.sandbox.workspace)) == UNITS + 1
        assert self.sandbox.run(self.sandbox.workspace / "prog").out == output_of(UNITS)
        assert figures["remote"] > 0 or fault.no_executors


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    """One server for many faults: each test's second build runs as if no fault had occurred."""
    made = Faulty()
    made.sandbox.run(made.sandbox.bin / "spraycc", "server", "start").ok()
    yield made
    made.sandbox.close()


def _name(fault: OwnFault) -> str:
    return fault.function.partition(":")[2]


@pytest.mark.parametrize("fault", IN_A_BUILD, ids=_name)
def test_a_fault_of_ours_in_a_build(faulty: Faulty, fault: OwnFault) -> None:
    """The build succeeds, the server lives, and the next build runs as if no fault had occurred."""
    server = faulty.server()
    faulty.arm(fault)
    faulty.build(fault, fault.by_clock)
    assert faulty.has_fired(), f"{fault.function} was not called {fault.call} times"
    faulty.disarm()
    faulty.build(fault)
    assert faulty.server() == server


@pytest.mark.parametrize("fault", AT_START_OR_END, ids=_name)
def test_a_fault_of_ours_at_a_start_or_an_end(fault: OwnFault) -> None:
    """With a new server, which lives until the test stops it."""
    faulty = Faulty()
    try:
        faulty.arm(fault)
        faulty.sandbox.run(faulty.sandbox.bin / "spraycc", "server", "start").ok()
        server = faulty.server()
        faulty.build(fault)
        faulty.build(fault)
        assert faulty.server() == server
        faulty.sandbox.stop()
        assert faulty.has_fired(), f"{fault.function} was not called {fault.call} times"
    finally:
        faulty.sandbox.close()
