"""Work goes on if the process can't start more threads."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from spraycc.system.threads import exact_modes, run_in_thread


@pytest.fixture
def closed_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode_of_a_new_file(path: Path) -> int:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o664))
    return stat.S_IMODE(path.stat().st_mode)


async def test_it_is_done_in_a_thread() -> None:
    assert await run_in_thread(threading.get_ident) != threading.get_ident()


async def test_it_is_done_here_where_there_can_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio._threads, "start_thread_soon", refuse)
    assert await run_in_thread(threading.get_ident) == threading.get_ident()


async def test_its_own_failure_is_not_tried_twice() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError):
        await run_in_thread(fail)
    assert len(calls) == 1


@pytest.mark.usefixtures("closed_umask")
def test_a_file_has_the_exact_mode_in_the_block_and_in_no_other_thread(tmp_path: Path) -> None:
    entered, made = threading.Event(), threading.Event()
    modes = {}

    def make() -> None:
        with exact_modes():
            entered.set()
            made.wait(60)
            modes["inside"] = mode_of_a_new_file(tmp_path / "inside")
        modes["after"] = mode_of_a_new_file(tmp_path / "after")

    thread = threading.Thread(target=make)
    thread.start()
    assert entered.wait(60)
    modes["elsewhere"] = mode_of_a_new_file(tmp_path / "elsewhere")
    made.set()
    thread.join()
    assert modes == {"inside": 0o664, "after": 0o600, "elsewhere": 0o600}


@pytest.mark.usefixtures("closed_umask")
def test_the_umask_counts_where_the_kernel_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spraycc.system.threads._separate_umask", lambda: False)
    with exact_modes():
        assert mode_of_a_new_file(tmp_path / "file") == 0o600
