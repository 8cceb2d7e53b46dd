"""One build under one fault, and what must be true of it afterwards."""

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

from tests.system.harness.sandbox import EXAMPLES, Account, Process, Sandbox

UNITS = 50
EXECUTORS = 6
LOCAL_SLOTS = 2
#: What each compile takes at least.
UNIT_S = 0.3
#: A build is expected to take about so long; faults come at a random moment of it.
BUILD_S = 4.5
#: A build that is not over by now hangs.
HANG_S = 75.0

_MAKEFILE = f"""\
objects := $(patsubst %.c,%.o,$(wildcard u*.c)) late.o
all: prog libunits.a

prog: main.o libunits.a
	$(CC) -o $@ $^

libunits.a: $(objects)
	$(AR) rcD $@ $^

%.o: %.c
	$(CC) -O1 -Wall -fstack-usage -MMD -MP -c -o $@ $<

# a source that comes into being while others compile
late.c: u{UNITS // 2}.o
	echo 'int late(void) {{ return 7; }}' >$@.new && mv $@.new $@

-include $(wildcard *.d)
"""

#: What a compile does before the real one starts. Only a command on the submit host can write the note: elsewhere all but
#: the workspace is read-only. The process that notes its number is the compile until its end.
_COMPILER = """\
#!/bin/sh
case " $* " in *" -c "*) ;; *) exec /usr/bin/gcc "$@" ;; esac
{{ echo "+ $$" >>'{log}'; }} 2>/dev/null
sleep {unit_s}
/usr/bin/gcc "$@"
status=$?
{{ echo "- $$" >>'{log}'; }} 2>/dev/null
exit $status
"""


def project() -> dict[str, str]:
    """Units with a warning each, a generated one, an archive and a program."""
    files = {
        f"u{i}.c": f'#include <stdio.h>\nint f{i}(int x) {{\n    int unused{i};\n    return printf("") + x + {i};\n}}\n'
        for i in range(1, UNITS + 1)
    }
    declarations = "".join(f"int f{i}(int);\n" for i in range(1, UNITS + 1))
    total = " + ".join(f"f{i}(0)" for i in range(1, UNITS + 1))
    files["main.c"] = (
        f'#include <stdio.h>\n{declarations}int late(void);\nint main(void) {{ printf("%d\\n", late() + {total}); }}\n'
    )
    files["Makefile"] = _MAKEFILE
    return files


#: Lines of make, and of SprayCC, that differ from run to run.
_NOT_DIAGNOSTICS = re.compile(rb"^(spraycc|make|gmake)[: \[]")


def diagnostics(err: bytes) -> list[bytes]:
    """The compilers' own lines. Sorted, as their order is make's affair."""
    return sorted(line for line in err.splitlines() if not _NOT_DIAGNOSTICS.match(line))


@dataclass(frozen=True)
class Reference:
    """What plain make does."""

    tree: Path
    out: list[bytes]
    diagnostics: list[bytes]


def install_compiler(sandbox: Sandbox) -> Path:
    """Put the slowed gcc first on PATH; returns the file in which compiles on the submit host note themselves."""
    log = sandbox.aside / "here.log"
    sandbox.write({"gcc": _COMPILER.format(log=log, unit_s=UNIT_S)}, sandbox.aside / "compiler", mode=0o755)
    sandbox.path_front = [sandbox.aside / "compiler"]
    return log


def make_reference(account: Account, directory: Path) -> Reference:
    sandbox = Sandbox(account, directory)
    install_compiler(sandbox)
    sandbox.write(project())
    done = sandbox.run("make", "-j8", "CC=gcc").ok()
    assert len(diagnostics(done.err)) > UNITS
    return Reference(sandbox.workspace, sorted(done.out.splitlines()), diagnostics(done.err))


