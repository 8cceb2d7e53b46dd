"""Bytes that no honest peer sends. Imports nothing of ours, as another user runs it: ``garbage.py SEED SOCKET-OR-PORT KIND...``."""

from __future__ import annotations

import contextlib
import random
import socket
import sys

KINDS = [
    "noise",
    "an oversized length",
    "a frame that is cut off",
    "CBOR of another grammar",
    "deep nesting",
    "an HTTP request",
    "nothing",
]


def send_garbage(rng: random.Random, address: str | tuple[str, int], kind: str) -> None:
    """Send bytes of that kind, end the stream or stay connected for a moment, and close without reading an answer."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    kinds = {
        "noise": rng.randbytes(rng.randrange(1, 5000)),
        "an oversized length": b"\xff\xff\xff\xff" + rng.randbytes(100),
        "a frame that is cut off": b"\x00\x00\x10\x00" + rng.randbytes(10),
        "CBOR of another grammar": b"\x00\x00\x00\x04\x83\x01\x02\x03",
        "deep nesting": b"\x00\x00\x40\x00" + b"\x81" * 0x4000,
        "an HTTP request": b"GET / HTTP/1.1\r\n\r\n",
        "nothing": b"",
    }
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            sock.connect(address)
            sock.sendall(kinds[kind])
            if rng.random() < 0.5:
                sock.recv(4096)


if __name__ == "__main__":
    seed, where, *kinds = sys.argv[1:]
    for kind in kinds:
        send_garbage(random.Random(f"{seed} {kind}"), ("127.0.0.1", int(where)) if where.isdigit() else where, kind)
