"""The history's file: damage and limits. In tests/system/host several servers write it at once."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from spraycc.history import store
from spraycc.history.estimates import Entry
from spraycc.history.store import HistoryError, Store, target_name

ENTRY = Entry(1.5, 0.25, 1000, 3, 100)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / store.FILE_NAME


@pytest.fixture
def one(path, warnings):
    return Store(path, b"/w/one", warnings.append)


def key(number):
    return "compile", b"d/%d.o" % number


def test_what_is_saved_is_loaded(one, path):
    assert one.load() == (0, [])
    assert one.save([(key(1), ENTRY), (("link", b"\xff"), ENTRY)], 0) == 0
    assert sorted(one.load()[1]) == [(key(1), ENTRY), (("link", b"\xff"), ENTRY)]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [store.FILE_NAME]  # no log beside it


def test_workspaces_do_not_mix(one, path, warnings):
    other = Store(path, b"/w/other", warnings.append)
    one.save([(key(1), ENTRY)], 0)
    assert other.load() == (0, [])
    other.save([(key(1), Entry(9.0, 0.0, 0, 1, 1))], 0)
    assert one.load() == (0, [(key(1), ENTRY)])
    assert other.clear() == 1
    assert one.load() == (0, [(key(1), ENTRY)])


def test_a_server_that_has_loaded_before_a_clear_writes_nothing_of_it(one, path, warnings):
    one.save([(key(1), ENTRY)], 0)
    server = Store(path, b"/w/one", warnings.append)
    cleared, _ = server.load()
    assert one.clear() == 1
    assert server.save([(key(1), ENTRY)], cleared) == 1
    assert one.load() == (1, [])
    assert server.save([(key(2), ENTRY)], 1) == 1
    assert one.load() == (1, [(key(2), ENTRY)])


@pytest.mark.parametrize("damage", ["text", "middle", "cut"])
def test_a_damaged_file_is_set_aside(one, path, warnings, damage):
    one.save([(key(number), ENTRY) for number in range(2000)], 0)
    data = path.read_bytes()
    if damage == "text":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "middle":
        path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    else:
        path.write_bytes(data[: len(data) // 3])
    damaged = path.read_bytes()
    for _ in range(2):  # damage may show only when that part is read
        one.load()
        one.save([(key(1), ENTRY)], 0)
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert path.with_name(path.name + ".damaged").read_bytes()[:4000] == damaged[:4000]
    assert one.load() == (0, [(key(1), ENTRY)])


@pytest.mark.parametrize("row", [("compile", "text", 1, 1, 1, 1, 1), (b"k", b"n", 1, 1, 1, 1, 1), ("k", b"n", "x", 1, 1, 1, 1),
                                 ("k", b"n", -1, 1, 1, 1, 1), ("k", b"n", 9e999, 1, 1, 1, 1), ("k", b"n", 1, 1, -5, 1, 1)])  # fmt: skip
def test_rows_that_make_no_sense_are_passed_over(one, path, row):
    one.save([(key(1), ENTRY)], 0)
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO target VALUES (1, ?, ?, ?, ?, ?, ?, ?)", row)
    db.close()
    assert one.load() == (0, [(key(1), ENTRY)])


def test_a_newer_files_layout_is_left_alone(one, path, warnings):
    one.save([(key(1), ENTRY)], 0)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="newer"):
        one.load()
    assert path.read_bytes() == before
    assert warnings == []


def test_one_that_is_locked_is_given_up_in_time(one, path, monkeypatch):
    one.save([(key(1), ENTRY)], 0)
    monkeypatch.setattr(store, "BUSY_S", 0.0)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryError, match="locked"):
        one.load()
    db.close()
    assert one.load() == (0, [(key(1), ENTRY)])


def test_no_place_for_it(tmp_path, warnings):
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"file/history\.sqlite3: (Not a directory|File exists)"):
        Store(tmp_path / "file" / store.FILE_NAME, b"/w", warnings.append).load()


def test_a_link_is_not_followed(one, path, tmp_path):
    path.parent.mkdir()
    path.symlink_to(tmp_path / "victim")
    with pytest.raises(HistoryError):
        one.load()
    assert not (tmp_path / "victim").exists()


def test_it_is_bounded_in_rows(one, monkeypatch):
    monkeypatch.setattr(store, "MOST_ROWS", 1000)
    for batch in range(30):
        one.save([(key(batch * 100 + n), Entry(1.0, 0.1, 0, 1, batch * 100 + n)) for n in range(100)], 0)
        assert len(one.load()[1]) <= 1000
    seen = [entry.seen for _, entry in one.load()[1]]
    assert max(seen) == 2999  # the newest are kept
    assert min(seen) > 1500


def test_it_is_bounded_in_size(one, path, monkeypatch):
    monkeypatch.setattr(store, "MOST_BYTES", 200_000)
    for batch in range(40):
        one.save(
            [(("compile", b"%d" % n * 40), Entry(1.0, 0.1, 0, 1, n)) for n in range(batch * 100, batch * 100 + 100)], 0
        )
    assert path.stat().st_size < 2 * 200_000
    assert max(entry.seen for _, entry in one.load()[1]) == 3999


@pytest.mark.parametrize("size", [1, 240, 241, 5000])
def test_names_are_bounded_and_differ(size):
    name = b"x" * size
    assert len(target_name(name)) <= 240
    assert target_name(name + b"a") != target_name(name + b"b")


def test_an_unknown_directory_is_made_private(one, path):
    one.load()
    assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) == 0o700
