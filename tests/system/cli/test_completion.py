"""Completion in the real shells: a line is typed in a terminal, and the shell inserts all words that it offers."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spraycc.cli.option_table import Command, Option, table
from spraycc.cli.reference import bash, fish, zsh
from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

ROOT = table()
SCRIPTS = {"bash": bash.script(ROOT), "zsh": zsh.script(ROOT), "fish": fish.script(ROOT)}
#: The shell prints each word of the completed command line in brackets, and an end mark that no line contains as typed.
BASH_START = """\
PS1= PS2=
bind 'set completion-query-items 0' 'set enable-bracketed-paste off'
bind '"\\t": insert-completions'
{more}
. {script}
spraycc() {{ [ "$1" = builds ] && {{ {builds}; return; }}; printf '<%s>\\n' "$@"; echo e''nd; }}
echo rea''dy
"""
ZSH_START = """\
PS1= PS2= RPS1=
setopt no_beep
fpath=({directory} $fpath)
autoload -Uz compinit && compinit -D -u
all() {{ _main_complete; compstate[insert]=all; compstate[list]= }}
zle -C all complete-word all
bindkey '^I' all
spraycc() {{ [ "$1" = builds ] && {{ {builds}; return; }}; printf '<%s>\\n' "$@"; echo e''nd; }}
echo rea''dy
"""
#: the form of `spraycc builds`
BUILDS = "printf '%s\\n' 'number  id  when' '     1  b7  today  make: all' '    12  b6  today  make'"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")

Offers = Callable[[str], list[str]]


def typed(argv: list[str], start: str, line: str, directory: Path) -> list[str]:
    """The words after ``spraycc`` on the line, once the shell has inserted all that it offers for the last word."""
    pid, fd = pty.fork()
    if pid == 0:  # pragma: no cover -- another process
        os.chdir(directory)
        environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        os.execvpe(argv[0], argv, environ)
    seen = b""

    def read_until(mark: bytes) -> None:
        nonlocal seen
        deadline = time.monotonic() + HANG_S
        while mark not in seen.replace(b"\r\n", b"\n"):
            assert select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0], seen.decode()
            seen += os.read(fd, 65536)

    try:
        # From a file: a terminal takes lines of at most 4,095 bytes.
        (directory / "start").write_text(start)
        os.write(fd, b". ./start\n")
        read_until(b"\nready\n")
        seen = b""
        os.write(fd, f"{line}\t\n".encode())
        read_until(b"\nend\n")
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    lines = seen.decode().replace("\r", "").split("\n")
    assert b"command not found" not in seen, seen.decode()
    return [text[1:-1] for text in lines if text.startswith("<") and text.endswith(">")]


def need_bash_completion() -> None:
    if not BASH_COMPLETION.exists():
        needs.missing("bash-completion", "bash-completion")


def in_bash(tmp_path: Path, line: str, *, with_package: bool = False) -> list[str]:
    script = tmp_path / "script"
    script.write_text(SCRIPTS["bash"])
    more = f". {BASH_COMPLETION}" if with_package else ""
    start = BASH_START.format(script=script, more=more, builds=BUILDS)
    return typed([needs.program("bash"), "--norc", "-i"], start, line, tmp_path)


def in_zsh(tmp_path: Path, line: str) -> list[str]:
    (tmp_path / "functions").mkdir(exist_ok=True)
    (tmp_path / "functions" / "_spraycc").write_text(SCRIPTS["zsh"])
    start = ZSH_START.format(directory=tmp_path / "functions", builds=BUILDS)
    return typed([needs.program("zsh"), "-f", "-i"], start, line, tmp_path)


def in_fish(tmp_path: Path, line: str) -> list[str]:
    *words, _ = line.split(" ")[1:]
    return words + [answer.split("\t")[0] for answer in answers_of_fish(tmp_path, line)]


def answers_of_fish(tmp_path: Path, line: str) -> list[str]:
    """The offered words, each with its description after a tab."""
    (tmp_path / "script.fish").write_text(SCRIPTS["fish"])
    # fish adds the word before the equals sign to each answer.
    code = f"function spraycc; {BUILDS}; end; source script.fish; complete -C (cat line)"
    (tmp_path / "line").write_text(line)
    done = subprocess.run(
        [needs.program("fish"), "-c", code],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, timeout=HANG_S, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_fish_shows_no_description_of_the_option_at_its_values(tmp_path: Path) -> None:
    answers = answers_of_fish(tmp_path, "spraycc --cluster ")
    assert "slurm" in [answer.rstrip("\t") for answer in answers]
    assert not [answer for answer in answers if answer.partition("\t")[2]]


SHELLS = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@pytest.fixture(params=SHELLS)
def offers(request: pytest.FixtureRequest, tmp_path: Path) -> Offers:
    """Completes a command line, and returns its words, the offered words in the place of the last, without order."""
    shell: str = request.param
    (tmp_path / "a directory").mkdir()
    (tmp_path / "file.txt").touch()

    def complete(line: str) -> list[str]:
        return sorted(word.rstrip("/ ") for word in SHELLS[shell](tmp_path, line))

    return complete


@pytest.fixture(params=SHELLS)
def offers_of_tools(request: pytest.FixtureRequest, tmp_path: Path) -> Offers:
    """As ``offers``, in a directory with a makefile, and with the tools' own completions."""
    shell: str = request.param
    if shell == "bash":
        need_bash_completion()
    needs.program("make")
    (tmp_path / "Makefile").write_text("all-things: ; @:\nalign: ; @:\nother: ; @:\n")

    def complete(line: str) -> list[str]:
        words = in_bash(tmp_path, line, with_package=True) if shell == "bash" else SHELLS[shell](tmp_path, line)
        return sorted(word.rstrip() for word in words)

    return complete


