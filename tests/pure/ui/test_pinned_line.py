"""The pinned line's control sequences, on a terminal emulator: only the last row differs from a screen without the line."""

from __future__ import annotations

import pyte
import pytest

from spraycc.ui import pinned_line

ROWS, COLUMNS = 8, 40


class Screens:
    """Two terminals with the same output of a tool. One has the line."""

    def __init__(self, rows: int = ROWS, columns: int = COLUMNS) -> None:
        self.with_line = pyte.HistoryScreen(columns, rows, history=1000)
        #: one row shorter, as the line takes a row
        self.without = pyte.HistoryScreen(columns, rows - 1, history=1000)
        self._streams = pyte.ByteStream(self.with_line), pyte.ByteStream(self.without)

    def tool(self, data: bytes) -> None:
        for stream in self._streams:
            stream.feed(data)

    def draw(self, data: bytes) -> None:
        self._streams[0].feed(data)

    def check(self, line: str) -> None:
        *above, last = self.with_line.display
        assert above == self.without.display
        assert last.rstrip() == line
        assert self._cursor(self.with_line) == self._cursor(self.without)
        assert self._history(self.with_line) == self._history(self.without)

    @staticmethod
    def _cursor(screen: pyte.Screen) -> tuple[object, ...]:
        return screen.cursor.y, screen.cursor.x, screen.cursor.attrs

    @staticmethod
    def _history(screen: pyte.HistoryScreen) -> list[str]:
        return ["".join(row[x].data for x in range(COLUMNS)).rstrip() for row in screen.history.top]


def lines(first: int, last: int) -> bytes:
    return b"".join(b"gcc -c f%d.c\r\n" % number for number in range(first, last))


@pytest.mark.parametrize("before", range(ROWS - 1))
def test_output_is_the_same_above_the_line(before: int) -> None:
    screens = Screens()
    screens.tool(lines(0, before))
    for number in range(20):
        screens.draw(pinned_line.draw(ROWS, COLUMNS, f"line {number}"))
        screens.check(f"line {number}")
        screens.tool(lines(number, number + 1))
        screens.check(f"line {number}")


def test_a_status_line_of_the_tool_stays_its_own() -> None:
    """ninja writes over its last line, in colours that it has set before."""
    screens = Screens()
    screens.tool(lines(0, ROWS - 2) + b"\x1b[1;31m[1/9] CXX a.o")
    for number in range(5):
        screens.draw(pinned_line.draw(ROWS, COLUMNS, "line"))
        screens.tool(b"\r\x1b[K[%d/9] CXX b.o" % number)
        screens.check("line")


def test_the_last_row_of_a_full_screen_is_not_lost() -> None:
    """The cursor is in the row that the line takes, so the screen scrolls by one row first."""
    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=100)
    stream = pyte.ByteStream(screen)
    stream.feed(lines(0, ROWS - 1) + b"prompt")
    stream.feed(pinned_line.draw(ROWS, COLUMNS, "line"))
    shown = [row.rstrip() for row in screen.display]
    assert shown == [*(f"gcc -c f{number}.c" for number in range(1, ROWS - 1)), "prompt", "line"]
    assert (screen.cursor.y, screen.cursor.x) == (ROWS - 2, len("prompt"))


@pytest.mark.parametrize(
    "clearing",
    [b"\x1b[H\x1b[2J", b"\x1bc", b"\x1b[r\x1b[8;1H", b"\x1b[H\x1b[J"],
    ids=["clear", "reset", "csr", "erase"],
)
def test_a_draw_is_right_after_the_tool_has_cleared_or_reset_the_terminal(clearing: bytes) -> None:
    screens = Screens()
    screens.tool(lines(0, 20))
    screens.draw(pinned_line.draw(ROWS, COLUMNS, "line"))
    screens.draw(clearing)
    # A tool that resets the region has all rows until the next draw.
    screens.draw(pinned_line.draw(ROWS, COLUMNS, "line"))
    assert screens.with_line.display[-1].rstrip() == "line"
    assert screens.with_line.margins == (0, ROWS - 2)
    screens.draw(b"\x1b[3;1H" + lines(0, 2) + b"\x1b[%d;1H" % (ROWS - 1) + lines(2, 4))
    assert screens.with_line.display[-1].rstrip() == "line"


