"""The table of mounts, and which file systems count as shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from spraycc.system.filesystems import FileSystems, mounts

TABLE = (
    b"22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"
    b"27 1 254:0 /sub / rw - ext4 /dev/vda rw\n"
    b"30 27 0:9 / /mnt/a\\040b\\134c rw master:1 propagate_from:2 - nfs4 server:/x rw\n"
)


def test_mount_points_are_unescaped() -> None:
    assert mounts(TABLE) == {b"/proc": b"proc", b"/": b"ext4", b"/mnt/a b\\c": b"nfs4"}


def test_the_last_of_two_mounts_on_one_point_counts() -> None:
    again = TABLE + b"31 30 0:12 / /mnt/a\\040b\\134c rw - tmpfs tmpfs rw\n"
    assert mounts(again)[b"/mnt/a b\\c"] == b"tmpfs"


@pytest.mark.parametrize(
    ("kind", "is_shared", "names_follow"),
    [
        ("ext4", False, True),
        ("tmpfs", False, True),
        ("nfs", True, True),
        ("nfs4", True, True),
        ("lustre", True, True),
        ("fuse.sshfs", True, False),
        ("new-one", True, False),
    ],
)
def test_which_types_are_shared(tmp_path: Path, kind: str, is_shared: bool, names_follow: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"27 1 254:0 / / rw - ext4 /dev/vda rw\n28 27 0:9 / {tmp_path.resolve()} rw - {kind} source rw\n")
    systems = FileSystems(str(table))
    below = bytes(tmp_path / "missing" / "as well")
    assert systems.is_shared(below) is is_shared
    assert systems.names_follow_directory(below) is names_follow
    table.unlink()  # the answer is remembered for the device
    assert systems.is_shared(bytes(tmp_path)) is is_shared
