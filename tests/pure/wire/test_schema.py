"""The elements of messages: arrays of many elements are checked as strictly as single values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from spraycc.errors import ProtocolError
from spraycc.wire.schema import Grammar, Message


@dataclass(frozen=True, slots=True)
class Sample(Message):
    TAG: ClassVar[str] = "sample"
    words: tuple[bytes, ...]
    limits: tuple[tuple[int, int, int], ...] = ()
    pairs: tuple[tuple[bytes, str], ...] = ()
    lists: tuple[tuple[bytes, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Empty(Message):
    TAG: ClassVar[str] = "empty"


@dataclass(frozen=True, slots=True)
class Single(Message):
    TAG: ClassVar[str] = "single"
    words: tuple[bytes, ...]


GRAMMAR = Grammar(Sample, Empty, Single)


@pytest.mark.parametrize(
    "message",
    [
        Sample(()),
        Sample((b"a", b"b")),
        Sample((b"a",), ((1, 2, 3), (4, 5, 6)), ((b"a", "b"),), ((b"a",), (), (b"b", b"c"))),
        Empty(),
        Single((b"a", b"b")),
    ],
)
def test_a_message_comes_back_from_lists_and_from_tuples(message: Message) -> None:
    packed = GRAMMAR.pack(message)
    assert GRAMMAR.unpack(packed) == message
    assert GRAMMAR.unpack(_as_lists(packed)) == message


def _as_lists(value: Any) -> Any:
    return [_as_lists(part) for part in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ([[b"a", "b"]], "bytes expected, str sent"),
        ([b"ab"], "array expected, bytes sent"),
        ([{b"a": 1}], "array expected, dict sent"),
        ([[], [[1, 2]]], "3 elements expected, 2 sent"),
        ([[], [[1, 2, 3], [1, 2, 3, 4]]], "3 elements expected, 4 sent"),
        ([[], [[1, 2, 3], [1, 2, True]]], "int expected, bool sent"),
        ([[], [[1, 2, 3.0]]], "int expected, float sent"),
        ([[], [b"abc"]], "array expected, bytes sent"),  # its elements are three numbers
        ([[], [[1, 2, 3], {1: 1, 2: 2, 3: 3}]], "array expected, dict sent"),
        ([[], [7]], "array expected, int sent"),
        ([[], [], [[b"a", b"b"]]], "str expected, bytes sent"),
        ([[], [], [], [[b"a"], [1]]], "bytes expected, int sent"),
    ],
)
def test_an_element_of_another_type_is_refused(elements: list[Any], why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        GRAMMAR.unpack(["sample", *elements])
