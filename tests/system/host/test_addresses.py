"""The addresses that go into the session file."""

from __future__ import annotations

import socket

import pytest

from spraycc.server.host import addresses


@pytest.mark.parametrize(
    ("listen", "local", "bound"),
    [
        (None, True, {"127.0.0.1"}),
        (None, False, {"::", "0.0.0.0"}),
        ("192.0.2.7", True, {"192.0.2.7"}),
        ("192.0.2.7", False, {"192.0.2.7"}),
        ("fd00::7", False, {"fd00::7"}),
        ("*", True, {"::", "0.0.0.0"}),
        ("0.0.0.0", False, {"::", "0.0.0.0"}),
    ],
)
def test_where_it_listens(listen: str | None, local: bool, bound: set[str]) -> None:
    assert addresses.listening_host(listen, local=local) in bound


def told(monkeypatch: pytest.MonkeyPatch, bound: str, **found: list[str]) -> list[str]:
    for name in ("_routed", "_named", "_of_interfaces", "_ipv6_of_interfaces"):
        monkeypatch.setattr(addresses, name, lambda name=name: found.get(name, []))
    return addresses.reachable(bound)


def test_the_default_routes_address_first_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "_routed": ["10.0.0.1", "2001:db8::1"],
        "_named": ["127.0.1.1", "10.0.0.1", "192.168.7.1"],
        "_of_interfaces": ["127.0.0.1", "192.168.7.1", "10.9.9.9"],
        "_ipv6_of_interfaces": ["::1", "fe80::1", "fd00::1"],
    }
    assert told(monkeypatch, "::", **found) == ["10.0.0.1", "2001:db8::1", "192.168.7.1", "10.9.9.9", "fd00::1"]
    assert told(monkeypatch, "0.0.0.0", **found) == ["10.0.0.1", "192.168.7.1", "10.9.9.9"]


def test_what_the_settings_say_is_all_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, "fd00::9", _routed=["10.0.0.1"]) == ["fd00::9"]


def test_without_a_network_it_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, "::", _named=["127.0.1.1", "::1"]) == ["127.0.0.1"]


def test_this_machine_has_addresses() -> None:
    """A socket can bind to each named address, as they all belong to this host."""
    for address in addresses.reachable("::"):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
            sock.bind((address, 0))
