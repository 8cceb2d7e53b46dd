"""The described outputs, compared with the files that GCC and Clang really write."""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from spraycc.commands.describe import describe
from spraycc.commands.names import tool_of
from spraycc.commands.outputs import outputs_of
from spraycc.commands.parse import parse
from spraycc.commands.response import expand
from spraycc.model import Kind, Placement
from tests.system.harness import needs

COMPILERS = ["gcc", "g++", "clang-14", "clang++-14"]
COMMON = """
-c src/foo.c
-c src/foo.c -o out/x.o
-c src/foo.c -o out/x
-c foo.b.c
-c foo.c bar.c
-c foo..c -MD -fstack-usage
-c -x c foo. -MD -fstack-usage
-c -x c plain -MD --coverage
-c -x c .hidden -MD
-S src/foo.c
-S -c src/foo.c
-S src/foo.c -o out/x.q -MD --coverage -fstack-usage
-S foo.c -o -
-E foo.c
-E -c foo.c -o x.i
-E foo.c bar.c
-E src/foo.c -MD
-E src/foo.c -MD -o out/x.i
-E b.S -o b.i
-S b.S -o b.out
-S a.s
-M foo.c
-M foo.c bar.c
-M -c src/foo.c
-M src/foo.c -o out/x.d
-M src/foo.c -MF out/x.d
-MM src/foo.c -MF out/x.d -o out/y.d
-MM src/foo.c -MD
-MM src/foo.c -MD -o out/x.o
-MM foo.c -MMD -MF d
-M -MF - foo.c
-M -MF /dev/null -o x foo.c
-M -o - foo.c
-M a.s
-fsyntax-only foo.c
-c -fsyntax-only foo.c -o x.o
-fsyntax-only foo.c -MMD -MF x.d
-fsyntax-only foo.c -MD
-c foo.c -MD
-c src/foo.c -MD -o out/x.o
-c src/foo.c -MD -o out/x
-c src/foo.c -MD -o out/x.y.z
-c src/foo.c -MD -o out/x.
-c src/foo.c -MD -o out/x..o
-c src/foo.c -MD -o out/.x
-c src/foo.c -MD -o out/.x.o --coverage -fstack-usage
-c src/foo.c -MD -o .x -fstack-usage
-c foo.c bar.c -MD
-c foo.c bar.c -MMD -MF d
-c foo.c bar.c -g -gsplit-dwarf -fstack-usage --coverage -MMD
-c foo.c -MD -MF -
-c foo.c -MMD -MF /dev/null
-c foo.c -MD -MF a.d -MF b.d
-c foo.c -oout/x.o -MFout/d -MMD
-c foo.c -MD -MT x -MQ y -MP
-c src/foo.c -Wp,-MD,out/x.d -o out/x.o
-c src/foo.c -Wp,-MMD,out/x.d -o out/x.o
-c src/foo.c -Wp,-MD -o out/x.o
-c src/foo.c -Wp,-MD,out/q.d -MD
-c src/foo.c -Wp,-MMD,out/q.d,-MT,xx
-c pre.i
-c pre.i -MD
-c pre.i --coverage -fstack-usage -g -gsplit-dwarf
-c a.s -MD
-c b.S -MD -o out/x.o
-c a.s b.S foo.c -MD --coverage -fstack-usage
-c a.s -g -gsplit-dwarf
-c b.S -g -gsplit-dwarf
-c src/foo.c --coverage -o out/x.o
-c src/foo.c -ftest-coverage
-c src/foo.c -coverage
-c src/foo.c -fprofile-arcs -o out/x.y.o
-c src/foo.c -fprofile-generate
-c src/foo.c -gsplit-dwarf -o out/x.o
-c src/foo.c -g -gsplit-dwarf -o out/x.o
-c src/foo.c -g -gsplit-dwarf -O2
-c src/foo.c -g0 -gsplit-dwarf
-c src/foo.c -gsplit-dwarf -gno-split-dwarf
-S src/foo.c -g -gsplit-dwarf
-c src/foo.c -fstack-usage -o out/x.o
-c foo.c -flto -MD -g -gsplit-dwarf --coverage -fstack-usage
-c src/foo.c -save-temps
-c src/foo.c -save-temps -o out/x.o
-c src/foo.c -save-temps=obj -o out/x.o
-c src/foo.c -save-temps=cwd -o out/x.o
-c src/foo.c --save-temps -o out/x.o
-S src/foo.c -save-temps -o out/x.q
-c foo.cc -save-temps
-c b.S -save-temps -o out/q.o
-c a.s -save-temps
-c h.h
-c src/h.h
-x c-header src/h.h
h.h
-x c++-header h.h -o out/q
-c h.h -MD
-c h.h -MD -o out/q.h.gch
-c h.h -MD -g -gsplit-dwarf --coverage
-S h.h
-c foo.c h.h
-c @rsp foo.c
@rsp foo.c
-c -x c++ foo.c -x none bar.c
--compile foo.c --output=out/x.o --write-dependencies
-c foo.c --write-user-dependencies
-c foo.c -o a.o -o b.o
-c foo.c -dA -dD
-c foo.c -H
-c foo.c -fsave-optimization-record -O2
-c foo.c -frandom-seed=1 -ffile-prefix-map=a=b -Wall -O2 -g3 -pipe -pthread -fPIC -m64 -I. -Isrc -D A=1 -U B
foo.c -o out/p
foo.c -MD
foo.c -o out/p -MMD --coverage
--version -c foo.c -o x.o
-### -c foo.c
"""
GCC_ONLY = """
-c foo.c -fcallgraph-info=su -o out/x.o
-c foo.c -aux-info out/ai
-c foo.c -Wa,-adhln=out/l -o out/x.o
-c foo.c -Wa,--MD,out/ad
-c foo.c --coverage -fprofile-note=out/n.gcno
-c foo.c -Xpreprocessor -MD -Xpreprocessor out/x.d -o out/x.o
-c foo.c -MD -Wp,-MF,out/x.d
-c foo.c -fopt-info-all=out/oi -O2
-c foo.c -fdump-tree-original -o out/x.o
-c foo.c -da
-c foo.c -fdump-final-insns=out/t
-c foo.c -fcompare-debug
-c foo.c -dumpbase q -MD -fstack-usage
-c foo.c -dumpdir out/ -MD -fstack-usage
-c foo.c -o out/x.o -dumpdir src/ -MD -fstack-usage --coverage
--syntax-only foo.c
-c foo.c -emit-llvm
-c foo.c -time=out/t
"""
CLANG_ONLY = """
-c src/foo.c -ftime-trace -o out/x.o
-S src/foo.c -ftime-trace
-c src/foo.c -MJ out/foo.json
-c src/foo.c -MJ -
-c foo.c -emit-llvm
-S foo.c -emit-llvm
-c foo.c -emit-llvm -o out/x.o -save-temps
-c foo.c -serialize-diagnostics out/dia
-c foo.c --serialize-diagnostics out/dia
-c src/foo.c -g -gsplit-dwarf=single -o out/x.o
-c src/foo.c -g -gsplit-dwarf=split -o out/x.o
-c foo.c -gen-cdb-fragment-path out/cdb
-c .c -MD
-c -- foo.c
-c foo.c -Xclang -dependency-file -Xclang out/z -MD
--analyze foo.c
-emit-ast foo.c
"""
#: The C++ drivers differ only in the suffixes that they take for sources and headers.
CXX_MARKS = ("save-temps", "h.h", "-x", "-c src/foo.c -MD -o out/x.o", "-M ", "pre.i", "-E ")
CASES = [
    (compiler, line)
    for compiler in COMPILERS
    for line in (COMMON.strip() + (CLANG_ONLY if "clang" in compiler else GCC_ONLY).rstrip()).splitlines()
    if "++" not in compiler or any(mark in line for mark in CXX_MARKS)
]


