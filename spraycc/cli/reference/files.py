"""All generated files of the installation, by their places below its ``share`` directory."""

from __future__ import annotations

from collections.abc import Mapping

from spraycc.cli.option_table import Command
from spraycc.cli.reference import bash, fish, man_page, zsh

#: Places of the completion scripts. The shells' packages look there below /usr and /usr/local.
SCRIPTS = {
    "bash-completion/completions/spraycc": bash.script,
    "zsh/site-functions/_spraycc": zsh.script,
    "fish/vendor_completions.d/spraycc.fish": fish.script,
}
#: The man pages. Each has a template of its name with ``.in``.
PAGES = ("spraycc.1", "spraycc-run.1", "spraycc.toml.5")


def files(root: Command, templates: Mapping[str, str], version: str, date: str) -> dict[str, str]:
    """Path below ``share`` → text.

    Args:
        root: the command line.
        templates: name of a page → its template.
        version: the release's version.
        date: ``YYYY-MM-DD`` for the pages; empty: none.
    """
    scripts = {place: script(root) for place, script in SCRIPTS.items()}
    pages = {f"man/man{name[-1]}/{name}": man_page.page(templates[name], root, version, date) for name in PAGES}
    return scripts | pages
