"""Imports point down only, and pure packages stay pure: read from the source, nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "spraycc"

VALUES = {"spraycc", "spraycc.errors", "spraycc.model", "spraycc.settings", "spraycc.stamps"}
PURE = {"spraycc.wire", "spraycc.commands", "spraycc.scheduler", "spraycc.cluster"}
#: of spraycc.jobserver only this one does IO
FIFO = "spraycc.jobserver.fifo"
IMPURE_MODULES = {"trio", "time", "random", "secrets", "logging", "subprocess", "socket", "asyncio", "threading"}

#: modules that server and executor share
SHARED = {
    "spraycc.allocator",
    "spraycc.file_cache",
    "spraycc.filesystems",
    "spraycc.landmarks",
    "spraycc.signals",
    "spraycc.stamps",
    "spraycc.threads",
    "spraycc.tls",
    "spraycc.toolchain",
}

#: package -> packages of ours that it may import, beside itself and the values
ALLOWED = {
    "spraycc.wire": set(),
    "spraycc.commands": set(),
    "spraycc.scheduler": set(),
    "spraycc.cluster": set(),
    "spraycc.jobserver": set(),
    "spraycc.server": {*PURE, "spraycc.jobserver", *SHARED, "spraycc.runtime_dir", "spraycc.history"},
    "spraycc.executor": {"spraycc.wire", *SHARED},
    **{module: set() for module in sorted(SHARED)},
    "spraycc.config": set(),
    "spraycc.history": set(),
    "spraycc.runner": set(),
    "spraycc.ui": {"spraycc.wire"},
}
#: what hundreds of executors must not read over NFS at once
HEAVY = {"pydantic", "rich", "click", "cryptography", "platformdirs"}


def modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names.add(node.module)
    return names


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_point_down(module: str, path: Path) -> None:
    package = package_of(module)
    ours = {name for name in imports_of(path) if name == "spraycc" or name.startswith("spraycc.")}
    if module in VALUES:
        assert ours <= VALUES
    elif package in ALLOWED:
        for name in ours - VALUES:
            assert package_of(name) == package or package_of(name) in ALLOWED[package], f"{module} imports {name}"


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_pure_packages_know_no_world(module: str, path: Path) -> None:
    package = package_of(module)
    pure = (
        package in PURE
        or module in ("spraycc.history.estimates", "spraycc.server.coherence.view")
        or (package == "spraycc.jobserver" and module != FIFO)
        or module in VALUES
    )
    if pure:
        assert not {name.split(".")[0] for name in imports_of(path)} & IMPURE_MODULES


def test_the_executor_imports_nothing_heavy() -> None:
    for module, path in modules():
        if package_of(module) in ("spraycc.executor", "spraycc.wire") or module in VALUES:
            assert not {name.split(".")[0] for name in imports_of(path)} & HEAVY, module


def test_the_walk_finds_the_modules() -> None:
    names = {module for module, _ in modules()}
    assert {"spraycc.wire.framing", "spraycc.server.app", "spraycc.model"} <= names
