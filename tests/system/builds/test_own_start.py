"""SprayCC's own start never keeps a build from running, and the build gets the caller's environment unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.system.harness.installed import PACKAGE, Installed
from tests.system.harness.sandbox import Finished, Sandbox

pytestmark = pytest.mark.e2e

#: Variables of CPython 3.11 to 3.14 with values that harm an interpreter, or change what it does. PYTHONPATH is added.
PYTHON_VARIABLES = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPLATLIBDIR": "nowhere",
    "PYTHONSTARTUP": "/nowhere/startup.py",
    "PYTHONWARNINGS": "error",
    "PYTHONSAFEPATH": "",
    "PYTHONINSPECT": "1",
    "PYTHONOPTIMIZE": "2",
    "PYTHONDEBUG": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONVERBOSE": "2",
    "PYTHONCASEOK": "1",
    "PYTHONHASHSEED": "not a number",
    "PYTHONINTMAXSTRDIGITS": "1",
    "PYTHONIOENCODING": "no-such-encoding",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUSERBASE": "/nowhere",
    "PYTHONEXECUTABLE": "/nowhere/python",
    "PYTHONPYCACHEPREFIX": "/nowhere/cache",
    "PYTHONWARNDEFAULTENCODING": "1",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONTRACEMALLOC": "x",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONMALLOC": "no-such-allocator",
    "PYTHONMALLOCSTATS": "1",
    "PYTHONLEGACYWINDOWSFSENCODING": "1",
    "PYTHONLEGACYWINDOWSSTDIO": "1",
    "PYTHONCOERCECLOCALE": "warn",
    "PYTHONDEVMODE": "1",
    "PYTHONUTF8": "x",
    "PYTHONPERFSUPPORT": "1",
    "PYTHONBREAKPOINT": "no.such.function",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONTHREADDEBUG": "1",
    "PYTHONDUMPREFS": "1",
    "PYTHONDUMPREFSFILE": "/nowhere/refs",
    "PYTHONSTDLIBDIR": "/nowhere",
    "PYTHON_FROZEN_MODULES": "off",
    "PYTHON_COLORS": "1",
    "PYTHON_BASIC_REPL": "1",
    "PYTHON_HISTORY": "/nowhere/history",
    "PYTHON_GIL": "x",
    "PYTHON_CPU_COUNT": "x",
    "PYTHON_PERF_JIT_SUPPORT": "1",
    "PYTHON_PRESITE": "no.such.module",
    "PYTHON_JIT": "1",
    "PYTHON_TLBC": "x",
    "PYTHON_THREAD_INHERIT_CONTEXT": "x",
    "PYTHON_CONTEXT_AWARE_WARNINGS": "x",
    "PYTHON_DISABLE_REMOTE_DEBUG": "1",
}
#: Modules of the standard library and of SprayCC's dependencies.
SHADOWED = (
    *("os", "enum", "re", "site", "encodings", "json", "socket", "signal", "ssl", "sitecustomize", "usercustomize"),
    *("cbor2", "click", "cryptography", "platformdirs", "pydantic", "rich", "trio", "annotated_types"),
    *("zstandard", "spraycc"),
)
#: The variables that a recipe may have changed or added, as docs/explanation/interception.md lists them.
OURS = {
    *(b"MAKEFLAGS", b"MFLAGS", b"CARGO_MAKEFLAGS", b"LD_PRELOAD"),
    *(b"SPRAYCC_SOCKET", b"SPRAYCC_BUILD", b"SPRAYCC_EXEC"),
}

_PROJECT = {
    "u.c": "int main(void) { return 0; }\n",
    "Makefile": "all: u.o environment\nu.o: u.c ; gcc -c u.c\nenvironment: ; @env -0 > environment\n",
}


def hostile(sandbox: Sandbox) -> dict[str, str]:
    """All variables, and a PYTHONPATH whose modules raise."""
    modules = {f"{name}.py": "raise SystemError('a module of PYTHONPATH was imported')\n" for name in SHADOWED}
    directory = sandbox.write(modules, sandbox.aside / "modules")
    return {**PYTHON_VARIABLES, "PYTHONPATH": f"relative::{directory}"}


def dumped(path: Path) -> dict[bytes, bytes]:
    """What ``env -0`` has written."""
    entries = path.read_bytes().split(b"\0")[:-1]
    return dict(entry.partition(b"=")[::2] for entry in entries)


def attempts(sandbox: Sandbox) -> int:
    """Commands that executors ran, by their own count."""
    sandbox.stop()
    return sum(int(counters["done"]) for counters in sandbox.executor_counters())


@pytest.mark.parametrize("by_shell", [False, True], ids=["spraycc-make", "spraycc-env"])
def test_the_users_python_settings_are_for_the_build(sandbox: Sandbox, by_shell: bool) -> None:
    tree = sandbox.write(_PROJECT)
    env = hostile(sandbox)
    plain = sandbox.run("make", "-s", env=env).ok()
    objects, variables = (tree / "u.o").read_bytes(), dumped(tree / "environment")
    for name in ("u.o", "environment"):
        (tree / name).unlink()
    if by_shell:
        env |= {"SPRAYCC_EXECUTORS": "2", "SPRAYCC_SUMMARY_LINE": "false"}
        built = sandbox.run("sh", "-c", 'eval "$(spraycc env)" && make -s', env=env).ok()
        shown = sandbox.run("sh", "-c", 'eval "$(spraycc env)" && spraycc status', env=env).ok()
        assert b"server" in shown.out
    else:
        built = sandbox.build("make", "-s", options=["--no-summary-line"], env=env).ok()
        assert built.figures["remote"] == 1, built.words()
    assert (built.out, built.err) == (plain.out, plain.err)
    assert (tree / "u.o").read_bytes() == objects
    found = dumped(tree / "environment")
    for name, value in env.items():
        if name.startswith("PYTHON"):
            assert found[name.encode()] == variables[name.encode()] == value.encode()
    assert attempts(sandbox) == 1


@pytest.mark.parametrize("module", ["spraycc.server", "spraycc.executor", "spraycc.server.fleet.stale_jobs"])
def test_other_programs_of_ours_are_isolated(sandbox: Sandbox, module: str) -> None:
    """Two fail because of their missing arguments, after their imports. The last has no state directory to look at."""
    done = sandbox.run(sys.executable, "-E", "-P", PACKAGE / "isolated.py", "-m", module, env=hostile(sandbox))
    assert b"a module of PYTHONPATH" not in done.err, done.words()
    assert b"usage:" in done.err or (done.status, done.out) == (0, b"0\n"), done.words()


# --- the environment


_ODD = [b"LANG=", b"Z=\xff\xfe=\n", b"A=1", b"EMPTY=", b"with blank=x", b"A=2", b"no sign", b"=nameless", b"%=1"]
#: Executes the command line with exactly these entries: execve(2) takes what no shell can set.
_EXEC = """
import ctypes, os, sys
count = int(sys.argv[1])
entries, words = [os.fsencode(w) for w in sys.argv[2:2 + count]], [os.fsencode(w) for w in sys.argv[2 + count:]]
vectors = [(ctypes.c_char_p * (len(v) + 1))(*v, None) for v in (words, entries)]
ctypes.CDLL(None).execve(words[0], *vectors)
"""


@pytest.mark.parametrize("odd", [[], _ODD], ids=["plain", "odd"])
@pytest.mark.parametrize("locale", [[], [b"LC_CTYPE=C"], [b"LC_ALL=C"], [b"LC_CTYPE=C.UTF-8"]], ids=repr)
def test_the_build_gets_the_callers_environment(sandbox: Sandbox, odd: list[bytes], locale: list[bytes]) -> None:
    sandbox.write({})
    base = sandbox.environment({"SPRAYCC_SUMMARY_LINE": "false"})
    given = [*odd, *(b"=".join(item) for item in base.items() if item[0] not in (b"LC_ALL", b"LANG")), *locale]

    def entries(*words: str | Path) -> list[bytes]:
        done = sandbox.run(sys.executable, "-c", _EXEC, str(len(given)), *given, *words).ok()
        return done.out.split(b"\0")[:-1]

    plain = entries("/usr/bin/env", "-0")
    assert plain == given
    found = entries(sandbox.bin / "spraycc", "build", "--", "/usr/bin/env", "-0")
    assert [entry for entry in found if entry.partition(b"=")[0] not in OURS] == given
    assert {entry.partition(b"=")[0] for entry in found} - {entry.partition(b"=")[0] for entry in given} <= OURS
    ran = entries(sandbox.bin / "spraycc", "run", "--", "/usr/bin/env", "-0")
    assert [e for e in ran if not e.startswith(b"SPRAYCC_")] == [e for e in given if not e.startswith(b"SPRAYCC_")]
    remote = entries(sandbox.bin / "spraycc", "run", "--remote", "--", "/usr/bin/env", "-0")
    # The box gives each command a TMPDIR.
    expected = [e for e in given if not e.startswith((b"SPRAYCC_", b"TMPDIR="))]
    assert [e for e in remote if not e.startswith(b"TMPDIR=")] == expected
    assert attempts(sandbox) == 1


def test_the_c_locale_stays(sandbox: Sandbox) -> None:
    """Python makes UTF-8 of the C locale, also for its children. ``wc -m`` counts bytes in the one, characters in the other."""
    sandbox.write({"Makefile": 'all: ; @printf "\\303\\251" | wc -m\n'})
    words = ["env", "-u", "LC_ALL", "-u", "LANG"]
    plain = sandbox.run(*words, "make", "-s").ok()
    assert plain.out == b"2\n"
    assert sandbox.run(*words, sandbox.bin / "spraycc", "--no-summary-line", "make", "-s").ok().out == plain.out


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&1 | exec <&-"], ids=["full", "no reader"])
def test_a_message_that_cannot_be_written_leaves_the_status(sandbox: Sandbox, where: str) -> None:
    """SprayCC's summary is lost, as a message of the tool would be."""
    sandbox.write({"Makefile": "all: ; @sleep 0.1\nfail: ; @exit 3\n"})
    for goal in ("all", "fail"):
        code = f'{{ "$@" make -s {goal}; echo $? >status; }} {where}'
        statuses = []
        for lead in ("env", sandbox.bin / "spraycc"):
            sandbox.run("sh", "-c", code, "sh", lead)
            statuses.append((sandbox.workspace / "status").read_text())
        assert statuses[0] == statuses[1]


