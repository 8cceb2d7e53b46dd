"""The files that commands make, as the executor reports them, and the refusals."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

import pytest

from spraycc.stamps import FILE, LINK, look
from spraycc.wire.executor import Deleted, FileHole, MadeDirectory, MadeFile, MadeSymlink


@pytest.fixture
def tree(executor, place):
    """A workspace with some files."""
    ws = executor.workspace
    for name in ("d", "d/sub", "e"):
        place.directory(f"ws/{name}")
    for name in ("a", "b", "d/x", "d/y", "d/sub/z", "e/f"):
        place.file(ws / name, name)
    old = time.time_ns() - 3_600_000_000_000
    os.utime(ws / "a", ns=(old, old))
    return bytes(ws)


def _kinds(result):
    """(kind, path below the workspace) in the order of the messages."""
    return [(type(m).__name__, m.path.decode().partition("/ws/")[2]) for m in result.made if hasattr(m, "path")]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 1 > n", [("MadeFile", "n")]),
        ("echo 1 >> a", [("MadeFile", "a")]),
        ("rm a", [("Deleted", "a")]),
        ("mv a n", [("Deleted", "a"), ("MadeFile", "n")]),
        ("mv a b", [("Deleted", "a"), ("MadeFile", "b")]),
        ("mkdir -p n/m && echo > n/m/f", [("MadeDirectory", "n"), ("MadeDirectory", "n/m"), ("MadeFile", "n/m/f")]),
        ("rm -r d", [("Deleted", "d")]),
        ("rm -r d && mkdir d", [("MadeDirectory", "d")]),
        ("rm -r d && mkdir d && echo > d/x", [("MadeDirectory", "d"), ("MadeFile", "d/x")]),
        ("rm -r d && echo > d", [("Deleted", "d"), ("MadeFile", "d")]),
        ("rm -r d && ln -s e d", [("Deleted", "d"), ("MadeSymlink", "d")]),
        ("rm a && mkdir a", [("Deleted", "a"), ("MadeDirectory", "a")]),
        ("mv d n", [("Deleted", "d"), ("MadeDirectory", "n"), ("MadeDirectory", "n/sub"), ("MadeFile", "n/x"), ("MadeFile", "n/y"), ("MadeFile", "n/sub/z")]),
        ("chmod 750 d", [("MadeDirectory", "d")]),
        ("chmod 600 a", [("MadeFile", "a")]),
        ("ln -s a l", [("MadeSymlink", "l")]),
        ("rm d/sub/z; touch d/sub/w; rm d/sub/w", [("Deleted", "d/sub/z")]),
        ("echo > n; rm n", []),
        ("mkdir n; rmdir n", []),
        ("cat a d/x > /dev/null; ls -R > /dev/null", []),
    ],
)  # fmt: skip
def test_what_is_produced(executor, tree, script, expected):
    result = executor.shell(script)
    assert (result.ended.code, result.ended.refusal, result.stderr) == (0, "", b"")
    found = _kinds(result)
    assert sorted(found, key=expected.index) == expected
    order = ["Deleted", "MadeDirectory", "MadeSymlink", "MadeFile"]
    assert [order.index(kind) for kind, _ in found] == sorted(order.index(kind) for kind, _ in found)


def test_an_emptied_directory_is_told_from_a_new_one(executor, tree):
    result = executor.shell("rm -r d && mkdir d new && chmod 700 e")
    assert {m.path[len(tree) + 1 :]: (m.emptied, m.mode) for m in result.of(MadeDirectory)} == {
        b"d": (True, 0o755), b"new": (False, 0o755), b"e": (False, 0o700),
    }  # fmt: skip


def test_parents_come_before_children(executor, tree):
    result = executor.shell("mkdir -p n/m/o p")
    paths = [m.path for m in result.of(MadeDirectory)]
    assert sorted(paths) == [tree + b"/" + p for p in (b"n", b"n/m", b"n/m/o", b"p")]
    assert all(os.path.dirname(p) in [tree, *paths[:i]] for i, p in enumerate(paths))


def test_contents_modes_and_targets(executor, tree):
    result = executor.shell(
        "printf 123 > n; chmod 4751 n; : > empty; ln -s 'no where' l; chmod 000 b; mkdir -m 000 shut"
    )
    files = {m.path[len(tree) + 1 :]: (m.mode, m.size_bytes, m.data) for m in result.of(MadeFile)}
    assert files == {b"n": (0o4751, 3, b"123"), b"empty": (0o644, 0, b""), b"b": (0, 1, b"b")}
    assert [m.target for m in result.of(MadeSymlink)] == [b"no where"]
    assert [m.mode for m in result.of(MadeDirectory)] == [0]


def test_what_lies_in_a_closed_directory_is_found(executor, tree):
    result = executor.shell("mkdir n && echo x > n/f && chmod 000 n/f && chmod 100 n")
    assert [(m.path, m.mode) for m in result.of(MadeDirectory)] == [(tree + b"/n", 0o100)]
    assert result.files == {tree + b"/n/f": b"x\n"}


@pytest.mark.parametrize(
    ("script", "sizes"),
    [
        ("truncate -s 3M n", [3 << 20]),
        ("truncate -s 3M n; printf x | dd of=n conv=notrunc", [(3 << 20) - 4096]),
        ("truncate -s 3M n; printf x | dd of=n bs=1M seek=1 conv=notrunc", [1 << 20, (2 << 20) - 4096]),
        ("truncate -s 3M n; printf x | dd of=n bs=1M seek=3 conv=notrunc", [3 << 20]),
    ],
)
def test_holes_are_not_sent(executor, tree, script, sizes):
    result = executor.shell(f"({script}) 2>/dev/null; cp n m; mv m n")
    assert [m.size_bytes for m in result.of(FileHole)] == sizes
    (content,) = result.files.values()
    assert len(content) == result.made[0].size_bytes
    assert content.count(b"x") == script.count("printf")


@pytest.mark.parametrize(("size", "pieces"), [(0, 0), (1, 0), (256 * 1024, 0), (256 * 1024 + 1, 1), (3_000_000, 3)])
def test_pieces_of_a_file(executor, tree, size, pieces):
    result = executor.shell(f"head -c {size} /dev/urandom > n; cksum < n; cp n m")
    made = result.made
    assert [type(m).__name__ for m in made] == (["MadeFile"] + ["Piece"] * pieces) * 2
    first, second = result.files.values()
    assert len(first) == size
    assert first == second
    assert made[0].size_bytes == size
    assert subprocess.run(["cksum"], input=first, capture_output=True, check=True).stdout == result.stdout


def test_outputs_come_last_in_their_order(executor, tree):
    names = [b"z.d", b"d/x.dwo", b"a.o"]
    outputs = tuple(tree + b"/" + n for n in names)
    result = executor.shell("for f in a.o z.d zz d/x.dwo; do echo > $f; done", outputs=outputs)
    assert list(result.files) == [tree + b"/zz", *outputs]


def test_explicit_times_are_kept_and_others_are_now(executor, tree):
    began = time.time_ns()
    result = executor.shell(
        "touch -d @1000000000.5 t; echo > n; chmod 600 a; mkdir m; touch -d @7 m; touch -d '+1 hour' f"
    )
    times = {m.path[len(tree) + 1 :]: m.mtime_ns for m in result.made}
    future = times.pop(b"f")
    assert times == {
        b"t": 1_000_000_000_500_000_000, b"n": None, b"m": 7_000_000_000, b"a": os.stat(tree + b"/a").st_mtime_ns,
    }  # fmt: skip
    # touch takes the time from the kernel's clock, which advances in steps of up to 10 ms.
    assert began - 10_000_000 <= future - 3_600_000_000_000 <= time.time_ns()


def test_the_shared_tree_is_never_written(executor, tree):
    def everything():
        return sorted(
            (directory, name, os.lstat(os.path.join(directory, name)).st_ctime_ns)
            for directory, names, files in os.walk(tree)
            for name in names + files
        )

    before = everything()
    executor.shell("echo > a; rm -r d; mkdir d; mv b c; chmod 700 e; echo > n", outputs=(tree + b"/d/x",))
    assert everything() == before


def test_each_task_sees_the_shared_tree_anew(executor, tree, place):
    assert executor.shell("cat a; cat n").stdout == b"a"
    place.file(executor.workspace / "n", "new")
    place.file(executor.workspace / "a", "changed")
    assert executor.shell("cat a; cat n").stdout == b"changednew"


@pytest.mark.parametrize("script", ["ln a n", "echo > n; ln n d/n", "echo more >> d/one"])
def test_files_of_several_names_are_refused(executor, tree, script):
    os.link(tree + b"/b", tree + b"/d/one")
    result = executor.shell(script)
    assert (result.ended.refusal, result.made) == ("unsupported", [])
    assert executor.shell("rm d/one").of(Deleted) != []


@pytest.mark.parametrize("made", ["python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'", "mkfifo p"])
def test_sockets_and_fifos_are_refused(executor, tree, made):
    result = executor.shell(f"echo > f; {made}")
    assert result.ended.refusal == "unsupported"
    assert result.made == []


@pytest.mark.parametrize("script", ["chmod 750 .", "echo > n; chmod 700 ."])
def test_another_mode_of_the_workspace_is_refused(executor, tree, script):
    """The server changes only what is inside of it."""
    result = executor.shell(script)
    assert (result.ended.refusal, result.made) == ("unsupported", [])
    assert "the server makes changes inside of it only" in result.ended.text


def test_a_write_outside_is_refused(executor, tree, place):
    outside = place.directory("outside")
    result = executor.shell(f"echo > n; echo > {outside}/f")
    assert (result.ended.refusal, result.made) == ("copy-up", [])
    assert "EROFS" in result.ended.text
    assert list(outside.iterdir()) == []


def test_a_command_that_bears_it_in_silence_counts(executor, tree, place):
    outside = place.directory("outside")
    script = f"echo > {outside}/f || echo > n"
    assert executor.shell(script).ended.refusal == "copy-up"  # it succeeded, although an operation failed
    result = executor.shell(f"{{ {script}; }} 2> /dev/null")
    assert (result.ended.code, result.ended.refusal, list(result.files)) == (0, "", [tree + b"/n"])


def test_more_roots(executor, tree, place):
    other, third = place.directory("other"), place.directory("third")
    result = executor.shell(
        f"echo 1 > {other}/f; echo 2 > {third}/f; echo 3 > f",
        roots=(tree, bytes(other)), optional_roots=(bytes(third), b"/nowhere"),
    )  # fmt: skip
    assert result.files == {bytes(other) + b"/f": b"1\n", bytes(third) + b"/f": b"2\n", tree + b"/f": b"3\n"}


def test_a_root_reached_by_a_link(executor, tree, place):
    link = place.top / "link"
    link.symlink_to(executor.workspace)
    result = executor.shell("echo > d/n", roots=(bytes(link),), cwd=bytes(link), outputs=(bytes(link) + b"/d/n",))
    assert list(result.files) == [tree + b"/d/n"]


def test_a_root_with_the_scratch_directory_below(executor, place):
    place.directory("ws/in")
    result = executor.shell(
        "echo > n",
        roots=(bytes(place.top),),
        cwd=bytes(executor.workspace) + b"/in",
        outputs=(bytes(executor.workspace) + b"/in/n",),
    )
    assert list(result.files) == [bytes(executor.workspace) + b"/in/n"]
    refused = executor.shell("true", roots=(bytes(place.top),), cwd=bytes(place.top))
    assert refused.ended.refusal == "root"
    assert "scratch" in refused.ended.text


def test_objects_are_those_of_a_local_run(executor, tree, place):
    place.file(executor.workspace / "u.c", "#include <stdio.h>\nint main(void) { return printf(__DATE__); }\n")
    words = ["gcc", "-g", "-O2", "-MMD", "-MF", "d/u.d", "-c", "u.c", "-o", "d/u.o"]
    result = executor.run(*words, outputs=(tree + b"/d/u.d", tree + b"/d/u.o"))
    assert (result.ended.code, result.stderr) == (0, b"")
    local = place.directory("local")
    shutil.copytree(executor.workspace, local, dirs_exist_ok=True)
    subprocess.run(words, cwd=executor.workspace, check=True)
    assert list(result.files.items()) == [
        (tree + b"/d/u.d", (executor.workspace / "d" / "u.d").read_bytes()),
        (tree + b"/d/u.o", (executor.workspace / "d" / "u.o").read_bytes()),
    ]


@pytest.fixture
def shared_tree(executor, place, who):
    """A setgid tree of a project's group, which is not the primary group. Another member has built in it before."""
    if who.other_group is None:
        pytest.skip("this user is in one group only")
    ws = executor.workspace
    for name in ("src", "src/lib", "obj"):
        (ws / name).mkdir()
    for path in [ws, *ws.rglob("*")]:
        # Owned by root if possible: a member of the group works in directories of others.
        os.chown(path, os.geteuid() if path.name == "obj" else who.uid, who.other_group)
        path.chmod(0o2775)
    place.file(ws / "src" / "lib" / "u.c", "int f(void) { return 1; }\n", group=who.other_group)
    for name in ("obj/u.o", "obj/u.d"):
        (ws / name).write_text("of another member\n")
        os.chown(ws / name, os.geteuid(), who.other_group)
        (ws / name).chmod(0o664)
    return ws


