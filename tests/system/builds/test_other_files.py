"""Executors that see other files than the submit host, or that the user may not read there: every result is plain make's.

The other host is a mount namespace, or a process without the user's supplementary groups.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.sandbox import Finished, Sandbox

pytestmark = pytest.mark.e2e

MAKEFILE = """\
CC = gcc
objects := $(patsubst %.c,%.o,$(sort $(wildcard u*.c)))
all: $(objects)
%.o: %.c
	@$(CC) $(CFLAGS) -MMD -c $< -o $@
"""
UNITS = 3


def project(text: str) -> dict[str, str]:
    return {"Makefile": MAKEFILE} | {f"u{number}.c": text.replace("NUMBER", str(number)) for number in range(UNITS)}


def executors_behind(sandbox: Sandbox, *prefix: str | Path) -> list[str]:
    """Options with which each executor of the driver ``local`` starts behind this command."""
    return ["--executor-prefix", " ".join(map(str, prefix)), "--wait-for-cluster"]


def with_mount(sandbox: Sandbox, covered: Path, cover: Path) -> list[str]:
    sandbox.give(sandbox.aside)
    script = (
        "#!/bin/sh\nexec unshare --user --map-current-user --mount --keep-caps sh -c "
        f'\'mount --bind "{cover}" "{covered}" && exec "$@"\' sh "$@"\n'
    )
    return executors_behind(sandbox, sandbox.write({"enter": script}, sandbox.aside / "start", mode=0o755) / "enter")


def results(sandbox: Sandbox) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(sandbox.workspace.iterdir()) if path.is_file()}


def build_as_plain(sandbox: Sandbox, options: list[str], *words: str) -> Finished:
    """Builds with plain make and with SprayCC; both must give the same files, output and status."""
    before = set(results(sandbox))
    plain = sandbox.run("make", "-k", *words)
    wanted = results(sandbox)
    for name in set(wanted) - before:
        (sandbox.workspace / name).unlink()
    done = sandbox.build("make", "-k", *words, options=options, executors=1)
    assert results(sandbox) == wanted
    ours = set(done.own_lines())
    messages = [line for line in done.err.decode().splitlines() if line not in ours]
    assert (done.status, done.out, messages) == (plain.status, plain.out, plain.err.decode().splitlines()), done.words()
    return done


def attempts(sandbox: Sandbox) -> tuple[int, int]:
    """The attempts that all executors ended with a result, by their own count, and those of them that failed."""
    sandbox.stop()
    counters = sandbox.executor_counters()
    return sum(each["done"] for each in counters), sum(each["failed"] for each in counters)


@pytest.mark.overlay
def test_the_same_files_behind_a_command(sandbox: Sandbox) -> None:
    """An executor_prefix alone costs nothing: all compiles run on the executor."""
    sandbox.write(project("#include <stdio.h>\nint f(void) { return NUMBER; }\n"))
    done = build_as_plain(sandbox, executors_behind(sandbox, "env"))
    assert done.figures["remote"] == UNITS, done.words()
    assert attempts(sandbox) == (UNITS, 0)


@pytest.mark.overlay
@pytest.mark.parametrize("compiler", ["gcc", pytest.param("clang", marks=pytest.mark.needs("clang", "clang"))])
def test_another_system_header(sandbox: Sandbox, compiler: str) -> None:
    """The host with another header compiles nothing. The user is told once, with the file and the setting."""
    header = Path("/usr/include/ar.h")
    cover = sandbox.write({"other.h": header.read_text() + "#define OTHER 1\n"}, sandbox.aside) / "other.h"
    sandbox.write(project("#include <ar.h>\n#ifdef OTHER\nint other;\n#endif\nint f(void) { return NUMBER; }\n"))
    done = build_as_plain(sandbox, with_mount(sandbox, header, cover), f"CC={compiler}")
    assert done.figures["remote"] == 0, done.words()
    assert done.figures["reasons"]["here: unfit"] == UNITS
    (line,) = [line for line in done.own_lines() if str(header) in line]
    assert "executor_prefix" in line
    assert attempts(sandbox) == (1, 0)


@pytest.mark.overlay
def test_another_file_that_the_assembler_reads(sandbox: Sandbox) -> None:
    data = Path("/usr/share/common-licenses/BSD")
    cover = sandbox.write({"other": data.read_bytes().swapcase()}, sandbox.aside) / "other"
    sandbox.write(project(f'__asm__(".incbin \\"{data}\\"");\nint f(void) {{ return NUMBER; }}\n'))
    done = build_as_plain(sandbox, with_mount(sandbox, data, cover))
    assert done.figures["remote"] == 0, done.words()
    assert attempts(sandbox) == (1, 0)


@pytest.mark.overlay
def test_a_system_header_that_the_executor_lacks(sandbox: Sandbox) -> None:
    (sandbox.aside / "empty").mkdir()
    sandbox.write(project("#if __has_include(<rpc/netdb.h>)\nint here;\n#endif\nint f(void) { return NUMBER; }\n"))
    done = build_as_plain(sandbox, with_mount(sandbox, Path("/usr/include/rpc"), sandbox.aside / "empty"))
    assert done.figures["remote"] == 0, done.words()
    assert done.figures["local"] == UNITS
    count, failed = attempts(sandbox)
    assert count >= 1
    assert failed == 0


@pytest.mark.overlay
def test_a_system_header_that_only_the_executor_has(sandbox: Sandbox) -> None:
    """The compile fails on the submit host, with plain gcc's message."""
    sandbox.write({"only-there.h": "int there;\n"}, sandbox.aside / "full")
    sandbox.write(project("#include <only-there.h>\nint f(void) { return NUMBER; }\n"))
    done = build_as_plain(sandbox, with_mount(sandbox, Path("/usr/local/include"), sandbox.aside / "full"))
    assert done.status == 2
    assert done.figures["remote"] == 0, done.words()
    assert attempts(sandbox) == (1, 0)


