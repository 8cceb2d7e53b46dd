"""Builds inside allocations of LSF and PBS. Programs stand in for blaunch and pbs_tmrsh, and refuse what those refuse.

Sources: "blaunch" in the reference of IBM Spectrum LSF 10.1; pbs_tmrsh of OpenPBS 23.06.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spraycc.allocation import Allocation
from spraycc.cluster.hosts import start_argv
from spraycc.settings import Settings
from tests.system.cluster.shared import UNITS, assert_built
from tests.system.harness.projects import GatedCompiler, c_project
from tests.system.harness.sandbox import Account, Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: Each program writes the host to a file, and runs the command on this host.
BLAUNCH = """\
[ "$1" = -n ] && shift
host=$1; shift
[ -n "$LSB_JOBID" ] || { echo "blaunch: only works under LSF" >&2; exit 255; }
case " $LSB_MCPU_HOSTS " in *" $host "[0-9]*) ;; *) echo "$host: not part of the job's allocation" >&2; exit 255 ;; esac
"""
PBS_TMRSH = """\
host=$1; shift
[ -n "$PBS_ENVIRONMENT" ] || { echo "pbs_tmrsh: not executing under PBS" >&2; exit 255; }
[ -n "$PBS_JOBID" ] || { echo "pbs_tmrsh: PBS jobid not in environment" >&2; exit 255; }
for needed in "$PBS_JOBCOOKIE" "$PBS_NODENUM" "$PBS_TASKNUM" "$PBS_MOMPORT"; do
    [ -n "$needed" ] || { echo "pbs_tmrsh: tm_init: bad environment (17005)" >&2; exit 255; }
done
[ -n "$PBS_NODEFILE" ] || { echo "pbs_tmrsh: cannot find PBS_NODEFILE" >&2; exit 255; }
grep -qx -- "$host" "$PBS_NODEFILE" || {
    echo "pbs_tmrsh: host \\"$host\\" is not a node in job <$PBS_JOBID>" >&2; exit 255
}
"""
#: rsh joins the words and hands them to a shell. Others execute them as they are.
RUNS = {"joined": 'eval "$*"', "exact": '"$@"'}


@dataclasses.dataclass
class Manual:
    """A program on PATH, and the variables of an allocation with the hosts red and blue, two CPUs each."""

    cluster: str
    variables: dict[str, str]
    log: Path

    def hosts(self) -> list[str]:
        """The hosts for which the program was called."""
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    yield sandbox
    sandbox.close()


@pytest.fixture(params=["blaunch-joined", "blaunch-exact", "pbs_tmrsh-exact"])
def manual(request: pytest.FixtureRequest, sandbox: Sandbox) -> Manual:
    program, _, way = request.param.partition("-")
    text = BLAUNCH if program == "blaunch" else PBS_TMRSH
    log = sandbox.temp / "hosts.log"
    script = f'#!/bin/sh\n{text}echo "$host" >>{log}\n{RUNS[way]}\n'
    sandbox.path_front.append(sandbox.write({program: script}, sandbox.aside / "manager", mode=0o755))
    if program == "blaunch":
        return Manual("lsf-step", {"LSB_JOBID": "9", "LSB_JOBINDEX": "0", "LSB_MCPU_HOSTS": "red 2 blue 2"}, log)
    nodes = sandbox.write({"nodes": "red\nblue\n"}, sandbox.aside) / "nodes"
    given = {"JOBID": "5.pbs", "ENVIRONMENT": "PBS_INTERACTIVE", "JOBCOOKIE": "AB12", "NODENUM": "0", "TASKNUM": "1"}
    given |= {"MOMPORT": "15003", "NODEFILE": str(nodes)}
    return Manual("pbs-step", {"NCPUS": "2"} | {f"PBS_{name}": value for name, value in given.items()}, log)


def test_the_hosts_of_the_allocation_are_used(sandbox: Sandbox, manual: Manual) -> None:
    """A server that was started before the allocation uses it, and later builds outside do not."""
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    sandbox.run(sandbox.bin / "spraycc", "server", "start").ok()
    command, summary = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"], executors=100)
    with sandbox.start(command, env=manual.variables) as process:
        inside = {executor["id"] for executor in sandbox.wait_for_busy_executors(4)}
        assert sorted(manual.hosts()) == ["blue", "red"]
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert_built(sandbox)
    assert sandbox.figures(summary)["local"] == 1  # the link
    sandbox.run("make", "clean").ok()
    compiler.gate.close()
    command, _ = sandbox.build_command(["make", "-j8"], ["--wait-for-cluster"])
    with sandbox.start(command) as process:
        assert not inside & {executor["id"] for executor in sandbox.wait_for_busy_executors(2)}
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert len(manual.hosts()) == 2


def test_another_allocation_has_its_own_variables(sandbox: Sandbox, manual: Manual) -> None:
    """The fakes refuse a host of another allocation."""
    sandbox.write(c_project(UNITS))
    sandbox.build("make", options=["--wait-for-cluster"], executors=100, env=manual.variables).ok()
    other = dict(manual.variables)
    if manual.cluster == "lsf-step":
        other |= {"LSB_JOBID": "10", "LSB_MCPU_HOSTS": "green 2"}
    else:
        nodes = sandbox.write({"others": "green\n"}, sandbox.aside) / "others"
        other |= {"PBS_JOBID": "6.pbs", "PBS_NODEFILE": str(nodes)}
    sandbox.run("make", "clean").ok()
    done = sandbox.build("make", options=["--wait-for-cluster"], executors=100, env=other).ok()
    assert_built(sandbox)
    assert set(manual.hosts()[2:]) == {"green"}
    assert done.figures["local"] == 1


def test_what_the_program_refuses_is_shown_once(sandbox: Sandbox, manual: Manual) -> None:
    """The user gets the program's own words for each host, and the build goes on on the submit host."""
    sandbox.write(c_project(UNITS))
    (program,) = sandbox.path_front[-1].iterdir()
    program.write_text("#!/bin/sh\necho 'the daemon is down' >&2\nexit 255\n")
    done = sandbox.build("make", "-j4", executors=100, env=manual.variables).ok()
    assert_built(sandbox)
    lines = [line for line in done.own_lines() if "the daemon is down" in line]
    assert lines, done.err
    assert len(lines) == len(set(lines)) <= 2, done.err


def test_a_line_of_shell_in_digits(sandbox: Sandbox) -> None:
    """Any line, with two executors."""
    allocation = Allocation("lsf", "123", (("n2", 8),))
    settings = Settings(cluster="lsf-step", allocation=allocation, setup='cd "$HOME"')
    argv = start_argv("n2", ["/bin/sh", "-c", "echo $PWD 'a  b' $*", "x"], ["id1", "id2"], settings)
    words = argv[argv.index(sys.executable) :]
    done = subprocess.run(words, env={"HOME": str(sandbox.temp)}, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == [f"{sandbox.temp} a  b --id id1", f"{sandbox.temp} a  b --id id2"]
