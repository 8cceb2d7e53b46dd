"""Builds whose home directory is missing, foreign, unwritable or full; and `spraycc clean`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from spraycc.commands.interception import LIBRARY_NAME
from tests.system.harness.projects import GatedCompiler, c_project, objects, output_of
from tests.system.harness.sandbox import Account, Finished, Sandbox
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.e2e

#: u1.c, u2.c and main.c
COMPILES = 3
SUBCOMMANDS = [
    ("status",),
    ("history", "show"),
    ("why",),
    ("config", "show"),
    ("config", "path"),
    ("doctor",),
    ("env",),
]


@dataclass(frozen=True)
class NoEntry(Account):
    """A user without a passwd entry, as in containers."""

    def command(self, argv: Sequence[str | bytes | Path]) -> list[str | bytes | Path]:
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--", *argv]


def listing(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def compiled(sandbox: Sandbox) -> int:
    """Compiles that executors have done, by their own counters. Their server has ended."""
    done = 0
    for log in sandbox.base.rglob("executor-*.log"):
        for line in log.read_text(errors="replace").splitlines():
            _, found, text = line.partition("counters ")
            if found and text.startswith("{"):
                done += int(json.loads(text)["tasks"])
    return done


def check_build(sandbox: Sandbox, env: dict[str, str] | None = None, without: Sequence[str] = ()) -> Finished:
    """Build plainly, then with SprayCC: same objects, words and status. The executors must have compiled."""
    tree = sandbox.write(c_project(2))
    unset = [word for name in without for word in ("-u", name)]
    plain = sandbox.run("env", *unset, "make", "-j4", "-O", env=env).ok()
    wanted = {name: (tree / name).read_bytes() for name in objects(tree)}
    sandbox.run("make", "clean").ok()
    command, _ = sandbox.build_command(["make", "-j4", "-O"])
    built = sandbox.run("env", *unset, *command, env=env).ok()
    assert {name: (tree / name).read_bytes() for name in objects(tree)} == wanted
    assert sandbox.run(tree / "prog").out == output_of(2)
    assert sorted(built.out.splitlines()) == sorted(plain.out.splitlines())
    assert b"without a server" not in built.err, built.words()
    for words in SUBCOMMANDS:
        said = sandbox.run("env", *unset, sandbox.bin / "spraycc", *words, env=env)
        assert b"Traceback" not in said.err, said.words()
        assert said.status in (0, 1), said.words()
    why = sandbox.run("env", *unset, sandbox.bin / "spraycc", "why", "--json", env=env).ok()
    assert [json.loads(line)["ran"] for line in why.out.splitlines()].count("remote") == COMPILES, why.words()
    sandbox.stop()
    assert compiled(sandbox) == COMPILES
    return built


@pytest.mark.root
@pytest.mark.parametrize("home", [None, "", "/", "/nonexistent", "relative/home", "/root"])
def test_a_user_without_an_entry_and_without_a_home(
    make_sandbox: Callable[[Account], Sandbox], home: str | None
) -> None:
    sandbox = make_sandbox(NoEntry("uid52001", 52001, 52001, Path("/nonexistent"), None))
    unset = ["USER", "LOGNAME", *([] if home is not None else ["HOME"])]
    built = check_build(sandbox, {"HOME": home or ""}, unset)
    assert len(built.own_lines()) == 1, built.words()
    assert {path.name for path in sandbox.runtime.iterdir()} >= {"state", "data"}
    assert (sandbox.runtime / "state").stat().st_mode & 0o777 == 0o700
    assert (sandbox.runtime / "data").stat().st_mode & 0o777 == 0o700
    assert not (sandbox.workspace / "relative").exists()


def test_relative_and_empty_variables_do_not_count(sandbox: Sandbox) -> None:
    before = listing(sandbox.workspace)
    built = check_build(sandbox, {"XDG_STATE_HOME": "rel", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "rel"})
    assert len(built.own_lines()) == 1, built.words()
    assert not (sandbox.workspace / "rel").exists(), before
    assert (sandbox.home / ".local/state/spraycc").is_dir()
    assert (sandbox.home / ".local/share/spraycc/bin").is_dir()


@pytest.mark.root
@pytest.mark.needs("sudo")
@pytest.mark.parametrize("variables", ["HOME", "XDG"])
def test_root_with_a_users_home_leaves_nothing_there(root_sandbox: Sandbox, variables: str) -> None:
    """After ``sudo -E``. A configuration in that home does not count: its wrapper would run as root."""
    sandbox = root_sandbox
    user = Account.unprivileged() if os.geteuid() == 0 else Account.mine()
    tree = sandbox.write(c_project(2))
    os.chown(sandbox.home, user.uid, user.gid)
    mark = sandbox.temp / "was-executed"
    configuration = sandbox.home / ".config/spraycc/config.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(f'executor_prefix = "touch {mark}"\n')
    for path in (configuration, configuration.parent, configuration.parent.parent):
        os.chown(path, user.uid, user.gid)
    env = {"HOME": str(sandbox.home)}
    if variables == "XDG":
        env |= {f"XDG_{kind}_HOME": str(sandbox.home / f".{kind.lower()}") for kind in ("STATE", "DATA", "CONFIG")}
    before = listing(sandbox.home)
    command, summary = sandbox.build_command(["make", "-j4"])
    keep = f"--preserve-env={','.join([*sandbox.settings, *env, 'E2E_SANDBOX', 'PATH'])}"
    try:
        sandbox.run("sudo", "-E", keep, *command, env=env).ok()
        assert sandbox.figures(summary)["remote"] >= COMPILES
        assert sandbox.run(tree / "prog").out == output_of(2)
        assert listing(sandbox.home) == before
        assert not mark.exists()
        shown = sandbox.run(sandbox.bin / "spraycc", "config", "path", env=env).ok()
        assert str(sandbox.home).encode() not in shown.out
    finally:
        sandbox.run(sandbox.bin / "spraycc", "clean", "--workspace", env=env)
    assert listing(sandbox.home) == before


def test_an_unusable_home_costs_one_message(sandbox: Sandbox) -> None:
    """Root's after the first ``sudo -E spraycc make`` of an older release; only read by its owner for other users."""
    local = sandbox.home / ".local"
    local.mkdir()
    if os.geteuid() == 0:
        remedy = f"belongs to root, not to {sandbox.account.name}; run `sudo chown -R {sandbox.account.name} {local}`"
    else:
        local.chmod(0o500)
        remedy = f"can't be written to; run `chmod u+rwx {local}`"
    built = check_build(sandbox)
    warning, summary = built.own_lines()
    assert warning.startswith(f"spraycc: warning: {local}: {remedy}")
    assert warning.endswith(f"meanwhile {sandbox.runtime}/state is used")
    assert "tasks" in summary
    local.chmod(0o700)