@pytest.mark.parametrize("cwd", ["", "src/lib"])
def test_a_compile_in_a_setgid_tree_of_another_group(executor, shared_tree, cwd):
    source, objects = shared_tree / "src" / "lib" / "u.c", shared_tree / "obj"
    outputs = tuple(bytes(objects / name) for name in ("u.d", "u.o"))
    result = executor.run(
        "gcc", "-MMD", "-MF", str(objects / "u.d"), "-c", str(source), "-o", str(objects / "u.o"),
        cwd=bytes(shared_tree / cwd), outputs=outputs,
    )  # fmt: skip
    assert (result.ended.code, result.ended.refusal, result.stderr) == (0, "", b""), result.ended
    assert list(result.files) == list(outputs)
    assert result.files[outputs[1]].startswith(b"\x7fELF")
    assert len(result.made) == 2


def test_outputs_that_are_left_alone_are_not_sent(executor, shared_tree):
    outputs = tuple(bytes(shared_tree / "obj" / name) for name in ("u.d", "u.o"))
    assert executor.run("true", outputs=outputs).made == []
    result = executor.shell("cat obj/u.o; echo more >> obj/u.d", outputs=outputs)
    assert result.stdout == b"of another member\n"
    assert result.files == {outputs[0]: b"of another member\nmore\n"}


