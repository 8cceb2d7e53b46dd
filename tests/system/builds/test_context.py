"""Builds in another context than that of a server which runs already: each sees its own files, groups and root."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.system.harness import needs
from tests.system.harness.sandbox import Account, Finished, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.overlay]

OPTIONS = ("--wait-for-cluster", "--no-summary-line")

MAKEFILE = """\
out/a.o: a.c h.h
	@gcc -c -o $@ $<
	@cksum out/a.o
"""
FILES = {
    "a.c": '#include "h.h"\nint a(void) { return A; }\n',
    "h.h": "#define A 1\n",
    "out/README": "objects\n",
    "Makefile": MAKEFILE,
}
#: what is mounted over something in the other context
ASIDE = {
    "a.c": '#include "h.h"\nint other(void) { return A; }\n',
    "h.h": "#define A 2\n",
    "cc": '#!/bin/sh\nexec clang "$@"\n',
}


@dataclass(frozen=True)
class World:
    #: shell code around "$@"; $ws, $aside and $gcc are paths
    around: str
    #: program -> Debian package
    packages: dict[str, str]
    #: the files are those of outside
    same: bool = False
    #: an overlay over the workspace is refused, because a mount lies below it
    mounts: bool = False


BWRAP = "bwrap --bind / / --dev-bind /dev /dev"
USER = "unshare --user --map-root-user --mount"
BUBBLEWRAP = {"bwrap": "bubblewrap"}
PROOT = {"proot": "proot"}

WORLDS = {
    "another compiler": World(f'{BWRAP} --ro-bind $aside/cc $gcc -- "$@"', {**BUBBLEWRAP, "clang": "clang"}),
    "another header": World(f'{BWRAP} --ro-bind $aside/h.h $ws/h.h -- "$@"', BUBBLEWRAP, mounts=True),
    "another source": World(f'{BWRAP} --ro-bind $aside/a.c $ws/a.c -- "$@"', BUBBLEWRAP, mounts=True),
    "an empty directory of products": World(f'{BWRAP} --tmpfs $ws/out -- "$@"', BUBBLEWRAP, same=True, mounts=True),
    "a read-only directory of products": World(f'{BWRAP} --ro-bind $ws/out $ws/out -- "$@"', BUBBLEWRAP, mounts=True),
    "a user and a mount namespace": World(
        f"""{USER} sh -c 'mount --bind "$0" "$1"; shift; exec "$@"' $aside/h.h $ws/h.h "$@\"""", {}, mounts=True
    ),
    "a user namespace": World('unshare --user --map-root-user "$@"', {}, same=True),
    "a network namespace": World(f'{BWRAP} --unshare-net -- "$@"', BUBBLEWRAP, same=True),
    "chroot": World(
        f"""{USER} sh -c 'mount --rbind / /mnt; mount --bind "$0" "/mnt$1"; cd /; shift; exec /usr/sbin/chroot /mnt "$@"' """
        """$aside/h.h $ws/h.h env -C $ws "$@\"""",
        {},
        mounts=True,
    ),
    "proot": World('proot -b $aside/h.h:$ws/h.h "$@"', PROOT, mounts=True),
    "no new privileges": World('setpriv --no-new-privs "$@"', {}, same=True),
}


