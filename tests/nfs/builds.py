"""Builds in the machine: a workspace on NFS, SprayCC with executors on the other host, and the plain build to compare."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.nfs import edits, operations, scenarios
from tests.nfs.machine import CLIENTS, PROJ, Done, Hosts, Mount, User

#: Two executors on the host "exec".
_SETTINGS = 'cluster = "ssh"\nhosts = ["{}:2"]\n'

#: Makes a project in the working directory: $1 units that include ten headers.
_PROJECT = """\
mkdir src inc
for k in $(seq 10); do echo "#define H$k $k" >inc/h$k.h; done
for i in $(seq $1); do
  { for k in $(seq 10); do echo "#include \\"h$k.h\\""; done; echo "int f$i(void) { return H1 + H10; }"; } >src/u$i.c
done
cat >Makefile <<'END'
all: $(patsubst %.c,%.o,$(wildcard src/*.c))
%.o: %.c
\tgcc -MMD -Iinc -c $< -o $@
END
"""

_numbers = itertools.count(1)


@dataclass
class Workspace:
    """A directory of the exported tree with SprayCC's settings. ``workspace`` makes it."""

    machine: Hosts
    path: str
    user: User
    options: str = ""  #: SprayCC's own, before the tool's name
    environment: str = ""  #: words such as A=b for all commands of SprayCC

    def run(self, script: str, **more: Any) -> Done:
        """Runs a script in the workspace on the submit host, as the workspace's user."""
        return self.machine.run(f"cd {self.path} && {script}", host="submit", user=self.user, **more)

    def run_on_server(self, script: str, user: User | None = None, **more: Any) -> Done:
        """Like ``run``, but on the file server's own disk, without NFS."""
        return self.machine.run(f"cd {self.path} && {script}", user=user or self.user, **more)

    def build(self, words: str, **more: Any) -> Done:
        """``spraycc WORDS`` in the workspace."""
        return self.run(f"{self.environment} spraycc {self.options} {words}", **more)

    def start(self) -> None:
        """Starts the server and the executors, so that a build finds them connected."""
        # On a slow machine an executor may join later than a build waits for it, so try again.
        self.run(
            "printf 'int warm;\\n' >warm.c\n"
            "for n in $(seq 30); do\n"
            f"  {self.environment} spraycc {self.options} --wait-for-cluster run --remote -- gcc -c warm.c -o warm.o\n"
            '  spraycc why --json | grep -q \'"ran": *"remote"\' && exit 0\n'
            "  sleep 1\n"
            "done\n"
            "spraycc status; spraycc why; exit 1"
        )

    def tasks(self) -> list[dict[str, Any]]:
        """The fate of each task of the last build, as ``spraycc why --json`` reports it."""
        return [json.loads(line) for line in self.run("spraycc why --json").output.splitlines() if line.startswith("{")]

    def remote(self) -> int:
        """How many tasks of the last build came from executors."""
        return sum(task["ran"] == "remote" for task in self.tasks())

    def stop(self) -> None:
        """Stops the server, and waits until no process of SprayCC holds a file of the mount."""
        self.run("spraycc server stop --now", check=False)
        for host in CLIENTS:
            self.machine.run(
                f"for n in $(seq 100); do pgrep -u {self.user} -f '[s]praycc[.](server|executor)' >/dev/null || exit 0\n"
                "sleep 0.2; done; ps -eo user,pid,args; exit 1",
                host=host,
            )


@contextmanager
def workspace(
    machine: Hosts, mount: Mount, *, user: User = "dev", options: str = "", fill: str = "", mode: str = "755"
) -> Iterator[Workspace]:
    """A new workspace on a fresh mount. ``fill`` is a script that root runs in it on the file server, before the mount.

    The context's end stops SprayCC. The files stay, for the search for the cause of a failure.
    """
    path = f"{PROJ}/work{next(_numbers)}"
    machine.run(
        f"mkdir -m {mode} {path}; cd {path} || exit\n"
        f"printf %s {shlex.quote(_SETTINGS.format(machine.address('exec')))} >.spraycc.toml\n"
        f"( {fill or ':'} )\n"
        f"status=$?; chown -R {user}:{user} {path}; exit $status"
    )
    machine.mount(mount)
    space = Workspace(machine, path, user, options)
    try:
        yield space
    finally:
        space.stop()


def project(units: int) -> str:
    """A ``fill`` for ``workspace``: a makefile for ``units`` units with ten headers."""
    return f"set -- {units}\n{_PROJECT}"


def run_scenarios(
    machine: Hosts, mount: Mount, tries: int, only: Sequence[str] = (), pause_s: float = 0, options: str = ""
) -> dict[str, scenarios.Row]:
    """Runs each scenario ``tries`` times, in one build of SprayCC."""
    words = f"{tries} --only {shlex.quote(','.join(only))} --pause {pause_s}"
    fill = f"python3 $RIG/scenarios.py write . {words}"
    with workspace(machine, mount, options=options, fill=fill) as space:
        space.start()
        space.build("make -j2 all", timeout_s=6000)
        tasks = [task for task in space.tasks() if task["target"].endswith("after.o")]
        space.run_on_server("make -s -j2 expected", timeout_s=3000)
        tries_made = [scenarios.Try(**one) for one in machine.program("scenarios.py", "judge", space.path)]
    remote = [_try_of(task) for task in tasks if task["ran"] == "remote"]
    here = [
        (_try_of(task)[0], " / ".join([task["why"] or "", *task["refusals"]]))
        for task in tasks if task["ran"] != "remote"
    ]  # fmt: skip
    return scenarios.rows(tries_made, remote, here)


def _try_of(task: dict[str, Any]) -> tuple[str, int]:
    """The try whose second compile this task is."""
    scenario, number = task["cwd"].rsplit("/", 2)[1:]
    return scenario, int(number)


@dataclass
class EditsResult:
    """A run of random edits, compared with plain gcc's."""

    difference: str | None  #: the first difference, with the seed and the step
    counts: dict[str, int] = field(default_factory=dict)
    remote: int = 0


def run_edits(machine: Hosts, mount: Mount, seed: int, steps: int, options: str = "") -> EditsResult:
    """The plan of ``seed`` under SprayCC on the submit host, and with plain gcc on the file server's disk."""
    with workspace(machine, mount, options=options) as space:
        space.start()
        words = f"{seed} {steps}"
        space.build(f"build -- python3 $RIG/edits.py tree {words} --out results", timeout_s=6000)
        remote = space.remote()
        space.run_on_server(f"python3 $RIG/edits.py plain-tree {words} --no-pauses --out plain-results", timeout_s=3000)
        ours, plain = (
            [edits.Compiled(**one) for one in json.loads(space.run_on_server(f"cat {name}").output)]
            for name in ("results", "plain-results")
        )
    difference = edits.difference(seed, edits.plan(seed, steps), ours, plain)
    return EditsResult(difference, edits.wrong(ours, plain), remote)


def count_operations(machine: Hosts, mount: Mount, units: int = 20) -> str:
    """A table of NFS operations for each task, with warm caches: plain make on each host, and SprayCC on both."""
    lines = [f"NFS operations for each of {units} tasks, {mount}"]

    def counts() -> dict[str, dict[str, int]]:
        return {host: machine.program("operations.py", PROJ, host=host) for host in CLIENTS}

    def measure(title: str, clear: Callable[[], object], build: Callable[[], object]) -> None:
        for _ in range(2):  # the first one fills the caches
            clear()
            before = counts()
            build()
            after = counts()
        for host in CLIENTS:
            rates = operations.per_task(before[host], after[host], units)
            if sum(rates.values()) >= 0.5:
                lines.append(operations.row_text(f"{title}, client of {host}", rates))

    with workspace(machine, mount, fill=project(units)) as space:
        clear = "rm -f src/*.o src/*.d"
        measure("plain make on submit", lambda: space.run(clear), lambda: space.run("make -s -j2"))
        space.start()
        measure("spraycc make", lambda: space.run(clear), lambda: space.build("make -s -j2"))
        lines.append(f"{'':44} {space.remote()} of {units} tasks remote")
        space.stop()

        def on_exec(script: str) -> Done:
            return machine.run(f"cd {space.path} && {script}", host="exec", user="dev")

        measure("plain make on exec", lambda: on_exec(clear), lambda: on_exec("make -s -j2"))
    return "\n".join(lines)
