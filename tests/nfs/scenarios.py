"""Compile, change a file, compile again: the changes that an old NFS cache can hide from the second compile.

In the machine this is a program:

    scenarios.py write DIRECTORY TRIES [--only NAME,NAME...] [--pause SECONDS]
        makes one directory for each try, and a makefile. Its goal ``all`` does the tries, its goal ``expected``
        repeats the second compile of each try.
    scenarios.py judge DIRECTORY
        compares the second compiles with the expected ones, and prints a list of ``Try`` as JSON.

The judge needs no SprayCC. It compares the object, the depfile, the messages and the status.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "wrong", "spurious", "different"]


@dataclass(frozen=True)
class Scenario:
    """One change between two compiles of one source."""

    #: path → contents; "-> TARGET" makes a symbolic link, "" an empty file
    files: dict[str, str]
    change: str  #: shell commands in the directory of the try
    flags: str = ""
    second_flags: str = ""  #: of the second compile only
    source: str = "unit.c"
    outputs: str = ""  #: the directory of the objects, with a slash


def _header(value: int) -> str:
    return f"#define V {value}\n"


def _writes(value: int, path: str) -> str:
    return f"printf '#define V {value}\\n' >{path}"


_MARK = '#ifndef V\n#define V 0\n#endif\n#define TEXT_(x) #x\n#define TEXT(x) TEXT_(x)\nconst char mark[] = "MARK" TEXT(V);\n'
_INCLUDES = '#include "gen.h"\n' + _MARK
_ASKS = '#if __has_include("gen.h")\n#include "gen.h"\n#endif\n' + _MARK
_LATER = "#ifdef LATER\n#include LATER\n#endif\n" + _MARK
_SEVEN = _LATER.replace("define V 0", "define V 7")

#: The header or the source is in the directory of the object, or below it. SprayCC examines that directory before a
#: task, and so refreshes it by chance.
NEAR = {
    "new-has-include": Scenario({"unit.c": _ASKS}, _writes(1, "gen.h"), "-I."),
    "new-search-order": Scenario(
        {"unit.c": _INCLUDES, "first/.keep": "", "second/gen.h": _header(0)},
        _writes(1, "first/gen.h"),
        "-Ifirst -Isecond",
    ),
    "new-after-failure": Scenario({"unit.c": _INCLUDES}, _writes(1, "gen.h"), "-I."),
    "new-never-asked": Scenario({"unit.c": _LATER}, _writes(1, "fresh.h"), "-I.", "-DLATER='\"fresh.h\"'"),
    "new-directory": Scenario(
        {"unit.c": _LATER}, f"mkdir sub; {_writes(1, 'sub/fresh.h')}", "-I.", "-DLATER='\"sub/fresh.h\"'"
    ),
    "header-in-place-same-size": Scenario({"unit.c": _INCLUDES, "gen.h": _header(0)}, _writes(1, "gen.h"), "-I."),
    "header-in-place-longer": Scenario({"unit.c": _INCLUDES, "gen.h": _header(0)}, _writes(12345, "gen.h"), "-I."),
    "header-in-place-shorter": Scenario({"unit.c": _INCLUDES, "gen.h": _header(12345)}, _writes(1, "gen.h"), "-I."),
    "header-replaced-same-size": Scenario(
        {"unit.c": _INCLUDES, "gen.h": _header(0)}, f"{_writes(1, 't')}; mv t gen.h", "-I."
    ),
    "header-replaced-longer": Scenario(
        {"unit.c": _INCLUDES, "gen.h": _header(0)}, f"{_writes(12345, 't')}; mv t gen.h", "-I."
    ),
    "header-removed-made-again": Scenario(
        {"unit.c": _INCLUDES, "gen.h": _header(0)}, f"rm gen.h; {_writes(1, 'gen.h')}", "-I."
    ),
    "header-deleted": Scenario({"unit.c": _ASKS, "gen.h": _header(1)}, "rm gen.h", "-I."),
    "header-deleted-search-order": Scenario(
        {"unit.c": _INCLUDES, "first/gen.h": _header(1), "second/gen.h": _header(0)},
        "rm first/gen.h",
        "-Ifirst -Isecond",
    ),
    "source-in-place-same-size": Scenario({"unit.c": _SEVEN}, "sed 's/V 7/V 8/' unit.c >t; cat t >unit.c"),
    "source-replaced-same-size": Scenario({"unit.c": _SEVEN}, "sed 's/V 7/V 8/' unit.c >t; mv t unit.c"),
    "source-sed-i": Scenario({"unit.c": _SEVEN}, "sed -i 's/V 7/V 88/' unit.c"),
    "directory-renamed": Scenario(
        {"unit.c": _INCLUDES, "inc/gen.h": _header(0), "new/gen.h": _header(1)}, "mv inc old; mv new inc", "-Iinc"
    ),
    "link-retargeted": Scenario(
        {"unit.c": _INCLUDES, "a/gen.h": _header(0), "b/gen.h": _header(1), "cur": "-> a"}, "ln -sfn b cur", "-Icur"
    ),
}


def _far(files: dict[str, str], change: str, flags: str = "", source: str = _INCLUDES) -> Scenario:
    return Scenario(
        {"src/unit.c": source, "obj/.keep": "", "inc/.keep": "", **files}, change, flags, "", "src/unit.c", "obj/"
    )


#: Sources, headers and objects have directories of their own, as in most projects.
FAR = {
    "far-has-include": _far({}, _writes(1, "inc/gen.h"), "-Iinc", _ASKS),
    "far-search-order": _far(
        {"first/.keep": "", "second/gen.h": _header(0)}, _writes(1, "first/gen.h"), "-Ifirst -Isecond"
    ),
    "far-in-place": _far({"inc/gen.h": _header(0)}, _writes(1, "inc/gen.h"), "-Iinc"),
    "far-replaced": _far({"inc/gen.h": _header(0)}, f"{_writes(1, 'inc/t')}; mv inc/t inc/gen.h", "-Iinc"),
    "far-deleted": _far({"inc/gen.h": _header(1)}, "rm inc/gen.h", "-Iinc", _ASKS),
    "far-source-replaced": _far({}, "sed 's/V 7/V 8/' src/unit.c >src/t; mv src/t src/unit.c", source=_SEVEN),
    "far-source-in-place": _far({}, "sed 's/V 7/V 8/' src/unit.c >obj/t; cat obj/t >src/unit.c", source=_SEVEN),
}

SCENARIOS = NEAR | FAR

#: The scenarios that gave the most wrong objects before SprayCC knew of NFS caches, with the defaults of NFSv3 and 4.2.
WORST = (
    "new-search-order",
    "header-replaced-same-size",
    "far-search-order",
    "far-in-place",
    "far-replaced",
    "far-deleted",
)


@dataclass(frozen=True)
class Try:
    """One try of a scenario, judged."""

    scenario: str
    number: int
    verdict: Verdict
    seen: str  #: the marks in the objects: first compile, second compile, expected
    message: str = ""  #: the second compile's first message
    age_s: float = 0.0  #: between the ends of the two compiles


def write(root: Path, tries: int, only: Sequence[str] = (), pause_s: float = 0) -> None:
    """Makes the directories of all tries, and the makefile."""
    makefile = ["CC = gcc\n.PHONY: all expected\n"]
    goals: dict[str, list[str]] = {"all": [], "expected": []}
    for name in only or SCENARIOS:
        scenario = SCENARIOS[name]
        for number in range(tries):
            directory = root / name / f"{number:03}"
            for path, text in scenario.files.items():
                _make(directory / path, text)
            where = f"cd {name}/{number:03} &&"
            first = _recipe(where, scenario, "before", scenario.flags)
            second = _recipe(where, scenario, "after", f"{scenario.flags} {scenario.second_flags}")
            expected = _recipe(where, scenario, "expected", f"{scenario.flags} {scenario.second_flags}")
            change = f"\t@{where} {{ {scenario.change}; }}\n"
            pause = f"\t@sleep {pause_s}\n" if pause_s else ""
            goal = f"{name}-{number:03}"
            makefile += [f"{goal}:\n{first}{change}{pause}{second}", f"{goal}-expected:\n{expected}"]
            goals["all"].append(goal)
            goals["expected"].append(f"{goal}-expected")
    makefile += [f"{goal}: {' '.join(names)}\n.PHONY: {' '.join(names)}\n" for goal, names in goals.items()]
    (root / "Makefile").write_text("\n".join(makefile))


def judge(root: Path) -> list[Try]:
    """The result of each try. Both goals of the makefile have been made."""
    tries = []
    for directory in sorted(root.glob("*/[0-9][0-9][0-9]")):
        name = directory.parent.name
        tries.append(_judge(name, int(directory.name), directory / SCENARIOS[name].outputs))
    return tries


@dataclass
class Row:
    """One line of the table: a scenario's tries."""

    tries: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    remote: int = 0  #: tries whose second compile came from an executor
    seen: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    #: why second compiles did not come from executors
    here: Counter[str] = field(default_factory=Counter)

    @property
    def bad(self) -> int:
        return self.tries - self.verdicts["ok"]


