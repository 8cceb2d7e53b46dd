"""The recorder wraps each function of the C library that takes a path, or this test has a reason for the exception."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.system.executor import recording
from tests.system.executor.recording import exported

library = recording.library

pytestmark = pytest.mark.needs("cc", package="gcc")

#: Functions of other headers take no path.
HEADERS = (
    "dirent dlfcn fcntl fts ftw glob libintl mntent mqueue nl_types pty semaphore spawn stdio stdlib sys/acct sys/fanotify sys/inotify "
    "sys/ipc sys/mman sys/mount sys/quota sys/stat sys/statfs sys/statvfs sys/swap sys/time sys/xattr ttyent unistd utime utmp utmpx "
    "wordexp"
)
#: glibc's names for parameters that are paths.
PATHS = (
    "cat_name dir dirname file filename from from_pathname name new old path pathname pattern special special_file template to "
    "to_pathname tty words wtmp_file wtmpx_file"
)
NOT_WRAPPED = {
    "the argument is no path": "dlsym dlvsym fgetxattr fremovexattr fsetxattr getdomainname getenv gethostname getlogin_r glob_pattern_p memfd_create "
    "secure_getenv setdomainname setenv sethostname setlogin unsetenv",
    "the kernel's objects, of which the library makes the path": "mq_open mq_unlink openpty forkpty",
    "loaded_objects.c notes what the loader has added": "dlopen dlmopen",
    "a new name for a file of the command": "mktemp tempnam",
    "messages in the user's language": "bindtextdomain catopen",
    "for root: accounts, swap, quotas, mounts": "acct swapon swapoff quotactl revoke fspick mount_setattr fanotify_mark utmpname "
    "utmpxname updwtmp updwtmpx getttynam",
}


def functions_with_paths() -> set[str]:
    source = "".join(f"#if __has_include(<{name}.h>)\n#include <{name}.h>\n#endif\n" for name in HEADERS.split())
    command = ["cc", "-D_GNU_SOURCE", "-E", "-P", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    path = re.compile(rf"\bchar \*(?: ?__restrict)?(?: ?const \*)? ?__(?:{PATHS.replace(' ', '|')})\b")
    declarations = re.finditer(r"\b(\w+) ?\(((?:[^()]|\([^()]*\))*)\)[^;{}()]*(?:\(.*?\))*;", " ".join(text.split()))
    return {found[1] for found in declarations if path.search(found[2])}


def test_no_function_that_takes_a_path_is_forgotten(library: Path) -> None:
    functions = functions_with_paths()
    assert {"open", "stat", "rename", "execve", "utimensat", "posix_spawn_file_actions_addopen"} <= functions
    assert functions - exported(library) - set(" ".join(NOT_WRAPPED.values()).split()) == set()
