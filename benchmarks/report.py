"""*report*: how long `spraycc report` takes for 20,000 tasks, and how long Chromium takes to draw its page."""

from __future__ import annotations

import shutil
import time
from typing import Any

from benchmarks.harness import Place, spread


def report(place: Place) -> dict[str, Any]:
    """Makes the page of a synthetic build and opens it, each several times. Without chromium: only makes it."""
    from spraycc.records import read
    from spraycc.ui.report import page
    from tests.records import lines_of_a_build, write_record

    tasks, times = (500, 2) if place.quick else (20_000, 5)
    path = write_record(place.root, lines_of_a_build(tasks, 400, status=2))
    making = []
    for _ in range(times):
        before = time.process_time()
        text = page(read.read(path))
        making.append(time.process_time() - before)
    html = place.root / "report.html"
    html.write_text(text, encoding="utf-8")
    figures = {"tasks": tasks, "make_cpu_s": spread(making), "bytes": html.stat().st_size, "target_s": 3}
    if shutil.which("chromium"):
        from tests.system.harness.browser import Browser

        browser = Browser(place.root)
        try:
            opening = []
            for _ in range(times):
                tab = browser.tab()
                before = time.perf_counter()
                tab.open(html)
                tab.wait_for("window.page?.timeline.drawn > 0 && !page.timeline.waiting")
                opening.append(time.perf_counter() - before)
                tab.close()
        finally:
            browser.close()
        figures["open_s"] = spread(opening)
    return figures
