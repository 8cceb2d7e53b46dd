"""``spraycc report`` on real builds: the page's content, and the file that it writes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.harness.browser import Browser
from tests.system.harness.projects import c_project
from tests.system.harness.sandbox import Account, Finished, Sandbox
from tests.system.harness.waiting import HANG_S
from tests.system.report.conftest import Shown

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def built() -> Iterator[Sandbox]:
    """A workspace with two builds: six objects and a link, then one object and the link again."""
    sandbox = Sandbox(Account.unprivileged())
    sandbox.write(c_project(5))
    sandbox.build("make", "-j4").ok()
    (sandbox.workspace / "u3.c").write_text("int f3(int x) { return x + 3; }\n")
    sandbox.build("make", "-j4").ok()
    yield sandbox
    sandbox.close()


def report(built: Sandbox, *words: str, cwd: Path | None = None) -> Finished:
    return built.run(built.bin / "spraycc", "report", *words, cwd=cwd)


@pytest.fixture
def out(built: Sandbox) -> Iterator[Path]:
    """An empty directory of the user, outside the workspace."""
    directory = built.aside / "out"
    directory.mkdir()
    built.give(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.needs("chromium")
def test_a_real_build_in_a_browser(built: Sandbox, out: Path, browser: Browser) -> None:
    report(built, "2", "-o", str(out / "page.html")).ok()
    shown = Shown(browser.tab(), out / "page.html")
    shown.tab.open(shown.path)
    shown.draw()
    assert shown.tab.texts("h1") == ["make -j4"]
    assert shown.tab.texts(".tile b")[1] == "7"
    targets = [f"u{i}.o" for i in range(1, 6)] + ["main.o", "prog"]
    assert sorted(
        shown.tab.evaluate("page.report.tasks.target.map((_, task) => page.report.targetOf(task))")
    ) == sorted(targets)
    # The link comes last and waited for an object.
    assert shown.tab.evaluate("page.report.targetOf(page.report.chain.at(-1))") == "prog"
    assert shown.tab.evaluate("page.report.chain.length") >= 2
    # Each task has a bar where its run is.
    assert shown.tab.evaluate("page.report.runs.task.length") >= 7
    run = shown.tab.evaluate("page.report.lastRun(page.report.chain.at(-1))")
    lane, begin, end = shown.tab.evaluate(f"['lane', 'begin', 'end'].map((key) => page.report.runs[key][{run}])")
    shown.tab.evaluate("document.getElementById('chain-on').click()")
    assert shown.colour(lane, (begin + end) / 2) == shown.named_colour("link")
    shown.tab.click(*shown.place(lane, (begin + end) / 2))
    assert "gcc -o prog" in shown.tab.texts("#details .command")[0]
    assert shown.tab.complaints() == []
    assert shown.tab.requests() == [shown.path.as_uri()]
    shown.tab.close()


def test_the_default_file_is_in_the_working_directory(built: Sandbox) -> None:
    for _ in range(2):  # the second replaces the first
        [line] = report(built).ok().own_lines()
        page = built.workspace / "report.html"
        size = rf"{page.stat().st_size / 1000:.1f} kB"
        assert line == f"spraycc: report.html: 2 tasks of build 1, {size}. Open it in a browser: {page.as_uri()}"
        assert page.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in built.workspace.iterdir() if "report" in path.name] == ["report.html"]
    page.unlink()


def test_a_foreign_file_stays(built: Sandbox, out: Path) -> None:
    mine = out / "mine.html"
    mine.write_text("<html>mine</html>")
    built.give(out)
    done = report(built, "-o", str(mine))
    assert done.status == 1
    assert done.own_lines() == [
        f"spraycc: error: {mine} exists and is no report of SprayCC. Name another file with -o, or give --force"
    ]
    assert mine.read_text() == "<html>mine</html>"
    report(built, "-f", "-o", str(mine)).ok()
    assert mine.read_text().startswith("<!doctype html>")


def test_an_empty_file_is_replaced_and_keeps_its_mode(built: Sandbox, out: Path) -> None:
    empty = out / "empty.html"
    empty.touch()
    empty.chmod(0o640)
    built.give(out)
    report(built, "-o", str(empty)).ok()
    assert empty.stat().st_size > 1000
    assert empty.stat().st_mode & 0o777 == 0o640


def test_a_symbolic_link_stays_one(built: Sandbox, out: Path) -> None:
    (out / "link.html").symlink_to("target.html")
    report(built, "-o", str(out / "link.html")).ok()
    assert (out / "link.html").is_symlink()
    assert (out / "target.html").read_text().startswith("<!doctype html>")


def test_a_file_that_can_not_be_written(built: Sandbox, out: Path) -> None:
    for name, cause in (
        (out, "Is a directory"),
        (out / "none" / "page.html", "No such file or directory"),
        ("/proc/page.html", ""),
    ):
        done = report(built, "-o", str(name))
        assert done.status == 1
        [line] = done.own_lines()
        assert line.startswith(f"spraycc: error: {name}: {cause}")
        assert line.endswith(". Name another file with -o")
    assert list(out.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_leaves_the_older_page(built: Sandbox, out: Path) -> None:
    page = out / "page.html"
    report(built, "-o", str(page)).ok()
    before = page.read_bytes()
    limited = f"ulimit -f 1; trap '' XFSZ; exec {shlex.quote(str(built.bin / 'spraycc'))} report 2 -o {shlex.quote(str(page))}"
    done = built.run("/bin/sh", "-c", limited)
    assert done.status == 1
    assert "File too large" in done.own_lines()[0]
    assert page.read_bytes() == before
    assert list(out.iterdir()) == [page]
    assert report(built, "-o", "/dev/full").own_lines() == [
        "spraycc: error: /dev/full: No space left on device. Name another file with -o"
    ]


def test_standard_output(built: Sandbox) -> None:
    done = report(built, "-o", "-").ok()
    assert done.err == b""
    assert done.out.startswith(b"<!doctype html>")
    assert done.out.endswith(b"</html>\n")


def test_a_reader_that_has_gone(built: Sandbox) -> None:
    read, write = os.pipe()
    os.close(read)
    with built.start([built.bin / "spraycc", "report", "-o", "-"], stdout=write, stderr=subprocess.PIPE) as process:
        os.close(write)
        _, err = process.communicate(timeout=HANG_S)
    assert (process.returncode, err) == (1, b"")


@pytest.mark.parametrize(
    "words",
    ["report -o -", "trace -o -", "why", "why --all", "why --json", "builds", "builds --json", "config show", "--help",
     "completion bash", "doctor"],
)  # fmt: skip
def test_standard_output_that_takes_nothing(built: Sandbox, words: str) -> None:
    program = f"{shlex.quote(str(built.bin / 'spraycc'))} {words}"
    full = built.run("/bin/sh", "-c", f"exec {program} >/dev/full")
    assert (full.status, full.own_lines()[-1]) == (1, "spraycc: error: standard output: No space left on device")
    closed = built.run("/bin/sh", "-c", f"exec {program} >&-")
    assert (closed.status, closed.own_lines()[-1]) == (1, "spraycc: error: standard output: it is closed")
    for done in (full, closed):
        assert b"Traceback" not in done.err
        assert b"Exception ignored" not in done.err


@pytest.mark.parametrize("command", ["report", "trace"])
def test_an_output_by_the_name_of_a_pipe(built: Sandbox, command: str) -> None:
    program = f"{shlex.quote(str(built.bin / 'spraycc'))} {command} -o /dev/stdout"
    assert len(built.run("/bin/sh", "-c", f"{program} | cat").ok().out) > 1000
    assert len(built.run("/bin/sh", "-c", f"{program} | head -c 10").ok().out) == 10
    unnamed = built.run(built.bin / "spraycc", command, "-o", "")
    assert (unnamed.status, unnamed.own_lines()) == (
        2, ['spraycc: error: -o needs the name of a file; "-" is standard output'],
    )  # fmt: skip


def test_the_build_before_is_in_the_page(built: Sandbox) -> None:
    text = report(built, "-o", "-").ok().out.decode()
    from tests.pure.ui.test_report import unpacked

    found = unpacked(text)
    assert "The build before, and this one" in [table["title"] for table in found["tables"]]
    assert re.search(r"The build before took .* with 7 tasks", str(found["findings"]))


def test_an_unknown_build(built: Sandbox, out: Path) -> None:
    done = report(built, "99", "-o", str(out / "page.html"))
    assert done.status == 1
    assert done.own_lines()[0].startswith("spraycc: error: no build '99'")
    assert list(out.iterdir()) == []


def test_a_workspace_without_builds(built: Sandbox, out: Path) -> None:
    (out / ".spraycc.toml").touch()
    built.give(out)
    done = report(built, cwd=out)
    assert done.status == 1
    assert done.own_lines() == [f"spraycc: no build was recorded for {out} on this host"]


def test_a_fifo_gets_the_page(built: Sandbox, out: Path) -> None:
    fifo = out / "fifo"
    os.mkfifo(fifo)
    built.give(out)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        report(built, "-o", str(fifo)).ok()
        text, _ = reader.communicate(timeout=HANG_S)
    assert text.startswith(b"<!doctype html>")
    assert fifo.is_fifo()
