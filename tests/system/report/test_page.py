"""The report in a real browser: what it draws, and what it does under mouse and keys."""

from __future__ import annotations

from typing import Any

import pytest

from spraycc.records.read import Executor, Record, Run, Sample, Span, Task
from tests.pure.ui.test_report import HOSTILE, hostile, record_of
from tests.system.report.conftest import Show, Shown

# All in one worker: each worker would start a browser of its own.
pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]
SHIFT = 8

#: Lanes of `small`: the submit host, e1 and e2 on node1, e3 on node2.
HERE, E1, E2, E3 = range(4)


def small() -> Record:
    """Ten seconds with a compile, a compile that fails, an attempt that is killed, and a link."""
    compile_: dict[str, Any] = {
        "kind": "compile",
        "placement": "remote",
        "reason": "compile",
        "ran": "remote",
        "cwd": "/w",
    }
    tasks = [
        Task("d/a.o", argv="gcc -c d/a.c -o d/a.o", at=1, s=3, executor="e1", status=0, runs=(Run("e1", 2, 4, "done", False),),
             user_s=1.5, system_s=0.25, rss=123_000_000, bytes=45_600, **compile_),
        Task("d/b.o", argv="gcc -c d/b.c -o d/b.o", at=1, s=5, executor="e2", status=1, runs=(Run("e2", 2, 6, "done", False),), **compile_),
        Task("e/c.o", argv="gcc -c e/c.c -o e/c.o", at=1, s=6, executor="e1", status=0, refusals=("killed by signal 9",), attempts=2,
             runs=(Run("e3", 2, 5, "killed", False), Run("e1", 5, 7, "done", False)), **compile_),
        Task("prog", argv="gcc -o prog d/a.o e/c.o", kind="link", placement="here-heavy", reason="link", ran="here", cwd="/w",
             at=7.5, s=2, here=Span(7.5, 9.5)),
    ]  # fmt: skip
    executors = [Executor("e1", "node1", "77_1"), Executor("e2", "node1"), Executor("e3", "node2", joined=1, left=5.0)]
    samples = [Sample(0, 0, 0, 0, 2, 0, 3), Sample(2, 3, 0, 0, 3, 0, 4), Sample(7, 0, 1, 0, 2, 0, 3)]
    header = {
        "record": 2, "build": "0123abcd", "argv": "make all", "cap": 8, "cwd": "/w", "host": "login1", "cluster": "slurm",
        "began": 1e9, "tool": "make",
    }  # fmt: skip
    return Record(
        header, tasks, {each.id: each for each in executors}, samples, {"ended": 10.0, "wall_s": 10.0, "status": 2}
    )


@pytest.fixture
def shown(show: Show) -> Shown:
    return show(small())


def test_the_head_says_what_was_built(shown: Shown) -> None:
    assert shown.tab.texts("h1") == ["make all -j8"]
    [about] = shown.tab.texts("#about")
    assert about.startswith(
        "Build 0123abcd ended with status 2 · in /w on login1 · cluster slurm, 3 executors · began "
    )
    assert shown.tab.texts(".tile")[:4] == [
        "10.0 s\nfrom begin to end",
        "4\ntasks",
        "3\non executors",
        "1\non the submit host",
    ]
    assert shown.tab.evaluate("document.title") == "make all -j8 - SprayCC report"
    assert "1 task failed: d/b.o, with status 1 on node1, 6.00 s after the begin. Show the task" in shown.tab.texts(
        "#findings li"
    )


def test_bars_have_their_place_and_colour(shown: Shown) -> None:
    assert shown.tab.evaluate("[page.timeline.x(0), page.timeline.x(10)]") == [
        170,
        shown.tab.evaluate("page.timeline.width"),
    ]
    colours = {name: shown.named_colour(name) for name in ("compile", "link", "failed", "wasted", "lane")}
    assert len(set(colours.values())) == 5
    for lane, seconds, name in (
        (E1, 3, "compile"), (E1, 4.5, "lane"), (E1, 6, "compile"), (E1, 1, "lane"), (E1, 9, "lane"),
        (E2, 3, "failed"), (E2, 7, "lane"), (HERE, 9, "link"), (HERE, 5, "lane"),
    ):  # fmt: skip
        assert shown.colour(lane, seconds) == colours[name], (lane, seconds)
    # A thrown away attempt is hatched: some of its pixels have the colour, and some are free.
    hatched = {shown.colour(E3, 3 + pixel / 100) for pixel in range(12)}
    assert colours["wasted"] in hatched
    assert colours["compile"] not in hatched
    # The executor e3 joined at 1 s and left at 5 s.
    assert [shown.colour(E3, seconds) for seconds in (0.5, 1.5, 5.5)] == ["", colours["lane"], ""]


