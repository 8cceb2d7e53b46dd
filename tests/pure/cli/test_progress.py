"""When the progress line is drawn, and what it does at each event. The terminal, its guard and the clock are the test's."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest

from spraycc.cli import progress
from spraycc.cli.progress import FIRST_S, PAUSE_S, PLAIN_S, REPEAT_S, RESIZE_PAUSE_S, PinnedLine, PlainLines
from spraycc.cli.terminal import Guard, State, Terminal
from spraycc.ui import pinned_line, progress_text

REMOVED = pinned_line.remove(24)


class FakeTerminal:
    def __init__(self) -> None:
        self.now_state = State.OURS
        self.now_size = (24, 80)
        self.takes_output = True
        self.is_claimed_by_other = False
        self.written: list[bytes] = []
        self.claims = 0
        self.is_closed = False

    def state(self) -> State:
        return self.now_state

    def size(self) -> tuple[int, int]:
        return self.now_size

    def claim(self) -> bool:
        self.claims += not self.is_claimed_by_other
        return not self.is_claimed_by_other

    def give_up(self) -> None:
        self.claims -= 1

    def write(self, data: bytes, patience_s: float = 0.0) -> bool:
        if self.takes_output:
            self.written.append(data)
        return self.takes_output

    def close(self) -> None:
        self.is_closed = True

    def taken(self) -> list[bytes]:
        written, self.written = self.written, []
        return written


class FakeGuard:
    def __init__(self, script: str) -> None:
        self.script = script
        self.rows: list[int] = []
        self.closed: bool | None = None

    def tell(self, row: int) -> None:
        self.rows.append(row)

    def close(self, *, restored: bool) -> None:
        self.closed = restored


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, tab: bool = False) -> None:
        self.terminal = FakeTerminal()
        self.guards: list[FakeGuard] = []
        self.stops = 0
        monkeypatch.setattr(progress, "Guard", self._guard)
        self.line = PinnedLine(cast(Terminal, self.terminal), tab, began=100.0)
        monkeypatch.setattr(self.line, "_stop", self._stop)

    def _guard(self, script: str) -> Guard:
        self.guards.append(FakeGuard(script))
        return cast(Guard, self.guards[-1])

    def _stop(self) -> None:
        self.stops += 1

    def run(self, at: float) -> list[bytes]:
        """Run at this second of the build, and return what was written."""
        self.line.run(100.0 + at)
        return self.terminal.taken()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def drawn(text: str, size: tuple[int, int] = (24, 80)) -> bytes:
    return pinned_line.draw(*size, f"spraycc: {text}")


def test_a_short_build_has_no_line(world: World) -> None:
    assert world.line.run(100.0) == 100.0 + FIRST_S
    assert world.run(FIRST_S - 0.01) == []
    assert world.guards == []


def test_a_line_is_drawn_when_its_text_changes_or_a_second_is_over(world: World) -> None:
    assert world.run(1.0) == [drawn("no task done yet, 0:01")]
    assert world.run(1.0 + PAUSE_S - 0.01) == []
    world.line.take({"done": 3})
    assert world.run(1.5) == [drawn("3 tasks done, 0:01")]
    assert world.run(2.0) == [drawn("3 tasks done, 0:02")]
    assert REPEAT_S == 1.0
    assert world.guards[0].rows == [24, 24, 24]


def test_the_same_text_is_drawn_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool may have cleared the screen."""
    monkeypatch.setattr(progress_text, "line", lambda *_: "the same")
    assert world.run(1.0)
    assert world.run(1.5) == []
    assert world.run(2.0) == [pinned_line.draw(24, 80, "the same")]


def test_the_end_removes_the_line_and_ends_the_guard(world: World) -> None:
    with world.line:
        world.run(1.0)
    assert world.terminal.taken() == [REMOVED]
    assert world.guards[0].rows == [24, 0]
    assert world.guards[0].closed is True
    assert world.terminal.is_closed
    assert world.terminal.claims == 0


def test_without_a_line_the_end_writes_nothing(world: World) -> None:
    with world.line:
        pass
    assert world.terminal.taken() == []
    assert world.terminal.is_closed


def test_the_guard_restores_a_terminal_that_takes_no_output(world: World) -> None:
    """Ctrl-S has stopped it. The build must end all the same."""
    with world.line:
        world.run(1.0)
        world.terminal.takes_output = False
    assert world.guards[0].closed is False
    assert world.guards[0].rows == [24]


def test_a_full_screen_program_gets_all_rows_and_the_line_comes_back(world: World) -> None:
    world.run(1.0)
    world.terminal.now_state = State.FULL_SCREEN
    assert world.run(1.5) == [pinned_line.let_go()]
    assert world.run(2.0) == []
    world.terminal.now_state = State.OURS
    assert world.run(2.5) == [drawn("no task done yet, 0:02")]
    assert world.guards[0].rows == [24, 0, 24]
    assert len(world.guards) == 1


@pytest.mark.parametrize("state", [State.OTHERS, State.GONE])
def test_in_the_background_no_line(world: World, state: State) -> None:
    world.terminal.now_state = state
    assert world.run(1.0) == []
    world.terminal.now_state = State.OURS
    assert world.run(2.0)
    world.terminal.now_state = state
    assert world.run(2.5) == [REMOVED]
    assert world.terminal.claims == 0


