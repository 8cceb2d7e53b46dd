"""Wrapped local work: links, archives and recipe lines wait for slots, and delay no other tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.jobserver.shapes import Size, make_shape, marks, most_at_once, remotes, write_make

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def count(lab: Any, name: str, path: str, together: int = 1) -> Path:
    """Puts a program ``name`` on PATH that runs ``path`` and logs its start and end; returns the log.

    None of them goes on before ``together`` of them have been running at the same time.
    """
    log: Path = lab.sandbox.aside / f"{name}.log"
    log.touch()
    log.chmod(0o666)
    directory = lab.sandbox.aside / "counted"
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(
        f'#!/bin/sh\nTICK_TOGETHER={together} exec {lab.tick} {log} command sh -c \'sleep 0.1; exec {path} "$@"\' sh "$@"\n'
    )
    program.chmod(0o755)
    lab.sandbox.give(directory)
    if directory not in lab.sandbox.path_front:
        lab.sandbox.path_front.insert(0, directory)
    return log


def widest(log: Path) -> int:
    return most_at_once(marks(log))


@pytest.fixture
def ready(lab: Any) -> Any:
    """The lab with eight executors that connect when the server asks for them."""
    lab.start()
    return lab


def build(lab: Any, makefile: str, *options: str, local_slots: int, tool: str | Path = "make") -> Any:
    lab.sandbox.write({"Makefile": makefile})
    return lab.sandbox.build(tool, options=options, executors=8, local_slots=local_slots).ok()


LINKS = "all: r $(foreach i,1 2 3 4 5 6,link$(i)) $(foreach i,1 2 3 4 5 6,lib$(i))\n"
LINKS += "link%:\n\t@gcc -o $@ o$*.o\nlib%:\n\t@ar rc $@.a o.o\n"


def test_links_and_archives_have_a_quota_each(ready: Any) -> None:
    links, archives = count(ready, "gcc", "true"), count(ready, "ar", "true", together=3)
    finished = build(ready, LINKS + remotes("r", 24, 0.1), "--light-slots", "3", local_slots=1)
    assert (widest(links), widest(archives)) == (1, 3)
    assert finished.figures["local"] == 12
    assert finished.figures["remote"] == 24
    assert finished.figures["tokens_free_at_end"] == finished.figures["tokens_issued"]


def test_commands_that_run_at_once_are_unseen_work(ready: Any) -> None:
    """They take no slot, and still no more of them run than local recipes may."""
    ready.warm(8, 2)
    compilers = count(ready, "g++", "true", together=2)
    lines = ("g++ -fsyntax-only a.cc", "g++ -E a.cc", "g++ -x c++ - -c -o $@ </dev/null", "g++ -c a.cc -o /dev/null")
    names = [f"n{i}" for i in range(10 * len(lines))]
    rules = "".join(f"{name}:\n\t@{lines[i % len(lines)]}\n" for i, name in enumerate(names))
    finished = build(ready, f"all: {' '.join(names)}\n{rules}", "--probing-limit", "2", local_slots=2)
    assert widest(compilers) == 2
    assert len(marks(compilers)) == 2 * len(names)
    assert finished.figures["local"] == len(names)
    assert finished.figures["tokens_free_at_end"] == finished.figures["tokens_issued"]


def test_a_link_waits_for_memory_as_well(ready: Any) -> None:
    """With a size that exceeds every host's memory, always exactly one link runs."""
    links, _ = count(ready, "gcc", "true"), count(ready, "ar", "true")
    options = ("--link-memory-mb", str(1 << 30))
    finished = build(ready, LINKS + remotes("r", 4, 0.1), *options, local_slots=4)
    assert widest(links) == 1
    assert finished.figures["local"] == 12


def test_memory_that_is_there_is_used(ready: Any) -> None:
    links, _ = count(ready, "gcc", "true", together=4), count(ready, "ar", "true")
    build(ready, LINKS + remotes("r", 4, 0.1), "--link-memory-mb", "1", local_slots=4)
    assert widest(links) == 4


def test_what_a_link_starts_takes_no_slot_of_its_own(ready: Any) -> None:
    """gcc with shims for as and ld: these runners are below a runner that has the only slot, so they would wait for ever."""
    ready.sandbox.settings |= {"SPRAYCC_WRAP": "as ld", "SPRAYCC_INTERCEPT": "path"}
    linkers, assemblers = count(ready, "ld", "/usr/bin/ld"), count(ready, "as", "/usr/bin/as")
    names = [f"p{i}" for i in range(6)]
    rules = f"all: {' '.join(names)}\n" + "".join(f'{name}:\n\t@gcc -B"$$SPRAYCC_SHIMS/" -o $@ m.c\n' for name in names)
    ready.sandbox.write({"m.c": "int main(void) { return 0; }\n"})
    finished = build(ready, rules, local_slots=1)
    assert all((ready.sandbox.workspace / name).stat().st_mode & 0o100 for name in names)
    assert (len(marks(linkers)), len(marks(assemblers))) == (12, 12)
    assert (widest(linkers), widest(assemblers)) == (1, 1)
    # one task each: the runners below asked for no slot
    assert finished.figures["tasks"] == finished.figures["local"] == 6


@pytest.mark.parametrize("version", ["make 4.3", "make 4.4"])
def test_recipe_lines_are_wrapped_on_wish(lab: Any, request: pytest.FixtureRequest, version: str) -> None:
    """Slots bound the recipe lines, not the governor: the bound is exact, and no completion is held."""
    tool = request.getfixturevalue("make_4_4") if version == "make 4.4" else Path("make")
    shape = make_shape("interleaved 3:1", Size(remotes=36, locals=12, remote_s=(0.1, 0.2), local_s=0.1))
    options = ("--wrap-shell", "--light-slots", "2")
    lab.sandbox.settings["TICK_TOGETHER"] = "2"
    run = lab.run(shape, write_make, executors=8, local_slots=2, tool=tool, options=options)
    assert run.most_local == 2
    assert run.finished.figures["local"] == shape.locals
    assert run.finished.figures["remote"] == shape.remotes
    assert run.finished.figures["tokens_free_at_end"] == run.finished.figures["tokens_issued"]


def test_wrapped_recipe_lines_do_as_they_would(ready: Any) -> None:
    """Makefiles with another shell, flags for the shell, a script run like libtool's, errors and several lines."""
    makefile = (
        "all: plain flags script multi fails sub\n"
        "plain:\n\t@printf '%s|' \"a  'b'\" \"$$0\"; echo; exit 0\n"
        "flags: .SHELLFLAGS := -euc\nflags:\n\t@echo $${unset-none}\n"
        "script:\n\t@$(SHELL) ./script.sh one two\n"
        "multi:\n\t@cd / && pwd; \\\n\techo next\n"
        "fails:\n\t-@exit 3\n"
        "sub:\n\t@$(MAKE) --no-print-directory -f sub.mk\n"
    )
    own = "SHELL := /bin/bash\nall:\n\t@echo $${BASH_VERSION:+bash} $(words $(filter --eval%,$(MAKEFLAGS)))\n"
    ready.sandbox.write({"script.sh": 'echo script "$@"\n', "sub.mk": own, "Makefile": makefile})
    plain = ready.sandbox.run("make").ok()
    wrapped = ready.sandbox.build("make", "-j1", options=("--wrap-shell",), local_slots=1).ok()
    assert wrapped.out.replace(b"bash 1", b"bash 0") == plain.out
    # lines for make itself, and the lines of the sub-make with bash, are not wrapped; all others are
    assert wrapped.figures["local"] >= 4
    assert b"fails] Error 3 (ignored)" in wrapped.err