def test_the_upper_plot_shows_tasks_at_once(shown: Shown) -> None:
    # Four tokens are the most, so a task is a quarter of the plot, which is 116 pixels high and ends at 128.
    level = 116 / 4
    compile_, here = shown.named_colour("compile"), shown.named_colour("here")
    assert [shown.chart_colour(3, 128 - (tasks - 0.5) * level) for tasks in (1, 2, 3, 4)] == [
        compile_,
        compile_,
        compile_,
        "",
    ]
    assert [shown.chart_colour(5.7, 128 - (tasks - 0.5) * level) for tasks in (1, 2, 3)] == [compile_, compile_, ""]
    assert [shown.chart_colour(8.5, 128 - (tasks - 0.5) * level) for tasks in (1, 2)] == [here, ""]
    assert shown.chart_colour(1, 120) == ""


def test_hover_shows_a_task(shown: Shown) -> None:
    shown.tab.mouse("mouseMoved", *shown.place(E1, 3))
    [tip] = shown.tab.texts("#tip")
    assert tip.splitlines()[:2] == ["d/a.o", "gcc -c d/a.c -o d/a.o"]
    words = " ".join(tip.split())
    for text in (
        "ran on node1, executor e1, batch job 77_1", "waited 1.00 s", "ran 2.00 s, from 2.00 s to 4.00 s", "CPU 1.75 s",
        "memory 123.0 MB at most", "returned 45.6 kB",
    ):  # fmt: skip
        assert text in words
    shown.tab.mouse("mouseMoved", *shown.place(E1, 9))
    assert shown.tab.evaluate("document.getElementById('tip').hidden")


def test_hover_over_the_upper_plot_shows_the_figures(shown: Shown) -> None:
    x, _ = shown.place(HERE, 3)
    top = shown.tab.evaluate("document.getElementById('chart').getBoundingClientRect().top")
    shown.tab.mouse("mouseMoved", x, top + 60)
    [tip] = shown.tab.texts("#tip")
    assert tip.split("\n") == [
        "at", "3.00 s", "on executors", "3", "on the submit host", "0", "waiting", "0", "executors", "3", "tokens", "4",
    ]  # fmt: skip


def test_a_click_keeps_the_details(shown: Shown) -> None:
    assert shown.tab.evaluate("document.getElementById('details').hidden")
    shown.tab.click(*shown.place(E1, 6))
    shown.tab.mouse("mouseMoved", 5, 5)
    [details] = shown.tab.texts("#details")
    words = " ".join(details.split())
    for text in (
        "e/c.o", "attempt 1 node2, executor e3, 3.00 s: killed by a signal; thrown away",
        "attempt 2 node1, executor e1, batch job 77_1, 2.00 s: done", "refused killed by signal 9", "directory /w",
        "gcc -c e/c.c -o e/c.o", "the end of the build waited for this task",
    ):  # fmt: skip
        assert text in words
    shown.tab.click(*shown.place(E1, 9))  # no task is at this place
    assert shown.tab.evaluate("document.getElementById('details').hidden")


def test_escape_closes_the_details(shown: Shown) -> None:
    shown.tab.click(*shown.place(E2, 3))
    assert not shown.tab.evaluate("document.getElementById('details').hidden")
    shown.tab.key("Escape")
    assert shown.tab.evaluate("document.getElementById('details').hidden")


def test_the_wheel_zooms_around_the_pointer(shown: Shown) -> None:
    x, y = shown.place(E1, 3)
    shown.tab.wheel(x, y, -200)
    shown.tab.wait_for("page.timeline.to - page.timeline.from < 10")
    begin, end = shown.range()
    assert begin > 0
    assert end < 10
    assert shown.place(E1, 3)[0] == pytest.approx(x, abs=1)
    shown.tab.wheel(x, y, 2000)
    shown.tab.wait_for("page.timeline.to - page.timeline.from === 10")
    assert shown.range() == (0, 10)


def test_a_drag_zooms_into_the_range(shown: Shown) -> None:
    shown.tab.drag(shown.place(E3, 6), shown.place(E3, 2))
    assert shown.range() == pytest.approx((2, 6), abs=0.05)
    assert shown.tab.texts("#range")[0].endswith(" of 10.0 s")
    shown.tab.drag(shown.place(E3, 5), shown.place(E3, 4), modifiers=SHIFT)
    assert shown.range() == pytest.approx((3, 7), abs=0.05)
    shown.tab.click(*shown.place(E3, 6), times=2)
    assert shown.range() == (0, 10)