@pytest.mark.parametrize("size", [(3, 80), (24, 10), (0, 0)])
def test_in_a_tiny_terminal_no_line(world: World, size: tuple[int, int]) -> None:
    world.run(1.0)
    world.terminal.now_size = size
    assert world.run(1.5) == [pinned_line.after_resize()]
    assert world.run(2.0) == []
    world.terminal.now_size = (24, 80)
    assert world.run(2.5) == [drawn("no task done yet, 0:02")]


def test_a_resize_is_followed_soon(world: World) -> None:
    world.run(1.0)
    world.terminal.now_size = (30, 100)
    world.line.signalled(bytes([signal.SIGCHLD, signal.SIGWINCH]))
    assert world.line.run(101.0) == 101.0 + RESIZE_PAUSE_S
    assert world.run(1.0 + RESIZE_PAUSE_S) == [pinned_line.after_resize() + drawn("no task done yet, 0:01", (30, 100))]
    assert world.guards[0].rows == [24, 30]


def test_after_a_resize_the_end_clears_below_the_cursor(world: World) -> None:
    with world.line:
        world.run(1.0)
        world.terminal.now_size = (30, 100)
    assert world.terminal.taken() == [pinned_line.after_resize()]


def test_ctrl_z_removes_the_line_before_this_process_stops(world: World) -> None:
    world.run(1.0)
    world.line.signalled(bytes([signal.SIGTSTP]))
    assert world.run(1.1) == [REMOVED]
    assert world.stops == 1
    world.line.signalled(bytes([signal.SIGCONT]))
    assert world.run(9.0) == [drawn("no task done yet, 0:09")]
    assert world.stops == 1


def test_a_stop_that_was_continued_meanwhile_does_not_stop(world: World) -> None:
    world.line.signalled(bytes([signal.SIGTSTP, signal.SIGCONT]))
    world.run(1.0)
    assert world.stops == 0
    world.line.signalled(bytes([signal.SIGCONT, signal.SIGTSTP]))
    world.run(1.1)
    assert world.stops == 1


def test_two_builds_do_not_draw_over_each_other(world: World) -> None:
    world.terminal.is_claimed_by_other = True
    assert world.run(1.0) == []
    assert world.guards == []
    world.terminal.is_claimed_by_other = False
    assert world.run(1.5) == [drawn("no task done yet, 0:01")]


def test_without_its_server_a_build_has_no_line(world: World) -> None:
    world.run(1.0)
    world.line.take(None)
    assert world.run(1.5) == [REMOVED]
    assert world.run(9.0) == []


def test_the_tab_shows_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, tab=True)
    with world.line:
        assert world.run(1.0)[0].endswith(pinned_line.tab_progress(None))
        world.line.take({"done": 1, "expected": 4, "failed": 1})
        assert world.run(1.5)[0].endswith(pinned_line.tab_progress(25, failed=True))
    assert world.terminal.taken() == [REMOVED + pinned_line.no_tab_progress()]
    assert "9;4;0" in world.guards[0].script


@pytest.fixture
def restored_signals() -> Iterator[None]:
    numbers = (signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.usefixtures("restored_signals")
def test_a_signal_that_the_caller_ignores_stays_ignored(world: World) -> None:
    before = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with world.line:
            assert signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGWINCH))
    finally:
        signal.signal(signal.SIGTSTP, before)


class Written:
    """Standard error with a reader that reads, or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        self.is_writable = True
        monkeypatch.setattr(progress, "inform", self.lines.append)
        monkeypatch.setattr(progress, "_is_writable", lambda fd: self.is_writable)


def test_a_log_gets_a_line_every_30_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Written(monkeypatch)
    with PlainLines(began=100.0) as plain:
        assert plain.run(100.0) == 100.0 + PLAIN_S
        plain.take({"done": 3})
        plain.run(129.9)
        assert stderr.lines == []
        assert plain.run(130.0) == 160.0
        assert plain.run(131.0) == 160.0
        plain.take({"done": 9, "expected": 90, "rest_s": 300})
        plain.run(160.1)
        assert stderr.lines == ["3 tasks done, 0:30", "9 of 90 tasks (10 %), 1:00, about 5:00 left"]
        # The host was suspended: one line, and not one for each half minute.
        assert plain.run(1000.0) == 1000.0 + PLAIN_S
        assert len(stderr.lines) == 3


def test_a_log_whose_reader_does_not_read_gets_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Written(monkeypatch)
    plain = PlainLines(began=0.0)
    stderr.is_writable = False
    plain.run(30.0)
    stderr.is_writable = True
    plain.run(60.0)
    plain.take(None)
    plain.run(90.0)
    assert stderr.lines == ["no task done yet, 1:00"]


@pytest.mark.parametrize(
    ("way", "term", "kind"),
    [
        ("none", b"xterm", None),
        ("plain", b"xterm", PlainLines),
        ("auto", b"xterm", PinnedLine),
        ("auto", b"dumb", PlainLines),
        ("auto", b"", PlainLines),
    ],
)
def test_ways(monkeypatch: pytest.MonkeyPatch, way: str, term: bytes, kind: type | None) -> None:
    monkeypatch.setattr(progress, "Terminal", FakeTerminal)
    assert type(progress.display_for(way, {b"TERM": term}, 0.0)) is (kind or type(None))


def test_without_a_terminal_auto_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> Any:
        raise OSError(25, os.strerror(25))

    monkeypatch.setattr(progress, "Terminal", refused)
    assert isinstance(progress.display_for("auto", {b"TERM": b"xterm"}, 0.0), PlainLines)
