"""Hosts whose disk is slow or over its quota, or whose table of open files is full: bad_host.c, preloaded into the server
or into its executors. (Real ones take a device mapper, quota files and the whole machine.)"""

from __future__ import annotations

import errno
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.projects import c_project, objects, output_of
from tests.system.harness.sandbox import Account, Finished, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(300)]

UNITS = 16
#: Small, so that what keeps a link busy for long is not taken for silence.
HEARTBEATS = {"SPRAYCC_HEARTBEAT_S": "0.5", "SPRAYCC_LOST_AFTER_S": "3"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """bad_host.c, compiled."""
    made = tmp_path_factory.mktemp("bad-host") / "bad_host.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, Path(__file__).parent / "bad_host.c", "-o", made], check=True)
    return made.read_bytes()


@pytest.fixture
def sandbox(library: bytes) -> Iterator[Sandbox]:
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings.update(HEARTBEATS)
    sandbox.write({"bad_host.so": library}, sandbox.aside / "bad", mode=0o755)
    sandbox.write(c_project(UNITS))
    yield sandbox
    sandbox.close()


def bad(sandbox: Sandbox, **how: str | int | Path) -> list[str]:
    """The words before a command that makes its host a bad one."""
    variables = {f"BAD_HOST_{name}": str(value) for name, value in how.items()}
    variables["LD_PRELOAD"] = str(sandbox.aside / "bad/bad_host.so")
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


def start_bad_server(sandbox: Sandbox, **how: str | int | Path) -> None:
    """Its executors and what they start have nothing of it."""
    names = ["LD_PRELOAD", *(f"BAD_HOST_{name}" for name in how)]
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = shlex.join(["env", *(w for name in names for w in ("-u", name))])
    sandbox.run(*bad(sandbox, **how), sandbox.bin / "spraycc", "server", "start").ok()


def make_executors_bad(sandbox: Sandbox, **how: str | int | Path) -> None:
    """Commands have environments of their own, their runners'."""
    sandbox.settings["SPRAYCC_EXECUTOR_PREFIX"] = shlex.join(bad(sandbox, **how))


def check(sandbox: Sandbox, built: Finished) -> None:
    print(built.figures, built.own_lines())
    assert len(objects(sandbox.workspace)) == UNITS + 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)


def test_a_slow_disk_at_the_server(sandbox: Sandbox) -> None:
    """Files are looked at and results written beside each other, and nobody is given up meanwhile."""
    start_bad_server(sandbox, WHERE=sandbox.workspace, DELAY_MS=600)
    built = sandbox.build("make", "-j8", executors=8).ok()
    check(sandbox, built)
    assert (built.figures["remote"], built.figures["retried"]) == (UNITS + 1, 0)


def test_a_disk_that_hangs_at_the_server(sandbox: Sandbox) -> None:
    """For longer than executors bear silence: those that leave are replaced, and nothing is lost."""
    switch = sandbox.aside / "slow"
    switch.touch()
    start_bad_server(sandbox, WHERE=sandbox.workspace, DELAY_MS=4000, SINCE=switch)
    command, summary = sandbox.build_command(["make", "-j8"], executors=4)
    with sandbox.start(command) as process:
        sandbox.wait_for(
            "an object is written",
            lambda: any(line for line in objects(sandbox.workspace)) or process.poll() is not None,
            timeout_s=60,
        )
        switch.unlink()
        assert process.wait(100) == 0
    check(sandbox, Finished((), 0, b"", b"", sandbox.figures(summary)))


@pytest.mark.parametrize("delay_ms", [100, 1500])
def test_a_slow_disk_at_the_executors(sandbox: Sandbox, delay_ms: int) -> None:
    """Slow, or so slow that they seem to be dead; then the build goes on without them."""
    switch = sandbox.aside / "slow"
    switch.touch()
    if delay_ms < 1000:  # a task's twenty accesses in a row are silence too
        sandbox.settings["SPRAYCC_LOST_AFTER_S"] = "6"
    make_executors_bad(sandbox, WHERE=sandbox.scratch, DELAY_MS=delay_ms, SINCE=switch)
    built = sandbox.build("make", "-j8", executors=4, timeout_s=200).ok()
    check(sandbox, built)
    if delay_ms < 1000:
        assert (built.figures["remote"], built.figures["retried"]) == (UNITS + 1, 0)
    check_scratch_is_cleared(sandbox, switch)


def check_scratch_is_cleared(sandbox: Sandbox, switch: Path) -> None:
    """What was killed, as it did not end in time or could not, left its directory; the next executor clears it away."""
    sandbox.stop()
    switch.unlink()
    (sandbox.workspace / "main.o").unlink()
    assert sandbox.build("make").ok().figures["remote"] == 1


def test_the_quota_is_exceeded_at_write_back(sandbox: Sandbox) -> None:
    """Only for the server: so the commands run here, and there they can write."""
    start_bad_server(sandbox, WHERE=sandbox.workspace, WRITE=errno.EDQUOT)
    built = sandbox.build("make", "-j4", executors=4).ok()
    check(sandbox, built)
    assert (built.figures["remote"], built.figures["local"]) == (0, UNITS + 2)


def test_the_quota_is_exceeded_in_the_middle(sandbox: Sandbox) -> None:
    """Of a large output, of which the first part is on the disk; it is gone, and nothing of it is left."""
    switch = sandbox.aside / "full"
    sandbox.write({"Makefile": "big:\n\t@spraycc-run --remote sh -c 'head -c 8000000 /dev/zero | tr \\\\0 x >big'\n"})
    start_bad_server(sandbox, WHERE=sandbox.workspace, WRITE=errno.EDQUOT, SINCE=switch)
    switch.touch()
    built = sandbox.build("make", executors=1).ok()
    assert (built.figures["remote"], built.figures["local"]) == (0, 1), built.words()
    assert (sandbox.workspace / "big").read_bytes() == b"x" * 8000000


@pytest.mark.parametrize("every", [2, 3, 7])
def test_the_servers_host_has_a_full_table_of_open_files(sandbox: Sandbox, every: int) -> None:
    switch = sandbox.aside / "full"
    start_bad_server(sandbox, OPEN=errno.ENFILE, EVERY=every, SINCE=switch)
    switch.touch()
    sandbox.short_of_memory = True  # executors' interpreters find it full as well
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    switch.unlink()


@pytest.mark.parametrize("every", [2, 3, 7])
def test_the_executors_hosts_have_a_full_table_of_open_files(sandbox: Sandbox, every: int) -> None:
    switch = sandbox.aside / "full"
    switch.touch()
    sandbox.short_of_memory = True  # so interpreters may end in their own start
    make_executors_bad(sandbox, OPEN=errno.ENFILE, EVERY=every, SINCE=switch)
    built = sandbox.build("make", "-j8", executors=4, timeout_s=120).ok()
    check(sandbox, built)
    check_scratch_is_cleared(sandbox, switch)
