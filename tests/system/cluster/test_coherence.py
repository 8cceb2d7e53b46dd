"""Executors whose host sees other files than the submit host: none of their objects is used."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.nfs import scenarios
from tests.system.cluster.ssh_server import SshServer
from tests.system.harness import needs
from tests.system.harness.projects import GatedCompiler
from tests.system.harness.sandbox import Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.overlay]

UNITS = 6
MAKEFILE = """\
UNITS := 1 2 3 4 5 6
all: $(UNITS:%=u%.o)
u%.o: ../src/u%.c
\tgcc -I../first -I../inc -c $< -o $@
clean:
\trm -f *.o
"""
UNIT = '#include "value.h"\nconst char mark[] = "MARK" VALUE;\n'


@pytest.fixture
def sandbox(ssh: SshServer) -> Sandbox:
    """Sources, headers and objects in separate directories; make runs in the objects' directory."""
    files = {f"src/u{number}.c": UNIT for number in range(1, UNITS + 1)}
    ssh.sandbox.write({**files, "inc/value.h": '#define VALUE "one"\n', "first/.keep": "", "obj/Makefile": MAKEFILE})
    return ssh.sandbox


def marks(sandbox: Sandbox) -> set[bytes]:
    """The header versions from which the objects were made."""
    objects = sorted((sandbox.workspace / "obj").glob("*.o"))
    assert len(objects) == UNITS
    return {text[text.index(b"MARK") + 4 :].partition(b"\0")[0] for text in (path.read_bytes() for path in objects)}


def hosts_see(sandbox: Sandbox, instead_of: str, directory: Path) -> list[str]:
    """Options that mount another directory over ``directory`` for executors."""
    script = f"""\
#!/bin/sh
exec unshare --user --map-current-user --mount --keep-caps \\
    sh -c 'mount --bind "$0" "{sandbox.workspace / instead_of}" && exec "$@"' "{directory}" "$@"
"""
    wrapper = sandbox.write({"elsewhere": script}, sandbox.aside, mode=0o755) / "elsewhere"
    # An overlay over the workspace is refused, because a mount lies below it.
    return ["--executor-prefix", str(wrapper), "--capture", "auto"]


def build(sandbox: Sandbox, *options: str) -> dict[str, int]:
    command, summary = sandbox.build_command(["make", "-j4"], options, executors=4)
    sandbox.run(*command, cwd=sandbox.workspace / "obj").ok()
    return sandbox.figures(summary)


def test_where_both_see_the_same_all_is_done_by_executors(sandbox: Sandbox) -> None:
    figures = build(sandbox, "--wait-for-cluster")
    assert marks(sandbox) == {b"one"}
    assert (figures["remote"], figures["local"], figures["stale"]) == (UNITS, 0, 0)
    for text, change in (("two", "edited"), ("three", "replaced"), ("four", "earlier in the search order")):
        header = sandbox.workspace / "inc/value.h"
        if change == "replaced":
            sandbox.write({"inc/t": f'#define VALUE "{text}"\n'})
            (sandbox.workspace / "inc/t").rename(header)
        elif change == "edited":
            sandbox.write({"inc/value.h": f'#define VALUE "{text}"\n'})
        else:
            sandbox.write({"first/value.h": f'#define VALUE "{text}"\n'})
        sandbox.run("make", "clean", cwd=sandbox.workspace / "obj").ok()
        figures = build(sandbox, "--wait-for-cluster")
        assert marks(sandbox) == {text.encode()}, change
        assert (figures["remote"], figures["local"], figures["stale"]) == (UNITS, 0, 0), change


@pytest.mark.parametrize("theirs", ["an old header", "a header that is not here", "no header"])
def test_where_hosts_see_other_files_it_runs_here(sandbox: Sandbox, theirs: str) -> None:
    """The executors compare the told stamps, find that they differ, and refuse; or the proof shows the difference."""
    other = sandbox.aside / "other"
    other.mkdir()
    other.chmod(0o755)
    files = {"an old header": {"value.h": '#define VALUE "old"\n'}, "no header": {".keep": ""}}
    sandbox.write(files.get(theirs, {"value.h": '#define VALUE "other"\n'}), other)
    options = hosts_see(sandbox, "first" if theirs == "a header that is not here" else "inc", other)
    figures = build(sandbox, "--wait-for-cluster", *options)
    assert marks(sandbox) == {b"one"}
    assert figures["remote"] == 0
    assert figures["stale"] >= UNITS
    why = sandbox.run(sandbox.bin / "spraycc", "why", "u1.o", cwd=sandbox.workspace / "obj").ok().out.decode()
    assert str(sandbox.workspace) in why, why