@pytest.mark.parametrize("env", [{}, {"PYTHONEXECUTABLE": "/nowhere"}], ids=["", "python starts twice"])
@pytest.mark.parametrize("ignored", ["", "PIPE", "XFSZ", "PIPE XFSZ INT QUIT HUP TERM"])
def test_signals_that_the_caller_ignores(sandbox: Sandbox, ignored: str, env: dict[str, str]) -> None:
    """Python ignores two of them, and gives its children the default action if it is not told."""
    sandbox.write({"Makefile": "all: ; @grep SigIgn /proc/self/status\n"})
    code = f'trap \'\' {ignored} CHLD; "$@" -s; "$@" -s'
    plain = sandbox.run("sh", "-c", code, "sh", "make", env=env).ok()
    code = f'trap \'\' {ignored} CHLD; "$@" make -s; "$@" build -- make -s'
    found = sandbox.run("sh", "-c", code, "sh", sandbox.bin / "spraycc", "--no-summary-line", env=env).ok()
    assert found.out == plain.out


def test_ctrl_c_while_spraycc_is_imported(sandbox: Sandbox) -> None:
    """It ends the command line as it ends make: by the signal, without a word."""
    installed = Installed(sandbox, sys.executable)
    module = installed.package / "isolated.py"
    module.write_text(module.read_text() + "import signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    sandbox.write({"Makefile": "all: ; @echo made\n"})
    done = sandbox.run(installed.spraycc, "make")
    assert (done.status, done.out, done.err) == (-2, b"", b"")


# --- failures before the tool starts

_STEPS = {
    "Makefile": "all: one two ; @echo all\none two: ; @echo $@ >$@; echo $@ >&2\nfail: all ; @exit 3\n",
}
Words = Sequence["str | Path"]


def tools_lines(done: Finished) -> list[bytes]:
    """The lines on stderr that are not SprayCC's."""
    return sorted(line for line in done.err.splitlines() if not line.startswith(b"spraycc: "))


def same_as_plain(
    sandbox: Sandbox, spraycc: Path, lead: Words = (), cwd: Path | None = None, env: dict[str, str] | None = None
) -> list[Finished]:
    """Builds that end as plain make's; returns them. ``lead`` are words before each command line."""
    top = cwd or sandbox.workspace
    sandbox.write(_STEPS, top)

    def outcome(*words: str | Path) -> tuple[Finished, dict[str, bytes]]:
        done = sandbox.run(*lead, *words, cwd=top, env=env)
        made = {name: (top / name).read_bytes() for name in ("one", "two") if (top / name).exists()}
        for name in made:
            (top / name).unlink()
        return done, made

    built = []
    for goal in ("all", "fail"):
        plain, files = outcome("make", "-s", goal)
        assert lead or files == {"one": b"one\n", "two": b"two\n"}
        for words in (["make", "-s", goal], ["build", "--", "make", "-s", goal]):
            done, made = outcome(spraycc, "--no-summary-line", *words)
            assert (done.status, done.out, made) == (plain.status, plain.out, files), done.words()
            assert tools_lines(done) == tools_lines(plain)
            built.append(done)
    return built


def _no_interpreter(installed: Installed) -> str:
    installed.name_interpreter("#!/nowhere/bin/python3\n")
    return "/nowhere/bin/python3: No such file or directory; install SprayCC again"


def _no_script(installed: Installed) -> str:
    installed.main.unlink()
    return f"{installed.main}: No such file or directory; install SprayCC again"


def _no_package(installed: Installed) -> str:
    shutil.rmtree(installed.package)
    return "ModuleNotFoundError: No module named 'spraycc'"


def _no_module(installed: Installed) -> str:
    (installed.package / "cli" / "build.py").unlink()
    return "No module named 'spraycc.cli.build'"


def _module_cut(installed: Installed) -> str:
    (installed.package / "errors.py").write_text("class SprayccError(\n")
    return "SyntaxError: "


def _internal_error(installed: Installed) -> str:
    (installed.package / "workspace.py").write_text("def find():\n    return 1 / 0\n")
    return "an internal error, ZeroDivisionError: division by zero"


def _no_dependencies(installed: Installed) -> str:
    venv = installed.root / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", venv], check=True)
    installed.name_interpreter(f"#!{venv}/bin/python3\n")
    return "No module named "


@pytest.mark.parametrize(
    "breakage",
    [_no_interpreter, _no_script, _no_package, _no_module, _module_cut, _internal_error, _no_dependencies],
)
def test_a_broken_installation(sandbox: Sandbox, breakage: Callable[[Installed], str]) -> None:
    installed = Installed(sandbox, os.path.realpath(sys.executable) if breakage is _no_package else sys.executable)
    words = breakage(installed)
    for built in same_as_plain(sandbox, installed.spraycc):
        [line, *more] = built.own_lines()
        assert words in line
        assert not more or more == ["spraycc: the build goes on without a server, on this host"], more
    # A command that builds nothing says what is wrong.
    told = sandbox.run(installed.spraycc, "status")
    assert told.status != 0
    assert told.err.startswith((b"spraycc: ", b"Traceback"))
    # The shell was prepared while the installation was whole.
    env = {"XDG_DATA_HOME": str(sandbox.aside / "data")}
    prepared = sandbox.run(sandbox.bin / "spraycc", "env", env=env).ok().out.decode()
    (sandbox.aside / "data/spraycc/bin/spraycc").unlink()
    (sandbox.aside / "data/spraycc/bin/spraycc").symlink_to(installed.spraycc)
    plain = sandbox.run("make", "-s", "fail")
    built = sandbox.run("sh", "-c", f"{prepared}make -s fail", env=env)
    assert (built.status, built.out) == (plain.status, plain.out)
    assert words in "\n".join(built.own_lines())


@pytest.mark.parametrize("breakage", [_no_interpreter, _no_package, _internal_error])
@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["make", "-j400"], "-j2"),
        (["make", "-j", "400"], "-j2"),
        (["make", "-kj400"], "-j2"),
        (["make", "--jobs=400"], "-j2"),
        (["make", "--jobs"], "-j2"),
        (["make", "-j"], "-j2"),
        (["--executors", "64", "/usr/bin/make", "-j400"], "-j2"),
        (["build", "--", "make", "-j400"], "-j2"),
    ],
    ids=" ".join,
)
def test_the_width_is_that_of_the_local_slots(
    sandbox: Sandbox, breakage: Callable[[Installed], str], words: list[str], jobs: str
) -> None:
    installed = Installed(sandbox, os.path.realpath(sys.executable) if breakage is _no_package else sys.executable)
    breakage(installed)
    sandbox.write({"Makefile": "all: ; @echo $(MAKEFLAGS)\n"})
    built = sandbox.run(installed.spraycc, *words, env={"SPRAYCC_LOCAL_SLOTS": "2"}).ok()
    assert jobs.encode() in built.out.split(), built.out
    assert b"400" not in built.out


