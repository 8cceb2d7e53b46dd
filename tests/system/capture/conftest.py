"""Fixtures of the capture's tests: a bench for each capture and each kind of user, open for the whole session."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.capture.bench import Bench
from tests.system.harness.sandbox import Account, Sandbox


def _account(who: str) -> Account:
    if who == "root":
        if os.geteuid() != 0:
            pytest.skip("needs to be root")
        return Account.mine()
    account = Account.unprivileged()
    if who == "user":
        return dataclasses.replace(account, group=None)
    if account.group is None:
        pytest.skip("this user is in one group only")
    return account


def _bench(capture: str, who: str) -> Iterator[Bench]:
    bench = Bench(Sandbox(_account(who)), capture)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def user_overlay() -> Iterator[Bench]:
    yield from _bench("overlay", "user")


@pytest.fixture(scope="session")
def setgid_overlay() -> Iterator[Bench]:
    yield from _bench("overlay", "setgid")


@pytest.fixture(scope="session")
def root_overlay() -> Iterator[Bench]:
    yield from _bench("overlay", "root")


@pytest.fixture(scope="session")
def user_predict() -> Iterator[Bench]:
    yield from _bench("predict", "user")


@pytest.fixture(scope="session")
def setgid_predict() -> Iterator[Bench]:
    yield from _bench("predict", "setgid")


@pytest.fixture(scope="session")
def root_predict() -> Iterator[Bench]:
    yield from _bench("predict", "root")


@pytest.fixture(params=["user", "setgid", pytest.param("root", marks=pytest.mark.root)])
def predict(request: pytest.FixtureRequest) -> Bench:
    """The predicted capture, for the same three kinds of users."""
    bench: Bench = request.getfixturevalue(f"{request.param}_predict")
    return bench


@pytest.fixture(params=["user", "setgid", pytest.param("root", marks=pytest.mark.root)])
def overlay(request: pytest.FixtureRequest) -> Bench:
    """The overlay: unprivileged, unprivileged in a setgid tree of a project's group, and as root."""
    bench: Bench = request.getfixturevalue(f"{request.param}_overlay")
    return bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The matrix takes minutes, so all of its tests are slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