@pytest.mark.needs("bwrap", "bubblewrap")
@pytest.mark.parametrize("when", ["before", "during"])
def test_a_full_state_directory(sandbox: Sandbox, when: str) -> None:
    tree = sandbox.write(c_project(2))
    sandbox.run("make", "-j4").ok()
    wanted = {name: (tree / name).read_bytes() for name in objects(tree)}
    sandbox.run("make", "clean").ok()
    full = sandbox.aside / "full"
    full.mkdir()
    spraycc = sandbox.bin / "spraycc"
    build = shlex.join(map(str, sandbox.build_command(["make", "-j4"])[0]))
    # Holes in a tmpfs take no space, so /dev/zero must be copied.
    fill = f"dd if=/dev/zero of={full}/filler bs=1k 2>/dev/null; "
    start = f"{fill}{build}" if when == "before" else f"{spraycc} server start 2>/dev/null; {fill}{build}"
    script = f"{start} || exit 99; {spraycc} why >&2; {spraycc} history show >&2; {spraycc} server stop"
    box = ["bwrap", "--dev-bind", "/", "/", "--perms", "0777", "--size", str(256 * 1024), "--tmpfs", str(full)]
    done = sandbox.run(*box, "sh", "-c", script, env={"XDG_STATE_HOME": str(full)})
    assert done.status == 0, done.words()
    assert b"Traceback" not in done.err
    assert {name: (tree / name).read_bytes() for name in objects(tree)} == wanted
    told = [line for line in done.own_lines() if "No space left on device; make room" in line]
    assert len(told) == 1, done.words()
    assert str(full) in told[0]
    assert "XDG_STATE_HOME" in told[0]
    if when == "before":
        assert b" remote     compile" in done.err, done.words()
        assert compiled(sandbox) == COMPILES


@pytest.mark.needs("bwrap", "bubblewrap")
def test_a_full_data_directory(sandbox: Sandbox) -> None:
    full = sandbox.aside / "full"
    full.mkdir()
    sandbox.write(c_project(2))
    command, summary = sandbox.build_command(["make", "-j4"])
    script = f"{shlex.join(map(str, command))}; {sandbox.bin / 'spraycc'} server stop"
    box = ["bwrap", "--dev-bind", "/", "/", "--perms", "0777", "--size", "16384", "--tmpfs", str(full)]
    done = sandbox.run(*box, "sh", "-c", script, env={"XDG_DATA_HOME": str(full)}).ok()
    assert sandbox.figures(summary)["remote"] >= COMPILES
    told = [line for line in done.own_lines() if "No space left on device" in line]
    assert len(told) == 1, done.words()
    assert f"{full}/spraycc" in told[0]


