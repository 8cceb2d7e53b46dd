"""Hosts whose clocks differ. A second machine plays one of the three hosts, and its clock is set ahead or back.

A produced file gets the file server's time, whatever the clock of the executor's host says. So make and ninja find nothing
to do after a build, and after an edit they make again exactly the files that depend on the edited one. Each step runs
with the plain tool in one directory and with SprayCC in another one, and the two must be equal.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any

from tests.nfs.builds import Workspace, workspace
from tests.nfs.machine import Done, Host, Hosts, Machine, Mount
from tests.nfs.situations import homes_on_nfs

#: How far the clock may be from the wanted one: a script takes a moment, longer in an emulated machine.
CLOCK_ERROR_S = 15

#: Steps in which no attempt may be thrown away: the executors know the tree, and a task's inputs are all there.
STEADY = ("nothing to do", "b.h touched", "b.h touched, nothing to do", "gen.txt edited")

#: Makes the same project twice. u1 and u2 include a.h, u3 includes b.h, u1 includes the generated gen.h. ``future.c`` is
#: newer than all clocks, ``old`` has a time with nanoseconds.
_PROJECTS = r"""
mkdir plain && cd plain && mkdir inc out g n
echo '#define A 1' >inc/a.h
echo '#define B 1' >inc/b.h
echo 1 >gen.txt
printf '#include "a.h"\n#include "gen.h"\nint f1(void) { return A + GEN; }\n' >u1.c
printf '#include "a.h"\nint f2(void) { return A; }\n' >u2.c
printf '#include "b.h"\nint f3(void) { return B; }\n' >u3.c
echo 'int f1(void), f2(void), f3(void); int main(void) { return f1() + f2() + f3(); }' >main.c
echo 'int future;' >future.c
echo appended >log
echo old >old
echo exists >exists
tar cf old.tar old
touch -d '2021-02-03 04:05:06.987654321' old exists log
touch -d "@$(($(date +%s) + 3600)).123456789" future.c
cat >Makefile <<'END'
REMOTELY =
prog: main.o libu.a
	@echo makes $@
	gcc -o $@ main.o libu.a
libu.a: u1.o u2.o u3.o
	@echo makes $@
	rm -f $@; ar rcs $@ $^
g/gen.h: gen.txt
	@echo makes $@
	sed 's/^/#define GEN /' gen.txt >$@
u1.o: g/gen.h
%.o: %.c
	@echo makes $@
	gcc -MMD -Ig -Iinc -c $< -o $@
times:
	$(REMOTELY) cp -p old copy
	$(REMOTELY) touch -d '2020-01-01 00:00:00.123456789' dated exists
	$(REMOTELY) touch -r old like
	$(REMOTELY) tar xf old.tar -C out
	$(REMOTELY) sh -c 'echo more >>log; : >empty; echo first >first; touch touched; cp -p old renamed; mv renamed moved'
-include $(wildcard *.d)
END
cat >build.ninja <<'END'
include remotely.ninja
builddir = n
rule cc
  command = gcc -MMD -MF $out.d -In -Iinc -c $in -o $out
  deps = gcc
  depfile = $out.d
rule gen
  command = $remotely sh -c "sed 's/^/#define GEN /' gen.txt >$out.new; if cmp -s $out.new $out; then rm $out.new; else mv $out.new $out; fi"
  restat = 1
rule ar
  command = rm -f $out; ar rcs $out $in
rule link
  command = gcc -o $out $in
