"""All settings in force: built-in defaults ← allocation ← site ← user ← workspace file ← environment ← flags."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spraycc.allocation import SYSTEMS, find_allocation
from spraycc.config.keys import DEFAULTS, KEYS
from spraycc.config.sources import config_files, from_environment, from_file, from_flags
from spraycc.settings import Settings, usable_cpus

#: A list of hosts is shorter: the largest clusters have some ten thousand.
_MAX_HOSTS_BYTES = 16 * 1024 * 1024
#: Origin of a setting that no source gives.
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and the source of each."""

    settings: Settings
    #: key → "default", the path of a file, the name of a variable, a flag, or the allocation in words
    origins: dict[str, str]
    #: warnings for the user
    warnings: tuple[str, ...] = ()


def load(
    workspace: bytes | None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    files: Sequence[str] | None = None,
) -> Loaded:
    """Read and check all sources of settings.

    Args:
        workspace: root of the workspace, or None.
        environ: in place of ``os.environ``.
        flags: key → value as the command line gave it, None for "not given"; bools for flags without a value, else
            strings.
        files: paths, weakest first, in place of those of :func:`~spraycc.config.sources.config_files`.

    Raises:
        ConfigError: names the source, the key, the value and the allowed values.
    """
    if environ is None:
        environ = os.environ
    if files is None:
        files = [path for _, path in config_files(workspace)]
    layers = [from_file(path) for path in files]
    variables, warnings = from_environment(environ)
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
    _use_allocation(values, origins, environ)
    return Loaded(Settings(**values), origins, tuple(warnings))


def _use_allocation(values: dict[str, Any], origins: dict[str, str], environ: Mapping[str, str]) -> None:
    """Choose the cluster by the allocation, if no source names a cluster. Note the allocation if its CPUs are used."""
    cluster: str = values["cluster"]
    is_free = origins["cluster"] == DEFAULT_ORIGIN
    manager, _, is_step = cluster.partition("-")
    if not is_free and not is_step:
        return
    found = find_allocation(environ, _text, os.uname().nodename, None if is_free else manager)
    if found is None:
        return
    if is_free:
        origin = found.name
        program = SYSTEMS[found.manager].program
        if found.is_here_alone and found.cpus_here <= usable_cpus():
            origin += ", whose CPUs are all on this host"
        elif not _is_on_path(program, environ):
            origin += f", which can't be used from here: {program} is not on PATH"
        else:
            values["cluster"] = found.cluster
        origins["cluster"] = origin
    values["allocation"] = found


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_MAX_HOSTS_BYTES)


def _is_on_path(program: str, environ: Mapping[str, str]) -> bool:
    places = environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.access(os.path.join(place, program), os.X_OK) for place in places if place)
