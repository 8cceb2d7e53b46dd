"""The blocks of all pages: TOML is a configuration that loads, and each call of spraycc is one that the parser takes."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from spraycc import config
from spraycc.errors import SprayccError
from tests.command_lines import parse, spraycc_lines
from tests.pages import PAGES, Block, blocks, name_of


def by_place(found: tuple[Path, Block]) -> str:
    return f"{name_of(found[0])}:{found[1].line}"


def blocks_of(*languages: str) -> list[tuple[Path, Block]]:
    return [(page, block) for page in PAGES for block in blocks(page) if block.language in languages]


@pytest.mark.parametrize("found", blocks_of("toml"), ids=by_place)
def test_a_block_of_toml_is_a_configuration(found: tuple[Path, Block], tmp_path: Path) -> None:
    file = tmp_path / ".spraycc.toml"
    file.write_text(found[1].text)
    config.load(None, environ={}, files=[str(file)])


@pytest.mark.parametrize("found", blocks_of("sh", "csh", "fish"), ids=by_place)
def test_the_calls_of_spraycc_are_valid(found: tuple[Path, Block]) -> None:
    for words in spraycc_lines(found[1].text):
        parse(words)


@pytest.mark.parametrize("text", ["executers = 4\n", "executors = 0\n", "[policy]\nhere = []\n", "a b\n"])
def test_a_wrong_configuration_is_noticed(text: str, tmp_path: Path) -> None:
    file = tmp_path / ".spraycc.toml"
    file.write_text(text)
    with pytest.raises(SprayccError):
        config.load(None, environ={}, files=[str(file)])


@pytest.mark.parametrize(
    ("script", "calls"),
    [
        ("spraycc make -j8 2>&1 | tee log\n", [["make", "-j8"]]),
        ("# spraycc no\ncd x && A=1 spraycc status --json > f; echo spraycc\n", [["status", "--json"]]),
        ('eval "$(spraycc env --off)"\nsource <(spraycc completion zsh)\n', [["env", "--off"], ["completion", "zsh"]]),
        ("spraycc \\\n  --executors 4 \\\n  make\n", [["--executors", "4", "make"]]),
        ("if ! timeout 60 spraycc doctor; then exit 1; fi\n", [["doctor"]]),
        ("cat >f <<'END'\nspraycc no\nEND\n~/v/bin/spraycc top # watch\n", [["top"]]),
        ("spraycc build -- sh -c 'make; make check'\n", [["build", "--", "sh", "-c", "make; make check"]]),
    ],
)
def test_calls_are_found_in_a_script(script: str, calls: list[list[str]]) -> None:
    assert list(spraycc_lines(script)) == calls


@pytest.mark.parametrize(
    "words", [["doctr"], ["doctor", "--clustr"], ["clean", "x"], ["--queues"], ["--executors", "0", "make"]]
)
def test_a_wrong_call_is_noticed(words: list[str]) -> None:
    with pytest.raises((click.UsageError, SprayccError)):
        parse(words)
