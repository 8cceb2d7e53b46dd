"""The runner tells the server in which context its command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from spraycc import context
from spraycc.wire.runner import Exited

#: shell code around a command -> the difference between its context and this process's
UNDER = {
    'unshare --user --map-root-user -- "$@"': "in another user namespace",
    'unshare --user --map-root-user --mount -- "$@"': "in another mount namespace",
    'unshare --user --map-root-user --pid --fork -- "$@"': "in another user namespace",
    'unshare --user --map-root-user --net -- "$@"': "in another user namespace",
    'setpriv --no-new-privs -- "$@"': "without the privileges of setuid programs",
    'strace -o /dev/null -f -- "$@"': "under another tracer",
    """unshare --user --map-root-user --mount -- sh -c 'mount -t tmpfs none .; exec "$@"' sh "$@\"""": (
        "in another mount namespace"
    ),
    'nice -n 3 "$@"': "",
    'umask 077; ulimit -c 0; "$@"': "",
}
_ROOT = Path(context.__file__).parents[1]


@pytest.mark.parametrize("under", UNDER)
@pytest.mark.needs("strace", "strace")
def test_each_context(harness: Any, finish: Any, under: str) -> None:
    server = harness.serve()
    runner = harness.start("probe", under=under)
    asked = server.accept()
    words = asked.task.context
    asked.send(Exited(3, 0))
    assert finish(runner).returncode == 3
    assert context.difference(context.of_this_process(), words) == UNDER[under]


@pytest.mark.parametrize("under", UNDER)
@pytest.mark.needs("strace", "strace")
def test_python_writes_the_same_text(harness: Any, finish: Any, under: str) -> None:
    """Both under one shell, so that both are in the same new namespaces."""
    told, script = harness.top / "told", harness.top / "tell.py"
    script.write_text(
        f"import sys; sys.path.append({str(_ROOT)!r}); from spraycc import context; print(context.of_this_process())"
    )
    both = f"""sh -c '"{sys.executable}" -I "{script}" > "{told}" && exec "$@"' sh "$@\""""
    server = harness.serve()
    before, _, _ = under.rpartition('"$@"')
    runner = harness.start("probe", under=before + both)
    asked = server.accept()
    asked.send(Exited(0, 0))
    assert finish(runner).returncode == 0
    words = told.read_text().strip()
    # In a user namespace, the runner may not look at the server.
    assert asked.task.context.removesuffix(" server:hidden").removesuffix(" cwd:hidden") == words
    assert words.count(":") == 13


def test_a_directory_to_which_its_path_does_not_lead(harness: Any, finish: Any) -> None:
    server = harness.serve()
    runner = harness.start(
        "probe", under="""unshare --user --map-root-user --mount -- sh -c 'mount -t tmpfs none .; exec "$@"' sh "$@\""""
    )
    asked = server.accept()
    asked.send(Exited(3, 0))
    assert finish(runner).returncode == 3
    assert " cwd:hidden" in asked.task.context


def test_a_server_of_another_user_is_not_gone(harness: Any) -> None:
    """So it is after `sudo` in a recipe: nothing is said."""
    if os.geteuid() == 0:
        pytest.skip("root may enter every directory")
    directory = harness.top / "closed"
    server = harness.serve(directory=directory)
    directory.chmod(0)
    try:
        done = harness.run("probe")
    finally:
        directory.chmod(0o700)
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.path.exists()
