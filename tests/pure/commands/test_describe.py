"""The kind and placement of command lines: tables of lines as build tools write them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import pytest

from spraycc.commands.describe import describe
from spraycc.commands.reasons import Reason
from spraycc.model import Description, Kind, Placement

REMOTE, NOW, LIGHT, HEAVY = Placement.REMOTE, Placement.HERE_NOW, Placement.HERE_LIGHT, Placement.HERE_HEAVY
CWD = b"/home/u/proj/build"


def said(
    line: str,
    *,
    program: str | None = None,
    cwd: bytes = CWD,
    env: Mapping[bytes, bytes] | None = None,
    files: Mapping[bytes, bytes] | None = None,
) -> Description:
    argv = [word.encode() for word in shlex.split(line)]
    path = program.encode() if program is not None else b"/usr/bin/" + argv[0]
    return describe(argv, path, cwd, env or {}, (files or {}).get)


KINDS = [
    # compiles
    ("gcc -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c foo.c -o foo.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -cpp -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("g++-12 -std=c++20 -O2 -g -Wall -c -o x/foo.o ../foo.cc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang++-16 -c foo.cpp", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("x86_64-linux-gnu-gcc -S foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("cc -c -S foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -S -o - foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c a.c b.c", Kind.COMPILE, REMOTE, Reason.COMPILE_SEVERAL),
    ("gcc -c a.c b.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -flto -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -v -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    (
        "gcc -pipe -B /opt/x -no-integrated-cpp -save-temps --coverage -fprofile-use=/p -specs=s.specs -fplugin=p.so -c foo.c",
        Kind.COMPILE,
        REMOTE,
        Reason.COMPILE,
    ),
    ("gcc -c -x c foo.inc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -xc++ -c foo.inc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c foo.C", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c foo.i", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c foo.f90", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c -x c++ h.h", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc --compile foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c -include /dev/null foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -march=armv8-a+native-ish -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -Wp,-MMD,.foo.o.d -c -o foo.o foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -c -- foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -c -Xclang -include-pch -Xclang x.pch foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -c foo.bc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang --analyze foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -MJ foo.o.json -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -MJ foo.o.json -c foo.c -o x/foo.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -fmodule-mapper=foo.modmap -fmodules-ts -c foo.cc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -fmodules-ts -c foo.cc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("g++ -fmodules -c foo.cc", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -o conf.o -c conf.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c src/myconftest.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c conftest.dir/foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c cgroup/dummy.c -o cgroup/dummy.o", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -c dummy.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    # assembler
    ("gcc -c foo.s", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("gcc -c foo.S", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("gcc -c -x assembler-with-cpp foo.inc", Kind.ASSEMBLE, REMOTE, Reason.ASSEMBLE),
    ("gcc -c foo.S bar.c", Kind.COMPILE, REMOTE, Reason.COMPILE_SEVERAL),
    # preprocessing
    ("gcc -E foo.c -o foo.i", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("gcc -E -c foo.c -ofoo.i", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("clang -S foo.S -o foo.s", Kind.PREPROCESS, REMOTE, Reason.PREPROCESS),
    ("gcc -E foo.c", Kind.PREPROCESS, NOW, Reason.PREPROCESS_STDOUT),
    ("gcc -E foo.c -o -", Kind.PREPROCESS, NOW, Reason.PREPROCESS_STDOUT),
    ("gcc -E foo.c -MD -MF foo.d", Kind.PREPROCESS, NOW, Reason.PREPROCESS_STDOUT),
    ("gcc -S foo.S", Kind.PREPROCESS, NOW, Reason.PREPROCESS_STDOUT),
    ("gcc -S foo.S -o foo.s", Kind.PREPROCESS, NOW, Reason.PREPROCESS_STDOUT),
    # dependency generation
    ("gcc -M foo.c", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc -MM foo.c bar.c", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc -MM -MF foo.d foo.c", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc -c -MM -MG -MP -MT x foo.c -o foo.d", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc -E -M foo.c", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc --user-dependencies foo.c", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    # precompiled headers
    ("gcc -c foo.h", Kind.PCH, REMOTE, Reason.PCH),
    ("gcc foo.h -o foo.h.gch", Kind.PCH, REMOTE, Reason.PCH),
    ("g++ -x c++-header -c foo.hpp", Kind.PCH, REMOTE, Reason.PCH),
    ("clang++ -x c++-header pch.hxx.cxx -Xclang -emit-pch -o pch.hxx.pch", Kind.PCH, REMOTE, Reason.PCH),
    # links
    ("gcc foo.o", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -o prog main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("g++ -flto=auto -o prog a.o b.o -lfoo", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -shared -o lib.so -Wl,--whole-archive,lib.a", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -o prog -Wl,@objects", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -r -o x.o a.o b.o", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc foo.h main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc main.c -march=native", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc foo.xyz", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -MD -MF x.d main.c", Kind.LINK, HEAVY, Reason.LINK),
    # -c as another option's argument is no -c
    ("gcc main.c -o -c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc main.c -Xlinker -c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc main.c -D -c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc main.c -include -c", Kind.LINK, HEAVY, Reason.LINK),
    (
        "gcc main.c -iquote -c -isysroot -c -aux-info -c --param -c -T -c -u -c -z -c -wrapper -c",
        Kind.LINK,
        HEAVY,
        Reason.LINK,
    ),
    (
        "clang main.c -Xclang -c -mllvm -c -target -c -arch -c -framework -c -sectcreate -c -c -c",
        Kind.LINK,
        HEAVY,
        Reason.LINK,
    ),
    ("clang main.c -Xarch_host -c", Kind.LINK, HEAVY, Reason.LINK),
    ("clang main.c -Xarch_x86_64 -c", Kind.LINK, HEAVY, Reason.LINK),
    ("clang main.c -- -c", Kind.LINK, HEAVY, Reason.LINK),
    ("cc -emit-ast main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -emit-ast main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -C main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -s -e main main.c", Kind.LINK, HEAVY, Reason.LINK),
    ("gcc -MD main.c -o main", Kind.LINK, HEAVY, Reason.LINK),
    # compiles that run on the submit host
    ("gcc -march=native -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -mtune=native -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("clang -mcpu=native -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -march=native+crypto -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -wrapper gdb,--args -c foo.c", Kind.COMPILE, HEAVY, Reason.WRAPPER),
    ("gcc -time=log -c foo.c", Kind.COMPILE, HEAVY, Reason.APPENDS),
    ("clang -MJ all.json -c foo.c", Kind.COMPILE, HEAVY, Reason.APPENDS),
    ("clang -fmodules -c foo.m", Kind.COMPILE, HEAVY, Reason.MODULE_CACHE),
    ("gcc -fmodule-mapper=localhost:8080 -c foo.cc", Kind.COMPILE, HEAVY, Reason.MODULE_SERVER),
    ("gcc '-fmodule-mapper=|mapper' -c foo.cc", Kind.COMPILE, HEAVY, Reason.MODULE_SERVER),
    # questions
    ("gcc", Kind.PROBE, NOW, Reason.NO_INPUT),
    ("gcc -v", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc --version", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc --version -c foo.c", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -dumpversion", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -dumpfullversion -dumpversion", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -dumpmachine", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -print-file-name=libc.so", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -print-prog-name=ld -m32", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc --print-sysroot", Kind.PROBE, NOW, Reason.QUERY),
    ("clang -print-resource-dir", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -### -c foo.c", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc --help=warnings", Kind.PROBE, NOW, Reason.QUERY),
    ("gcc -c", Kind.PROBE, NOW, Reason.NO_INPUT),
    ("gcc -c -o foo.o", Kind.PROBE, NOW, Reason.NO_INPUT),
    ("gcc -Wl,--version", Kind.PROBE, NOW, Reason.LINKER_QUERY),
    ("gcc -Xlinker -v", Kind.PROBE, NOW, Reason.LINKER_QUERY),
    ("gcc -c foo.o", Kind.PROBE, NOW, Reason.NOTHING_COMPILED),
    ("gcc -c foo.xyz", Kind.PROBE, NOW, Reason.NOTHING_COMPILED),
    ("gcc -c foo.c.in", Kind.PROBE, NOW, Reason.NOTHING_COMPILED),
    ("gcc -c -x c -x none foo.inc", Kind.PROBE, NOW, Reason.NOTHING_COMPILED),
    ("gcc -S foo.s", Kind.PROBE, NOW, Reason.NOTHING_COMPILED),
    ("gcc -fsyntax-only foo.c", Kind.PROBE, NOW, Reason.SYNTAX_ONLY),
    ("gcc -c -fsyntax-only foo.c", Kind.PROBE, NOW, Reason.SYNTAX_ONLY),
    ("gcc --syntax-only foo.c", Kind.PROBE, NOW, Reason.SYNTAX_ONLY),
    # standard input and other special inputs
    ("gcc -E -", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -c -x c -", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -xc - -o prog", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -dM -E -x c++ - -o foo.i", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -c -x c /dev/stdin -o x.o", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -c -x c /dev/fd/63 -o x.o", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -c -x c /proc/self/fd/11 -o x.o", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -include /dev/stdin -c foo.c", Kind.PROBE, NOW, Reason.STANDARD_INPUT),
    ("gcc -imacros/dev/fd/3 -c foo.c", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -c foo.c -o /dev/fd/3", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -c foo.c -o /dev/stdout", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("g++ -c foo.cc -o/dev/stderr", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("clang -S foo.c -o /dev/stdout", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -c foo.c -o foo.o -MMD -MF /dev/stdout", Kind.COMPILE, REMOTE, Reason.COMPILE),
    ("gcc -MM foo.c -o /dev/stdout", Kind.DEPENDENCIES, REMOTE, Reason.DEPENDENCIES),
    ("gcc -c foo.c -MD -MF /dev/fd/3", Kind.PROBE, NOW, Reason.INHERITED_FD),
    ("gcc -Werror -c -x c /dev/null -o .tmp_1/tmp", Kind.PROBE, NOW, Reason.EMPTY_SOURCE),
    ("gcc -c foo.c -o /dev/null", Kind.PROBE, NOW, Reason.DISCARDED),
    ("gcc foo.c -o /dev/null", Kind.PROBE, NOW, Reason.DISCARDED),
    # configure tests
    ("gcc -c conftest.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -o conftest -g -O2 conftest.c -lm", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("g++ -c -o conftest2.o src/conftest.cpp", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -c CMakeFiles/CMakeScratch/TryCompile-x1/src.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc CMakeCCompilerId.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -c /usr/lib/python3/meson-private/tmpx7/testfile.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -c meson-private/sanitycheckc.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -c .sconf_temp/conftest_1.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("gcc -c .sconf_temp/abc.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("cc -c -o /tmp/cgQIIT8M/dummy.o /tmp/cgQIIT8M/dummy.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    ("cc -o /tmp/cg-4711/dummy /tmp/cg-4711/dummy.c", Kind.PROBE, NOW, Reason.CONFIGURE_TEST),
    # programs that are no C compiler drivers
    ("ar rcs libfoo.a a.o b.o", Kind.ARCHIVE, LIGHT, Reason.ARCHIVE),
    ("gcc-ar t libfoo.a", Kind.ARCHIVE, LIGHT, Reason.ARCHIVE),
    ("ranlib libfoo.a", Kind.ARCHIVE, LIGHT, Reason.ARCHIVE),
    ("strip prog", Kind.ARCHIVE, LIGHT, Reason.ARCHIVE),
    ("objcopy --only-keep-debug a b", Kind.ARCHIVE, LIGHT, Reason.ARCHIVE),
    ("ar --version", Kind.PROBE, NOW, Reason.QUERY),
    ("ld --version", Kind.PROBE, NOW, Reason.QUERY),
    ("ld -r -o a.o b.o", Kind.LINK, HEAVY, Reason.LINK),
    ("ld.lld a.o", Kind.LINK, HEAVY, Reason.LINK),
    ("ld", Kind.LINK, HEAVY, Reason.LINK),
    ("as -o foo.o foo.s", Kind.ASSEMBLE, LIGHT, Reason.ASSEMBLER),
    ("python3 gen.py -c foo.c", Kind.UNKNOWN, LIGHT, Reason.UNKNOWN_PROGRAM),
    ("ccache gcc -c foo.c", Kind.UNKNOWN, LIGHT, Reason.LAUNCHER),
    ("distcc gcc -c foo.c", Kind.UNKNOWN, LIGHT, Reason.LAUNCHER),
    ("clang -cc1 -emit-obj -o foo.o -x c foo.c", Kind.UNKNOWN, LIGHT, Reason.INNER_COMMAND),
    ("clang -cc1as -filetype obj foo.s", Kind.UNKNOWN, LIGHT, Reason.INNER_COMMAND),
    ("clang --driver-mode=cl -c foo.c", Kind.UNKNOWN, LIGHT, Reason.OTHER_DRIVER),
    ("clang --driver-mode=g++ -c foo.c", Kind.COMPILE, REMOTE, Reason.COMPILE),
]


@pytest.mark.parametrize(("line", "kind", "placement", "reason"), KINDS, ids=[row[0] for row in KINDS])
def test_kind_and_placement(line: str, kind: Kind, placement: Placement, reason: Reason) -> None:
    result = said(line)
    assert (result.kind, result.placement, result.reason) == (kind, placement, reason.value)
    assert type(result.reason) is str


DIRECTORIES = [
    (b"/b/CMakeFiles/CMakeScratch/TryCompile-aB3", True),
    (b"/b/CMakeFiles/CMakeTmp", True),
    (b"/b/CMakeFiles/3.25.1/CompilerIdCXX", True),
    (b"/b/CMakeFiles/3.25.1/CompilerIdC/tmp", True),
    (b"/b/CMakeFiles/_CMakeLTOTest-CXX/bin", True),
    (b"/b/meson-private/tmp1q2w", True),
    (b"/b/CMakeFiles/foo.dir", False),
    (b"/b/meson-private", False),
    (b"/b/CMakeTmp", False),
    (b"/b/CompilerIdC", False),
]


@pytest.mark.parametrize(("cwd", "expected"), DIRECTORIES)
def test_configure_tests_are_known_by_their_directory(cwd: bytes, expected: bool) -> None:
    for line in ("gcc -c src.c -o src.o", "gcc -o prog src.o"):
        assert (said(line, cwd=cwd).placement is NOW) is expected


ENVIRONMENTS = [
    ("gcc -c foo.c", {b"DEPENDENCIES_OUTPUT": b"deps foo.o"}, Reason.APPENDS),
    ("cc -c foo.c", {b"SUNPRO_DEPENDENCIES": b"deps"}, Reason.APPENDS),
    ("gcc -c foo.c", {b"DEPENDENCIES_OUTPUT": b""}, Reason.COMPILE),
    ("gcc -MD -c foo.c", {b"DEPENDENCIES_OUTPUT": b"deps"}, Reason.COMPILE),
    ("gcc -M foo.c", {b"DEPENDENCIES_OUTPUT": b"deps"}, Reason.DEPENDENCIES),
    ("clang -c foo.c", {b"DEPENDENCIES_OUTPUT": b"deps"}, Reason.COMPILE),
    ("gcc -c foo.c", {b"INTERCEPT_REPORT_DESTINATION": b"127.0.0.1:4000"}, Reason.WATCHED),
    ("gfortran -c foo.f90", {b"INTERCEPT_REPORT_DESTINATION": b"127.0.0.1:4000"}, Reason.WATCHED),
    ("gcc --version", {b"INTERCEPT_REPORT_DESTINATION": b"127.0.0.1:4000"}, Reason.QUERY),
    ("clang -c foo.c", {b"CCC_OVERRIDE_OPTIONS": b"x-c"}, Reason.OVERRIDDEN),
    ("gcc -c foo.c", {b"CCC_OVERRIDE_OPTIONS": b"x-c"}, Reason.COMPILE),
    ("clang -c foo.c", {b"CC_PRINT_OPTIONS_FILE": b"log"}, Reason.APPENDS),
    ("clang -c foo.c", {b"CC_PRINT_INTERNAL_STAT_FILE": b"log"}, Reason.APPENDS),
    ("clang -fproc-stat-report=log -c foo.c", {}, Reason.APPENDS),
    ("clang -fproc-stat-report -c foo.c", {}, Reason.COMPILE),
    *(
        (f"{tool} -c foo.c", {b"CC_PRINT_PROC_STAT_FILE": b"log"}, Reason.APPENDS)
        for tool in ("icx", "armclang", "flang")
    ),
    ("hipcc --offload-arch=gfx90a -c foo.c", {b"CC_PRINT_PROC_STAT_FILE": b"log"}, Reason.APPENDS),
    ("icx -fproc-stat-report=log -c foo.c", {}, Reason.APPENDS),
    ("gcc -c foo.cc", {b"CXX_MODULE_MAPPER": b"=/run/mapper"}, Reason.MODULE_SERVER),
    ("gcc -c foo.cc", {b"CXX_MODULE_MAPPER": b"map.txt"}, Reason.COMPILE),
]


@pytest.mark.parametrize(("line", "env", "reason"), ENVIRONMENTS)
def test_variables_that_change_what_a_compile_writes(line: str, env: dict[bytes, bytes], reason: Reason) -> None:
    result = said(line, env=env)
    assert result.reason == reason.value
    assert (result.placement is REMOTE) is (reason in (Reason.COMPILE, Reason.DEPENDENCIES))


PROGRAMS = [
    # the real program counts, not the name by which it was called
    ("cc -c foo.c", "/usr/bin/gcc-12", Reason.COMPILE),
    ("make -c foo.c", "/opt/gcc/bin/g++", Reason.COMPILE),
    ("gcc -c foo.c", "/opt/tools/compiler-wrapper", Reason.COMPILE),
    ("/usr/bin/gcc -c foo.c", "/opt/tools/wrapper", Reason.COMPILE),
    ("gcc -c foo.c", "/usr/bin/ccache", Reason.LAUNCHER),
    ("gcc -c foo.c", "/usr/lib/ccache/gcc", Reason.LAUNCHER),
    ("gcc rcs x.a", "/usr/bin/ar", Reason.ARCHIVE),
    ("foo -c foo.c", "/usr/bin/bar", Reason.UNKNOWN_PROGRAM),
]


@pytest.mark.parametrize(("line", "program", "reason"), PROGRAMS)
def test_which_name_counts(line: str, program: str, reason: Reason) -> None:
    assert said(line, program=program).reason == reason.value


def test_no_words_at_all() -> None:
    assert describe([], b"", b"", {}, lambda name: None).kind is Kind.UNKNOWN
    assert describe([], b"/usr/bin/gcc", b"/", {}, lambda name: None).placement is NOW


def test_response_files_are_looked_into() -> None:
    files = {b"rsp": b"-c -o x/foo.o\n@more", b"more": b"'foo bar.c'"}
    result = said("gcc @rsp", files=files)
    assert (result.kind, result.placement) == (Kind.COMPILE, REMOTE)
    assert result.inputs == (b"foo bar.c",)
    assert result.outputs == (b"x/foo.o",)
    assert said("gcc @rsp -march=native", files=files).native
    assert said("gcc -o prog @objects", files={b"objects": b"a.o b.o"}).reason == Reason.LINK.value


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("gcc @missing", Kind.LINK),
        ("gcc @missing a.o -o p", Kind.LINK),
        ("gcc -c @missing", Kind.UNKNOWN),
        ("gcc -c foo.c @missing", Kind.UNKNOWN),
    ],
)
def test_a_line_that_is_not_all_known_stays_here_with_a_slot(line: str, kind: Kind) -> None:
    result = said(line)
    assert (result.kind, result.placement, result.reason) == (kind, HEAVY, Reason.RESPONSE_FILE.value)


def test_a_question_needs_no_response_file() -> None:
    assert said("gcc --version @missing").placement is NOW


LANGUAGES = [
    ("gcc -c a.c b.C d.cc e.cpp f.cxx g.c++ h.m i.mm j.s k.S l.i m.ii", 12),
    ("gcc -c a.c B.CC c.txt d.o e.a f.so g.Cpp", 1),
    ("g++ -c a.cppm b.ccm c.cxxm d.c++m e.ixx", 5),
    ("clang -c a.c B.CC c.ll d.cu", 4),
    ("gcc -x c a b c -x none d e.c", 4),
    ("gcc -c .c a/.c", 0),
    ("clang -c .c a/.c", 2),
    ("gcc -c a.c/b", 0),
]


@pytest.mark.parametrize(("line", "count"), LANGUAGES)
def test_sources_by_suffix(line: str, count: int) -> None:
    assert len(said(line).inputs) == count


def test_inputs_are_as_written() -> None:
    assert said("gcc -I inc -c ../src/./foo.c -o foo.o").inputs == (b"../src/./foo.c",)
    assert said("gcc main.c util.o -o prog").inputs == (b"main.c",)


OUTPUTS = [
    ("gcc -c src/foo.c", ["foo.o"]),
    ("gcc -c src/foo.b.c", ["foo.b.o"]),
    ("gcc -c foo.c -o x/y.o", ["x/y.o"]),
    ("gcc -c foo.c -ox/y.o", ["x/y.o"]),
    ("gcc -c foo.c --output=x/y.o", ["x/y.o"]),
    ("gcc -c foo.c -o a.o -o b.o", ["b.o"]),
    ("gcc -c a.c b.c", ["a.o", "b.o"]),
    ("gcc -S a.c", ["a.s"]),
    ("gcc -S a.c -o -", []),
    ("clang -c -emit-llvm a.c", ["a.bc"]),
    ("clang -S -emit-llvm a.c", ["a.ll"]),
    ("gcc -c a.c -MD", ["a.d", "a.o"]),
    ("gcc -c s/a.c -MMD -o x/b.o", ["x/b.d", "x/b.o"]),
    ("gcc -c s/a.c -MMD -o x.y/b", ["x.y/b.d", "x.y/b"]),
    ("gcc -c a.c -MD -MF d/e.d -o x/b.o", ["d/e.d", "x/b.o"]),
    ("gcc -c a.c -MD -MFd/e.d", ["d/e.d", "a.o"]),
    ("gcc -c a.c -MD -MF - -o b.o", ["b.o"]),
    ("gcc -c a.c -MD -MF /dev/null -o b.o", ["b.o"]),
    ("gcc -c a.c -Wp,-MMD,.b.o.d -o b.o", [".b.o.d", "b.o"]),
    ("gcc -c a.c -Wp,-MD,q.d -MD", ["q.d", "a.o"]),
    ("gcc -c a.c b.c -MD -MF d", ["d", "a.o", "b.o"]),
    ("gcc -c a.s -MD", ["a.o"]),
    ("gcc -c a.c --coverage -o x/b.o", ["x/b.gcno", "x/b.o"]),
    ("gcc -c a.c -fprofile-arcs -o x/b.o", ["x/b.o"]),
    ("gcc -c a.c -fprofile-note=n --coverage", ["n", "a.o"]),
    ("gcc -c a.c -gsplit-dwarf -o x/b.o", ["x/b.dwo", "x/b.o"]),
    ("clang -c a.c -g -gsplit-dwarf -o x/b.o", ["x/b.dwo", "x/b.o"]),
    ("clang -c a.c -g -gsplit-dwarf=single -o x/b.o", ["x/b.o"]),
    ("gcc -c a.c -gsplit-dwarf -gno-split-dwarf", ["a.o"]),
    ("gcc -c a.c -fstack-usage -fcallgraph-info=su", ["a.su", "a.ci", "a.o"]),
    ("gcc -c a.c -save-temps=obj -o x/b.o", ["x/b.i", "x/b.s", "x/b.o"]),
    ("gcc -c a.c -save-temps=cwd -o x/b.o", ["b.i", "b.s", "x/b.o"]),
    ("clang++ -c s/a.c -save-temps=obj -o x/b.o", ["x/a.ii", "x/a.bc", "x/a.s", "x/b.o"]),
    ("clang -c a.c -ftime-trace -o x/b.o", ["x/b.json", "x/b.o"]),
    ("clang -c a.c -MJ b.o.json -o b.o", ["b.o.json", "b.o"]),
    ("gcc -c a.c -aux-info i -Wa,-adhln=l -Wa,--MD,m -fopt-info-vec=v", ["i", "v", "l", "m", "a.o"]),
    ("gcc -c s/h.h", ["s/h.h.gch"]),
    ("gcc s/h.h", ["s/h.h.gch"]),
    ("gcc -x c-header h -o q.gch -MD", ["q.d", "q.gch"]),
    ("gcc -E a.c -o x/a.i -MD", ["x/a.d", "x/a.i"]),
    ("gcc -E a.c -MD", ["a.d"]),
    ("gcc -M a.c", []),
    ("gcc -M a.c -MF x/a.d", ["x/a.d"]),
    ("gcc -M a.c -o x/a.d", ["x/a.d"]),
    ("gcc -fsyntax-only a.c -MD -MF x.d", ["x.d"]),
    ("gcc a.o", ["a.out"]),
    ("gcc a.o -o p", ["p"]),
    ("gcc --version -o p -c a.c", []),
    ("gcc -c -o p", []),
]


@pytest.mark.parametrize(("line", "outputs"), OUTPUTS, ids=[row[0] for row in OUTPUTS])
def test_outputs_with_the_named_one_last(line: str, outputs: list[str]) -> None:
    assert [name.decode() for name in said(line).outputs] == outputs


@pytest.mark.parametrize(
    ("line", "complete"),
    [
        ("g++ -c m.cc -o out/m.o", True),
        ("g++ -fmodules -c m.cc -o out/m.o", False),
        ("g++ -fno-modules -c m.cc -o out/m.o", True),
        ("g++ -c m.cppm -o out/m.o", False),
        ("gcc -fplugin=./p.so -fplugin-arg-p-file=x -c foo.c", False),
        ("clang -fplugin=./p.so -c foo.c", False),
        ("clang -fpass-plugin=./p.so -c foo.c", False),
    ],
)
def test_lines_that_may_write_more_than_the_named_files(line: str, complete: bool) -> None:
    assert said(line).complete is complete
    assert not said(line, env={b"LD_PRELOAD": b"/opt/lib/noting.so"}).complete


@pytest.mark.parametrize(
    ("line", "reads", "searches"),
    [
        ("gcc -c a.c", (), ()),
        (
            "gcc -Iinc -I inc2 -c a.c -isystem sys -iquote q -idirafter last",
            (),
            (b"inc", b"inc2", b"sys", b"q", b"last"),
        ),
        ("gcc --include-directory=inc --include-directory inc2 -c a.c", (), (b"inc", b"inc2")),
        ("gcc -include first.h -imacros m.h -c a.c", (b"first.h", b"m.h"), ()),
        ("clang -isystem-after sys -Fframeworks -c a.c", (), (b"sys", b"frameworks")),
        ("g++ @args -c a.cc", (), (b"from/args",)),
        ("gcc -M -Iinc a.c", (), (b"inc",)),
    ],
)
def test_which_files_and_directories_a_line_names_for_reading(
    line: str, reads: tuple[bytes, ...], searches: tuple[bytes, ...]
) -> None:
    description = said(line, files={b"args": b"-Ifrom/args"})
    assert (description.reads, description.searches) == (reads, searches)
