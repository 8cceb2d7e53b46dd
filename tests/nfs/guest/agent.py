"""Runs scripts in the machine, one after the other, for the tests: agent.py PORT

PORT is the serial port to the tests. A request is a line of JSON: host, user, script, timeout_s. The answer is a line
of JSON (status, bytes), then the script's output. The first line that the agent writes says that the machine is up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import Any


def main(port: str) -> None:
    fd = os.open(port, os.O_RDWR | os.O_CLOEXEC)
    with open("/proc/uptime", encoding="ascii") as uptime:
        send(fd, {"up_s": float(uptime.read().split()[0])})
    with open(fd, "rb", closefd=False) as requests:
        for line in requests:
            status, output = run(**json.loads(line))
            send(fd, {"status": status, "bytes": len(output)}, output)


def send(fd: int, header: dict[str, Any], content: bytes = b"") -> None:
    """Writes all of it: a write to the port may be short."""
    rest = memoryview(json.dumps(header).encode() + b"\n" + content)
    while rest:
        rest = rest[os.write(fd, rest) :]


def run(host: str, user: str, script: str, timeout_s: float) -> tuple[int, bytes]:
    """The script's status (124 after its time limit) and its output."""
    words = ["timeout", "--kill-after=10", str(timeout_s), "on", host, user, "bash", "-c", script]
    # A file, no pipe: a program that the script leaves running would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
        output.seek(0)
        return done.returncode, output.read()


if __name__ == "__main__":
    main(sys.argv[1])