def test_commands(offers: Offers) -> None:
    assert offers("spraycc ") == sorted(command.words[0] for command in ROOT.commands)
    assert offers("spraycc conf") == ["config"]


def test_options_and_settings(offers: Offers) -> None:
    assert offers("spraycc --executor") == ["--executor-prefix", "--executors"]
    assert offers("spraycc --no-summary") == ["--no-summary-line"]
    everything = [name for option in ROOT.options for name in (*option.names, *option.off_names)]
    assert set(offers("spraycc --")) == {name for name in everything if name.startswith("--")}


@pytest.mark.parametrize("start", ["--cluster ", "--executors 3 --cluster "])
def test_the_choices_of_a_setting(offers: Offers, start: str) -> None:
    words = start.split()
    assert offers(f"spraycc {start}pbs") == sorted([*words, "pbs", "pbs-step"])


def test_the_choices_after_an_equals_sign(offers: Offers) -> None:
    assert offers("spraycc --capture=ove") == ["--capture=overlay"]


def test_each_subcommand_has_its_own_options(offers: Offers) -> None:
    assert offers("spraycc server ") == ["run", "server", "start", "stop"]
    assert offers("spraycc --executors 3 server stop --") == sorted(
        ["--executors", "3", "server", "stop", "--force", "--help", "--now"]
    )


@pytest.mark.parametrize("line", ["--summary ", "--executors 2 why "])
def test_files(offers: Offers, line: str) -> None:
    words = line.split()
    assert {"file.txt", "a directory"} <= set(offers(f"spraycc {line}"))
    assert offers(f"spraycc {line}file") == sorted([*words, "file.txt"])


def test_directories(offers: Offers) -> None:
    assert offers("spraycc --scratch-dir a") == ["--scratch-dir", "a directory"]


def test_a_value_with_a_colon_is_one_word(offers: Offers) -> None:
    assert offers("spraycc --hosts a:4 conf") == ["--hosts", "a:4", "config"]
    assert offers("spraycc --hosts=a:4 conf") == ["--hosts=a:4", "config"]


@pytest.mark.parametrize(
    "tool",
    [
        "make",
        "--executors 3 make -k",
        "/usr/bin/make",
        "run make",
        "run --remote -- make",
        "build -- make",
        "build make",
    ],
)
def test_a_tool_completes_its_own_words(offers_of_tools: Offers, tool: str) -> None:
    assert offers_of_tools(f"spraycc {tool} al") == sorted([*tool.split(), "all-things", "align"])


@pytest.mark.parametrize("start", ["run", "run --", "build", "build --"])
def test_any_program_can_be_run(offers_of_tools: Offers, start: str) -> None:
    assert "mkfifo" in offers_of_tools(f"spraycc {start} mkfif")


def test_options_after_a_tools_name_are_the_tools(offers_of_tools: Offers) -> None:
    assert "--executors" in offers_of_tools("spraycc --exec")
    assert "--executors" not in offers_of_tools("spraycc make --exec")
    assert {"--directory", "--directory="} & set(offers_of_tools("spraycc make --dir"))


