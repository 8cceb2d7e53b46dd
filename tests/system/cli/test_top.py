"""``spraycc top`` in a terminal: it draws, obeys keys, and leaves the terminal as it was after each kind of end."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.cli.conftest import Setup, wait_until
from tests.system.cli.fake_server import FakeServer

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
HANG_S = 60.0


class Terminal:
    """`spraycc` on a terminal of its own."""

    def __init__(self, setup: Setup, *words: str, term: str = "xterm") -> None:
        self.shown = b""
        self.master, self.slave = os.openpty()
        self.resize(20, 100)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            setup.argv(*words), cwd=setup.project, env=setup.env | {"TERM": term},
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def read(self) -> None:
        while select.select([self.master], [], [], 0.01)[0]:
            self.shown += os.read(self.master, 65536)

    def wait_for(self, text: bytes, after: int = 0) -> None:
        """Wait until the terminal has got the text; ``after``: behind this many bytes."""

        def has() -> bool:
            self.read()
            return text in self.shown[after:]

        wait_until(has)

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """The exit status. The terminal must be as before."""
        status = self.process.wait(HANG_S)
        self.read()
        assert self.shown.startswith(ENTER)
        assert self.shown.count(ENTER) == self.shown.count(LEAVE)
        assert self.shown.rindex(LEAVE) > self.shown.rindex(ENTER)
        assert termios.tcgetattr(self.slave) == self.before
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def top(setup: Setup, server: FakeServer) -> Iterator[Terminal]:
    terminal = Terminal(setup, "top", "--interval", "0.2")
    try:
        terminal.wait_for(b"q: quit   s: sort (by host)")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize(("keys", "status"), [(b"q", 0), (b"\x03", 0)])
def test_q_and_ctrl_c_leave(top: Terminal, keys: bytes, status: int) -> None:
    assert b"no build is open" in top.shown
    assert termios.tcgetattr(top.slave) != top.before
    top.press(keys)
    assert top.end() == status
    assert b"Traceback" not in top.shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_leaves_the_terminal_as_it_was(top: Terminal, number: signal.Signals) -> None:
    top.process.send_signal(number)
    assert top.end() == -number


def test_a_kill_leaves_the_terminal_as_it_was(top: Terminal) -> None:
    top.process.kill()
    top.wait_for(LEAVE)
    wait_until(lambda: termios.tcgetattr(top.slave) == top.before)
    assert top.end() == -signal.SIGKILL


@pytest.mark.parametrize("name", ["top", "--watch"])
@pytest.mark.parametrize("term", ["", "dumb"])
def test_a_terminal_without_a_cursor(setup: Setup, server: FakeServer, name: str, term: str) -> None:
    words = ["top"] if name == "top" else ["status", "--watch"]
    terminal = Terminal(setup, *words, term=term)
    try:
        terminal.wait_for(b"writes lines of JSON")
        assert terminal.process.wait(HANG_S) == 2
        assert terminal.shown.startswith(b"spraycc: error: %s must move the cursor" % name.encode())
        assert b"\x1b" not in terminal.shown
    finally:
        terminal.close()


def test_s_changes_the_order(top: Terminal) -> None:
    for order in (b"time", b"age", b"task", b"kind", b"host"):
        seen = len(top.shown)
        top.press(b"s")
        top.wait_for(b"(by %s)" % order, seen)
    top.press(b"q")
    assert top.end() == 0


def test_another_size_is_drawn_at_once(top: Terminal) -> None:
    seen = len(top.shown)
    top.resize(6, 30)
    top.wait_for(b"q: quit   s: sort (by host)", seen)
    top.press(b"q")
    assert top.end() == 0


def test_a_stopped_top_gives_the_terminal_back(top: Terminal) -> None:
    os.kill(top.process.pid, signal.SIGTSTP)

    def stopped() -> bool:
        top.read()
        return Path(f"/proc/{top.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    wait_until(stopped)
    top.read()
    assert top.shown.endswith(LEAVE)
    assert termios.tcgetattr(top.slave) == top.before
    seen = len(top.shown)
    top.process.send_signal(signal.SIGCONT)
    top.wait_for(b"q: quit", seen)
    assert ENTER in top.shown[seen:]
    top.press(b"q")
    assert top.end() == 0


def test_a_server_that_ends_and_another_one(setup: Setup, server: FakeServer) -> None:
    terminal = Terminal(setup, "status", "--watch", "--interval", "0.2")
    try:
        terminal.wait_for(b"no build is open")
        server.die()
        (setup.directory / "socket").unlink()
        terminal.wait_for(b"no server runs for ")
        seen = len(terminal.shown)
        with setup.server():
            terminal.wait_for(b"no build is open", seen)
            terminal.press(b"q")
            assert terminal.end() == 0
    finally:
        terminal.close()


def test_without_a_terminal_the_user_is_told_of_json(setup: Setup, server: FakeServer) -> None:
    done = setup.run("top")
    assert done.returncode == 2
    assert done.stderr == (
        "spraycc: error: top needs a terminal; `spraycc status` shows the state once, "
        "`spraycc status --watch --json` writes lines of JSON\n"
    )


def test_lines_of_json(setup: Setup, server: FakeServer) -> None:
    with setup.start("status", "--watch", "--json", "--interval", "0.2") as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["server"]["workspace"] for _ in range(3)] == ["/w"] * 3
        process.stdout.close()
        assert process.wait(HANG_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_unknown_order(setup: Setup) -> None:
    done: Any = setup.run("status", "--sort", "colour")
    assert done.returncode == 2
    assert "'host', 'time', 'age', 'task', 'kind'" in done.stderr
