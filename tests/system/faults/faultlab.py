"""One build under one fault, and the checks after it."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.system.harness.sandbox import EXAMPLES, Account, Process, Sandbox

T = TypeVar("T")

#: A build that is not over after this time hangs. Only a hang reaches the limit.
HANG_S = 240.0


@dataclass(frozen=True)
class Scale:
    """The size of a build, and the condition for which each of its compiles waits."""

    units: int
    executors: int
    #: minimum seconds of each compile; None: each compile waits at the gate
    unit_s: float | None
    local_slots: int = 2


#: For faults at random moments of a build.
RANDOM = Scale(units=50, executors=6, unit_s=0.3)
#: For faults at the gate: all compiles of this build are in a known state when the fault strikes.
GATED = Scale(units=10, executors=3, unit_s=None)

#: With RANDOM, a build takes about this many seconds. Faults come at a random moment of it.
BUILD_S = 4.5

_MAKEFILE = """\
objects := $(patsubst %.c,%.o,$(wildcard u*.c)) late.o
all: prog libunits.a

prog: main.o libunits.a
	$(CC) -o $@ $^

libunits.a: $(objects)
	$(AR) rcD $@ $^

%.o: %.c
	$(CC) -O1 -Wall -fstack-usage -MMD -MP -c -o $@ $<

# a source that comes into being while others compile
late.c: u{middle}.o
	echo 'int late(void) {{ return 7; }}' >$@.new && mv $@.new $@

-include $(wildcard *.d)
"""

#: The gcc that is first on PATH. Only a command on the submit host can write the note: executors can write only to the
#: workspace. The process that notes its number is the compile until its end.
_GCC = """\
#!/bin/sh
case " $* " in *" -c "*) ;; *) exec /usr/bin/gcc "$@" ;; esac
{{ echo "+ $$" >>'{log}'; }} 2>/dev/null
sleep {unit_s}
/usr/bin/gcc -B '{directory}/' "$@"
status=$?
{{ echo "- $$" >>'{log}'; }} 2>/dev/null
exit $status
"""

#: The compiler proper of GATED. It waits in place of cc1, so that a waiting compile has all its processes.
_GATED_CC1 = """\
#!/bin/sh
until [ -e '{gate}' ]; do sleep 0.05; done
exec {cc1} "$@"
"""


def project(scale: Scale) -> dict[str, str]:
    """Units with a warning each, a generated unit, an archive and a program."""
    numbers = range(1, scale.units + 1)
    files = {
        f"u{i}.c": f'#include <stdio.h>\nint f{i}(int x) {{\n    int unused{i};\n    return printf("") + x + {i};\n}}\n'
        for i in numbers
    }
    declarations = "".join(f"int f{i}(int);\n" for i in numbers)
    total = " + ".join(f"f{i}(0)" for i in numbers)
    files["main.c"] = (
        f'#include <stdio.h>\n{declarations}int late(void);\nint main(void) {{ printf("%d\\n", late() + {total}); }}\n'
    )
    files["Makefile"] = _MAKEFILE.format(middle=scale.units // 2)
    return files


#: The source in the command line of a compile, or of a part of it.
_UNIT = re.compile(r" (u\d+|main|late)\.c\b")

#: Lines of make, and of SprayCC, that differ from run to run.
_NOT_DIAGNOSTICS = re.compile(rb"^(spraycc|make|gmake)[: \[]")


def diagnostics(err: bytes) -> list[bytes]:
    """The compilers' own lines. Sorted, because make decides their order."""
    return sorted(line for line in err.splitlines() if not _NOT_DIAGNOSTICS.match(line))


@dataclass(frozen=True)
class Reference:
    """The results of plain make."""

    tree: Path
    out: list[bytes]
    diagnostics: list[bytes]