def test_the_numbers_of_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Option(("--build",), (), "BUILD", (), "", "The build's number.")
    commands = (("why",), (build,)), (("builds",), ())
    root = replace(ROOT, commands=tuple(Command(words, "Help.", "Help.", "", own, (), ()) for words, own in commands))
    for name, module in {"bash": bash, "zsh": zsh, "fish": fish}.items():
        monkeypatch.setitem(SCRIPTS, name, module.script(root))
        (tmp_path / name).mkdir()
        assert sorted(SHELLS[name](tmp_path / name, "spraycc why --build ")) == ["--build", "1", "12", "why"], name


def test_no_help_text_is_code_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "It's [a] $(touch made) `touch made` \\ \"b\": \\' ; touch made #"
    root = replace(
        ROOT, options=(Option(("--weird",), (), "FILE", (), "", text), Option(("--well",), (), "", (), "", text))
    )
    root = replace(
        root, commands=(Command(("why",), text, text, "", (), (), ()), Command(("who",), text, text, "", (), (), ()))
    )
    for name, module in {"bash": bash, "zsh": zsh, "fish": fish}.items():
        monkeypatch.setitem(SCRIPTS, name, module.script(root))
        (tmp_path / name).mkdir()
        assert sorted(SHELLS[name](tmp_path / name, "spraycc --we")) == ["--weird", "--well"], name
        assert sorted(SHELLS[name](tmp_path / name, "spraycc wh")) == ["who", "why"], name
        assert not list(tmp_path.glob("*/made"))


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "source <(spraycc completion bash)"),
        ("zsh", "source <(spraycc completion zsh)"),
        ("fish", "spraycc completion fish | source"),
    ],
)
def test_one_line_of_the_users_start_up_file(tmp_path: Path, shell: str, line: str) -> None:
    """As `spraycc completion` says: the shell reads the script, wherever SprayCC is installed."""
    program = Path(sys.executable).with_name("spraycc")
    if shell == "fish":
        code = f"{line}; complete -C 'spraycc conf'"
        environ = {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        argv = [needs.program("fish"), "-c", code]
        done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S)
        assert done.stdout.split("\t")[0] == "config"
        return
    starts = {
        "bash": BASH_START.format(script="/dev/null", more=line, builds=BUILDS),
        "zsh": ZSH_START.format(directory=tmp_path, builds=BUILDS).replace("zle -C", f"{line}\nzle -C"),
    }
    argv = [needs.program(shell), "--norc", "-i"] if shell == "bash" else [needs.program(shell), "-f", "-i"]
    path = f"PATH={program.parent}:$PATH\n"
    assert typed(argv, path + starts[shell], "spraycc conf", tmp_path) == ["config"]


def completion(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_calling_shell_is_the_default(shell: str) -> None:
    program = Path(sys.executable).with_name("spraycc")
    done = completion(needs.program(shell), "-c", f"{program} completion; true")
    assert done.stdout == SCRIPTS[shell]
    assert completion(str(program), "completion", shell).stdout == SCRIPTS[shell]


def test_a_caller_without_a_script_is_told_the_next_step() -> None:
    program = Path(sys.executable).with_name("spraycc")
    done = completion(needs.program("dash"), "-c", f"{program} completion; exit $?")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "spraycc: error: completion: for which shell? dash calls; for instance: spraycc completion bash\n"
    )


def test_bash_finds_the_script_in_its_place(tmp_path: Path) -> None:
    need_bash_completion()
    place = tmp_path / ".local/share/bash-completion/completions/spraycc"
    place.parent.mkdir(parents=True)
    place.write_text(SCRIPTS["bash"])
    start = BASH_START.format(script="/dev/null", more=f". {BASH_COMPLETION}", builds=BUILDS)
    assert typed([needs.program("bash"), "--norc", "-i"], start, "spraycc conf", tmp_path) == ["config"]


def test_fish_finds_the_script_in_its_place(tmp_path: Path) -> None:
    place = tmp_path / ".config/fish/completions/spraycc.fish"
    place.parent.mkdir(parents=True)
    place.write_text(SCRIPTS["fish"])
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    argv = [needs.program("fish"), "-c", "function spraycc; end; complete -C 'spraycc conf'"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=HANG_S, check=True)
    assert done.stdout.startswith("config\t")


def test_a_command_line_of_spraycc_within_another(offers_of_tools: Offers) -> None:
    assert offers_of_tools("spraycc run spraycc conf") == ["config", "run", "spraycc"]
    assert offers_of_tools("spraycc run -- spraycc --capture=ov") == ["--", "--capture=overlay", "run", "spraycc"]
    assert offers_of_tools("spraycc run spraycc make al") == ["align", "all-things", "make", "run", "spraycc"]