@pytest.mark.parametrize("kind", [FILE, LINK])
def test_the_old_contents_of_an_output_of_another_group_are_the_originals(executor, shared_tree, kind):
    """The command appends to a copy of the executor's, whose inode and times the server does not know."""
    outputs = tuple(bytes(shared_tree / "obj" / name) for name in ("u.d", "u.o"))
    lookup = kind + outputs[0]
    before = look(lookup)
    script = "echo more >>obj/u.d" if kind == FILE else "ls -l obj/u.d >/dev/null; echo more >>obj/u.d"
    result = executor.shell(script, outputs=outputs, prove=True)
    assert result.files == {outputs[0]: b"of another member\nmore\n"}
    assert dict(result.reads.others)[lookup] == before


def test_known_outputs_can_be_deleted_renamed_and_replaced(executor, shared_tree):
    outputs = tuple(bytes(shared_tree / "obj" / name) for name in ("u.d", "u.o"))
    result = executor.shell("rm obj/u.d; echo new > obj/t; mv obj/t obj/u.o", outputs=outputs)
    assert result.ended.refusal == ""
    assert [m.path for m in result.of(Deleted)] == [outputs[0]]
    assert result.files == {outputs[1]: b"new\n"}


def test_what_is_met_unprepared_in_a_setgid_tree_is_refused_not_failed(executor, shared_tree, who):
    """An unpredicted output in a directory that can't be copied up."""
    result = executor.shell("echo > obj/surprise")
    if who.uid == 0:
        assert list(result.files) == [bytes(shared_tree / "obj" / "surprise")]
    else:
        assert (result.ended.refusal, result.made) == ("copy-up", [])


def test_a_file_of_somebody_else_that_we_may_write_is_refused(executor, who):
    """The namespace has no other owner, so the file can't be copied up. root's overlay has all owners."""
    foreign = executor.workspace / "foreign"
    foreign.write_text("theirs\n")
    os.chown(foreign, os.geteuid(), os.getegid())
    foreign.chmod(0o666)
    result = executor.shell("echo ours >> foreign")
    if who.uid in (0, os.geteuid()):
        assert result.files == {bytes(foreign): b"theirs\nours\n"}
    else:
        assert (result.ended.refusal, result.made) == ("copy-up", [])


def test_a_directory_that_is_closed_to_us_stays_closed(executor, place, who):
    closed = executor.workspace / "closed"
    closed.mkdir()
    os.chown(closed, os.geteuid(), os.getegid())
    closed.chmod(0o755)
    result = executor.shell("echo > closed/f", outputs=(bytes(closed) + b"/f",))
    if who.uid in (0, os.geteuid()):
        assert list(result.files) == [bytes(closed) + b"/f"]
    else:
        assert (result.ended.code != 0, result.ended.refusal, result.made) == (True, "", [])
        assert b"Permission denied" in result.stderr
