"""Unusual ways to start builds: output, files and status are the same with and without SprayCC."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system.harness.sandbox import Account, Finished, Sandbox
from tests.system.harness.tools import version_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

UNITS = {f"u{i}.c": f"int u{i}(int x) {{ return x + {i}; }}\n" for i in range(6)}
OBJECTS = " ".join(name.replace(".c", ".o") for name in UNITS)
RULE = "%.o: %.c\n\tcc -O1 -c $< -o $@\n"
#: Six makefiles with one object each, for builds that start several makes.
PIECES = {f"m{i}.mk": f"all: x{i}.o\nx{i}.o:\n\t@cc -c u{i}.c -o $@\n" for i in range(6)}
NINJA = "rule cc\n  command = cc -c $in -o $out\n" + "".join(f"build u{i}.o: cc u{i}.c\n" for i in range(6))
#: A makefile without an order between its targets, which works only if one recipe runs at a time.
SERIAL = {
    "serial.mk": "all: config.h prog.o\nconfig.h:\n\t@sleep 0.5; echo >$@\n"
    "prog.o:\n\t@echo '#include \"config.h\"' >prog.c; cc -c prog.c\n"
}
#: The command fails if another one like it runs.
EXCLUSIVE = "mkdir alone && sleep 0.5 && rmdir alone"
STARTS_MAKES = """\
import subprocess
makes = [subprocess.Popen(["make", "-s", "-j2", "-f", f"m{i}.mk"], close_fds=CLOSE) for i in range(6)]
raise SystemExit(sum(make.wait() for make in makes))
"""


def make(rest: str, head: str = "", needs: str = "") -> dict[str, str]:
    """A makefile of the six objects, whose ``all`` also depends on ``needs`` and has the recipe ``rest``."""
    return {"Makefile": f"{head}all: {OBJECTS} {needs}\n{rest}{RULE}"}


@dataclass(frozen=True)
class Case:
    """Files beside the units, and a shell line."""

    files: dict[str, str]
    line: str = "make -s -j4"
    #: at least this many tasks run on executors; with ``exactly``, no more
    remote: int = 6
    #: the output may differ from a plain build's
    warns: bool = False


CASES = {
    "a make in $(shell)": Case(
        make("\t@echo made $(X)\n", "X := $(shell $(MAKE) -s -j2 -f inner.mk)\n")
        | {"inner.mk": "all: a b\na b:\n\t@cc -c u0.c -o in-$@.o\n"},
        remote=8,
    ),
    "a recipe with +": Case(make("\t+@echo plus; cc -c u1.c -o plus.o\n")),
    "a recipe with + under -n": Case(make("\t+@cc -c u1.c -o plus.o\n"), "make -n -j4", remote=1),
    "MAKEFLAGS exported": Case(make("", needs="bad"), "export MAKEFLAGS=kj3; make -s", remote=6),
    "GNUMAKEFLAGS": Case(make(""), "GNUMAKEFLAGS=-j3 make -s"),
    "-j without a number": Case(make(""), "make -s -j all"),
    "-j1": Case(make(""), "make -s -j1"),
    "-j1 below a parallel make": Case(
        {"Makefile": "all:\n\t@$(MAKE) --no-print-directory -j1 -f serial.mk\n"} | SERIAL, "make -s -j4", remote=1
    ),
    "-j1 below a parallel make's script": Case(
        {"Makefile": "all:\n\t@sh sub.sh\n", "sub.sh": "MAKEFLAGS=-j1 make -s -f serial.mk\n"} | SERIAL, remote=1
    ),
    "-j1 in a script": Case(SERIAL, "make -s -j1 -f serial.mk", remote=1),
    "-j1 of a ninja below make": Case(
        {
            "Makefile": "all:\n\t@ninja --quiet -j1\n",
            "build.ninja": f"rule alone\n  command = {EXCLUSIVE}\nbuild a: alone\nbuild b: alone\n",
        },
        remote=0,
    ),
    "-j and its number apart": Case(make(""), "make -s -j 8 all"),
    "-kj8": Case(make("", needs="bad"), "make -skj8"),
    "--jobs=8": Case(make(""), "make -s --jobs=8"),
    "-jobs": Case(make(""), "make -jobs", remote=0),
    "-j0": Case(make(""), "make -j0", remote=0),
    "output of targets together": Case(make("", needs="e1 e2"), "make -s -j4 -Otarget", remote=6),
    "output of recursive makes together": Case(
        {"Makefile": f"all:\n\t@$(MAKE) inner\ninner: {OBJECTS}\n\t@echo done\n{RULE}"}, "make -s -j4 -Orecurse"
    ),
    "an include that a sub-make makes": Case(
        make("\t@echo $(V)\n", "include gen.mk\n")
        | {"gen.in": "V=@\n", "g.mk": "gen.mk: x.o\n\t@sed s/@/1/ gen.in >$@\nx.o:\n\t@cc -c u0.c -o x.o\n"},
        "sed -i '$a gen.mk: gen.in\\n\\t@$(MAKE) -s -f g.mk' Makefile; make -s -j4",
        remote=7,
    ),
    "one shell for all lines": Case(
        make(
            "\tx=(1 2 3)\n\techo $${x[1]}\n\tcc -c u1.c -o one.o\n",
            ".ONESHELL:\nSHELL = /bin/bash\n.SHELLFLAGS = -euc\n",
        ),
        remote=7,
    ),
    "another language's shell": Case(
        {"Makefile": 'SHELL = /usr/bin/perl\n.SHELLFLAGS = -e\nall:\n\tprint "x\\n"; system("cc -c u0.c");\n'}, remote=1
    ),
    "MAKEFLAGS set in the makefile": Case(make("\t@$(MAKE) s\ns:\n\t@echo s\n", "MAKEFLAGS = -s\n"), "make -j4"),
    "MAKEFLAGS not exported": Case(
        {"Makefile": f"unexport MAKEFLAGS\nall:\n\t@$(MAKE) -s s\ns: {OBJECTS}\n{RULE}"}, remote=6
    ),
    "variables with blanks and dollars": Case(
        make('\t@echo "$(V)"; $(MAKE) s "W=1 -j2 2"\ns:\n\t@echo "$(W)"\n'), "make -s -j4 'V=a  b -j9 $$x'"
    ),
    "-q and -t": Case(make(""), "make -q; echo $?; make -s; make -q; echo $?; rm *.o; make -t; ls"),
    "a makefile from standard input": Case({}, "echo 'all: ; cc -c u0.c' | make -s -j4 -f -", remote=1),
    "descriptors closed": Case(
        make("\t+@sh sub.sh\n") | {"sub.sh": "exec 3>&- 4>&- 5>&-\nmake -s -f m1.mk\n"} | PIECES, remote=7, warns=True
    ),
    "an empty environment with this PATH": Case(make(""), 'env -i PATH="$PATH" make -s -j4', remote=0),
    "timeout and nice": Case(make("\t@nice\n"), "timeout 60 nice -n 5 make -s -j4"),
    "xargs of makes": Case(PIECES, "ls m?.mk | xargs -P3 -n1 make -s -j2 -f"),
    "makes of a script": Case(PIECES | {"b.py": STARTS_MAKES.replace("CLOSE", "True")}, "python3 b.py"),
    "makes of a script that closes nothing": Case(
        PIECES | {"b.py": STARTS_MAKES.replace("CLOSE", "False")}, "python3 b.py"
    ),
    "makes of a script in a recipe": Case(
        make("\t@python3 b.py\n") | PIECES | {"b.py": STARTS_MAKES.replace("CLOSE", "True")}, remote=12, warns=True
    ),
    "ninja's pools": Case(
        {
            "build.ninja": NINJA
            + "pool one\n  depth = 1\nrule one\n  command = echo $out >$out\n  pool = one\nrule console\n"
            + "  command = echo console; touch $out\n  pool = console\n"
            # The edge of the console is the last one: of the edges that end during it, ninja shows only one.
            + "build a: one u0.o\nbuild b: one u1.o\nbuild c: console a b || u2.o u3.o u4.o u5.o\n"
        },
        "ninja",
    ),
    "ninja -k 0": Case(
        {"build.ninja": NINJA + "rule bad\n  command = echo bad; exit 1\nbuild x: bad\nbuild y: bad\n"},
        "ninja -k 0 -j8",
    ),
    "ninja's restat": Case(
        {
            "build.ninja": "rule cc\n  command = cc -c $in -o $out\nrule gen\n  command = cmp -s gen.in $out || "
            "cp gen.in $out\n  restat = 1\nbuild g.c: gen gen.in\nbuild g.o: cc g.c\n",
            "gen.in": "int g;\n",
        },
        "ninja --quiet; touch gen.in; ninja --quiet; ninja -n",
        remote=1,
    ),
    "ninja's dyndeps": Case(
        {
            "build.ninja": "ninja_required_version = 1.10\nrule cc\n  command = cc -c u1.c -o $out && test -e extra\n"
            "rule touch\n  command = touch $out\nrule dd\n  command = printf "
            '"ninja_dyndep_version = 1\\nbuild u1.o: dyndep | extra\\n" >$out\n'
            "build dd: dd\nbuild extra: touch\nbuild u1.o: cc || dd\n  dyndep = dd\n"
        },
        "ninja",
        remote=1,
    ),
    "ninja's tools": Case({"build.ninja": NINJA}, "ninja -t commands; ninja -t compdb | wc -l; ninja -n", remote=0),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """One server for all cases."""
    sandbox = Sandbox(Account.unprivileged())
    sandbox.settings |= {"SPRAYCC_EXECUTORS": "2", "SPRAYCC_LOCAL_SLOTS": "2", "SPRAYCC_IDLE_SHUTDOWN_S": "300"}
    try:
        yield sandbox
    finally:
        sandbox.close()


def run(sandbox: Sandbox, case: Case, *words: str | Path) -> tuple[Finished, Any]:
    """A fresh tree, the command, and the results that must be equal."""
    for path in sandbox.workspace.iterdir():
        if path.name != ".spraycc.toml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    files = {**UNITS, **case.files}
    if "Makefile" in files:
        files["Makefile"] += "bad:\n\t@exit 3\ne1 e2:\n\t@echo $@ one; echo $@ error >&2; sleep 0.1; echo $@ two\n"
    sandbox.write(files)
    finished = sandbox.run(*words, case.line)
    out = sorted(
        re.sub(rb"^\[\d+/\d+\]", b"[]", line)  # ninja's counter: ninja chooses the order
        for line in finished.out.splitlines()
        if b"Jobserver mode detected" not in line
    )
    err = sorted(
        line
        for line in finished.err.splitlines()
        if not line.startswith(b"spraycc:") and b"Waiting for unfinished jobs" not in line
    )
    names = sorted(os.listdir(sandbox.workspace))
    objects = {name: (sandbox.workspace / name).read_bytes() for name in names if name.endswith(".o")}
    return finished, (finished.status, out, [] if case.warns else err, names, objects)


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_without(shared: Sandbox, name: str) -> None:
    case = CASES[name]
    if case.line.startswith("ninja") and version_of(shared.bin / "ninja") < (1, 13):
        pytest.skip("the ninja of this environment knows no jobserver: pip install '.[test]'")
    _, plain = run(shared, case, "sh", "-c")
    summary = shared.temp / "summary.json"
    built, same = run(shared, case, shared.bin / "spraycc", "--summary", str(summary), "build", "--", "sh", "-c")
    assert same == plain
    assert shared.figures(summary)["remote"] >= case.remote
    prepared = f'eval "$(spraycc env)"; {case.line}'
    in_shell, same = run(shared, Case(case.files, prepared, case.remote, case.warns), "sh", "-c")
    assert same == plain
    assert b"left the jobserver" not in built.err + in_shell.err
