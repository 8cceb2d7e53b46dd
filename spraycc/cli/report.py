"""``spraycc report [BUILD]``: a page with the timeline of a build, for a browser."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import click

#: The file without -o, in the working directory.
_DEFAULT = "report.html"
_NOUN = "report"


def command(name: str) -> click.Command:
    """The subcommand."""
    from spraycc.cli.output_file import options
    from spraycc.cli.recorded import build_argument

    return click.Command(
        name,
        callback=_report,
        help="Write a page that shows a build in a browser: its timeline, what its end waited for, what stands out. "
        "The page is one file that loads nothing. BUILD is a number or an id of `spraycc builds`; default: the last "
        "build with tasks.",
        short_help="Write a page with the timeline of a build.",
        params=[
            build_argument(),
            *options(_DEFAULT, _NOUN),
        ],
    )


def _report(build: str, output: str, force: bool) -> int:
    from spraycc.cli.messages import inform
    from spraycc.cli.output_file import write
    from spraycc.cli.recorded import choose
    from spraycc.records import read
    from spraycc.ui.findings import counted
    from spraycc.ui.report import is_report, page
    from spraycc.ui.summary import size

    chosen = choose(build)
    if chosen is None:
        return 1
    before = read.before(chosen.records, chosen.found)
    earlier = None
    if before is not None:
        with contextlib.suppress(OSError):  # another server of the same directory has removed it
            earlier = read.read(before.path)
    text = page(chosen.record, earlier, root=os.path.realpath(chosen.root)).encode()
    if not write(output, [text], noun=_NOUN, is_ours=is_report, force=force):
        return 1
    if output != "-":
        inform(
            f"{output}: {counted(len(chosen.record.tasks), 'task')} of build {chosen.found.number}, {size(len(text))}. "
            f"Open it in a browser: {Path(output).absolute().as_uri()}"
        )
    return 0
