"""Imports point up the list of rooms only, and pure packages stay pure. The tests read the source and import nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "spraycc"

#: Each room, and the rooms that it may import beside itself. A room is a package, or a module that stands alone. It may
#: import only rooms above it in this list. All rooms may import VALUES.
VALUES = {
    "spraycc",
    "spraycc.allocation",
    "spraycc.build_tools",
    "spraycc.errors",
    "spraycc.isolated",
    "spraycc.kept_variables",
    "spraycc.model",
    "spraycc.notices",
    "spraycc.settings",
    "spraycc.stamps",
    "spraycc.status_reply",
}
SERVER = "spraycc.server."
ROOMS: dict[str, set[str]] = {
    **dict.fromkeys(sorted(VALUES), VALUES),
    # pure
    "spraycc.wire": set(),
    "spraycc.commands": set(),
    "spraycc.scheduler": set(),
    "spraycc.cluster": set(),
    "spraycc.jobserver": set(),
    "spraycc.records": set(),
    "spraycc.directories": {"spraycc.jobserver"},
    "spraycc.config": {"spraycc.directories"},
    # the operating system, for server and executor
    "spraycc.system": set(),
    "spraycc.landmarks": set(),
    "spraycc.history": set(),
    "spraycc.context": set(),
    "spraycc.runtime_dir": {"spraycc.context", "spraycc.directories"},
    "spraycc.leftovers": {"spraycc.directories", "spraycc.runtime_dir"},
    "spraycc.workspace": {"spraycc.config", "spraycc.directories"},
    "spraycc.runner_files": {"spraycc.commands", "spraycc.directories", "spraycc.system"},
    "spraycc.shims": {"spraycc.commands", "spraycc.runner_files"},
    "spraycc.runner": set(),
    "spraycc.executor": {"spraycc.wire", "spraycc.system"},
    # the server, from the bottom up
    SERVER + "host": {"spraycc.system", "spraycc.cluster", "spraycc.wire"},
    SERVER + "coherence": {"spraycc.system", SERVER + "host"},
    SERVER + "tasks": {
        "spraycc.commands", "spraycc.history", "spraycc.jobserver", "spraycc.records", "spraycc.system", "spraycc.wire",
        SERVER + "host", SERVER + "coherence",
    },
    SERVER + "writeback": {"spraycc.system", "spraycc.wire", SERVER + "host"},
    SERVER + "builds": {
        "spraycc.commands", "spraycc.jobserver", "spraycc.records", "spraycc.system", "spraycc.wire",
        SERVER + "host", SERVER + "tasks",
    },
    SERVER + "task_table": {
        "spraycc.scheduler", *(SERVER + room for room in ("host", "coherence", "tasks", "writeback", "builds")),
    },
    SERVER + "fleet": {
        "spraycc.cluster", "spraycc.landmarks", "spraycc.scheduler", "spraycc.system", "spraycc.wire",
        *(SERVER + room for room in ("host", "coherence", "tasks", "writeback")),
    },
    SERVER + "dispatcher": {
        "spraycc.records", "spraycc.scheduler", "spraycc.system",
        *(SERVER + room for room in ("host", "tasks", "builds", "task_table", "fleet")),
    },
    SERVER + "status": {"spraycc.scheduler", *(SERVER + room for room in ("tasks", "builds", "dispatcher"))},
    SERVER + "lifetime": {"spraycc.system", SERVER + "dispatcher"},
    SERVER + "frontend": {
        "spraycc.commands", "spraycc.context", "spraycc.scheduler", "spraycc.wire",
        *(SERVER + room for room in ("host", "tasks", "builds", "task_table", "dispatcher", "lifetime")),
    },
    SERVER + "server": {
        "spraycc.directories", "spraycc.leftovers", "spraycc.system",
        *(SERVER + room for room in ("host", "tasks", "builds", "task_table", "dispatcher", "status", "lifetime", "frontend")),
    },
    SERVER + "__main__": {"spraycc.directories", "spraycc.system", SERVER + "host", SERVER + "server"},
    "spraycc.ui": {"spraycc.records", "spraycc.wire"},
    "spraycc.cli": {
        "spraycc.cluster", "spraycc.commands", "spraycc.config", "spraycc.directories", "spraycc.executor",
        "spraycc.history", "spraycc.jobserver", "spraycc.leftovers", "spraycc.records",
        "spraycc.runner_files", "spraycc.runtime_dir", "spraycc.shims", "spraycc.system", "spraycc.ui", "spraycc.wire", "spraycc.workspace",
        SERVER + "fleet",
    },
}  # fmt: skip
PURE = {"spraycc.wire", "spraycc.commands", "spraycc.scheduler", "spraycc.cluster", "spraycc.records"}
#: the only module of spraycc.jobserver that does I/O
FIFO = "spraycc.jobserver.fifo"
IMPURE_MODULES = {"trio", "time", "random", "secrets", "logging", "subprocess", "socket", "asyncio", "threading"}
#: large libraries: hundreds of executors must not read them over NFS at once
LARGE_LIBRARIES = {"pydantic", "rich", "click", "cryptography"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports: for ``from package import name`` the module of that name, if there is one."""
    known = {module for module, _ in modules()}
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names |= found or {node.module}
    return names


def room_of(module: str) -> str:
    """The room that a module is in."""
    parts = module.split(".")
    if module in ("spraycc", "spraycc.server"):
        return module
    return ".".join(parts[:3] if parts[1] == "server" else parts[:2])


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_down(module: str, path: Path) -> None:
    if module == "spraycc.server":
        assert not imports_of(path) - {"__future__"}
        return
    room = room_of(module)
    assert room in ROOMS, f"{module} is in no room"
    ours = {name for name in imports_of(path) if name.split(".")[0] == "spraycc"}
    for name in ours:
        assert room_of(name) in {room, *VALUES, *ROOMS[room]}, f"{module} imports {name}"


def test_rooms_import_only_rooms_above_them() -> None:
    order = list(ROOMS)
    for room, below in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in below - VALUES), room


def test_each_room_says_what_lives_in_it() -> None:
    for module, path in modules():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), module


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_pure_packages_know_no_world(module: str, path: Path) -> None:
    package = room_of(module)
    pure = (
        package in PURE
        or module in ("spraycc.history.estimates", "spraycc.server.coherence.view")
        or (package == "spraycc.jobserver" and module != FIFO)
        or module in VALUES
    )
    if pure:
        assert not {name.split(".")[0] for name in imports_of(path)} & IMPURE_MODULES


def test_the_executor_imports_no_large_library() -> None:
    for module, path in modules():
        if room_of(module) in ("spraycc.executor", "spraycc.wire") or module in VALUES:
            assert not {name.split(".")[0] for name in imports_of(path)} & LARGE_LIBRARIES, module


def test_the_walk_finds_the_modules() -> None:
    names = {module for module, _ in modules()}
    assert {"spraycc.wire.framing", "spraycc.server.server", "spraycc.model"} <= names
