"""Random edits of a tree between random compiles, the same for the same seed.

``plan`` draws the steps without touching a file: it keeps the tree's names in memory. So the same plan can run under
SprayCC on an NFS client and with plain gcc on the file server's own disk, and all results must be equal.

In the machine this is a program. It prints a list of ``Compiled`` as JSON:

    edits.py DIRECTORY SEED STEPS [--no-pauses]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import posixpath
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Verb = Literal[
    "write", "edit in place", "replace", "delete", "rename", "hard link", "symbolic link", "make directory",
    "delete directory", "rename directory", "exchange directories", "pause", "compile",
]  # fmt: skip
Kind = Literal["file", "link", "directory"]

#: Directories that may exist, headers that may be in them, and units. ``cur`` is a link to one of the directories.
DIRECTORIES = ("inc/a", "inc/b", "inc/c", "lib/x", "lib/x/deep")
HEADERS = tuple(f"h{number}.h" for number in range(4))
UNITS = tuple(f"src/u{number}.c" for number in range(4))
_FLAGS = ("-Icur", "-Iinc/a", "-Iinc/b", "-Iinc/c", "-Ilib/x", "-Ilib")


@dataclass(frozen=True)
class Step:
    """One edit, one pause or one compile of some units at once."""

    verb: Verb
    path: str = ""
    other: str = ""  #: the new name or the link's target
    text: str = ""
    units: tuple[str, ...] = ()
    seconds: float = 0

    def __str__(self) -> str:
        words = [self.verb, self.path, self.other and f"-> {self.other}", *self.units]
        words += [f"{self.seconds} s"] if self.seconds else []
        return " ".join(word for word in words if word) + (f" {self.text!r}" if self.text else "")


@dataclass(frozen=True)
class Compiled:
    """The result of one compile of one unit."""

    step: int
    unit: str
    status: int
    object: str  #: the hash of the file, or "none"
    depfile: str
    messages: str


class Tree:
    """The names of the tree, in memory. Each method that begins with ``draw_`` gives an edit that is possible now."""

    def __init__(self, rng: random.Random) -> None:
        self._random = rng
        self.names: dict[str, Kind] = {}
        for directory in ("inc", "lib", "src"):
            self.names[directory] = "directory"
        self._draws: list[tuple[int, Callable[[], Step | None]]] = [
            (12, self.draw_write),
            (12, self.draw_edit_in_place),
            (12, self.draw_replace),
            (10, self.draw_delete),
            (8, self.draw_rename),
            (4, self.draw_hard_link),
            (6, self.draw_link_to_header),
            (5, self.draw_link_to_directory),
            (4, self.draw_make_directory),
            (2, self.draw_delete_directory),
            (5, self.draw_rename_directory),
            (4, self.draw_exchange_directories),
            (5, self.draw_source),
        ]

    def start(self) -> list[Step]:
        """The edits that make the first tree."""
        steps = [Step("make directory", name) for name in ("inc", "lib", "src")]
        for directory in ("inc/a", "inc/b", "lib/x"):
            steps.append(self._made(Step("make directory", directory)))
        steps += [self._made(Step("write", unit, text=self._unit(unit))) for unit in UNITS]
        steps += [self._made(Step("write", f"inc/b/{name}", text=self._header(name))) for name in HEADERS]
        return [*steps, self._made(Step("symbolic link", "cur", "inc/a"))]

    def draw(self) -> Step:
        """An edit. The tree is then as after it."""
        weights = [weight for weight, _ in self._draws]
        while True:
            (draw,) = self._random.choices([draw for _, draw in self._draws], weights)
            if (step := draw()) is not None:
                return self._made(step)

    def draw_write(self) -> Step | None:
        path = self._free_header()
        return Step("write", path, text=self._header(posixpath.basename(path))) if path else None

    def draw_edit_in_place(self) -> Step | None:
        path = self._header_of("file")
        return Step("edit in place", path, text=self._header(posixpath.basename(path))) if path else None

    def draw_replace(self) -> Step | None:
        path = self._header_of("file", "link")
        return Step("replace", path, text=self._header(posixpath.basename(path))) if path else None

    def draw_delete(self) -> Step | None:
        path = self._header_of("file", "link")
        return Step("delete", path) if path else None

    def draw_rename(self) -> Step | None:
        path, new = self._header_of("file", "link"), self._free_header()
        return Step("rename", path, new) if path and new else None

    def draw_hard_link(self) -> Step | None:
        path, new = self._header_of("file"), self._free_header()
        return Step("hard link", new, path) if path and new else None

    def draw_link_to_header(self) -> Step | None:
        """A new link, or one that takes the place of a header. Its target may be missing, and links may form a ring."""
        path = self._free_header() or self._header_of("file", "link")
        target = self._random.choice(DIRECTORIES) + "/" + self._random.choice(HEADERS)
        return Step("symbolic link", path, posixpath.relpath(target, posixpath.dirname(path))) if path else None

    def draw_link_to_directory(self) -> Step | None:
        return Step("symbolic link", "cur", self._random.choice(DIRECTORIES))

    def draw_make_directory(self) -> Step | None:
        path = self._free_directory()
        return Step("make directory", path) if path else None

    def draw_delete_directory(self) -> Step | None:
        path = self._directory()
        return Step("delete directory", path) if path else None

    def draw_rename_directory(self) -> Step | None:
        path, new = self._directory(), self._free_directory()
        return Step("rename directory", path, new) if path and new and not new.startswith(f"{path}/") else None

    def draw_exchange_directories(self) -> Step | None:
        path, other = self._directory(), self._directory()
        if not path or not other or f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/"):
            return None
        return Step("exchange directories", path, other)

    def draw_source(self) -> Step | None:
        unit = self._random.choice(UNITS)
        return Step(self._random.choice(("edit in place", "replace")), unit, text=self._unit(unit))

    def _header_of(self, *kinds: Kind) -> str | None:
        return self._one_of([p for p, kind in self.names.items() if kind in kinds and p.endswith(".h")])

    def _free_header(self) -> str | None:
        directories = [path for path in DIRECTORIES if path in self.names]
        return self._one_of([f"{d}/{h}" for d in directories for h in HEADERS if f"{d}/{h}" not in self.names])

    def _directory(self) -> str | None:
        return self._one_of([path for path in DIRECTORIES if path in self.names])

    def _free_directory(self) -> str | None:
        return self._one_of([p for p in DIRECTORIES if p not in self.names and posixpath.dirname(p) in self.names])

    def _one_of(self, paths: Sequence[str]) -> str | None:
        return self._random.choice(sorted(paths)) if paths else None

    def _header(self, name: str) -> str:
        """Most texts have the same size, so that the size does not give a change away."""
        value = self._random.choice((self._random.randrange(100, 1000), self._random.randrange(10**6)))
        return f"#undef V{name[1]}\n#define V{name[1]} {value}\n"

    def _unit(self, unit: str) -> str:
        """The last unit fails if a header is missing, and the others compile without it."""
        lines = []
        for name in HEADERS:
            include = f'#include "{name}"'
            lines.append(include if unit == UNITS[-1] else f'#if __has_include("{name}")\n{include}\n#endif')
        values = " ".join(f"TEXT(V{name[1]})" for name in HEADERS)
        mark = f"MARK {self._random.randrange(100, 1000)} "
        return "\n".join([*lines, "#define TEXT_(x) #x", "#define TEXT(x) TEXT_(x) \" \"", f'const char mark[] = "{mark}" {values};\n'])  # fmt: skip

    def _made(self, step: Step) -> Step:
        names, path, other = self.names, step.path, step.other
        match step.verb:
            case "write" | "replace" | "hard link":
                names[path] = "file"
            case "symbolic link":
                names[path] = "link"
            case "make directory":
                names[path] = "directory"
            case "delete":
                del names[path]
            case "rename":
                names[other] = names.pop(path)
            case "delete directory":
                self._take(path)
            case "rename directory":
                self._put(other, self._take(path))
            case "exchange directories":
                first, second = self._take(path), self._take(other)
                self._put(path, second)
                self._put(other, first)
        return step

    def _take(self, directory: str) -> dict[str, Kind]:
        """Removes a directory with all in it, and gives its names relative to it."""
        inside = [p for p in self.names if p == directory or p.startswith(f"{directory}/")]
        return {path[len(directory) :]: self.names.pop(path) for path in inside}

    def _put(self, directory: str, names: dict[str, Kind]) -> None:
        self.names |= {directory + rest: kind for rest, kind in names.items()}


def plan(seed: int, steps: int) -> list[Step]:
    """The first tree, then ``steps`` edits with compiles and pauses between them."""
    rng = random.Random(seed)
    tree = Tree(rng)
    planned = [*tree.start(), Step("compile", units=UNITS)]
    for _ in range(steps):
        planned.append(tree.draw())
        if rng.random() < 0.6:
            # Mostly at once, because a cache is oldest then. Some pauses are longer than the caches' first limits.
            if rng.random() < 0.15:
                planned.append(Step("pause", seconds=rng.choice((0.5, 1, 2, 4, 8))))
            units = rng.sample(UNITS, rng.choice((1, 2, 2, 4)))
            planned.append(Step("compile", units=tuple(sorted(units))))
    return [*planned, Step("compile", units=UNITS)]


def carry_out(steps: Sequence[Step], root: Path, pauses: bool = True) -> list[Compiled]:
    """Edits and compiles in an empty directory. ``gcc`` is the first one on PATH."""
    (root / "obj").mkdir(parents=True)
    results: list[Compiled] = []
    for number, step in enumerate(steps):
        if step.verb == "compile":
            results += _compile(number, step.units, root)
        elif step.verb == "pause":
            time.sleep(step.seconds if pauses else 0)
        else:
            _edit(step, root)
    return results


def difference(seed: int, steps: Sequence[Step], ours: Sequence[Compiled], plain: Sequence[Compiled]) -> str | None:
    """The first compile whose result is not plain gcc's, in words with the seed and the step; None if there is none."""
    if len(ours) != len(plain):
        return f"seed {seed}: {len(ours)} compiles instead of {len(plain)}"
    for one, other in zip(ours, plain, strict=True):
        if one != other:
            before = [step.verb == "compile" and one.unit in step.units for step in steps[: one.step]]
            since = max((number for number, here in enumerate(before) if here), default=-1)
            edits = [f"  {number}: {step}" for number, step in enumerate(steps[since + 1 : one.step], since + 1)]
            return "\n".join(
                [
                    f"seed {seed}, step {one.step}, unit {one.unit}: {_fields(one, other)}",
                    "edits since the unit's compile before:",
                    *edits,
                ]
            )
    return None


