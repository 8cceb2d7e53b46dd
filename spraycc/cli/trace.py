"""``spraycc trace [BUILD]``: writes a build as a trace for Perfetto and Chrome."""

from __future__ import annotations

import click

_DEFAULT = "spraycc-trace.json"
_NOUN = "trace"


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.cli.output_file import options
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
            *options(_DEFAULT, _NOUN),
        ],
    )


def _trace(build: str, output: str, force: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.output_file import write
    from spraycc.cli.recorded import choose
    from spraycc.records import trace

    chosen = choose(build)
    if chosen is None:
        return 1
    number, record = chosen.found.number, chosen.record
    if not record.has_times:
        inform(f"build {number} was recorded by an earlier release, without times: build again")
        return 1
    chunks = (chunk.encode("ascii") for chunk in trace.chunks(record))
    if not write(output, chunks, noun=_NOUN, is_ours=trace.is_trace, force=force):
        return 1
    if output != "-":
        inform(f"build {number} is in {output}: open it in https://ui.perfetto.dev or chrome://tracing")
    return 0
