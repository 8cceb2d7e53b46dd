"""Makes the pack from which :mod:`spraycc.executor.start` starts an executor.

``python -m spraycc.executor.pack DIRECTORY KEY`` packs all modules that its process has imported: those of an
executor's start, and those that an executor imports later. It writes ``executor-KEY-HASH.pack`` into the directory,
tries the pack, and notes the packed files in ``executor-KEY.json``. KEY stands for the installation
(:mod:`spraycc.server.fleet.pack`), HASH for the contents.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import marshal
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader, SourceFileLoader

from spraycc import isolated
from spraycc.executor import start
from spraycc.executor.box import find_box
from spraycc.executor.recorder import find_recorder
from spraycc.system.compression import LATE_MODULES

#: Hexadecimal digits of a pack's hash in its name.
HASH_DIGITS = 24
_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
#: In the ELF header: e_phoff, e_phentsize, e_phnum. In a program header: p_type, p_offset, p_filesz.
_PROGRAM_HEADERS = struct.Struct("<32xQ14xHH")
_PROGRAM_HEADER = struct.Struct("<I4xQ16xQ")
_PT_LOAD = 1
#: e_shoff, e_shnum and e_shstrndx: offset and size.
_SECTION_HEADERS = ((40, 8), (60, 2), (62, 2))
#: A trial start takes a fifth of a second.
_CHECK_TIMEOUT_S = 60.0
#: Packs that no note names are kept for this long, because waiting batch jobs may name them. (Without its pack an
#: executor starts in the ordinary way.)
_KEEP_S = 7 * 24 * 3600.0


def make(directory: str, key: str) -> str:
    """Pack all modules that this process has imported; returns the pack's path.

    Raises:
        OSError: the pack can't be written.
        PackError: an executor does not start from the pack.
    """
    modules: dict[str, tuple[bool, str, int, int]] = {}
    code = bytearray()
    extensions: dict[str, str] = {}
    files: dict[str, bytes] = {}
    sources = []
    for name, module in sorted(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != name:  # the main program, or another name of a module
            continue
        loader = spec.loader
        if isinstance(loader, SourceFileLoader):
            packed = marshal.dumps(loader.get_code(name))
            modules[name] = (hasattr(module, "__path__"), loader.path, len(code), len(packed))
            code += packed
            sources.append(loader.path)
        elif isinstance(loader, ExtensionFileLoader) and not _is_pythons_own(loader.path):
            file_name = f"{name}.so"
            extensions[name] = file_name
            with open(loader.path, "rb") as file:
                files[file_name] = loaded_part(file.read())
            sources.append(loader.path)
    box, recorder = _box(), os.fsdecode(find_recorder() or b"")
    for binary in (box, recorder):
        if binary:
            with open(binary, "rb") as file:
                files[os.path.basename(binary)] = file.read()
            sources.append(binary)
    table = {
        "python": start.python_identity(),
        "path": [entry for entry in sys.path if os.path.isabs(entry)],
        "box": os.path.basename(box),
        "recorder": os.path.basename(recorder),
        "modules": modules,
        "extensions": extensions,
    }
    head = marshal.dumps(table)
    data = start.MAGIC + zlib.compress(marshal.dumps((len(head).to_bytes(8, "big") + head + code, files)))
    pack = os.path.join(directory, f"executor-{key}-{hashlib.sha256(data).hexdigest()[:HASH_DIGITS]}.pack")
    _write(pack, data)
    _check(pack)
    stamps = [(path, os.stat(path)) for path in sources]
    note = {"pack": os.path.basename(pack), "sources": [[path, s.st_size, s.st_mtime_ns] for path, s in stamps]}
    _write(os.path.join(directory, f"executor-{key}.json"), json.dumps(note).encode())
    _clear_away(directory)
    return pack


def _is_pythons_own(path: str) -> bool:
    """True for an extension of the interpreter itself, which may be linked to the interpreter's own libraries."""
    return path.startswith(os.path.join(os.path.dirname(os.__file__), "lib-dynload") + os.sep)


def loaded_part(binary: bytes) -> bytes:
    """An ELF file without the bytes that no loader reads: symbols and debug information, often most of an extension.

    The loader reads the program headers and the segments of type PT_LOAD (elf(5)); all other segments lie inside those.
    A file of another form stays as it is.
    """
    if binary[:6] != _ELF64_LITTLE_ENDIAN:
        return binary
    try:
        offset, size, count = _PROGRAM_HEADERS.unpack_from(binary)
        end = offset + size * count
        for number in range(count):
            kind, start, file_size = _PROGRAM_HEADER.unpack_from(binary, offset + number * size)
            if kind == _PT_LOAD:
                end = max(end, start + file_size)
    except struct.error:
        return binary
    if end > len(binary):
        return binary
    part = bytearray(binary[:end])
    for field, field_size in _SECTION_HEADERS:  # there are none any more
        part[field : field + field_size] = bytes(field_size)
    return bytes(part)


def _box() -> str:
    try:
        return os.fsdecode(find_box())
    except FileNotFoundError:
        return ""


def _write(path: str, data: bytes) -> None:
    descriptor, making = tempfile.mkstemp(prefix=".new-", dir=os.path.dirname(path))
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        os.replace(making, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(making)
        raise


def _check(pack: str) -> None:
    """Start an executor from the pack in a temporary directory. Only this finds a binary that needs another binary."""
    with tempfile.TemporaryDirectory(prefix="spraycc-pack-") as directory:
        argv = [sys.executable, *isolated.OPTIONS, "-S", start.__file__, "--unpack-in", directory, pack, "--check"]
        with _may_be_ended():
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CHECK_TIMEOUT_S, check=False
            )
    if done.returncode:
        with contextlib.suppress(OSError):
            os.unlink(pack)
        raise start.PackError(done.stderr.decode(errors="replace").strip()[-2000:])


@contextlib.contextmanager
def _may_be_ended() -> Iterator[None]:
    """Let SIGTERM end the process meanwhile. At other times it would leave a file or directory that is being made."""
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _clear_away(directory: str) -> None:
    named = set()
    for entry in os.listdir(directory):
        if entry.endswith(".json"):
            with contextlib.suppress(OSError, ValueError, KeyError), open(os.path.join(directory, entry)) as file:
                named.add(json.load(file)["pack"])
    for entry in os.listdir(directory):
        path = os.path.join(directory, entry)
        if (entry.endswith(".pack") or entry.startswith(".new-")) and entry not in named:
            with contextlib.suppress(OSError):
                if os.stat(path).st_mtime < time.time() - _KEEP_S:
                    os.unlink(path)


def main(arguments: list[str]) -> int:
    """Make a pack of the whole executor, and print the pack's path."""
    import spraycc.executor.main  # noqa: F401 - so that all modules of an executor are imported

    for name in LATE_MODULES:
        with contextlib.suppress(Exception):  # an executor also works without it
            importlib.import_module(name)

    # The server may end meanwhile. Then the trial ends, and its temporary directory is removed.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    directory, key = arguments
    print(make(directory, key))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