def wrong(ours: Sequence[Compiled], plain: Sequence[Compiled]) -> dict[str, int]:
    """How many compiles ended well with a wrong object or depfile, failed for no reason, or differed otherwise."""
    counts = {"compiles": len(plain), "wrong": 0, "spurious": 0, "different": 0}
    for one, other in zip(ours, plain, strict=True):
        if one.status != other.status:
            counts["spurious" if one.status else "wrong"] += 1
        elif (one.object, one.depfile) != (other.object, other.depfile):
            counts["wrong"] += 1
        elif one != other:
            counts["different"] += 1
    return counts


def _fields(one: Compiled, other: Compiled) -> str:
    ours, plain = asdict(one), asdict(other)
    return "; ".join(f"{key} {ours[key]!r} instead of {plain[key]!r}" for key in ours if ours[key] != plain[key])


def _edit(step: Step, root: Path) -> None:
    path, other = root / step.path, root / step.other
    temporary = path.with_name("temporary")
    match step.verb:
        case "write":
            path.write_text(step.text)
        case "edit in place":
            with open(path, "r+", encoding="ascii") as file:
                file.write(step.text)
                file.truncate()
        case "replace":
            temporary.write_text(step.text)
            temporary.replace(path)
        case "delete":
            path.unlink()
        case "rename" | "rename directory":
            path.rename(other)
        case "hard link":
            path.hardlink_to(other)
        case "symbolic link":
            temporary.symlink_to(step.other)
            temporary.replace(path)
        case "make directory":
            path.mkdir()
        case "delete directory":
            shutil.rmtree(path)
        case "exchange directories":
            path.rename(temporary)
            other.rename(path)
            temporary.rename(other)


def _compile(number: int, units: Sequence[str], root: Path) -> list[Compiled]:
    running = []
    for unit in units:
        out = _object(unit)
        words = ["gcc", "-MMD", "-MT", "unit.o", *_FLAGS, "-c", unit, "-o", out]
        process = subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        running.append((unit, process))
    results = []
    for unit, process in running:
        messages = process.communicate()[0].decode(errors="replace")
        written = root / _object(unit)
        hashes = (_hash(written), _hash(written.with_suffix(".d")))
        results.append(Compiled(number, unit, process.returncode, *hashes, messages))
    return results


def _object(unit: str) -> str:
    return "obj/" + posixpath.basename(unit).replace(".c", ".o")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else "none"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("steps", type=int)
    parser.add_argument("--no-pauses", action="store_true")
    parser.add_argument("--out", type=Path, help="the file for the results, instead of stdout")
    arguments = parser.parse_args()
    os.environ["LC_ALL"] = "C"
    results: list[dict[str, Any]] = [
        asdict(one)
        for one in carry_out(plan(arguments.seed, arguments.steps), arguments.directory, not arguments.no_pauses)
    ]
    text = json.dumps(results)
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
