"""Which directories are overlaid: tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spraycc.errors import CaptureError, CaptureRefusal
from spraycc.executor.overlay_plan import plan_overlays
from spraycc.system.paths import is_inside

SCRATCH = b"/var/tmp/spraycc-1/executor-h-1-e"


@pytest.mark.parametrize(
    ("required", "optional", "needed", "mounts", "roots"),
    [
        # nothing in the way
        ([b"/w"], [b"/tmp"], [b"/w/a"], [b"/", b"/proc"], [b"/tmp", b"/w"]),
        # the root is itself a mount point
        ([b"/w"], [], [b"/w"], [b"/", b"/w"], [b"/w"]),
        # a required root inside an optional one, and inside another required one
        ([b"/tmp/w"], [b"/tmp"], [b"/tmp/w"], [b"/"], [b"/tmp"]),
        ([b"/w", b"/w/b"], [], [b"/w"], [b"/"], [b"/w"]),
        # names that only begin alike
        ([b"/w", b"/w2"], [], [b"/w"], [b"/w3"], [b"/w", b"/w2"]),
        # a mount below an optional root
        ([b"/w"], [b"/tmp"], [b"/w"], [b"/tmp/m"], [b"/w"]),
        # so a required root inside it gets its own overlay
        ([b"/tmp/w"], [b"/tmp"], [b"/tmp/w"], [b"/tmp/m"], [b"/tmp/w"]),
        # a mount below a required root: the largest subtrees without one
        ([b"/w"], [], [b"/w/a/b", b"/w/c", b"/x"], [b"/w/m"], [b"/w/a", b"/w/c"]),
        ([b"/w"], [], [b"/w/a/b", b"/w/a/c/d"], [b"/w/a/m"], [b"/w/a/b", b"/w/a/c"]),
        # the command writes inside the mount
        ([b"/w"], [], [b"/w/m/a"], [b"/w/m"], [b"/w/m"]),
        ([b"/w"], [], [b"/w/m/a"], [b"/w/m", b"/w/m/n"], [b"/w/m/a"]),
        # no output is known in it
        ([b"/w"], [], [], [b"/w/m"], []),
        # the scratch directory below
        ([b"/var"], [], [b"/var/w/a"], [b"/"], [b"/var/w"]),
        ([b"/w"], [b"/var/tmp"], [b"/w"], [b"/"], [b"/w"]),
        # the scratch directory above: allowed
        ([SCRATCH + b"/w"], [], [SCRATCH + b"/w"], [b"/"], [SCRATCH + b"/w"]),
    ],
)
def test_plan(required, optional, needed, mounts, roots):
    assert plan_overlays(required, optional, needed, mounts, SCRATCH) == tuple(sorted(roots))


@pytest.mark.parametrize(("needed", "mounts"), [(b"/w/a", [b"/w/a/m"]), (b"/w", [b"/w/m"]), (b"/w/m/a", [b"/w/m/a/n"])])
def test_a_mount_below_where_it_writes_is_refused(needed, mounts):
    with pytest.raises(CaptureError, match="is below it") as caught:
        plan_overlays([b"/w"], [], [needed], mounts, SCRATCH)
    assert caught.value.kind is CaptureRefusal.ROOT


_paths = st.lists(st.sampled_from([b"a", b"b", b"ab"]), max_size=4).map(lambda names: b"/" + b"/".join(names))


@given(
    st.lists(_paths, max_size=3),
    st.lists(_paths, max_size=3),
    st.lists(_paths, max_size=3),
    st.lists(_paths, max_size=4),
)
def test_plans_are_sound(required, optional, needed, mounts):
    try:
        roots = plan_overlays(required, optional, needed, mounts, SCRATCH)
    except CaptureError:
        return
    for root in roots:
        assert not any(is_inside(other, root) for other in roots if other != root)
        assert not any(is_inside(mount, root) for mount in [*mounts, SCRATCH] if mount != root)
        assert any(is_inside(root, asked) for asked in [*required, *optional])
    for path in needed:
        if any(is_inside(path, root) for root in required):
            assert any(is_inside(path, root) for root in roots)
