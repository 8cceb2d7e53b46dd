"""An executor's report of the files that a command has read, and the stamps that it is told before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor.box import find_box
from spraycc.executor.host import Host, explore
from spraycc.executor.proof import bit_set
from spraycc.stamps import CONTENTS, EXISTS, FILE, MISSING, NAMES, Lookup, look
from spraycc.system.file_contents import FileContents
from tests.system.executor.conftest import Result, Running

pytestmark = [pytest.mark.overlay]

SOURCE = '#include "first.h"\n#include "value.h"\nint value = VALUE;\n'


@pytest.fixture
def unit(executor: Running) -> Path:
    """A unit with headers in two directories; objects go to a third."""
    for name, text in {
        "src/u.c": SOURCE, "one/first.h": "", "two/value.h": "#define VALUE 1\n", "obj/.keep": "",
    }.items():  # fmt: skip
        path = executor.workspace / name
        if not path.parent.is_dir():
            executor.place.directory(str(path.parent.relative_to(executor.place.top)), 0o755)
        executor.place.file(path, text)
    return executor.workspace


def compile_unit(executor: Running, *stamps: tuple[int, Lookup, bytes], **changes: Any) -> Result:
    output = bytes(executor.workspace / "obj/u.o")
    words = ("gcc", "-Ione", "-Itwo", "-c", "src/u.c", "-o", "obj/u.o")
    return executor.run(*words, prove=True, stamps=stamps, outputs=(output,), **changes)


def others(result: Result) -> dict[Lookup, bytes]:
    assert result.reads is not None
    assert result.reads.complete
    return dict(result.reads.others)


@pytest.mark.parametrize("capture", ["overlay", "in-place"])
def test_files_that_were_read_and_names_that_were_missing(executor: Running, unit: Path, capture: str) -> None:
    result = compile_unit(executor, capture=capture)
    assert result.ended.code == 0
    found = others(result)
    base = bytes(unit)
    for name in (b"/src/u.c", b"/one/first.h", b"/two/value.h"):
        ((path, stamp),) = [(p, s) for p, s in found.items() if p == FILE + base + name]
        assert stamp == look(path), name
    assert found[FILE + base + b"/one/value.h"] == MISSING
    assert found[FILE + base + b"/src/value.h"] == MISSING
    # Files on this host's own disks are compared by contents or existence.
    elsewhere = {path: stamp for path, stamp in found.items() if not path[1:].startswith(base)}
    assert {path[:1] for path in elsewhere} == {CONTENTS, EXISTS}
    assert elsewhere[CONTENTS + b"/usr/include/stdc-predef.h"] == FileContents().stamp(b"/usr/include/stdc-predef.h")
    assert MISSING in elsewhere.values()
    real = [os.path.realpath(path[1:]) for path in elsewhere]
    assert not [path for path in real if path.startswith((b"/etc/", b"/proc/"))]
    assert not [path for path in found if path.endswith(b"u.o")]


def test_stamps_that_were_told_go_back_as_numbers(executor: Running, unit: Path) -> None:
    base = bytes(unit)
    told = [
        FILE + base + b"/two/value.h",
        NAMES + base + b"/one",
        NAMES + base + b"/src",
        FILE + base + b"/never/read.h",
    ]
    result = compile_unit(executor, *[(number, path, look(path)) for number, path in enumerate(told, start=3)])
    assert result.reads is not None
    assert result.reads.matched == bit_set({3, 4, 5})
    found = others(result)
    assert {FILE + base + name for name in (b"/one/first.h", b"/src/u.c")} <= set(found)
    assert not {*told, FILE + base + b"/one/value.h", FILE + base + b"/src/value.h"} & set(found)
    # A told stamp stays told until it changes.
    (unit / "two/value.h").write_text("#define VALUE 22\n")
    again = compile_unit(executor)
    assert again.reads is not None
    assert again.reads.matched == bit_set({4, 5})
    assert others(again)[told[0]] == look(told[0])


def test_a_number_that_is_told_no_more(executor: Running, unit: Path) -> None:
    names = NAMES + bytes(unit / "one")
    assert compile_unit(executor, (7, names, look(names))).reads.matched == bit_set({7})  # type: ignore[union-attr]
    result = compile_unit(executor, (7, names, b""))
    assert result.reads is not None
    assert result.reads.matched == b""
    assert FILE + bytes(unit / "one/value.h") in others(result)


def test_a_stamp_that_this_host_can_t_agree_with_refuses_the_task(executor: Running, unit: Path) -> None:
    header = FILE + bytes(unit / "two/value.h")
    result = compile_unit(executor, (1, header, MISSING))
    assert result.ended.refusal == "stale"
    assert f"{unit}/two/value.h is not as on the submit host: file, inode " in result.ended.text
    assert result.ended.text.endswith(" in place of missing")
    assert result.made == []
    # The stamp is forgotten: the next task does not depend on it.
    assert others(compile_unit(executor))[header] == look(header)


def test_the_old_object_is_no_input(executor: Running, unit: Path) -> None:
    executor.place.file(unit / "obj/u.o", "an old object")
    assert not [path for path in others(compile_unit(executor)) if path.endswith(b"/u.o")]


@pytest.mark.parametrize(("operator", "counts"), [(">>", True), ("<>", True), (">", False)])
@pytest.mark.parametrize("exists", [True, False])
def test_an_output_that_is_not_emptied_is_an_input(
    executor: Running, unit: Path, operator: str, counts: bool, exists: bool
) -> None:
    """Clang 15 and later append to the file of -MJ. So the new file is right only if the old one was."""
    path = unit / "obj/u.json"
    if exists:
        executor.place.file(path, "old\n")
    lookup = FILE + bytes(path)
    before = look(lookup)
    result = executor.shell(f"echo new 1{operator}obj/u.json", prove=True, outputs=(bytes(path),))
    assert result.ended.code == 0
    assert others(result).get(lookup) == (before if counts else None)
    assert (before == MISSING) is not exists


def test_a_command_that_fails_has_its_reads_told(executor: Running, unit: Path) -> None:
    (unit / "two/value.h").unlink()
    result = compile_unit(executor)
    assert result.ended.code == 1
    assert b"value.h: No such file" in result.stderr
    assert others(result)[FILE + bytes(unit / "two/value.h")] == MISSING
    # Any missed read may be the reason.
    assert [path for path, stamp in others(result).items() if path.startswith(b"e/usr/lib/") and stamp == MISSING]


def test_a_program_that_can_not_be_recorded_is_said_to_be_incomplete(executor: Running, unit: Path) -> None:
    result = executor.shell("/sbin/ldconfig --version >obj/version", prove=True)  # a static program
    assert result.ended.code == 0
    assert result.reads is not None
    assert not result.reads.complete


def test_a_program_with_an_environment_of_its_own_is_recorded(executor: Running, unit: Path) -> None:
    result = executor.shell("env -i /bin/cat src/u.c >obj/copy", prove=True)
    assert result.ended.code == 0
    assert result.reads is not None
    assert result.reads.complete
    source = FILE + bytes(unit / "src/u.c")
    assert others(result)[source] == look(source)


def test_nothing_is_recorded_unless_asked(executor: Running, unit: Path) -> None:
    assert executor.run("env").reads is None
    assert b"SPRAYCC" not in executor.run("env").stdout


def test_the_command_does_not_see_the_recorder(executor: Running) -> None:
    plain, recorded = executor.run("env"), executor.run("env", prove=True)
    assert recorded.reads is not None
    assert recorded.reads.complete
    # Each task has a new scratch directory.
    lines = [
        [line for line in result.stdout.splitlines() if not line.startswith(b"TMPDIR=")] for result in (plain, recorded)
    ]
    assert lines[0] == lines[1] != []


def test_directories_that_were_listed(executor: Running, unit: Path) -> None:
    """The command saw the overlay's stamp. The executor can compare only a stamp that it was told."""
    names = NAMES + bytes(unit / "one")
    assert names in others(executor.shell("ls one", prove=True))
    result = executor.shell("ls one", prove=True, stamps=((4, names, look(names)),))
    assert result.reads is not None
    assert result.reads.matched == bit_set({4})


