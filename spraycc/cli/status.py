"""``spraycc status`` and ``spraycc top``: the state of the workspace's server, once or on a screen that is redrawn."""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from spraycc.errors import ServerUnavailable

if TYPE_CHECKING:
    from spraycc.cli.server_connection import ServerConnection

#: Seconds between two redraws. Each one asks all executors for their counters.
INTERVAL_S = 2.0
_INSTEAD = "`spraycc status` shows the state once, `spraycc status --watch --json` writes lines of JSON"
_SORTS = ("host", "time", "age", "task", "kind")


def command(name: str) -> click.Command:
    """The subcommand ``status``, or ``top``."""
    watch = click.Option(["--watch", "-w"], is_flag=True, help="Redraw until q or Ctrl-C; s changes the order.")
    params: list[click.Parameter] = [
        click.Option(["--json", "as_json"], is_flag=True, help="All figures, as JSON."),
        *([watch] if name == "status" else []),
        click.Option(
            ["--sort"], type=click.Choice(_SORTS), default="host", show_default=True, help="Order of the executors."
        ),
        click.Option(
            ["--interval", "interval_s"],
            type=click.FloatRange(min=0.2),
            default=INTERVAL_S,
            show_default=True,
            help="Seconds between two redraws.",
        ),
    ]
    text = "Show the state of the workspace's server: builds, executors and the files that they work on."
    if name == "top":
        text = "Watch the workspace's server: `spraycc status --watch`."
    return click.Command(name, callback=_top if name == "top" else _status, params=params, help=text)


@click.pass_obj
def _top(flags: dict[str, Any], /, **options: Any) -> int:
    return _show(watch=True, name="top", **options)


@click.pass_obj
def _status(flags: dict[str, Any], /, **options: Any) -> int:
    return _show(**options)


def _show(as_json: bool, watch: bool, sort: str, interval_s: float, name: str = "--watch") -> int:
    from spraycc.cli.messages import inform

    server = _Server()
    if watch and as_json:
        return _write_json(server, interval_s)
    if watch:
        return _watch(server, sort, interval_s, name)
    with closing(server):
        figures = server.ask()
        for text in server.take_notices():
            inform(text)
        if figures is None:
            inform(server.absence)
            return 1
        if as_json:
            click.echo(_json(figures, indent=2))
            return 0
        _print(figures, sort)
        return 0


def _print(figures: dict[str, Any], sort: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from spraycc.ui.status import render

    # A pipe has no width: a program that reads the table must find each name whole.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
    for part in render(figures, sort, whole_names=not sys.stdout.isatty()):
        console.print(part, soft_wrap=isinstance(part, Text))


def _watch(server: _Server, sort: str, interval_s: float, name: str) -> int:
    from spraycc.cli.screen import Screen
    from spraycc.ui.status_screen import lines

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(f"{name} needs a terminal; {_INSTEAD}")
    if os.environ.get("TERM", "") in ("", "dumb"):
        raise click.UsageError(f"{name} must move the cursor, and TERM names no terminal that can; {_INSTEAD}")
    with closing(server), suppress(KeyboardInterrupt), Screen(sys.stdin.fileno(), sys.stdout.fileno()) as screen:
        while True:
            try:
                figures = server.ask()
                texts = server.take_notices() or ([] if figures else [server.absence])
            except ServerUnavailable as exc:
                figures, texts = None, [str(exc)]
            screen.draw(partial(lines, figures, sort, texts))
            key = screen.wait(interval_s)
            if key in ("q", "Q"):
                return 0
            if key == "s":
                sort = _SORTS[(_SORTS.index(sort) + 1) % len(_SORTS)]
    return 0


def _write_json(server: _Server, interval_s: float) -> int:
    """Write a line of JSON at the interval, while a server runs. Ends at Ctrl-C, or when nobody reads."""
    import time

    from spraycc.cli.messages import inform
    from spraycc.cli.output import OutputFailed

    with closing(server), suppress(KeyboardInterrupt):
        while (figures := server.ask()) is not None:
            try:
                click.echo(_json(figures))
            except OutputFailed as exc:
                if exc.has_no_reader:
                    return 0
                raise
            time.sleep(interval_s)
        inform(server.absence)
        return 1
    return 0


class _Server:
    """The workspace's server, whether one runs or not. Connects again when another one has started."""

    def __init__(self) -> None:
        from spraycc import runtime_dir, workspace

        root = workspace.find()
        self._directory = runtime_dir.locate(root)
        self._connection: ServerConnection | None = None
        self._notices: list[str] = []
        self.absence = f"no server runs for {os.fsdecode(root)}"

    def ask(self) -> dict[str, Any] | None:
        """The figures of the server; None: no server runs.

        Raises:
            ServerUnavailable: a server runs and can't be asked.
        """
        from spraycc.cli import server_start
        from spraycc.cli.server_connection import ConnectionEnded

        try:
            if self._connection is None:
                self._connection = server_start.connect(self._directory, self._notices.append)
            return None if self._connection is None else self._connection.status()
        except ConnectionEnded:
            self.close()
            return None
        except ServerUnavailable:
            self.close()
            raise

    def take_notices(self) -> list[str]:
        """The server's lines for the user since the last call."""
        notices, self._notices[:] = list(self._notices), []
        return notices

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _json(figures: dict[str, Any], indent: int | None = None) -> str:
    import json

    return json.dumps(figures, indent=indent, default=_text)


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, bytes) else repr(value)