build n/gen.h: gen gen.txt
build n/u1.o: cc u1.c || n/gen.h
build n/u2.o: cc u2.c
build n/u3.o: cc u3.c
build n/main.o: cc main.c
build n/libu.a: ar n/u1.o n/u2.o n/u3.o
build n/prog: link n/main.o n/libu.a
END
echo 'remotely =' >remotely.ninja
cd .. && cp -a plain ours
echo 'remotely = spraycc run --remote --' >ours/remotely.ninja
"""

#: Files that get the file server's "now", as an order: none is older than a file before it in the same row.
_ORDERS = (("g/gen.h", "u1.d", "u1.o", "libu.a", "prog"), ("main.d", "main.o", "prog"), ("u2.d", "u2.o", "libu.a"))
#: Files that the target ``times`` makes: with times of their own, and without.
_WITH_TIMES = ("copy", "dated", "exists", "like", "out/old", "moved")
_WITHOUT_TIMES = ("log", "empty", "first", "touched")

#: The files that make and ninja must make again after the edits. make compiles u1 and u2 after an edit of a.h, for example.
_ALL = ["g/gen.h", "libu.a", "main.o", "prog", "u1.o", "u2.o", "u3.o"]
_AFTER_A = ["libu.a", "prog", "u1.o", "u2.o"]
_AFTER_B = ["libu.a", "prog", "u3.o"]
_AFTER_GEN = ["g/gen.h", "libu.a", "prog", "u1.o"]


class Pair(Hosts):
    """Two machines. The second one plays one host, and the first one plays the other two."""

    def __init__(self, first: Machine, second: Machine, other: Host) -> None:
        self._first, self._second, self._other = first, second, other

    def run(self, script: str, *, host: Host = "server", **more: Any) -> Done:
        return self._machine(host).run(script, host=host, **more)

    def address(self, host: Host) -> str:
        return self._machine(host).address(host)

    def _machine(self, host: Host) -> Machine:
        return self._second if host == self._other else self._first

    def set_clock(self, ahead_s: int) -> None:
        """Sets the second machine's clock to the first one's plus ``ahead_s``."""
        now = float(self._first.run("date +%s.%N").output)
        self._second.run(f"date -s @{now + ahead_s:.9f}")

    def ahead_s(self) -> float:
        """The seconds by which the second machine's clock is ahead of the first one's."""
        first = float(self._first.run("date +%s.%N").output)
        return float(self._second.run("date +%s.%N").output) - first


@dataclass
class Seen:
    """The observations of all steps with one tool."""

    steps: dict[str, Any] = field(default_factory=dict)
    #: steps in which make warned of a time in the future; the plain tool goes first, so it may warn more often
    warned: set[str] = field(default_factory=set)
    not_remote: list[str] = field(default_factory=list)  #: tasks that ran on the submit host and should not
    #: attempts that did not count, by step: the executor's host saw other files
    refused: dict[str, list[str]] = field(default_factory=dict)
    remote: int = 0


@dataclass(frozen=True)
class Result:
    """Both tools, and the clock at the end."""

    plain: Seen
    ours: Seen
    ahead_s: float


def try_clocks(pair: Pair, mount: Mount, ahead_s: int, options: str = "") -> Result:
    """All steps, first with the plain tools and then with SprayCC, while the second machine's clock is wrong."""
    pair.set_clock(ahead_s)
    # The session file lies in the home directory, so two machines need a shared home.
    with workspace(pair, mount, options=options, fill=_PROJECTS) as space, homes_on_nfs(space):
        plain = _Steps(space, "plain").all()
        space.start()
        ours = _Steps(space, "ours").all()
        return Result(plain, ours, pair.ahead_s())


def expected() -> dict[str, Any]:
    """make's steps as they are where all clocks are equal.

    ninja's are only compared. On NFS, plain ninja has work to do again after a build: ninja 1.13 takes the time of
    ``.ninja_lock`` for the start of each command, and the Linux client does not renew that time.
    """
    nothing = {"status": 0, "made": [], "then -q": 0}
    return {
        "first build, edit at once, make": {"made": _ALL, "-q": 1, "made then": _AFTER_A, "then -q": 0},
        "nothing to do": nothing,
        "b.h touched": {"-q": 1, "status": 0, "made": _AFTER_B, "then -q": 0},
        "b.h touched, nothing to do": nothing,
        "gen.txt edited": {"-q": 1, "status": 0, "made": _AFTER_GEN, "then -q": 0},
        "order": "right",
        "now": "right",
        "explicit times": [
            "copy 2021-02-03 04:05:06.987654321",
            "dated 2020-01-01 00:00:00.123456789",
            "exists 2020-01-01 00:00:00.123456789",
            "like 2021-02-03 04:05:06.987654321",
            "moved 2021-02-03 04:05:06.987654321",
        ],
        "times without a time": "right",
        "source in the future": {"status": 0, "made": ["future.o"], "then -q": 1},
    }


