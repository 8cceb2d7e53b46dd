"""``spraycc doctor``: shows which parts of SprayCC work on this host, and how to repair the others."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from spraycc.cli.doctor.finding import Finding


_HELP = """Check this installation, and show how to repair it.

Each line is "ok", a "note" (SprayCC works, but not as well as it could) or a "PROBLEM" (no task can go to an executor).
The next step follows.

Exit status: 0 if there is no PROBLEM, 1 if there is one, 2 for a wrong command line."""


#: The default of --patience.
_PATIENCE_S = 120.0


class _Executors(click.ParamType[int]):
    """A number of executors."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        with contextlib.suppress(ValueError):
            if int(value) >= 1:
                return int(value)
        raise click.UsageError(f"--executors: {value!r} is no number of executors; give an integer of at least 1", ctx)


class _Patience(click.ParamType[float]):
    """A time in seconds that ends."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        with contextlib.suppress(ValueError):
            if 0 < float(value) < math.inf:
                return float(value)
        raise click.UsageError(f"--patience: {value!r} is no time; give a number of seconds above 0", ctx)


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_doctor,
        help=_HELP,
        short_help="Check this installation, and show how to repair it.",
        params=[
            click.Option(
                ["--cluster"],
                is_flag=True,
                help="Check the cluster: start executors as a build does (an array of two batch jobs), and compile.",
            ),
            click.Option(
                ["--executors"],
                type=_Executors(),
                metavar="N",
                help="Check the hosts of N executors of the cluster, and show what differs among them and this host.",
            ),
            click.Option(
                ["--patience"],
                type=_Patience(),
                metavar="SECONDS",
                default=_PATIENCE_S,
                help="Longest wait for these executors.",
            ),
        ],
    )


@click.pass_context
def _doctor(context: click.Context, cluster: bool, executors: int | None, patience: float) -> int:
    is_default = context.get_parameter_source("patience") is ParameterSource.DEFAULT
    if not is_default and not cluster and executors is None:
        raise click.UsageError("doctor: --patience is for executors; give --cluster or --executors N as well")
    worst = False
    for finding in _findings(context.obj, cluster, executors, patience):
        for line in finding.lines():
            click.echo(line)
        worst = worst or (finding.essential and not finding.ok)
    return 1 if worst else 0


def _findings(flags: dict[str, Any], cluster: bool, executors: int | None, patience_s: float) -> Iterator[Finding]:
    """The findings. An error in the configuration is the last one of a probe, which is impossible then."""
    from spraycc.cli.doctor.finding import Stop, failed
    from spraycc.errors import SprayccError, WorkspaceError

    try:
        if not cluster and executors is None:
            from spraycc.cli.doctor.checks import all_findings

            yield from all_findings(flags)
        if cluster:
            from spraycc.cli.doctor.cluster import findings as cluster_findings

            yield from cluster_findings(flags, patience_s)
        if executors is not None:
            from spraycc.cli.doctor.hosts import findings as host_findings

            yield from host_findings(flags, executors, patience_s)
    except Stop as exc:
        yield exc.finding
    except WorkspaceError as exc:
        yield failed("workspace", str(exc), "change into the directory of a project", essential=True)
    except SprayccError as exc:
        yield failed("configuration", str(exc), "`spraycc doctor` checks the other parts", essential=True)