def _shell(code: str) -> list[str]:
    return ["sh", "-c", code + '; exec "$@"', "sh"]


@pytest.mark.parametrize("count", [6, 8, 12, 16, 20, 32])
def test_few_descriptors(sandbox: Sandbox, count: int) -> None:
    sandbox.short_of_memory = True
    same_as_plain(sandbox, sandbox.bin / "spraycc", _shell(f"ulimit -n {count}"))


@pytest.mark.parametrize("mebibytes", [16, 48, 64, 80, 128])
def test_little_address_space(sandbox: Sandbox, mebibytes: int) -> None:
    sandbox.short_of_memory = True
    same_as_plain(sandbox, sandbox.bin / "spraycc", _shell(f"ulimit -v {mebibytes * 1024}"))


def _own_line(built: list[Finished], words: str) -> None:
    for done in built:
        assert words in done.own_lines()[0], done.words()


@pytest.mark.parametrize("what", ["unreadable", "directory", "binary"])
def test_a_configuration_that_can_not_be_read(sandbox: Sandbox, what: str) -> None:
    path = sandbox.workspace / ".spraycc.toml"
    if what == "directory":
        path.unlink()
        path.mkdir()
    elif what == "binary":
        path.write_bytes(b"\xff\xfe\0")
    sandbox.write(_STEPS)
    if what == "unreadable":
        path.chmod(0)
    _own_line(same_as_plain(sandbox, sandbox.bin / "spraycc"), f"spraycc: warning: {path}: ")


