"""The entries for a program are the caller's, but for the variables that were changed."""

from __future__ import annotations

import pytest

from spraycc.cli.caller_environment import entries

GIVEN = (b"B=1", b"A=2", b"no sign", b"B=3", b"=nameless", b"E=", b"X=a=b")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [*GIVEN]),
        ({b"N": b"new"}, [*GIVEN, b"N=new"]),
        ({b"A": b"other"}, [b"B=1", b"A=other", *GIVEN[2:]]),
        ({b"B": b"other"}, [b"B=other", b"A=2", b"no sign", b"=nameless", b"E=", b"X=a=b"]),
        ({b"B": None}, [b"A=2", b"no sign", b"=nameless", b"E=", b"X=a=b"]),
        ({b"E": b"\xff"}, [*GIVEN[:5], b"E=\xff", b"X=a=b"]),
    ],
    ids=["unchanged", "added", "changed", "changed twice", "removed", "bytes"],
)
def test_entries(changes: dict[bytes, bytes | None], expected: list[bytes]) -> None:
    wanted: dict[bytes, bytes | None] = {b"A": b"2", b"B": b"1", b"E": b"", b"X": b"a=b"}
    variables = {name: value for name, value in (wanted | changes).items() if value is not None}
    assert entries(variables, GIVEN) == expected
