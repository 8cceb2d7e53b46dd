"""``spraycc config init`` with cluster managers of a few lines, and ``spraycc config show`` outside of a workspace."""

from __future__ import annotations

import tomllib

import pytest

from tests.system.cli.conftest import Setup

PROGRAMS = {
    "slurm": ("sbatch", "squeue", "scancel", "sinfo"),
    "gridengine": ("qsub", "qstat", "qdel", "qselect", "qconf"),
    "pbs": ("qsub", "qstat", "qdel", "qselect"),
    "lsf": ("bsub", "bjobs", "bkill", "bqueues", "lsid"),
    "openlava": ("bsub", "bjobs", "bkill", "bqueues", "lsid"),
}
#: the command that lists queues, its answer, and the found queues
ANSWERS = {
    "slurm": ("sinfo", "echo 'short*|up|1:00:00|2|4'; echo 'long|up|infinite|1|8'", ["short", "long"]),
    "gridengine": ("qconf", "echo all.q", ["all.q"]),
    "pbs": ("qstat", "echo Queue; echo -----; echo workq 0 0 yes yes", ["workq"]),
    "lsf": ("bqueues", "echo normal 30 Open:Active -", ["normal"]),
    "openlava": ("bqueues", "echo normal 30 Open:Active -", ["normal"]),
}


def install(setup: Setup, cluster: str, answer: str | None = None) -> dict[str, str]:
    """Put the programs of a cluster manager on PATH; returns the environment for it."""
    for name in PROGRAMS[cluster]:
        setup.tool(name, "exit 9")
    lists, usual, _ = ANSWERS[cluster]
    setup.tool(lists, usual if answer is None else answer)
    if "lsid" in PROGRAMS[cluster]:
        setup.tool("lsid", f"echo 'My cluster runs {'OpenLava 2.2' if cluster == 'openlava' else 'IBM Spectrum LSF'}'")
    # No directory of the real programs: a real cluster manager may be installed on this host.
    return {"PATH": str(setup.tools)}


@pytest.mark.parametrize("cluster", PROGRAMS)
def test_the_cluster_manager_that_answers_is_set(setup: Setup, cluster: str) -> None:
    env = install(setup, cluster)
    done = setup.run("config", "init", env=env)
    assert done.returncode == 0, done.stderr
    path = setup.project / ".spraycc.toml"
    text = path.read_text()
    queues = ANSWERS[cluster][2]
    assert tomllib.loads(text) == {"cluster": cluster}
    assert "# queues = [" + ", ".join(f'"{queue}"' for queue in queues) + "]" in text.splitlines()
    assert f" answers ({ANSWERS[cluster][0]}), with " in done.stderr
    assert f"spraycc: wrote {path}: cluster is {cluster}; `spraycc doctor --cluster` tries it\n" in done.stderr
    shown = setup.run("config", "show", "cluster", env=env).stdout.splitlines()[-1]
    assert shown.split() == ["cluster", "=", f'"{cluster}"', "#", str(path)]


def test_an_existing_file_is_kept(setup: Setup) -> None:
    path = setup.project / ".spraycc.toml"
    path.write_text("executors = 3\n")
    done = setup.run("config", "init")
    assert done.returncode == 2
    assert done.stderr == (
        f"spraycc: error: {path} exists, and is kept; `spraycc config show` prints the settings in force\n"
    )
    assert path.read_text() == "executors = 3\n"


def test_an_empty_file_gets_the_text(setup: Setup) -> None:
    """It only marks the workspace."""
    path = setup.project / ".spraycc.toml"
    path.touch(mode=0o640)
    assert setup.run("config", "init", env=install(setup, "slurm")).returncode == 0
    assert tomllib.loads(path.read_text())["cluster"] == "slurm"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_to_an_empty_file_is_kept(setup: Setup) -> None:
    (setup.project / ".spraycc.toml").symlink_to("/dev/null")
    assert setup.run("config", "init").returncode == 2


def test_a_link_to_nowhere_is_kept(setup: Setup) -> None:
    (setup.project / ".spraycc.toml").symlink_to(setup.base / "nowhere")
    assert setup.run("config", "init").returncode == 2
    assert not (setup.base / "nowhere").exists()


def test_a_cluster_manager_that_does_not_answer_is_not_set(setup: Setup) -> None:
    env = install(setup, "slurm", "echo sinfo: no contact >&2; exit 1")
    done = setup.run("config", "init", env=env)
    assert done.returncode == 0
    assert tomllib.loads((setup.project / ".spraycc.toml").read_text()) == {}
    assert "Slurm is installed and does not answer (sinfo: no contact)" in done.stderr
    assert "builds use the CPUs of this host (cluster local)" in done.stderr


def test_no_cluster_manager(setup: Setup) -> None:
    done = setup.run("config", "init", env={"PATH": str(setup.tools)})
    assert done.returncode == 0
    assert "spraycc: no cluster manager's programs are on PATH\n" in done.stderr
    assert tomllib.loads((setup.project / ".spraycc.toml").read_text()) == {}