def test_a_wrong_setting_is_an_error(sandbox: Sandbox) -> None:
    sandbox.write({**_STEPS, ".spraycc.toml": "executors = -1\n"})
    done = sandbox.run(sandbox.bin / "spraycc", "make")
    assert (done.status, done.out) == (2, b"")
    assert done.own_lines()[0].startswith("spraycc: error: ")
    done = sandbox.run(sandbox.bin / "spraycc", "--exekutors", "3", "make")
    assert (done.status, done.out) == (2, b"")


@pytest.mark.parametrize(
    "env",
    [
        {"SPRAYCC_RUNTIME_DIR": "/proc/nowhere"},
        {"SPRAYCC_RUNTIME_DIR": "relative"},
        {"XDG_STATE_HOME": "/dev/null"},
        {"XDG_DATA_HOME": "/dev/null"},
        {"XDG_DATA_HOME": "/proc/nowhere", "XDG_STATE_HOME": "/proc/nowhere", "HOME": "/proc/nowhere"},
    ],
    ids=lambda env: " ".join(f"{name}={value}" for name, value in env.items()),
)
def test_directories_that_can_not_be_used(sandbox: Sandbox, env: dict[str, str]) -> None:
    _own_line(same_as_plain(sandbox, sandbox.bin / "spraycc", env=env), "spraycc: warning: ")