def test_removed_the_screen_is_as_without_the_line() -> None:
    screens = Screens()
    screens.tool(lines(0, 20))
    screens.draw(pinned_line.draw(ROWS, COLUMNS, "line"))
    screens.draw(pinned_line.remove(ROWS))
    screens.check("")
    assert screens.with_line.margins is None


def test_let_go_changes_no_row() -> None:
    screens = Screens()
    screens.tool(lines(0, 20))
    screens.draw(pinned_line.draw(ROWS, COLUMNS, "line"))
    screens.draw(b"\x1b[8;1Hmenu's last row\x1b[1;1H")
    before = list(screens.with_line.display)
    screens.draw(pinned_line.let_go())
    assert list(screens.with_line.display) == before
    assert screens.with_line.margins is None


@pytest.mark.parametrize("rows", [5, 7, 9, 12])
def test_a_resize_leaves_one_line(rows: int) -> None:
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(lines(0, 3) + pinned_line.draw(ROWS, COLUMNS, "old"))
    screen.resize(rows, COLUMNS)
    stream.feed(pinned_line.after_resize() + pinned_line.draw(rows, COLUMNS, "new"))
    shown = [row.rstrip() for row in screen.display]
    assert shown[-1] == "new"
    assert "old" not in shown
    assert screen.margins == (0, rows - 2)


@pytest.mark.parametrize(
    ("text", "shown"), [("x" * 100, "x" * (COLUMNS - 1)), ("größe\x1b[2J\n", "gr??e?[2J?"), ("", "")]
)
def test_a_text_fits_into_one_row_and_has_no_control_characters(text: str, shown: str) -> None:
    screens = Screens()
    screens.draw(pinned_line.draw(ROWS, COLUMNS, text))
    screens.check(shown)


def test_a_small_terminal_gets_no_line() -> None:
    assert pinned_line.has_room(4, 16)
    assert not pinned_line.has_room(3, 80)
    assert not pinned_line.has_room(24, 15)
    assert not pinned_line.has_room(0, 0)


@pytest.mark.parametrize(
    ("env", "knows"),
    [
        ({}, False),
        ({b"TERM": b"xterm-256color"}, False),
        ({b"WT_SESSION": b"9d"}, True),
        ({b"ConEmuANSI": b"ON"}, True),
        ({b"ConEmuANSI": b"OFF"}, False),
        ({b"TERM_PROGRAM": b"WezTerm"}, True),
        ({b"TERM_PROGRAM": b"ghostty"}, True),
        ({b"TERM_PROGRAM": b"iTerm.app"}, False),
        ({b"TERM_PROGRAM": b"iTerm.app", b"TERM_FEATURES": b"T3LrMSc7UUw9Ts3BFGsSyHNoSxF"}, False),
        ({b"TERM_PROGRAM": b"iTerm.app", b"TERM_FEATURES": b"T3LrCwP"}, True),
        ({b"TERM_PROGRAM": b"WezTerm", b"TMUX": b"/tmp/tmux-1/default"}, False),
        ({b"WT_SESSION": b"9d", b"STY": b"1.pts"}, False),
        ({b"WT_SESSION": b"9d", b"TERM": b"tmux-256color"}, False),
    ],
)
def test_progress_in_the_tab_where_it_is_known(env: dict[bytes, bytes], knows: bool) -> None:
    assert pinned_line.shows_tab_progress(env) is knows


def test_progress_in_the_tab() -> None:
    assert pinned_line.tab_progress(36) == b"\x1b]9;4;1;36\x1b\\"
    assert pinned_line.tab_progress(36, failed=True) == b"\x1b]9;4;2;36\x1b\\"
    assert pinned_line.tab_progress(None) == b"\x1b]9;4;3\x1b\\"
    assert pinned_line.no_tab_progress() == b"\x1b]9;4;0\x1b\\"
