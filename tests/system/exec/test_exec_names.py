"""The library decides about names as spraycc/commands/names.py does, and reads any configuration without a fault."""

from __future__ import annotations

import fnmatch
import os
import random
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from spraycc.commands.interception import configuration, shell_function
from spraycc.commands.names import grammar, is_launcher, is_shim_name, tool_of
from tests.pure.commands.test_command_names import OTHERS, TOOLS
from tests.system.exec.intercepting import HERE
from tests.system.harness import needs
from tests.system.harness.native import NATIVE, STRICT
from tests.system.harness.waiting import HANG_S

pytestmark = pytest.mark.needs("cc", package="gcc")

SEED = 15
Ask = Callable[[Sequence[str]], list[bool]]


@pytest.fixture(scope="session", params=["gcc", "clang"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers questions with the library's own code, under AddressSanitizer and UndefinedBehaviorSanitizer."""
    path = tmp_path_factory.mktemp("decides") / "decides"
    sources = [HERE / "decides.c", NATIVE / "exec/configuration.c", NATIVE / "exec/names.c", NATIVE / "common/text.c"]
    sources += [*(NATIVE / "preload").glob("*.c")]
    sources.remove(NATIVE / "preload/exec_forms.c")
    sources.remove(NATIVE / "preload/real_functions.c")
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([needs.compiler(request.param), *STRICT, *flags, *sources, "-o", path], check=True)
    return path


def run(program: Path, file: Path, questions: Sequence[str]) -> str:
    text = "".join(f"{question}\n" for question in questions).encode("utf-8", "surrogateescape")
    done = subprocess.run([program, file], input=text, capture_output=True, timeout=HANG_S)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


@pytest.fixture
def ask(program: Path, tmp_path: Path) -> Ask:
    file = tmp_path / "intercept"
    file.write_bytes(configuration(runner=b"/r", library=b"/l", workspace=b"/w"))

    def answers(questions: Sequence[str]) -> list[bool]:
        found = run(program, file, questions)
        assert len(found) == len(questions)
        return [answer == "1" for answer in found]

    return answers


def invented_names() -> list[str]:
    """Names from the parts of which tools' names consist, in any order, and some that are spoiled."""
    draw = random.Random(SEED)
    parts = [value.decode() for key, value in grammar() if key in (b"stem", b"architecture", b"system")]
    parts += ["i386", "i886", "sh4", "m32r", "m32x", "pc", "vendor", "12", "13.2.0", "12.", "mp", "posix", "win32", "devel", "", "x", "ld64", "A_b.c", "ä"]  # fmt: skip
    ends = ["", "", "", "-12", "12", "-4.8.5", "-mp-15", "-mp-", "-mp-.", "-devel", "-posix", "-12-win32", "12-posix", "-win32-posix", "-", ".", "-12.", "-x"]  # fmt: skip
    names = []
    for _ in range(20_000):
        name = "-".join(draw.choice(parts) for _ in range(draw.randint(1, 4))) + draw.choice(ends)
        if draw.random() < 0.2:
            at = draw.randrange(len(name) + 1)
            name = name[:at] + draw.choice(["", "-", "2", "x", "."]) + name[at + draw.randint(0, 2) :]
        names.append(name)
    return names


def test_names_of_tools(ask: Ask) -> None:
    known = [name for names in TOOLS.values() for name in names.split()]
    stems = [value.decode() for key, value in grammar() if key == b"stem"]
    lengths = ["x86_64-" + "a" * count + "-gcc" for count in (0, 1, 243, 244, 245, 1000)]
    found = os.listdir("/usr/bin")
    names = [*known, *OTHERS, *stems, *lengths, *found, *invented_names(), "", "-", "gcc\r", "cc1", "rx-c89-gcc12"]
    expected = {name: tool_of(os.fsencode(name)) is not None for name in names}
    assert dict(zip(names, ask([f"t {name}" for name in names]), strict=True)) == expected
    assert 1000 < sum(expected.values()) < len(expected) - 1000
    # Beside the programs that have shims, the library wraps linkers and assemblers.
    assert {tool_of(os.fsencode(name)) for name in names if not is_shim_name(os.fsencode(name)) and expected[name]} == {
        tool_of(b"ld"),
        tool_of(b"as"),
    }


def test_the_recipe_shell_misses_no_tool(tmp_path: Path) -> None:
    """With a slot of this host, a line with a compiler would keep the compile on this host."""
    names = [name for text in TOOLS.values() for name in text.split()]
    names += [name for name in invented_names()[:5000] if tool_of(os.fsencode(name)) is not None]
    others = ["echo", "tar", "cp", "mkdir", "-o", "car", "unit", "./a", "cases"]
    wrapped = ["my-tool", "x/my-tool", "work/tests/unit", "../tests/unit"]
    (tmp_path / "names").write_bytes(shell_function(["my-tool", "tests/*", "a$(b)"]))
    script = '. "$0"; for word do may_be_wrapped "$word" "${word##*/}" && echo 1 || echo 0; done'
    words = [*names, "/usr/bin/make", "cmake", "spraycc", *wrapped, *others]
    done = subprocess.run(["sh", "-c", script, tmp_path / "names", *words], capture_output=True, text=True, check=True)
    found = dict(zip(words, done.stdout.split(), strict=True))
    assert [word for word in words if found[word] == "0"] == [word for word in words if word in others]


def test_launchers(ask: Ask) -> None:
    draw = random.Random(SEED)
    words = [value.decode() for key, value in grammar() if key.startswith(b"launcher")]
    words += ["", "gcc", "usr", "lib", "x86_64", "xccache", "ccachex"]
    paths = ["/".join(draw.choice(words) for _ in range(draw.randint(1, 5))) for _ in range(5000)]
    paths += [f"/{path}" for path in paths]
    expected = {path: is_launcher(os.fsencode(path)) for path in paths}
    assert dict(zip(paths, ask([f"l {path}" for path in paths]), strict=True)) == expected
    assert 500 < sum(expected.values()) < len(expected) - 500


def test_patterns(ask: Ask) -> None:
    draw = random.Random(SEED)
    pairs = {
        ("", ""),
        ("*", ""),
        ("**", "abc"),
        ("[", "["),
        ("[]", "[]"),
        ("[]a]", "]"),
        ("[!]a]", "b"),
        ("[a-", "[a-"),
    }
    pairs |= {("a*b*c", "aXbXbXc"), ("[c-a]", "b"), ("[!c-a]", "b"), ("[a-c-e]", "-"), ("[--a]", "."), ("[^a]", "^")}
    pairs |= {("ä*", "äb"), ("?", "ä"), ("??", "ä"), ("[ä]", "ä"), ("\\*", "\\x"), ("a/*", "a/b/c"), ("*/x", "/x")}
    signs = "ab/*?[]!-^\\.&~|"
    while len(pairs) < 20_000:
        pattern = "".join(draw.choice(signs) for _ in range(draw.randint(0, 8)))
        text = "".join(draw.choice("aabb/!-^]\\") for _ in range(draw.randint(0, 6)))
        pairs.add((pattern, text))
        # Most of these fit.
        forms = ["{}", "?", "*", "[{}]", "[!x]", "[a-z{}]", "[{}-]", "*{}*"]
        pairs.add(("".join(draw.choice(forms).format(sign) for sign in text), text))
    ordered = sorted(pairs)

    def matches(pattern: str, text: str) -> bool:
        compiled = re.compile(fnmatch.translate(pattern).encode("utf-8", "surrogateescape"), re.DOTALL)
        return compiled.fullmatch(text.encode("utf-8", "surrogateescape")) is not None

    expected = {(pattern, text): matches(pattern, text) for pattern, text in ordered}
    answers = ask([f"m {pattern} {text}" for pattern, text in ordered])
    assert dict(zip(ordered, answers, strict=True)) == expected
    assert 2000 < sum(expected.values()) < len(expected) - 2000


def test_a_pattern_of_many_stars_is_quick(ask: Ask) -> None:
    assert ask(["m " + "*a" * 100 + " " + "a" * 1000 + "b"]) == [False]


def test_damaged_configurations(program: Path, tmp_path: Path) -> None:
    draw = random.Random(SEED)
    whole = configuration(runner=b"/r", library=b"/l", workspace=b"/w", wrap=["x*", "a/*"], never=["[a"])
    questions = ["t gcc-12", "t x86_64-linux-gnu-gcc", "l /usr/lib/ccache/gcc", "t ", "l ", "l /"]
    file = tmp_path / "intercept"
    malformed = 0
    for _ in range(300):
        text = bytearray(whole)
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(text))
            if draw.random() < 0.5:
                text[at] = draw.choice(b"\n\t\0/x-*[]")
            else:
                del text[at : at + draw.choice([1, 10, 1000])]
            text = text or bytearray(b"\n")
        file.write_bytes(text)
        malformed += run(program, file, questions) == "malformed\n"
    assert 100 < malformed < 290
    for wrong in (
        b"",
        b"\n",
        b"end\n",
        b"spraycc-exec\t1\nend\n",
        whole[:-1],
        whole + b"\n",
        whole.replace(b"\t1", b"\t2"),
    ):
        file.write_bytes(wrong)
        assert run(program, file, questions) == "malformed\n"