class Worlds:
    """The same build outside, and in the other world."""

    def __init__(self, sandbox: Sandbox, world: World) -> None:
        needs.programs(world.packages)
        self.sandbox = sandbox
        self.world = world
        # In a user namespace the workspace's usual group has no number.
        for directory in (sandbox.workspace, sandbox.workspace / "out"):
            directory.mkdir(exist_ok=True)
            os.chown(directory, sandbox.account.uid, sandbox.account.gid)
            directory.chmod(0o755)
        sandbox.account = replace(sandbox.account, group=None)
        sandbox.write(FILES)
        sandbox.write(ASIDE, below=sandbox.aside)
        (sandbox.aside / "cc").chmod(0o755)
        names = {
            "ws": str(sandbox.workspace),
            "aside": str(sandbox.aside),
            "gcc": os.path.realpath(needs.compiler("gcc")),
        }
        assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in names.items())
        self.prefix = ["sh", "-c", f"{assignments}; {world.around}", "sh"]

    def plain(self, inside: bool) -> tuple[Finished, bytes | None]:
        return self._finish(["make", "-B"], inside)

    def build(self, inside: bool) -> tuple[Finished, bytes | None, int | None]:
        capture = ["--capture", "predict"] if inside and self.world.mounts else []
        command, summary = self.sandbox.build_command(["make", "-B"], options=[*OPTIONS, *capture])
        done, product = self._finish(list(map(str, command)), inside)
        return done, product, self.sandbox.figures(summary).get("remote")

    def _finish(self, words: list[str], inside: bool) -> tuple[Finished, bytes | None]:
        product = self.sandbox.workspace / "out/a.o"
        product.unlink(missing_ok=True)
        done = self.sandbox.run(*(self.prefix if inside else []), *words)
        return done, product.read_bytes() if product.exists() else None


@pytest.mark.parametrize("first", ["outside first", "inside first"])
@pytest.mark.parametrize("name", WORLDS)
def test_each_world_has_its_own_files(sandbox: Sandbox, name: str, first: str) -> None:
    worlds = Worlds(sandbox, WORLDS[name])
    plain = {inside: worlds.plain(inside) for inside in (False, True)}
    assert (plain[False][0].out == plain[True][0].out) == WORLDS[name].same
    for inside in (False, True) if first == "outside first" else (True, False):
        done, product, remote = worlds.build(inside)
        expected, expected_product = plain[inside]
        assert (done.status, done.out, product) == (expected.status, expected.out, expected_product), done.words()
        assert done.status or not done.own_lines()
        assert _without_make(done.err) == _without_make(expected.err)
        # A failure that the capture could have caused is tried on the submit host.
        assert remote == (expected.status == 0)


def _without_make(text: bytes) -> list[bytes]:
    return [line for line in text.splitlines() if not line.startswith(b"make: ***")]


def test_a_container_in_a_recipe(sandbox: Sandbox) -> None:
    """The build is one; the compile in the container runs there, and not on an executor."""
    needs.programs(BUBBLEWRAP)
    sandbox.write(ASIDE, below=sandbox.aside)
    recipe = f"{BWRAP} --ro-bind {sandbox.aside}/h.h {sandbox.workspace}/h.h -- gcc -c -o inside.o a.c"
    sandbox.write({**FILES, "Makefile": f"all:\n\t@gcc -c -o outside.o a.c\n\t@{recipe}\n\t@cksum *.o\n"})
    plain = sandbox.run("make").ok()
    built = sandbox.build("make", options=OPTIONS).ok()
    assert (built.out, built.err) == (plain.out, plain.err)
    assert built.figures["remote"] == 1
    assert any("mount namespace" in reason for reason in built.figures["reasons"]), built.figures


