"""The fence against a model of an NFS client: its cache gets stale, and forced requests bring it up to date."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.fence import Fence
from spraycc.stamps import MISSING, NAMES, Lookup, Stamp


class Client:
    """An NFS client. It uses cached names until their directory is refreshed, and cached attributes until the file is."""

    def __init__(self, tree: dict[bytes, bytes]) -> None:
        #: on the file server: path to stamp; a directory's stamp is its version
        self.server = dict(tree)
        self.cache = dict(tree)
        self.requests: list[bytes] = []

    def cached(self, lookup: Lookup) -> Stamp:
        return self.cache.get(lookup[1:], MISSING)

    def refresh(self, paths: Iterable[bytes]) -> None:
        for path in paths:
            self.requests.append(path)
            if path not in self.cache and os.path.dirname(path) in self.cache:
                continue  # a negative entry: the client does not ask the file server for the name
            for known in {path, *(p for p in {*self.server, *self.cache} if os.path.dirname(p) == path)}:
                if known == path or (known in self.server) != (known in self.cache):
                    self._take(known)

    def _take(self, path: bytes) -> None:
        if path in self.server:
            self.cache[path] = self.server[path]
        else:
            self.cache.pop(path, None)


async def inline(work: Callable[..., Any], *arguments: Any) -> None:
    work(*arguments)


def stamp(number: int) -> Stamp:
    return bytes([number]) * 40


@pytest.fixture
def client() -> Client:
    return Client({b"/w": stamp(1), b"/w/inc": stamp(2), b"/w/inc/a.h": stamp(3), b"/w/inc/b.h": stamp(4)})


def fence_of(client: Client) -> Fence:
    return Fence(client.cached, client.refresh, inline)


async def test_nothing_is_asked_where_the_cache_agrees(client: Client) -> None:
    await fence_of(client).pass_with([(b"f/w/inc/a.h", stamp(3)), (b"f/w/inc/new.h", MISSING), (b"n/w/inc", stamp(2))])
    assert client.requests == []


async def test_a_new_name_needs_its_directories(client: Client) -> None:
    client.server |= {b"/w/inc": stamp(12), b"/w/inc/new.h": stamp(9)}
    await fence_of(client).pass_with([(b"f/w/inc/new.h", stamp(9)), (b"f/w/inc/a.h", stamp(3))])
    assert client.cached(b"f/w/inc/new.h") == stamp(9)
    assert set(client.requests) == {b"/w/inc", b"/w"}


async def test_changed_contents_need_the_file(client: Client) -> None:
    client.server[b"/w/inc/a.h"] = stamp(7)
    await fence_of(client).pass_with([(b"f/w/inc/a.h", stamp(7)), (b"f/w/inc/b.h", stamp(4))])
    assert client.requests[-1] == b"/w/inc/a.h"
    assert b"/w/inc/b.h" not in client.requests


async def test_a_deleted_name(client: Client) -> None:
    client.server[b"/w/inc"] = stamp(12)
    del client.server[b"/w/inc/a.h"]
    await fence_of(client).pass_with([(b"f/w/inc/a.h", MISSING), (NAMES + b"/w/inc", stamp(12))])


async def test_a_view_that_stays_another_one_refuses_the_task(client: Client) -> None:
    with pytest.raises(CaptureError, match=r"/w/inc/a\.h is not as on the submit host: ") as refused:
        await fence_of(client).pass_with([(b"f/w/inc/b.h", stamp(4)), (b"f/w/inc/a.h", stamp(99))])
    assert refused.value.kind is CaptureRefusal.STALE


async def test_a_hundred_changes_are_two_rounds(client: Client) -> None:
    rounds = 0

    class Counting(Fence):
        async def refresh_all(self, paths: Any) -> None:
            nonlocal rounds
            rounds += 1
            await super().refresh_all(paths)

    for number in range(100):
        client.cache[b"/w/inc/%d.h" % number] = stamp(1)
        client.server[b"/w/inc/%d.h" % number] = stamp(2)
    fence = Counting(client.cached, client.refresh, inline)
    await fence.pass_with([(b"f/w/inc/%d.h" % number, stamp(2)) for number in range(100)])
    assert rounds == 2
