"""A terminal with a user: keys go to the programs, and a terminal emulator shows what the user sees."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyte

from tests.system.harness.waiting import HANG_S, wait_until

T = TypeVar("T")


class UserTerminal:
    """Owns both sides of a pseudo-terminal; :meth:`close` closes them. Reads only while a method runs."""

    def __init__(self, rows: int = 12, columns: int = 70) -> None:
        self._ours, self._theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self.screen = pyte.HistoryScreen(columns, rows, history=1000)
        self._stream = pyte.ByteStream(self.screen)
        #: everything that was written to the terminal
        self.written = b""
        self._started: list[subprocess.Popen[bytes]] = []
        self.resize(rows, columns)

    def __enter__(self) -> UserTerminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._theirs)
        os.close(self._ours)  # hangs up: what still runs gets SIGHUP
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait(HANG_S)

    def start(
        self, argv: Sequence[str | Path], cwd: Path, env: Mapping[str, str], **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, whose terminal this is. ``streams``: other ``stdout``, ``stderr``, ``pass_fds``."""
        terminal = self._theirs

        def take_terminal() -> None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

        process = subprocess.Popen(
            argv, cwd=cwd, env=env, start_new_session=True, preexec_fn=take_terminal, stdin=terminal,
            stdout=streams.get("stdout", terminal), stderr=streams.get("stderr", terminal),
            pass_fds=streams.get("pass_fds", ()),
        )  # fmt: skip
        self._started.append(process)
        return process

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def stop_output(self, *, stopped: bool) -> None:
        """As Ctrl-S and Ctrl-Q."""
        termios.tcflow(self._theirs, termios.TCOOFF if stopped else termios.TCOON)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size. The kernel tells the foreground processes."""
        self.read()
        self.screen.resize(rows, columns)
        termios.tcsetwinsize(self._theirs, (rows, columns))

    def read(self) -> None:
        """Show what was written."""
        with contextlib.suppress(OSError):  # nothing more is there
            while data := os.read(self._ours, 65536):
                self.written += data
                self._stream.feed(data)

    @property
    def rows(self) -> list[str]:
        """The screen, without blanks at the ends of rows."""
        return [row.rstrip() for row in self.screen.display]

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes, see termios(3)."""
        return termios.tcgetattr(self._theirs)

    def wait_for(self, condition: Callable[[], T], what: str) -> T:
        """Wait until the condition is true, and show meanwhile what is written."""

        def holds() -> T:
            self.read()
            return condition()

        return wait_until(holds, what, lambda: f"{self.screen.margins}\n" + "\n".join(self.rows))

    def wait_for_last_row(self, text: str) -> None:
        """Wait until the last row has this text in it."""
        self.wait_for(lambda: text in self.rows[-1], f"the last row has {text!r}")

    def wait_end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a program's end; returns its status."""
        self.wait_for(lambda: process.poll() is not None, "the program has ended")
        self.read()
        return process.wait(HANG_S)
