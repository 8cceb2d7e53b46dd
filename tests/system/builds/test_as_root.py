"""Builds by root: a mount namespace without a user namespace, in a workspace that belongs to another user."""

from __future__ import annotations

import os

import pytest

from tests.system.harness.projects import c_project, output_of
from tests.system.harness.sandbox import Account, Sandbox

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def test_root_builds_in_a_users_workspace(root_sandbox: Sandbox) -> None:
    tree = root_sandbox.write(c_project(4))
    user = Account.unprivileged() if os.geteuid() == 0 else Account.mine()
    for path in (tree, *tree.iterdir()):
        os.chown(path, user.uid, user.gid)
    root_sandbox.read_only_workspace()
    built = root_sandbox.build("make", "-j4").ok()
    assert built.figures["remote"] == 5
    assert root_sandbox.run(tree / "prog").out == output_of(4)
    assert {path.stat().st_uid for path in tree.glob("*.o")} == {0}
