"""The context of a process: what decides which file a path means, and whether this user may read the file.

A server serves only commands of its own context. The same path may mean another file in a container, and a server that
was started before the user joined a group can't read the group's files. So the context is a part of the server's name
(:mod:`spraycc.runtime_dir`), and each runner sends its own context with its command (spraycc/native/runner/context.c
writes the same text).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Namespaces (namespaces(7)): a path's meaning (mnt), the ids of users and files (user), the ids of processes (pid),
#: and the addresses at which executors reach a server (net).
_NAMESPACES = ("mnt", "user", "pid", "net")
#: Lines of /proc/self/status (proc_pid_status(5)): a tracer may change paths (proot), a capability may overrule a mode,
#: and a process that gets no new privileges can't run setuid programs.
_STATUS = (b"TracerPid", b"CapEff", b"NoNewPrivs", b"Seccomp", b"Seccomp_filters")
#: field of the text -> what the user reads if two processes differ in it
_WORDS = {
    "mnt": "in another mount namespace",
    "user": "in another user namespace",
    "pid": "in another process namespace",
    "net": "in another network namespace",
    "root": "in another root directory",
    "uid": "as another user",
    "gid": "with another group",
    "groups": "with other supplementary groups",
    "cwd": "in a directory to which its path does not lead",
    "server": "in a sandbox that hides the server",
    "TracerPid": "under another tracer",
    "CapEff": "with other capabilities",
    "NoNewPrivs": "without the privileges of setuid programs",
    "Seccomp": "under another system call filter",
    "Seccomp_filters": "under more or fewer system call filters",
}
#: Variables of preloaded libraries that replace paths: fakechroot(1), and libredirect of Nixpkgs.
_REDIRECTING = (b"FAKECHROOT_BASE", b"NIX_REDIRECTS")


def of_this_process() -> str:
    """The context as text: ``name:value`` for each part, separated by blanks. Parts without /proc are empty.

    A runner adds ``cwd:hidden`` if its working directory's path leads to another directory or to none: a mount covers
    the directory, or the user may not pass through a directory above it. It adds ``server:hidden`` if the kernel does
    not let it look at the server's files: it is in a Landlock sandbox (landlock(7)), and the server is not.
    """
    root = os.stat("/")
    parts = [f"{name}:{_namespace(name)}" for name in _NAMESPACES]
    parts += [f"root:{root.st_dev}/{root.st_ino}/{_mount_of_root()}", f"uid:{os.geteuid()}", f"gid:{os.getegid()}"]
    parts.append("groups:" + ",".join(map(str, sorted(set(os.getgroups())))))
    status = _fields_of("/proc/self/status")
    parts += [f"{name.decode()}:{status.get(name, b'').decode()}" for name in _STATUS]
    return " ".join(parts)


def difference(one: str, other: str) -> str:
    """The first difference between two contexts, in words; empty if they are equal."""
    if one == other:
        return ""
    ours, theirs = _fields(one), _fields(other)
    return next((words for name, words in _WORDS.items() if ours.get(name) != theirs.get(name)), "in another context")


def hides(pid: int) -> bool:
    """True if this process is in a Landlock sandbox, and the process ``pid`` is not: the kernel denies a look at it."""
    try:
        os.readlink(f"/proc/{pid}/root")
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def of_preloaded(env: Mapping[bytes, bytes]) -> str:
    """In words, the other root that a preloaded library shows to a command; empty without one."""
    return next((f"with other files ({name.decode()})" for name in _REDIRECTING if env.get(name)), "")


def _namespace(name: str) -> str:
    try:
        return str(os.stat(f"/proc/self/ns/{name}").st_ino)
    except OSError:
        return ""


def _mount_of_root() -> str:
    """The root's mount. A chroot to a bind mount of ``/`` has the same directory, and none of the mounts in it."""
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        return _fields_of(f"/proc/self/fdinfo/{fd}").get(b"mnt_id", b"").decode()
    finally:
        os.close(fd)


def _fields_of(path: str) -> dict[bytes, bytes]:
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(65536) or b""
    except OSError:
        return {}
    fields = (line.partition(b":") for line in text.split(b"\n"))
    return {name: value.strip() for name, _, value in fields}


def _fields(context: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition(":") for part in context.split(" "))}
