"""Starts an executor from a pack: ``python -E -P -S start.py [--unpack-in DIRECTORY] PACK EXECUTOR'S ARGUMENTS``.

Hundreds of executors start at once, and each would open some 140 files of the installation over NFS. The *pack*
(:mod:`spraycc.executor.pack` makes it) is one file with the code of every module that an executor imports and the
binaries that it needs. The first executor on a host copies it to the local disk; all others read it there.

After any failure (another Python, a damaged or foreign copy, no local disk) the executor starts in the ordinary way.
So this file imports no other module of SprayCC, and mostly modules that Python has loaded already.
"""

from __future__ import annotations

# The enumerations of signal are not needed yet, and cost milliseconds.
import _signal  # type: ignore[import-not-found]
import contextlib
import gc
import marshal
import os
import stat
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

#: First bytes of a pack; a change of the layout changes them.
MAGIC = b"spraycc pack 1\n"
#: The file of the local copy that has all but the binaries: the size of a table (8 bytes, big endian), the table, and
#: the code to which the table points. Each executor that uses the copy holds a shared lock on this file.
MODULES = "modules"
#: Directories on a host's own disk. Not TMPDIR: a batch job's own TMPDIR is removed at the job's end.
_LOCAL = ("/var/tmp", "/tmp", "/dev/shm")
#: A copy that was unused for this long is removed when another copy is made.
_UNUSED_S = 24 * 3600.0
#: The variables by which the executor finds the box and the recorder.
_VARIABLES = {"box": "SPRAYCC_BOX", "recorder": "SPRAYCC_RECORDER"}


class PackError(Exception):
    """The pack, or a copy of it, can't be used on this host."""


class _OtherPython(PackError):
    """The pack is valid, but made for another Python."""


class PackedModules:
    """Finds and loads the pack's modules (importlib's finder and loader).

    A package's path is that of its installation: Python finds modules outside the pack there, at the usual cost.
    """

    def __init__(self, table: dict[str, Any], file: int, begin: int, directory: str) -> None:
        """``table`` has the place of each module's code in ``file``, from ``begin`` on. No code stays in memory."""
        #: name -> (is a package, where it is installed, offset, size)
        self._modules: dict[str, tuple[bool, str, int, int]] = table["modules"]
        self._extensions: dict[str, str] = table["extensions"]
        self._file = file
        self._begin = begin
        self._directory = directory

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = self._modules.get(name)
        if found is not None:
            is_package, origin, _, _ = found
            spec = ModuleSpec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]
            spec.has_location = True
            if is_package:
                spec.submodule_search_locations = [os.path.dirname(origin)]
            return spec
        file = self._extensions.get(name)
        if file is None:
            return None
        local = os.path.join(self._directory, file)
        spec = ModuleSpec(name, ExtensionFileLoader(name, local), origin=local)
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        _, _, offset, size = self._modules[module.__name__]
        exec(marshal.loads(os.pread(self._file, size, self._begin + offset)), module.__dict__)


def main(arguments: list[str]) -> None:
    """Start the executor from its pack, else in the ordinary way. Returns only after ``--check``."""
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # the first signal of LSF's cancel; no traceback is needed
    if os.environ.pop("PYTHONEXECUTABLE", None) is not None:  # see spraycc/isolated.py
        os.execvp(sys.orig_argv[0], sys.orig_argv)
    wanted = ""
    if arguments[:1] == ["--unpack-in"]:
        wanted = arguments[1]
        arguments = arguments[2:]
    pack, *rest = arguments
    try:
        run_and_exit = load(local_copy(pack, (wanted, *_LOCAL) if wanted else _LOCAL))
    except Exception as exc:
        if rest == ["--check"]:
            raise
        sys.stderr.write(f"spraycc executor: not started from {pack}: {type(exc).__name__}: {exc}\n")
        sys.stderr.flush()
        isolated = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "isolated.py")
        os.execv(sys.executable, [sys.executable, "-E", "-P", isolated, "-m", "spraycc.executor", *rest])
    if rest != ["--check"]:
        sys.argv[1:] = rest
        run_and_exit()


def python_identity() -> str:
    """Identifies the Python and the machine for which a pack is made."""
    return f"{sys.version}|{sys.implementation.cache_tag}|{sys.platform}|{os.uname().machine}"


