"""Response files, against the rules and against the real compilers' own reading of the same file."""

from __future__ import annotations

import ast
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.commands.response import MAX_FILES, MAX_WORDS, expand, split_words

SPLITS = [
    (b"", [], []),
    (b" \n\t ", [], []),
    (b"-c foo.c", [b"-c", b"foo.c"], None),
    (b"  -c\n\tfoo.c\r\n", [b"-c", b"foo.c"], None),
    (b"a\vb\fc", [b"a", b"b", b"c"], [b"a\vb\fc"]),
    (b"'a b' \"c d\"", [b"a b", b"c d"], None),
    (b'-DA=\\"x\\"', [b'-DA="x"'], None),
    (b"a\\ b", [b"a b"], None),
    (b"'a\\'b'", [b"a'b"], None),
    (b'"a\'b"', [b"a'b"], None),
    (b"'a\"b'", [b'a"b'], None),
    (b"x'y z'w", [b"xy zw"], None),
    (b"'' a \"\"", [b"", b"a", b""], [b"a"]),
    (b"a\\", [b"a"], [b"a\\"]),
    (b"a \\", [b"a", b""], [b"a", b"\\"]),
    (b"'open end", [b"open end"], None),
    (b"a\\\nb", [b"a\nb"], None),
    (b"-c\0 -E", [b"-c"], None),
    (b"-I/\xff\xfe", [b"-I/\xff\xfe"], None),
]


@pytest.mark.parametrize(("content", "gcc", "clang"), SPLITS)
def test_words_of_a_file(content: bytes, gcc: list[bytes], clang: list[bytes] | None) -> None:
    assert split_words(content) == gcc
    assert split_words(content, clang=True) == (gcc if clang is None else clang)


def test_a_line_without_files_is_itself() -> None:
    result = expand([b"-c", b"a@b", b"", b"@"], lambda name: pytest.fail("nothing to read"))
    assert result.words == [b"-c", b"a@b", b"", b"@"]
    assert result.complete


def test_nested_files_are_expanded_in_place() -> None:
    files = {b"one": b"1 @two 4", b"two": b"2 '@three'", b"three": b"3"}
    result = expand([b"0", b"@one", b"5"], files.get)
    assert result.words == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert result.complete


def test_a_file_that_cant_be_read_stays_and_is_told() -> None:
    result = expand([b"@no", b"-c"], lambda name: None)
    assert result.words == [b"@no", b"-c"]
    assert not result.complete


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_a_reader_that_raises_is_a_file_that_cant_be_read(error: type[Exception]) -> None:
    def read(name: bytes) -> bytes:
        raise error

    assert not expand([b"@no"], read).complete


def test_recursion_ends() -> None:
    reads = []

    def read(name: bytes) -> bytes:
        reads.append(name)
        return b"@self @self x"

    result = expand([b"@self"], read)
    assert not result.complete
    assert len(reads) == MAX_FILES


def test_a_file_too_large_is_not_looked_at() -> None:
    assert not expand([b"@big"], lambda name: b"a " * (MAX_WORDS + 1)).complete


@given(st.lists(st.binary(max_size=12)), st.dictionaries(st.binary(max_size=2), st.binary(max_size=30)), st.booleans())
def test_any_words_and_files_are_taken(words: list[bytes], files: dict[bytes, bytes], clang: bool) -> None:
    result = expand(words, files.get, clang=clang)
    if result.complete:
        assert not any(word.startswith(b"@") and word[1:] in files and len(word) > 1 for word in result.words)


@given(st.lists(st.text(alphabet="ab c\\'\"\n", min_size=1, max_size=8)))
def test_quoted_words_come_back(words: list[str]) -> None:
    quoted = " ".join("".join("\\" + char for char in word) for word in words).encode()
    for clang in (False, True):
        assert split_words(quoted, clang=clang) == [word.encode() for word in words]


#: Words that a compiler can be asked to echo: each becomes a macro's definition.
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
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
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
    """The arguments of -D in a line that -### printed. Clang quotes as C does; GCC quotes a word with a backslash before each special."""
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