#: files that Clang links for --coverage
CLANG_RUNTIME = b"libclang_rt"


@cache
def _major_version(compiler: str) -> int:
    version = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=True).stdout
    return int(version.split(".")[0])


def _fill(root: Path) -> None:
    for name in ("src", "out"):
        (root / name).mkdir()
    source = "int f(int x) { return x; }\nint main(void) { return f(0); }\n"
    for name in (
        "foo.c",
        "bar.c",
        "src/foo.c",
        "foo.b.c",
        "foo..c",
        "foo.",
        "plain",
        ".hidden",
        ".c",
        "foo.cc",
        "pre.i",
    ):
        (root / name).write_text(source if name != "bar.c" else "int g;\n")
    for name in ("h.h", "src/h.h"):
        (root / name).write_text("int z;\n")
    for name in ("a.s", "b.S"):
        (root / name).write_text(".text\n")
    (root / "rsp").write_text("-c")


def _files(root: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(directory, name), root) for directory, _, names in os.walk(root) for name in names
    }


@pytest.mark.parametrize(("compiler", "line"), CASES, ids=[f"{compiler} {line}" for compiler, line in CASES])
def test_the_described_outputs_are_the_files_it_writes(compiler: str, line: str, tmp_path: Path) -> None:
    needs.compiler(compiler)
    if "clang" not in compiler and _major_version(compiler) < 12:
        pytest.skip(f"{compiler} is older than 12: it names some outputs otherwise")
    _fill(tmp_path)
    before = _files(tmp_path)
    words = shlex.split(line)
    run = subprocess.run([compiler, *words], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    written = _files(tmp_path) - before
    if run.returncode != 0 and CLANG_RUNTIME in run.stderr:
        needs.missing("Clang's runtime library", "libclang-rt-14-dev")
    assert run.returncode == 0, run.stderr.decode()

    def read(name: bytes) -> bytes | None:
        path = tmp_path / os.fsdecode(name)
        return path.read_bytes() if path.is_file() else None

    argv = [os.fsencode(word) for word in [compiler, *words]]
    described = describe(argv, b"/usr/bin/" + argv[0], b"/b", {}, read)
    claimed = {os.fsdecode(name) for name in described.outputs}
    assert claimed <= written
    tool = tool_of(argv[0])
    assert tool is not None
    assert tool.family is not None
    parsed = parse(expand(argv[1:], read).words, tool.family, cxx=tool.is_cxx)
    if outputs_of(parsed).complete and not parsed.query:
        assert claimed == written
    if parsed.output is not None and parsed.output.decode() in written:
        assert described.outputs[-1] == parsed.output
    if described.placement is Placement.REMOTE:
        assert not any(
            (tmp_path / name).read_bytes()[:4] == b"\x7fELF" and os.access(tmp_path / name, os.X_OK) for name in written
        )
    if described.kind in (Kind.COMPILE, Kind.ASSEMBLE, Kind.PCH) and parsed.output != b"-":
        assert written


#: Plain lines, as in most builds: the prediction must be complete.
@pytest.mark.parametrize(
    "line",
    [
        "-c src/foo.c",
        "-O2 -g -Wall -Wextra -Iinc -DA=1 -fPIC -std=c11 -c foo.c -o out/x.o",
        "-MD -MT out/x.o -MF out/x.o.d -o out/x.o -c foo.c",
        "-Wp,-MMD,out/.x.o.d -nostdinc -mcmodel=kernel -fno-strict-aliasing -c -o out/x.o foo.c",
        "-MMD -MP -c a.s b.S",
        "-E foo.c -o foo.i",
        "-M foo.c",
        "-c h.h",
        "--coverage -fstack-usage -c foo.c",
    ],
)
@pytest.mark.parametrize("compiler", ["gcc", "clang", "cc"])
def test_plain_lines_are_predicted_whole(compiler: str, line: str) -> None:
    tool = tool_of(compiler.encode())
    assert tool is not None
    assert tool.family is not None
    assert outputs_of(parse([word.encode() for word in line.split()], tool.family, cxx=False)).complete
