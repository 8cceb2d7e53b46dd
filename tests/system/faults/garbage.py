"""What no honest peer sends. Imports nothing of ours, as another user runs it: ``garbage.py SEED SOCKET``."""

from __future__ import annotations

import contextlib
import random
import socket
import sys


def send_garbage(rng: random.Random, address: str | tuple[str, int]) -> str:
    """Bytes that no honest peer sends, and a moment's patience; says what they were."""
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
    name = rng.choice(sorted(kinds))
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.5)
        with contextlib.suppress(OSError):
            sock.connect(address)
            sock.sendall(kinds[name])
            if rng.random() < 0.5:
                sock.recv(4096)
    return name


if __name__ == "__main__":
    print(send_garbage(random.Random(int(sys.argv[1])), sys.argv[2]))
