"""A scratch disk without room for the record costs the proof, never the command."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.executor import recording
from tests.system.executor.conftest import REPOSITORY
from tests.system.executor.recording import PLAIN

library = recording.library
program = recording.program

pytestmark = [pytest.mark.needs("cc", package="gcc"), pytest.mark.overlay]

#: Runs a command with a record on a disk of this many bytes, of which some are used.
RUN = """\
import os, subprocess, sys
from spraycc.executor.recorder import RecordFile, environment
size, used, directory, library, program = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], check=True)
with open(f"{directory}/other", "wb") as other:
    other.write(bytes(int(used)))
try:
    file = RecordFile(os.fsencode(f"{directory}/record"))
except OSError as exc:
    print(exc.errno, os.listdir(directory))
else:
    env = dict(entry.split(b"=", 1) for entry in environment([], os.fsencode(library), file.path))
    done = subprocess.run([program, "threads"], cwd="/", env=env)
    reads = file.read()
    print(done.returncode, reads.complete, len(reads.entries))
"""
PAGE = os.sysconf("SC_PAGE_SIZE")


def run(tmp_path: Path, library: Path, program: Path, pages: int, used: int) -> str:
    (tmp_path / "small").mkdir()
    words: list[str | Path] = [str(pages * PAGE), str(used * PAGE), tmp_path / "small", library, program]
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", RUN, *words]
    done = subprocess.run(command, cwd=REPOSITORY, env=PLAIN, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_no_room_for_the_file(tmp_path: Path, library: Path, program: Path) -> None:
    assert run(tmp_path, library, program, 1, 1) == f"{errno.ENOSPC} ['other']"


@pytest.mark.parametrize("pages", [1, 2, 3, 4, 8, 24])
def test_a_disk_that_becomes_full(tmp_path: Path, library: Path, program: Path, pages: int) -> None:
    returncode, complete, entries = run(tmp_path, library, program, pages, 0).split()
    assert (returncode, complete) == ("0", "False")
    assert (int(entries) > 0) == (pages > 1)


def test_a_disk_with_just_enough_room(tmp_path: Path, library: Path, program: Path) -> None:
    """4,000 records of 48 bytes and their lookups of less than 16."""
    returncode, complete, entries = run(tmp_path, library, program, 4100 * 64 // PAGE + 4, 0).split()
    assert (returncode, complete) == ("0", "True")
    assert int(entries) > 4000