@dataclass
class Lab:
    """A running build, for faults to look at and to break."""

    sandbox: Sandbox
    rng: random.Random
    #: pids of processes that were killed on purpose while they may have run a compile here
    killed: set[int] = field(default_factory=set)
    #: what was done, for the message of a failed run
    story: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0

    # -- what there is

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
        """Runners that wait for a compile."""
        return self.find(lambda p: _executable(p.pid) == "spraycc-run" and " -c " in p.command)

    def makes(self) -> list[Process]:
        return self.find(lambda p: _executable(p.pid) == "make")

    def remote_compiles(self) -> list[Process]:
        """The compilers proper, on executors."""
        return self.find(lambda p: _executable(p.pid) == "cc1" and _mounts_differ(p.pid))

    def compiles_of(self, unit: str) -> list[Process]:
        """Everything that runs for one unit, but for runners."""
        return self.find(
            lambda p: f" {unit}.c" in p.command and _executable(p.pid) not in ("spraycc-run", "make") and p.state != "Z"
        )

    def wait(self, what: str, found: Callable[[], list[Process]]) -> list[Process]:
        """The processes in question, as soon as there are some; none where the build is over before."""
        end = time.monotonic() + HANG_S
        while not (processes := found()) and not self.over():
            assert time.monotonic() < end, f"no {what}"
            time.sleep(0.02)
        return processes

    def one(self, what: str, found: Callable[[], list[Process]]) -> Process | None:
        processes = self.wait(what, found)
        return self.rng.choice(processes) if processes else None

    # -- what is done to it

    def tell(self, text: str) -> None:
        self.story.append(f"{time.monotonic() - self.began:.2f} s: {text}")

    def signal(self, process: Process, number: signal.Signals) -> None:
        self.tell(f"{number.name} to {process.pid} ({process.command[:60]})")
        if number == signal.SIGKILL:
            self.killed.add(process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)

    def pause(self, seconds: float) -> None:
        """Let the fault last; no longer than the build does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over():
            time.sleep(0.02)

    def unix_socket(self) -> Path | None:
        return next(iter(self.sandbox.runtime.glob("*/socket")), None)

    def tcp_ports(self) -> set[int]:
        """Where servers of this sandbox listen for executors."""
        inodes = set()
        for server in self.servers():
            with contextlib.suppress(OSError):
                for fd in Path(f"/proc/{server.pid}/fd").iterdir():
                    inodes.add(os.readlink(fd).removeprefix("socket:[").rstrip("]"))
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in inodes}

    def most_here(self, log: Path) -> int:
        """Most compiles that ran on the submit host at once."""
        notes = log.read_text().split("\n")[:-1] if log.exists() else []
        running: set[int] = set()
        most = 0
        for note in notes:
            sign, pid = note.split()
            (running.add if sign == "+" else running.discard)(int(pid))
            running -= self.killed
            most = max(most, len(running))
        return most


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
    """What a fault may make of the build it hits. By default nothing at all."""

    #: the build may fail, as plain make's would have
    may_fail: bool = False
    #: words of which one must be among the diagnostics of a build that failed
    words: tuple[str, ...] = ()
    #: the command line may be killed by this signal
    signals: tuple[int, ...] = ()
    #: files that plain make's compilers leave in pieces as well when they fail so, as patterns of examples/compare
    in_pieces: tuple[str, ...] = ()


def check_tree(reference: Reference, tree: Path, only_common: bool = False, without: Sequence[str] = ()) -> None:
    """Compares the plain build's tree and another; ``only_common``: files that the other lacks are fine."""
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
def running(lab: Lab, words: list[str], out: Path, err: Path) -> Iterator[None]:
    """The build, in a session of its own, as from a terminal's shell."""
    command, _ = lab.sandbox.build_command(words, executors=EXECUTORS, local_slots=LOCAL_SLOTS)
    with (
        out.open("wb") as stdout,
        err.open("wb") as stderr,
        lab.sandbox.start(command, stdout=stdout, stderr=stderr, start_new_session=True) as process,
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


def check_build(lab: Lab, reference: Reference, expected: Expected, out: Path, err: Path, log: Path) -> bool:
    """The oracle for the build that was hit; True where it succeeded."""
    assert lab.process is not None
    status, words, tree = lab.process.returncode, err.read_bytes(), lab.sandbox.workspace
    shown = words.decode(errors="replace")[-3000:]
    if status == 0:
        check_tree(reference, tree)
        assert diagnostics(words) == reference.diagnostics, shown
        commands = sorted(out.read_bytes().splitlines())
        assert commands == reference.out, commands
    else:
        assert expected.may_fail, f"status {status}\n{shown}\n{lab.sandbox.describe()}"
        assert status in (2, *(-s for s in expected.signals), *(128 + s for s in expected.signals)), (
            f"{status}\n{shown}"
        )
        if expected.words and status == 2:
            assert any(word in shown for word in expected.words), shown
        # What is there is whole.
        check_tree(reference, tree, only_common=True, without=expected.in_pieces)
    most = lab.most_here(log)
    assert most <= LOCAL_SLOTS, f"{most} at once here:\n{log.read_text()}"
    return status == 0


def check_next(lab: Lab, reference: Reference) -> None:
    """A build after it completes the tree, also with a server that has to be started anew."""
    sandbox = lab.sandbox

    def build() -> None:
        again = sandbox.build("make", "CC=gcc", executors=EXECUTORS, local_slots=LOCAL_SLOTS, timeout_s=HANG_S)
        assert again.status == 0, again.words() + sandbox.describe()
        check_tree(reference, sandbox.workspace)

    build()
    sandbox.stop()
    if list(sandbox.scratch.glob("*/executor-*")):
        # What killed executors leave, the next ones clear away.
        lab.tell("executors left their scratch directories; one more build")
        (sandbox.workspace / "main.o").unlink()
        build()


def warnings(sandbox: Sandbox) -> str:
    """What the server complained of."""
    lines = [line for log in sandbox.home.rglob("server.log*") for line in log.read_text(errors="replace").splitlines()]
    return "\n".join(line for line in lines if " INFO " not in line or "connection broken" in line)