@pytest.mark.parametrize("has_another", [True, False], ids=["another is found", "none is found"])
@pytest.mark.parametrize(
    ("where", "as_written"),
    [("/tmp", ""), ("/var/tmp", ""), ("/dev/shm", ""), ("/tmp", "/usr/.."), ("/var/tmp", "/.//usr/bin/../..")],
)
def test_a_header_on_the_submit_hosts_own_disk(
    sandbox: Sandbox, where: str, as_written: str, has_another: bool
) -> None:
    """Each executor has another disk at this place, without that header."""
    with tempfile.TemporaryDirectory(dir=where) as directory:
        script = f"""\
#!/bin/sh
exec unshare --user --map-current-user --mount --keep-caps sh -c 'mount -t tmpfs none {directory} && exec "$0" "$@"' "$@"
"""
        wrapper = sandbox.write({"own-disk": script}, sandbox.aside, mode=0o755) / "own-disk"
        sandbox.write({"value.h": '#define VALUE "local"\n'}, Path(directory))
        sandbox.give(Path(directory))
        makefile = sandbox.workspace / "obj/Makefile"
        makefile.write_text(makefile.read_text().replace("-I../first", f"-I{as_written}{directory}"))
        if not has_another:
            (sandbox.workspace / "inc/value.h").unlink()
        figures = build(sandbox, "--wait-for-cluster", "--executor-prefix", str(wrapper))
    assert marks(sandbox) == {b"local"}
    assert figures["remote"] == 0


def test_a_header_that_changes_while_its_unit_compiles(sandbox: Sandbox) -> None:
    """The object equals the object of a compile after the change."""
    compiler = GatedCompiler(sandbox)
    command, summary = sandbox.build_command(["make", "-j4"], ["--wait-for-cluster"], executors=4)
    with sandbox.start(command, cwd=sandbox.workspace / "obj") as process:
        sandbox.wait_for_busy_executors(4)
        sandbox.write({"inc/value.h": '#define VALUE "two"\n'})
        os.utime(sandbox.workspace / "inc/value.h", (1, 1))
        compiler.open()
        assert process.wait(HANG_S) == 0
    assert marks(sandbox) == {b"two"}
    assert sandbox.figures(summary)["remote"] == UNITS


#: An executor's view of the workspace through a client that caches everything for a minute, as an NFS client may. The
#: second user namespace gives the executor its own uid again.
OLD_VIEW = """\
#!/bin/sh
# old-view WORKSPACE REAL PROGRAM...
case $1 in --inside) shift ;; *) exec unshare --user --map-root-user --mount "$0" --inside "$(id -u)" "$(id -g)" "$@" ;; esac
uid=$1 gid=$2 workspace=$3 real=$4
shift 4
mount --bind "$workspace" "$real"
bindfs -f -o nonempty,attr_timeout=60,entry_timeout=60,negative_timeout=60 "$real" "$workspace" &
bindfs=$!
until mountpoint -q "$workspace"; do sleep 0.02; kill -0 $bindfs || exit 1; done
trap : TERM INT HUP
unshare --user --map-user="$uid" --map-group="$gid" "$@" &
executor=$!
until wait $executor; status=$?; ! kill -0 $executor 2>/dev/null; do kill $executor; done
kill $bindfs
exit $status
"""

CHANGES = {
    "edited": "printf '#define VALUE \"new\"\\n' >../inc/value.h",
    "replaced": "printf '#define VALUE \"new\"\\n' >../inc/t; mv ../inc/t ../inc/value.h",
    "earlier in the search order": "printf '#define VALUE \"new\"\\n' >../first/value.h",
    "deleted and made again": "rm ../inc/value.h; printf '#define VALUE \"new\"\\n' >../inc/value.h",
    "directory replaced": "mv ../inc ../old; mkdir ../inc; printf '#define VALUE \"new\"\\n' >../inc/value.h",
}


@pytest.fixture
def old_view(sandbox: Sandbox) -> list[str]:
    """Options with which each executor has this view."""
    needs.program("bindfs")
    if not os.access("/dev/fuse", os.W_OK) or not os.stat("/dev/fuse").st_mode & 0o002:
        needs.missing("a /dev/fuse that users may open", "bindfs")
    wrapper = sandbox.write({"old-view": OLD_VIEW}, sandbox.aside, mode=0o755) / "old-view"
    real = sandbox.aside / "real"
    real.mkdir()
    real.chmod(0o777)
    return ["--executor-prefix", f"{wrapper} {sandbox.workspace} {real}"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_client_that_keeps_what_it_has_seen_makes_no_wrong_object(
    sandbox: Sandbox, old_view: list[str], change: str
) -> None:
    assert build(sandbox, "--wait-for-cluster", *old_view)["remote"] == UNITS
    assert marks(sandbox) == {b"one"}
    sandbox.run("sh", "-c", f"rm *.o; {CHANGES[change]}", cwd=sandbox.workspace / "obj").ok()
    build(sandbox, "--wait-for-cluster", *old_view)
    assert marks(sandbox) == {b"new"}


def test_every_change_that_real_nfs_hides_through_such_a_client(sandbox: Sandbox, old_view: list[str]) -> None:
    """The compiles, changes and the judge of tests/nfs, which runs them on real NFS."""
    tries = sandbox.workspace / "tries"
    scenarios.write(tries, 1)
    sandbox.give(tries)
    command, summary = sandbox.build_command(
        ["make", "-j4", "all"], ["--wait-for-cluster", *old_view], executors=4
    )  # fmt: skip
    sandbox.run(*command, cwd=tries).ok()
    sandbox.run("make", "-s", "-j2", "expected", cwd=tries).ok()
    table = scenarios.rows(scenarios.judge(tries))
    assert set(table) == set(scenarios.SCENARIOS)
    assert {name: row.verdicts for name, row in table.items() if row.bad} == {}
    assert sandbox.figures(summary)["remote"] >= len(table)
