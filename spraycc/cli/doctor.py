"""``spraycc doctor``: shows which parts of SprayCC work on this host, and how to repair the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spraycc.cli.doctor_checks import Finding


def command(name: str) -> click.Command:
    """The subcommand."""
    cluster = click.Option(
        ["--cluster"], is_flag=True, help="Start executors too (an array of two batch jobs), and compile something."
    )
    patience = click.Option(
        ["--patience"], type=float, default=120.0, metavar="SECONDS", help="Longest wait for these executors."
    )
    return click.Command(
        name, callback=_doctor, params=[cluster, patience], help="Check this installation, and show how to repair it."
    )


@click.pass_obj
def _doctor(flags: dict[str, Any], cluster: bool, patience: float) -> int:
    worst = False
    for finding in _findings(flags, cluster, patience):
        mark = "ok" if finding.ok else "PROBLEM" if finding.essential else "note"
        click.echo(f"{mark:<8} {finding.subject}: {finding.text}")
        if not finding.ok and finding.remedy:
            click.echo(f"{'':<8}   {finding.remedy}")
        worst = worst or (finding.essential and not finding.ok)
    return 1 if worst else 0


def _findings(flags: dict[str, Any], cluster: bool, patience_s: float) -> Iterator[Finding]:
    """The findings. An error in the configuration is the last one, as further checks are impossible then."""
    from spraycc.cli.doctor_checks import Finding, all_findings
    from spraycc.errors import SprayccError

    try:
        if cluster:
            from spraycc.cli import doctor_cluster

            yield from doctor_cluster.findings(flags, patience_s)
        else:
            yield from all_findings(flags)
    except SprayccError as exc:
        yield Finding("configuration", False, str(exc), essential=True)
