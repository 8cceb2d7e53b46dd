"""The table of stamps stays true while files change on the submit host.

The clock stands still in these tests, so an entry becomes stale only because an event reports a change.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spraycc import stamps
from spraycc.server.coherence import tracker as tracker_module
from spraycc.server.coherence.tracker import WALKS_S, Tracker
from spraycc.server.coherence.view import FRESH_S, TableFullError, ids_of
from spraycc.server.coherence.watcher import EVERYTHING, Change, Watcher
from spraycc.stamps import MISSING, Lookup, Stamp
from tests.examples import examples

NOW = 1000.0


class CountedLook:
    """Records each examination of the disk."""

    def __init__(self) -> None:
        self.lookups: list[Lookup] = []

    def __call__(self, lookup: Lookup) -> Stamp:
        self.lookups.append(lookup)
        return stamps.look(lookup)


class Tree:
    """A directory on the disk, and a tracker of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.look = CountedLook()
        watcher = Watcher.open()
        assert watcher is not None
        self.watcher = watcher
        self.tracker = Tracker(watcher, look=self.look)

    def path(self, name: str) -> bytes:
        return os.fsencode(self.root) + b"/" + os.fsencode(name)

    def lookups(self, *names: str) -> list[Lookup]:
        """``"f:a/b"`` is the lookup of the file a/b."""
        return [name[:1].encode() + self.path(name[2:]) for name in names]

    def ask(self, *names: str, now: float = NOW) -> list[Stamp | None]:
        return self.ask_lookups(self.lookups(*names), now)

    def ask_lookups(self, lookups: list[Lookup], now: float = NOW) -> list[Stamp | None]:
        self.tracker.refresh(self.tracker.ids(lookups), now)
        view = self.tracker.view
        return [view.stamp_of(view.add(lookup)) for lookup in lookups]

    def is_true(self, *names: str, now: float = NOW) -> bool:
        return self.ask(*names, now=now) == [stamps.look(lookup) for lookup in self.lookups(*names)]

    def disk_reads(self, *names: str) -> list[str]:
        """Those of these lookups for which the tracker reads the disk now."""
        self.look.lookups.clear()
        self.ask(*names)
        return [name for name, lookup in zip(names, self.lookups(*names), strict=True) if lookup in self.look.lookups]


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "inc/deep").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "inc/a.h").write_text("a")
    (tmp_path / "inc/deep/b.h").write_text("b")
    (tmp_path / "src/c.c").write_text("c")
    made = Tree(tmp_path)
    yield made
    made.tracker.close()


ALL = ["f:inc/a.h", "f:inc/deep/b.h", "f:src/c.c", "f:src/a.h", "n:inc", "l:inc/a.h", "f:none/x.h", "n:none"]


def settle(tree: Tree, *names: str) -> None:
    """Afterwards each of these lookups is fresh."""
    tree.ask(*names)
    assert tree.disk_reads(*names) == []


def test_nothing_is_looked_at_twice(tree: Tree) -> None:
    assert tree.is_true(*ALL)
    assert tree.disk_reads(*ALL) == []
    assert tree.tracker.watched == len(ALL)


def test_an_old_entry_is_looked_at_again(tree: Tree) -> None:
    settle(tree, *ALL)
    tree.look.lookups.clear()
    tree.ask(*ALL, now=NOW + FRESH_S)
    assert len(tree.look.lookups) == len(ALL)


def test_a_change_concerns_its_own_file(tree: Tree) -> None:
    settle(tree, *ALL)
    (tree.root / "inc/a.h").write_text("longer")
    assert tree.disk_reads(*ALL) == ["f:inc/a.h", "l:inc/a.h"]
    assert tree.is_true(*ALL)


def test_a_new_name_concerns_who_missed_it_and_the_names_of_the_directory(tree: Tree) -> None:
    settle(tree, *ALL, "f:inc/new.h")
    (tree.root / "inc/new.h").write_text("new")
    assert tree.disk_reads(*ALL, "f:inc/new.h") == ["n:inc", "f:inc/new.h"]


def test_names_that_nobody_asked_for_concern_nobody_but_the_names_of_the_directory(tree: Tree) -> None:
    settle(tree, *ALL)
    for number in range(100):
        (tree.root / f"src/{number}.o").write_text("x")
    assert tree.disk_reads(*ALL) == []
    (tree.root / "inc/other").write_text("x")
    assert tree.disk_reads(*ALL) == ["n:inc"]


