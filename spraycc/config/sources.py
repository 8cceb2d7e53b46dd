"""Reads settings from TOML files, the environment and flags. Checks the names only."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spraycc import directories
from spraycc.config.keys import KEYS, PREFIX, RESERVED_VARIABLES, flag, nearest, variable
from spraycc.errors import ConfigError, ConfigUnreadable
from spraycc.notices import configuration

#: The workspace's own file; it also marks the workspace's root.
WORKSPACE_FILE = ".spraycc.toml"
#: A larger file is no configuration, and was probably named by mistake.
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """One value as one source gives it, not checked yet."""

    value: Any
    #: name of the source in errors and ``spraycc config show``: a file's path, a variable or a flag
    origin: str
    #: whether ``value`` is a string that stands for something else (environment, flags) or has TOML's types
    textual: bool


def config_files(workspace: bytes | None) -> list[tuple[str, str]]:
    """(layer, path) of the configuration files, weakest first, whether they exist or not.

    The layer "site" has a file for each directory in XDG_CONFIG_DIRS. The first directory is the strongest.
    """
    files = [("site", os.path.join(parent, "config.toml")) for parent in reversed(directories.site_configurations())]
    own = directories.user_configuration()
    if own is not None:
        files.append(("user", os.path.join(own, "config.toml")))
    if workspace is not None:
        files.append(("workspace", os.path.join(os.fsdecode(workspace), WORKSPACE_FILE)))
    return files


def from_file(path: str) -> dict[str, Given]:
    """The settings in a TOML file; empty if the file does not exist, or its directory can't be searched.

    If the directory can't be searched, HOME is another user's (after ``su`` or ``sudo`` without -H), and so are the
    settings.

    Raises:
        ConfigUnreadable: the file can't be read, or is no text.
        ConfigError: the file is no TOML, or has an unknown key.
    """
    try:
        # A fifo without a writer must not block.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigUnreadable(configuration.FILE_NOT_REGULAR.text(file=path))
            data = file.read(_MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        if isinstance(exc, PermissionError) and not os.access(os.path.dirname(path), os.X_OK):
            return {}
        raise ConfigUnreadable(configuration.FILE_UNREADABLE.text(file=path, cause=exc.strerror)) from None
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigUnreadable(configuration.FILE_TOO_LARGE.text(file=path, limit_bytes=_MAX_FILE_BYTES))
    import tomllib

    try:
        table = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigUnreadable(configuration.FILE_NOT_UTF8.text(file=path, line=line)) from None
    except tomllib.TOMLDecodeError as exc:
        # The text of the error ends with "(at line 3, column 7)" or "(at end of document)".
        raise ConfigError(configuration.NO_TOML.text(file=path, cause=exc)) from None
    table = _flat(path, table)
    for key in table:
        if key not in KEYS:
            raise ConfigError(configuration.UNKNOWN_KEY.text(file=path, key=key, hint=_hint(nearest(key))))
    return {key: Given(value, path, textual=False) for key, value in table.items()}


#: Tables whose keys are settings with the table's name in front.
_TABLES = ("policy", "tools")


def _flat(path: str, table: dict[str, Any]) -> dict[str, Any]:
    """The keys of the tables as settings: ``here-heavy`` in ``[policy]`` is policy_here_heavy."""
    flat = {key: value for key, value in table.items() if key not in _TABLES}
    for name in _TABLES:
        values = table.get(name, {})
        known = {key.removeprefix(name + "_").replace("_", "-"): key for key in KEYS if key.startswith(name + "_")}
        if not isinstance(values, dict):
            raise ConfigError(configuration.NOT_A_TABLE.text(file=path, name=name, value=values, keys=", ".join(known)))
        for key, value in values.items():
            if key.replace("_", "-") not in known:
                raise ConfigError(
                    configuration.UNKNOWN_KEY_IN_TABLE.text(
                        file=path, key=key, table=name, hint=_hint(nearest(key, known))
                    )
                )
            flat[known[key.replace("_", "-")]] = value
    return flat


def from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Given], list[str]]:
    """The settings in ``SPRAYCC_`` variables, and one warning for each unknown variable.

    An empty variable counts as not set. An unknown variable is no error: a login script may set variables of another
    version.
    """
    known = {variable(key): key for key in KEYS}
    found: dict[str, Given] = {}
    warnings = []
    for name, text in environ.items():
        if not name.startswith(PREFIX):
            continue
        if name in known:
            if text:
                found[known[name]] = Given(text, name, textual=True)
        elif name not in RESERVED_VARIABLES:
            warnings.append(configuration.UNKNOWN_VARIABLE.text(variable=name, hint=_hint(nearest(name, known))))
    return found, warnings


def from_flags(flags: Mapping[str, Any]) -> dict[str, Given]:
    """The settings given on the command line, by key; None is "not given".

    Raises:
        ConfigError: a key is no setting (a bug in the caller).
    """
    for key in flags:
        if key not in KEYS:
            raise ConfigError(configuration.NO_SUCH_SETTING.text(option=flag(key), hint=_hint(nearest(key))))
    return {
        key: Given(value, flag(key), textual=isinstance(value, str))
        for key, value in flags.items()
        if value is not None
    }


def _hint(near: str | None) -> str:
    return configuration.DID_YOU_MEAN.text(name=near) if near else configuration.SEE_HELP.text()