def test_keys_zoom_and_pan(shown: Shown) -> None:
    shown.tab.click(*shown.place(E3, 8))
    shown.tab.key("+")
    assert shown.range() == pytest.approx((5 - 5 / 1.5, 5 + 5 / 1.5))
    before = shown.range()
    shown.tab.key("ArrowRight")
    assert shown.range()[0] > before[0]
    shown.tab.key("ArrowLeft")
    shown.tab.key("-")
    assert shown.range() == (0, 10)
    shown.tab.key("w")
    shown.tab.key("Home")
    assert shown.range() == (0, 10)


def test_the_buttons(shown: Shown) -> None:
    shown.tab.evaluate("document.getElementById('zoom-in').click()")
    assert shown.range()[0] > 0
    shown.tab.evaluate("document.getElementById('zoom-out').click()")
    assert shown.range() == (0, 10)
    with_chain = shown.colour(HERE, 9.5)  # the right edge of the link
    shown.tab.evaluate("document.getElementById('chain-on').click()")
    assert shown.colour(HERE, 9.5) != with_chain


def test_find_dims_other_tasks(shown: Shown) -> None:
    shown.tab.evaluate("const find = document.getElementById('find'); find.value = 'D/A.O gcc'; find.oninput()")
    assert shown.tab.texts("#found") == ["2 of 4 tasks"]  # the link names it, too
    assert shown.colour(E1, 3) == shown.named_colour("compile")
    assert shown.colour(E2, 3) not in ("", shown.named_colour("failed"))
    shown.tab.evaluate("find.value = ''; find.oninput()")
    assert shown.colour(E2, 3) == shown.named_colour("failed")


def test_tables_sort_and_lead_to_tasks(shown: Shown) -> None:
    section = (
        "[...document.querySelectorAll('#tables section')].find((each) => each.innerText.startsWith('The longest'))"
    )
    cells = f"[...{section}.querySelectorAll('tbody tr')].map((row) => row.cells[0].innerText)"
    assert shown.tab.evaluate(cells) == ["d/b.o", "d/a.o", "e/c.o", "prog"]
    for wanted in (["d/a.o", "d/b.o", "e/c.o", "prog"], ["prog", "e/c.o", "d/b.o", "d/a.o"]):
        shown.tab.evaluate(f"{section}.querySelector('th button').click()")
        assert shown.tab.evaluate(cells) == wanted
    waited = f"{section}.querySelectorAll('th button')[3].click()"
    shown.tab.evaluate(waited)
    assert shown.tab.evaluate(cells)[-1] == "prog"
    assert shown.tab.evaluate(f"{section}.querySelectorAll('th')[3].getAttribute('aria-sort')") == "descending"
    shown.tab.evaluate(f"{section}.querySelector('tbody button').click()")
    assert shown.tab.texts("#details .target")[0] in ("d/a.o", "d/b.o", "e/c.o")
    shown.tab.key("Escape")
    assert shown.tab.evaluate("document.getElementById('details').hidden")