#: Denies reading files outside of the named directories, by Landlock (landlock(7)), and executes a program.
LANDLOCK = """\
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
CREATE, ADD, RESTRICT, READ_FILE, NO_NEW_PRIVS = 444, 445, 446, 4, 38
rules = libc.syscall(CREATE, struct.pack("Q", READ_FILE), 8, 0)
if rules < 0:
    sys.exit(77)
for path in sys.argv[1].split(":"):
    libc.syscall(ADD, rules, 1, struct.pack("<Qi", READ_FILE, os.open(path, os.O_PATH)), 0)
libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.syscall(RESTRICT, rules, 0):
    sys.exit(78)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("around", ["recipe", "build"])
def test_landlock(sandbox: Sandbox, around: str) -> None:
    """Also if the build has no privileges to lose, so that nothing but the rules makes a difference."""
    sandbox.write({**FILES, "secret/z.h": "int z;\n", "z.c": '#include "secret/z.h"\n'})
    sandbox.write({"landlock.py": LANDLOCK}, below=sandbox.aside)
    allowed = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/dev", "/tmp", sandbox.bin.parent, sandbox.base]
    allowed += [path for path in (sandbox.runtime, sandbox.home) if path.exists()]
    inside = [path for path in sandbox.workspace.iterdir() if path.name != "secret"]
    parts = [path for path in sandbox.base.iterdir() if path != sandbox.workspace]
    named = ":".join(map(str, [*(path for path in allowed if path != sandbox.base), *inside, *parts]))
    landlock = ["python3", str(sandbox.aside / "landlock.py"), named]
    if sandbox.run(*landlock, "true").status == 77:
        pytest.skip("this kernel has no Landlock")
    line = shlex.join(landlock) if around == "recipe" else ""
    sandbox.write({"Makefile": f"all:\n\t@gcc -c -o out/a.o a.c\n\t@{line} gcc -c -o out/z.o z.c\n"})
    first = ["setpriv", "--no-new-privs", "--"]
    sandbox.run(*first, *sandbox.build_command(["make", "-n"], options=OPTIONS)[0]).ok()
    words = first + (landlock if around == "build" else [])
    plain = sandbox.run(*words, "make")
    command, _ = sandbox.build_command(["make"], options=OPTIONS)
    built = sandbox.run(*words, *command)
    assert (plain.status, b"secret/z.h: Permission denied" in plain.err) == (2, True), plain.words()
    assert (built.status, b"secret/z.h: Permission denied" in built.err) == (2, True), built.words()


def test_server_stop_ends_the_servers_of_all_contexts(sandbox: Sandbox) -> None:
    needs.programs(BUBBLEWRAP)
    sandbox.write(FILES)
    sandbox.build("make", options=OPTIONS).ok()
    command, _ = sandbox.build_command(["make", "-B"], options=OPTIONS)
    sandbox.run(*shlex.split(BWRAP), *command).ok()
    assert len(list(sandbox.runtime.rglob("socket"))) == 2
    stopped = sandbox.run(sandbox.bin / "spraycc", "server", "stop").ok()
    assert len(stopped.own_lines()) == 2
    assert not list(sandbox.runtime.rglob("socket"))


@pytest.fixture
def private(sandbox: Sandbox) -> Path:
    """A directory of the workspace whose new files get their maker's group."""
    if sandbox.account.group is None:
        pytest.skip("needs a user with a supplementary group")
    directory = sandbox.workspace / "private"
    directory.mkdir()
    os.chown(directory, sandbox.account.uid, sandbox.account.gid)
    directory.chmod(0o755)
    return directory


@pytest.mark.parametrize("first", ["plain first", "sg first"])
def test_the_objects_have_the_builds_group(sandbox: Sandbox, private: Path, first: str) -> None:
    needs.programs({"sg": "login"})
    sandbox.write(FILES)
    makefile = "all: ; @gcc -c -o private/a.o a.c; ar rcD private/a.a private/a.o; stat -c '%n %g %a' private/*\n"
    sandbox.write({"Makefile": makefile})
    private.chmod(0o755)
    group = str(sandbox.account.group)

    def as_group(command: list[str]) -> list[str]:
        import grp

        return ["sg", grp.getgrgid(int(group)).gr_name, "-c", shlex.join(command)]

    def clean() -> None:
        for path in private.iterdir():
            path.unlink()

    ways: dict[str, Callable[[list[str]], list[str]]] = {"plain first": lambda command: command, "sg first": as_group}
    if first == "sg first":
        ways = dict(reversed(ways.items()))
    for way in ways.values():
        plain = sandbox.run(*way(["make"])).ok()
        clean()
        command, summary = sandbox.build_command(["make"], options=OPTIONS)
        built = sandbox.run(*way(list(map(str, command)))).ok()
        clean()
        assert (built.out, built.err) == (plain.out, plain.err)
        assert sandbox.figures(summary)["remote"] == 1