def test_a_directory_that_can_be_no_workspace(sandbox: Sandbox) -> None:
    _own_line(same_as_plain(sandbox, sandbox.bin / "spraycc", cwd=sandbox.home), "can't be a workspace")


@pytest.mark.root
def test_a_full_disk_for_the_state(root_sandbox: Sandbox) -> None:
    script = 'mount -t tmpfs -o size=64k none "$0" && head -c 65536 /dev/zero >"$0/full"; "$@"; status=$?; '
    script += f"{root_sandbox.bin}/spraycc server stop --now; exit $status"  # this mount namespace has its own server
    state = root_sandbox.aside / "state"
    state.mkdir()
    lead: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, state]
    same_as_plain(root_sandbox, root_sandbox.bin / "spraycc", lead, env={"XDG_STATE_HOME": str(state)})


@pytest.mark.root
def test_a_user_without_an_entry(root_sandbox: Sandbox) -> None:
    for path in (root_sandbox.workspace, root_sandbox.runtime, root_sandbox.home):
        path.chmod(0o777)
    lead = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "env", "-u", "HOME", "-u", "USER"]
    lead += ["-u", "LOGNAME", f"SPRAYCC_RUNTIME_DIR={root_sandbox.workspace}/r"]
    same_as_plain(root_sandbox, root_sandbox.bin / "spraycc", lead)
    root_sandbox.run(*lead, root_sandbox.bin / "spraycc", "server", "stop", "--now")


# --- forms of installation

FIRST_LINES = {
    "path": "#!{python}\n",
    "shell": "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    "shell with quotes": "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
    "shell with apostrophes": "#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n",
    "env": "#!/usr/bin/env {python}\n",
}


