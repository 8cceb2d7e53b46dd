"""Stands between one executor and its server: ``relay.py PYTHON ... --session FILE ...`` (an executor_prefix).

SIGUSR1: the connection is cut in the middle of the next piece. SIGUSR2: one byte of the next piece is changed.
SIGALRM: nothing passes until the next SIGALRM.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

fault = ""


def main() -> int:
    argv = sys.argv[1:]
    at = argv.index("--session") + 1
    with open(argv[at]) as file:
        session = json.load(file)
    listener = socket.create_server(("127.0.0.1", 0))
    target = tuple(session["addresses"][0])
    session["addresses"] = [["127.0.0.1", listener.getsockname()[1]]]
    path = f"{argv[at]}.{os.getpid()}"
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(session, file)
    argv[at] = path

    def note(name: str) -> None:
        global fault
        fault = name

    signal.signal(signal.SIGUSR1, lambda *_: note("cut"))
    signal.signal(signal.SIGUSR2, lambda *_: note("damage"))
    signal.signal(signal.SIGALRM, lambda *_: note("" if fault == "stall" else "stall"))
    executor = subprocess.Popen(argv)
    signal.signal(signal.SIGTERM, lambda *_: executor.terminate())
    try:
        listener.settimeout(20)
        ours, _ = listener.accept()
        os.unlink(path)
        theirs = socket.create_connection(target)
        with contextlib.suppress(OSError):
            pass_on(ours, theirs)
        ours.close()
        theirs.close()
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    return executor.wait()


def pass_on(ours: socket.socket, theirs: socket.socket) -> None:
    global fault
    other = {ours: theirs, theirs: ours}
    while True:
        for end in select.select([ours, theirs], [], [])[0]:
            data = end.recv(65536)
            if not data:
                return
            if fault == "cut" and len(data) > 1:
                other[end].sendall(data[: len(data) // 2])
                return
            if fault == "damage":
                middle = len(data) // 2
                data = data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]
                fault = ""
            while fault == "stall":
                time.sleep(0.02)
            other[end].sendall(data)


if __name__ == "__main__":
    sys.exit(main())
