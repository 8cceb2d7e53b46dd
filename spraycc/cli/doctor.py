"""``spraycc doctor``: shows which parts of SprayCC work on this host, and how to repair the others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import click


def command(name: str) -> click.Command:
    """The subcommand."""
    cluster = click.Option(["--cluster"], is_flag=True, help="Start one executor too, and compile something with it.")
    patience = click.Option(["--patience"], type=float, default=120.0, metavar="SECONDS", help="For that executor.")
    return click.Command(
        name, callback=_doctor, params=[cluster, patience], help="Check this installation, and show how to repair it."
    )


@click.pass_obj
def _doctor(flags: dict[str, Any], cluster: bool, patience: float) -> int:
    from spraycc.cli.doctor_checks import Finding, all_findings

    findings = all_findings(flags)
    if cluster:
        from spraycc.cli import doctor_cluster

        findings = doctor_cluster.findings(flags, patience)
    worst = False
    for finding in _guarded(findings, Finding):
        mark = "ok" if finding.ok else "PROBLEM" if finding.essential else "note"
        click.echo(f"{mark:<8} {finding.subject}: {finding.text}")
        if not finding.ok and finding.remedy:
            click.echo(f"{'':<8}   {finding.remedy}")
        worst = worst or (finding.essential and not finding.ok)
    return 1 if worst else 0


def _guarded(findings: Iterator[Any], finding: Any) -> Iterator[Any]:
    """Turn an error in the configuration into the last finding: further checks are impossible then."""
    from spraycc.errors import SprayccError

    try:
        yield from findings
    except SprayccError as exc:
        yield finding("configuration", False, os.fsdecode(str(exc)), essential=True)
