"""The proof: the files that a command read and the names that were missing, with the stamps that this host saw. Pure.

The server has told this executor stamps of the submit host, each with a number. For a lookup with the told stamp, the
proof has only the number. For every other lookup, the proof has the lookup and its stamp. The server compares both with
the state that the submit host sees at the end (docs/explanation/nfs.md).

A compiler looks for each header in directory after directory, so most lookups find nothing. The missing names of a
directory need not be listed if the directory's stamp for NAMES is the told stamp both before the command (the fence
checks that) and after it. Then no name in the directory has changed on this host meanwhile. This holds for file systems
whose client drops cached names when it sees that the directory has changed, such as NFS. FUSE keeps each name for its
own time. The server does not tell stamps of directories in which the build keeps making files, because these stamps
change with each file. In directories without a told stamp the missing names are listed.

On its own disks each host has another inode and other times for the same file. So a file there is compared by its
contents if the command had them (CONTENTS), and otherwise only by its existence (EXISTS). A name that is missing on
this host counts as well: the submit host may have the file. In the system's own directories programs look for many
files that change nothing: catalogues of messages, libraries, each program of PATH. A lookup by which the command had no
contents counts in such a directory only if the command compiles or has failed.

A file's state may be equal on both hosts although only one of them lets the user read the file: the user may have other
groups there. So a denied call has a lookup of its own (PERMISSIONS), which is compared everywhere.

A program that lists a directory sees the overlay's directory, whose stamp is not the file server's. So such a read
counts only if the server has told the directory's stamp, and the stamp holds before and after the command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spraycc.stamps import FILE, LINK, MISSING, NAMES, Lookup, Stamp


@dataclass(frozen=True, slots=True)
class ToldStamp:
    """A stamp of the submit host, as the server told it."""

    number: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer to the server: lookups by number, and the others with their stamps."""

    #: the numbers of the lookups whose stamp was the told stamp: a bit set, little endian
    matched: bytes
    #: all other lookups that must be compared, with the stamps of this host
    others: tuple[tuple[Lookup, Stamp], ...]


def prove(
    reads: Iterable[tuple[Lookup, Stamp]],
    told: dict[Lookup, ToldStamp],
    is_compared: Callable[[bytes], bool],
    on_own_disk: Callable[[Lookup, Stamp], tuple[Lookup, Stamp] | None],
    names_follow_directory: Callable[[bytes], bool],
    look: Callable[[Lookup], Stamp],
) -> Proof:
    """Work out the proof of a command that has just ended.

    Args:
        reads: each lookup of the command once, with the stamp of the first time. The command's products are left out.
        told: the told stamps, by lookup.
        is_compared: whether the files in a directory (absolute path) must be the submit host's.
        on_own_disk: the lookup and stamp to compare for a lookup in another directory; None if it means nothing.
        names_follow_directory: whether no cached name in a directory is older than the cached directory itself.
        look: this host's cached stamp now; called for NAMES of directories only.
    """
    matched: set[int] = set()
    others: list[tuple[Lookup, Stamp]] = []
    missing: dict[bytes, list[Lookup]] = {}
    compared: dict[bytes, bool] = {}
    for lookup, stamp in reads:
        known = told.get(lookup)
        if known is not None and known.stamp == (look(lookup) if lookup[:1] == NAMES else stamp):
            matched.add(known.number)
            continue
        directory = directory_of(lookup)
        relevant = compared.get(directory)
        if relevant is None:
            relevant = compared[directory] = is_compared(directory)
        if not relevant:
            own = on_own_disk(lookup, stamp)
            if own is not None:
                known = told.get(own[0])
                if known is not None and known.stamp == own[1]:
                    matched.add(known.number)
                else:
                    others.append(own)
            continue
        if stamp == MISSING and lookup[:1] in (FILE, LINK) and known is None:
            missing.setdefault(directory, []).append(lookup)
        else:
            others.append((lookup, stamp))
    for directory, lookups in missing.items():
        names = NAMES + directory
        known = told.get(names)
        if known is not None and names_follow_directory(directory) and look(names) == known.stamp:
            matched.add(known.number)
        else:
            others += [(lookup, MISSING) for lookup in lookups]
    return Proof(bit_set(matched), tuple(others))


def directory_of(lookup: Lookup) -> bytes:
    """The directory in which the lookup finds its name; for NAMES the directory itself."""
    return lookup[1:] if lookup[:1] == NAMES else os.path.dirname(lookup[1:])


def bit_set(numbers: set[int]) -> bytes:
    """The numbers as bits of bytes, little endian, as short as possible."""
    bits = bytearray(max(numbers) // 8 + 1 if numbers else 0)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)