def load(copy: tuple[str, int]) -> Any:
    """Make the modules of :func:`local_copy` importable, and import the executor; returns its entry point.

    Raises:
        PackError: the copy is for another Python, or damaged.
    """
    directory, file = copy
    try:
        size = int.from_bytes(os.pread(file, 8, 0), "big")
        table = marshal.loads(os.pread(file, size, 8))
        binaries = {kind: os.path.join(directory, table[kind]) for kind in _VARIABLES if table.get(kind)}
        if table["python"] != python_identity():
            raise _OtherPython(f"made for another Python: {table['python']}")
        for path in binaries.values():
            if not os.access(path, os.X_OK):
                raise PackError(f"{path} is missing")
        run_and_exit = _import_from(PackedModules(table, file, 8 + size, directory), table["path"])
    except _OtherPython:
        raise
    except Exception as exc:
        _remove_unused(directory, file)  # the next executor copies it again
        raise PackError(f"{directory}: {type(exc).__name__}: {exc}") from exc
    if directory.startswith("/dev/shm/"):
        binaries.pop("recorder", None)  # the box gives commands a /dev/shm of their own
    for kind, path in binaries.items():
        os.environ.setdefault(_VARIABLES[kind], path)
    return run_and_exit


def _import_from(modules: PackedModules, further_path: list[str]) -> Any:
    sys.meta_path.insert(0, modules)
    sys.path += [entry for entry in further_path if entry not in sys.path]
    gc.disable()  # imports make nearly no garbage, and the collector would take a tenth of the time
    try:
        from spraycc.executor.main import run_and_exit
    finally:
        gc.enable()
    gc.freeze()
    return run_and_exit


def local_copy(pack: str, bases: Sequence[str]) -> tuple[str, int]:
    """This host's copy, made if missing: its directory, and its open file ``MODULES``, whose lock prevents removal.

    Raises:
        PackError: there is no copy, and none can be made; the text says why.
        OSError: the pack can't be read.
    """
    name = os.path.basename(pack).removesuffix(".pack").rpartition("-")[2]
    reasons = []
    for base in bases:
        try:
            parent = _private_directory(os.path.join(base, f"spraycc-packs-{os.geteuid()}"))
            directory = os.path.join(parent, name)
            if not os.path.lexists(directory):
                _unpack(pack, name, parent)
            return directory, _open_copy(directory)
        except (PackError, OSError) as exc:
            reasons.append(f"{base}: {exc}")
    raise PackError("; ".join(reasons))


def _private_directory(path: str) -> str:
    """``path``, made if missing: a directory that is ours, is closed to other users, and allows execution."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PackError(f"{path} is not a directory of ours alone")
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        raise PackError(f"{path}: nothing there can be executed")
    return path


def _open_copy(directory: str) -> int:
    """``MODULES`` of the copy, with a shared lock on it."""
    import fcntl

    # Never 0 to 2, which are the commands'.
    descriptor = os.open(os.path.join(directory, MODULES), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    locked = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    fcntl.flock(locked, fcntl.LOCK_SH)
    status = os.fstat(locked)
    if status.st_nlink == 0 or status.st_uid != os.geteuid():
        os.close(locked)
        raise PackError(f"{directory} is being removed")
    os.utime(locked)
    return locked


def _unpack(pack: str, name: str, parent: str) -> None:
    """Copy the pack to ``parent/name``. If several executors do so at once, the first copy stays."""
    import hashlib
    import tempfile
    import zlib

    descriptor = os.open(pack, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PackError(f"{pack}: not a file of ours alone")
        data = file.read()
    if not data.startswith(MAGIC) or hashlib.sha256(data).hexdigest()[: len(name)] != name:
        raise PackError(f"{pack}: damaged, or of another layout")
    modules, files = marshal.loads(zlib.decompress(memoryview(data)[len(MAGIC) :]))
    _clear_away(parent, name)
    making = tempfile.mkdtemp(prefix=".new-", dir=parent)
    try:
        for file_name, content, mode in ((MODULES, modules, 0o600), *((n, c, 0o700) for n, c in files.items())):
            target = os.open(os.path.join(making, file_name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with open(target, "wb") as file:
                file.write(content)
        try:
            os.rename(making, os.path.join(parent, name))
        except OSError:
            if not os.path.isdir(os.path.join(parent, name)):  # else another executor was faster
                raise
    finally:
        _remove(making)


def _clear_away(parent: str, name: str) -> None:
    """Remove copies of other packs that are neither in use nor were used lately."""
    import time

    oldest = time.time() - _UNUSED_S
    for entry in os.listdir(parent):
        directory = os.path.join(parent, entry)
        try:
            if entry.startswith("."):  # left by a killed executor
                if os.lstat(directory).st_mtime < oldest:
                    _remove(directory)
                continue
            if entry == name:
                continue
            descriptor = os.open(os.path.join(directory, MODULES), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_mtime < oldest:
                    _remove_unused(directory, descriptor)
            finally:
                os.close(descriptor)
        except OSError:  # in use, or gone
            continue


def _remove_unused(directory: str, file: int) -> None:
    """Remove a copy, whose ``MODULES`` is open as ``file``, unless another executor runs from it."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    _remove(directory)


def _remove(directory: str) -> None:
    """Remove a directory of plain files, which may be gone already."""
    try:
        for entry in os.listdir(directory):
            os.unlink(os.path.join(directory, entry))
        os.rmdir(directory)
    except OSError:
        pass


if __name__ == "__main__":
    main(sys.argv[1:])
