"""Makes ``docs/reference/settings.md`` and ``docs/reference/command-line.md`` from the code's own tables.

``python -m tests.tools.reference_pages`` writes the files.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from spraycc.build_tools import SUBCOMMANDS
from spraycc.cli.option_table import Command, Option, table
from spraycc.cli.reference.examples import EXAMPLES, Example
from spraycc.cli.reference.usage import own_options, usage
from spraycc.cli.reference.values import first_sentence, is_tool
from spraycc.config.keys import (
    DEFAULTS,
    FIRST,
    GROUPS,
    HELP,
    allowed,
    choices,
    core_type,
    default_word,
    flag,
    variable,
)  # fmt: skip

DIRECTORY = Path(__file__).resolve().parents[2] / "docs/reference"
_COMMAND = "python -m tests.tools.reference_pages"
_WIDTH = 120
#: The groups of config/keys.py, in words for a heading and a sentence.
_TITLES = {
    "build": ("Build settings", "What runs on executors, how compilers are intercepted, and what happens after a failure."),
    "cluster": ("Cluster settings", "Where executors run, and how SprayCC asks the cluster manager for them."),
    "capture": ("Capture settings", "How an executor captures the files that a command writes."),
    "limits": ("Limit settings", "How much runs at once, and how long SprayCC keeps what is idle."),
    "output": ("Output settings", "What a build prints, and the file with its figures."),
}  # fmt: skip
_SETTINGS_HEAD = """\
# Settings

Look up the name, the default, the unit and the meaning of each setting of SprayCC.

The ten settings in **bold** matter first. `spraycc config show` prints the values in force and the source of each.

## Where a setting stands

A setting has its value from the first of these places that gives one:

1. the option before the name of the tool: `spraycc --local-slots 8 make`
2. the environment variable: `SPRAYCC_LOCAL_SLOTS=8`
3. `.spraycc.toml` in the root of the workspace: `local_slots = 8`
4. the user's file: `spraycc/config.toml` in `$XDG_CONFIG_HOME`, or in `~/.config`
5. the site's file: `spraycc/config.toml` in a directory of `$XDG_CONFIG_DIRS`, or in `/etc/xdg`
6. for `cluster` only: the batch allocation in which the build starts
7. the default

