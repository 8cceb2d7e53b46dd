"""All settings in force: built-in defaults ← site ← user ← workspace file ← environment ← flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spraycc.config.keys import DEFAULTS, KEYS
from spraycc.config.sources import config_files, from_environment, from_file, from_flags
from spraycc.settings import Settings

#: Origin of a setting that no source gives.
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the source of each."""

    settings: Settings
    #: key → "default", the path of a file, the name of a variable, or a flag
    origins: dict[str, str]
    #: warnings for the user
    warnings: tuple[str, ...] = ()


def load(
    workspace: bytes | None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> Loaded:
    """Read and check all sources of settings.

    Args:
        workspace: root of the workspace, or None.
        environ: in place of ``os.environ``.
        flags: key → value as the command line gave it, None for "not given"; bools for flags without a value, else
            strings.
        files: the files by layer, weakest first, in place of :func:`~spraycc.config.sources.config_files`.

    Raises:
        ConfigError: names the source, the key, the value and the allowed values.
    """
    layers = [from_file(path) for path in (files if files is not None else config_files(workspace)).values()]
    variables, warnings = from_environment(os.environ if environ is None else environ)
    layers += [variables, from_flags(flags or {})]
    values = dict(DEFAULTS)
    origins = dict.fromkeys(KEYS, DEFAULT_ORIGIN)
    for layer in layers:
        for key, given in layer.items():
            # Imported only for a value: pydantic takes 0.1 s, more than the rest of `spraycc make`.
            from spraycc.config.check import checked

            # Check each source: a wrong value is an error even if a stronger source overrides it.
            values[key] = checked(key, given)
            origins[key] = given.origin
    return Loaded(Settings(**values), origins, tuple(warnings))
