"""The session file's layout: server and executor use one definition, and refuse a file that is no session."""

from __future__ import annotations

import json

import pytest

from spraycc.wire.session_file import Session

SESSION = Session(
    addresses=(("h", 1), ("::1", 2)),
    certificate="PEM",
    secret=b"\xab" * 32,
    workspace=b"/w\xff",
    scratch_dir=None,
    heartbeat_s=0.5,
    lost_after_s=20.0,
    log_dir="/l",
    landmarks=(b"F/w/\xfe", b"N/w"),
)


def test_executors_read_the_session_that_the_server_wrote() -> None:
    assert Session.from_json(SESSION.to_json().encode()) == SESSION


def test_the_layout_is_that_of_version_1() -> None:
    assert json.loads(SESSION.to_json()) == {
        "version": 1, "addresses": [["h", 1], ["::1", 2]], "certificate": "PEM", "secret": "ab" * 32,
        "workspace": "/w\udcff", "scratch_dir": None, "heartbeat_s": 0.5, "lost_after_s": 20.0, "log_dir": "/l",
        "landmarks": ["F/w/\udcfe", "N/w"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": ...},
        {"secret": "ab"},
        {"secret": "x" * 64},
        {"workspace": "w"},
        {"addresses": [["h"]]},
        {"addresses": None},
        {"heartbeat_s": "soon"},
        {"log_dir": ...},
    ],
    ids=str,
)
def test_a_wrong_or_missing_value_is_refused(changes: dict[str, object]) -> None:
    content = {k: v for k, v in (json.loads(SESSION.to_json()) | changes).items() if v is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Session.from_json(json.dumps(content).encode())


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"7", b'"version"', b"null"])
def test_what_is_no_map_is_refused(text: bytes) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Session.from_json(text)
