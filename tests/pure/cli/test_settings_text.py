"""``spraycc config show``, and the file of ``spraycc config init``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from spraycc import config
from spraycc.cli.settings_text import ThisHost, auto_words, first_sentence, found_text, show, workspace_file
from spraycc.cluster.search import MANAGERS, Queue
from spraycc.config.keys import FIRST, HELP, KEYS
from spraycc.settings import Settings

HERE = ThisHost("overlay", "/var/tmp/x", "exec")
SLURM = MANAGERS[0]


def loaded(**flags: str) -> config.Loaded:
    return config.load(None, {}, flags, files=[])


@pytest.mark.parametrize("brief", [False, True])
def test_what_is_shown_is_a_configuration_with_the_same_meaning(brief: bool, tmp_path: Path) -> None:
    before = loaded(executors="7", queues="a 'b c'", capture="predict", setup='x "y"')
    text = "\n".join(show(before, HERE, brief=brief))
    assert set(tomllib.loads(text)) == set(KEYS)
    (tmp_path / "x.toml").write_text(text)
    assert config.load(None, {}, {}, files=[str(tmp_path / "x.toml")]).settings == before.settings


def test_each_setting_has_a_line_that_says_what_it_is_for() -> None:
    lines = list(show(loaded(), HERE))
    for key in KEYS:
        at = next(at for at, line in enumerate(lines) if line.split(" ")[0] == key)
        assert lines[at - 1] == f"# {first_sentence(HELP[key])}"
    assert not [line for line in show(loaded(), HERE, brief=True) if line.startswith("#")]


def test_single_settings_have_their_whole_help() -> None:
    assert list(show(loaded(executors="3"), HERE, keys=("executors",))) == [
        f'# {HELP["executors"]} Allowed: an integer from 1 to 100000, or "auto".',
        "executors = 3             # --executors",
    ]


@pytest.mark.parametrize(
    ("key", "settings", "words"),
    [
        ("executors", {"cluster": "slurm"}, "100"),
        ("executors", {"executors": 7}, ""),
        ("local_slots", {"cluster": "slurm"}, str(Settings(cluster="slurm").local_slots_in_force)),
        ("light_slots", {"local_slots": 3}, "6"),
        ("probing_limit", {"local_slots": 3}, "6"),
        ("initial_executors", {}, "as many as the build may use"),
        ("wall_time_s", {}, "the queue's default"),
        ("array_limit", {"cluster": "slurm"}, "1000"),
        ("array_limit", {"cluster": "local"}, "no limit"),
        ("capture", {}, "overlay"),
        ("capture", {"capture": "predict"}, ""),
        ("scratch_dir", {}, "/var/tmp/x"),
        ("intercept", {}, "exec"),
        ("listen", {}, "127.0.0.1"),
        ("listen", {"cluster": "slurm"}, "all addresses"),
        ("listen_ports", {}, "any free port"),
        ("account", {}, ""),
        ("summary", {}, ""),
    ],
)
def test_auto_in_words(key: str, settings: dict[str, Any], words: str) -> None:
    assert auto_words(key, Settings(**settings), HERE) == words


def test_the_file_for_a_cluster() -> None:
    queues = [Queue("short", True, "up"), Queue("long"), Queue("old", False, "down", is_open=False)]
    text = workspace_file("slurm", SLURM, queues, ["Slurm answers\x1b[31m (sinfo)\nx = 1"])
    assert tomllib.loads(text) == {"cluster": "slurm"}
    assert '# queues = ["short", "long"]' in text.splitlines()
    assert "#   short: the default, up" in text.splitlines()
    assert "#   old: down" in text.splitlines()
    assert "\x1b" not in text
    closed = workspace_file("slurm", SLURM, queues[2:], [])
    assert "queues = []" in closed


def test_the_commented_lines_are_settings(tmp_path: Path) -> None:
    """A user takes the mark away, and has what was in force before."""
    text = workspace_file(None, None, [], [])
    assert tomllib.loads(text) == {}
    lines = [line[2:] for line in text.splitlines() if " = " in line]
    assert {line.split()[0] for line in lines} == {*FIRST, "account", "project"}
    (tmp_path / "x.toml").write_text("\n".join(lines))
    assert config.load(None, {}, {}, files=[str(tmp_path / "x.toml")]).settings == loaded().settings


@pytest.mark.parametrize(
    ("queues", "text"),
    [
        (
            [Queue("short", True, "up"), Queue("long")],
            "Slurm answers (sinfo), with 2 partitions: short (the default), long",
        ),
        ([Queue("short")], "Slurm answers (sinfo), with 1 partition: short"),
        (
            [Queue("a", True, "down", is_open=False), Queue("b", is_open=False)],
            "Slurm answers (sinfo), with 2 partitions: a (the default, takes no batch jobs now), b (takes no batch jobs now)",
        ),
        ([], "Slurm answers (sinfo), and names no partition"),
    ],
)
def test_what_was_found(queues: list[Queue], text: str) -> None:
    assert found_text(SLURM, queues) == text
