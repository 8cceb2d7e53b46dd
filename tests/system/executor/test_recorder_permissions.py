"""Denied calls in the record: the user may have other permissions on another host."""

from __future__ import annotations

import os

import pytest

from spraycc.stamps import DENIED
from tests.system.executor import recording
from tests.system.executor.recording import Recorder, stamps_of

library = recording.library
recorder = recording.recorder

pytestmark = pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")


@pytest.mark.parametrize(
    ("script", "denied"),
    [
        (": <shut", "r shut"),
        (": >shut", "w shut"),
        (": >dir/new", "w dir/new"),
        (": <>shut", "r shut w shut"),
        ("test -r shut", "r shut"),
        ("test -w shut", "w shut"),
        ("test -x open", "x open"),
        ("./open", "x open"),
        ("cd shutdir", "x shutdir"),
        ("ls shutdir", "r shutdir"),
        ("mkdir dir/new", "d dir/new"),
        ("rm -f dir/old", "d dir/old"),
        ("mv open dir/new", "d open d dir/new"),
        ("truncate -s0 shut", "w shut"),
        (": <open", ""),
        (": <nothing", ""),
        ("test -r open", ""),
    ],
)
def test_denied_calls(recorder: Recorder, script: str, denied: str) -> None:
    work = recorder.work
    (work / "open").touch()
    (work / "shut").touch(0)
    (work / "dir").mkdir()
    (work / "dir/old").touch()
    (work / "dir").chmod(0o500)
    (work / "shutdir").mkdir(0)
    try:
        recorder.run("/bin/sh", "-c", script)
        reads = recorder.file.read()
    finally:
        for name in ("dir", "shutdir"):
            (work / name).chmod(0o700)
    assert reads.complete
    words = denied.split()
    wanted = {recorder.lookup(kind, name) for kind, name in zip(words[::2], words[1::2], strict=True)}
    found = {lookup for lookup, stamp in stamps_of(reads).items() if stamp == DENIED and lookup[:1] in b"rwxd"}
    assert found == wanted


def test_a_program_of_path_that_may_not_be_executed(recorder: Recorder) -> None:
    (recorder.work / "tool").write_text("#!/bin/sh\n")
    recorder.run("env", f"PATH={recorder.work}:/usr/bin", "tool")
    assert stamps_of(recorder.file.read())[recorder.lookup("x", "tool")] == DENIED