def test_a_missing_directory_is_made(tree: Tree) -> None:
    assert tree.ask("f:none/x.h", "n:none") == [MISSING, MISSING]
    (tree.root / "none").mkdir()
    assert tree.is_true("f:none/x.h", "n:none")
    (tree.root / "none/x.h").write_text("x")
    assert tree.is_true("f:none/x.h", "n:none")


def test_a_directory_is_renamed_and_another_put_in_its_place(tree: Tree) -> None:
    settle(tree, *ALL)
    shutil.copytree(tree.root / "inc", tree.root / "inc2")
    (tree.root / "inc").rename(tree.root / "inc3")
    (tree.root / "inc2").rename(tree.root / "inc")
    assert tree.is_true(*ALL)
    (tree.root / "inc/deep/b.h").write_text("other")
    assert tree.is_true(*ALL)
    assert tree.disk_reads(*ALL) == []


def test_a_directory_above_is_renamed_and_another_put_in_its_place(tree: Tree, tmp_path_factory) -> None:
    """The tracker also watches the directories above the tree."""
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(tree.root, other / "copy")
    settle(tree, *ALL)
    away = tree.root.with_name("away")
    tree.root.rename(away)
    (other / "copy").rename(tree.root)
    assert tree.is_true(*ALL)
    (tree.root / "inc/deep/b.h").write_text("other")
    assert tree.is_true(*ALL)
    shutil.rmtree(away)


def test_a_link_to_a_directory_leads_elsewhere(tree: Tree) -> None:
    (tree.root / "deep2").mkdir()
    (tree.root / "link").symlink_to("inc/deep")
    settle(tree, "f:link/b.h", "l:link", "n:link")
    (tree.root / "link2").symlink_to("deep2")
    (tree.root / "link2").rename(tree.root / "link")
    assert tree.ask("f:link/b.h") == [MISSING]
    assert tree.is_true("f:link/b.h", "l:link", "n:link")
    (tree.root / "deep2/b.h").write_text("x")
    assert tree.is_true("f:link/b.h", "l:link", "n:link")


@pytest.mark.parametrize("middle", ["one", "two", "three"])
def test_a_link_in_a_chain_leads_elsewhere(tree: Tree, middle: str) -> None:
    (tree.root / "v1").mkdir()
    (tree.root / "v2").mkdir()
    (tree.root / "v1/x.h").write_text("1")
    (tree.root / "v2/x.h").write_text("22")
    (tree.root / "one").symlink_to("src/../two")
    (tree.root / "two").symlink_to(tree.root / "three")
    (tree.root / "three").symlink_to("v1")
    settle(tree, "f:one/x.h", "n:one")
    (tree.root / "new").symlink_to("v2")
    (tree.root / "new").rename(tree.root / middle)
    assert tree.ask("f:one/x.h") == [stamps.look(b"f" + tree.path("v2/x.h"))]
    assert tree.is_true("f:one/x.h", "n:one")


def test_a_linked_header_changes_where_it_is(tree: Tree) -> None:
    (tree.root / "src/a.h").symlink_to("../inc/a.h")
    (tree.root / "src/aa.h").symlink_to("a.h")
    (tree.root / "src/lost.h").symlink_to("../inc/lost.h")
    settle(tree, "f:src/aa.h", "l:src/aa.h", "f:src/lost.h", "f:src/c.c")
    (tree.root / "inc/a.h").write_text("longer")
    (tree.root / "inc/lost.h").write_text("found")
    assert tree.disk_reads("f:src/aa.h", "l:src/aa.h", "f:src/lost.h", "f:src/c.c") == ["f:src/aa.h", "f:src/lost.h"]
    assert tree.is_true("f:src/aa.h", "l:src/aa.h", "f:src/lost.h")
    (tree.root / "src/a.h").unlink()
    assert tree.ask("f:src/aa.h") == [MISSING]


@pytest.mark.parametrize(
    "name", ["f:inc/deep/../a.h", "f:inc/./a.h", "f:inc//a.h", "f:/inc/a.h", "n:inc/deep/..", "n:inc/"]
)
def test_paths_are_taken_as_they_are_written(tree: Tree, name: str) -> None:
    settle(tree, name)
    (tree.root / "inc/a.h").unlink()
    assert tree.is_true(name)


