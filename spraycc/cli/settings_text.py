"""Settings as text: ``spraycc config show``, and the file that ``spraycc config init`` writes. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spraycc.cluster.registry import BATCH, driver_for
from spraycc.cluster.search import Manager, Queue
from spraycc.config import Loaded
from spraycc.config.keys import DEFAULTS, FIRST, GROUPS, HELP, allowed, none_word
from spraycc.settings import Settings

#: Columns of a comment.
_WIDTH = 100
_NO_LIMIT = "no limit"


@dataclass(frozen=True, slots=True)
class ThisHost:
    """Facts of this host behind some values of auto. Empty: not known."""

    #: the best capture that works
    capture: str = ""
    #: directory of scratch files
    scratch: str = ""
    #: "exec" or "path"
    intercept: str = ""


def toml_value(value: Any) -> str:
    """A setting's value as it would stand in a file. Strings are quoted as in JSON, which TOML reads the same way."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    # ensure_ascii would write halves of surrogate pairs, which TOML rejects. TOML also rejects DEL, which JSON allows.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def value_text(key: str, settings: Settings) -> str:
    """The value of a setting as it would stand in a file; "auto" (or "none") for None."""
    value = getattr(settings, key)
    return toml_value(none_word(key) if value is None else value)


def auto_words(key: str, settings: Settings, here: ThisHost) -> str:
    """The value that ``auto`` stands for on this host, in words; empty if the setting is not auto, or it is unknown."""
    if getattr(settings, key) not in (None, "auto"):
        return ""
    match key:
        case "executors":
            return str(settings.executors_in_force)
        case "initial_executors":
            return "as many as the build may use"
        case "local_slots":
            return str(settings.local_slots_in_force)
        case "probing_limit":
            return str(settings.probing_limit_in_force)
        case "light_slots":
            return str(settings.light_slots_in_force)
        case "wall_time_s" | "memory_mb":
            return "the queue's default"
        case "array_limit":
            return str(driver_for(settings, "").array_limit) if settings.cluster in BATCH else _NO_LIMIT
        case "keep_pending":
            return _NO_LIMIT
        case "capture":
            return here.capture
        case "scratch_dir":
            return here.scratch
        case "intercept":
            return here.intercept
        case "listen":
            return "127.0.0.1" if settings.cluster == "local" else "all addresses"
        case "listen_ports":
            return "any free port"
    return ""


def show(loaded: Loaded, here: ThisHost, *, brief: bool = False, keys: Sequence[str] = ()) -> Iterator[str]:
    """The lines of ``spraycc config show``, which are valid TOML but for ``none``.

    Args:
        loaded: the settings and their sources.
        here: for the words about auto.
        brief: without the lines that say what a setting is for.
        keys: only these settings, with their whole help texts; empty: all.
    """
    wanted = [key for known in GROUPS.values() for key in known if not keys or key in keys]
    width = max(map(len, wanted))
    for title, known in GROUPS.items():
        shown = [key for key in known if key in wanted]
        if shown and not brief and not keys:
            yield f"## {title}"
        for key in shown:
            if keys and not brief:
                yield f"# {HELP[key]} Allowed: {allowed(key)}."
            elif not brief:
                yield f"# {first_sentence(HELP[key])}"
            auto = auto_words(key, loaded.settings, here)
            meaning = f"; here auto is {auto}" if auto else ""
            yield f"{key:<{width}} = {value_text(key, loaded.settings):<12}  # {loaded.origins[key]}{meaning}"
        if shown and not brief and not keys:
            yield ""


def first_sentence(text: str) -> str:
    head, dot, _ = text.partition(". ")
    return head + dot.strip()


def workspace_file(cluster: str | None, manager: Manager | None, queues: Sequence[Queue], why: Iterable[str]) -> str:
    """The text of a commented ``.spraycc.toml``.

    Args:
        cluster: the value to set; None: the line is a comment.
        manager: the cluster manager that was found.
        queues: its queues.
        why: lines for the user about the choice.
    """
    lines = [
        "# Settings of SprayCC for this workspace: the directory of this file and all below it.",
        "# `spraycc config show` prints all settings in force, their sources and what each is for.",
        *(wrapped for line in why for wrapped in _comments(line)),
        "",
        *_comments(HELP["cluster"]),
        f"cluster = {toml_value(cluster)}" if cluster is not None else _comment("cluster", manager and manager.cluster),
    ]
    # Many sites charge batch jobs to an account.
    for key in (key for key in (*FIRST, "account", "project") if key != "cluster"):
        lines += ["", *_comments(HELP[key])]
        if key == "queues" and manager is not None and any(queue.is_open for queue in queues):
            lines += [f"#   {_queue_line(queue)}" for queue in queues]
            lines.append(_comment(key, tuple(queue.name for queue in queues if queue.is_open)))
        else:
            lines.append(_comment(key, None))
    return "\n".join(lines) + "\n"


def _comments(text: str) -> list[str]:
    """The text as comment lines. What a cluster manager has said may hold any character."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return textwrap.wrap(printable, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _queue_line(queue: Queue) -> str:
    words = [word for word in ("the default" if queue.is_default else "", queue.note) if word]
    return f"{queue.name}: {', '.join(words)}" if words else queue.name


def _comment(key: str, value: Any) -> str:
    if value is None:
        value = none_word(key) if DEFAULTS[key] is None else DEFAULTS[key]
    return f"# {key} = {toml_value(value)}"


def _found_queue(queue: Queue) -> str:
    notes = [*(["the default"] if queue.is_default else []), *([] if queue.is_open else ["takes no batch jobs now"])]
    return f"{queue.name} ({', '.join(notes)})" if notes else queue.name


def found_text(manager: Manager, queues: Sequence[Queue]) -> str:
    """``Slurm answers (sinfo), with 2 partitions: short (the default), long``."""
    words = ", ".join(_found_queue(queue) for queue in queues)
    number = f"{len(queues)} {manager.queue_word}{'' if len(queues) == 1 else 's'}"
    named = f", with {number}: {words}" if queues else f", and names no {manager.queue_word}"
    return f"{manager.name} answers ({manager.list_command[0]}){named}"
