"""Small projects that tests build, and wrappers that come before the real compiler on PATH to record or delay compiles."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.harness.sandbox import Sandbox

GCC = "/usr/bin/gcc"
SOURCES = (".c", ".cc", ".cpp", ".cxx", ".S", ".s")

_MAKEFILE = """\
CC = gcc
CFLAGS = -O1 -Wall
objects := $(patsubst %.c,%.o,$(wildcard *.c))

prog: $(objects)
	$(CC) -o $@ $^

%.o: %.c
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

clean:
	$(RM) prog *.o *.d

.PHONY: clean
-include $(objects:.o=.d)
"""

_NINJA = """\
rule cc
  command = gcc -O1 -Wall -MMD -MF $out.d -c -o $out $in
  depfile = $out.d
  deps = gcc
rule link
  command = gcc -o $out $in
"""


def unit(number: int) -> str:
    """A translation unit with one function."""
    return f'#include <stdio.h>\n\nint f{number}(int x) {{\n    return printf("") + x + {number};\n}}\n'


def c_project(units: int) -> dict[str, str]:
    """A makefile, build.ninja, ``units`` translation units and main.c; ``prog`` prints the sum of 1 to ``units``."""
    files = {f"u{i}.c": unit(i) for i in range(1, units + 1)}
    declarations = "".join(f"int f{i}(int);\n" for i in range(1, units + 1))
    sum_ = " + ".join(f"f{i}(0)" for i in range(1, units + 1))
    files["main.c"] = (
        f'#include <stdio.h>\n\n{declarations}\nint main(void) {{\n    printf("%d\\n", {sum_});\n    return 0;\n}}\n'
    )
    names = sorted(Path(name).stem for name in files)
    edges = "".join(f"build {name}.o: cc {name}.c\n" for name in names)
    files["build.ninja"] = f"{_NINJA}{edges}build prog: link {' '.join(f'{name}.o' for name in names)}\n"
    files["Makefile"] = _MAKEFILE
    return files


def output_of(units: int) -> bytes:
    """The output of ``prog`` of :func:`c_project`."""
    return b"%d\n" % (units * (units + 1) // 2)


class FakeCompiler:
    """A directory with a ``gcc`` script, first on the sandbox's PATH: it runs some shell text and then the real gcc."""

    def __init__(self, sandbox: Sandbox, before: str) -> None:
        self.directory = sandbox.aside / "compiler"
        script = f'#!/bin/sh\n{before}\nexec {GCC} "$@"\n'
        sandbox.write({"gcc": script}, self.directory, mode=0o755)
        sandbox.path_front.append(self.directory)


class Gate:
    """A gate at which shell scripts wait. An executor's proof stays valid when the test opens the gate meanwhile.

    The gate is a directory. It is closed while it is older than the file that the script names. If a command examines a
    directory, the proof compares only its existence with the submit host's.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._directory = sandbox.aside / "gate"
        self._directory.mkdir()
        self.close()

    def wait(self, file: str) -> str:
        """Shell text that waits until the gate is open for this file (a shell word), or until SIGUSR1 arrives."""
        return f"trap go=1 USR1\nwhile [ -z \"$go\" ] && [ '{self._directory}' -ot {file} ]; do sleep 0.02; done"

    def open(self) -> None:
        """Lets all present and future scripts go on."""
        self._set(2**31 * 10**9)

    def open_for(self, file: Path) -> None:
        """Lets scripts go on that wait with this file or with an older one."""
        self._set(file.stat().st_mtime_ns)

    def close(self) -> None:
        """Scripts that reach the gate from now on wait."""
        self._set(0)

    def _set(self, time_ns: int) -> None:
        os.utime(self._directory, ns=(time_ns, time_ns))


class GatedCompiler(FakeCompiler):
    """A gcc whose compiles wait until the gate is open. It logs the compiles that run on the submit host.

    A test that opens the gate for one source needs that source as the last word of the compile line. The log is outside
    the workspace: a compile on an executor can't write to it, and does not try.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.gate = Gate(sandbox)
        self.log = sandbox.aside / "here.log"
        super().__init__(
            sandbox,
            f"""\
note() {{ if [ -w '{sandbox.aside}' ]; then echo "$1" >>'{self.log}'; fi; }}
case " $* " in *" -c "*) ;; *) exec {GCC} "$@" ;; esac
for source; do :; done
[ -e "$source" ] || source=$0
note +
{self.gate.wait('"$source"')}
{GCC} "$@"
status=$?
note -
exit $status""",
        )

    def open(self) -> None:
        """Lets all present and future compiles go on."""
        self.gate.open()

    def wait_for_width(self, count: int) -> None:
        """Waits until ``count`` executors run a compile each, and helps a build tool that reads tokens too rarely.

        ninja 1.13.0 to 1.13.2 read new tokens only when one of their children ends. So this method lets one compile go on
        whenever the number has not grown for a while.
        """
        seen, since = 0, time.monotonic()

        def enough() -> bool:
            nonlocal seen, since
            busy = len(self._sandbox.busy_executors())
            if busy > seen:
                seen, since = busy, time.monotonic()
            elif 0 < busy < count and time.monotonic() - since > 2:
                since = time.monotonic()
                start = f"/bin/sh {self.directory}/gcc "
                held = [process for process in self._sandbox.processes() if process.command.startswith(start)]
                os.kill(held[0].pid, signal.SIGUSR1)
            return busy >= count

        self._sandbox.wait_for(f"{count} executors run a compile", enough)

    def notes(self) -> list[str]:
        """``+`` for the start and ``-`` for the end of each compile on the submit host, in order."""
        return self.log.read_text().split() if self.log.exists() else []

    def most_on_submit_host(self) -> int:
        """The largest number of compiles that ran on the submit host at once."""
        running = most = 0
        for note in self.notes():
            running += 1 if note == "+" else -1
            most = max(most, running)
        return most


class CountingCompilers:
    """Wrappers that log every command line and run the real compiler; for builds without SprayCC."""

    NAMES = ("cc", "gcc", "c++", "g++", "clang", "clang++")

    def __init__(self, sandbox: Sandbox) -> None:
        self.log = sandbox.aside / "lines"
        self.directory = sandbox.aside / "counting"
        for name in self.NAMES:
            script = f"""\
#!/bin/sh
(printf '%s\\037' "$@"; echo) >>'{self.log}'
exec /usr/bin/{name} "$@"
"""
            sandbox.write({name: script}, self.directory, mode=0o755)

    def translation_units(self) -> list[str]:
        """The sources of all compile lines (-c), except those of configure's tests."""
        return [name for words, sources in self._lines() if "-c" in words for name in sources]

    def dependency_lines(self) -> list[list[str]]:
        """The lines that only write dependencies (-M, -MM), however many sources each has."""
        return [
            words for words, sources in self._lines() if sources and {"-M", "-MM"} & set(words) and "-c" not in words
        ]

    def _lines(self) -> Iterator[tuple[list[str], list[str]]]:
        """Each line's words, and the sources among them."""
        for line in self.log.read_text(errors="surrogateescape").splitlines():
            words = line.split("\037")
            names = [word for word in words if os.path.splitext(word)[1] in SOURCES]
            # Leave out the sources of autoconf's and config.guess's tests.
            yield words, [name for name in names if "conftest" not in name and not name.endswith("/dummy.c")]


def objects(tree: Path) -> set[str]:
    """Names of all objects below ``tree``."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*.o")}
