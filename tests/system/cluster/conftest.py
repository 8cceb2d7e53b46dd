"""Fixtures for tests with real cluster managers, each brought up once for all tests that use it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.system.cluster.client_commands import ClientCommands
from tests.system.cluster.fakes import FakeManager
from tests.system.cluster.managers import PATH, GridEngine, Slurm
from tests.system.cluster.ssh_server import SSHD, SshServer
from tests.system.harness import needs
from tests.system.harness.sandbox import Account, Sandbox


@pytest.fixture(scope="session")
def slurm_manager() -> Iterator[Slurm]:
    needs.programs(Slurm.PROGRAMS, PATH)
    slurm = Slurm(Account.unprivileged(), slots=4)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.close()


@pytest.fixture
def slurm(slurm_manager: Slurm) -> Slurm:
    """An idle Slurm with four slots."""
    slurm_manager.run("scancel", f"--user={slurm_manager.account.name}")
    slurm_manager.wait_until_idle()
    return slurm_manager


@pytest.fixture(scope="session")
def grid_engine_manager() -> Iterator[GridEngine]:
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    needs.programs(GridEngine.PROGRAMS, PATH)
    grid_engine = GridEngine(Account.unprivileged(), slots=4)
    try:
        grid_engine.start()
        yield grid_engine
    finally:
        grid_engine.close()


@pytest.fixture
def grid_engine(grid_engine_manager: GridEngine) -> GridEngine:
    """An idle Grid Engine with four slots."""
    grid_engine_manager.wait_until_up()
    assert not grid_engine_manager.listed()
    return grid_engine_manager


@pytest.fixture(params=["pbs", "openlava"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeManager]:
    """Two slots of a replayed cluster manager."""
    manager = FakeManager(request.param, Account.unprivileged(), slots=2)
    try:
        yield manager
    finally:
        manager.close()


@pytest.fixture
def fake_sandbox(fake: FakeManager) -> Iterator[Sandbox]:
    for sandbox in sandbox_of(fake):
        sandbox.path_front.append(fake.path)
        yield sandbox


def sandbox_of(manager: Slurm | GridEngine | FakeManager) -> Iterator[Sandbox]:
    """A sandbox whose executors are batch jobs of that manager."""
    sandbox = Sandbox(manager.account)
    sandbox.settings |= manager.settings()
    sandbox.settings |= {"SPRAYCC_STATUS_INTERVAL_S": "2", "SPRAYCC_SUBMIT_INTERVAL_S": "0.2"}
    yield sandbox
    sandbox.stop()  # before the search for leftovers: the manager has a keeper process for each batch job
    sandbox.wait_for("no batch job is left", lambda: not manager.listed())
    sandbox.close()


@pytest.fixture
def sandbox(slurm: Slurm) -> Iterator[Sandbox]:
    yield from sandbox_of(slurm)


@pytest.fixture
def grid_engine_sandbox(grid_engine: GridEngine) -> Iterator[Sandbox]:
    yield from sandbox_of(grid_engine)


@pytest.fixture
def slurm_commands(sandbox: Sandbox) -> ClientCommands:
    return ClientCommands(sandbox, ("sbatch", "squeue", "scancel"))


@pytest.fixture
def grid_engine_commands(grid_engine_sandbox: Sandbox) -> ClientCommands:
    return ClientCommands(grid_engine_sandbox, ("qsub", "qstat", "qdel"))


@pytest.fixture
def ssh() -> Iterator[SshServer]:
    """Two hosts by name, each with places for two executors. SprayCC is set to use them."""
    if not SSHD:
        needs.missing("sshd", "openssh-server")
    sandbox = Sandbox(Account.unprivileged())
    server = SshServer(sandbox, ["red", "blue"])
    server.start()
    sandbox.settings |= {
        "SPRAYCC_CLUSTER": "ssh",
        "SPRAYCC_HOSTS": "red:2 blue:2",
        "SPRAYCC_SUBMIT_ARGUMENTS": server.options,
    }
    yield server
    sandbox.stop()
    server.close()
    sandbox.close()
