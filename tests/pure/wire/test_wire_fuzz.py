"""The framing invariant: garbage either parses or raises ProtocolError, with the same result whole or byte by byte."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spraycc.errors import ProtocolError, SprayccError
from spraycc.wire import executor, runner
from spraycc.wire.framing import FrameReader, encode_frame
from spraycc.wire.schema import Grammar, Message

GRAMMARS = {
    "to the server, from runners": runner.TO_SERVER,
    "to runners": runner.FROM_SERVER,
    "to executors": executor.TO_EXECUTOR,
    "to the server, from executors": executor.FROM_EXECUTOR,
}
LIMIT = 4096

_SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text() | st.binary()
_ITEMS = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=15
)


def read(pieces: Iterator[bytes], grammar: Grammar, limit: int = LIMIT) -> list[Message | str]:
    """All messages, and "garbage" at the end if the data ends with garbage."""
    reader = FrameReader(limit)
    found: list[Message | str] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            while (item := reader.next_item()) is not None:
                found.append(grammar.unpack(item))
        except ProtocolError:
            return [*found, "garbage"]
        assert len(reader._buffer) < 4 + limit + len(piece)
    return found


def one_by_one(data: bytes) -> Iterator[bytes]:
    return (data[i : i + 1] for i in range(len(data)))


def both_ways(data: bytes, grammar: Grammar) -> list[Message | str]:
    whole = read(iter([data]), grammar)
    assert repr(read(one_by_one(data), grammar)) == repr(whole)  # repr: a NaN is not equal to itself
    return whole


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.none() | _values(next(a for a in args if a is not type(None)))
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return st.lists(_values(args[0]), max_size=3).map(tuple)
        return st.tuples(*map(_values, args))
    if origin is dict:
        return st.dictionaries(_values(args[0]), _values(args[1]), max_size=2)
    if isinstance(hint, typing.NewType):
        return _values(hint.__supertype__)
    if hint is Any:
        return st.integers() | st.text()
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        int: st.integers(-(2**63), 2**64 - 1), bytes: st.binary(max_size=40), str: st.text(max_size=20), bool: st.booleans(),
        float: st.floats(allow_nan=False),
    }  # fmt: skip
    return kinds[hint]


def messages(grammar: Grammar) -> st.SearchStrategy[Message]:
    """Any message of a grammar."""
    each = []
    for cls in grammar.classes:
        hints = typing.get_type_hints(cls)
        each.append(st.builds(cls, **{f.name: _values(hints[f.name]) for f in dataclasses.fields(cls)}))  # type: ignore[arg-type]
    return st.one_of(each)


@pytest.mark.parametrize("name", GRAMMARS)
@given(data=st.data())
def test_what_was_sent_arrives_however_it_is_cut(name: str, data: st.DataObject) -> None:
    grammar = GRAMMARS[name]
    sent = data.draw(st.lists(messages(grammar), max_size=4))
    stream = b"".join(encode_frame(grammar.pack(message)) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(iter(pieces), grammar, 1 << 24) == sent
    assert both_ways(stream, grammar) == sent or max(map(len, (encode_frame(grammar.pack(m)) for m in sent))) > LIMIT


@pytest.mark.parametrize("name", GRAMMARS)
@given(data=st.binary(max_size=300))
@example(b"\xff\xff\xff\xff")
@example(b"\x00\x00\x00\x00")
@example(b"\x00\x00\x00\x01\xf6")
def test_noise_is_refused_or_read_alike(name: str, data: bytes) -> None:
    both_ways(data, GRAMMARS[name])


@pytest.mark.parametrize("name", GRAMMARS)
@given(body=st.binary(max_size=300))
@example(b"\x81" * 300)
@example(b"\xd8\x1c\x81\xd8\x1d\x00")  # an array that contains itself
@example(b"\xd8\x23\x62((")  # a regular expression that is none
@example(b"\xc4\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01")  # a decimal fraction with a huge exponent
@example(b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff")  # an array of 2^63 elements
@example(b"\x5b\x00\x00\x00\xff\xff\xff\xff\xff")  # a string of a terabyte
@example(b"\x9f\x64pong")  # of indefinite length, cut off
def test_frames_of_noise(name: str, body: bytes) -> None:
    both_ways(len(body).to_bytes(4, "big") + body, GRAMMARS[name])


@pytest.mark.parametrize("name", GRAMMARS)
@given(data=st.data())
def test_well_formed_items_of_another_grammar(name: str, data: st.DataObject) -> None:
    grammar = GRAMMARS[name]
    tag = data.draw(st.sampled_from([cls.TAG for cls in grammar.classes]) | st.text())
    item = data.draw(st.lists(_ITEMS, max_size=14).map(lambda rest: [tag, *rest]) | _ITEMS)
    both_ways(encode_frame(item), grammar)


@pytest.mark.parametrize("name", GRAMMARS)
@given(data=st.data())
def test_one_damaged_byte(name: str, data: st.DataObject) -> None:
    grammar = GRAMMARS[name]
    stream = bytearray(encode_frame(grammar.pack(data.draw(messages(grammar)))))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    both_ways(bytes(stream), grammar)


@given(
    answer=st.binary(max_size=100),
    secret=st.binary(min_size=32, max_size=32),
    nonce=st.binary(min_size=32, max_size=32),
)
def test_no_noise_is_a_proof(answer: bytes, secret: bytes, nonce: bytes) -> None:
    answer = answer[: executor.PROOF_BYTES].ljust(executor.PROOF_BYTES, b"\0")
    with pytest.raises(SprayccError):
        executor.check_proof(secret, nonce, answer)


@given(challenge=st.binary(min_size=executor.CHALLENGE_BYTES, max_size=executor.CHALLENGE_BYTES))
def test_noise_in_place_of_a_challenge(challenge: bytes) -> None:
    try:
        nonce = executor.read_challenge(challenge)
    except SprayccError:
        return
    assert executor.challenge(nonce) == challenge


def test_deep_nesting_costs_no_stack() -> None:
    """65,000 nested arrays fit into a frame."""
    reader = FrameReader()
    reader.feed((65000).to_bytes(4, "big") + b"\x81" * 65000)
    with pytest.raises(ProtocolError):
        reader.next_item()


def test_a_text_that_is_not_utf8_is_sent_readably() -> None:
    """For example a file name that is not UTF-8 (os.fsdecode), in a refusal or in status."""
    reader = FrameReader()
    reader.feed(encode_frame(["status-is", {"w\udce9": ("a\udce9", [b"\xe9", 1, None])}, "ä"]))
    assert reader.next_item() == ["status-is", {"w\\udce9": ["a\\udce9", [b"\xe9", 1, None]]}, "ä"]
