"""``spraycc completion bash|zsh|fish``: prints the script by which the shell completes the command line."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")

_HELP = """Print the script by which bash, zsh or fish completes spraycc's command line. Default: the shell that calls.

One line in the shell's start-up file reads the script: `source <(spraycc completion bash)` in ~/.bashrc,
`source <(spraycc completion zsh)` in ~/.zshrc after compinit, `spraycc completion fish | source` in
~/.config/fish/config.fish.

With the script in a file, the shell starts faster. Write the file again after each update of SprayCC. The shells look
for ~/.local/share/bash-completion/completions/spraycc (with the package bash-completion), for _spraycc in the
directories of zsh's fpath, and for ~/.config/fish/completions/spraycc.fish."""


def command(name: str) -> click.Command:
    """The subcommand."""
    return click.Command(
        name,
        callback=_completion,
        help=_HELP,
        short_help="Print the script by which bash, zsh or fish completes this command line.",
        params=[click.Argument(["shell"], type=click.Choice(SHELLS), metavar="bash|zsh|fish", required=False)],
    )


def _completion(shell: str | None) -> None:
    import os

    from spraycc.cli.option_table import table
    from spraycc.cli.reference import bash, fish, zsh
    from spraycc.cli.shell_code import look_up

    if shell is None:
        callers, _ = look_up(os.getppid())
        shell = next((name for name in callers if name in SHELLS), None)
        if shell is None:
            caller = f"{callers[0]} calls" if callers else "the caller is unknown"
            raise click.UsageError(f"completion: for which shell? {caller}; for instance: spraycc completion bash")
    scripts = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
    click.echo(scripts[shell](table()), nl=False)
