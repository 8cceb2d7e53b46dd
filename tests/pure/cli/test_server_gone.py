"""A build whose server dies: the user gets one warning, from the command line or a runner, whichever notices first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from spraycc.cli.build import _wait_for_tool
from spraycc.cli.build_tool import ToolRun
from spraycc.cli.interception import Interception
from spraycc.cli.opened_build import OpenedBuild
from spraycc.cli.server_connection import ConnectionEnded, ServerConnection
from spraycc.errors import ServerUnavailable
from spraycc.runner_files import RunnerFiles
from spraycc.settings import Settings

GONE = "spraycc: warning: the server is gone; the rest of the build runs on this host\n"
NO_SUMMARY = "spraycc: warning: the server is gone: Broken pipe; there is no summary\n"


class DeadSession:
    """The connection to a server that has died."""

    pid = 0  # no process

    def __init__(self, error: Exception) -> None:
        self.error = error

    def tool_started(self, pid: int) -> None:
        raise self.error

    def close_build(self, status: int, wall_s: float) -> dict[str, Any]:
        raise self.error


class ToolOf:
    """A tool that ends before or after the command line sees that the server is gone."""

    pid = 1
    shell_status = 5

    def __init__(self, meanwhile: Callable[[], None], *, sees_loss: bool) -> None:
        self.meanwhile = meanwhile
        self.sees_loss = sees_loss

    def start(self, program: bytes, argv: tuple[bytes, ...], env: dict[bytes, bytes]) -> None:
        pass

    def wait(
        self, connection: ServerConnection, on_lost: Callable[[], None], server_check: object, display: object
    ) -> bool:
        self.meanwhile()
        if self.sees_loss:
            on_lost()
        return not self.sees_loss


class Build:
    """A build whose tool runs while its server dies."""

    def __init__(self, directory: Path) -> None:
        self.runtime_dir = directory
        self.directory = directory / "builds" / "b1"
        self.directory.mkdir(parents=True)

    def runner_warns(self) -> None:
        (self.directory / "warned").touch(exist_ok=False)

    def run(
        self,
        meanwhile: Callable[[], None],
        *,
        sees_loss: bool,
        error: Exception | None = None,
    ) -> dict[str, Any]:
        connection = DeadSession(error or ConnectionEnded("the server is gone: Broken pipe"))
        opened = OpenedBuild(
            cast(ServerConnection, connection), bytes(self.runtime_dir), "b1", INTERCEPTION, b"", {}, None
        )
        tool = cast(ToolRun, ToolOf(meanwhile, sees_loss=sees_loss))
        return _wait_for_tool(tool, Settings(), opened, None, began=0.0)


INTERCEPTION = Interception(RunnerFiles("/data", b"/data/bin/spraycc-run", None), b"/nowhere")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def nothing() -> None:
    pass


@pytest.mark.parametrize(("sees_loss", "warning"), [(True, GONE), (False, NO_SUMMARY)])
def test_the_command_line_is_first(
    build: Build, capsys: pytest.CaptureFixture[str], sees_loss: bool, warning: str
) -> None:
    figures = build.run(nothing, sees_loss=sees_loss)
    assert capsys.readouterr() == ("", warning)
    assert figures.keys() == {"exit_status", "wall_s"}
    assert not build.directory.exists()


@pytest.mark.parametrize("sees_loss", [True, False])
def test_a_runner_is_first(build: Build, capsys: pytest.CaptureFixture[str], sees_loss: bool) -> None:
    figures = build.run(build.runner_warns, sees_loss=sees_loss)
    assert capsys.readouterr() == ("", "")
    assert figures["exit_status"] == 5


@pytest.mark.parametrize(("sees_loss", "warning"), [(True, GONE), (False, NO_SUMMARY)])
def test_no_runner_can_tell_if_the_builds_directory_is_gone(
    build: Build, capsys: pytest.CaptureFixture[str], sees_loss: bool, warning: str
) -> None:
    build.run(build.directory.rmdir, sees_loss=sees_loss)
    assert capsys.readouterr() == ("", warning)


def test_a_server_that_lives_and_gives_no_summary(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    """The runners' mark does not suppress this warning."""
    build.run(build.runner_warns, sees_loss=False, error=ServerUnavailable("no answer"))
    assert capsys.readouterr() == ("", "spraycc: warning: no answer; there is no summary\n")
