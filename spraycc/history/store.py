"""The history on disk: an SQLite file in the user's state directory, shared by all servers of the user on all hosts.

The file may lie on NFS, so SprayCC uses no write-ahead log, which needs shared memory. Each access opens the file, does
one transaction and closes the file. An access waits at most :data:`BUSY_S` for other processes.

A build never fails because of this file: after any error the build continues without a history. A damaged file is
renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from spraycc.errors import SprayccError
from spraycc.history.estimates import MOST_ENTRIES, Entry, Key

T = TypeVar("T")

#: Name of the file, in the user's state directory.
FILE_NAME = "history.sqlite3"
#: Longest wait for other processes that use the file. A thread waits, and the server's event loop goes on.
BUSY_S = 5.0
#: Limits for the targets of all workspaces, and for the file's size. Beyond either, the oldest quarter is forgotten.
MOST_ROWS = 200_000
MOST_BYTES = 64 * 1024 * 1024
#: Most bytes of a target in the file. A digest replaces the end of a longer target.
_LONGEST_TARGET = 240
#: Version of the schema below. The file has it as user_version.
_VERSION = 1
_SCHEMA = """
CREATE TABLE workspace (
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    -- how often the workspace was cleared: a server that has loaded its targets before must forget them
    cleared INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE target (
    workspace INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name BLOB NOT NULL,
    seconds REAL NOT NULL,
    deviation REAL NOT NULL,
    memory_bytes INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (workspace, kind, name)
) WITHOUT ROWID;
CREATE INDEX target_seen ON target (seen);
"""
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class HistoryError(SprayccError):
    """The file can't be used now; the text names the file and the cause."""


class Store:
    """One workspace's part of the file. Blocking; each method is one transaction.

    All methods raise HistoryError if the file can't be read or written. If the file is damaged, they rename it, make an
    empty file, and call ``warn`` with a text.
    """

    def __init__(self, path: Path, workspace: bytes, warn: Callable[[str], None]) -> None:
        self._path = path
        self._workspace = workspace
        self._warn = warn

    def load(self) -> tuple[int, list[tuple[Key, Entry]]]:
        """How often the workspace was cleared, and its targets, the most recent first."""

        def read(db: sqlite3.Connection) -> tuple[int, list[tuple[Key, Entry]]]:
            number, cleared = self._numbers(db)
            rows = db.execute(
                "SELECT kind, name, seconds, deviation, memory_bytes, runs, seen FROM target WHERE workspace = ? "
                "ORDER BY seen DESC LIMIT ?",
                (number, MOST_ENTRIES),
            )
            return cleared, list(_entries(rows))

        return self._do(read)

    def save(self, changes: Sequence[tuple[Key, Entry]], cleared: int) -> int:
        """Write the changes; returns how often the workspace was cleared.

        If that number is not ``cleared``, a user has cleared the workspace since the load, and nothing was written.
        """

        def write(db: sqlite3.Connection) -> int:
            number, now_cleared = self._numbers(db)
            if now_cleared != cleared:
                return now_cleared
            db.executemany(
                "INSERT OR REPLACE INTO target VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, kind, name, e.seconds, e.deviation, e.memory_bytes, e.runs, e.seen)
                    for (kind, name), e in changes
                ],
            )
            _bound(db)
            return now_cleared

        return self._do(write)

    def clear(self) -> int:
        """Forget all targets of the workspace; returns how many there were."""

        def delete(db: sqlite3.Connection) -> int:
            number, _ = self._numbers(db)
            db.execute("UPDATE workspace SET cleared = cleared + 1 WHERE id = ?", (number,))
            return db.execute("DELETE FROM target WHERE workspace = ?", (number,)).rowcount

        return self._do(delete)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        for is_last in (False, True):
            identity = self._identity()
            try:
                with self._transaction() as db:
                    return work(db)
            except sqlite3.Error as exc:
                code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
                if code not in _CORRUPT or is_last:
                    raise HistoryError(f"{self._path}: {exc}") from None
                self._set_aside(identity, str(exc))
            except OSError as exc:
                raise HistoryError(f"{self._path}: {exc.strerror}") from None
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Created by us, because SQLite would create the file with the umask's permissions.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        db = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            # Set although it is the default: a file that another program has switched to WAL would stay in WAL.
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA synchronous = NORMAL")
            page = db.execute("PRAGMA page_size").fetchone()[0]
            # A larger file is an error. The limit is far above the bound, so it should never be reached.
            db.execute(f"PRAGMA max_page_count = {2 * MOST_BYTES // page}")
            db.execute("BEGIN IMMEDIATE")
            try:
                self._prepare(db)
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        finally:
            db.close()

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise HistoryError(
                f"{self._path}: of a newer SprayCC (version {version} of its layout, this is {_VERSION})"
            )
        if version < _VERSION:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")

    def _numbers(self, db: sqlite3.Connection) -> tuple[int, int]:
        """The workspace's id, and how often it was cleared."""
        db.execute("INSERT OR IGNORE INTO workspace (path) VALUES (?)", (self._workspace,))
        row = db.execute("SELECT id, cleared FROM workspace WHERE path = ?", (self._workspace,)).fetchone()
        return int(row[0]), int(row[1])

    def _identity(self) -> int | None:
        try:
            return os.stat(self._path).st_ino
        except OSError:
            return None

    def _set_aside(self, identity: int | None, why: str) -> None:
        """Rename the damaged file, unless another server has replaced the file meanwhile."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        with contextlib.suppress(OSError):
            if self._identity() != identity:
                return
            # SQLite would play a journal that outlives its file into the next file.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._path}-journal")
            os.replace(self._path, aside)
            self._warn(f"the history of durations was damaged ({why}); the new one is empty; the old file is {aside}")


def target_name(name: bytes) -> bytes:
    """The name of a target in the file: a digest replaces the end of a long name."""
    if len(name) <= _LONGEST_TARGET:
        return name
    return name[: _LONGEST_TARGET - 34] + b"~" + hashlib.sha256(name).hexdigest()[:32].encode()


def _entries(rows: Iterator[Any] | sqlite3.Cursor) -> Iterator[tuple[Key, Entry]]:
    """The valid rows. SQLite's types are only hints, and another program may have written the file."""
    for kind, name, seconds, deviation, memory_bytes, runs, seen in rows:
        try:
            entry = Entry(float(seconds), float(deviation), int(memory_bytes), int(runs), int(seen))
        except (TypeError, ValueError, OverflowError):
            continue
        makes_sense = (
            math.isfinite(entry.seconds + entry.deviation)
            and min(entry.seconds, entry.deviation, entry.memory_bytes) >= 0
        )
        if makes_sense and isinstance(kind, str) and isinstance(name, bytes):
            yield (kind, name), entry


def _bound(db: sqlite3.Connection) -> None:
    """Forget the oldest quarter if a limit is exceeded. SQLite uses its pages again, so the file keeps its size."""
    count = db.execute("SELECT count(*) FROM target").fetchone()[0]
    pages = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")]
    if count > MOST_ROWS or (pages[0] - pages[1]) * pages[2] > MOST_BYTES:
        db.execute(
            "DELETE FROM target WHERE seen <= (SELECT seen FROM target ORDER BY seen LIMIT 1 OFFSET ?)", (count // 4,)
        )
        db.execute("DELETE FROM workspace WHERE id NOT IN (SELECT DISTINCT workspace FROM target) AND cleared = 0")
