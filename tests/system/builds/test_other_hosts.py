"""Executors on hosts that differ from the submit host: another compiler, another CPU.

The other host is a mount namespace that has another file over the compiler or over /proc/cpuinfo.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from tests.system.harness.projects import FakeCompiler, Gate, c_project, objects, output_of
from tests.system.harness.sandbox import Finished, Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.e2e

UNITS = 12


def other_hosts(sandbox: Sandbox, covered: Path, cover: Path, *, all_of_them: bool) -> None:
    """From now on each executor has ``cover`` mounted over ``covered``; or each but the first, once ``go`` exists."""
    others = f"! mkdir '{sandbox.aside}/first' 2>/dev/null && until [ -e '{sandbox.aside}/go' ]; do sleep 0.02; done"
    condition = "true" if all_of_them else others
    inner = f'mount --bind "{cover}" "{covered}" && exec "$@"'
    script = (
        f"#!/bin/sh\nif {condition}; then\n"
        f"  exec unshare --user --map-current-user --mount --keep-caps sh -c '{inner}' sh \"$@\"\n"
        'fi\nexec "$@"\n'
    )
    script_path = sandbox.write({"start": script}, sandbox.aside / "start", mode=0o755) / "start"
    sandbox.give(sandbox.aside)
    # Executors that a user's command starts may be on any host, so they compare everything.
    sandbox.settings |= {"SPRAYCC_CLUSTER": "command", "SPRAYCC_START_COMMAND": str(script_path)}


def attempts(sandbox: Sandbox) -> list[tuple[int, int]]:
    """(done, refused) of each executor, by its own count."""
    sandbox.stop()
    return sorted((counters["done"], counters["refused"]) for counters in sandbox.executor_counters())


@pytest.mark.overlay
def test_another_compiler(sandbox: Sandbox) -> None:
    """The executor with another gcc compiles nothing. The user is told once, with both versions.

    The executor joins while the fit one is busy. If it is the only executor, its refused tasks run on the submit host.
    """
    gate = Gate(sandbox)
    waits = gate.wait('"$0"')
    compiler = FakeCompiler(
        sandbox,
        "[ \"$1\" = --version ] && echo 'gcc 12.9 of the submit host' && exit\n"
        f'case " $* " in *" -c "*) {waits} ;; esac',
    )
    other = sandbox.aside / "other-gcc"
    sandbox.write({"other-gcc": "#!/bin/sh\necho 'gcc 13.1 of the cluster'\nexit 1\n"}, sandbox.aside, mode=0o755)
    other_hosts(sandbox, compiler.directory / "gcc", other, all_of_them=False)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j4"], ["--wait-for-cluster"], executors=2)
    with sandbox.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(1)
        (sandbox.aside / "go").touch()
        sandbox.wait_for("both executors are connected", lambda: len(sandbox.status().get("executors", ())) == 2)
        gate.open()
        _, err = process.communicate(timeout=HANG_S)
    done = Finished(tuple(command), process.returncode, b"", err, sandbox.figures(summary)).ok()
    assert len(objects(sandbox.workspace)) == UNITS + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    assert done.figures["remote"] == UNITS + 1, done.words()
    words = "is 'gcc 13.1 of the cluster', on the submit host 'gcc 12.9 of the submit host'"
    assert len([line for line in done.own_lines() if words in line]) == 1, done.words()
    assert attempts(sandbox) == [(0, 1), (UNITS + 1, 0)]


@pytest.mark.slow
def test_ipv6(sandbox: Sandbox) -> None:
    """Executors connect to the address that the server listens on, IPv4 or IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as exc:
        pytest.skip(f"this machine has no IPv6: {exc}")
    sandbox.settings |= {
        "SPRAYCC_CLUSTER": "command",
        "SPRAYCC_START_COMMAND": "/bin/sh -c {command}",
        "SPRAYCC_LISTEN": "::1",
    }
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--wait-for-cluster"], executors=2).ok()
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    assert done.figures["remote"] == UNITS + 1
    (log,) = sandbox.home.rglob("server.log")
    assert "connected from ('::1', " in log.read_text()


@pytest.mark.overlay
def test_no_executor_has_the_compiler(sandbox: Sandbox) -> None:
    """Then everything is compiled on the submit host."""
    compiler = FakeCompiler(sandbox, ":")
    other = sandbox.write({"other-gcc": "#!/bin/sh\nexit 1\n"}, sandbox.aside, mode=0o755) / "other-gcc"
    other_hosts(sandbox, compiler.directory / "gcc", other, all_of_them=True)
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", executors=2).ok()
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    assert done.figures["remote"] == 0
    assert {counts[0] for counts in attempts(sandbox)} == {0}


@pytest.mark.overlay
def test_another_cpu(sandbox: Sandbox) -> None:
    """Code for the CPU of the compiling host comes only from a host with the same CPU. Any host compiles other code."""
    cpuinfo = Path("/proc/cpuinfo").read_text().replace("flags\t\t:", "flags\t\t: morewonders")
    assert "morewonders" in cpuinfo
    cover = sandbox.write({"cpuinfo": cpuinfo}, sandbox.aside) / "cpuinfo"
    other_hosts(sandbox, Path("/proc/cpuinfo"), cover, all_of_them=True)
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", options=["--wait-for-cluster"], executors=1).ok()
    assert done.figures["remote"] == UNITS + 1, done.words()
    sandbox.run("make", "clean").ok()
    done = sandbox.build("make", "-j4", "CFLAGS=-O1 -march=native", options=["--wait-for-cluster"], executors=1).ok()
    assert done.figures["remote"] == 0, done.words()
    assert len([line for line in done.own_lines() if "the CPU on host" in line]) == 1, done.words()
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def test_the_same_cpu(sandbox: Sandbox) -> None:
    """Executors on the submit host compile such code, too."""
    sandbox.write(c_project(UNITS))
    done = sandbox.build("make", "-j4", "CFLAGS=-O1 -march=native", options=["--wait-for-cluster"]).ok()
    assert done.figures["remote"] == UNITS + 1, done.words()
