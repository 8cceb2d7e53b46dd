"""The FIFO and its account, with this test as the build tool."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from spraycc.errors import RuntimeDirError
from spraycc.jobserver import fifo as fifo_module
from spraycc.jobserver.descriptor import HIGHEST_TOOL_FD, LOWEST_TOOL_FD, open_for_tool
from spraycc.jobserver.events import Limits
from spraycc.jobserver.fifo import JobserverFifo
from spraycc.model import BuildId, TaskId
from spraycc.server.builds.token_pool import TokenPool


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[JobserverFifo]:
    made = JobserverFifo.create(str(tmp_path / "fifo"))
    yield made
    made.close()


@pytest.fixture
def tool(fifo: JobserverFifo) -> Iterator[int]:
    """The descriptor of a tool on that FIFO."""
    fd = open_for_tool(fifo.path)
    yield fd
    os.close(fd)


def test_it_is_a_private_fifo_without_tokens(fifo: JobserverFifo) -> None:
    mode = os.lstat(fifo.path).st_mode
    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert (fifo.free(), fifo.tokens.issued, fifo.tokens.owed) == (0, 0, 0)


def test_nothing_may_be_there_before(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    path.touch()
    with pytest.raises(FileExistsError):
        JobserverFifo.create(str(path))
    assert path.is_file()


def test_tokens_are_written_and_withdrawn_as_asked(fifo: JobserverFifo) -> None:
    fifo.set_tokens(3)
    assert (fifo.free(), fifo.tokens.issued) == (3, 3)
    fifo.set_tokens(1)
    assert (fifo.free(), fifo.tokens.issued) == (1, 1)
    fifo.set_tokens(0)
    assert (fifo.free(), fifo.tokens.issued) == (0, 0)


def test_ten_thousand_tokens(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(10_000)
    assert (fifo.free(), fifo.tokens.issued) == (10_000, 10_000)
    held = os.read(tool, 10_000)
    assert len(held) == 10_000
    os.write(tool, held)
    fifo.set_tokens(0)
    assert (fifo.free(), fifo.tokens.issued) == (0, 0)


def test_a_small_fifo_is_made_larger(fifo: JobserverFifo, tool: int) -> None:
    fcntl.fcntl(tool, fcntl.F_SETPIPE_SZ, 8192)
    fifo.set_tokens(10_000)
    assert fifo.free() == 10_000


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_where_the_kernel_has_no_room_the_width_is_what_surely_fits(
    fifo: JobserverFifo, tool: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fcntl.fcntl(tool, fcntl.F_SETPIPE_SZ, 8192)

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise OSError(number, os.strerror(number))
        return real(fd, command, argument)

    real = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    fifo.set_tokens(10_000)
    # even if the page at the head is half read, every holder can write its token back without waiting
    held = os.read(tool, 4000)
    os.set_blocking(tool, False)
    for position in range(len(held)):
        assert os.write(tool, held[position : position + 1]) == 1
    assert fifo.free() == fifo.tokens.issued == 4096


async def test_tokens_that_are_held_are_withdrawn_as_they_come_back(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(8)
    held = os.read(tool, 5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fifo.run)
        fifo.set_tokens(2)  # 8 tokens, 3 of them free: 3 go at once, 3 more are owed
        assert (fifo.free(), fifo.tokens.issued, fifo.tokens.owed) == (0, 5, 3)
        # with a debt and no free token it waits, and does not spin
        await trio.testing.wait_all_tasks_blocked()

        os.write(tool, held[:2])
        while fifo.tokens.owed == 3:
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert (fifo.free(), fifo.tokens.issued, fifo.tokens.owed) == (0, 3, 1)

        os.write(tool, held[2:])
        while fifo.tokens.owed:
            await trio.testing.wait_all_tasks_blocked(0.001)
        # not more tokens than were owed
        assert (fifo.free(), fifo.tokens.issued) == (2, 2)

        # without a debt it does not touch free tokens, however often they come and go
        for _ in range(3):
            os.write(tool, os.read(tool, 2))
            await trio.testing.wait_all_tasks_blocked(0.001)
            assert fifo.free() == 2
        nursery.cancel_scope.cancel()


async def test_widened_while_it_waits_for_tokens_it_takes_none(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(4)
    held = os.read(tool, 4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fifo.run)
        fifo.set_tokens(0)
        await trio.testing.wait_all_tasks_blocked()
        fifo.set_tokens(5)
        assert (fifo.free(), fifo.tokens.issued, fifo.tokens.owed) == (1, 5, 0)
        os.write(tool, held)
        await trio.testing.wait_all_tasks_blocked(0.001)
        assert (fifo.free(), fifo.tokens.issued) == (5, 5)
        # after another narrowing it still works
        held = os.read(tool, 5)
        fifo.set_tokens(4)
        os.write(tool, held)
        while fifo.tokens.owed:
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert (fifo.free(), fifo.tokens.issued) == (4, 4)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("in_debt", [False, True])
async def test_run_ends_when_it_is_closed(fifo: JobserverFifo, tool: int, in_debt: bool) -> None:
    fifo.set_tokens(1)
    os.read(tool, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fifo.run)
        if in_debt:
            fifo.set_tokens(0)
        await trio.testing.wait_all_tasks_blocked()
        fifo.close()
    assert fifo.closed
    assert not os.path.lexists(fifo.path)
    fifo.close()


def test_tools_keep_their_tokens_when_it_is_closed(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(2)
    fifo.close()
    assert os.read(tool, 10) == b"++"


def test_lost_tokens_are_replaced_and_taken_out_when_they_come_back(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(4)
    held = os.read(tool, 3)
    fifo.tokens.lost(1)
    fifo.settle()
    assert (fifo.free(), fifo.tokens.issued) == (1, 3)
    fifo.set_tokens(4)
    assert (fifo.free(), fifo.tokens.issued) == (2, 4)
    assert fifo.adopt_surplus() == 0
    os.write(tool, held)
    assert fifo.adopt_surplus() == 1
    fifo.settle()
    assert (fifo.free(), fifo.tokens.issued) == (4, 4)


def test_it_does_not_share_its_flags_with_the_tool(fifo: JobserverFifo, tool: int) -> None:
    assert os.get_blocking(tool)
    assert not os.get_inheritable(fifo._fd)
    os.set_blocking(tool, False)
    os.set_blocking(tool, True)
    assert not os.get_blocking(fifo._fd)


def test_the_tools_descriptor_is_one_that_scripts_and_make_leave_alone(fifo: JobserverFifo, tool: int) -> None:
    assert LOWEST_TOOL_FD <= tool <= HIGHEST_TOOL_FD
    assert os.get_inheritable(tool)
    assert fcntl.fcntl(tool, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
    second = open_for_tool(fifo.path)
    try:
        assert second != tool
        assert LOWEST_TOOL_FD <= second <= HIGHEST_TOOL_FD
    finally:
        os.close(second)


def test_with_few_descriptors_allowed_a_lower_number_serves(fifo: JobserverFifo) -> None:
    assert in_child_with_limit(fifo.path, 150) == 100


def test_with_too_few_descriptors_allowed_there_is_none(fifo: JobserverFifo) -> None:
    assert in_child_with_limit(fifo.path, 64) == -errno.EMFILE


def in_child_with_limit(path: bytes, limit: int) -> int:
    """``open_for_tool`` in a process that may have ``limit`` descriptors: its result, or the negative errno."""
    import subprocess
    import sys

    code = (
        "import os, resource, sys\n"
        "from spraycc.jobserver.descriptor import open_for_tool\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))\n"
        "try: print(open_for_tool(sys.argv[1]))\n"
        "except OSError as error: print(-error.errno)\n"
    )
    root = Path(fifo_module.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, os.fsdecode(path)], cwd=root, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def test_a_tool_does_not_open_what_is_no_fifo(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeDirError):
        open_for_tool(str(tmp_path / "file"))
    os.mkfifo(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        open_for_tool(str(tmp_path / "link"))
    with pytest.raises(FileNotFoundError):
        open_for_tool(str(tmp_path / "none"))


async def test_closed_between_a_debt_and_its_collection(fifo: JobserverFifo, tool: int) -> None:
    fifo.set_tokens(3)
    os.read(tool, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fifo.run)
        await trio.testing.wait_all_tasks_blocked()
        fifo.set_tokens(0)
        fifo.close()
    assert (fifo.free(), fifo.tokens.owed) == (0, 3)


async def test_a_fault_in_a_pool_costs_the_bound_and_not_the_server(
    fifo: JobserverFifo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = TokenPool(BuildId("b"), fifo, Limits(2, 4), 10, starts_recipes=True)
    before = fifo.free()
    answered = []
    pool.runner_registered(TaskId(1), os.getpid())

    async def fail(_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(fifo, "run", fail)
    await pool.run()  # returns, and raises nothing
    pool.finish(TaskId(1), lambda: answered.append(1))
    assert answered == [1]
    assert before < fifo.free() == 9


async def test_a_pool_short_of_descriptors_writes_nothing_off(
    fifo: JobserverFifo, tool: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo.set_tokens(2)

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert not fifo.is_abandoned()
    assert (fifo.closed, fifo.free()) == (False, 2)


@pytest.mark.parametrize(("failures", "lasts"), [(1, False), (4, False), (100, True)])
async def test_the_last_descriptor_was_taken_by_somebody_else(
    fifo: JobserverFifo, monkeypatch: pytest.MonkeyPatch, failures: int, lasts: bool
) -> None:
    fifo.set_tokens(2)
    really_open, left = os.open, [failures]

    def fail(path: str, flags: int, *arguments: int) -> int:
        if flags & os.O_RDWR and left[0]:
            left[0] -= 1
            raise OSError(errno.ENFILE, "too many open files in system")
        return really_open(path, flags, *arguments)

    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "open", fail)
    if lasts:
        with pytest.raises(OSError, match="too many open files"):
            fifo.is_abandoned()
    else:
        assert fifo.is_abandoned()
        fifo.set_tokens(4)
    assert fifo.free() == (2 if lasts else 4)
    assert len(os.listdir("/proc/self/fd")) == descriptors
