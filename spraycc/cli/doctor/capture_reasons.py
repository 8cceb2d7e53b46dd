"""Why a host has no overlay capture: from the trial's error and the host's state to words and a next step. Pure.

The trial is what an executor does at its start (spraycc/executor/host.py). Its error names the step of the box
(spraycc/native/box/) and the errno; the state of the host tells which of the causes of such an error it is.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Files that forbid user namespaces, with the value that does.
KNOBS = {
    "/proc/sys/user/max_user_namespaces": "0",
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
}
_MOST, _CLONE, _APPARMOR = KNOBS
_REMEDIES = {
    _MOST: "root can change it: sysctl user.max_user_namespaces=15000",
    _CLONE: "root can change it: sysctl kernel.unprivileged_userns_clone=1",
    _APPARMOR: "root can change it: an AppArmor profile for spraycc-box with `userns,`, "
    "or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
}
#: capabilities(7)
_CAP_SYS_ADMIN = 1 << 21
#: The first kernel that mounts overlays in user namespaces.
_FIRST_KERNEL = (5, 11)
#: One place of the trial and its error, as spraycc/executor/host.py writes them.
_PLACE = re.compile(r"with scratch files in (?P<place>.*?): (?P<error>.*?)(?=; with scratch files in |$)", re.DOTALL)
_ERRORS = {os.strerror(number): number for number in sorted(errno.errorcode, reverse=True)}
#: Steps of the box whose errors say most about the host.
_ORDER = {"namespace": 0, "overlay": 1, "proc": 2}
_SEE_OVERLAY = 'see "The overlay" on the page "Capture" of the documentation'
WITHOUT = "until then compile lines are rewritten instead, and commands of other kinds run on the submit host"


@dataclass(frozen=True, slots=True)
class HostState:
    """The state of a host that decides about user namespaces and mounts."""

    uid: int
    #: CapEff of /proc/self/status
    capabilities: int = 0
    #: a seccomp filter is installed (/proc/self/status: Seccomp: 2)
    is_filtered: bool = False
    #: the kernel's version: (6, 1)
    kernel: tuple[int, int] = (0, 0)
    #: path of KNOBS -> value
    knobs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, uid: int, status: str, release: str, knobs: Mapping[str, str]) -> HostState:
        """From the text of /proc/self/status, the kernel's release, and the files of KNOBS."""
        values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        numbers = [int(number) for number in re.findall(r"\d+", release)[:2]]
        kernel = (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)
        return cls(
            uid, int(values.get("CapEff", "0"), 16), values.get("Seccomp", "0").strip() == "2", kernel, dict(knobs)
        )


def explain(refusal: str, host: HostState) -> tuple[str, str]:
    """(reason, next step) for the trial's text ``refusal`` of the capture "overlay"."""
    found = [
        (match["place"], match["error"].partition("; without a pid namespace: ")[0])
        for match in _PLACE.finditer(refusal)
    ]
    errors = dict.fromkeys(error for _, error in found)
    if not found:
        return refusal or "the trial gave no reason", f"{_SEE_OVERLAY}; {WITHOUT}"
    shown = "; ".join(
        f"{error} (scratch files in {', '.join(place for place, its in found if its == error)})" for error in errors
    )
    # The places differ in small things (a TMPDIR that can't be written). An error of the namespace is the same in all.
    reason, remedy = _cause(min(errors, key=lambda error: _ORDER.get(error.partition(":")[0], len(_ORDER))), host)
    return f"{reason} [{shown}]" if reason else shown, f"{remedy}; {WITHOUT}"


def _cause(error: str, host: HostState) -> tuple[str, str]:
    """(cause or empty, next step) of one error: ``namespace: Operation not permitted``."""
    step, _, words = error.partition(": ")
    number = _ERRORS.get(words, 0)
    if step == "namespace":
        return _namespace_cause(number, host)
    if host.uid != 0 and host.knobs.get(_APPARMOR) == KNOBS[_APPARMOR] and number in (errno.EPERM, errno.EACCES):
        return f"AppArmor takes all rights from user namespaces: {_APPARMOR} is 1", _REMEDIES[_APPARMOR]
    if step == "overlay" and number == errno.ENODEV:
        return "the kernel has no overlay file system", "root can load it: modprobe overlay"
    if step == "overlay" and number == errno.EPERM and (0, 0) < host.kernel < _FIRST_KERNEL:
        return (
            f"Linux {host.kernel[0]}.{host.kernel[1]} mounts no overlay for ordinary users",
            "a kernel of 5.11 or later does (RHEL 8: 4.18.0-305 or later)",
        )
    if step == "overlay":
        return "", "set scratch_dir to a directory on a local disk (ext4, xfs, tmpfs; not NFS, and no overlay itself)"
    return "", _SEE_OVERLAY


def _namespace_cause(number: int, host: HostState) -> tuple[str, str]:
    if host.uid == 0:
        if number == errno.EPERM and not host.capabilities & _CAP_SYS_ADMIN:
            return (
                "root without CAP_SYS_ADMIN can't make a mount namespace",
                "build as an ordinary user, or give the container the capability (--cap-add SYS_ADMIN)",
            )
    else:
        for knob, bad in KNOBS.items():
            if host.knobs.get(knob) == bad:
                return f"user namespaces are forbidden: {knob} is {bad}", _REMEDIES[knob]
    if number in (errno.ENOSPC, errno.EUSERS):
        return (
            "the limit on namespaces is used up",
            "root can raise user.max_user_namespaces, user.max_mnt_namespaces (sysctl) here or on a container's host",
        )
    if number in (errno.EINVAL, errno.ENOSYS):
        return "the kernel has no user namespaces", "a kernel with CONFIG_USER_NS does"
    if host.is_filtered:
        return (
            "a seccomp filter forbids user namespaces: this is probably a container",
            "start the container with a filter that allows unshare and mount (--security-opt seccomp=…)",
        )
    return (
        "the kernel refuses user namespaces, though its settings allow them: this is probably a chroot",
        "enter the tree by a program that makes it the root of a mount namespace (bwrap --dev-bind TREE /, podman), "
        "not by chroot",
    )
