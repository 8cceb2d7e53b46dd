"""If the user's streams are terminals, so are the remote command's: programs choose colours and widths as in a local run."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import termios
import threading
from collections.abc import Mapping

import pytest

from tests.system.capture.bench import Bench, Contents
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

LONG = "int " + ", ".join(f"unused_{n}" for n in range(60)) + ";"
FILES: Contents = {"u.c": f"static int f(void) {{ {LONG} return 1 }}\n"}


class Terminal:
    """A terminal of the user, and the data written to it."""

    def __init__(self, window: tuple[int, int]) -> None:
        self._ours, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, window)
        self._seen = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # EIO: no process has it open any more
            while data := os.read(self._ours, 65536):
                self._seen += data

    def close(self) -> bytes:
        os.close(self.theirs)
        self._reader.join(20)
        os.close(self._ours)
        return self._seen


def run(bench: Bench, line: str, streams: str, inside: bool) -> tuple[int, bytes, bytes]:
    """Status, stdout and stderr. ``streams`` has a letter for each stream: t a terminal, p a pipe, = the same as stdout."""
    bench.prepare(FILES)
    terminals: dict[str, Terminal] = {}
    handles: dict[str, int] = {}
    for name, kind in zip(("stdout", "stderr"), streams, strict=True):
        if kind == "t":
            terminals[name] = Terminal((31, 97))
            handles[name] = terminals[name].theirs
        else:
            handles[name] = {"p": subprocess.PIPE, "=": subprocess.STDOUT}[kind]
    environment: Mapping[bytes, bytes] = {**(bench.inside if inside else bench.outside), b"TERM": b"xterm-256color"}
    with subprocess.Popen(
        bench.sandbox.account.command(["sh", "-c", line]), cwd=bench.tree, env=environment,
        stdin=subprocess.DEVNULL, start_new_session=True, stdout=handles["stdout"], stderr=handles["stderr"],
    ) as process:  # fmt: skip
        out, err = process.communicate(timeout=HANG_S)
    seen = {name: terminal.close() for name, terminal in terminals.items()}
    return process.returncode, seen.get("stdout", out or b""), seen.get("stderr", err or b"")


@pytest.mark.parametrize("capture", ["overlay", "predict"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("streams", ["tt", "t=", "pt", "tp", "pp"])
def test_compiler(request: pytest.FixtureRequest, capture: str, compiler: str, streams: str) -> None:
    """The same bytes as from a plain run: colours on a terminal, and GCC's excerpts cut to the window's width."""
    bench: Bench = request.getfixturevalue(f"user_{capture}")
    line = f"{compiler} -Wall -c u.c -o u.o"
    plain, ours = run(bench, line, streams, inside=False), run(bench, line, streams, inside=True)
    assert ours == plain
    coloured = b"\x1b[" in b"".join(plain[1:])
    assert coloured == (streams[1] == "t" or streams == "t=")
    assert [task["ran"] for task in bench.tasks(1)] == ["remote"]


@pytest.mark.parametrize("streams", ["tt", "t=", "pt", "tp", "pp"])
def test_any_command(user_overlay: Bench, streams: str) -> None:
    line = "for fd in 1 2; do test -t $fd && echo tty || echo no; done; stty size <&1 2>/dev/null; stty size <&2 2>/dev/null; echo err >&2"
    ours = run(
        user_overlay, f"'{user_overlay.sandbox.bin}/spraycc-run' --remote -- sh -c '{line}'", streams, inside=True
    )
    assert ours == run(user_overlay, line, streams, inside=False)
    assert [task["ran"] for task in user_overlay.tasks(1)] == ["remote"]
