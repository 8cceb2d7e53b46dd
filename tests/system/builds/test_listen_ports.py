"""The ports on which servers listen for executors of other hosts."""

from __future__ import annotations

import socket

import pytest

from tests.system.harness.ports import free_ports
from tests.system.harness.projects import c_project, objects
from tests.system.harness.sandbox import Sandbox

pytestmark = [pytest.mark.e2e]

UNITS = 3


@pytest.fixture
def on_hosts(sandbox: Sandbox) -> Sandbox:
    """A sandbox whose executors count as those of other hosts."""
    sandbox.settings |= {"SPRAYCC_CLUSTER": "command", "SPRAYCC_START_COMMAND": "/bin/sh -c {command}"}
    sandbox.write(c_project(UNITS))
    return sandbox


def test_each_way_of_starting_executors_uses_the_one_port(on_hosts: Sandbox) -> None:
    """The listener of the way before gives the port up."""
    (port,) = free_ports(1)
    on_hosts.settings |= {"SPRAYCC_LISTEN_PORTS": str(port), "SPRAYCC_WAIT_FOR_CLUSTER": "true"}
    on_hosts.build("make", "-j2").ok()
    assert on_hosts.status()["listens"] == [["::", port]]
    on_hosts.build("make", "clean").ok()
    done = on_hosts.build("make", "-j4", options=["--executor-prefix", "nice"], executors=4).ok()
    on_hosts.wait_for("executors of both ways are connected", lambda: len(on_hosts.status()["executors"]) == 4)
    assert on_hosts.status()["listens"] == [["::", port]]
    assert done.figures["remote"] == UNITS + 1
    shown = on_hosts.run(on_hosts.bin / "spraycc", "status").ok().out.decode()
    assert f"listens for executors on port {port} of all addresses" in shown


@pytest.mark.parametrize(
    "address", ["no-such-host.invalid", "192.0.2.1", "fe80::1", "x" * 70], ids=lambda address: address[:8]
)
def test_an_address_that_is_not_this_hosts(on_hosts: Sandbox, address: str) -> None:
    """The build goes on on the submit host, and the user is told the setting and the next step."""
    done = on_hosts.build("make", "-j2", options=["--listen", address]).ok()
    assert len(objects(on_hosts.workspace)) == UNITS + 1
    err = done.err.decode()
    assert f"executors can't be started: this host can't listen on {address!r} (" in err
    assert "set listen (--listen) to an address or a name of this host, or to auto" in err


def test_no_port_is_free(on_hosts: Sandbox) -> None:
    """The build goes on on the submit host, and the user is told the ports and the next step."""
    (port,) = free_ports(1)
    on_hosts.settings |= {"SPRAYCC_LISTEN_PORTS": str(port)}
    with socket.create_server(("0.0.0.0", port)):
        done = on_hosts.build("make", "-j2").ok()
    assert len(objects(on_hosts.workspace)) == UNITS + 1
    err = done.err.decode()
    assert f"executors can't be started: no port of listen_ports {port} is free on all addresses" in err
    assert "spraycc server stop" in err
    assert "no executor has connected" not in err
