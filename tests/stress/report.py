"""Reports of tests/stress/run, and the table of docs/explanation/reliability.md.

``report.py report DIRECTORY REPORT SEED MINUTES`` reads what the script has kept of each round. It writes a report in
Markdown, prints it, and ends with status 1 if anything failed. ``report.py table FILE`` prints the table of the lines that
FAULT_TABLE has collected.
"""

from __future__ import annotations

import json
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


@dataclass
class Part:
    """All rounds of one part."""

    rounds: int = 0
    passed: int = 0
    seconds: float = 0.0
    #: the command that repeats it, and the end of its output
    failures: list[tuple[str, str]] = field(default_factory=list)
    #: reason -> number of times
    skipped: Counter[str] = field(default_factory=Counter)


def node(case: ElementTree.Element) -> str:
    """The test's name for pytest's command line."""
    words = case.get("classname", "").split(".")
    for count in range(len(words), 0, -1):
        path = Path(*words[:count]).with_suffix(".py")
        if (TOP / path).exists():
            return "::".join([str(path), *words[count:], case.get("name", "")])
    return case.get("name", "")


def read_round(part: Part, directory: Path, name: str) -> None:
    """Add one round to its part."""
    variables = (directory / f"{name}.variables").read_text().split()
    # Variables that set the duration, or the place of notes, are not needed to repeat one test.
    variables = [v for v in variables if not v.startswith(("FAULT_TABLE=", "FAULT_SECONDS="))]
    arguments = (directory / f"{name}.arguments").read_text().split()
    options = [word for word in arguments if word.startswith("--hypothesis-seed")]
    status = int((directory / f"{name}.status").read_text())
    part.rounds += 1
    failed = False
    path = directory / f"{name}.xml"
    for case in ElementTree.parse(path).iter("testcase") if path.exists() else ():
        part.seconds += float(case.get("time", 0))
        problems = [child for child in case if child.tag in ("failure", "error")]
        if problems:
            failed = True
            command = shlex.join([*variables, ".venv/bin/pytest", "-m", "", *options, node(case)])
            text = problems[0].get("message", "") + "\n…\n" + (problems[0].text or "")[-1500:]
            part.failures.append((command, text))
        elif (skip := case.find("skipped")) is not None:
            part.skipped[skip.get("message", "")] += 1
        else:
            part.passed += 1
    if status != 0 and not failed:
        command = shlex.join([*variables, ".venv/bin/pytest", "-m", "", *arguments])
        part.failures.append((command, f"pytest ended with status {status}"))


def read_parts(directory: Path) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    ended = sorted(directory.glob("*.status"), key=lambda path: path.stat().st_mtime)
    for name in (path.name.removesuffix(".status") for path in ended):
        read_round(parts.setdefault(name.rpartition("-")[0], Part()), directory, name)
    return parts


def fault_table(lines: Path) -> Iterator[str]:
    """The table of docs/explanation/reliability.md. Runs in which the build ended before the fault do not count."""
    runs: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in lines.read_text().splitlines():
        run = json.loads(line)
        if not run["late"]:
            runs[run["fault"]] += 1
            whole[run["fault"]] += run["whole"]
    yield "| fault | runs | build ended well | ended as plain make's would, and the next one completed it |"
    yield "| --- | ---: | ---: | ---: |"
    for name, count in runs.items():
        yield f"| {name} | {count} | {whole[name]} | {count - whole[name]} |"
    yield f"| all | {runs.total()} | {whole.total()} | {runs.total() - whole.total()} |"


def report(directory: Path, seed: str, minutes: str) -> tuple[list[str], bool]:
    """The report's lines, and whether everything passed."""
    parts = read_parts(directory)
    failures = [failure for part in parts.values() for failure in part.failures]
    # A part without a single test that passed has shown nothing.
    empty = [name for name, part in parts.items() if not part.passed and not part.failures]
    lines = [
        "# Stress run", "", f"`SEED={seed} sh tests/stress/run {minutes}`", "",
        "| part | rounds | passed | failed | not run | seconds in tests |", "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for name, part in parts.items():
        figures = [part.rounds, part.passed, len(part.failures), part.skipped.total(), round(part.seconds)]
        lines.append(f"| {name} | {' | '.join(map(str, figures))} |")
    lines += ["", *(f"NOTHING RUN: {name}" for name in empty)]
    for name, part in parts.items():
        lines += [f"NOT RUN in {name}: {count} times: {reason}" for reason, count in part.skipped.items()]
    for command, text in failures:
        lines += ["", f"FAILED; to repeat it: `{command}`", "", "```", *text.splitlines(), "```"]
    if (table := directory / "table").exists():
        lines += ["", *fault_table(table)]
    passed = bool(parts) and not failures and not empty
    lines += ["", "All passed." if passed else "NOT ALL PASSED."]
    return lines, passed


def main() -> int:
    if sys.argv[1] == "table":
        print("\n".join(fault_table(Path(sys.argv[2]))))
        return 0
    _, _, directory, path, seed, minutes = sys.argv
    lines, passed = report(Path(directory), seed, minutes)
    Path(path).write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"\nreport: {path}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