def test_odd_paths(tree: Tree) -> None:
    (tree.root / "loop").symlink_to("loop2")
    (tree.root / "loop2").symlink_to("loop")
    odd = [
        "f:loop",
        "f:loop/x",
        "l:loop",
        "n:src/c.c",
        "f:src/c.c/x",
        "f:src/c.c/",
        "f:" + "x" * 300,
        "f:" + "x/" * 1500,
    ]
    assert tree.is_true(*odd)
    (tree.root / "src/c.c").unlink()
    (tree.root / "src/c.c").mkdir()
    (tree.root / "loop2").unlink()
    (tree.root / "loop2").mkdir()
    assert tree.is_true(*odd)
    (tree.root / "src/c.c/x").write_text("x")
    (tree.root / "loop/x").write_text("x")
    assert tree.is_true(*odd)


def test_the_root_directory(tree: Tree) -> None:
    lookups = [b"f/", b"n/", b"l/", b"n/..", b"f//"]
    assert tree.ask_lookups(lookups) == [stamps.look(lookup) for lookup in lookups]


def test_a_path_that_is_not_absolute_is_never_fresh(tree: Tree) -> None:
    tree.ask_lookups([b"fsrc/c.c"])
    tree.look.lookups.clear()
    tree.ask_lookups([b"fsrc/c.c"])
    assert tree.look.lookups == [b"fsrc/c.c"]


def test_a_change_that_an_event_told_of_is_read_once(tree: Tree) -> None:
    settle(tree, *ALL)
    (tree.root / "inc/new.h").touch()
    assert tree.disk_reads("n:inc") == ["n:inc"]
    assert tree.disk_reads("n:inc") == []


def test_all_is_looked_at_again_on_demand(tree: Tree) -> None:
    settle(tree, *ALL)
    assert tree.disk_reads(*ALL) == []
    tree.tracker.forget_all()
    assert tree.disk_reads(*ALL) == ALL


def test_permissions_of_a_directory_decide_about_what_is_in_it(tree: Tree) -> None:
    settle(tree, *ALL)
    (tree.root / "inc").chmod(0)
    assert tree.disk_reads(*ALL) == ALL
    assert tree.is_true(*ALL)
    (tree.root / "inc").chmod(0o755)
    assert tree.is_true(*ALL)


def test_a_file_with_two_links_is_never_fresh(tree: Tree) -> None:
    os.link(tree.root / "src/c.c", tree.root / "other")
    tree.ask("f:src/c.c")
    (tree.root / "other").write_text("longer")
    assert tree.is_true("f:src/c.c")
    assert tree.disk_reads("f:src/c.c") == ["f:src/c.c"]


def test_a_file_that_changes_in_silence_is_walked_to_again(tree: Tree) -> None:
    """No event reports a second link in a directory that is not watched. The age of the entry makes the server read it again."""
    settle(tree, "f:src/c.c")
    (tree.root / "elsewhere").mkdir()
    os.link(tree.root / "src/c.c", tree.root / "elsewhere/c.c")
    tree.ask("f:src/c.c", now=NOW + FRESH_S)
    tree.ask("f:src/c.c", now=NOW + FRESH_S)
    (tree.root / "elsewhere/c.c").write_text("longer")
    tree.ask("f:src/c.c", now=NOW + FRESH_S)
    assert tree.ask("f:src/c.c", now=NOW + FRESH_S) == [stamps.look(b"f" + tree.path("src/c.c"))]


def test_a_directory_that_cannot_be_watched_is_looked_at_each_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = tree.watcher.watch
    monkeypatch.setattr(tree.watcher, "watch", lambda path: not path.endswith(b"/inc") and watch(path))
    settle(tree, "f:src/c.c")
    names = ["f:src/c.c", "f:inc/a.h", "f:inc/deep/b.h", "l:inc", "n:inc"]
    tree.ask(*names)
    assert tree.disk_reads(*names) == ["f:inc/a.h", "f:inc/deep/b.h", "n:inc"]
    (tree.root / "inc/a.h").write_text("longer")
    assert tree.is_true(*names)


