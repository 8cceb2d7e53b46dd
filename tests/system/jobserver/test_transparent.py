"""Plain make in a prepared shell, the return to the ordinary shell, and builds within builds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.system.jobserver.shapes import remotes

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SHELLS = [
    pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in ("bash", "dash", "zsh", "fish", "csh", "tcsh")
]
PREPARED = 'eval "$(spraycc env)"; '


def prepared(shell: str, words: str = "env") -> str:
    """The first line that a user types in that shell."""
    if shell == "fish":
        return f"spraycc {words} | source; "
    return f'eval "`spraycc {words}`"; ' if shell in ("csh", "tcsh") else f'eval "$(spraycc {words})"; '


@pytest.fixture
def ready(lab: Any) -> Any:
    """The lab with eight executors connected, and eight files to compile."""
    lab.start()
    lab.warm(8, 2)
    lab.sandbox.settings |= {"SPRAYCC_EXECUTORS": "8", "SPRAYCC_LOCAL_SLOTS": "2"}
    lab.sandbox.write({"Makefile": "all: r\n" + remotes("r", 8, 0.1, together=8)})
    return lab


def tasks(finished: Any) -> list[str]:
    """Each build of the lab as its summary says: the tasks, and where they ran."""
    found = (re.match(r"(?:spraycc: )?(\d+ tasks?) in [^:]*: ([^;]*)", line) for line in finished.own_lines())
    return [f"{summary[1]}: {summary[2]}" for summary in found if summary]


#: Start files of the user would change PATH.
NO_START_FILE = {"csh": ("-f",), "tcsh": ("-f",), "zsh": ("-f",), "bash": ("--norc",), "fish": ("--no-config",)}
EIGHT = "8 tasks: 8 on 8 executors"


@pytest.mark.parametrize("shell", SHELLS)
def test_plain_make_is_a_build(ready: Any, shell: str) -> None:
    finished = ready.sandbox.run(shell, "-c", prepared(shell) + "make -j8").ok()
    assert tasks(finished) == [EIGHT]
    assert ready.stop()["running_peak"] == 8


def test_a_script_that_chooses_its_width_is_reached(ready: Any) -> None:
    ready.sandbox.write({"build.sh": "#!/bin/sh\nexec make -j$(nproc)\n"}, mode=0o755)
    finished = ready.sandbox.run("sh", "-c", PREPARED + "./build.sh").ok()
    assert tasks(finished) == [EIGHT]


@pytest.mark.parametrize("shell", SHELLS)
def test_off_undoes_it(ready: Any, shell: str) -> None:
    off = prepared(shell, "env --off")
    script = prepared(shell) + "which make; " + off + "printenv PATH; which make; make --version >/dev/null"
    finished = ready.sandbox.run(shell, "-c", script).ok()
    shim, path, real = finished.out.decode().splitlines()
    assert "/spraycc/paths/" in shim
    assert path == ready.sandbox.environment()[b"PATH"].decode()
    assert "spraycc" not in real


@pytest.mark.parametrize("shell", SHELLS)
def test_off_leaves_the_environment_as_it_was(ready: Any, shell: str) -> None:
    environment = "env | grep -v '^_=' | sort; "
    script = environment + "echo @@; " + prepared(shell) + prepared(shell, "env --off") + environment
    finished = ready.sandbox.run(shell, *NO_START_FILE.get(shell, ()), "-c", script).ok()
    before, _, after = finished.out.decode().partition("@@\n")
    assert after == before


@pytest.mark.parametrize("makeflags", ["", "-j4 -k"])
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell.values[0] in ("bash", "dash", "zsh")])
def test_off_leaves_a_shell_that_was_a_build_as_it_was(ready: Any, shell: str, makeflags: str) -> None:
    state = "env | grep -v '^_=' | sort; [ -e /proc/$$/fd/9 ] || echo closed; "
    on, off = (prepared(shell, f"env {word}") for word in ("--makeflags", "--off"))
    script = "set -eu; " + state + "echo @@; " + on + on + "[ -e /proc/$$/fd/9 ]; " + off + state
    given = {"MAKEFLAGS": makeflags, "GNUMAKEFLAGS": "-j3"} if makeflags else {}
    finished = ready.sandbox.run(shell, *NO_START_FILE.get(shell, ()), "-c", script, env=given).ok()
    before, _, after = finished.out.decode().partition("@@\n")
    assert before.endswith("closed\n")
    assert after == before


def test_a_shim_in_a_shell_that_is_not_prepared_is_the_real_tool(ready: Any) -> None:
    shims = ready.sandbox.run("sh", "-c", PREPARED + 'printf %s "$SPRAYCC_SHIMS"').ok().out.decode()
    finished = ready.sandbox.run(f"{shims}/make", "--version").ok()
    assert finished.out.startswith(b"GNU Make")
    ready.sandbox.write({"plain.mk": "all:\n\t@echo $(MAKE) $(MAKEFLAGS)\n"})
    finished = ready.sandbox.run(f"{shims}/make", "-f", "plain.mk").ok()
    assert b"jobserver" not in finished.out
    assert b"/paths/" not in finished.out
    assert finished.err == b""


def test_it_says_nothing_where_there_was_nothing_to_do(ready: Any) -> None:
    ready.sandbox.write({"nothing.mk": "all:\n\t@echo done\n"})
    finished = ready.sandbox.run("sh", "-c", PREPARED + "make -f nothing.mk").ok()
    assert (finished.out, finished.err) == (b"done\n", b"")


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_shell_can_be_a_build_for_tools_that_have_no_shim(ready: Any, shell: str) -> None:
    script = 'eval "$(spraycc env --makeflags)"; /usr/bin/make r; spraycc status --json'
    finished = ready.sandbox.run(shell, "-c", script).ok()
    assert b'"remote": 8' in finished.out
    ready.sandbox.wait_for("the build ends with its shell", lambda: ready.sandbox.status()["builds"] == [])


def test_a_shell_that_is_a_build_starts_executors(lab: Any) -> None:
    """The command line that opened the build is gone by then."""
    lab.start()
    lab.sandbox.settings |= {"SPRAYCC_EXECUTORS": "2", "SPRAYCC_LOCAL_SLOTS": "2"}
    lab.sandbox.write({"Makefile": remotes("r", 2, 0.1, together=2)})
    script = 'eval "$(spraycc env --makeflags)"; /usr/bin/make r; spraycc status --json'
    finished = lab.sandbox.run("sh", "-c", script).ok()
    assert b'"remote": 2' in finished.out


@pytest.mark.parametrize("shell", SHELLS)
def test_a_value_survives_each_shell(ready: Any, shell: str) -> None:
    odd = "/odd 'quoted'  \\back!slash\t$HOME`x`\"*?~{a,b}#;"
    path = ready.sandbox.environment()[b"PATH"].decode()
    script = prepared(shell) + "printenv PATH"
    finished = ready.sandbox.run(shell, *NO_START_FILE.get(shell, ()), "-c", script, env={"PATH": f"{path}:{odd}"}).ok()
    assert finished.out.decode().rstrip("\n").partition(":")[2] == f"{path}:{odd}"


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell.values[0] in ("csh", "tcsh", "fish")])
def test_a_shell_that_can_hold_no_descriptor_is_told_what_to_do(ready: Any, shell: str) -> None:
    finished = ready.sandbox.run(shell, "-c", "spraycc env --makeflags")
    assert (finished.status, finished.out) == (2, b"")
    assert finished.err.decode() == (
        f"spraycc: error: env: {shell} can't keep a descriptor open, as --makeflags needs it; "
        f"start a shell inside a build instead: spraycc build -- {shell}\n"
    )
    finished = ready.sandbox.build("build", "--", shell, "-c", "/usr/bin/make r", executors=8, local_slots=2).ok()
    assert finished.figures["remote"] == 8


def test_another_language_is_chosen_by_hand(ready: Any) -> None:
    finished = ready.sandbox.run("sh", "-c", "spraycc env --shell csh").ok()
    assert finished.out.startswith(b"setenv PATH '")


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        pytest.param("spraycc", "make -j8 r", id="a make with -j in a build"),
        pytest.param("spraycc", "$(MAKE) r", id="a sub-make"),
        pytest.param("spraycc", "spraycc make r", id="spraycc in a build"),
        pytest.param("spraycc", "make r", id="a make in a recipe that is not recursive"),
        pytest.param("spraycc", "MAKEFLAGS=-j3 make r", id="a MAKEFLAGS in the place of ours"),
        pytest.param("spraycc", "export MAKEFLAGS=kj3; $(MAKE) r", id="letters without a dash"),
        pytest.param("spraycc", "/usr/bin/make -j8 r", id="a make by its path"),
        pytest.param("spraycc", "cp Makefile j.mk; make -fj.mk r", id="a word with a j that is no -j"),
        pytest.param("spraycc", "env -i PATH=$$PATH make -j8 r", id="a make without an environment"),
        pytest.param("spraycc", "env -u LD_PRELOAD /usr/bin/make r", id="a make without the library"),
    ],
)
def test_what_runs_in_a_build_is_part_of_it(ready: Any, outer: str, inner: str) -> None:
    ready.sandbox.write({"outer.mk": f"all:\n\t@{inner}\n"})
    finished = ready.sandbox.build("make", "-f", "outer.mk", executors=8, local_slots=2).ok()
    assert finished.figures["remote"] == 8
    assert finished.figures["tokens_free_at_end"] == finished.figures["tokens_issued"]
    assert len(tasks(finished)) == 1
    assert b"warning" not in finished.err
    assert ready.stop()["running_peak"] == 8


def test_a_build_in_a_recipe_of_a_plain_make_has_its_pool_to_itself(ready: Any) -> None:
    ready.sandbox.write(
        {
            "outer.mk": "all: a b\na b:\n\t@spraycc make r$@\n" + "",
            "Makefile": remotes("ra", 8, 0.3, together=2) + remotes("rb", 8, 0.3, together=2),
        }
    )
    finished = ready.sandbox.run("/usr/bin/make", "-j2", "-f", "outer.mk").ok()
    assert tasks(finished) == [EIGHT, EIGHT]
    # -j2 of the outer make is the cap of each inner build
    assert 2 <= ready.stop()["running_peak"] <= 4
