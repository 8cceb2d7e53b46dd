"""Free ports of this host."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def free_ports(count: int) -> range:
    """Free ports of loopback, in a row."""
    for first in range(47000, 60000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return range(first, first + count)
    raise AssertionError("no ports are free")