@pytest.mark.parametrize("form", FIRST_LINES)
def test_how_installers_name_the_interpreter(sandbox: Sandbox, form: str) -> None:
    installed = Installed(sandbox)
    python = Path(sys.executable)
    if "quotes" in form or "apostrophes" in form or form == "path":
        # A path with a blank, and longer than the kernel reads of a first line.
        directory = installed.root / ("with blank " + "x" * 200)
        directory.mkdir()
        python = directory / "python3"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    installed.name_interpreter(FIRST_LINES[form].format(python=python))
    sandbox.give(installed.root)
    told = sandbox.run(installed.spraycc, "--version", env=hostile(sandbox)).ok()
    assert (told.out.startswith(b"spraycc "), told.err) == (True, b"")


@pytest.mark.parametrize("packages", ["", f"lib/python3.{sys.version_info[1]}/site-packages"], ids=["target", "prefix"])
def test_an_installation_that_python_does_not_know(sandbox: Sandbox, packages: str) -> None:
    """As by ``pip install --target`` and ``--prefix``, without a PYTHONPATH that names the directory."""
    installed = Installed(sandbox, packages=packages)
    sandbox.write(_PROJECT)
    words = ["--executors", "1", "--summary", str(sandbox.temp / "summary.json"), "make", "-s"]
    sandbox.run(installed.spraycc, *words, env=hostile(sandbox)).ok()
    assert sandbox.figures(sandbox.temp / "summary.json")["remote"] == 1
    [server] = [p.command for p in sandbox.processes() if "-m spraycc.server" in p.command]
    assert str(installed.package / "isolated.py") in server
    assert attempts(sandbox) == 1


def test_an_environment_in_a_checkout(sandbox: Sandbox) -> None:
    """The checkout's sources are beside ``bin`` and are not what was installed."""
    installed = Installed(sandbox, packages=f"lib/python3.{sys.version_info[1]}/site-packages")
    sources = installed.root / "spraycc"
    sources.mkdir()
    for name in ("__init__.py", "isolated.py"):
        (sources / name).write_text('raise SystemExit("the sources were imported")\n')
    sandbox.give(installed.root)
    assert sandbox.run(installed.spraycc, "--version").ok().out.startswith(b"spraycc ")


def test_a_moved_environment(sandbox: Sandbox) -> None:
    """Its interpreter is beside the scripts, whose first line still names the old place."""
    venv = sandbox.aside / "old"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    mine = [path for path in sys.path if path.endswith("site-packages")]
    (site / "more.pth").write_text("\n".join([*mine, str(PACKAGE.parent)]) + "\n")
    shutil.copy(sandbox.bin / "spraycc", venv / "bin")
    code = (PACKAGE / "cli" / "command_script.py").read_text()
    (venv / "bin/spraycc-main").write_text(f"#!{venv}/bin/python3\n{code}")
    (venv / "bin/spraycc-main").chmod(0o755)
    moved = venv.rename(sandbox.aside / "moved")
    link = sandbox.aside / "spraycc"
    link.symlink_to(moved / "bin/spraycc")
    sandbox.give(sandbox.aside)
    for command in (moved / "bin/spraycc", link):
        assert sandbox.run(command, "--version").ok().out.startswith(b"spraycc ")


def test_without_the_native_launcher(sandbox: Sandbox) -> None:
    """The script is the command. It isolates itself, if the interpreter starts at all."""
    installed = Installed(sandbox)
    installed.main.replace(installed.spraycc)
    env = hostile(sandbox)
    for name in ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONHASHSEED", "PYTHONINTMAXSTRDIGITS", "PYTHONIOENCODING"):
        del env[name]
    for name in ("PYTHONTRACEMALLOC", "PYTHONMALLOC", "PYTHONUTF8", "PYTHON_GIL", "PYTHON_CPU_COUNT"):
        del env[name]
    for name in ("PYTHON_FROZEN_MODULES", "PYTHONVERBOSE", "PYTHONDEVMODE", "PYTHONCOERCECLOCALE", "PYTHON_PRESITE"):
        del env[name]
    for name in ("encodings", "sitecustomize", "usercustomize"):
        (sandbox.aside / "modules" / f"{name}.py").unlink()
    told = sandbox.run(installed.spraycc, "--version", env=env).ok()
    assert told.out.startswith(b"spraycc ")
    sandbox.write({"Makefile": 'all: ; @printf "\\303\\251" | wc -m\n'})
    words: list[str | Path] = [
        "env",
        "-u",
        "LC_ALL",
        "-u",
        "LANG",
        installed.spraycc,
        "--no-summary-line",
        "make",
        "-s",
    ]
    assert sandbox.run(*words).ok().out == b"2\n"
