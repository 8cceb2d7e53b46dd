"""Runs a line twice in equal trees, plainly and through the real server and executor, and compares the results.

One build stays open for many lines: only the first line waits for the start of the server and the executors.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.system.harness.sandbox import Finished, Sandbox
from tests.system.harness.waiting import HANG_S, wait_until

#: The time of every file and directory before a line runs: some formats store the times of their input.
THEN_NS = 1_600_000_000_000_000_000
#: The names that mkstemp gives to a compiler's temporary files; they differ in any two runs.
_TEMPORARY = re.compile(rb"(?<![^\s'\"=:,])/[^\s\"'=:,]{0,200}/(?:cc|u-|v-)[A-Za-z0-9]{6}\b")

Contents = Mapping[str | bytes, str | bytes | None]


@dataclass(frozen=True)
class Seen:
    """The result of one run."""

    status: int
    out: bytes
    err: bytes
    #: name → kind, owner and group, mode, contents or target
    tree: dict[bytes, tuple[Any, ...]]
    times: dict[bytes, int]

    def difference(self, other: Seen) -> str:
        """Describes the differences; empty if there are none."""
        lines = []
        for what in ("status", "out", "err", "times"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                lines.append(f"{what}:\n  plain {mine!r}\n  ours  {theirs!r}")
        for name in sorted(self.tree.keys() | other.tree.keys()):
            mine, theirs = self.tree.get(name), other.tree.get(name)
            if mine != theirs:
                lines.append(f"{os.fsdecode(name)!r}:\n  plain {_short(mine)}\n  ours  {_short(theirs)}")
        return "\n".join(lines)


def _short(entry: tuple[Any, ...] | None) -> str:
    if entry is None:
        return "not there"
    content = entry[-1]
    if isinstance(content, bytes) and len(content) > 300:
        return f"{entry[:-1]!r} {len(content)} bytes, {hash(content):x}"
    return repr(entry)


@dataclass
class Compared:
    """Both runs, and the server's records of the second run's tasks."""

    plain: Seen
    ours: Seen
    tasks: list[dict[str, Any]] = field(default_factory=list)

    def same(self) -> Compared:
        """Returns itself; fails the test if the runs differ."""
        difference = self.plain.difference(self.ours)
        assert not difference, f"{difference}\n{self.tasks}"
        return self

    def ran(self) -> list[str]:
        """Where each task ran: "remote" or "here"."""
        return [task["ran"] for task in self.tasks]


class Bench:
    """An open build and a directory in which lines run. ``close()`` ends it and searches for leaks."""

    def __init__(self, sandbox: Sandbox, capture: str, executors: int = 1) -> None:
        self.sandbox = sandbox
        self.capture = capture
        self.tree = sandbox.workspace / "t"
        #: a second directory, outside the workspace
        self.elsewhere = sandbox.base / "elsewhere"
        self._gate = sandbox.temp / "gate"
        listing = sandbox.temp / "environment"
        os.mkfifo(self._gate, 0o666)
        os.chown(self._gate, sandbox.account.uid, sandbox.account.gid)
        script = 'env -0 >"$1.new"; mv "$1.new" "$1"; read x <"$2"'
        command, self._summary = sandbox.build_command(
            ["build", "--", "sh", "-c", script, "sh", listing, self._gate],
            # One build for all rows: it must not be given up because many rows fall back on purpose.
            ["--capture", capture, "--fall-back-limit", "100"],
            executors=executors,
            local_slots=2,
        )
        environment = sandbox.environment()
        self._log = open(sandbox.aside / "bench.log", "wb")  # noqa: SIM115 - until close
        self._process = subprocess.Popen(
            sandbox.account.command(command), cwd=sandbox.workspace, env=environment, umask=0o022,
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
        )  # fmt: skip
        sandbox.wait_for("the build is open", listing.exists)
        entries = listing.read_bytes().split(b"\0")
        self.inside = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        for name in (b"PWD", b"OLDPWD", b"_", b"SHLVL"):
            self.inside.pop(name, None)
        self.outside = {
            name: value for name, value in self.inside.items()
            if not name.startswith(b"SPRAYCC_") and name not in (b"MAKEFLAGS", b"CARGO_MAKEFLAGS")
        }  # fmt: skip
        self.outside[b"PATH"] = environment[b"PATH"]
        (self._record,) = (sandbox.home / ".local/state").rglob("builds/*.jsonl")
        self._offset = 0
        self._read_record()

    def close(self) -> None:
        try:
            with open(self._gate, "wb") as gate:
                gate.write(b"\n")
            self._process.wait(HANG_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._log.close()
            # The last line may have made a fifo, or names like SprayCC's: the sandbox would take them for leftovers. Each
            # line's tree was compared with the plain run's.
            for top in (self.tree, self.elsewhere):
                if top.exists():
                    _remove(top)
            self.sandbox.close()

    def words(self) -> str:
        return (self.sandbox.aside / "bench.log").read_text(errors="replace")

    # -- trees

    def prepare(self, files: Contents, elsewhere: Contents | None = None) -> None:
        """Makes both directories anew. A name that ends with "/" is a directory, one with "->" in its contents a link."""
        for top, contents in ((self.tree, files), (self.elsewhere, elsewhere or {})):
            if top.exists():
                _remove(top)
            _fill(top, contents)
            self.sandbox.give(top)
            _set_times(top)

    def look(self, status: int, out: bytes, err: bytes, times: Sequence[str]) -> Seen:
        tree: dict[bytes, tuple[Any, ...]] = {}
        when: dict[bytes, int] = {}
        links: dict[tuple[int, int], bytes] = {}
        for label, top in ((b"t", self.tree), (b"elsewhere", self.elsewhere)):
            for path, known in _below(os.fsencode(top)):
                name = label + path[len(os.fsencode(top)) :]
                tree[name] = _entry(path, known, name, links)
                relative = os.fsdecode(path[len(os.fsencode(top)) + 1 :])
                if label == b"t" and relative in times:
                    when[name] = known.st_mtime_ns
        return Seen(status, _masked(out), _masked(err), tree, when)

    # -- runs

    def compare(
        self,
        line: str | bytes,
        files: Contents,
        *,
        elsewhere: Contents | None = None,
        remote: bool = False,
        tasks: int = 1,
        times: Sequence[str] = (),
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        umask: int = 0o022,
    ) -> Compared:
        """Runs a line of shell plainly and through SprayCC.

        ``remote``: the whole line is one task, sent to an executor; else the server places each wrapped command. ``tasks`` is
        the number of tasks to wait for.
        """
        argv: list[str | bytes | Path] = ["sh", "-c", line]
        plain = self._run(argv, self.outside, files, elsewhere, times, cwd, env, stdin, umask)
        launcher: list[str | bytes | Path] = [self.sandbox.bin / "spraycc-run", "--remote", "--"] if remote else []
        ours = self._run(launcher + argv, self.inside, files, elsewhere, times, cwd, env, stdin, umask)
        return Compared(plain, ours, self.tasks(tasks))

    def _run(
        self,
        argv: Sequence[str | bytes | Path],
        environment: Mapping[bytes, bytes],
        files: Contents,
        elsewhere: Contents | None,
        times: Sequence[str],
        cwd: str,
        env: Mapping[str, str] | None,
        stdin: bytes,
        umask: int,
    ) -> Seen:
        self.prepare(files, elsewhere)
        done = self.execute(argv, environment, self.tree / cwd, env, stdin, umask)
        return self.look(done.status, done.out, done.err, times)

    def execute(
        self,
        argv: Sequence[str | bytes | Path],
        environment: Mapping[bytes, bytes] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        umask: int = 0o022,
    ) -> Finished:
        """Runs a command inside the build, or with the given environment."""
        whole = {**(self.inside if environment is None else environment)}
        whole |= {os.fsencode(name): os.fsencode(value) for name, value in (env or {}).items()}
        done = subprocess.run(
            self.sandbox.account.command(argv), cwd=cwd or self.tree, env=whole, input=stdin, capture_output=True,
            umask=umask, timeout=HANG_S, check=False,
        )  # fmt: skip
        return Finished(tuple(argv), done.returncode, done.stdout, done.stderr)

    def tasks(self, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        def noted() -> bool:
            found.extend(self._read_record())
            return len(found) >= count

        wait_until(noted, f"{count} tasks are noted", self.words)
        return found

    def _read_record(self) -> list[dict[str, Any]]:
        with open(self._record, "rb") as file:
            file.seek(self._offset)
            whole = file.read().rpartition(b"\n")[0]
        if not whole:
            return []
        self._offset += len(whole) + 1
        return [line for line in map(json.loads, whole.splitlines()) if "target" in line]


def _masked(text: bytes) -> bytes:
    return _TEMPORARY.sub(b"TEMPORARY", text)


def _fill(top: Path, contents: Contents) -> None:
    top.mkdir()
    for name, content in contents.items():
        path = os.path.join(os.fsencode(top), os.fsencode(name))
        if path.endswith(b"/"):
            os.makedirs(path, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = content.encode() if isinstance(content, str) else content or b""
        if data.startswith(b"-> "):
            os.symlink(data[3:], path)
        elif data.startswith(b"= "):
            os.link(os.path.join(os.fsencode(top), data[2:]), path)
        else:
            with open(path, "wb") as file:
                file.write(data)
            os.chmod(path, 0o755 if data.startswith(b"#!") else 0o644)


def _set_times(top: Path) -> None:
    for path, _ in sorted(_below(os.fsencode(top)), reverse=True):
        os.utime(path, ns=(THEN_NS, THEN_NS), follow_symlinks=False)


def _below(top: bytes) -> list[tuple[bytes, os.stat_result]]:
    """All files, each with the status that it had before closed directories were opened for reading."""
    found = []
    left = [top]
    while left:
        path = left.pop()
        status = os.lstat(path)
        found.append((path, status))
        if stat.S_ISDIR(status.st_mode):
            if status.st_mode & 0o700 != 0o700:
                os.chmod(path, 0o700)
            left += [os.path.join(path, name) for name in os.listdir(path)]
    return found


def _entry(path: bytes, status: os.stat_result, name: bytes, links: dict[tuple[int, int], bytes]) -> tuple[Any, ...]:
    mode = oct(stat.S_IMODE(status.st_mode))
    owner = f"{status.st_uid}:{status.st_gid}"
    if stat.S_ISDIR(status.st_mode):
        return ("directory", owner, mode)
    if stat.S_ISLNK(status.st_mode):
        return ("link", owner, os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return ("special", owner, mode, stat.S_IFMT(status.st_mode))
    same = links.setdefault((status.st_dev, status.st_ino), name)
    if not status.st_mode & 0o400:
        os.chmod(path, 0o400)  # we own the file, but its mode forbids reading
    with open(path, "rb") as file:
        content = file.read()
    return ("file", owner, mode, *([same] if same != name else []), content)


def _remove(top: Path) -> None:
    os.chmod(top, 0o700)
    for directory, names, _ in os.walk(top):
        for name in names:
            if not os.path.islink(os.path.join(directory, name)):
                os.chmod(os.path.join(directory, name), 0o700)
    shutil.rmtree(top)
