"""Why a host has no overlay capture."""

from __future__ import annotations

import pytest

from spraycc.cli.doctor.capture_reasons import KNOBS, WITHOUT, HostState, explain

MOST, CLONE, APPARMOR = KNOBS
EPERM = "namespace: Operation not permitted"
#: what an executor's trial says in a chroot
CHROOT = "; ".join(
    f"with scratch files in {place}: {EPERM}; without a pid namespace: {EPERM}" for place in ("/var/tmp", "/tmp")
)
FREE = {MOST: "96365", CLONE: "1", APPARMOR: "0"}
USER = HostState(1000, 0, False, (6, 1), FREE)


def one(error: str, place: str = "/tmp") -> str:
    return f"with scratch files in {place}: {error}; without a pid namespace: {error}"


@pytest.mark.parametrize(
    ("refusal", "host", "reason", "remedy"),
    [
        (
            CHROOT,
            USER,
            "the kernel refuses user namespaces, though its settings allow them: this is probably a chroot "
            f"[{EPERM} (scratch files in /var/tmp, /tmp)]",
            "bwrap",
        ),
        (
            f"with scratch files in /x: [Errno 13] Permission denied: '/x'; {one(EPERM)}",
            USER,
            f"probably a chroot [[Errno 13] Permission denied: '/x' (scratch files in /x); {EPERM} (scratch files in /tmp)]",
            "bwrap",
        ),
        (one(EPERM), HostState(1000, 0, True, (6, 1), FREE), "a seccomp filter forbids user namespaces", "seccomp="),
        (one(EPERM), HostState(1000, 0, True, (6, 1), FREE | {CLONE: "0"}), f"forbidden: {CLONE} is 0", "clone=1"),
        (one(EPERM), HostState(1000, 0, False, (6, 1), FREE | {APPARMOR: "1"}), f"{APPARMOR} is 1", "`userns,`"),
        (
            one("overlay: Permission denied"),
            HostState(1000, 0, False, (6, 1), FREE | {APPARMOR: "1"}),
            f"AppArmor takes all rights from user namespaces: {APPARMOR} is 1",
            "`userns,`",
        ),
        (
            one("namespace: No space left on device"),
            HostState(1000, 0, False, (6, 1), FREE | {MOST: "0"}),
            f"user namespaces are forbidden: {MOST} is 0",
            "sysctl user.max_user_namespaces=15000",
        ),
        (one("namespace: No space left on device"), USER, "the limit on namespaces is used up", "root can raise"),
        (one("namespace: Invalid argument"), USER, "the kernel has no user namespaces", "CONFIG_USER_NS"),
        (one(EPERM), HostState(0, 0, False, (6, 1), FREE | {CLONE: "0"}), "root without CAP_SYS_ADMIN", "--cap-add"),
        (one(EPERM), HostState(0, 1 << 21, True, (6, 1), FREE), "a seccomp filter", "seccomp="),
        (one("overlay: No such device"), USER, "the kernel has no overlay file system", "modprobe overlay"),
        (
            one("overlay: Operation not permitted"),
            HostState(1000, 0, False, (4, 18), FREE),
            "Linux 4.18 mounts no overlay for ordinary users",
            "5.11",
        ),
        (
            one("overlay: Invalid argument", "/nfs"),
            USER,
            "overlay: Invalid argument (scratch files in /nfs)",
            "scratch_dir",
        ),
        (
            one("the trial command failed: signal 9"),
            USER,
            "the trial command failed: signal 9",
            'see "The overlay" on the page',
        ),
        ("something else", USER, "something else", 'see "The overlay" on the page'),
        ("", USER, "the trial gave no reason", 'see "The overlay" on the page'),
    ],
)
def test_reason_and_next_step(refusal: str, host: HostState, reason: str, remedy: str) -> None:
    words, step = explain(refusal, host)
    assert reason in words
    assert "without a pid namespace" not in words
    assert remedy in step
    assert step.endswith(WITHOUT)


def test_the_state_of_a_host() -> None:
    status = "Name:\tx\nCapEff:\t0000000000200000\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\n"
    assert HostState.parsed(0, status, "6.1.0-18-amd64", FREE) == HostState(0, 1 << 21, True, (6, 1), FREE)
    assert HostState.parsed(5, "", "odd", {}) == HostState(5)
