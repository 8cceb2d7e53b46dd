"""Settings: the order of their sources, and the text of errors."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.cli.settings_text import toml_value
from spraycc.config import load, sources
from spraycc.config.keys import HELP, KEYS, RESERVED_VARIABLES, allowed, flag, nearest, none_word, variable
from spraycc.config.sources import config_files
from spraycc.errors import ConfigError, ConfigUnreadable
from spraycc.settings import Settings


def load_from(
    tmp_path: Path, *, environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None, **files: str
):
    paths = []
    for layer in ("site", "user", "workspace"):
        path = tmp_path / f"{layer}.toml"
        if layer in files:
            path.write_text(files[layer])
        paths.append(str(path))
    return load(None, environ or {}, flags, files=paths)


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    loaded = load_from(tmp_path)
    assert loaded.settings == Settings()
    assert loaded.origins == dict.fromkeys(KEYS, "default")
    assert loaded.warnings == ()


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    layers: dict[str, Any] = {
        "site": "executors = 1",
        "user": "executors = 2",
        "workspace": "executors = 3",
        "environ": {"SPRAYCC_EXECUTORS": "4"},
        "flags": {"executors": "5"},
    }
    origins = [
        str(tmp_path / "site.toml"),
        str(tmp_path / "user.toml"),
        str(tmp_path / "workspace.toml"),
        "SPRAYCC_EXECUTORS",
        "--executors",
    ]
    for count in range(1, 6):
        loaded = load_from(tmp_path, **dict(list(layers.items())[:count]))
        assert loaded.settings.executors == count
        assert loaded.origins["executors"] == origins[count - 1]
        assert loaded.origins["wrap"] == "default"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("executors", "400", 400),
        ("executors", "auto", None),
        ("summary", "none", None),
        ("summary", "auto", "auto"),
        ("pending_grace_s", "0", 0.0),
        ("pending_grace_s", "2.5", 2.5),
        ("summary_line", "false", False),
        ("summary_line", "0", False),
        ("wait_for_cluster", "yes", True),
        ("wait_for_cluster", "TRUE", True),
        ("capture", "in-place", "in-place"),
        ("capture", "auto", "auto"),
        ("scratch_dir", "/local/me", "/local/me"),
        ("executor_prefix", "nice -n 5 'two words'", ("nice", "-n", "5", "two words")),
        ("wrap", "mycc", ("mycc",)),
        ("listen_ports", "40000", "40000"),
        ("listen_ports", "40000-40100", "40000-40100"),
        ("listen_ports", "1-65535", "1-65535"),
        ("listen_ports", "auto", None),
    ],
)
def test_text_from_environment_and_flags(tmp_path: Path, key: str, text: str, value: object) -> None:
    for environ, flags in (({variable(key): text}, None), (None, {key: text})):
        result = getattr(load_from(tmp_path, environ=environ, flags=flags).settings, key)
        assert (result, type(result)) == (value, type(value))


@pytest.mark.parametrize(
    ("toml", "key", "value"),
    [
        ("executors = 400", "executors", 400),
        ('executors = "auto"', "executors", None),
        ("lost_after_s = 30", "lost_after_s", 30.0),
        ("summary_line = false", "summary_line", False),
        ('wrap = ["mycc", "my++"]', "wrap", ("mycc", "my++")),
        ("executor_prefix = []", "executor_prefix", ()),
    ],
)
def test_values_in_a_file(tmp_path: Path, toml: str, key: str, value: object) -> None:
    result = getattr(load_from(tmp_path, user=toml).settings, key)
    assert (result, type(result)) == (value, type(value))


def test_bool_flags_need_no_text(tmp_path: Path) -> None:
    assert load_from(tmp_path, flags={"summary_line": False}).settings.summary_line is False
    assert load_from(tmp_path, user="summary_line = false", flags={"summary_line": None}).settings.summary_line is False


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    loaded = load_from(tmp_path, environ={"SPRAYCC_EXECUTORS": ""})
    assert loaded.settings.executors is None
    assert loaded.origins["executors"] == "default"


@pytest.mark.parametrize(
    ("toml", "parts"),
    [
        ('executors = "many"', ["executors = 'many'", 'an integer from 1 to 100000, or "auto"']),
        ('executors = "4"', ["executors = '4'", "an integer"]),
        ("executors = 0", ["executors = 0", "from 1"]),
        ("executors = 4.5", ["executors = 4.5"]),
        ("executors = true", ["executors = true"]),
        ("heartbeat_s = 0", ["heartbeat_s = 0", "of at least 0.1"]),
        ("pending_grace_s = nan", ["pending_grace_s = nan", "a finite number"]),
        ("pending_grace_s = inf", ["pending_grace_s = inf"]),
        ('cluster = "lfs"', ["cluster = 'lfs'", '"local"']),
        ('capture = "overlays"', ['"auto", "overlay", "predict" or "in-place"']),
        ("summary_line = 1", ["summary_line = 1", "true or false"]),
        ('wrap = "mycc"', ["wrap = 'mycc'", "a list of strings"]),
        ("wrap = [1]", ["wrap = [1]", "a list of strings"]),
        ("[executors]\nmin = 1", ["executors = {'min': 1}"]),
        ('batch_name = "a,b"', ["batch_name = 'a,b'", 'letters, digits and "_.-", a letter first']),
        ('batch_name = "1x"', ["a letter first"]),
        ("listen_ports = 40000", ["listen_ports = 40000", '"PORT" or "FIRST-LAST", 1 to 65535, or "auto"']),
        *(
            (f'listen_ports = "{text}"', [f"listen_ports = '{text}'", '"PORT" or "FIRST-LAST", 1 to 65535'])
            for text in ("0", "65536", "2-1", "0-5", "5-65536", "1-2-3", "-5", "5-", "", " 5", "5 - 6", "\u0665", "any")
        ),
    ],
)
def test_a_wrong_value_names_file_key_and_what_is_allowed(tmp_path: Path, toml: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_from(tmp_path, workspace=toml)
    for part in [str(tmp_path / "workspace.toml"), *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"environ": {"SPRAYCC_MAX_ATTEMPTS": "x"}}, "SPRAYCC_MAX_ATTEMPTS"),
        ({"flags": {"max_attempts": "x"}}, "--max-attempts"),
    ],
)
def test_a_wrong_value_names_variable_or_flag(tmp_path: Path, source: dict[str, Any], origin: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_from(tmp_path, **source)
    assert str(error.value) == f"{origin}: 'x': allowed is an integer from 1 to 100"


def test_unbalanced_quotes_are_a_wrong_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SPRAYCC_WRAP"):
        load_from(tmp_path, environ={"SPRAYCC_WRAP": "'open"})


def test_a_wrong_value_is_an_error_even_where_it_is_overridden(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"user\.toml"):
        load_from(tmp_path, user="executors = -1", flags={"executors": "4"})


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"user\.toml: unknown key 'local_slot'; did you mean 'local_slots'\?"):
        load_from(tmp_path, user="local_slot = 4")
    with pytest.raises(ConfigError, match=r"unknown key 'xyzzy'; `spraycc --help-all` lists them all$"):
        load_from(tmp_path, user="xyzzy = 4")


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"user\.toml: no valid TOML: .*line 2"):
        load_from(tmp_path, user="executors = 4\nwrap = = 3\n")


def test_bytes_that_are_not_utf8_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\n\nsummary = '\xff'\n")
    with pytest.raises(ConfigError, match=r"c\.toml: line 3: not UTF-8"):
        load(None, {}, files=[str(tmp_path / "c.toml")])


def test_a_file_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(None, {}, files=[str(tmp_path)])
    assert load(None, {}, files=[str(tmp_path / "missing" / "deeper")]).settings == Settings()


def test_a_fifo_is_no_configuration_and_nobody_waits_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    with pytest.raises(ConfigUnreadable, match="is no regular file"):
        sources.from_file(str(tmp_path / "config.toml"))


@pytest.mark.parametrize("directory_is_closed", [False, True])
def test_a_file_that_the_kernel_keeps_from_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory_is_closed: bool
) -> None:
    """A file in a directory that the user can't enter belongs to another user. Any other file is the user's own mistake."""
    path = tmp_path / "config.toml"
    path.write_text("executors = 4\n")

    def denied(path: str, mode: str, **_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def access(directory: str, mode: int) -> bool:
        assert (directory, mode) == (str(tmp_path), os.X_OK)
        return not directory_is_closed

    # File modes can't test this, as root may read everything.
    monkeypatch.setattr(sources, "open", denied, raising=False)
    monkeypatch.setattr(os, "access", access)
    if directory_is_closed:
        assert load(None, {}, files=[str(path)]).settings == Settings()
    else:
        with pytest.raises(ConfigError, match="can't be read: Permission denied"):
            load(None, {}, files=[str(path)])


def test_unknown_variables_warn_and_reserved_ones_do_not(tmp_path: Path) -> None:
    environ = dict.fromkeys(RESERVED_VARIABLES, "x") | {"SPRAYCC_EXECUTRS": "4", "OTHER": "x"}
    loaded = load_from(tmp_path, environ=environ)
    assert loaded.warnings == (
        "SPRAYCC_EXECUTRS in the environment is not a setting; did you mean 'SPRAYCC_EXECUTORS'?",
    )
    assert loaded.settings == Settings()


def test_no_setting_has_a_reserved_name() -> None:
    assert not {variable(key) for key in KEYS} & RESERVED_VARIABLES


def test_every_key_says_what_is_allowed() -> None:
    assert {key: allowed(key) for key in ("executors", "wrap", "summary_line", "summary")} == {
        "executors": 'an integer from 1 to 100000, or "auto"',
        "wrap": "a list of strings",
        "summary_line": "true or false",
        "summary": 'a string, or "none"',
    }
    assert all(allowed(key) for key in KEYS)


def test_nearest_finds_no_strangers() -> None:
    assert nearest("executor") == "executors"
    assert nearest("zzz") is None


def test_flags_are_the_keys_with_dashes() -> None:
    assert flag("local_slots") == "--local-slots"


def test_the_workspace_has_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    files = config_files(b"/w\xff")
    assert [layer for layer, _ in files] == ["site", "user", "workspace"]
    assert files[1][1] == str(tmp_path / "config" / "spraycc" / "config.toml")
    assert files[2][1].encode(errors="surrogateescape") == b"/w\xff/.spraycc.toml"


def test_of_the_sites_files_that_of_the_first_directory_is_the_strongest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"team": "executors = 1", "host": "executors = 2\nlocal_slots = 2", "none": None, "all": "memory_mb = 3"}
    paths = {name: tmp_path / name / "spraycc" / "config.toml" for name in settings}
    for name, text in settings.items():
        if text is not None:
            paths[name].parent.mkdir(parents=True)
            paths[name].write_text(text)
    monkeypatch.setenv("XDG_CONFIG_DIRS", ":".join(str(tmp_path / name) for name in settings))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "mine"))
    assert [path for layer, path in config_files(None) if layer == "site"] == [*map(str, reversed(paths.values()))]
    loaded = load(None, {}, {})
    assert (loaded.settings.executors, loaded.settings.local_slots, loaded.settings.memory_mb) == (1, 2, 3)
    assert loaded.origins["executors"] == str(paths["team"])
    assert loaded.origins["local_slots"] == str(paths["host"])


@given(
    st.one_of(
        st.text(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.lists(st.text()).map(tuple),
    )
)
def test_shown_values_are_toml(value: Any) -> None:
    if isinstance(value, str) and any(0xD800 <= ord(c) < 0xE000 for c in value):
        return
    shown = tomllib.loads(f"x = {toml_value(value)}")["x"]
    assert (tuple(shown) if isinstance(shown, list) else shown) == value


def test_the_users_compilers(tmp_path):
    loaded = load_from(tmp_path, user='[tools]\nlike_gcc = ["mpicc"]\nlike-clang = ["zig"]\noverlay_only = ["ifort"]\n')
    settings = loaded.settings
    assert (settings.tools_like_gcc, settings.tools_like_clang) == (("mpicc",), ("zig",))
    assert settings.tools_overlay_only == ("ifort",)
    with pytest.raises(ConfigError, match=r"unknown key 'like_gc' in \[tools\]; did you mean 'like-gcc'"):
        load_from(tmp_path, user='[tools]\nlike_gc = ["x"]\n')
    with pytest.raises(ConfigError, match=r"is a table: \[tools\], with like-gcc, like-clang, overlay-only"):
        load_from(tmp_path, user='tools = "x"\n')


def test_rules_of_the_policy(tmp_path):
    loaded = load_from(tmp_path, user='[policy]\nremote = ["moc", "gen-*"]\nhere-heavy = ["big *"]\n')
    assert loaded.settings.policy_remote == ("moc", "gen-*")
    assert loaded.settings.policy_here_heavy == ("big *",)
    with pytest.raises(ConfigError, match=r"unknown key 'remot' in \[policy\]; did you mean 'remote'"):
        load_from(tmp_path, user='[policy]\nremot = ["moc"]\n')
    with pytest.raises(ConfigError, match="is a table"):
        load_from(tmp_path, user='policy = "moc"\n')


@pytest.mark.parametrize("key", KEYS)
def test_each_setting_has_one_help_text(key: str) -> None:
    assert HELP[key].endswith(".")
    if "auto: " in HELP[key] and key not in ("capture", "progress"):
        assert none_word(key) == "auto"


SLURM = {"SLURM_JOB_ID": "123", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_CPUS_PER_NODE": "4(x2)"}


def on_path(tmp_path: Path, *programs: str) -> dict[str, str]:
    for name in programs:
        (tmp_path / name).touch(0o755)
    return {"PATH": f"/nowhere:{tmp_path}"}


def test_inside_an_allocation_its_cpus_are_used(tmp_path: Path) -> None:
    loaded = load_from(tmp_path, environ=SLURM | on_path(tmp_path, "srun"))
    assert loaded.settings.cluster == "slurm-step"
    assert loaded.origins["cluster"] == "the allocation 123 of Slurm"
    assert loaded.settings.executors_in_force == 8
    assert dataclasses.replace(loaded.settings, executors=3).executors_in_force == 3
    assert dataclasses.replace(loaded.settings, executors=30).executors_in_force == 8
    assert Settings.from_map(json.loads(json.dumps(dataclasses.asdict(loaded.settings)))) == loaded.settings


@pytest.mark.parametrize("cluster", ["local", "slurm", "ssh", "lsf-step"])
@pytest.mark.parametrize("source", ["site", "workspace", "environ", "flags"])
def test_a_cluster_that_the_user_names_is_used(tmp_path: Path, cluster: str, source: str) -> None:
    given: dict[str, Any] = {"environ": SLURM | on_path(tmp_path, "srun")}
    match source:
        case "environ":
            given["environ"]["SPRAYCC_CLUSTER"] = cluster
        case "flags":
            given["flags"] = {"cluster": cluster}
        case _:
            given[source] = f'cluster = "{cluster}"'
    settings = load_from(tmp_path, **given).settings
    assert settings.cluster == cluster
    assert settings.allocation is None


def test_a_step_that_the_user_names_has_its_allocation(tmp_path: Path) -> None:
    flags = {"cluster": "slurm-step"}
    loaded = load_from(tmp_path, environ=SLURM, flags=flags)
    assert loaded.origins["cluster"] == "--cluster"
    assert loaded.settings.executors_in_force == 8
    assert load_from(tmp_path, flags=flags).settings.allocation is None


def test_cpus_that_are_all_on_this_host_are_used_without_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(64))
    here = {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": f"{os.uname().nodename} 8"} | on_path(tmp_path, "blaunch")
    loaded = load_from(tmp_path, environ=here)
    assert loaded.settings.cluster == "local"
    assert loaded.origins["cluster"] == "the allocation 9 of LSF, whose CPUs are all on this host"
    # Not all 64, though the host would let the user have them.
    assert loaded.settings.executors_in_force == loaded.settings.local_slots_in_force == 8
    # The processes may use fewer CPUs than the allocation has: a step can use all of them.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(2))
    assert load_from(tmp_path, environ=here).settings.cluster == "lsf-step"


def test_the_submit_host_keeps_its_share_of_the_allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(64))
    environ = {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": f"{os.uname().nodename} 8 other 8"} | on_path(tmp_path, "blaunch")
    settings = load_from(tmp_path, environ=environ).settings
    assert settings.local_slots_in_force == 2
    assert settings.executors_in_force == 14


def test_without_the_program_only_this_host_is_used(tmp_path: Path) -> None:
    environ = {"LSB_JOBID": "9", "LSB_MCPU_HOSTS": f"{os.uname().nodename} 1 other 8", "PATH": str(tmp_path)}
    loaded = load_from(tmp_path, environ=environ)
    assert loaded.settings.cluster == "local"
    assert "blaunch is not on PATH" in loaded.origins["cluster"]
    assert loaded.settings.executors_in_force == 1


@pytest.mark.parametrize(
    ("ports", "cluster", "expected"),
    [
        (None, "slurm", [0]),
        ("40000", "slurm", [40000]),
        ("40000-40002", "ssh", [40000, 40001, 40002]),
        ("40000-40002", "local", [0]),
    ],
)
def test_ports_for_executors(ports: str | None, cluster: Any, expected: list[int]) -> None:
    assert list(Settings(listen_ports=ports, cluster=cluster).ports_for_executors) == expected
