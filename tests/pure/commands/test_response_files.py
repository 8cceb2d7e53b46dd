"""Response files by the rules of GCC and Clang. tests/system/commands compares with the real compilers."""

from __future__ import annotations

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
