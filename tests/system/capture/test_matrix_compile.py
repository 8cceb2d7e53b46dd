"""Compile lines with GCC and Clang: trees, output and status are the same, plainly and through the server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.system.capture.bench import Bench, Contents

pytestmark = [pytest.mark.e2e, pytest.mark.overlay]

U = '#include "h.h"\n#include <stdio.h>\nstatic int unused(void) { return 1; }\nint f(int x) { return x + H; }\n'
MAIN = '#include "h.h"\nint f(int);\nint main(int argc, char **argv) {\n    int n = f(argc);\n    return n == 2 ? 0 : n;\n}\n'
FILES: Contents = {
    "h.h": "#pragma once\n#define H 1\n", "u.c": U, "v.c": MAIN,
    "u.cpp": '#include "h.h"\n#include <vector>\nint f(int x) { std::vector<int> v(x); return (int)v.size(); }\n',
    "bad.c": "int f( {\n  return x;\n}\n", "error.c": '#error "broken"\n', "asm.S": "#define X 1\n.globl g\ng: .long X\n", "plain.s": ".globl g\ng: .long 1\n",
    "obj/": None, "sub/deep/": None, "old.o": "old\n",
    "args": '-O2 "-DNAME=a b" -c u.c -o obj/u.o', "outer": "@inner -c", "inner": "-O1 u.c -DX=1 -o obj/u.o",
    "quoted": r"""-DA=\"x\ y\" "-DB=b c" '-DC=d"e' -DD=\\ -c u.c -o obj/u.o""", "inc.s": '.globl g\ng: .incbin "old.o"\n',
    "angled.c": "#include <h.h>\nint x = H;\n", "tmp/": None,
    "pre.h": "#include <stdio.h>\n#define PRE 1\n", "usespre.c": "int p(void) { return PRE; }\n",
    "m.cc": "export module m;\nexport int m() { return 1; }\n", "usesm.cc": "import m;\nint main() { return m() - 1; }\n",
    "writes.c": "#define _GNU_SOURCE\n#include <errno.h>\n#include <fcntl.h>\n#include <string.h>\n"
                "__attribute__((constructor)) static void begin(void) {\n"
                '    if (!strcmp(program_invocation_short_name, "cc1")) creat("beside", 0644);\n}\n',
    "a b.c": U, "p%c.c": U, "x:y.c": U, "new\nline.c": U, b"n\xff\xfe.c": U, "-dash.c": U, "h e/h.h": "",
}  # fmt: skip

BOTH = ("gcc", "clang")


@dataclass(frozen=True)
class Row:
    #: CC stands for the compiler
    text: str
    compilers: tuple[str, ...] = BOTH
    #: where each task runs under the overlay
    ran: tuple[str, ...] = ("remote",)
    #: where each task runs under predict, if that differs (docs/explanation/capture.md says why)
    predicted: tuple[str, ...] | None = None
    cwd: str = ""
    stdin: bytes = b""
    env: tuple[tuple[str, str], ...] = ()
    umask: int = 0o022
    #: root has all permissions, so nothing needs to run on the submit host
    writable_by_root: bool = False
    #: the command writes outside its named outputs
    strays: bool = False
    #: root would change the host: Clang renames its object over /dev/stdout
    never_as_root: bool = False


