"""Messages as dataclasses: a class's fields, in order, are the elements after the tag of its CBOR array.

The types in the annotations are the grammar. The decoder raises ProtocolError for anything else. It ignores trailing
elements, because a newer peer may have added them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from itertools import chain
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from spraycc.errors import ProtocolError

M = TypeVar("M", bound="Message")


class Message:
    """Base of all messages. Subclasses are frozen, slotted dataclasses with a class-level ``TAG``."""

    __slots__ = ()
    TAG: ClassVar[str]


class Grammar:
    """The messages that may be sent in one direction of a connection."""

    def __init__(self, *classes: type[Message]) -> None:
        self.classes = classes
        self._by_tag = {cls.TAG: cls for cls in classes}
        #: filled when needed: a short-lived program uses three of the twenty messages
        self._codecs: dict[type[Message], _Codec] = {}

    def pack(self, message: Message) -> list[Any]:
        """The array to send. A message outside this grammar is a bug (KeyError, AssertionError)."""
        return self._codec(type(message)).pack(message)

    def unpack(self, item: Any) -> Message:
        """The message in a decoded item.

        Raises:
            ProtocolError: not an array, an unknown tag, too few elements, or an element of the wrong type.
        """
        if not isinstance(item, list) or not item or not isinstance(item[0], str):
            raise ProtocolError("a message is an array that begins with its tag")
        cls = self._by_tag.get(item[0])
        if cls is None:
            raise ProtocolError(f"unexpected message {item[0][:40]!r}")
        return self._codec(cls).unpack(item)

    def _codec(self, cls: type[Message]) -> _Codec:
        codec = self._codecs.get(cls)
        if codec is None:
            assert self._by_tag[cls.TAG] is cls, cls
            codec = self._codecs[cls] = _Codec(cls)
        return codec


class _Codec:
    __slots__ = ("_checks", "_required", "_values", "cls")

    def __init__(self, cls: type[Message]) -> None:
        self.cls = cls
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        self._values = _getter([f.name for f in fields])
        self._checks: tuple[Callable[[Any], Any], ...] = tuple(_checker(hints[f.name]) for f in fields)
        missing = dataclasses.MISSING
        self._required = sum(f.default is missing and f.default_factory is missing for f in fields)

    def pack(self, message: Message) -> list[Any]:
        return [self.cls.TAG, *self._values(message)]

    def unpack(self, item: list[Any]) -> Message:
        values = item[1:]
        if len(values) < self._required:
            raise ProtocolError(f"message {self.cls.TAG!r} with {len(values)} of {self._required} elements")
        try:
            return self.cls(*[check(value) for check, value in zip(self._checks, values, strict=False)])
        except (TypeError, ValueError) as exc:
            raise ProtocolError(f"message {self.cls.TAG!r}: {exc}") from None


def _getter(names: list[str]) -> Callable[[Message], tuple[Any, ...]]:
    """A function that returns these attributes of a message."""
    if len(names) > 1:
        return attrgetter(*names)  # in one call, which matters for messages of twenty elements
    return lambda message: tuple([getattr(message, name) for name in names])


def _checker(hint: Any) -> Callable[[Any], Any]:
    """A function that returns its argument as the hinted type, or raises TypeError or ValueError."""
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [_checker(a) for a in args if a is not type(None)]
        return lambda v: None if v is None else inner(v)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return _sequence(args[0])
        checks = [_checker(a) for a in args]

        def fixed(v: Any) -> tuple[Any, ...]:
            if len(_array(v)) != len(checks):
                raise ValueError(f"{len(checks)} elements expected, {len(v)} sent")
            return tuple([c(x) for c, x in zip(checks, v, strict=True)])

        return fixed
    if origin is dict:
        key, value = (_checker(a) for a in args)

        def mapping(v: Any) -> dict[Any, Any]:
            if not isinstance(v, dict):
                raise TypeError(f"map expected, {type(v).__name__} sent")
            return {key(k): value(x) for k, x in v.items()}

        return mapping
    if hint is Any:
        return lambda v: v
    if hint is float:
        return _number
    if hint in _PLAIN:
        return _exactly(hint)
    if isinstance(hint, typing.NewType):
        return _checker(hint.__supertype__)
    raise AssertionError(f"no rule for {hint!r}")


def _sequence(hint: Any) -> Callable[[Any], tuple[Any, ...]]:
    """The checker of an array of any length, whose elements are all alike.

    A command line and its environment have hundreds of elements. So the usual arrays are checked without a call of a
    Python function for each element: those of values of one type, and those of rows of values of one type.
    """
    check = _checker(hint)
    plain = {hint} if hint in _PLAIN else None
    columns = typing.get_args(hint) if typing.get_origin(hint) is tuple else ()
    rows = set(columns) if len(set(columns)) == 1 and columns[0] in _PLAIN else None

    def sequence(value: Any) -> tuple[Any, ...]:
        if type(value) is list:
            if plain is not None and plain.issuperset(map(type, value)):
                return tuple(value)
            if rows is not None and _LIST.issuperset(map(type, value)):
                right_size = {len(columns)}.issuperset(map(len, value))
                if right_size and rows.issuperset(map(type, chain.from_iterable(value))):
                    return tuple(map(tuple, value))
        return tuple([check(element) for element in _array(value)])

    return sequence


#: Types whose values need no check but that of the type. (bool is no int: types are compared, not classes.)
_PLAIN = (int, bytes, str, bool)
_LIST = frozenset([list])


def _exactly(wanted: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not wanted:
            raise TypeError(f"{wanted.__name__} expected, {type(value).__name__} sent")
        return value

    return check


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"number expected, {type(value).__name__} sent")
    return float(value)


def _array(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"array expected, {type(value).__name__} sent")
    return value