def without_groups(sandbox: Sandbox) -> list[str]:
    """Executors that a cluster's daemon started without the user's supplementary groups."""
    sandbox.give(sandbox.aside)
    account, setpriv = sandbox.account, sandbox.aside / "setpriv"
    shutil.copy(needs.program("setpriv", "util-linux"), setpriv)
    setpriv.chmod(0o4755)
    return executors_behind(sandbox, setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups")


@pytest.mark.root
@pytest.mark.overlay
def test_a_header_that_the_user_may_read_by_a_group(sandbox: Sandbox) -> None:
    """The file's state is the same for both, and only the submit host lets the user open it."""
    sandbox.write(project('#include "secret.h"\nint f(void) { return SECRET + NUMBER; }\n'))
    header = sandbox.write({"secret.h": "#define SECRET 7\n"}) / "secret.h"
    os.chown(header, 0, sandbox.account.group or 0)
    header.chmod(0o640)
    done = build_as_plain(sandbox, without_groups(sandbox)).ok()
    assert (done.figures["remote"], done.figures["local"]) == (0, UNITS), done.words()
    assert done.figures["stale"] == UNITS
    count, failed = attempts(sandbox)
    assert count == failed >= UNITS


@pytest.mark.root
@pytest.mark.overlay
def test_a_header_that_the_user_may_read_nowhere(sandbox: Sandbox) -> None:
    """The executor's failure is plain gcc's, so it is final."""
    sandbox.write(project('#include "secret.h"\nint f(void) { return SECRET + NUMBER; }\n'))
    header = sandbox.write({"secret.h": "#define SECRET 7\n"}) / "secret.h"
    os.chown(header, 0, 0)
    header.chmod(0o640)
    done = build_as_plain(sandbox, without_groups(sandbox))
    assert done.status == 2
    assert (done.figures["remote"], done.figures["failed"]) == (UNITS, UNITS), done.words()
    assert attempts(sandbox) == (UNITS, UNITS)


@pytest.mark.root
@pytest.mark.overlay
def test_other_commands_without_the_user_s_groups(sandbox: Sandbox) -> None:
    """A command that the user wants on executors runs on the submit host if an executor may not do what it does."""
    words = ("cat secret >copy", "[ -r secret ] && echo yes >may || echo no >may", "./tool")
    lines = "".join(f"\t@spraycc run --remote sh -c '{command}'\n" for command in words)
    sandbox.write({"Makefile": f"all:\n{lines}"})
    sandbox.write({"secret": "words\n"})
    sandbox.write({"tool": "#!/bin/sh\necho done >made\n"}, mode=0o750)
    for name in ("secret", "tool"):
        os.chown(sandbox.workspace / name, 0, sandbox.account.group or 0)
        (sandbox.workspace / name).chmod(0o750)
    done = sandbox.build("make", options=without_groups(sandbox), executors=1).ok()
    assert [(sandbox.workspace / name).read_bytes() for name in ("copy", "may", "made")] == [
        b"words\n", b"yes\n", b"done\n",
    ]  # fmt: skip
    assert done.out == b""
    assert done.err.decode().splitlines() == done.own_lines()
    assert done.figures["remote"] == 0, done.words()
    assert done.figures["stale"] == 1
    sandbox.stop()
    (counters,) = sandbox.executor_counters()
    # The messages of the first and the last command are never shown. The second command's files are compared.
    assert (counters["refused"], counters["done"]) == (2, 2)
