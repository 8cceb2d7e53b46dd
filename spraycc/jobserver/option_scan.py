"""Reads options as getopt_long(3) does, with the place of each, so that single options can be removed.

Python's own :mod:`getopt` does not report where an option stands. It also lacks optional arguments, and make's rule
that an option takes the next word only if that word is a number.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


class Argument(enum.Enum):
    """Where an option has its argument."""

    NONE = "none"
    #: joined, else the next word, whatever its form
    REQUIRED = "required"
    #: joined only
    OPTIONAL = "optional"
    #: joined, else the next word if that has only digits, or is empty (make's -j)
    DIGITS = "digits"
    #: joined, else the next word if that starts with a digit or a point (make's -l)
    NUMBER = "number"

    def takes(self, word: bytes) -> bool:
        """Whether an option without a joined argument takes ``word``, the next word, as its argument."""
        match self:
            case Argument.REQUIRED:
                return True
            case Argument.DIGITS:
                return word == b"" or word.isdigit()
            case Argument.NUMBER:
                return word[:1].isdigit() or word[:1] == b"."
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one tool. Both maps lead to the option's canonical name and its argument."""

    short: Mapping[bytes, tuple[str, Argument]]
    long: Mapping[bytes, tuple[str, Argument]] = field(default_factory=dict)

    def find_long(self, name: bytes) -> tuple[str, Argument] | None:
        """The option with this name (without dashes), else the only option that the name abbreviates."""
        exact = self.long.get(name)
        if exact is not None:
            return exact
        candidates = {option for full, option in self.long.items() if full.startswith(name)}
        return candidates.pop() if len(candidates) == 1 else None


@dataclass(frozen=True, slots=True)
class OptionUse:
    """One option of a command line."""

    #: the option's canonical name; "" for an unknown option
    name: str
    #: its argument, None without one
    value: bytes | None
    #: index of its word
    index: int
    #: offset of its letter in that word, more than 1 inside a cluster (the ``j`` of ``-kj8``); 0 for a long option
    offset: int
    #: its argument is the next word
    takes_next: bool = False


def scan(words: Sequence[bytes], options: Options) -> Iterator[OptionUse]:
    """Yields the options of ``words`` in their order, and skips operands between them. The scan ends at ``--``."""
    index = 0
    while index < len(words):
        word = words[index]
        if word == b"--":
            return
        step = 1
        if word.startswith(b"--"):
            use = _long(words, index, options)
            yield use
            step += use.takes_next
        elif word.startswith(b"-"):
            for use in _cluster(words, index, options):
                yield use
                step += use.takes_next
        index += step


def _long(words: Sequence[bytes], index: int, options: Options) -> OptionUse:
    name, equals, joined = words[index][2:].partition(b"=")
    option = options.find_long(name)
    if option is None:
        return OptionUse("", None, index, 0)
    return _with_argument(words, index, 0, option, joined if equals else None)


def _cluster(words: Sequence[bytes], index: int, options: Options) -> Iterator[OptionUse]:
    word = words[index]
    for offset in range(1, len(word)):
        option = options.short.get(word[offset : offset + 1], ("", Argument.NONE))
        if option[1] is not Argument.NONE:
            yield _with_argument(words, index, offset, option, word[offset + 1 :] or None)
            return
        yield OptionUse(option[0], None, index, offset)


def _with_argument(
    words: Sequence[bytes], index: int, offset: int, option: tuple[str, Argument], joined: bytes | None
) -> OptionUse:
    name, argument = option
    following = words[index + 1] if index + 1 < len(words) else None
    if joined is None and following is not None and argument.takes(following):
        return OptionUse(name, following, index, offset, takes_next=True)
    return OptionUse(name, joined, index, offset)


def cut(words: Sequence[bytes], uses: Sequence[OptionUse]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Removes the options ``uses``, with their arguments, from ``words``: ``(kept words, removed words)``.

    An option with an argument is the last of its cluster, so the cluster keeps the letters before it. An option without
    an argument may be followed by others; make's ``-j`` never is.
    """
    kept: list[bytes | None] = list(words)
    removed = []
    for use in sorted(uses, key=lambda use: (use.index, -use.offset)):
        word = kept[use.index]
        assert word is not None, "two options in one place"
        if use.offset == 0:
            removed.append(word)
            kept[use.index] = None
        else:
            end = use.offset + 1 if use.takes_next or use.value is None else len(word)
            removed.append(b"-" + word[use.offset : end])
            rest = word[: use.offset] + word[end:]
            kept[use.index] = rest if rest != b"-" else None
        if use.takes_next:
            removed.append(words[use.index + 1])
            kept[use.index + 1] = None
    return tuple(word for word in kept if word is not None), tuple(removed)