def prepare(sandbox: Sandbox, scale: Scale) -> None:
    """Write the project, and put its compiler first on PATH."""
    directory = sandbox.aside / "compiler"
    files = {"gcc": _GCC.format(log=note_of(sandbox), unit_s=scale.unit_s or 0, directory=directory)}
    if scale.unit_s is None:
        cc1 = subprocess.run(["/usr/bin/gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True)
        files["cc1"] = _GATED_CC1.format(gate=gate_of(sandbox), cc1=cc1.stdout.strip())
    sandbox.write(files, directory, mode=0o755)
    sandbox.path_front = [directory]
    sandbox.write(project(scale))


def note_of(sandbox: Sandbox) -> Path:
    """The file in which compiles on the submit host leave notes."""
    return sandbox.aside / "here.log"


def gate_of(sandbox: Sandbox) -> Path:
    """The file whose existence opens the gate."""
    return sandbox.aside / "gate"


def make_reference(account: Account, directory: Path, scale: Scale) -> Reference:
    sandbox = Sandbox(account, directory)
    prepare(sandbox, scale)
    gate_of(sandbox).touch()
    done = sandbox.run("make", "-j8", "CC=gcc").ok()
    assert len(diagnostics(done.err)) > scale.units
    return Reference(sandbox.workspace, sorted(done.out.splitlines()), diagnostics(done.err))


@dataclass
class Lab:
    """A running build that faults can examine and break."""

    sandbox: Sandbox
    scale: Scale
    #: for faults at random moments; None: each choice is the first one, and faults last until a fact holds
    rng: random.Random | None = None
    #: pids of processes that were killed on purpose while they may have run a compile on the submit host
    killed: set[int] = field(default_factory=set)
    #: the actions so far, for the message of a failed run
    story: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0

    # -- observations

    @property
    def out(self) -> Path:
        return self.sandbox.aside / "out"

    @property
    def err(self) -> Path:
        return self.sandbox.aside / "err"

    def over(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def find(self, wanted: Callable[[Process], bool]) -> list[Process]:
        return [p for p in self.sandbox.processes() if wanted(p)]

    def servers(self) -> list[Process]:
        return self.find(lambda p: " -m spraycc.server" in p.command)

    def executors(self) -> list[Process]:
        return self.find(lambda p: " -m spraycc.executor" in p.command and "relay.py" not in p.command)

    def relays(self) -> list[Process]:
        return self.find(lambda p: "relay.py" in p.command)

    def runners(self) -> list[Process]:
        """Runners that wait for a compile; at the gate, those whose compile an executor runs."""
        runners = self.find(lambda p: _executable(p.pid) == "spraycc-run" and " -c " in p.command)
        if self.rng is not None:
            return runners
        remote = {unit_of(p) for p in self.remote_compiles()}
        return [p for p in runners if unit_of(p) in remote]

    def waiting_runners(self) -> list[Process]:
        """All runners of compiles, including those in the server's queue."""
        return self.find(lambda p: _executable(p.pid) == "spraycc-run" and " -c " in p.command)

    def makes(self) -> list[Process]:
        return self.find(lambda p: _executable(p.pid) == "make")

    def remote_compiles(self) -> list[Process]:
        """The compilers proper, on executors; at the gate, the script in their place."""
        return self.find(lambda p: "/cc1 " in p.command and _mounts_differ(p.pid))

    def compiles(self) -> list[Process]:
        """All processes of compiles, except runners."""
        return self.find(
            lambda p: _UNIT.search(p.command) is not None and _executable(p.pid) not in ("spraycc-run", "make")
        )

    def compiles_of(self, unit: str) -> list[Process]:
        """All processes of one unit, except runners."""
        return [p for p in self.compiles() if unit_of(p) == unit]

    def unit_at(self, executor: Process) -> str:
        """The unit that a process on this executor compiles."""
        processes = {p.pid: p for p in self.sandbox.processes()}
        for compile_ in self.remote_compiles():
            above: Process | None = compile_
            while above is not None and above.pid != executor.pid:
                above = processes.get(above.parent)
            if above is not None:
                return unit_of(compile_)
        raise AssertionError(f"nothing is compiled below {executor}")

    def connected(self) -> set[int]:
        """Process ids of the executors that the server knows."""
        return {executor["pid"] for executor in self.sandbox.status().get("executors", [])}

    def wait(self, what: str, found: Callable[[], list[Process]]) -> list[Process]:
        """The processes in question, as soon as there are some; none if the build ends before."""
        end = time.monotonic() + HANG_S
        while not (processes := found()) and not self.over():
            assert time.monotonic() < end, f"no {what}"
            time.sleep(0.02)
        return processes

    def one(self, what: str, found: Callable[[], list[Process]]) -> Process | None:
        processes = self.wait(what, found)
        return self.pick(processes) if processes else None

    def pick(self, choices: Sequence[T]) -> T:
        """A random one of them, or the first one if the run is not random."""
        return choices[0] if self.rng is None else self.rng.choice(choices)

    # -- actions

    def tell(self, text: str) -> None:
        self.story.append(f"{time.monotonic() - self.began:.2f} s: {text}")

    def signal(self, process: Process, number: signal.Signals) -> None:
        self.tell(f"{number.name} to {process.pid} ({process.command[:60]})")
        if number == signal.SIGKILL:
            self.killed.add(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)

    def let_go(self) -> None:
        """Open the gate: from now on, compiles run to their end."""
        gate_of(self.sandbox).touch()

    def wait_for(self, what: str, fact: Callable[[], object]) -> None:
        """Wait until the fact holds, with a limit against a hang."""
        self.tell(f"waits until {what}")
        self.sandbox.wait_for(what, fact, timeout_s=HANG_S)

    def last(self, what: str, fact: Callable[[], object], *seconds: float) -> None:
        """Keep the fault: at the gate until the fact holds, else for one of these times."""
        if self.rng is None:
            self.wait_for(what, lambda: self.over() or fact())
        elif seconds:
            self.pause(self.rng.choice(seconds))

    def pause(self, seconds: float) -> None:
        """Wait this long, at most until the build ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over():
            time.sleep(0.02)

    def unix_socket(self) -> Path | None:
        return next(iter(self.sandbox.runtime.glob("*/socket")), None)

    def tcp_ports(self) -> set[int]:
        """The addresses at which servers of this sandbox listen for executors."""
        inodes = set()
        for server in self.servers():
            with contextlib.suppress(OSError):
                for fd in Path(f"/proc/{server.pid}/fd").iterdir():
                    inodes.add(os.readlink(fd).removeprefix("socket:[").rstrip("]"))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}

    def most_on_submit_host(self) -> int:
        """The largest number of compiles that ran on the submit host at once."""
        log = note_of(self.sandbox)
        notes = log.read_text().split("\n")[:-1] if log.exists() else []
        running: set[int] = set()
        most = 0
        for note in notes:
            sign, pid = note.split()
            (running.add if sign == "+" else running.discard)(int(pid))
            running -= self.killed
            most = max(most, len(running))
        return most


def unit_of(process: Process) -> str:
    """The unit that this process compiles, by its command line; empty if it has none."""
    found = _UNIT.search(process.command)
    return found[1] if found else ""


def _executable(pid: int) -> str:
    with contextlib.suppress(OSError):
        return os.path.basename(os.readlink(f"/proc/{pid}/exe"))
    return ""


def _mounts_differ(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    return False


@dataclass(frozen=True)
class Expected:
    """The permitted effects of a fault on its build. By default none."""

    #: the build may fail, as plain make's would fail
    may_fail: bool = False
    #: words: the diagnostics of a failed build must have one of them
    words: tuple[str, ...] = ()
    #: the command line may be killed by this signal
    signals: tuple[int, ...] = ()
    #: files that plain make's compilers also leave incomplete when they fail like this, as patterns of examples/compare
    in_pieces: tuple[str, ...] = ()


def check_tree(reference: Reference, tree: Path, only_common: bool = False, without: Sequence[str] = ()) -> None:
    """Compares the plain build's tree with another. ``only_common``: files may be missing in the other."""
    command: list[str | Path] = [sys.executable, EXAMPLES / "compare", reference.tree, tree]
    for pattern in without:
        command += ["--exclude", pattern]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    if only_common:
        lines = [line for line in lines if not line.endswith(f": only in {reference.tree}")]
    assert not lines, "\n".join(lines)


@contextlib.contextmanager
def running(lab: Lab) -> Iterator[None]:
    """The build, in its own process group, as from a terminal's shell.

    Not in its own session: Ctrl-Z stops nothing in an orphaned process group (POSIX.1-2008, 2.4.3).
    """
    words = ["make", "-j20", "CC=gcc"]
    command, _ = lab.sandbox.build_command(words, executors=lab.scale.executors, local_slots=lab.scale.local_slots)
    with (
        lab.out.open("wb") as stdout,
        lab.err.open("wb") as stderr,
        lab.sandbox.start(command, stdout=stdout, stderr=stderr, process_group=0) as process,
    ):
        lab.process, lab.began = process, time.monotonic()
        try:
            yield
            try:
                process.wait(HANG_S)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the build hangs\n{lab.sandbox.describe()}") from None
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def check_build(lab: Lab, reference: Reference, expected: Expected) -> bool:
    """Checks the build that was hit; True if it succeeded."""
    assert lab.process is not None
    status, words, tree = lab.process.returncode, lab.err.read_bytes(), lab.sandbox.workspace
    shown = words.decode(errors="replace")[-3000:]
    if status == 0:
        check_tree(reference, tree)
        assert diagnostics(words) == reference.diagnostics, shown
        commands = sorted(lab.out.read_bytes().splitlines())
        assert commands == reference.out, commands
    else:
        assert expected.may_fail, f"status {status}\n{shown}\n{lab.sandbox.describe()}"
        assert status in (2, *(-s for s in expected.signals), *(128 + s for s in expected.signals)), (
            f"{status}\n{shown}"
        )
        if expected.words and status == 2:
            assert any(word in shown for word in expected.words), shown
        # Each existing file is complete.
        check_tree(reference, tree, only_common=True, without=expected.in_pieces)
    most = lab.most_on_submit_host()
    assert most <= lab.scale.local_slots, f"{most} at once on the submit host:\n{note_of(lab.sandbox).read_text()}"
    return status == 0


def check_next(lab: Lab, reference: Reference) -> None:
    """A build after it completes the tree, also with a new server."""
    sandbox = lab.sandbox

    def build() -> None:
        scale = lab.scale
        again = sandbox.build(
            "make", "CC=gcc", executors=scale.executors, local_slots=scale.local_slots, timeout_s=HANG_S
        )
        assert again.status == 0, again.words() + sandbox.describe()
        check_tree(reference, sandbox.workspace)

    build()
    sandbox.stop()
    if list(sandbox.scratch.glob("*/executor-*")):
        # The next executors remove the leftovers of killed executors.
        lab.tell("executors left their scratch directories; one more build")
        (sandbox.workspace / "main.o").unlink()
        build()


def warnings(sandbox: Sandbox) -> str:
    """The server's complaints."""
    lines = [line for log in sandbox.home.rglob("server.log*") for line in log.read_text(errors="replace").splitlines()]
    return "\n".join(line for line in lines if " INFO " not in line or "connection broken" in line)