HERE = ("here",)
ROWS = {
    "no-o": Row("CC -c u.c"),
    "o-joined": Row("CC -c u.c -ofoo.o"),
    "o": Row("CC -O2 -g -Wall -c -o obj/u.o u.c"),
    "S": Row("CC -S u.c"),
    "S-o": Row("CC -O1 -S u.c -o obj/u.s"),
    "c-and-S": Row("CC -c -S u.c -o obj/u.x"),
    "E-o": Row("CC -E u.c -o obj/u.i"),
    "E": Row("CC -E u.c", ran=HERE),
    "M": Row("CC -M u.c", predicted=("remote",)),
    "MM": Row("CC -MM u.c"),
    "MM-MF": Row("CC -MM u.c -MF obj/u.d -MT target"),
    "M-o": Row("CC -MM u.c -o obj/u.d"),
    "MD": Row("CC -MD -c u.c"),
    "MD-o": Row("CC -MD -c u.c -o obj/u.o"),
    "MMD-MP-MF-MT-MQ": Row("CC -MMD -MP -MF obj/x.d -MT 'a $b' -MQ 'c $d' -c u.c -o obj/u.o"),
    "MMD-quoted-target": Row("CC -MMD -c u.c -o 'obj/a $b#c.o'"),
    "MF-joined": Row("CC -MMD -MFobj/x.d -MTfoo -c u.c -o obj/u.o"),
    "MD-two-dots": Row("CC -MD -c u.c -o obj/hello.. ; ls obj"),
    "Wp-MMD": Row("CC -Wp,-MMD,obj/.u.o.d -c u.c -o obj/u.o"),
    "Wp-MD-dir": Row("CC -Wp,-MD,sub/x.d -c u.c -o obj/u.o"),
    "split-dwarf": Row("CC -g -gsplit-dwarf -c ../../u.c -o ../../obj/x.o", cwd="sub/deep", predicted=HERE),
    "split-dwarf-no-o": Row("CC -g -gsplit-dwarf -c u.c", predicted=HERE),
    "coverage": Row("CC --coverage -frandom-seed=u -c u.c -o obj/u.o && CC --coverage -frandom-seed=v -c v.c -o obj/v.o && CC --coverage obj/u.o obj/v.o -o prog && ./prog; echo $?",
                    ran=("remote", "remote", "here"), predicted=("here",) * 3),
    "stack-usage": Row("CC -fstack-usage -c u.c -o obj/u.o", ("gcc",)),
    "callgraph-info": Row("CC -fcallgraph-info -c u.c -o obj/u.o", ("gcc",)),
    "save-temps": Row("CC -save-temps -c u.c -o obj/u.o", predicted=HERE),
    "save-temps-obj": Row("CC -save-temps=obj -c u.c -o obj/u.o", predicted=HERE),
    "save-temps-cwd": Row("CC -save-temps=cwd -c u.c -o obj/u.o", predicted=HERE),
    "fdump": Row("CC -O2 -fdump-tree-all -fdump-rtl-expand -c u.c -o obj/u.o; ls obj | wc -l; rm -f obj/*.*t.* obj/*.*r.*", ("gcc",), predicted=HERE),
    "time-trace": Row("CC -ftime-trace -c u.c -o obj/u.o; test -s obj/u.json && rm obj/u.json", ("clang",), predicted=HERE),
    "opt-record": Row("CC -O2 -fsave-optimization-record -c u.c -o obj/u.o; ls obj; rm -f obj/*.json.gz", predicted=HERE),
    "opt-info": Row("CC -O3 -fopt-info-all=obj/info -c u.c -o obj/u.o", ("gcc",), predicted=HERE),
    "listing": Row("CC -Wa,-adhln=obj/u.lst -g -c u.c -o obj/u.o; sed -i /GAS/d obj/u.lst", ("gcc",), predicted=HERE),
    "MJ": Row("CC -MJ obj/u.json -c u.c -o obj/u.o", ("clang",), predicted=HERE),
    "serialize": Row("CC --serialize-diagnostics obj/u.dia -Wall -c u.c -o obj/u.o", ("clang",), predicted=HERE),
    "at-file": Row("CC @args"),
    "at-file-nested": Row("CC @outer"),
    "at-file-missing": Row("CC -c u.c @missing", ran=HERE),
    "pch": Row("CC -x c-header pre.h -o pre.h.gch && CC -include pre.h -Winvalid-pch -c usespre.c -o obj/p.o; rm -f pre.h.gch",
               ("gcc",), ran=("remote", "remote"), predicted=("here", "remote")),
    "pch-clang": Row("CC -x c-header pre.h -o pre.pch && CC -include-pch pre.pch -c usespre.c -o obj/p.o", ("clang",), ran=("remote", "remote"), predicted=("here", "remote")),
    "modules": Row("CC -std=c++20 -fmodules-ts -c m.cc -o m.o && CC -std=c++20 -fmodules-ts -c usesm.cc -o u.o && CC m.o u.o -o prog && ./prog; echo $?",
                   ("g++",), ran=("remote", "remote", "here"), predicted=("here", "here", "here"), env=(("SOURCE_DATE_EPOCH", "1"),)),
    # GCC 15 and later compile the file. For earlier versions it is for the linker, and -c writes nothing.
    "module-suffix": Row("cp m.cc m.cppm; CC -std=c++20 -fmodules-ts -c m.cppm", ("g++",), predicted=HERE, env=(("SOURCE_DATE_EPOCH", "1"),)),
    "lto": Row("CC -flto -O2 -c u.c -o obj/u.o", ("clang",)),
    "lto-and-link": Row("CC -flto -O2 -c u.c -o obj/u.o && CC -flto -O2 -c v.c && CC -flto -O2 obj/u.o v.o -o prog && ./prog; echo $?; rm -f prog obj/u.o v.o",
                        ("gcc",), ran=("remote", "remote", "here")),
    "record-switches": Row("CC -frecord-gcc-switches -O2 -c u.c -o obj/u.o", ("gcc",)),
    "record-command-line": Row("CC -frecord-command-line -O2 -c u.c -o obj/u.o", ("clang",), predicted=HERE),
    "profile-generate": Row("CC -fprofile-generate -frandom-seed=u -O1 -c u.c -o obj/u.o", predicted=HERE),
    "profile-and-use": Row("CC -fprofile-generate -frandom-seed=u -c u.c -o obj/u.o && CC -fprofile-generate -frandom-seed=v -c v.c -o obj/v.o && CC -fprofile-generate obj/u.o obj/v.o -o prog && "
                           "./prog; CC -fprofile-use -frandom-seed=u -O2 -c u.c -o obj/u.o; rm -f prog obj/*.gcda",
                           ("gcc",), ran=("remote", "remote", "here", "remote"), predicted=("here",) * 4),
    "two-sources": Row("CC -c u.c v.c", predicted=HERE),
    "two-sources-MMD": Row("CC -MMD -c u.c v.c", predicted=HERE),
    "cpp": Row("CC -O1 -MMD -c u.cpp -o obj/u.o", ("g++", "clang++")),
    "assembler": Row("CC -c asm.S -o obj/a.o; CC -c plain.s", ran=("remote", "remote")),
    # A debugger finds a line of the source, from another directory.
    "debugger": Row("CC -g -c ../../u.c -o ../../obj/u.o && CC -g -c ../../v.c -o ../../obj/v.o && CC -g ../../obj/u.o ../../obj/v.o -o prog && cd / && "
                    "gdb -nx -batch -ex 'break f' -ex 'info line u.c:4' -ex 'list v.c:3,4' \"$OLDPWD/prog\"; cd \"$OLDPWD\"; rm -f prog",
                    ran=("remote", "remote", "here"), cwd="sub/deep"),
    "200,000-lines": Row("seq 1 200000 | sed 's/.*/int v&;/' > big.c; CC -c big.c -o obj/big.o"),
    "missing-compiler": Row("gcc-99 -c u.c; echo $?; spraycc-run gcc-99 -c u.c; echo $?", ("gcc",), ran=()),
    "x": Row("cp u.c data; CC -x c -c data -o obj/d.o"),
    "Xpreprocessor": Row("CC -Xpreprocessor -DX=2 -c u.c -o obj/u.o", predicted=HERE),
    "Xclang": Row("CC -Xclang -dependency-file -Xclang obj/x.d -MMD -c u.c -o obj/u.o; ls obj", ("clang",), predicted=HERE),
    "Wa-MD": Row("CC -Wa,--MD,obj/a.d -c plain.s -o obj/a.o", ("gcc",), predicted=HERE),
    "profile-directory": Row("CC -fprofile-generate=$PWD/prof -frandom-seed=u -c u.c -o obj/u.o", predicted=HERE),
    "pipe": Row("CC -pipe -c u.c -o obj/u.o"),
    "warnings": Row("CC -Wall -Wextra -c u.c -o obj/u.o"),
    "colours": Row("CC -fdiagnostics-color=always -Wall -c u.c -o obj/u.o"),
    "syntax-error": Row("CC -c bad.c -o old.o; ls"),
    "syntax-error-MD": Row("CC -MD -c bad.c -o obj/bad.o"),
    "error": Row("CC -c error.c -o obj/e.o"),
    "missing-source": Row("CC -c missing.c"),
    "missing-directory": Row("CC -c u.c -o nowhere/u.o", predicted=HERE),
    "missing-include": Row("CC -MD -include nowhere.h -c u.c"),
    "unwritable": Row("chmod 555 obj; CC -c u.c -o obj/u.o; chmod 755 obj", predicted=HERE, writable_by_root=True),
    "bogus-option": Row("CC --no-such-option -c u.c"),
    "overwrite": Row("chmod 600 old.o; CC -c u.c -o old.o"),
    "overwrite-link": Row("ln -s obj/real.o l.o; CC -c u.c -o l.o; ls obj", strays=True, predicted=HERE),
    "overwrite-hard-link": Row("ln old.o other.o; CC -c u.c -o old.o", ran=HERE),
    "o-null": Row("CC -c u.c -o /dev/null", ran=HERE),
    "o-standard-output": Row("CC -c u.c -o /dev/stdout > obj/u.o", ran=HERE, never_as_root=True),
    "stdin": Row("CC -x c -c - -o obj/u.o", ran=HERE, stdin=U.replace('#include "h.h"\n', "#define H 1\n").encode()),
    "query": Row("CC -dumpmachine", ran=HERE),
    "spaces": Row("CC -MMD -c 'a b.c' -o 'obj/a b.o'"),
    "percent": Row("CC -MMD -c 'p%c.c' -o 'obj/p%c.o'"),
    "colon": Row("CC -MMD -c x:y.c -o obj/x:y.o"),
    "newline": Row("n=$(printf 'new\\nline'); CC -c \"$n.c\" -o \"obj/$n.o\""),
    "not-utf-8": Row("n=$(printf 'n\\377\\376'); CC -MMD -c $n.c -o obj/$n.o"),
    "dash": Row("CC -c ./-dash.c -o ./-dash.o"),
    "quotes": Row("CC '-DMESSAGE=\"hello x\"' -c u.c -o obj/u.o"),
    "absolute": Row('CC -g -MMD -c "$PWD/u.c" -o "$PWD/obj/u.o"'),
    "dot-dot": Row("CC -g -MMD -I../deep/.. -c ../../u.c -o ../../obj/u.o", cwd="sub/deep"),
    "outside": Row("CC -g -MMD -c u.c -o ../../elsewhere/x.o"),
    "outside-working-directory": Row("cd ../../elsewhere && CC -g -MMD -c in.c"),
    "outside-through-a-link": Row("ln -s ../../elsewhere b; CC -MMD -c u.c -o b/x.o"),
    "outside-new-directory": Row("mkdir ../../elsewhere/n; CC -c u.c -o ../../elsewhere/n/x.o"),
    "o-fifo": Row("mkfifo p; cat p > got & CC -S u.c -o p; wait", ("gcc",), ran=HERE),
    "source-fifo": Row("mkfifo p; cat u.c > p & CC -x c -I. -c p -o obj/u.o; wait; rm p", ran=HERE),
    "source-is-output": Row("cp u.c z.c; CC -c z.c -o z.c; cmp u.c z.c", predicted=HERE),
    "E-in-place": Row("cp u.c z.c; ln -s z.c l.c; CC -E l.c -o z.c; cmp u.c z.c", ("gcc",), predicted=HERE),
    "E-MD": Row("CC -E -MD u.c -o obj/u.i"),
    "E-MMD-MF": Row("CC -E -MMD -MF obj/x.d u.c -o obj/u.i"),
    "environment-made-anew": Row('env -i PATH="$PATH" CC -g -MMD -c u.c -o obj/u.o'),
    "at-file-quoted": Row("CC @quoted"),
    "incbin-of-a-new-file": Row("CC -c inc.s -o obj/i.o; echo new > old.o; CC -c inc.s -o obj/j.o", ran=("remote", "remote")),
    "LD_PRELOAD": Row("CC -shared -fPIC writes.c -o p.so && LD_PRELOAD=$PWD/p.so CC -c u.c -o obj/u.o; rm p.so", ("gcc",), ran=("here", "remote")),
    "CPATH": Row("CPATH='h e:.' CC -MD -c angled.c"),
    "TMPDIR-in-the-workspace": Row("TMPDIR=$PWD/tmp CC -c u.c; ls tmp"),
    "TMPDIR-missing": Row("TMPDIR=$PWD/nowhere CC -c u.c"),
    "working-directory-is-a-link": Row("ln -s sub/deep s; cd s; CC -g -c ../../u.c; cd -P .; CC -g -c ../../v.c", ran=("remote", "remote")),
    "PWD-of-another": Row("ln -s . self; PWD=$PWD/self CC -g -c u.c; PWD=/bogus CC -g -c v.c", ran=("remote", "remote")),
    "depfile-to-standard-output": Row("CC -MMD -MF /dev/stdout -c u.c -o obj/u.o > d", predicted=HERE),
    "depfile-is-a-link": Row("ln -s obj/new.d u.d; CC -MMD -c u.c", strays=True, predicted=HERE),
    "one-depfile-for-two": Row("CC -MMD -MF x.d -c u.c -o obj/u.o & CC -MMD -MF x.d -c v.c -o obj/v.o & wait; rm x.d", ran=("remote", "remote")),
    "name-of-255-bytes": Row("n=$(printf '%0253d' 0); CC -MMD -c u.c -o $n.o"),
    "include-a-descriptor": Row("CC -include /proc/self/fd/5 -c usespre.c 5< pre.h", ran=HERE),
    "file-size-limit": Row("ulimit -f 1; CC -S u.c -o obj/u.s; echo $?; ls obj", ("clang",), ran=HERE),
    "source-removed": Row("cp u.c z.c; CC -MMD -c z.c; rm z.c"),
    "read-only-output": Row(": > ro.o; chmod 444 ro.o; CC -c u.c -o ro.o", ("gcc",), predicted=HERE, writable_by_root=True),
    "old-output-stays": Row("CC -c u.c -o obj/u.o && touch mark && CC -MMD -c bad.c -o obj/u.o; ls obj", ran=("remote", "remote")),
    "times-in-order": Row("CC -c u.c -o obj/u.o && touch mark && CC -c v.c -o obj/v.o && test ! mark -nt obj/v.o && test ! obj/u.o -nt mark && echo ok", ran=("remote", "remote")),
    "closed-input": Row("CC -Wall -c u.c -o obj/u.o <&-"),
    "umask-0": Row("CC -MMD -c u.c -o obj/u.o", umask=0),
    "umask-77": Row("CC -MMD -c u.c -o obj/u.o", umask=0o77),
    "dependencies-output": Row("CC -c u.c -o obj/u.o", ("gcc",), env=(("DEPENDENCIES_OUTPUT", "deps target"),), ran=HERE),
    "file-macro": Row("echo '#include \"h.h\"\nconst char *a = __FILE__ __BASE_FILE__ __TIMESTAMP__;' > t.c; touch -d @5 t.c; CC -g -c $PWD/t.c -o obj/t.o"),
    "launcher": Row("spraycc-run CC -c u.c -o obj/u.o"),
    "o-in-place-of-a-directory": Row("CC -c u.c -o obj", predicted=HERE),
    "dumpbase": Row("CC -dumpdir obj/ -dumpbase x -fstack-usage -c u.c -o obj/u.o", ("gcc",), predicted=HERE),
    "several-outputs": Row("CC -c u.c -o obj/u.o & CC -c v.c -o obj/v.o & wait", ran=("remote", "remote")),
}  # fmt: skip
CASES = [
    pytest.param(name, compiler, id=f"{name}-{compiler}") for name, row in ROWS.items() for compiler in row.compilers
]


