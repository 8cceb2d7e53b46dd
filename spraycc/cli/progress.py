"""Shows a build's progress while the tool runs: as a line at the bottom of the terminal, or as lines of a log.

The tool has the terminal as it would have it without us: its output is neither read nor delayed, and it inherits no
changed mode, signal or descriptor. docs/explanation/progress.md describes the behaviour on a terminal.

Only the process that has opened a build shows it. A failure ends the display, and never the build.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import types
from collections.abc import Mapping
from typing import Any, Protocol

from spraycc.cli.messages import inform
from spraycc.cli.terminal import STDERR, Guard, State, Terminal
from spraycc.ui import pinned_line, progress_text

#: Seconds before the line appears. Shorter builds have none.
FIRST_S = 1.0
#: Most often, the line is drawn once in these seconds.
PAUSE_S = 0.5
#: While the user drags the window's edge, more often.
RESIZE_PAUSE_S = 0.1
#: A line that has not changed is drawn again after these seconds, as the tool may have cleared the screen.
REPEAT_S = 1.0
#: Seconds between two lines of a log, and before the first.
PLAIN_S = 30.0
#: Seconds to wait at the end for a terminal that the user has stopped by Ctrl-S. Then the guard waits for it.
RESTORE_S = 1.0
#: Figures for a log need not be newer than this.
_PLAIN_FIGURES_S = 5.0


class Display(Protocol):
    """A way to show progress. As a context manager, owns what it needs; its end leaves no trace."""

    #: seconds between two messages of figures from the server
    interval_s: float

    def __enter__(self) -> Display: ...
    def __exit__(self, *exc: object) -> None: ...
    def take(self, figures: Mapping[str, Any] | None) -> None:
        """Show these figures from now on. None: the server is gone, so show nothing."""

    def signalled(self, numbers: bytes) -> None:
        """Signals have arrived, in this order. Those of other numbers than the display's have no effect."""

    def run(self, now: float) -> float:
        """Do what is due; returns the time of the next call (monotonic)."""


def display_for(way: str, env: Mapping[bytes, bytes], began: float) -> Display | None:
    """The display for the setting ``progress``; None shows nothing.

    Args:
        way: the setting.
        env: the environment of the user.
        began: begin of the build (monotonic).
    """
    if way == "none":
        return None
    if way == "auto" and env.get(b"TERM", b"") not in (b"", b"dumb"):
        with contextlib.suppress(OSError):
            return PinnedLine(Terminal(), pinned_line.shows_tab_progress(env), began)
    return PlainLines(began)


