"""``spraycc trace [BUILD]``: writes a build as a trace for Perfetto and Chrome."""

from __future__ import annotations

import click

_DEFAULT = "spraycc-trace.json"


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.cli.recorded import build_argument

    return click.Command(
        name,
        callback=_trace,
        help=(
            "Write a build as a trace: a process for each host, a thread for each executor, counters of tasks, "
            "executors and tokens. Open it in https://ui.perfetto.dev or chrome://tracing. BUILD is a number or an id "
            "of `spraycc builds`; default: the last build with tasks."
        ),
        short_help="Write a build as a trace for Perfetto and Chrome.",
        params=[
            build_argument(),
            click.Option(
                ["-o", "--output"], default=_DEFAULT, show_default=True, metavar="FILE", help='"-" is standard output.'
            ),
        ],
    )


def _trace(build: str, output: str) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.recorded import choose, recorded_builds
    from spraycc.records import read, trace

    root, records = recorded_builds()
    found = choose(records, root, build)
    if found is None:
        return 1
    record = read.read(found.path)
    if not record.has_times:
        inform(f"build {found.number} was recorded by an earlier release, without times: build again")
        return 1
    if output == "-":
        for chunk in trace.chunks(record):
            click.echo(chunk, nl=False)
        return 0
    try:
        with open(output, "w", encoding="utf-8") as file:
            file.writelines(trace.chunks(record))
    except OSError as exc:
        inform(f"error: {output}: {exc.strerror}; name another file with -o")
        return 1
    inform(f"build {found.number} is in {output}: open it in https://ui.perfetto.dev or chrome://tracing")
    return 0
