"""Messages as dataclasses: a class's fields, in order, are the elements after the tag of its CBOR array.

The types in the annotations are the grammar. The decoder raises ProtocolError for anything else. It ignores trailing
elements, because a newer peer may have added them.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
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
    __slots__ = ("_checks", "_names", "_required", "cls")

    def __init__(self, cls: type[Message]) -> None:
        self.cls = cls
        hints = typing.get_type_hints(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]
        self._names = tuple(f.name for f in fields)
        self._checks: tuple[Callable[[Any], Any], ...] = tuple(_checker(hints[f.name]) for f in fields)
        missing = dataclasses.MISSING
        self._required = sum(f.default is missing and f.default_factory is missing for f in fields)

    def pack(self, message: Message) -> list[Any]:
        return [self.cls.TAG, *(getattr(message, name) for name in self._names)]

    def unpack(self, item: list[Any]) -> Message:
        values = item[1:]
        if len(values) < self._required:
            raise ProtocolError(f"message {self.cls.TAG!r} with {len(values)} of {self._required} elements")
        try:
            return self.cls(*[check(value) for check, value in zip(self._checks, values, strict=False)])
        except (TypeError, ValueError) as exc:
            raise ProtocolError(f"message {self.cls.TAG!r}: {exc}") from None


def _checker(hint: Any) -> Callable[[Any], Any]:
    """A function that returns its argument as the hinted type, or raises TypeError or ValueError."""
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (inner,) = [_checker(a) for a in args if a is not type(None)]
        return lambda v: None if v is None else inner(v)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            item = _checker(args[0])
            return lambda v: tuple([item(x) for x in _array(v)])
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
    if hint in (int, bytes, str, bool):
        return _exactly(hint)
    if isinstance(hint, typing.NewType):
        return _checker(hint.__supertype__)
    raise AssertionError(f"no rule for {hint!r}")


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
