"""The keys of the configuration, from :class:`~spraycc.settings.Settings`: types, limits, help texts, similar names.

This module does not import pydantic, so a build without any configuration does not pay for it.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from typing import Any

from spraycc.settings import Form, Settings

#: First part of the names of our environment variables.
PREFIX = "SPRAYCC_"
#: Variables with the prefix that are no settings. They belong to a build, the installation or the helper scripts.
RESERVED_VARIABLES = frozenset(
    PREFIX + name
    for name in (
        *("SOCKET", "BUILD", "SHIMS", "SLOT", "EXEC", "PROGRAM", "RUNNER", "RUNTIME_DIR", "BOX", "RECORDER"),
        *("LOG_LEVEL", "UPSTREAM_CACHE", "VERSION", "PYTHONEXECUTABLE"),
    )
)
#: The word for None, which TOML does not have. _NONE_WORDS has the keys with another word.
_AUTO = "auto"
_NONE_WORDS = {"summary": "none"}

_FIELDS = [field for field in dataclasses.fields(Settings) if "help" in field.metadata]
KEYS: tuple[str, ...] = tuple(field.name for field in _FIELDS)
DEFAULTS: dict[str, Any] = {field.name: field.default for field in _FIELDS}
HELP: dict[str, str] = {field.name: field.metadata["help"] for field in _FIELDS}

#: The groups of the settings in ``--help`` and in every list of them: title -> keys. Each setting is in one group.
GROUPS: dict[str, tuple[str, ...]] = {
    "build": (
        "wait_for_cluster", "pending_grace_s", "max_attempts", "fall_back_limit",
        "intercept", "intercept_below", "wrap", "wrap_shell",
        "tools_like_gcc", "tools_like_clang", "tools_overlay_only",
        "policy_remote", "policy_here_heavy", "policy_here_light", "kept_variables",
    ),
    "cluster": (
        "cluster", "queues", "queue_use", "queue_patience_s", "account", "project",
        "wall_time_s", "memory_mb", "cpus_per_executor", "parallel_environment",
        "submit_arguments", "batch_name", "array_limit", "submit_interval_s", "status_interval_s", "cluster_timeout_s",
        "hosts", "start_command", "setup", "executor_prefix", "listen", "listen_ports",
    ),
    "capture": ("capture", "scratch_dir"),
    "limits": (
        "executors", "initial_executors", "keep_pending", "local_slots", "local_compile_slots", "light_slots",
        "probing_limit", "link_memory_mb", "release_delay_s", "idle_shutdown_s", "heartbeat_s", "lost_after_s",
    ),
    "output": ("progress", "summary", "summary_line"),
}  # fmt: skip
#: The ten settings that matter first: ``--help`` shows them, ``--help-all`` shows the others as well.
FIRST = (
    "wait_for_cluster", "cluster", "queues", "wall_time_s", "memory_mb",
    "capture", "executors", "local_slots", "progress", "summary",
)  # fmt: skip


@functools.cache
def hints() -> dict[str, Any]:
    """Each key's type with its constraints."""
    from annotated_types import Ge, Le  # takes 8 ms, and a build without a setting needs no type

    return typing.get_type_hints(Settings, localns={"Ge": Ge, "Le": Le}, include_extras=True)


def variable(key: str) -> str:
    """The environment variable of ``key``."""
    return PREFIX + key.upper()


def flag(key: str) -> str:
    """The command line's flag of ``key``."""
    return "--" + key.replace("_", "-")


def core_type(key: str) -> Any:
    """The type of ``key`` without None and without constraints: int, float, bool, str, tuple[str, ...] or a Literal."""
    return _split(hints()[key])[0]


def none_word(key: str) -> str | None:
    """The word that stands for None; None if ``key`` always has a value."""
    return _NONE_WORDS.get(key, _AUTO) if _split(hints()[key])[1] else None


def default_word(key: str) -> str:
    """The default of ``key`` as a user would write it: ``auto``, ``30``, ``true``; ``empty`` for an empty list."""
    value = DEFAULTS[key]
    if value is None:
        return str(none_word(key))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return " ".join(value) or "empty"
    return f"{value:g}" if isinstance(value, float) else str(value)


def choices(key: str) -> tuple[str, ...]:
    """The values of ``key`` if only a few words are allowed; else empty."""
    core = core_type(key)
    values = typing.get_args(core) if typing.get_origin(core) is typing.Literal else ()
    word = none_word(key)
    return (*values, word) if values and word and word not in values else values


def group_of(key: str) -> str:
    """The title of the group that ``key`` is in."""
    return next(title for title, keys in GROUPS.items() if key in keys)


def form(key: str) -> Form | None:
    """The form of the texts of ``key``; None: any text."""
    return next((limit for limit in _split(hints()[key])[2] if isinstance(limit, Form)), None)


def allowed(key: str) -> str:
    """The allowed values of ``key``, in words: ``an integer from 1 to 1024, or "auto"``."""
    core, _optional, limits = _split(hints()[key])
    if (known := form(key)) is not None:
        words = known.words
    elif typing.get_origin(core) is typing.Literal:
        words = _choice([f'"{value}"' for value in typing.get_args(core)])
    elif typing.get_origin(core) is tuple:
        words = "a list of strings"
    else:
        words = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string"}[core]
    low = next((limit.ge for limit in limits if hasattr(limit, "ge")), None)
    high = next((limit.le for limit in limits if hasattr(limit, "le")), None)
    if low is not None and high is not None:
        words += f" from {low} to {high}"
    elif low is not None:
        words += f" of at least {low}"
    elif high is not None:
        words += f" of at most {high}"
    return words + (f', or "{word}"' if (word := none_word(key)) else "")


def nearest(word: str, known: Iterable[str] = KEYS) -> str | None:
    """The known word that the user probably meant by ``word``."""
    import difflib  # needed for errors only

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _split(hint: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """(type without None and constraints, whether None is allowed, constraints)."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        assert len(members) == 1, f"{hint!r}: a setting has one type"
        optional = True
        hint = members[0]
    if typing.get_origin(hint) is typing.Annotated:
        core, *limits = typing.get_args(hint)
        return core, optional, tuple(limits)
    return hint, optional, ()


def _choice(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