def test_clean_removes_all_but_configuration_and_shims(sandbox: Sandbox) -> None:
    sandbox.write(c_project(2))
    configuration = sandbox.home / ".config/spraycc/config.toml"
    sandbox.write({".config/spraycc/config.toml": ""}, sandbox.home)
    sandbox.build("make", "-j4").ok()
    sandbox.run("sh", "-c", 'eval "$(spraycc env)"').ok()
    sandbox.run(
        "sh", "-c", f"umask 077; mkdir {sandbox.runtime}/fallback-slots; : >{sandbox.runtime}/fallback-slots/0"
    ).ok()
    before = listing(sandbox.home)
    planned = sandbox.run(sandbox.bin / "spraycc", "clean", "--dry-run").ok()
    assert listing(sandbox.home) == before
    assert sandbox.status(), "a dry run ends no server"
    done = sandbox.run(sandbox.bin / "spraycc", "clean").ok()
    assert [line.split()[-1] for line in planned.out.splitlines() if line.startswith(b"would remove ")] == [
        line.split()[-1] for line in done.out.splitlines() if line.startswith(b"removed ")
    ]
    assert not sandbox.status(), "an idle server is ended"
    left = [path for path in sandbox.home.rglob("*") if path.is_file()]
    assert configuration in left
    assert all("/share/spraycc/paths/" in str(path) for path in left if path != configuration), left
    assert [path for path in left if path != configuration]
    assert not any(sandbox.runtime.iterdir())
    sandbox.run("make", "clean").ok()
    assert sandbox.build("make", "-j4").ok().figures["remote"] >= COMPILES
    sandbox.run(sandbox.bin / "spraycc", "clean", "--shims").ok()
    assert [path for path in sandbox.home.rglob("*") if path.is_file()] == [configuration]


def test_clean_disturbs_no_build(sandbox: Sandbox) -> None:
    compiler = GatedCompiler(sandbox)
    tree = sandbox.write(c_project(2))
    command, summary = sandbox.build_command(["make", "-j4"])
    with sandbox.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(1)
        for words in ([], ["--workspace"], ["--shims"]):
            done = sandbox.run(sandbox.bin / "spraycc", "clean", *words)
            assert done.status == 1
            assert f"1 build of {sandbox.workspace} runs".encode() in done.out, done.words()
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert b"spraycc: warning" not in err
    assert sandbox.figures(summary)["remote"] >= COMPILES
    assert sandbox.run(tree / "prog").out == output_of(2)


def test_clean_keeps_what_a_build_without_its_server_uses(sandbox: Sandbox) -> None:
    compiler = GatedCompiler(sandbox)
    tree = sandbox.write(c_project(2))
    command, _ = sandbox.build_command(["make", "-j4"])
    with sandbox.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        sandbox.wait_for_busy_executors(1)
        os.kill(sandbox.status()["server"]["pid"], 9)
        done = sandbox.run(sandbox.bin / "spraycc", "clean")
        assert done.status == 1
        assert b"a build goes on without its server" in done.out, done.words()
        compiler.open()
        _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert b"ld.so" not in err
    assert sandbox.run(tree / "prog").out == output_of(2)
    sandbox.wait_for("no executor runs", lambda: not sandbox.processes())
    sandbox.run(sandbox.bin / "spraycc", "clean").ok()
    assert not any(sandbox.runtime.iterdir())
    assert not (sandbox.home / ".local/state/spraycc").exists()


def test_a_shell_of_spraycc_env_still_builds_after_clean(sandbox: Sandbox) -> None:
    """The shell has found make by its shim. The shim stays, and is plain make with a warning, without the copies."""
    tree = sandbox.write(c_project(2))
    plain = sandbox.run("make").ok()
    sandbox.run("make", "clean").ok()
    script = 'eval "$(spraycc env)"; make -s clean; spraycc clean >&2; make; make -s clean; make'
    done = sandbox.run("bash", "-c", script).ok()
    assert b"ld.so" not in done.err
    lines = done.err.splitlines(keepends=True)
    gone = [line for line in lines if line.startswith(b"spraycc: warning: the spraycc command is gone; ")]
    assert len(gone) == 3
    assert b"".join(line for line in lines if line not in gone).endswith(plain.err + plain.err)
    assert done.out == plain.out + plain.out, done.words()
    assert sandbox.run(tree / "prog").out == output_of(2)


def test_the_library_stays_while_a_process_has_loaded_it(sandbox: Sandbox) -> None:
    """Without the file, the loader would complain on the standard error of all programs that the process starts."""
    script = "trap 'ls /nowhere; exit' TERM; echo ready; while :; do sleep 0.05; done"
    sandbox.write({"Makefile": f'all:\n\t@sh -c "{script}" >out 2>err & echo $$! >pid\n'})
    sandbox.build("make").ok()
    pid = int((sandbox.workspace / "pid").read_text())
    sandbox.wait_for("it runs", lambda: (sandbox.workspace / "out").read_text() == "ready\n")
    done = sandbox.run(sandbox.bin / "spraycc", "clean")
    os.kill(pid, 15)
    sandbox.wait_for("it has ended", lambda: not Path(f"/proc/{pid}").exists())
    assert f"process {pid} uses it".encode() in done.out, done.words()
    assert (sandbox.home / ".local/share/spraycc/lib" / LIBRARY_NAME).exists()
    assert "ld.so" not in (sandbox.workspace / "err").read_text()
    sandbox.run(sandbox.bin / "spraycc", "clean").ok()
    assert not (sandbox.home / ".local/share/spraycc/lib").exists()
