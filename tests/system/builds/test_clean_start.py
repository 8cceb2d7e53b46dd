"""A build under wrappers, limits and foreign variables leaves nothing in the server: later builds are ordinary builds.

Also: a server in a sandbox or under a tracer ends with its build, so nobody waits for it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from spraycc import kept_variables
from tests.system.harness import needs
from tests.system.harness.projects import c_project, objects
from tests.system.harness.sandbox import MARKER, Process, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.needs("cc", package="gcc")]

UNITS = 3
COMPILES = UNITS + 1
#: Python sets it in the C locale.
_ALLOWED = (*kept_variables.KEPT, "TMPDIR", "SPRAYCC_RUNTIME_DIR", MARKER, "COVERAGE_PROCESS_*")

#: words before `spraycc make` -> the Debian package that has them
WRAPPERS = {
    "bear --": "bear",
    "faketime -f '2021-03-04 05:06:07'": "faketime",
    "eatmydata": "eatmydata",
}
#: variables before `spraycc make`
VARIABLES = {
    "loader": "LD_PRELOAD=/nonexistent/library.so LD_AUDIT=/nonexistent/audit.so LD_BIND_NOW=1 LD_DEBUG=all",
    "others": "TZ=Asia/Tokyo MALLOC_PERTURB_=7 MALLOC_CHECK_=3 GLIBC_TUNABLES=glibc.malloc.check=3 COMPILER_PATH=/nonexistent "
    "CCACHE_DIR=/nonexistent SOURCE_DATE_EPOCH=1 TOKEN=secret PYTHONPATH=/nonexistent PYTHONWARNINGS=error "
    "PYTHONHASHSEED=1 MAKELEVEL=3 MAKE_TERMERR=/dev/null SLURM_JOB_ID=7 SBATCH_TIMELIMIT=p LSB_JOBID=8 PBS_JOBID=9",
}


def plain(sandbox: Sandbox) -> dict[str, bytes]:
    """The objects of a plain build, which are removed."""
    sandbox.run("make", "-j2").ok()
    built = {name: (sandbox.workspace / name).read_bytes() for name in objects(sandbox.workspace)}
    sandbox.run("make", "clean").ok()
    assert len(built) == COMPILES
    return built


def same(sandbox: Sandbox, expected: dict[str, bytes]) -> bool:
    return {name: (sandbox.workspace / name).read_bytes() for name in objects(sandbox.workspace)} == expected


def ours(sandbox: Sandbox, module: str = "(server|executor)") -> list[Process]:
    return [process for process in sandbox.processes() if re.search(rf" -m spraycc\.{module}\b", process.command)]


def environment_of(process: Process) -> dict[str, str]:
    entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in entries if entry)


def under(sandbox: Sandbox, words: str, *, executors: int = 2) -> None:
    """Run ``WORDS spraycc make`` by a shell; the build succeeds."""
    command, _ = sandbox.build_command(["make", "-j4"], executors=executors)
    sandbox.run("sh", "-c", f'{words} "$@"', "sh", *command).ok()


def check_later_build(sandbox: Sandbox, expected: dict[str, bytes]) -> None:
    """A plain ``spraycc make`` distributes each compile, with no second try, and nothing of the first build is left."""
    assert same(sandbox, expected)
    sandbox.run("make", "clean").ok()
    later = sandbox.build("make", "-j4", options=["--wait-for-cluster"]).ok()
    assert later.figures["remote"] == COMPILES, later.words()
    assert later.figures["retried"] == 0, later.words()
    assert same(sandbox, expected)
    processes = ours(sandbox)
    assert len(processes) >= 2
    for process in processes:
        foreign = [name for name in environment_of(process) if not any(fnmatchcase(name, p) for p in _ALLOWED)]
        assert not foreign, process
    sandbox.stop()
    counters = sandbox.executor_counters()
    assert sum(counter["refused"] for counter in counters) == 0, counters


@pytest.mark.parametrize("words", WRAPPERS)
def test_a_wrapper_around_the_first_build(sandbox: Sandbox, words: str) -> None:
    program = words.split()[0]
    needs.program(program, WRAPPERS[words])
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    under(sandbox, words)
    if program == "bear":
        (sandbox.workspace / "compile_commands.json").unlink()
    server = ours(sandbox, "server")
    assert len(server) == 1
    maps = Path(f"/proc/{server[0].pid}/maps").read_text()
    assert not re.search("libexec.so|faketime|eatmydata", maps)
    check_later_build(sandbox, expected)


@pytest.mark.parametrize("words", VARIABLES.values(), ids=list(VARIABLES))
def test_variables_of_the_first_build(sandbox: Sandbox, words: str) -> None:
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    under(sandbox, words)
    check_later_build(sandbox, expected)


def test_a_variable_that_the_setting_names_stays(sandbox: Sandbox) -> None:
    sandbox.write(c_project(UNITS))
    sandbox.settings["SPRAYCC_KEPT_VARIABLES"] += " APPTAINER_*"
    under(sandbox, "APPTAINER_BIND=/data SINGULARITY_BIND=/data")
    for process in ours(sandbox):
        environ = environment_of(process)
        assert environ.get("APPTAINER_BIND") == "/data"
        assert "SINGULARITY_BIND" not in environ


@pytest.mark.needs("setarch", package="util-linux")
def test_limits_signals_and_cpus_of_the_first_build(sandbox: Sandbox) -> None:
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    limits = "ulimit -Sf 200000; ulimit -St 3000; ulimit -Sv 8000000; ulimit -Ss 2048; ulimit -Sn 256;"
    first = min(os.sched_getaffinity(0))
    under(sandbox, f"{limits} nohup taskset --cpu-list {first} setarch -R", executors=2)
    for process in ours(sandbox):
        shown = Path(f"/proc/{process.pid}/limits").read_text()
        for name in ("cpu time", "file size", "address space", "open files"):
            assert re.search(rf"Max {name} +(\S+) +\1 ", shown), (process, shown)
        assert re.search(r"Max stack size +8388608 ", shown), shown
        assert os.sched_getaffinity(process.pid) >= os.sched_getaffinity(0)
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"SigIgn:\s+\w+[02468ace]\n", status), "SIGHUP of nohup"
        assert re.search(r"SigBlk:\s+0+\n", status), status
        assert int(Path(f"/proc/{process.pid}/personality").read_text(), 16) == 0
    check_later_build(sandbox, expected)


@pytest.mark.parametrize("words", ["ulimit -v 4000000;", "nice -n 3"])
def test_a_server_with_fewer_rights_is_replaced(sandbox: Sandbox, words: str) -> None:
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    under(sandbox, words)
    first = sandbox.status()["server"]["pid"]
    under(sandbox, words)
    assert sandbox.status()["server"]["pid"] == first, "a build with the same rights uses the server"
    assert same(sandbox, expected)
    sandbox.run("make", "clean").ok()
    later = sandbox.build("make", "-j4", options=["--wait-for-cluster"]).ok()
    second = sandbox.status()["server"]["pid"]
    assert (second == first) == (os.geteuid() == 0 and sandbox.account.is_me and "nice" in words)
    assert later.figures["remote"] == COMPILES, later.words()
    sandbox.run("make", "clean").ok()
    under(sandbox, words)
    assert sandbox.status()["server"]["pid"] == second, "a build with fewer rights uses the server, too"
    assert same(sandbox, expected)


def test_a_file_size_limit_leaves_no_damaged_module(sandbox: Sandbox) -> None:
    """Python keeps a .pyc that it has written in part."""
    installed = sandbox.aside / "copy"
    package = Path(kept_variables.__file__).parent
    shutil.copytree(package, installed / "spraycc", ignore=shutil.ignore_patterns("__pycache__", "native"))
    sandbox.give(installed)
    sandbox.settings["PYTHONPATH"] = str(installed)
    sandbox.write(c_project(UNITS))
    limited = "ulimit -f 2; make; exit 0"
    before = sandbox.run("sh", "-c", limited)
    sandbox.run("make", "clean").ok()
    spraycc = sandbox.bin / "spraycc"
    done = sandbox.run("sh", "-c", limited.replace("make", f"'{spraycc}' make -j1"))
    assert done.status == before.status
    damaged = [path for path in installed.rglob("*.pyc") if path.stat().st_size == 1024]
    assert not damaged
    sandbox.run("make", "clean").ok()
    later = sandbox.build("make", "-j4", options=["--wait-for-cluster"]).ok()
    assert later.figures["remote"] == COMPILES, later.words()


#: sandboxes and tracers: the words before `spraycc make`, and the package of the first
SURROUNDINGS = {
    "bwrap": "bwrap --bind / / --dev-bind /dev /dev --proc /proc --unshare-pid --",
    "unshare": "unshare --user --map-root-user --pid --fork --mount-proc",
    "strace": "strace -f -o /dev/null",
    "proot": "proot -r /",
}
PACKAGES = {"bwrap": "bubblewrap", "unshare": "util-linux"}


@pytest.mark.parametrize("program", SURROUNDINGS)
def test_nobody_waits_for_a_server_in_a_sandbox_or_under_a_tracer(sandbox: Sandbox, program: str) -> None:
    needs.program(program, PACKAGES.get(program))
    words = SURROUNDINGS[program]
    tried = subprocess.run(sandbox.account.command([*words.split(), "true"]), capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"{words} does not work on this host: {tried.stderr.strip()}")
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    command, summary = sandbox.build_command(["make", "-j4"], options=["--wait-for-cluster"])
    # The pipe's reader ends when the last writer has ended. An idle server of this sandbox would stay for 600 s.
    done = sandbox.run("sh", "-c", f'{words} "$@" | cat', "sh", *command, timeout_s=60).ok()
    assert done.out.count(b"gcc") >= COMPILES
    assert same(sandbox, expected)
    figures = sandbox.figures(summary)
    assert figures["tasks"] > COMPILES
    assert "server_ends" not in figures
    # In the user namespace of unshare, the workspace's group has no number.
    assert figures["remote"] == COMPILES
    sandbox.wait_for("the server and its executors have ended", lambda: not sandbox.processes(), timeout_s=10)


def test_an_ordinary_server_stays_and_holds_no_pipe(sandbox: Sandbox) -> None:
    sandbox.write(c_project(UNITS))
    command, _ = sandbox.build_command(["make", "-j4"], options=["--wait-for-cluster"])
    sandbox.run("sh", "-c", '"$@" 2>&1 | cat', "sh", *command, timeout_s=60).ok()
    assert ours(sandbox, "server")
    assert len(ours(sandbox, "executor")) == 2