def rows(
    tries: Iterable[Try], remote: Iterable[tuple[str, int]] = (), here: Iterable[tuple[str, str]] = ()
) -> dict[str, Row]:
    """The table, by scenario.

    Args:
        remote: the tries (scenario, number) whose second compile came from an executor.
        here: (scenario, reason) of each other second compile.
    """
    came_from_executors = set(remote)
    table: dict[str, Row] = {}
    for one in tries:
        row = table.setdefault(one.scenario, Row())
        row.tries += 1
        row.verdicts[one.verdict] += 1
        row.remote += (one.scenario, one.number) in came_from_executors
        if one.verdict != "ok":
            row.seen[one.seen] += 1
            if one.message:
                row.messages[one.message] += 1
    for scenario, reason in here:
        table[scenario].here[reason] += 1
    return table


def table_text(title: str, table: dict[str, Row]) -> str:
    """The table for people."""
    lines = [title, f"{'scenario':28} tries    ok  wrong object  spurious failure  different  remote"]
    total = Row()
    for name, row in [*table.items(), ("all", total)]:
        notes = [f"{count} x {text}" for text, count in (row.seen + row.messages + row.here).most_common(3)]
        verdicts = row.verdicts
        lines.append(
            f"{name:28} {row.tries:5} {verdicts['ok']:5} {verdicts['wrong']:13} {verdicts['spurious']:17}"
            f" {verdicts['different']:10} {row.remote:7}" + (f"   {'; '.join(notes)}" if notes else "")
        )
        if row is not total:
            total.tries += row.tries
            total.remote += row.remote
            total.verdicts.update(row.verdicts)
    return "\n".join(lines)


