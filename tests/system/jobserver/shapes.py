"""Builds with remote and local recipes: as makefiles, for ninja, and as the shortest possible time.

A *remote* recipe is a compile line, which simulated executors answer after a set time. A *local* recipe is a program
that no runner wraps. A shape is the order of the recipes and their dependencies.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Names of shapes, in the order of the table.
NAMES = (
    "remotes first",
    "interleaved 3:1",
    "a local after each three remotes",
    "all locals last",
    "ten sub-makes",
    "two top-level tools",
    "two compilers in a recipe",
    "eight long locals in the middle",
)


@dataclass
class Recipe:
    """One target."""

    name: str
    #: seconds of each compile line in it; () for a local recipe
    remote: tuple[float, ...] = ()
    #: seconds of a local recipe
    local: float = 0.0
    needs: tuple[str, ...] = ()


@dataclass
class Size:
    """The size of a shape."""

    remotes: int = 300
    locals: int = 100
    remote_s: tuple[float, float] = (0.5, 1.0)
    local_s: float = 0.2
    long_s: float = 3.0
    groups: int = 10
    #: NAME:N: compiles end only after N of them were running at the same time
    together: str = ""


@dataclass
class Shape:
    """Recipes in order; ``groups`` of them if several makes share them."""

    name: str
    recipes: list[Recipe]
    groups: list[list[Recipe]] = field(default_factory=list)
    #: like Size.together
    together: str = ""

    @property
    def remotes(self) -> int:
        return sum(len(recipe.remote) for recipe in self.recipes)

    @property
    def locals(self) -> int:
        return sum(not recipe.remote for recipe in self.recipes)


def make_shape(name: str, size: Size) -> Shape:
    """The shape of that name, with the same times in each call."""
    shape = _make_shape(name, size)
    shape.together = size.together
    return shape


def _make_shape(name: str, size: Size) -> Shape:
    dice = random.Random(7)
    remotes = [Recipe(f"r{i}", remote=(round(dice.uniform(*size.remote_s), 3),)) for i in range(size.remotes)]
    locals_ = [Recipe(f"l{i}", local=size.local_s) for i in range(size.locals)]
    each = max(1, size.remotes // size.locals)
    if name == "remotes first":
        return Shape(name, remotes + locals_)
    if name == "interleaved 3:1":
        return Shape(name, _interleaved(remotes, locals_, each))
    if name == "a local after each three remotes":
        for i, recipe in enumerate(locals_):
            recipe.needs = tuple(r.name for r in remotes[i * each : (i + 1) * each])
        return Shape(name, _interleaved(remotes, locals_, each))
    if name == "all locals last":
        for recipe in locals_:
            recipe.needs = tuple(r.name for r in remotes)
        return Shape(name, remotes + locals_)
    if name == "ten sub-makes":
        both = _interleaved(remotes, locals_, each)
        share = -(-len(both) // size.groups)
        return Shape(name, both, [both[at : at + share] for at in range(0, len(both), share)])
    if name == "two top-level tools":
        both = _interleaved(remotes, locals_, each)
        return Shape(name, both, [both[0::2], both[1::2]])
    if name == "two compilers in a recipe":
        pairs = [
            Recipe(f"r{i}", remote=(remotes[i].remote[0], remotes[i + 1].remote[0]))
            for i in range(0, len(remotes) - 1, 2)
        ]
        return Shape(name, _interleaved(pairs, locals_, max(1, len(pairs) // size.locals)))
    if name == "eight long locals in the middle":
        both = _interleaved(remotes, locals_[: size.locals - 8], each)
        middle = len(both) // 2
        return Shape(name, [*both[:middle], *(Recipe(f"long{i}", local=size.long_s) for i in range(8)), *both[middle:]])
    raise KeyError(name)


def _interleaved(remotes: Sequence[Recipe], locals_: Sequence[Recipe], each: int) -> list[Recipe]:
    result: list[Recipe] = []
    rest = iter(locals_)
    for i, recipe in enumerate(remotes):
        result.append(recipe)
        if i % each == each - 1:
            result += [local for local in [next(rest, None)] if local is not None]
    return result + list(rest)


# -- as build files


def write_make(shape: Shape, directory: Path, tick: Path, log: Path) -> list[str]:
    """Writes makefiles; returns the words after ``spraycc``."""
    if not shape.groups:
        (directory / "Makefile").write_text(_makefile(shape, shape.recipes, tick, log))
        return ["make"]
    for number, group in enumerate(shape.groups):
        (directory / f"group{number}.mk").write_text(_makefile(shape, group, tick, log))
    if shape.name == "two top-level tools":
        commands = [f'"$MAKE" -f group{number}.mk & ' for number in range(len(shape.groups))]
        script = "".join(commands).replace(" & ", ' & p="$p $!"; ') + "for i in $p; do wait $i || exit 1; done"
        return ["build", "--", "sh", "-c", script]
    lines = [f"all: {' '.join(f'group{n}' for n in range(len(shape.groups)))}", ".PHONY: all"]
    for number in range(len(shape.groups)):
        lines += [f".PHONY: group{number}", f"group{number}:", f"\t@$(MAKE) --no-print-directory -f group{number}.mk"]
    (directory / "Makefile").write_text("\n".join(lines) + "\n")
    return ["make"]


def _makefile(shape: Shape, recipes: Sequence[Recipe], tick: Path, log: Path) -> str:
    names = [recipe.name for recipe in recipes]
    lines = [f"all: {' '.join(names)}", f".PHONY: all {' '.join(names)}"]
    for recipe in recipes:
        lines += [f"{recipe.name}: {' '.join(recipe.needs)}", f"\t@{_command(shape, recipe, tick, log)}"]
    return "\n".join(lines) + "\n"


def _command(shape: Shape, recipe: Recipe, tick: Path, log: Path) -> str:
    if not recipe.remote:
        return f"{tick} {log} {recipe.local}"
    words = f"-DSIMULATED_TOGETHER={shape.together} " if shape.together else ""
    compiles = [
        f"cc -c -DSIMULATED_S={s} {words}-o {recipe.name}.{n}.o {recipe.name}.c" for n, s in enumerate(recipe.remote)
    ]
    return compiles[0] if len(compiles) == 1 else " & ".join([*compiles, "wait"])


def write_ninja(shape: Shape, directory: Path, tick: Path, log: Path) -> list[str]:
    """Writes build.ninja; returns the words after ``spraycc``. ninja ignores groups."""
    lines = ["rule run", "  command = $cmd", "  description = $out"]
    for recipe in shape.recipes:
        needs = f" | {' '.join(f'{n}.done' for n in recipe.needs)}" if recipe.needs else ""
        lines += [f"build {recipe.name}.done: run{needs}", f"  cmd = {_command(shape, recipe, tick, log)}"]
    (directory / "build.ninja").write_text("\n".join(lines) + "\n")
    return ["ninja", "--quiet"]


# -- counts, and the best possible time


def marks(log: Path) -> list[tuple[int, int]]:
    """(time in ns, +1 or -1) of all local recipes, in the order of time."""
    found = []
    for line in log.read_text().splitlines():
        sign, _, at = line.partition(" ")
        found.append((int(at), 1 if sign == "+" else -1))
    return sorted(found)


def most_at_once(found: Sequence[tuple[int, int]]) -> int:
    running = most = 0
    for _, change in found:
        running += change
        most = max(most, running)
    return most


def seconds_above(found: Sequence[tuple[int, int]], limit: int) -> float:
    """The seconds during which more than ``limit`` ran at once."""
    running, since, total = 0, 0, 0
    for at, change in found:
        if running > limit:
            total += at - since
        running += change
        since = at
    return total / 1e9


def best_s(shape: Shape, executors: int, local_slots: int) -> float:
    """The best time of a build tool that starts recipes in order, without costs, and never more than ``local_slots`` local ones.

    make and ninja take a token before they choose a recipe, so a recipe starts only while a local one might.
    """
    done: set[str] = set()
    ready = list(shape.recipes)
    ends: list[tuple[float, int, Recipe]] = []
    now, running_local, running_remote, count = 0.0, 0, 0, 0
    executors_free: list[float] = [0.0] * executors
    while ready or ends:
        for recipe in _startable(ready, done):
            if running_local >= local_slots or running_remote + running_local >= executors + local_slots:
                break
            ready.remove(recipe)
            end = now + recipe.local
            for seconds in recipe.remote:
                free = max(now, heapq.heappop(executors_free))
                heapq.heappush(executors_free, free + seconds)
                end = max(end, free + seconds)
            running_local += not recipe.remote
            running_remote += bool(recipe.remote)
            count += 1
            heapq.heappush(ends, (end, count, recipe))
        now, _, recipe = heapq.heappop(ends)
        done.add(recipe.name)
        running_local -= not recipe.remote
        running_remote -= bool(recipe.remote)
    return now


def _startable(ready: Sequence[Recipe], done: set[str]) -> Iterator[Recipe]:
    yield from [recipe for recipe in ready if done.issuperset(recipe.needs)]


Writer = Callable[[Shape, Path, Path, Path], list[str]]


def remotes(prefix: str, count: int, seconds: float, together: int = 0, until: str = "", needs: str = "") -> str:
    """Rules of ``count`` compile lines, and a target PREFIX for all of them.

    Args:
        together: they end after this many of them were running at the same time.
        until: they end after this file was made in the simulation's directory.
        needs: what each of them is made after.
    """
    names = [f"{prefix}{i}" for i in range(count)]
    words = f"-DSIMULATED_S={seconds}"
    if together:
        words += f" -DSIMULATED_TOGETHER={prefix}:{together}"
    if until:
        words += f" -DSIMULATED_UNTIL={until}"
    rules = "".join(f"{name}:{needs and f' | {needs}'}\n\t@cc -c {words} -o $@.o $@.c\n" for name in names)
    return f".PHONY: {prefix} {' '.join(names)}\n{prefix}: {' '.join(names)}\n{rules}"
