"""The view gives up the serving box where it starts, but can't prepare a task."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spraycc.executor import view
from spraycc.executor.box import Ended, Layer, NotStarted
from spraycc.executor.host import Host
from spraycc.executor.scratch import Scratch
from spraycc.executor.view import View

ENDED = Ended(0, 0, 0.0, 0.0, 0)
KEPT = replace(ENDED, kept=True)


class FakeBox:
    """In place of the serving box."""

    starts = 0

    def __init__(self, *_: Any) -> None:
        FakeBox.starts += 1
        self._runs = True

    def is_running(self) -> bool:
        return self._runs

    def stop(self) -> None:
        self._runs = False


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(view, "ServingBox", FakeBox)
    FakeBox.starts = 0
    host = Host(b"/box", -1, scratch=Scratch.create(str(tmp_path), "executor"))
    yield host
    host.mounts.close()
    assert host.scratch is not None
    host.scratch.remove()


def layers_of_a_task(host: Host, own: View, end: Ended | NotStarted) -> tuple[Layer, ...]:
    assert host.scratch is not None
    slot = host.scratch.take()
    layers = own.layers(slot, [host.scratch.path])
    own.check(layers)
    own.task_ended(layers, end)
    return layers


@pytest.mark.parametrize("stage", ["hold", "kept", "attach"])
def test_failures_of_the_serving_box_alone_end_it(host: Host, stage: str) -> None:
    own = View(host)
    failed = NotStarted(stage, errno.EPERM)
    ends: list[Ended | NotStarted] = [failed, ENDED, failed, failed, ENDED, ENDED]
    uppers = [layer.upper.rpartition(b"/")[2] for end in ends for layer in layers_of_a_task(host, own, end)]
    assert uppers == [b"upper"] * 4 + [b"upper0"] * 2
    assert FakeBox.starts == 3


def test_a_lower_directory_that_was_made_again_is_no_failure_of_the_box(host: Host) -> None:
    own = View(host)
    for _ in range(5):
        assert layers_of_a_task(host, own, NotStarted("hold", errno.ESTALE))[0].upper.endswith(b"/upper")


def test_a_box_that_does_not_start_again_leaves_nothing_on_the_disk(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = View(host)
    (kept,) = layers_of_a_task(host, own, KEPT)
    assert layers_of_a_task(host, own, KEPT) == (kept,)
    own.close()

    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "no namespaces")

    monkeypatch.setattr(view, "ServingBox", refuse)
    assert host.scratch is not None
    layers = own.layers(host.scratch.take(), [host.scratch.path])
    assert own.task_ended(layers, ENDED) == [kept.upper.rpartition(b"/")[0]]


def test_a_rest_ends_the_box_and_drops_its_layers(host: Host) -> None:
    own = View(host)
    (kept,) = layers_of_a_task(host, own, KEPT)
    assert layers_of_a_task(host, own, KEPT) == (kept,)
    assert own.rest() == [kept.upper.rpartition(b"/")[0]]
    assert own.rest() == []
    (new,) = layers_of_a_task(host, own, ENDED)
    assert (new == kept, FakeBox.starts) == (False, 2)


def test_failures_of_the_task_itself_end_nothing(host: Host) -> None:
    own = View(host)
    for _ in range(5):
        assert layers_of_a_task(host, own, NotStarted("chdir", errno.ENOENT))[0].upper.endswith(b"/upper")


def test_a_task_with_many_roots_has_a_box_of_its_own(host: Host) -> None:
    assert host.scratch is not None
    own = View(host)
    layers_of_a_task(host, own, ENDED)
    slot = host.scratch.take()
    layers = own.layers(slot, [host.scratch.path] * 41)
    assert all(layer.upper.startswith(slot.path) for layer in layers)
    own.check(layers)
    assert own.task_ended(layers, ENDED) == []
    assert layers_of_a_task(host, own, ENDED)[0].upper.endswith(b"/upper")
