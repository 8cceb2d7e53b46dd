"""One browser for all tests of a file, and pages of synthetic builds in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spraycc.records.read import Record
from spraycc.ui.report import page
from tests.system.harness.browser import Browser, Tab


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


class Shown:
    """The report of a build in a tab."""

    def __init__(self, tab: Tab, path: Path) -> None:
        self.tab = tab
        self.path = path

    def draw(self) -> None:
        """Wait until the page has drawn all that was asked of it."""
        self.tab.wait_for("window.page?.timeline.drawn > 0 && !page.timeline.waiting")

    def range(self) -> tuple[float, float]:
        """The visible part of the build, in seconds."""
        self.draw()
        begin, end = self.tab.evaluate("[page.timeline.from, page.timeline.to]")
        return begin, end

    def place(self, lane: int, seconds: float) -> tuple[float, float]:
        """A point of the window: the middle of a lane, at a time. Scrolls the timeline into the window."""
        x, y = self.tab.evaluate(
            "(() => { document.getElementById('scroller').scrollIntoView({block: 'center'});"
            "const box = document.getElementById('lanes').getBoundingClientRect(), plot = page.timeline;"
            f"return [box.left + plot.x({seconds}), box.top + ({lane} + 0.5) * plot.height - plot.scroller.scrollTop]; }})()"
        )
        return x, y

    def colour(self, lane: int, seconds: float) -> str:
        """The colour in the middle of a lane, at a time, as ``#rrggbb``; empty where nothing is drawn."""
        return self._pixel(
            "lanes",
            f"page.timeline.x({seconds})",
            f"({lane} + 0.25) * page.timeline.height - page.timeline.scroller.scrollTop",
        )

    def chart_colour(self, seconds: float, y: float) -> str:
        """The colour of the upper plot at a time, ``y`` pixels below its top."""
        return self._pixel("chart", f"page.timeline.x({seconds})", str(y))

    def _pixel(self, canvas: str, x: str, y: str) -> str:
        self.draw()
        red, green, blue, alpha = self.tab.evaluate(
            "(() => { const pen = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});"
            f"pen.drawImage(document.getElementById('{canvas}'), Math.floor({x}), Math.floor({y}), 1, 1, 0, 0, 1, 1);"
            "return [...pen.getImageData(0, 0, 1, 1).data]; })()"
        )
        return f"#{red:02x}{green:02x}{blue:02x}" if alpha == 255 else ""

    def named_colour(self, name: str) -> str:
        """A colour of report.css, in the mode that the page is in."""
        found: str = self.tab.evaluate(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()"
        )
        return "#" + "".join(2 * digit for digit in found[1:]) if len(found) == 4 else found


Show = Callable[..., Shown]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens the report of a build. At the end: no request but for the page itself, and nothing in the console."""
    opened: list[Shown] = []

    def show(record: Record, earlier: Record | None = None) -> Shown:
        path = tmp_path / f"report-{len(opened)}.html"
        path.write_text(page(record, earlier, root="/w"), encoding="utf-8")
        tab = browser.tab()
        opened.append(Shown(tab, path))
        tab.open(path)
        opened[-1].draw()
        return opened[-1]

    yield show
    for shown in opened:
        assert shown.tab.requests() == [shown.path.as_uri()]
        assert shown.tab.complaints() == []
        shown.tab.close()
