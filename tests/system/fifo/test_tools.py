"""Real make and ninja as clients of SprayCC's pool. The recipes themselves count how many of them run at once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import trio

from spraycc.jobserver.cmdline import strip
from spraycc.jobserver.makeflags import Descriptors, Fifo, compose_cargo, is_foreign, parse
from tests.system.harness.waiting import HANG_S

ALL = ("make-old", "make-new", "ninja")
MAKES = ("make-old", "make-new")
#: tool → the way to get it
SOURCES = {
    "make-old": "the package make of Debian 12 is older than 4.4",
    "make-new": "tests/tools/get-make-4.4 fetches it by apt-get; or SPRAYCC_TEST_MAKE44 names one",
    "ninja": "pip install '.[test]'",
}

pytestmark = pytest.mark.e2e


@pytest.fixture
def tool(request: pytest.FixtureRequest, tools: Mapping[str, str | None]) -> str:
    """The program that the test is parametrized with (indirectly, by its name in ``tools``)."""
    return found(tools, request.param)


def found(tools: Mapping[str, str | None], name: str) -> str:
    program = tools[name]
    if program is None:
        pytest.skip(f"{name} is missing: {SOURCES[name]}")
    return program


def write_build(directory: Path, count: int, name: str = "x") -> None:
    """A Makefile and a build.ninja with ``count`` independent recipes."""
    targets = [f"{name}{number}" for number in range(count)]
    (directory / "Makefile").write_text(f"all: {' '.join(targets)}\n{' '.join(targets)}: ; @$(LAP)\n")
    ninja = "rule lap\n  command = $$LAP\n" + "".join(f"build {target}: lap\n" for target in targets)
    (directory / "build.ninja").write_text(ninja)


@pytest.mark.parametrize("tokens", [0, 1, 3])
@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_exactly_as_wide_as_the_pool(pool, tool: str, tokens: int) -> None:
    write_build(pool.directory, 2 * tokens + 3)
    pool.fifo.set_tokens(tokens)
    pool.barrier(tokens + 1)
    await pool.run(tool)
    assert pool.widest() == tokens + 1
    assert pool.log().count("-") == 2 * tokens + 3


@pytest.mark.parametrize("tool", MAKES, indirect=True)
async def test_sub_makes_are_on_the_same_pool(pool, tool: str) -> None:
    write_build(pool.directory, 4)
    (pool.directory / "top.mk").write_text("all: a b c\na b c: ; @+$(MAKE) --no-print-directory -f Makefile PART=$@\n")
    pool.fifo.set_tokens(3)
    pool.barrier(4)
    done = await pool.run(tool, "-f", "top.mk")
    assert pool.widest() == 4
    assert pool.log().count("-") == 12
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("first", "second"), [("make-old", "make-old"), ("make-old", "make-new"), ("make-new", "ninja")]
)
async def test_two_tools_share_a_pool(pool, tools: Mapping[str, str | None], first: str, second: str) -> None:
    write_build(pool.directory, 6)
    pool.fifo.set_tokens(2)
    pool.barrier(4)  # two tokens and an implicit slot each
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, found(tools, first))
        nursery.start_soon(pool.run, found(tools, second))
    assert pool.widest() == 4
    assert pool.log().count("-") == 12


@pytest.mark.parametrize("name", MAKES)
async def test_a_make_below_ninja_is_on_the_same_pool(pool, tools: Mapping[str, str | None], name: str) -> None:
    make, ninja = found(tools, name), found(tools, "ninja")
    write_build(pool.directory, 4)
    (pool.directory / "build.ninja").write_text(
        f"rule make\n  command = {make} PART=$out\nbuild a: make\nbuild b: make\n"
    )
    pool.fifo.set_tokens(3)
    pool.barrier(4)
    await pool.run(ninja)
    assert pool.widest() == 4
    assert pool.log().count("-") == 8


@pytest.mark.parametrize("name", MAKES)
async def test_a_make_below_cargos_build_script_is_on_the_same_pool(
    pool, tools: Mapping[str, str | None], name: str
) -> None:
    """cargo passes its jobserver on to a build script in the same style (seen with cargo 1.95), and the script passes it to make."""
    make = found(tools, name)
    write_build(pool.directory, 6)
    pool.fifo.set_tokens(2)
    pool.barrier(3)
    await pool.run("env", f"MAKEFLAGS={compose_cargo(pool.tool_fd).decode()}", make)
    assert pool.widest() == 3


@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_widened_in_mid_build(pool, tool: str) -> None:
    write_build(pool.directory, 10)
    pool.fifo.set_tokens(0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, tool)
        await pool.begun(1)
        pool.barrier(5)
        pool.fifo.set_tokens(3)
    assert pool.widest() == 4
    assert pool.fifo.tokens.issued == 3


@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_narrowed_in_mid_build(pool, tool: str) -> None:
    """While more recipes wait than may run, make takes back its own token before the server can. So the debt is paid when
    the demand drops: in this test at a target that needs all before it, and that all after it need."""
    early, late = [[f"{name}{number}" for number in range(6)] for name in ("early", "late")]
    (pool.directory / "Makefile").write_text(
        f"all: {' '.join(late)}\n{' '.join(early)}: ; @$(LAP)\n{' '.join(late)}: neck ; @$(LAP)\n"
        f"neck: {' '.join(early)} ; @until [ -e opened ]; do sleep 0.01; done\n"
    )
    (pool.directory / "build.ninja").write_text(
        "rule lap\n  command = $$LAP\nrule wait\n  command = until [ -e opened ]; do sleep 0.01; done\n"
        + "".join(f"build {target}: lap\n" for target in early)
        + f"build neck: wait {' '.join(early)}\n"
        + "".join(f"build {target}: lap neck\n" for target in late)
    )
    pool.fifo.set_tokens(3)
    pool.barrier(4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, tool)
        await pool.begun(4)
        pool.fifo.set_tokens(1)
        with trio.fail_after(HANG_S):
            while pool.fifo.tokens.owed:
                await trio.sleep(0.005)
        narrowed = pool.mark()
        await pool.begun(6)  # the early ones must not see the barrier of the late ones
        pool.barrier(8)
        (pool.directory / "opened").touch()
    assert pool.widest() == 4
    assert pool.widest(since=narrowed) == 2
    assert pool.log().count("-") == 12


@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_without_any_token_left_the_build_goes_on(pool, tool: str) -> None:
    write_build(pool.directory, 6)
    pool.fifo.set_tokens(2)
    pool.barrier(3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.run, tool)
        await pool.begun(3)
        pool.fifo.set_tokens(0)
    assert pool.fifo.tokens.issued == 0
    assert pool.log().count("-") == 6


@pytest.mark.parametrize("tool", MAKES, indirect=True)
async def test_the_users_flags_survive_and_their_j_does_not(pool, tool: str) -> None:
    (pool.directory / "Makefile").write_text(
        "all: bad good sub\nbad: ; @false\ngood: ; @echo 'good V=[$(V)] W=[$(W)]'\nsub: ; @+$(MAKE) -f sub.mk\n"
    )
    (pool.directory / "sub.mk").write_text("all: bad also\nbad: ; @false\nalso: ; @echo 'also V=[$(V)] W=[$(W)]'\n")
    pool.fifo.set_tokens(0)
    done = await pool.run(tool, user_flags="k -j8 --no-print-directory -- V=a\\ b W=$$(c)", check=False)
    assert done.returncode == 2
    assert sorted(done.stdout.splitlines()) == [b"also V=[a b] W=[]", b"good V=[a b] W=[]"]
    assert b"warning" not in done.stderr


@pytest.mark.parametrize("variable", ["MAKEFLAGS", "GNUMAKEFLAGS"])
@pytest.mark.parametrize("tool", MAKES, indirect=True)
async def test_a_j_in_the_users_variables_does_not_widen(
    pool, tool: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(pool.directory, 6)
    pool.fifo.set_tokens(1)
    pool.barrier(2)
    if variable == "MAKEFLAGS":
        await pool.run(tool, user_flags="j6")
    else:
        await pool.run("env", "GNUMAKEFLAGS=-j6", tool)
    assert pool.widest() == 2


@pytest.mark.parametrize(
    ("tool", "word"), [("make-old", "-j6"), ("make-new", "-j6"), ("ninja", "-j6")], indirect=["tool"]
)
async def test_a_j_on_the_line_leaves_the_pool_and_is_taken_off(pool, tool: str, word: str) -> None:
    """The first part shows why the second is needed. If the first part ever fails, the tool has changed its behaviour."""
    write_build(pool.directory, 8)
    pool.fifo.set_tokens(1)
    pool.barrier(6)
    await pool.run(tool, word)
    assert pool.widest() == 6

    stripped = strip(Path(tool).name, [os.fsencode(tool), word.encode()])
    assert stripped.cap == 6
    (pool.directory / "log").write_text("")
    for target in pool.directory.glob("x*"):
        target.unlink()
    pool.barrier(2)
    await pool.run(*(os.fsdecode(argument) for argument in stripped.argv))
    assert pool.widest() == 2


@pytest.mark.parametrize(("name", "expected"), [("make-old", Descriptors), ("make-new", Fifo), ("ninja", Fifo)])
async def test_what_a_recipe_sees(pool, tools: Mapping[str, str | None], name: str, expected: type) -> None:
    tool = found(tools, name)
    (pool.directory / "Makefile").write_text('all: ; @printf "%s\\n" "$$MAKEFLAGS"\n')
    (pool.directory / "build.ninja").write_text(
        'rule show\n  command = printf "%s\\n" "$$MAKEFLAGS"\nbuild all: show\n'
    )
    done = await pool.run(tool, *(["--quiet"] if name == "ninja" else []))
    flags = done.stdout.splitlines()[-1]
    auth = parse(flags).auth
    assert isinstance(auth, expected)
    assert auth in (Fifo(pool.fifo.path), Descriptors(pool.tool_fd, pool.tool_fd))
    assert not is_foreign(flags, pool.fifo.path)


@pytest.mark.parametrize("tool", MAKES, indirect=True)
async def test_a_pool_of_a_makes_own_is_foreign(pool, tool: str) -> None:
    (pool.directory / "Makefile").write_text("all: ; @+$(MAKE) -j3 -f sub.mk\n")
    (pool.directory / "sub.mk").write_text('all: ; @printf "seen %s\\n" "$$MAKEFLAGS"\n')
    pool.fifo.set_tokens(1)
    done = await pool.run(tool)
    (seen,) = re.findall(rb"seen (.*)", done.stdout)
    assert is_foreign(seen, pool.fifo.path)
    assert b"resetting jobserver mode" in done.stderr


@pytest.mark.parametrize("tool", MAKES, indirect=True)
async def test_remade_makefiles_keep_the_pool(pool, tool: str) -> None:
    write_build(pool.directory, 6)
    text = (pool.directory / "Makefile").read_text()
    (pool.directory / "Makefile").write_text(text + "include made.mk\nmade.mk: ; @echo MADE=1 >$@\n")
    pool.fifo.set_tokens(2)
    pool.barrier(3)
    await pool.run(tool)
    assert pool.widest() == 3


@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_failing_recipes_give_their_tokens_back(pool, tool: str) -> None:
    write_build(pool.directory, 8)
    for name in ("Makefile", "build.ninja"):
        path = pool.directory / name
        path.write_text(path.read_text().replace("$(LAP)", "$(LAP); false").replace("$$LAP", "$$LAP; false"))
    pool.fifo.set_tokens(3)
    pool.barrier(4)
    done = await pool.run(tool, check=False)
    assert done.returncode not in (0, 99)
    assert pool.fifo.free() == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("tool", ALL, indirect=True)
async def test_after_a_killed_tool_the_pool_is_made_whole(pool, tool: str, number: int) -> None:
    """The killed tool may or may not give its tokens back (make 4.4.1 does not). In both cases the account comes right."""
    pool.may_lose = True
    write_build(pool.directory, 12)
    pool.fifo.set_tokens(3)
    pool.barrier(4)
    # in its own process group, as from a shell: the test sends the signal to the group
    words = [shutil.which("setsid") or "setsid", tool]
    # All processes that the tool starts inherit one end of a pipe, which shows when the last of them has ended: ninja's
    # recipes have process groups of their own, and outlive a ninja that can't pass the signal on.
    alive, inherited = os.pipe()
    with trio.fail_after(HANG_S):
        process = await trio.lowlevel.open_process(
            words,
            cwd=pool.directory,
            env=pool.environment(),
            pass_fds=[pool.tool_fd, inherited],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(inherited)
        await pool.begun(4)
        os.killpg(process.pid, number)
        assert await process.wait() != 0
        async with trio.lowlevel.FdStream(alive) as stream:
            assert await stream.receive_some(1) == b""

    pool.fifo.tokens.lost(pool.fifo.tokens.issued - pool.fifo.free())
    pool.fifo.set_tokens(3)
    assert (pool.fifo.free(), pool.fifo.tokens.issued) == (3, 3)
    (pool.directory / "log").write_text("")
    await pool.run(tool)
    assert pool.widest() == 4
    assert (pool.fifo.free(), pool.fifo.tokens.issued) == (3, 3)
