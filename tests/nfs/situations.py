"""File servers and users of special kinds. Each function does one build, plainly and with SprayCC, to compare the two.

All of them have the same expectation: the status and the files of plain make, and no leftovers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.nfs.builds import Workspace, project, workspace
from tests.nfs.machine import CLIENTS, PROJ, Machine, Mount

#: Prints the names and the contents of the files of a build, and files that must not be left behind.
_DIGEST = "find . -name '*.[od]' | sort | xargs -r sha256sum | sha256sum | cut -c1-16; find . -name '*.[od]' | wc -l"
_LEFTOVERS = r"find . -name '.nfs*' -o -name '.spraycc-*'"
_CLEAR = "find . -name '*.[od]' -delete"


@dataclass(frozen=True)
class Outcome:
    """How a build ended."""

    status: int
    files: str  #: a hash of the objects and depfiles, and their number
    leftovers: str = ""


@dataclass(frozen=True)
class Comparison:
    """Plain make, and SprayCC's make of the same tree."""

    plain: Outcome
    ours: Outcome
    remote: int  #: tasks that came from executors
    output: str  #: of SprayCC's make


def file_server_hangs(machine: Machine, mount: Mount, seconds: int = 20) -> Comparison:
    """The file server is silent for some seconds in the middle of the build: the build waits, and ends in the ordinary way."""
    units = 60
    with workspace(machine, mount, fill=project(units)) as space:
        plain = _outcome(space, space.run("make -s -j2", check=False).status)
        space.run_on_server(_CLEAR, user="root")
        space.start()
        space.run_on_server(
            'sh -c \'until [ $(ls src | grep -c "[.]o$") -ge 5 ]; do sleep 0.05; done\n'
            "nft add table inet rig\n"
            'nft add chain inet rig input "{ type filter hook input priority 0; }"\n'
            "nft add rule inet rig input tcp dport 2049 drop\n"
            'ls src | grep -c "[.]o$" >/tmp/objects\n'
            f"sleep {seconds}; nft delete table inet rig' >/dev/null 2>&1 &",
            user="root",
        )
        done = space.build("make -s -j2", check=False)
        ours = _outcome(space, done.status)
        at_the_fault = int(machine.run("cat /tmp/objects").output)
        assert at_the_fault < units, "the build was over before the file server was silent"
        return Comparison(plain, ours, space.remote(), done.output)


def root_is_squashed(machine: Machine, mount: Mount) -> Comparison:
    """root builds. The file server takes root for nobody (root_squash), and the tree is writable for everybody."""
    with workspace(machine, mount, user="root", mode="1777", fill=f"{project(10)}\nchmod 777 src") as space:
        return _compare(space)


def group_beyond_the_sixteenth(machine: Machine, mount: Mount, managed: bool) -> Comparison:
    """A user may write because of the last of 22 groups, and NFS carries 16.

    Plain make is refused, unless the file server looks up the groups itself (``managed``, mountd's --manage-gids).
    """
    try:
        if managed:
            _restart_mountd(machine, "--manage-gids")
        with workspace(machine, mount, user="dev2") as space:
            tree = f"{space.path}/tree"
            space.run_on_server(
                f"mkdir tree && cd tree && set -- 10 && {project(10)}\n"
                f"cd .. && chown -R root:g20 {tree} && chmod -R g+rwX,o= {tree} && chmod g+s {tree} {tree}/src",
                user="root",
            )
            return _compare(space, "-C tree")
    finally:
        if managed:
            _restart_mountd(machine)


def home_is_on_nfs(machine: Machine, mount: Mount) -> Comparison:
    """The home directories lie on the same file server: SprayCC's state and logs, and the keys for ssh."""
    with workspace(machine, mount, fill=project(10)) as space, homes_on_nfs(space) as home:
        comparison = _compare(space)
        space.stop()
        assert machine.run(f"ls {home}/dev/.local/state/spraycc").output, "SprayCC's state is not on NFS"
        return comparison


@contextmanager
def homes_on_nfs(space: Workspace) -> Iterator[str]:
    """Puts a copy of the home directories beside the workspace, and mounts it on both hosts. Gives its path.

    The context's end stops SprayCC, which uses files in the home directories.
    """
    home = f"{PROJ}/home-of-{space.path.rsplit('/', 1)[1]}"
    space.machine.run(f"cp -a /home {home}")
    try:
        for host in CLIENTS:
            space.machine.run(f"mount --bind {home} /home", host=host)
        yield home
    finally:
        space.stop()
        for host in CLIENTS:
            space.machine.run("for n in 1 2 3 4 5; do umount /home && exit; sleep 1; done; exit 1", host=host)


def _compare(space: Workspace, where: str = "") -> Comparison:
    plain = _outcome(space, space.run(f"make -s -j2 {where}", check=False).status)
    space.run_on_server(_CLEAR, user="root")
    space.start()
    done = space.build(f"make -s -j2 {where}", check=False)
    return Comparison(plain, _outcome(space, done.status), space.remote(), done.output)


def _outcome(space: Workspace, status: int) -> Outcome:
    files = space.run_on_server(f"rm -f warm.o; {_DIGEST}", user="root").output
    return Outcome(status, " ".join(files.split()), space.run_on_server(_LEFTOVERS, user="root").output)


def _restart_mountd(machine: Machine, option: str = "") -> None:
    machine.run(
        "kill $(pidof rpc.mountd); while pidof rpc.mountd >/dev/null; do sleep 0.1; done\n"
        f"rpc.mountd {option}; exportfs -f"
    )