[Files and directories](files.md#configuration-files) has more about the files.

- The word `"auto"` stands for no value (for `summary`: `"none"`). SprayCC then chooses; the meaning says how.
- In options and variables a list is one text, with its words quoted as in a shell. In a file, a list is a list of TOML.
- An empty variable counts as not set. An unknown key in a file is an error.
- The keys that begin with `policy_` and `tools_` may stand in the tables `[policy]` and `[tools]`:

```toml
[tools]
like-gcc = ["vendor-cc"]

[policy]
here-heavy = ["gold*"]
```

- A pattern is a glob of the shell: `*`, `?` and `[…]`.

In the meanings, "this host" is the submit host: the host on which the build is started.
"""
_COMMANDS_HEAD = """\
# Command line

Look up each command of `spraycc`: its usage, its options, and examples.

`spraycc COMMAND --help` shows the same text in the terminal, and `man spraycc` shows all of it.

In the texts, "this host" is the host on which you call the command. For a build that is the submit host.
"""
_OPTIONS_TEXT = """\
Options stand before the name of the tool or command. Each setting is an option: [Settings](settings.md) has all of them.
These options are no settings:
"""
_TOOLS_TEXT = """\
Run the build tool with all words after its name. SprayCC's own options stand before the tool's name.

The tool may be given with its path: `spraycc /opt/bin/make -j8`. `cmake` builds with `cmake --build DIR`. The exit status is the
tool's: [Exit statuses](exit-status.md).
"""


def unit(key: str) -> str:
    """The unit of a setting, or the kind of its value if it has none."""
    if key.endswith("_s"):
        return "seconds"
    if key.endswith("_mb"):
        return "MiB"
    if isinstance(DEFAULTS[key], tuple):
        return "list of texts"
    if choices(key):
        return "word"
    return {int: "number", float: "number", bool: "true or false", str: "text"}[core_type(key)]


def settings_page() -> str:
    """The text of ``settings.md``."""
    parts = [_notice(), _SETTINGS_HEAD]
    for title, keys in GROUPS.items():
        heading, sentence = _TITLES[title]
        rows = "\n".join(_row(key) for key in keys)
        parts.append(f"## {heading}\n\n{sentence}\n\n| setting | default | unit | meaning |\n{'| --- ' * 4}|\n{rows}\n")
        parts += [_setting(key) for key in keys]
    return "\n".join(parts)


def _row(key: str) -> str:
    name = f"[`{key}`](#{key})"
    cells = (f"**{name}**" if key in FIRST else name, _default(key), unit(key), _cell(first_sentence(HELP[key]) + "."))
    return f"| {' | '.join(cells)} |"


def _default(key: str) -> str:
    return "empty" if DEFAULTS[key] == () else f"`{default_word(key)}`"


def _setting(key: str) -> str:
    cells = (_default(key), _cell(allowed(key)), unit(key), f"`{_option_name(key)}`", f"`{variable(key)}`")
    table_text = f"| default | allowed | unit | option | variable |\n{'| --- ' * 5}|\n| {' | '.join(cells)} |\n"
    return f"### `{key}`\n\n{_meaning(key)}\n\n{table_text}"


def _meaning(key: str) -> str:
    """The help text. Sentences that begin with a value and a colon become a list."""
    values = "|".join(map(re.escape, {*choices(key), "auto", "Empty", "0"}))
    first, *rest = re.split(rf"(?<=\.) (?=(?:{values}): )", HELP[key])
    items, more = "", ""
    for part in rest:
        value, _, text = part.partition(": ")
        text, _, more = text.partition(". ")
        items += f"\n- {'empty' if value == 'Empty' else f'`{value}`'}: {_filled(text.rstrip('.') + '.', '  ')}"
    return "\n".join([_filled(first), *([items] if items else []), *([f"\n{_filled(more)}"] if more else [])])


def _option_name(key: str) -> str:
    return f"{flag(key)}`, `--no-{flag(key)[2:]}" if core_type(key) is bool else flag(key)


def command_line_page() -> str:
    """The text of ``command-line.md``."""
    root = table()
    parts = [_notice(), _COMMANDS_HEAD, "\n".join(_contents(root)) + "\n", *_spraycc(root)]
    for child in root.commands:
        if not is_tool(child):
            parts += _command(child)
    return "\n".join(parts)


def _contents(root: Command) -> Iterator[str]:
    yield "| command | purpose |\n| --- | --- |"
    tools = ", ".join(f"`{name}`" for name in SUBCOMMANDS)
    yield f"| [{tools}](#build-tools) | Run the build tool with all words after its name. |"
    for child in root.commands:
        if not is_tool(child):
            name = child.words[-1]
            yield f"| [`{name}`](#spraycc-{name}) | {_cell(child.short_help)} |"


def _spraycc(root: Command) -> Iterator[str]:
    yield _usage("spraycc [OPTIONS] TOOL [WORDS]...", "spraycc [OPTIONS] COMMAND [WORDS]...")
    yield "## Options of `spraycc`\n"
    yield _OPTIONS_TEXT
    yield _options([option for option in root.options if not option.key])
    yield from _examples(EXAMPLES[()])
    yield "## Build tools\n"
    yield _usage(*(f"spraycc [OPTIONS] {name} [WORDS]..." for name in SUBCOMMANDS))
    yield _TOOLS_TEXT


def _command(command: Command) -> Iterator[str]:
    name = " ".join(("spraycc", *command.words))
    yield f"{'#' * (len(command.words) + 1)} `{name}`\n"
    yield _usage(" ".join([name, *usage(command)]))
    for paragraph in command.help.split("\n\n"):
        yield _filled(paragraph) + "\n"
    if own := own_options(command):
        yield _options(own)
    yield from _examples(EXAMPLES.get(command.words, ()))
    for child in command.commands:
        yield from _command(child)


def _options(options: list[Option]) -> str:
    rows = []
    for option in options:
        value = f" {option.metavar}" if option.metavar else ""
        names = ", ".join(f"`{name}{value}`" for name in option.names)
        told = all(choice in option.help for choice in option.choices)
        text = option.help + ("" if told else f" Allowed: {', '.join(option.choices)}.")
        default = f" Default: `{option.default}`." if option.default else ""
        rows.append(f"| {names} | {_cell(text)}{default} |")
    return "| option | meaning |\n| --- | --- |\n" + "\n".join(rows) + "\n"


def _examples(examples: tuple[Example, ...]) -> Iterator[str]:
    if examples:
        lines = "\n\n".join(f"# {example.text}\n{example.line}" for example in examples)
        yield f"```sh\n{lines}\n```\n"


def _usage(*lines: str) -> str:
    return "```text\n" + "\n".join(lines) + "\n```\n"


def _notice() -> str:
    return f"<!-- Generated by `{_COMMAND}`; change the help texts in the code. -->\n"


def escaped(text: str) -> str:
    """The text with no sign that Markdown reads, but for code in backticks."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if at % 2 else re.sub(r"([*_<\[\]])", r"\\\1", part) for at, part in enumerate(parts))


def _cell(text: str) -> str:
    return " ".join(escaped(text).replace("|", "\\|").split())


def _filled(text: str, indent: str = "") -> str:
    """The text in lines. ``indent``: of all lines but the first."""
    words = escaped(" ".join(text.split()))
    lines = textwrap.wrap(words, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    # A line must not begin with a sign that makes it an item of a list.
    return f"\n{indent}".join(re.sub(r"^([-+])(?= )", r"\\\1", line) for line in lines)


def pages() -> dict[Path, str]:
    """All generated pages: path -> text."""
    return {
        DIRECTORY / "settings.md": settings_page(),
        DIRECTORY / "command-line.md": command_line_page(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
