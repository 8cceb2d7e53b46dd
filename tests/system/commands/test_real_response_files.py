"""The words that real compilers read from a response file, compared with the words that SprayCC reads."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

from spraycc.commands.response import expand
from tests.system.harness import needs

#: Words that a compiler can echo: each becomes a macro's definition.
ECHOED = [
    b"-DA=1 -DB=2",
    b"'-DA=x y' -DB=2",
    b'"-DA=x\\"y"',
    b"-DA=\\'q",
    b"-DA='p\\'q'",
    b"-DA=1\n-DB=2\t-DC=3",
    b"-DA=1\\",
    b"-DA=1 @inner",
]


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
@pytest.mark.parametrize("content", ECHOED)
def test_the_real_compiler_reads_a_file_the_same_way(compiler: str, content: bytes, tmp_path: Path) -> None:
    needs.compiler(compiler)
    (tmp_path / "rsp").write_bytes(content)
    (tmp_path / "inner").write_bytes(b"-DI='in ner'")
    (tmp_path / "a.c").write_bytes(b"")
    run = subprocess.run(
        [compiler, "-###", "-c", "a.c", "@rsp"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    command = next(line for line in run.stderr.splitlines() if "cc1" in line and "a.c" in line)
    clang = compiler.startswith("clang")
    expected = [
        word[2:].decode()
        for word in expand([b"@rsp"], lambda name: (tmp_path / name.decode()).read_bytes(), clang=clang).words
    ]
    assert _definitions(command, clang=clang) == expected


def _definitions(command: str, *, clang: bool) -> list[str]:
    """The arguments of -D in a line that -### printed. Clang quotes as C does.

    GCC quotes a word with a backslash before each special character.
    """
    words: list[str] = []
    rest = command.strip()
    while rest:
        if rest[0] == '"':
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            words.append(
                ast.literal_eval(rest[: end + 1]) if clang else rest[1:end].replace('\\"', '"').replace("\\\\", "\\")
            )
            rest = rest[end + 1 :].lstrip()
        else:
            word, _, rest = rest.partition(" ")
            words.append(word)
            rest = rest.lstrip()
    return [words[index + 1] for index, word in enumerate(words) if word == "-D"]
