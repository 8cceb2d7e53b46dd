"""A terminal's second screen, with single keys. The terminal is as before after each kind of end."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType

from spraycc.cli.terminal import Guard

_ENTER = b"\x1b[?1049h\x1b[?25l"
_LEAVE = b"\x1b[?25h\x1b[?1049l"
#: Signals that end the program: it must leave the screen first.
_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


#: Leaves the screen, and reads whole lines again with echo, if the last line of the input is not 0.
_GUARD = (
    "on=0; while read -r word; do on=$word; done; "
    """[ "$on" = 0 ] || { printf '\\033[?25h\\033[?1049l'; stty icanon echo <&1; }"""
)


class Screen:
    """Draws lines, and reads keys. A context manager: enters the second screen, and leaves it."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._modes = termios.tcgetattr(stdin)
        self._draw: Callable[[int, int], list[str]] = lambda width, height: []
        self._handlers: dict[signal.Signals, object] = {}
        self._guard: Guard | None = None

    def __enter__(self) -> Screen:
        self._guard = Guard(_GUARD, self._stdout)
        for number in _ENDS:
            self._handlers[number] = signal.signal(number, self._end)
        self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
        self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resize)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()
        if self._guard is not None:
            self._guard.close(restored=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def draw(self, draw: Callable[[int, int], list[str]]) -> None:
        """Show the lines that ``draw`` returns for a width and a height, now and after each change of the size."""
        self._draw = draw
        size = os.get_terminal_size(self._stdout)
        shown = "".join(f"{line}\x1b[0m\x1b[K\r\n" for line in draw(size.columns, size.lines)).removesuffix("\r\n")
        self._write(b"\x1b[H" + shown.encode("utf-8", "replace") + b"\x1b[J")

    def wait(self, seconds: float) -> str:
        """The next key, or "" if none is pressed in this time. At the terminal's end: q."""
        ready, _, _ = select.select([self._stdin], [], [], seconds)
        if not ready:
            return ""
        data = os.read(self._stdin, 100)
        return data.decode("latin-1")[0] if data else "q"

    def _begin(self) -> None:
        self._tell_guard(1)
        tty.setcbreak(self._stdin, termios.TCSADRAIN)
        self._write(_ENTER)

    def _restore(self) -> None:
        self._write(_LEAVE)
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._stdin, termios.TCSADRAIN, self._modes)
        self._tell_guard(0)

    def _tell_guard(self, shown: int) -> None:
        if self._guard is not None:
            self._guard.tell(shown)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._stdout, data) :]
            except OSError:
                return  # the terminal is gone: the next read says so

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._begin()
        self.draw(self._draw)

    def _resize(self, number: int, frame: FrameType | None) -> None:
        self.draw(self._draw)