async def test_a_host_without_the_library_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPRAYCC_RECORDER", "/nowhere")
    with open("/dev/null", "rb") as null:
        host = Host(find_box(), null.fileno())
        await explore(host, os.fsencode(tmp_path), str(tmp_path / "scratch"), "x")
        host.mounts.close()
    assert host.recorder is None
    assert host.refusals.get("recorder") == "libspraycc-recorder.so is not installed on the executor's host"


def test_without_the_library_nothing_is_known(server: Any, launch: Any, who: Any) -> None:
    executor = server.running(launch(server.session_file(), SPRAYCC_RECORDER="/nowhere"))
    result = executor.shell("cat /dev/null", prove=True)
    assert result.reads is not None
    assert not result.reads.complete
    executor.leave()


def test_a_product_is_known_by_all_its_names(executor: Running, unit: Path) -> None:
    """A file that the command made and then reads is no input, whichever path it uses."""
    (unit / "link").symlink_to("obj")
    result = executor.shell("echo 1 >link/made; cat obj/made; cat obj/../link/./made", prove=True)
    assert result.ended.code == 0
    assert result.stdout == b"1\n1\n"
    assert not [path for path in others(result) if path.endswith(b"/made")]


def test_counters_of_java_are_no_input(executor: Running, unit: Path) -> None:
    result = executor.shell("ls /tmp/hsperfdata_nobody; cat src/u.c >obj/copy", prove=True)
    assert not [path for path in others(result) if b"hsperfdata" in path]