@pytest.mark.root
def test_a_server_from_before_the_user_joined_the_group(make_sandbox: Callable[[Account], Sandbox]) -> None:
    sandbox = make_sandbox(Account.unprivileged())
    sandbox.write({**FILES, "u.c": "int u;\n", "Makefile": "all: ; @gcc -c u.c && gcc -c a.c\n"})
    (sandbox.workspace / "u.c").chmod(0o640)
    os.chown(sandbox.workspace / "u.c", 0, sandbox.account.group or 0)
    command, _ = sandbox.build_command(["make"], options=OPTIONS)
    user = Account(
        sandbox.account.name, 0, 0, sandbox.account.home, None
    )  # starts as root, and becomes the user itself
    without = ["setpriv", f"--reuid={sandbox.account.uid}", f"--regid={sandbox.account.gid}", "--clear-groups", "--"]
    groups, sandbox.account = sandbox.account, user
    failed = sandbox.run(*without, *command)
    sandbox.account = groups
    assert failed.status == 2
    assert b"u.c: Permission denied" in failed.err
    built = sandbox.build("make", options=OPTIONS).ok()
    assert built.figures["remote"] == 2


@pytest.mark.root
def test_sudo_in_a_recipe(root_sandbox: Sandbox) -> None:
    needs.program("sudo")
    user = Account.unprivileged()
    root_sandbox.write(
        {**FILES, "Makefile": f"all: ; @sudo -u {user.name} gcc -c -o open/a.o a.c; stat -c %U open/a.o\n"}
    )
    (root_sandbox.workspace / "open").mkdir()
    (root_sandbox.workspace / "open").chmod(0o777)
    plain = root_sandbox.run("make").ok()
    (root_sandbox.workspace / "open/a.o").unlink()
    built = root_sandbox.build("make", options=OPTIONS).ok()
    assert (built.out, built.err) == (plain.out, plain.err) == (f"{user.name}\n".encode(), b"")


@pytest.mark.root
def test_a_root_that_is_the_same_directory_by_another_mount(root_sandbox: Sandbox) -> None:
    """A bind mount of the root shows what other mounts hide."""
    ws, aside = root_sandbox.workspace, root_sandbox.aside
    root_sandbox.write({**FILES, "Makefile": f"all: ; @$(IN) gcc -c -o {ws}/a.o {ws}/a.c; cksum a.o\n"})
    root_sandbox.write(ASIDE, below=aside)
    hidden = f"mount --bind / /mnt; mount --bind /dev /mnt/dev; mount --bind {aside}/h.h {ws}/h.h"

    def both(*make: str) -> Finished:
        mounts = f'{hidden}; mount -t proc proc /mnt/proc; "$@" IN=; "$@" IN="/usr/sbin/chroot /mnt"'
        return root_sandbox.run("unshare", "--mount", "sh", "-c", mounts, "sh", *make).ok()

    plain = both("make")
    assert len(set(plain.out.splitlines())) == 2
    # An overlay over the workspace is refused, because a mount lies below it.
    command, summary = root_sandbox.build_command(["make"], options=(*OPTIONS, "--capture", "predict"))
    assert both(*map(str, command)).out == plain.out
    assert root_sandbox.figures(summary)["remote"] == 0


def test_a_mount_over_the_working_directory(sandbox: Sandbox) -> None:
    worlds = Worlds(sandbox, World(f"""{USER} sh -c 'mount -t tmpfs none .; exec "$@"' sh "$@\"""", {}))
    sandbox.write({"Makefile": "all: ; @gcc -c -o out/a.o a.c; cksum out/a.o; rm out/a.o\n"})
    plain, _ = worlds.plain(inside=True)
    assert plain.status == 0
    done, _, remote = worlds.build(inside=True)
    assert (done.status, done.out, remote) == (0, plain.out, 0), done.words()
