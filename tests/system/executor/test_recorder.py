"""The recorder with real compilers, and each function that it wraps."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spraycc import stamps
from spraycc.executor.recorder import FILE_BYTES
from spraycc.system.preload import can_preload
from tests.system.executor import recording
from tests.system.executor.recording import PLAIN, Recorder, compiled, exported, plain, products_of, stamps_of
from tests.system.harness import needs
from tests.system.harness.waiting import wait_until

library = recording.library
recorder = recording.recorder
program = recording.program

#: Functions whose lookups the recorder can't see, or that change the meaning of paths.
HIDE = (
    "ftw ftw64 nftw nftw64 glob glob64 fts_open fts64_open wordexp chroot pivot_root mount umount umount2 setns unshare move_mount "
    "open_tree posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_addfchdir_np open_by_handle_at"
)
#: Functions that change a part of a file.
ALTER = (
    "truncate truncate64 chmod lchmod fchmodat chown lchown fchownat utime utimes lutimes futimesat utimensat setxattr lsetxattr "
    "removexattr lremovexattr"
)
#: The lookups in the record of a function's hit, by their kind. "w" is the mark of the command's product.
KINDS = {
    "f": "open open64 __open __open64 __open_2 __open64_2 openat openat64 __openat_2 __openat64_2 fopen fopen64 _IO_fopen setmntent __setmntent "
    "freopen freopen64 stat stat64 __xstat __xstat64 fstatat fstatat64 statx access eaccess euidaccess faccessat realpath __realpath_chk canonicalize_file_name chdir "
    "syscall execve execv execvp execvpe execveat execl execlp execle posix_spawn posix_spawnp system popen truncate truncate64 chmod fchmodat "
    "chown fchownat utime utimes futimesat utimensat setxattr removexattr getxattr listxattr statfs statfs64 __statfs statvfs "
    "statvfs64 pathconf ftok inotify_add_watch posix_spawn_file_actions_addopen",
    "n": "opendir scandir scandir64 scandirat scandirat64",
    "l": "lstat lstat64 __lxstat __lxstat64 __fxstatat __fxstatat64 readlink __readlink_chk readlinkat __readlinkat_chk realpath "
    "__realpath_chk canonicalize_file_name rename renameat renameat2 link linkat lchmod lchown lutimes lsetxattr "
    "lremovexattr lgetxattr llistxattr name_to_handle_at",
    "w": "creat creat64 unlink remove rmdir unlinkat mkdir mkfifo mknod mkdirat mkfifoat mknodat __xmknod __xmknodat symlink symlinkat "
    "mkstemp mkstemp64 mkostemp mkostemp64 mkstemps mkstemps64 mkostemps mkostemps64 mkdtemp",
}
#: The functions that make a missing name, and those that remove a name: with the kind of the lookup.
MAKE = "mkdir mkfifo mknod mkdirat mkfifoat mknodat __xmknod __xmknodat symlink symlinkat"
REMOVE = {"unlink": "l", "remove": "l", "rmdir": "n", "unlinkat": "l"}
#: The descriptor's opening was recorded.
BY_DESCRIPTOR = {"fexecve", "fchdir"}
#: Wrapped because of the loader's work meanwhile, names in /dev/shm, and filters of system calls.
OTHERS = {"dlclose", "_exit", "_Exit", "quick_exit", "shm_open", "shm_unlink", "sem_open", "sem_unlink", "prctl"}

pytestmark = pytest.mark.needs("cc", package="gcc")


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("calls"), "recorder_calls")


def write_project(work: Path) -> None:
    for name in ("first", "second", "forced"):
        (work / name).mkdir()
    (work / "second" / "x.h").write_text("#define X 1\n")
    (work / "forced" / "all.h").write_text("#define ALL 1\n")
    (work / "words").write_text("-Ifirst -Isecond -include forced/all.h\n")
    (work / "t.c").write_text(
        '#include <stdio.h>\n#include "x.h"\n#if __has_include("nope.h")\n#error no\n#endif\n'
        "int main(void) { return X + ALL; }\n"
    )


def prerequisites(depfile: str) -> list[str]:
    return depfile.replace("\\\n", " ").split(":", 1)[1].split()


@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang"])
def test_everything_that_a_compile_reads_is_recorded(recorder: Recorder, compiler: str) -> None:
    cc = needs.compiler(compiler)
    write_project(recorder.work)
    command = [cc, "@words", "-MMD", "-MF", "t.d", "-c", "t.c", "-o", "t.o"]
    reads = recorder.reads(*command)
    found = stamps_of(reads)
    assert reads.complete
    depends = prerequisites(plain([cc, "@words", "-M", "t.c"], recorder.work).stdout.decode())
    assert len(depends) > 5
    assert {"t.c", "second/x.h", "forced/all.h"} <= set(depends)
    assert set(prerequisites((recorder.work / "t.d").read_text())) <= set(depends)
    for path in [*depends, "words"]:
        lookup = os.fsencode("f" + os.path.join(recorder.work, path))
        assert found.get(lookup) == stamps.look(lookup), path
    for missed in ("first/x.h", "first/nope.h", "second/nope.h", "first/stdio.h"):
        assert found.get(recorder.lookup("f", missed)) == stamps.MISSING, missed
    assert recorder.lookup("f", "t.d") in products_of(reads)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_what_the_assembler_reads_is_recorded(recorder: Recorder, compiler: str) -> None:
    cc = needs.compiler(compiler)
    for name in ("first", "second"):
        (recorder.work / name).mkdir()
    (recorder.work / "second" / "more.s").write_text(".byte 1\n")
    (recorder.work / "data.bin").write_bytes(b"data")
    (recorder.work / "t.s").write_text('.data\n.include "more.s"\n.incbin "data.bin"\n')
    reads = recorder.reads(cc, "-Wa,-Ifirst,-Isecond", "-c", "t.s")
    assert reads.complete
    for path in ("t.s", "data.bin", "second/more.s"):
        lookup = recorder.lookup("f", path)
        assert stamps_of(reads).get(lookup) == stamps.look(lookup)
    assert stamps_of(reads)[recorder.lookup("f", "first/more.s")] == stamps.MISSING


@pytest.mark.parametrize("compiler", ["gcc", "g++", "clang"])
def test_a_recorded_compile_gives_the_same(recorder: Recorder, compiler: str) -> None:
    cc = needs.compiler(compiler)
    write_project(recorder.work)
    (recorder.work / "warn.c").write_text("#include <stdio.h>\nint main(void) { int unused; }\n")
    for words in (["-g", "@words", "-c", "t.c", "-o", "out"], ["-Wall", "-c", "warn.c", "-o", "out"], ["-E", "t.c"], ["@words", "t.c", "-o", "out"], ["-c", "nowhere.c"]):  # fmt: skip
        results = []
        for run in (lambda argv: plain(argv, recorder.work), lambda argv: recorder.run(*argv)):
            out = recorder.work / "out"
            out.unlink(missing_ok=True)
            done = run([cc, *words])
            results.append((done.returncode, done.stdout, done.stderr, out.read_bytes() if out.exists() else b""))
        assert results[0] == results[1], words
        assert recorder.file.read().complete, words


def test_every_wrapped_function_does_what_it_does_without_the_recorder(recorder: Recorder, library: Path, calls: Path, tmp_path: Path) -> None:  # fmt: skip
    (tmp_path / "plain").mkdir()
    without = subprocess.run([calls], cwd=tmp_path / "plain", env={**PLAIN, "PATH": "/usr/bin:."}, stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    done = recorder.run(calls, PATH="/usr/bin:.")
    assert done.stdout.decode() == without.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert sorted(p.name.split("XXX")[0][:12] for p in recorder.work.iterdir()) == sorted(
        p.name.split("XXX")[0][:12] for p in (tmp_path / "plain").iterdir()
    )
    called = {line.split()[0] for line in done.stdout.decode().splitlines() if " is missing" not in line}
    assert called == exported(library)


def test_every_wrapped_function_is_recorded(recorder: Recorder, library: Path, calls: Path) -> None:
    hidden, altering = set(HIDE.split()), set(ALTER.split())
    unlisted = hidden | BY_DESCRIPTOR | OTHERS
    for name in sorted(exported(library)):
        work = recorder.work / f"in.{name}"
        work.mkdir()
        done = recorder.run(calls, name, cwd=work, PATH="/usr/bin:.")
        assert done.returncode == 0
        reads = recorder.file.read()
        assert reads.complete == (name not in hidden), name
        found, products = stamps_of(reads), products_of(reads)
        kinds = [kind for kind, names in KINDS.items() if name in names.split()]
        assert kinds or name in unlisted, name
        for kind in kinds:
            if kind == "w":
                assert any(path.startswith(os.fsencode(f"f{work}/hit.{name}")) for path in products), name
                before = {
                    path[:1].decode(): stamp for path, stamp in found.items() if f"hit.{name}" in os.fsdecode(path)
                }
                assert before.keys() == (
                    {REMOVE[name]} if name in REMOVE else {"l"} if name in MAKE.split() else set()
                ), name
                assert all((stamp == stamps.MISSING) == (name not in REMOVE) for stamp in before.values()), name
                continue
            spelt = "/bin/sh" if name in ("system", "popen") else f"{work}/hit.{name}"
            lookup = os.fsencode(kind + spelt)
            assert lookup in found, (name, lookup, found)
            if name not in altering | {"rename", "renameat", "renameat2", "link", "linkat"}:
                assert found[lookup] == stamps.look(lookup), name
        if name not in unlisted | {"system", "popen"} and not name.startswith(("mkstemp", "mkostemp", "mkdtemp")):  # fmt: skip
            assert [stamp for path, stamp in found.items() if f"miss.{name}" in os.fsdecode(path)], name
            assert {stamp for path, stamp in found.items() if f"miss.{name}" in os.fsdecode(path)} == {stamps.MISSING}


def test_threads_write_whole_records(recorder: Recorder, program: Path) -> None:
    reads = recorder.reads(program, "threads")
    assert reads.complete
    expected = {recorder.lookup("f", f"t{thread}-{i}") for thread in range(8) for i in range(500)}
    assert {lookup for lookup, stamp in stamps_of(reads).items() if stamp == stamps.MISSING} >= expected
    for thread in range(8):
        own = [lookup for lookup, _, _ in reads.entries if f"/t{thread}-" in os.fsdecode(lookup)]
        assert own == [recorder.lookup("f", f"t{thread}-{i}") for i in range(500)]


def test_a_child_of_vfork_has_its_own_working_directory(recorder: Recorder, program: Path) -> None:
    (recorder.work / "sub").mkdir()
    reads = recorder.reads(program, "vfork")
    assert reads.complete
    found = stamps_of(reads)
    assert found[recorder.lookup("f", "sub/of-child")] == stamps.MISSING
    assert found[recorder.lookup("f", "of-parent")] == stamps.MISSING
    assert found[recorder.lookup("f", "sub/nowhere")] == stamps.MISSING


def test_odd_paths(recorder: Recorder, program: Path) -> None:
    (recorder.work / "sub").mkdir()
    (recorder.work / "x.txt").touch()
    (recorder.work / "sub" / "x").touch()
    (recorder.work / "one").symlink_to("two")
    (recorder.work / "two").symlink_to(recorder.work / "sub")
    reads = recorder.reads(program, "odd-paths")
    assert reads.complete
    found = {lookup: stamp for lookup, stamp in stamps_of(reads).items() if os.fsencode(recorder.work) in lookup}
    assert found.keys() == {
        *(recorder.lookup("f", path) for path in ("sub", "sub/../sub/below", "one/x", "x.txt/below-a-file", "x.txt")),
        *(recorder.lookup("l", path) for path in ("one", "two", "x.txt")),
    }
    for lookup, stamp in found.items():
        assert stamp == stamps.look(lookup), lookup
    others = {lookup for lookup in stamps_of(reads) if os.fsencode(recorder.work) not in lookup}
    assert b"f/nowhere/absolute" in others
    assert not {lookup for lookup in others if lookup.startswith((b"f/dev", b"f/proc"))}


@pytest.mark.parametrize(
    "name", ["long-path", "no-directory", "overflow", "by-descriptor", "filter-by-prctl", "filter-by-syscall"]
)
def test_what_can_t_be_described_makes_the_record_incomplete(recorder: Recorder, program: Path, name: str) -> None:
    assert not recorder.reads(program, name).complete


def test_a_question_about_filters_is_no_filter(recorder: Recorder, program: Path) -> None:
    reads = recorder.reads(program, "filter-question")
    assert reads.complete
    assert recorder.lookup("f", "nowhere") in stamps_of(reads)


def test_many_looks(recorder: Recorder, program: Path) -> None:
    assert recorder.reads(program, "many").complete


@pytest.mark.parametrize(("name", "seen"), [("small-thread", "of-thread"), ("small-handler-stack", "of-handler")])
def test_small_stacks(recorder: Recorder, program: Path, name: str, seen: str) -> None:
    (recorder.work / "link").symlink_to(".")
    reads = recorder.reads(program, name)
    assert reads.complete
    assert recorder.lookup("f", seen) in stamps_of(reads)
    assert (b"l" + bytes(recorder.work / "link") in stamps_of(reads)) == (name == "small-thread")


@pytest.mark.parametrize(
    "path",
    ["/proc/self/cwd/x", "//proc/self/cwd/x", "/./proc/self/cwd/x", "/usr/../proc/self/cwd/x", "/dev/../x", "/dev//./../x"],
)  # fmt: skip
def test_another_file_for_each_process_makes_the_record_incomplete(
    recorder: Recorder, program: Path, path: str
) -> None:
    assert not recorder.reads(program, "look", path).complete


@pytest.mark.parametrize(
    ("path", "cwd", "lookup"),
    [
        ("/dev/null", "/", None),
        ("//dev/./null", "/", None),
        ("null", "/dev", None),
        ("/sys/nowhere", "/", None),
        ("/dev/shm/nowhere.h", "/", "f/dev/shm/nowhere.h"),
        ("nowhere.h", "/dev/shm", "f/dev/shm/nowhere.h"),
        ("sub/../nowhere.h", "/dev/shm", "f/dev/shm/sub/../nowhere.h"),
        ("/usr/../usr/../nowhere/x", "/", "f/usr/../usr/../nowhere/x"),
        ("/usr/lib/gcc/../../../device/x", "/", "f/usr/lib/gcc/../../../device/x"),
    ],
)
def test_only_the_kernels_own_files_are_left_out(recorder: Recorder, program: Path, path: str, cwd: str, lookup: str | None) -> None:  # fmt: skip
    before = set(stamps_of(recorder.reads(program, "nothing", cwd=Path(cwd))))
    reads = recorder.reads(program, "look", path, cwd=Path(cwd))
    assert reads.complete
    assert set(stamps_of(reads)) - before == ({os.fsencode(lookup)} if lookup else set())


SCRIPT = """
import os
open("made", "w").close(); open("made").close(); os.stat("made"); os.lstat("made")
open("log", "a").close(); open("log").close()
open("fresh", "a").close()
os.rename("old", "renamed"); open("renamed").close()
os.link("source", "linked")
os.unlink("removed"); os.path.exists("removed")
open("replaced").close(); open("replaced", "w").close(); open("replaced").close()
os.chmod("made", 0o600); os.utime("made"); os.chmod("changed", 0o600); os.utime("changed"); open("changed").close()
actions = [(os.POSIX_SPAWN_OPEN, 0, "input", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
os.waitpid(os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions), 0); open("output").close()
"""


def test_inputs_and_products(recorder: Recorder) -> None:
    python = os.path.realpath(sys.executable)
    for name in ("log", "old", "source", "removed", "replaced", "changed", "input"):
        (recorder.work / name).write_text(name)
    before = {lookup: stamps.look(lookup) for kind in "fl" for name in ("log", "old", "source", "removed", "replaced", "changed", "input") for lookup in [recorder.lookup(kind, name)]}  # fmt: skip
    (recorder.work.parent / "script.py").write_text(SCRIPT)
    reads = recorder.reads(python, "-S", "-E", recorder.work.parent / "script.py")
    assert reads.complete
    entries = [(lookup, stamp, is_write) for lookup, stamp, is_write in reads.entries if lookup[1:].startswith(os.fsencode(recorder.work) + b"/")]  # fmt: skip
    assert entries == [
        (recorder.lookup("f", "made"), stamps.MISSING, True),
        (recorder.lookup("f", "log"), before[recorder.lookup("f", "log")], False),
        (recorder.lookup("f", "fresh"), stamps.MISSING, False),
        (recorder.lookup("l", "old"), before[recorder.lookup("l", "old")], False),
        (recorder.lookup("f", "renamed"), stamps.MISSING, True),
        (recorder.lookup("f", "old"), stamps.MISSING, True),
        (recorder.lookup("l", "source"), before[recorder.lookup("l", "source")], False),
        (recorder.lookup("l", "linked"), stamps.MISSING, False),
        (recorder.lookup("f", "linked"), stamps.MISSING, True),
        (recorder.lookup("l", "removed"), before[recorder.lookup("l", "removed")], False),
        (recorder.lookup("f", "removed"), stamps.MISSING, True),
        (recorder.lookup("f", "replaced"), before[recorder.lookup("f", "replaced")], False),
        (recorder.lookup("f", "changed"), before[recorder.lookup("f", "changed")], False),
        (recorder.lookup("f", "input"), before[recorder.lookup("f", "input")], False),
        (recorder.lookup("f", "output"), stamps.MISSING, True),
    ]
    assert reads.kept == {lookup[1:] for name in ("log", "fresh") for lookup in [recorder.lookup("f", name)]}


def test_a_compiler_that_is_killed_leaves_its_records(recorder: Recorder) -> None:
    (recorder.work / "seen.h").touch()
    os.mkfifo(recorder.work / "waits.h")
    (recorder.work / "t.c").write_text('#include "seen.h"\n#include "waits.h"\n')
    recorder.file.reset()
    seen = recorder.lookup("f", "seen.h")
    command = [needs.compiler("gcc"), "-c", "t.c"]
    with subprocess.Popen(command, cwd=recorder.work, env=recorder.env(), start_new_session=True) as process:
        try:
            wait_until(lambda: seen in stamps_of(recorder.file.read()))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert stamps_of(recorder.file.read())[seen] == stamps.look(seen)


def test_nothing_is_recorded_without_a_usable_file(recorder: Recorder, program: Path, tmp_path: Path) -> None:
    short, foreign = tmp_path / "short", tmp_path / "foreign"
    short.write_bytes(b"0123456789")
    foreign.touch()
    os.truncate(foreign, FILE_BYTES)
    (recorder.work / "sub").mkdir()
    for named in (None, "", "relative", str(tmp_path / "missing"), str(tmp_path), str(short), str(foreign)):
        env = {**PLAIN, "LD_PRELOAD": str(recorder.library)} | ({} if named is None else {"SPRAYCC_RECORD": named})
        done = subprocess.run([program, "vfork"], cwd=recorder.work, env=env, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), named
    assert short.read_bytes() == b"0123456789"
    assert not foreign.read_bytes().strip(b"\0")


@pytest.mark.parametrize("how", ["static", "clean", "static-child", "clean-child", "seen-child"])
def test_a_program_without_the_recorder_makes_the_record_incomplete(recorder: Recorder, program: Path, tmp_path: Path, how: str) -> None:  # fmt: skip
    static = compiled(tmp_path, "recorder_program", "-static")
    commands: dict[str, list[str | Path]] = {
        "static": [static, "nothing"],
        "clean": ["env", "-i", program, "nothing"],
        "static-child": ["sh", "-c", f"{static} nothing; true"],
        "clean-child": ["sh", "-c", f"env -u SPRAYCC_RECORD {program} nothing; true"],
        "seen-child": ["sh", "-c", f"{program} nothing; {program} nothing | {program} nothing; true"],
    }
    assert recorder.reads(*commands[how]).complete == (not how.startswith("static"))


def test_which_programs_can_be_recorded(program: Path, tmp_path: Path) -> None:
    static = compiled(tmp_path, "recorder_program", "-static")

    def script(name: str, first_line: str) -> bytes:
        (tmp_path / name).write_text(first_line)
        return bytes(tmp_path / name)

    assert can_preload(bytes(program))
    assert can_preload(os.fsencode(needs.compiler("gcc")))
    assert not can_preload(bytes(static))
    assert can_preload(script("shell", "#!/bin/sh -e\n"))
    assert can_preload(script("spaced", f"#! {program}"))
    assert not can_preload(script("of-static", f"#!{static}\n"))
    assert can_preload(script("of-script", f"#!{tmp_path}/shell\n"))
    assert not can_preload(script("of-itself", f"#!{tmp_path}/of-itself\n"))
    shutil.copy(program, tmp_path / "setuid")
    (tmp_path / "setuid").chmod(0o4755)
    assert not can_preload(bytes(tmp_path / "setuid"))
    shutil.copy(static, tmp_path / "changes")
    assert not can_preload(bytes(tmp_path / "changes"))
    shutil.copy(program, tmp_path / "changes")
    assert can_preload(bytes(tmp_path / "changes"))


def test_the_library_asks_for_no_new_c_library(library: Path) -> None:
    text = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([0-9.]+)", text)}
    assert versions
    assert max(versions) <= (2, 17)
