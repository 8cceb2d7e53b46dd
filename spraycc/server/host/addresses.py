"""Which of this host's addresses executors on other hosts can reach."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

_SIOCGIFADDR = 0x8915
#: Connecting a datagram socket sends nothing; it makes the kernel choose a source address. These addresses are reserved
#: for documentation (RFC 5737, 3849), so no site has them.
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_WILDCARDS = ("", "0.0.0.0", "::", "*")
#: Name prefixes of interfaces for containers or virtual machines on this host. Other hosts can't reach them.
_VIRTUAL = ("docker", "virbr", "br-", "veth", "lxc", "cni", "podman")


def listening_host(listen: str | None, *, local: bool) -> str:
    """The address to bind: the one from the settings, loopback for executors on this host, else all addresses."""
    if listen is not None and listen not in _WILDCARDS:
        return listen
    if local and listen is None:
        return "127.0.0.1"
    return "::" if socket.has_ipv6 and _can_bind_ipv6() else "0.0.0.0"


def reachable(bound: str) -> list[str]:
    """The addresses for the session file, the likeliest first. ``bound`` is the address that the socket is bound to."""
    if bound not in _WILDCARDS:
        return [bound]
    ipv6 = bound == "::"
    found = [*_routed(), *_named(), *_of_interfaces(), *(_ipv6_of_interfaces() if ipv6 else ())]
    usable = _sorted_out(found, ipv6=ipv6)
    # On a host without a network, all executors run on this host.
    return usable or ["127.0.0.1"]


def _sorted_out(texts: Iterable[str], *, ipv6: bool) -> list[str]:
    kept: list[str] = []
    for text in texts:
        address = ipaddress.ip_address(text)
        if address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast:
            continue
        if (address.version == 4 or ipv6) and text not in kept:
            kept.append(text)
    return kept


def _routed() -> list[str]:
    """The source addresses of the default routes."""
    found = []
    for family, far in _FAR_AWAY:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((far, 9))
            found.append(sock.getsockname()[0])
    return found


def _named() -> list[str]:
    """The addresses that this host's name resolves to."""
    try:
        entries = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    # The scope is cut off: only link-local addresses have one, and other hosts can't use those.
    return [str(entry[4][0]).partition("%")[0] for entry in entries]


def _of_interfaces() -> list[str]:
    """The first IPv4 address of each interface (netdevice(7))."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            if name.startswith(_VIRTUAL):
                continue
            with suppress(OSError):  # the interface has no address
                answer = fcntl.ioctl(sock, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _ipv6_of_interfaces() -> list[str]:
    """All IPv6 addresses of global scope (proc(5))."""
    found = []
    with suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as file:
        for line in file:
            digits, _, _, scope, _, name = line.split()
            if scope == "00" and not name.startswith(_VIRTUAL):
                found.append(str(ipaddress.ip_address(bytes.fromhex(digits))))
    return found


def _can_bind_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True
