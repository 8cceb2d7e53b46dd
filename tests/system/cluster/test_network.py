"""Several hosts with separate networks: the address that each can reach, and a host that is cut off in the middle of a build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.system.cluster.managers import InNamespace
from tests.system.cluster.network import Network, executors_among
from tests.system.cluster.ssh_server import SSHD, SshServer
from tests.system.harness import needs
from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Account, Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.root]

UNITS = 11


@dataclass
class Site:
    """A submit host, three hosts that ssh reaches, a sandbox on the submit host."""

    network: Network
    sandbox: Sandbox
    servers: dict[str, SshServer]

    def server_log(self) -> str:
        return "".join(path.read_text() for path in (self.sandbox.home / ".local/state").rglob("server.log"))


@pytest.fixture
def site() -> Iterator[Site]:
    if os.geteuid() != 0:
        pytest.skip("needs to be root")
    needs.programs(Network.PROGRAMS)
    if not SSHD:
        needs.missing("sshd", "openssh-server")
    network = Network()
    user = Account.unprivileged()
    account = InNamespace(user.name, user.uid, user.gid, user.home, user.group, namespace=network.submit)
    servers: dict[str, SshServer] = {}
    try:
        network.start()
        sandbox = Sandbox(account)
        for name in Network.NAMES:
            servers[name] = SshServer(sandbox, [name], network.addresses(name)[1], network.enter(name))
            servers[name].start()
        config = sandbox.aside / "ssh_config"
        config.write_text("".join(f"Include {server.directory}/ssh_config\nHost *\n" for server in servers.values()))
        sandbox.give(sandbox.aside)
        sandbox.settings |= {
            "SPRAYCC_CLUSTER": "ssh",
            "SPRAYCC_HOSTS": " ".join(f"{name}:2" for name in Network.NAMES),
            "SPRAYCC_SUBMIT_ARGUMENTS": f"-F {config}",
            "SPRAYCC_HEARTBEAT_S": "2",
            "SPRAYCC_LOST_AFTER_S": "20",
        }
        yield Site(network, sandbox, servers)
        sandbox.stop()
        for server in servers.values():
            server.close()
        servers.clear()
        sandbox.close()
    finally:
        for server in servers.values():
            server.close()
        network.close()


def plain(sandbox: Sandbox) -> dict[str, bytes]:
    """Objects equal plain make's; none of them is left."""
    sandbox.run("make").ok()
    made = {name: (sandbox.workspace / name).read_bytes() for name in objects(sandbox.workspace)}
    sandbox.run("make", "clean").ok()
    return made


def test_one_host_is_cut_off_in_mid_build(site: Site) -> None:
    """Other executors do its tasks, and the build ends like plain make's. The processes on the cut-off host end as well."""
    sandbox = site.sandbox
    sandbox.write(c_project(UNITS))
    expected = plain(sandbox)
    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j6"], executors=6)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(6)
        # Each host was reached at an address that the others can't reach.
        assert sorted(executor["host"] for executor in busy) == ["blue", "blue", "green", "green", "red", "red"]
        cut = {executor["id"] for executor in busy if executor["host"] == "red"}
        site.network.cut("red")

        def given_up() -> bool:
            return not cut & {executor["id"] for executor in sandbox.status()["executors"]}

        sandbox.wait_for("the server has given them up", given_up)
        compiler.open()
        assert process.wait(HANG_S) == 0
    figures = sandbox.figures(summary)
    assert figures["retried"] >= 2
    assert figures["local"] == 1  # the link
    assert compiler.most_on_submit_host() == 0
    assert {name: (sandbox.workspace / name).read_bytes() for name in objects(sandbox.workspace)} == expected
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
    sandbox.wait_for(
        "the executors that nobody hears any more have left",
        lambda: not executors_among(site.network.processes("red")),
    )


def test_an_address_that_no_host_reaches(site: Site) -> None:
    """`listen` names an address that only red reaches: the others report it, with each address that failed."""
    sandbox = site.sandbox
    sandbox.settings["SPRAYCC_LISTEN"] = site.network.addresses("red")[0]
    compiler = GatedCompiler(sandbox)
    sandbox.write(c_project(UNITS))
    command, summary = sandbox.build_command(["make", "-j6"], executors=6)
    with sandbox.start(command) as process:
        busy = sandbox.wait_for_busy_executors(2)
        assert {executor["host"] for executor in busy} == {"red"}
        for host in ("blue", "green"):
            words = f"on {host}: spraycc executor on {host}: no server: {site.network.addresses('red')[0]}:"

            def told(words: str = words) -> bool:
                return words in site.server_log()

            sandbox.wait_for(f"{host} could not reach it", told)
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert sandbox.figures(summary)["local"] == 1
    assert sandbox.run(sandbox.workspace / "prog").out == output_of(UNITS)