class PlainLines:
    """A line of a log on standard error, every PLAIN_S."""

    interval_s = _PLAIN_FIGURES_S

    def __init__(self, began: float) -> None:
        self._began = began
        self._due = began + PLAIN_S
        self._figures: Mapping[str, Any] | None = {}

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def take(self, figures: Mapping[str, Any] | None) -> None:
        self._figures = figures

    def signalled(self, numbers: bytes) -> None:
        pass

    def run(self, now: float) -> float:
        if now >= self._due:
            # A reader of the log that does not read must not hold up the end of the build.
            if self._figures is not None and _is_writable(STDERR):
                inform(progress_text.plain(self._figures, now - self._began))
            self._due += PLAIN_S * (1 + (now - self._due) // PLAIN_S)
        return self._due


class PinnedLine:
    """The line at the bottom of the terminal. Owns the terminal's descriptor, the guard and some signal handlers."""

    interval_s = PAUSE_S

    def __init__(self, terminal: Terminal, tab: bool, began: float) -> None:
        """``tab``: the terminal shows progress in its tab, too."""
        self._terminal = terminal
        self._tab = tab
        self._began = began
        self._figures: Mapping[str, Any] | None = {}
        self._due = began + FIRST_S
        self._stop_wanted = False
        self._guard: Guard | None = None
        self._handlers: dict[int, Any] = {}
        #: size of the terminal and text of the last draw; None: no line is on the screen
        self._drawn: tuple[tuple[int, int], str] | None = None
        self._drawn_at = 0.0

    def __enter__(self) -> PinnedLine:
        for number in (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT):
            # A child begins with the default again. An ignored signal stays ignored, in the tool too.
            if signal.getsignal(number) == signal.SIG_DFL:
                # It only makes the signal appear in `signalled`.
                self._handlers[number] = signal.signal(number, _note)
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            restored = self._restore(RESTORE_S)
            if self._guard is not None:
                self._guard.close(restored=restored)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._terminal.close()

    def take(self, figures: Mapping[str, Any] | None) -> None:
        self._figures = figures

    def signalled(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGTSTP:
                self._stop_wanted = True
            elif number == signal.SIGCONT:
                self._stop_wanted = False
                self._due = 0.0
            elif number == signal.SIGWINCH and self._drawn is not None:
                self._due = min(self._due, self._drawn_at + RESIZE_PAUSE_S)

    def run(self, now: float) -> float:
        if self._stop_wanted:
            self._stop_wanted = False
            self._restore(RESTORE_S)
            self._stop()
            self._due = 0.0
            return now  # some time ago
        if now >= max(self._due, self._began + FIRST_S):
            self._update(now)
            self._due = now + PAUSE_S
        return max(self._due, self._began + FIRST_S)

    def _update(self, now: float) -> None:
        state, size = self._terminal.state(), self._terminal.size()
        if state is State.FULL_SCREEN and self._drawn is not None:
            self._let_go()
        if self._figures is None or state is not State.OURS or not pinned_line.has_room(*size):
            self._restore(0.0)
            return
        rows, columns = size
        text = progress_text.line(self._figures, now - self._began, columns - 1)
        if self._drawn == (size, text) and now < self._drawn_at + REPEAT_S:
            return
        if self._drawn is None:
            if not self._terminal.claim():
                return
            if self._guard is None:
                self._guard = Guard(pinned_line.guard_script(tab=self._tab))
        data = pinned_line.draw(rows, columns, text)
        if self._drawn is not None and self._drawn[0] != size:
            data = pinned_line.after_resize() + data
        if self._tab:
            failed = bool(self._figures.get("failed"))
            data += pinned_line.tab_progress(progress_text.percent(self._figures), failed=failed)
        # The guard first: it must know of a line that this process can't remove any more.
        self._tell_guard(rows)
        if self._terminal.write(data):
            self._drawn = size, text
            self._drawn_at = now

    def _restore(self, patience_s: float) -> bool:
        """Remove the line, if there is one. False if the terminal takes no output."""
        if self._drawn is None:
            return True
        (rows, _), _ = drawn = self._drawn
        same_size = self._terminal.size() == drawn[0]
        return self._end_with(pinned_line.remove(rows) if same_size else pinned_line.after_resize(), patience_s)

    def _let_go(self) -> None:
        """Let a full-screen program have all rows. The last row is the program's by now, so it is not cleared."""
        self._end_with(pinned_line.let_go(), 0.0)

    def _end_with(self, data: bytes, patience_s: float) -> bool:
        if self._tab:
            data += pinned_line.no_tab_progress()
        if self._terminal.write(data, patience_s):
            self._drawn = None
            self._tell_guard(0)
            self._terminal.give_up()
        return self._drawn is None

    def _tell_guard(self, row: int) -> None:
        if self._guard is not None:
            self._guard.tell(row)

    def _stop(self) -> None:
        """Stop, as Ctrl-Z would have stopped this process without a handler. Returns when the process is continued."""
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)


def _note(number: int, frame: types.FrameType | None) -> None:
    pass


def _is_writable(fd: int) -> bool:
    poll = select.poll()
    try:
        poll.register(fd, select.POLLOUT)
        return any(events & select.POLLOUT for _, events in poll.poll(0))
    except OSError:
        return False