def check(bench: Bench, name: str, compiler: str) -> None:
    row = ROWS[name]
    if row.never_as_root and bench.sandbox.account.uid == 0:
        pytest.skip("as root, the line would change the host")
    is_predicted = bench.capture == "predict" and not (row.writable_by_root and bench.sandbox.account.uid == 0)
    ran = row.predicted if is_predicted and row.predicted is not None else row.ran
    line = row.text.replace("CC", compiler).replace("spraycc-run", str(bench.sandbox.bin / "spraycc-run"))
    if "spraycc-run" in row.text:
        bench.prepare(FILES)
        # Outside a build the launcher just runs the command.
    compared = bench.compare(
        line,
        FILES,
        elsewhere={"in.c": "int in;\n"},
        tasks=len(ran),
        cwd=row.cwd,
        stdin=row.stdin,
        env=dict(row.env),
        umask=row.umask,
    ).same()
    # In a tree of another group an unpredicted output can't be copied up, so its command runs on the submit host in the end.
    if not (row.strays and bench.sandbox.account.group is not None):
        assert compared.ran() == list(ran), str(compared.tasks)


@pytest.mark.parametrize(("name", "compiler"), CASES)
def test_compile_line(overlay: Bench, name: str, compiler: str) -> None:
    check(overlay, name, compiler)


@pytest.mark.parametrize(("name", "compiler"), CASES)
def test_compile_line_predicted(predict: Bench, name: str, compiler: str) -> None:
    check(predict, name, compiler)