def _make(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if text.startswith("-> "):
        path.symlink_to(text[3:])
    else:
        path.write_text(text)


def _recipe(where: str, scenario: Scenario, name: str, flags: str) -> str:
    # -MT: the depfiles of the second and the expected compile are the same text.
    out = f"{scenario.outputs}{name}"
    compile_line = f"$(CC) -MMD -MT unit.o {flags} -c {scenario.source} -o {out}.o 2>{out}.err"
    return f"\t@{where} {{ {compile_line}; echo $$? >{out}.status; }}\n"


def _judge(scenario: str, number: int, outputs: Path) -> Try:
    def content(name: str) -> bytes | None:
        path = outputs / name
        return path.read_bytes() if path.exists() else None

    def mark(name: str) -> str:
        found = re.search(rb"MARK(\w+)", content(f"{name}.o") or b"")
        return found[1].decode() if found else "none"

    def age(name: str) -> float:
        status = outputs / f"{name}.status"
        return status.stat().st_mtime if status.exists() else 0.0

    ours, expected = mark("after"), mark("expected")
    verdict: Verdict = "ok"
    if content("after.status") is None or (ours == "none" != expected):
        verdict = "spurious"
    elif ours != expected:
        verdict = "wrong"
    elif any(content(f"after.{kind}") != content(f"expected.{kind}") for kind in ("o", "d", "err", "status")):
        verdict = "different"
    message = (content("after.err") or b"").decode(errors="replace").splitlines()
    return Try(
        scenario, number, verdict, f"{mark('before')}/{ours}/{expected}", message[0] if message else "",
        round(age("after") - age("before"), 2),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["write", "judge"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("tries", type=int, nargs="?", default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--pause", type=float, default=0)
    arguments = parser.parse_args()
    if arguments.what == "write":
        arguments.directory.mkdir(parents=True, exist_ok=True)
        write(arguments.directory, arguments.tries, [n for n in arguments.only.split(",") if n], arguments.pause)
    else:
        print(json.dumps([asdict(one) for one in judge(arguments.directory)]))


if __name__ == "__main__":
    main()