def test_a_directory_that_cannot_be_read_is_looked_at_each_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = os.lstat

    def failing(path: bytes) -> os.stat_result:
        if path.endswith(b"/inc"):
            raise OSError(errno.EIO, "input/output error")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", failing)
    tree.ask("f:inc/a.h", "f:src/c.c")
    assert tree.disk_reads("f:inc/a.h", "f:src/c.c") == ["f:inc/a.h"]


def test_without_inotify_nothing_is_fresh(tree: Tree) -> None:
    look = CountedLook()
    tracker = Tracker(None, look=look)
    ids = tracker.ids(tree.lookups(*ALL))
    for _ in range(2):
        look.lookups.clear()
        tracker.refresh(ids, NOW)
        assert look.lookups == tree.lookups(*ALL)
    assert tracker.pump() == 0
    tracker.close()


def test_lost_events_make_everything_stale(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(tree, *ALL)
    monkeypatch.setattr(tree.watcher, "events", lambda: [EVERYTHING])
    assert tree.disk_reads(*ALL) == ALL


def test_an_unmounted_directory_has_all_walks_made_anew(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of the mount point gets no event."""
    settle(tree, *ALL)
    monkeypatch.setattr(tree.watcher, "events", lambda: [Change(tree.path("inc"), gone=True)])
    tree.tracker.pump()
    assert tree.tracker.watched == 0
    assert tree.disk_reads(*ALL) == ALL


def test_walks_are_made_anew_from_time_to_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another host changes a link: there is no event."""
    (tree.root / "link").symlink_to("src")
    settle(tree, "f:link/c.c")
    events = tree.watcher.events
    with monkeypatch.context() as patch:
        patch.setattr(tree.watcher, "events", lambda: events() and [])
        (tree.root / "new").symlink_to("inc")
        (tree.root / "new").rename(tree.root / "link")
        tree.ask("f:link/c.c")
    later = NOW + WALKS_S
    assert tree.ask("f:link/c.c", now=later) == [MISSING]
    (tree.root / "inc/c.c").write_text("x")
    assert tree.ask("f:link/c.c", now=later) != [MISSING]


def test_watches_that_are_no_longer_used_make_room(tmp_path: Path) -> None:
    made = Tree(tmp_path)
    made.tracker.close()
    depth = len(tmp_path.parts)
    watcher = Watcher.open(limit=depth + 2)
    assert watcher is not None
    made.watcher, made.tracker = watcher, Tracker(watcher, look=made.look)
    for number in range(5):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}/x").write_text("x")
    made.ask("f:d0/x", "f:d1/x", "f:d2/x")
    assert made.disk_reads("f:d0/x", "f:d1/x", "f:d2/x") == ["f:d2/x"]
    made.ask("f:d2/x", now=NOW + WALKS_S)
    made.look.lookups.clear()
    made.ask("f:d2/x", now=NOW + WALKS_S)
    assert made.look.lookups == []
    made.tracker.close()


def test_a_full_table_is_replaced(tree: Tree) -> None:
    tracker = Tracker(tree.watcher, limit=3)
    a, b, c, d = tree.lookups("f:src/c.c", "f:inc/a.h", "f:src/none", "f:inc/none")
    reading = tracker.plan(tracker.ids([a, b, c]), NOW)
    assert reading is not None
    with pytest.raises(TableFullError):
        tracker.ids([d])
    tracker.read(reading)
    tracker.start_over()
    assert tracker.epoch == 1
    ids = tracker.ids([d])
    tracker.learn(reading)  # a reading of the old table: its id 0 is another lookup
    assert tracker.view.stamp_of(0) is None
    tracker.refresh(ids, NOW)
    assert tracker.view.stamp_of(0) == MISSING


class Interleaving:
    """Makes a change, and applies its events, between two system calls of a reading.

    It stands for a thread that reads while the event loop applies events. It can produce every order of the two.
    """

    def __init__(self, tree: Tree) -> None:
        self.calls_left = -1
        self._happening: Callable[[], object] = lambda: None
        self._tree = tree
        tracker = tree.tracker
        self._look, self._watch, self._status = tracker._look, tree.watcher.watch, tracker_module._status
        tracker._look = self._look_later
        setattr(tree.watcher, "watch", self._watch_later)  # noqa: B010
        setattr(tracker_module, "_status", self._status_later)  # noqa: B010

    def end(self) -> None:
        setattr(tracker_module, "_status", self._status)  # noqa: B010

    def at_call(self, number: int, happening: Callable[[], object]) -> None:
        self.calls_left, self._happening = number, happening

    def _count(self) -> None:
        self.calls_left -= 1
        if self.calls_left == -1:
            self._happening()
            self._tree.tracker.pump()

    def _look_later(self, lookup: Lookup) -> Stamp:
        self._count()
        stamp = self._look(lookup)
        self._count()
        return stamp

    def _watch_later(self, directory: bytes) -> bool:
        self._count()
        done = self._watch(directory)
        self._count()
        return done

    def _status_later(self, path: bytes) -> os.stat_result | None:
        self._count()
        status = self._status(path)
        self._count()
        return status


@pytest.mark.parametrize("name", ["f:inc/a.h", "f:inc/deep/b.h", "n:inc", "f:none/x", "f:link/a.h", "f:src/ln"])
@pytest.mark.parametrize("known", [True, False])
def test_a_change_during_a_reading_is_not_lost(tree: Tree, name: str, known: bool) -> None:
    (tree.root / "link").symlink_to("inc")
    (tree.root / "src/ln").symlink_to("../inc/a.h")
    count = itertools.count(1)

    def replace() -> None:
        (tree.root / "inc").rename(tree.root / f"away{next(count)}")
        (tree.root / "inc/deep").mkdir(parents=True)
        edit()

    def edit() -> None:
        (tree.root / "inc/a.h").write_text("x" * next(count))
        (tree.root / "src/ln").unlink()
        (tree.root / "src/ln").symlink_to("c.c" if next(count) % 2 else "../inc/a.h")
        (tree.root / "none").mkdir(exist_ok=True)

    interleaving = Interleaving(tree)
    try:
        for happening in (edit, replace):
            for number in itertools.count():
                if known:
                    tree.ask(name, "f:src/c.c")
                else:
                    tree.tracker.forget_all()
                interleaving.at_call(number, happening)
                tree.ask(name, "f:src/c.c", now=NOW + 2 * FRESH_S)
                reached = interleaving.calls_left < 0
                interleaving.calls_left = -1
                assert tree.is_true(name, "f:src/c.c", now=NOW + 2 * FRESH_S), number
                (tree.root / "src/c.c").write_text("x" * next(count))
                (tree.root / "inc/a.h").write_text("x" * next(count))
                assert tree.is_true(name, "f:src/c.c", now=NOW + 2 * FRESH_S), number
                if not reached:
                    break
    finally:
        interleaving.end()


def test_threads_read_while_files_change(tree: Tree) -> None:
    names = [f"f:inc/{number}.h" for number in range(20)] + ["n:inc", "f:link/1.h"]
    tracker = tree.tracker
    ids = tracker.ids(tree.lookups(*names))
    with ThreadPoolExecutor(3) as pool:
        for turn in range(40):
            tracker.view.forget_ids(ids_of(ids)[turn % 7 :: 2])
            readings = [reading for now in (NOW, NOW + turn) if (reading := tracker.plan(ids, now))]
            futures = [pool.submit(tracker.read, reading) for reading in readings]
            (tree.root / f"inc/{turn % 20}.h").write_text("x" * turn)
            (tree.root / "new").symlink_to("inc" if turn % 2 else "src")
            (tree.root / "new").rename(tree.root / "link")
            tracker.pump()
            for future, reading in zip(futures, readings, strict=True):
                future.result(60)
                tracker.learn(reading)
            assert tree.is_true(*names, now=NOW + turn)


# There are few names, so that random edits affect random queries.
NAMES = ["a", "b", "c"]
PATHS = [
    *NAMES,
    *(f"{one}/{two}" for one in NAMES for two in NAMES),
    *(f"{one}/{two}/a" for one in NAMES for two in NAMES),
    "a/../b",
    "a/b/../../c/a",
    "b/./a",
    "c/",
]
TARGETS = ["a", "b", "c", "../a", "../b", "../c", "a/b", "../b/a", "b/..", "ROOT/a", "ROOT/c/b", "none", "."]
paths = st.sampled_from(PATHS)


class RandomEdits(RuleBasedStateMachine):
    """Random edits between random queries: each stamp that the tracker gives equals the one on the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(prefix="tracker-"))
        (self.top / "tree/a").mkdir(parents=True)
        (self.top / "tree/b").mkdir()
        self.tree = Tree(self.top / "tree")
        self.interleaving = Interleaving(self.tree)
        self.count = 0

    def teardown(self) -> None:
        self.interleaving.end()
        self.tree.tracker.close()
        shutil.rmtree(self.top)

    def at(self, path: str) -> str:
        return f"{self.tree.root}/{path}"

    def new(self) -> str:
        """A new file outside the tree, longer than all before, as the clock for file times ticks only every few milliseconds."""
        self.count += 1
        path = self.top / f"new{self.count}"
        path.write_text("x" * self.count)
        return str(path)

    @rule(queries=st.lists(st.tuples(st.sampled_from("fnl"), paths), min_size=1, max_size=8))
    def ask(self, queries: list[tuple[str, str]]) -> None:
        names = [f"{kind}:{path}" for kind, path in queries]
        lookups = self.tree.lookups(*names)
        expected = [stamps.describe(stamps.look(lookup)) for lookup in lookups]
        found = self.tree.ask(*names)
        assert [stamps.describe(stamp or b"") for stamp in found] == expected
        assert found == [stamps.look(lookup) for lookup in lookups]

    @rule(
        queries=st.lists(st.tuples(st.sampled_from("fnl"), paths), min_size=1, max_size=3),
        number=st.integers(0, 30),
        edit=st.sampled_from(["replace", "edit", "delete", "make_directory", "delete_tree", "rename", "retarget"]),
        path=paths,
        other=st.sampled_from(TARGETS),
    )
    def ask_while_something_happens(
        self, queries: list[tuple[str, str]], number: int, edit: str, path: str, other: str
    ) -> None:
        more = {"to": other} if edit in ("rename", "retarget") else {}
        self.interleaving.at_call(number, lambda: getattr(self, edit)(path, **more))
        self.tree.ask(*[f"{kind}:{name}" for kind, name in queries])
        self.interleaving.calls_left = -1
        self.ask(queries)

    @rule()
    def pump(self) -> None:
        self.tree.tracker.pump()

    @rule(path=paths)
    def replace(self, path: str) -> None:
        quietly(os.rename, self.new(), self.at(path))

    @rule(path=paths)
    def edit(self, path: str) -> None:
        quietly(self._append, path)

    def _append(self, path: str) -> None:
        with open(self.at(path), "a") as file:
            file.write("x")

    @rule(path=paths)
    def delete(self, path: str) -> None:
        quietly(os.unlink, self.at(path))

    @rule(path=paths)
    def make_directory(self, path: str) -> None:
        quietly(os.mkdir, self.at(path))

    @rule(path=paths)
    def delete_tree(self, path: str) -> None:
        if os.path.isdir(self.at(path)) and not path.endswith("/"):
            shutil.rmtree(self.at(path), ignore_errors=True)

    @rule(path=paths, to=paths)
    def rename(self, path: str, to: str) -> None:
        quietly(os.rename, self.at(path), self.at(to))

    @rule(path=paths, to=st.sampled_from(TARGETS))
    def link(self, path: str, to: str) -> None:
        quietly(os.symlink, to.replace("ROOT", str(self.tree.root)), self.at(path))

    @rule(path=paths, to=st.sampled_from(TARGETS))
    def retarget(self, path: str, to: str) -> None:
        self.count += 1
        new = f"{self.top}/link{self.count}"
        os.symlink(to.replace("ROOT", str(self.tree.root)), new)
        quietly(os.rename, new, self.at(path))

    @rule(path=paths, mode=st.sampled_from([0o755, 0o750]))
    def chmod(self, path: str, mode: int) -> None:
        quietly(os.chmod, self.at(path), mode)

    @rule(path=paths)
    def touch(self, path: str) -> None:
        self.count += 1
        quietly(os.utime, self.at(path), (self.count, self.count))

    @rule()
    def put_another_tree_in_its_place(self) -> None:
        self.count += 1
        away = self.top / f"away{self.count}"
        self.tree.root.rename(away)
        shutil.copytree(away, self.tree.root, symlinks=True)

    @invariant()
    def the_watches_are_few(self) -> None:
        assert len(self.tree.watcher) < 100


def quietly(function, *arguments: object) -> None:
    """Make the edit if it is possible in this tree."""
    with contextlib.suppress(OSError):
        function(*arguments)


TestRandomEdits = RandomEdits.TestCase
TestRandomEdits.settings = settings(max_examples=examples(150), stateful_step_count=50)