class _Steps:
    """The steps with one tool, in its directory."""

    def __init__(self, space: Workspace, directory: str) -> None:
        self._space = space
        self._directory = directory
        self._ours = directory == "ours"
        self._tool = f"{space.environment} spraycc {space.options} " if self._ours else ""
        self.seen = Seen()

    def all(self) -> Seen:
        steps = self.seen.steps
        began = self._file_server_s()
        steps["first build, edit at once, make"] = self._edit_at_once()
        steps["nothing to do"] = self._make("nothing to do")
        self._run("touch inc/b.h")
        steps["b.h touched"] = {"-q": self._question(), **self._make("b.h touched")}
        steps["b.h touched, nothing to do"] = self._make("b.h touched, nothing to do")
        self._run("echo 2 >gen.txt")
        steps["gen.txt edited"] = {"-q": self._question(), **self._make("gen.txt edited")}
        steps["order"] = self._order()
        steps["now"] = self._now(sorted({name for row in _ORDERS for name in row}), began)
        self._times()
        steps["source in the future"] = self._make("source in the future", "future.o")
        self._ninja()
        return self.seen

    # -- make

    def _edit_at_once(self) -> dict[str, Any]:
        """The first build and, in the same script, an edit, make's question and plain make."""
        done = self._run(
            f"{self._tool}make -j2\n"
            "echo ==; echo '#define A 2' >inc/a.h; make -q >question 2>&1; echo \"status $?\"; cat question\n"
            "make -j2"
        )
        first, _, then = done.output.partition("==")
        self._note("first build", done.output)
        status = int(re.findall(r"status (\d)", then)[0])
        return {"made": _made(first), "-q": status, "made then": _made(then), "then -q": self._question()}

    def _make(self, step: str, target: str = "") -> dict[str, Any]:
        done = self._run(f"{self._tool}make -j2 {target}", check=False)
        self._note(step, done.output)
        return {"status": done.status, "made": _made(done.output), "then -q": self._question(target)}

    def _question(self, target: str = "") -> int:
        return self._run(f"make -q {target}", check=False).status

    def _note(self, step: str, output: str) -> None:
        if "Clock skew" in output or "in the future" in output:
            self.seen.warned.add(step)
        if not self._ours:
            return
        for task in self._space.tasks():
            self.seen.remote += task["ran"] == "remote"
            if task["kind"] == "compile" and task["ran"] != "remote":
                self.seen.not_remote.append(f"{step}: {task}")
            if task["attempts"] > 1 or task["refusals"]:
                self.seen.refused.setdefault(step, []).append(f"{task['target']}: {task['refusals']}")

    # -- times

    def _times(self) -> None:
        began = self._file_server_s()
        done = self._run(f"{self._tool}make times {'REMOTELY=' if not self._ours else _REMOTELY}")
        self._note("explicit times", done.output)
        if self._ours:
            here = [task for task in self._space.tasks() if task["ran"] != "remote"]
            self.seen.not_remote += [f"times: {task}" for task in here if "spraycc" not in task["argv"]]
        lines = self._on_server(f"stat -c '%n %y' {' '.join(_WITH_TIMES)}").splitlines()
        # tar keeps whole seconds of the time at which the archive was made.
        tar = next(line for line in lines if line.startswith("out/old"))
        assert ".000000000 " in tar, tar
        self.seen.steps["explicit times"] = sorted(line.rsplit(" ", 1)[0] for line in lines if line != tar)
        self.seen.steps["times without a time"] = self._now(_WITHOUT_TIMES, began)

    def _order(self) -> str:
        wrong = []
        for row in _ORDERS:
            times = self._mtimes(row)
            wrong += [f"{a} > {b}" for a, b in itertools.pairwise(row) if times[a] > times[b]]
        return "; ".join(wrong) or "right"

    def _now(self, names: Any, began: float) -> str:
        """Whether all these files got their times since ``began``, by the file server's clock."""
        ended = self._file_server_s()
        # The file system's clock ticks every few milliseconds.
        wrong = [
            f"{name} {mtime - began:+.2f}"
            for name, mtime in self._mtimes(names).items()
            if not began - 0.1 <= mtime <= ended
        ]
        return "; ".join(wrong) or "right"

    def _mtimes(self, names: Any) -> dict[str, float]:
        lines = self._on_server(f"stat -c '%n %.9Y' {' '.join(names)}").splitlines()
        return {name: float(mtime) for name, mtime in (line.split() for line in lines)}

    # -- ninja

    def _ninja(self) -> None:
        steps = self.seen.steps
        steps["ninja"] = self._run_ninja("ninja")
        self._run("echo '#define A 3' >inc/a.h")
        before = _made_by_ninja(self._run("ninja -n -v").output)
        steps["ninja, a.h edited"] = {"before": before, **self._run_ninja("ninja, a.h edited")}
        self._run("touch gen.txt")
        steps["ninja, gen.txt touched"] = self._run_ninja("ninja, gen.txt touched")
        self._run("echo 3 >gen.txt")
        steps["ninja, gen.txt edited"] = self._run_ninja("ninja, gen.txt edited")

    def _run_ninja(self, step: str) -> dict[str, Any]:
        done = self._run(f"{self._tool}ninja -j2 -v", check=False)
        self._note(step, done.output)
        then = self._run("ninja -n -v").output
        return {"status": done.status, "made": _made_by_ninja(done.output), "then": _made_by_ninja(then)}

    # -- in the machines

    def _run(self, script: str, **more: Any) -> Done:
        return self._space.run(f"cd {self._directory} || exit\n{script}", **more)

    def _on_server(self, script: str) -> str:
        return self._space.run_on_server(f"cd {self._directory} && {script}").output

    def _file_server_s(self) -> float:
        return float(self._on_server("date +%s.%N"))


_REMOTELY = "REMOTELY='spraycc run --remote --'"


def _made(output: str) -> list[str]:
    return sorted(re.findall(r"^makes (\S+)", output, re.M))


def _made_by_ninja(output: str) -> list[str]:
    """The files that ninja made, from its commands."""
    return sorted({name for line in output.splitlines() if line[:1] == "[" for name in _ninja_output(line)})


def _ninja_output(line: str) -> list[str]:
    return re.findall(r"(?:-o n/|rcs n/|>n/)([\w.]+?)(?:[.]new)?(?=[ ;]|$)", line)[:1]