def test_dark_and_light(shown: Shown) -> None:
    seen = []
    for mode in ("light", "dark"):
        shown.tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": mode}])
        shown.tab.wait_for(f"matchMedia('(prefers-color-scheme: {mode})').matches")
        shown.tab.wait_for(f"page.timeline.colours.compile === '{shown.named_colour('compile')}'")
        assert shown.colour(E1, 3) == shown.named_colour("compile")
        seen.append(
            (shown.named_colour("compile"), shown.tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        )
    assert seen[0][0] != seen[1][0]
    assert (seen[0][1], seen[1][1]) == ("rgb(255, 255, 255)", "rgb(18, 22, 27)")


def test_hostile_names_are_text(show: Show) -> None:
    shown = show(hostile())
    assert shown.tab.evaluate("document.querySelectorAll('script').length") == 2
    assert shown.tab.evaluate("document.querySelectorAll('img, iframe, link, object').length") == 0
    [command] = shown.tab.texts("h1")
    assert command == "</script><script>alert(1)</script>\"'`&amp;<!--\\x00\\x1b[31m\\u{202e}\\xff\\u{2028}@DATA@"
    shown.tab.click(*shown.place(1, 0.5))
    assert shown.tab.texts("#details .target") == [f"{command}/{command}"]
    shown.tab.mouse("mouseMoved", *shown.place(1, 0.6))
    assert shown.tab.texts("#tip .target") == [f"{command}/{command}"]
    assert HOSTILE not in shown.tab.evaluate("document.body.innerText")


def test_the_policy_holds(browser, tmp_path) -> None:
    """The page can load nothing and run nothing, whatever got into it."""
    from spraycc.ui.report import page

    path = tmp_path / "report.html"
    path.write_text(page(small()), encoding="utf-8")
    tab = browser.tab()
    tab.open(path)
    tab.wait_for("window.page?.timeline.drawn > 0")
    tab.evaluate(
        "window.told = []; addEventListener('securitypolicyviolation', (event) => told.push(event.effectiveDirective));"
        "const bad = document.createElement('script'); bad.textContent = 'window.ran = 1'; document.body.append(bad);"
        "const image = new Image(); image.src = 'http://127.0.0.1:9/x.png'; document.body.append(image);"
        "document.body.setAttribute('onclick', 'window.ran = 1'); document.body.click()"
    )
    assert tab.evaluate("fetch('http://127.0.0.1:9/').then(() => 'loaded', () => 'blocked')") == "blocked"
    tab.wait_for("told.length >= 4")
    assert set(tab.evaluate("told")) == {"script-src-elem", "script-src-attr", "img-src", "connect-src"}
    assert tab.evaluate("window.ran") is None
    assert tab.requests() == [path.as_uri()]
    tab.close()


def test_a_build_without_tasks(show: Show) -> None:
    shown = show(Record({"record": 2, "argv": "make"}, [], {}, [], {"ended": 0.4, "wall_s": 0.4, "status": 0}))
    assert shown.tab.texts("#findings li") == ["No task in 0.40 s: the build had nothing to compile."]


def test_a_record_of_an_older_release(show: Show) -> None:
    task = Task("a.o", argv="gcc -c a.c", ran="remote", reason="compile", executor="e1", s=2.5, status=0)
    shown = show(Record({"argv": "make"}, [task], {}, [], {}))
    assert shown.tab.texts("#findings li")[0].startswith("An older SprayCC wrote this record.")
    shown.tab.evaluate("page.pick(0, true)")
    assert shown.tab.texts("#details .target") == ["a.o"]


def test_a_browser_that_can_not_unpack_is_told(browser, tmp_path) -> None:
    from spraycc.ui.report import page

    path = tmp_path / "report.html"
    path.write_text(page(small()), encoding="utf-8")
    tab = browser.tab()
    tab.call("Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream")
    tab.open(path)
    tab.wait_for("!document.getElementById('trouble').hidden")
    assert tab.texts("#trouble")[0].startswith("The report can't be shown: This browser is too old")
    tab.close()


@pytest.mark.slow
def test_20_000_tasks(show: Show, tmp_path) -> None:
    """All of them are drawn, and each is below the pointer."""
    record = record_of(tmp_path / "state", 20_000, 400, status=2)
    shown = show(record)
    assert shown.tab.texts(".tile b")[1] == "20,000"
    assert shown.tab.evaluate("page.report.runs.task.length") == sum(
        len(t.runs) + (t.here is not None) for t in record.tasks
    )
    lanes = shown.tab.evaluate("page.report.laneCount")
    assert lanes == 401
    # A failed task is red in the whole build, where each bar is a few pixels wide.
    failed = next(index for index, task in enumerate(record.tasks) if task.has_failed)
    run = shown.tab.evaluate(f"page.report.lastRun({failed})")
    lane, begin, end = shown.tab.evaluate(f"['lane', 'begin', 'end'].map((key) => page.report.runs[key][{run}])")
    shown.tab.evaluate(f"page.pick({failed}, true); page.pick(-1)")
    assert shown.colour(lane, (begin + end) / 2) == shown.named_colour("failed")
    shown.tab.click(*shown.place(lane, (begin + end) / 2))
    assert shown.tab.texts("#details .target") == [record.tasks[failed].target]
    # Each bar is found at its middle.
    shown.tab.evaluate("page.timeline.whole()")
    missed = shown.tab.evaluate(
        "(() => { const plot = page.timeline, runs = page.report.runs; let missed = 0;"
        "for (let run = 0; run < runs.task.length; run += 7) {"
        "const middle = (runs.begin[run] + runs.end[run]) / 2; plot.from = middle - 1; plot.to = middle + 1;"
        "const y = (runs.lane[run] + 0.5) * plot.height - plot.scroller.scrollTop;"
        "if (plot.runAt(plot.x(middle), y) !== run) missed++; } return missed; })()"
    )
    assert missed == 0
