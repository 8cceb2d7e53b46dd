"""Which lookups on a host's own disks count, and what is compared of them."""

from __future__ import annotations

import errno

import pytest

from spraycc.executor.own_disk import OwnDisk
from spraycc.stamps import (
    CONTENTS,
    DENIED,
    EXISTS,
    LAYOUT,
    MISSING,
    Lookup,
    Stamp,
    of_contents,
    of_error,
    of_existence,
)
from spraycc.system.file_contents import FileContents

FILE_NOW = LAYOUT.pack(1, 5, 12, 100, 200)
LINK_NOW = LAYOUT.pack(4, 6, 3, 100, 200)
TEXT = of_contents(12, b"d" * 24)


class Contents(FileContents):
    """All files have the same contents."""

    def known(self, path: bytes, state: Stamp) -> Stamp | None:
        return TEXT


def compared(
    lookup: Lookup, stamp: Stamp, *, opened: bool = False, failed: bool = False, compiles: bool = False
) -> tuple[Lookup, Stamp] | None:
    own = OwnDisk(
        Contents(), lambda path: path, frozenset([lookup] if opened else []), failed=failed, compiles=compiles
    )
    return own.compared(lookup, stamp)


@pytest.mark.parametrize("path", [b"/usr/include/a.h", b"/usr/lib/x/specs", b"/opt/x/libx.a", b"/var/lib/x/a.h"])
def test_a_file_that_was_opened_is_compared_by_its_contents(path: bytes) -> None:
    assert compared(b"f" + path, FILE_NOW, opened=True) == (CONTENTS + path, TEXT)


@pytest.mark.parametrize("path", [b"/etc/passwd", b"/run/x", b"/var/log/x"])
def test_each_host_has_its_own_configuration(path: bytes) -> None:
    for failed in (False, True):
        for compiles in (False, True):
            assert compared(b"f" + path, FILE_NOW, opened=True, failed=failed, compiles=compiles) is None


def test_a_file_that_was_only_examined_must_exist() -> None:
    for path in (b"/usr/include/a.h", b"/opt/x/a.h"):
        assert compared(b"f" + path, FILE_NOW) == (EXISTS + path, of_existence(FILE_NOW))
        assert compared(b"f" + path, MISSING) == (EXISTS + path, MISSING)
        assert compared(b"l" + path, MISSING) == (EXISTS + path, MISSING)
        assert compared(b"l" + path, LINK_NOW) is None


@pytest.mark.parametrize("path", [b"/usr/lib/gcc/specs", b"/usr/bin/as", b"/usr/share/x"])
@pytest.mark.parametrize("stamp", [MISSING, FILE_NOW], ids=["missing", "there"])
def test_in_the_system_s_directories_only_a_compiler_s_lookups_count_or_those_of_a_failure(
    path: bytes, stamp: Stamp
) -> None:
    wanted = (EXISTS + path, of_existence(stamp))
    assert compared(b"f" + path, stamp) is None
    assert compared(b"f" + path, stamp, compiles=True) == wanted
    assert compared(b"f" + path, stamp, failed=True) == wanted


def test_failures_keep_their_errno() -> None:
    broken = of_error(errno.EIO)
    assert compared(b"f/opt/a.h", broken, opened=True) == (b"f/opt/a.h", broken)
    assert compared(b"r/opt/a.h", DENIED) == (b"r/opt/a.h", DENIED)
    assert compared(b"f/usr/bin/x", of_error(errno.EACCES)) is None