def test_a_cluster_that_is_set_elsewhere_stays(setup: Setup) -> None:
    env = install(setup, "slurm") | {"SPRAYCC_CLUSTER": "ssh"}
    done = setup.run("config", "init", env=env)
    assert "spraycc: `cluster` is set already, to 'ssh' by SPRAYCC_CLUSTER\n" in done.stderr
    assert tomllib.loads((setup.project / ".spraycc.toml").read_text()) == {}


def test_an_allocation_is_not_overruled(setup: Setup) -> None:
    env = install(setup, "slurm") | {
        "SLURM_JOB_ID": "12",
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_JOB_CPUS_PER_NODE": "8",
    }
    setup.tool("srun", "exit 9")
    done = setup.run("config", "init", env=env)
    assert "the allocation 12 of Slurm is used without a setting; a `cluster` here would overrule that" in done.stderr
    assert tomllib.loads((setup.project / ".spraycc.toml").read_text()) == {}


def test_no_file_is_written_into_the_home_directory(setup: Setup) -> None:
    (setup.base / "home").mkdir()
    done = setup.run("config", "init", cwd=setup.base / "home", env={"HOME": str(setup.base / "home")})
    assert done.returncode == 2
    assert "can't be a workspace" in done.stderr


def test_settings_are_shown_outside_of_a_workspace(setup: Setup) -> None:
    home = setup.base / "home"
    home.mkdir()
    done = setup.run("--executors", "3", "config", "show", "executors", cwd=home, env={"HOME": str(home)})
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].split() == ["executors", "=", "3", "#", "--executors"]
    assert done.stderr.endswith("; the settings of no workspace are shown\n")
    assert setup.run("config", "path", cwd=home, env={"HOME": str(home)}).returncode == 0


def test_an_unknown_key_has_a_hint(setup: Setup) -> None:
    done = setup.run("config", "show", "executor")
    assert done.returncode == 2
    assert done.stderr == (
        "spraycc: error: config show: no setting 'executor'; did you mean 'executors'? "
        "`spraycc config show --brief` lists all\n"
    )


@pytest.mark.parametrize("word", ["max-attempts", "--max-attempts", "SPRAYCC_MAX_ATTEMPTS", "max_attempts"])
def test_a_key_in_each_spelling(setup: Setup, word: str) -> None:
    done = setup.run("config", "show", "--brief", "--", word)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("max_attempts = ")


def test_an_unknown_subcommand_has_a_hint(setup: Setup) -> None:
    done = setup.run("config", "foo")
    assert (done.returncode, done.stderr) == (
        2,
        "spraycc: error: config: no command 'foo'; "
        "config has init, path, show (`spraycc config --help` explains them)\n",
    )
    assert "did you mean 'show'? config has" in setup.run("config", "shw").stderr


def test_help_is_that_of_the_option(setup: Setup) -> None:
    for words in ([], ["doctor"], ["config"], ["config", "show"]):
        done = setup.run("help", *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout == setup.run(*words, "--help").stdout
    assert setup.run("help", "make").stdout.startswith("Usage: spraycc make")
    done = setup.run("help", "doctr")
    assert done.returncode == 2
    assert "did you mean 'doctor'?" in done.stderr
    assert setup.run("help", "doctor", "x").returncode == 2


def test_a_patience_that_never_ends(setup: Setup) -> None:
    for word in ("nan", "inf", "-3", "0", "abc"):
        done = setup.run("doctor", "--cluster", "--patience", word)
        assert done.returncode == 2
        assert f"--patience: '{word}' is no time; give a number of seconds above 0" in done.stderr
    done = setup.run("doctor", "--patience", "120")
    assert done.returncode == 2
    assert "--patience is for executors; give --cluster or --executors N as well" in done.stderr
    done = setup.run("doctor", "--executors", "abc")
    assert "--executors: 'abc' is no number of executors; give an integer of at least 1" in done.stderr


@pytest.mark.parametrize(
    ("shell", "begin"),
    [("bash", "export "), ("dash", "export "), ("zsh", "export "), ("tcsh", "setenv "), ("csh", "setenv ")],
)
def test_the_names_of_shells(setup: Setup, shell: str, begin: str) -> None:
    done = setup.run("env", "--shell", shell)
    assert done.stdout.startswith(begin), done.stderr


def test_a_setting_that_the_shell_would_not_keep_is_refused(setup: Setup) -> None:
    done = setup.run("--capture", "overlay", "env", "--shell", "sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "env: --capture would have no effect on the builds in this shell; set SPRAYCC_CAPTURE in the shell"
        in done.stderr
    )
    assert setup.run("--capture", "overlay", "env", "--off", "--shell", "sh").returncode == 0


def test_a_shell_that_keeps_no_descriptor_is_named(setup: Setup) -> None:
    done = setup.run("env", "--makeflags", "--shell", "tcsh")
    assert done.returncode == 2
    assert "env: tcsh can't keep a descriptor open" in done.stderr
    assert done.stderr.endswith("spraycc build -- tcsh\n")
