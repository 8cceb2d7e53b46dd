"""Response files: ``@FILE`` on a command line stands for the words in the file.

GCC has the rules of ``expandargv`` in its libiberty (seen: 12.2), Clang those of its GNU tokenizer (seen: 14).
In both:

- Quotes of either kind group characters.
- A backslash takes the next character literally, inside quotes too.
- A NUL ends the file.
- Words in the file that begin with ``@`` are expanded again, relative to the working directory.
- If a file can't be read, its word stays as it is.

The two have different white space. Clang drops an empty quoted word, and keeps a backslash at the very end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Most response files of one line. GCC gives up after this many, and Clang expands no file inside itself.
MAX_FILES = 200
#: A longer line is not expanded further.
MAX_WORDS = 200_000

_SPACE_GCC = b" \t\n\v\f\r"
_SPACE_CLANG = b" \t\n\r"


@dataclass(frozen=True, slots=True)
class Expansion:
    words: list[bytes]
    #: False if an ``@FILE`` could not be read, or a limit was exceeded: the compiler then sees other words
    complete: bool


def split_words(content: bytes, *, clang: bool = False) -> list[bytes]:
    """Splits the content of a response file into words."""
    end = content.find(b"\0")
    if end >= 0:
        content = content[:end]
    if (
        b"\\" not in content
        and b'"' not in content
        and b"'" not in content
        and not (clang and (b"\v" in content or b"\f" in content))
    ):
        return content.split()  # bytes.split() knows exactly GCC's six white space characters
    space = _SPACE_CLANG if clang else _SPACE_GCC
    words: list[bytes] = []
    word = bytearray()
    in_word = False
    quote = 0
    index, size = 0, len(content)
    while index < size:
        char = content[index]
        index += 1
        if char == 0x5C:  # backslash
            in_word = True
            if index < size:
                word.append(content[index])
                index += 1
            elif clang:
                word.append(char)
        elif quote:
            if char == quote:
                quote = 0
            else:
                word.append(char)
        elif char in space:
            if in_word and (word or not clang):
                words.append(bytes(word))
            word.clear()
            in_word = False
        else:
            in_word = True
            if char in (0x22, 0x27):
                quote = char
            else:
                word.append(char)
    if in_word and (word or not clang):
        words.append(bytes(word))
    return words


def _read(read_file: Callable[[bytes], bytes | None], name: bytes) -> bytes | None:
    try:
        return read_file(name)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def expand(words: Sequence[bytes], read_file: Callable[[bytes], bytes | None], *, clang: bool = False) -> Expansion:
    """Replaces each ``@FILE`` by the file's words, as the compiler will.

    ``read_file`` gets the name as written (relative to the command's working directory) and returns None if the file
    can't be read.
    """
    if b"\0@" not in b"\0".join([b"", *words]):  # quicker than a test of each word
        return Expansion(list(words), complete=True)
    out: list[bytes] = []
    todo = list(reversed(words))
    complete = True
    files = 0
    while todo:
        word = todo.pop()
        if len(word) < 2 or word[0] != 0x40:
            out.append(word)
            continue
        files += 1
        content = _read(read_file, word[1:]) if files <= MAX_FILES else None
        if content is None:
            complete = False
            out.append(word)
            continue
        todo.extend(reversed(split_words(content, clang=clang)))
        if len(out) + len(todo) > MAX_WORDS:
            return Expansion(out, complete=False)
    return Expansion(out, complete=complete)
