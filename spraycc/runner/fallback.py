"""The runner in Python, for installations without a C compiler. It has the native runner's behaviour, and its tests.

One file without imports from SprayCC: it starts once for each compile, and each import costs time. The C sources
(spraycc/native/runner/) explain the behaviour. The comments in this file explain only what is special to Python.
"""
# ruff: noqa: SIM105 (contextlib would be one more import)

import errno
import os
import sys

if __name__ == "__main__":
    # The directory of installed scripts may hold any file, a socket.py for instance.
    _scripts = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [p for p in sys.path if p != _scripts]

TYPE_CHECKING = False  # typing.TYPE_CHECKING would cost an import
if TYPE_CHECKING:
    import resource
    import signal
    import socket
    from typing import NoReturn
else:
    import _signal as signal  # signal.py and socket.py make enums of all constants: 5 ms a start, each
    import _socket as socket

LAUNCHER = b"spraycc-run"
#: the library that intercepts executions, and the variable by which it names the program
EXEC_LIBRARY = b"libspraycc-exec.so"
PROGRAM = b"SPRAYCC_PROGRAM"
#: as in spraycc/build_tools.py
SHIMMED = (b"make", b"gmake", b"ninja", b"ninja-build", b"ctest", b"cargo", b"cmake", b"meson")
#: as in spraycc/shims.py
SHIM_MARK = b"\n# spraycc-shim\n"
#: The build hook replaces this text by the release.
VERSION = "@VERSION@"
PROTOCOL = 1
MAX_FRAME_BYTES = 16 * 1024 * 1024

USAGE = b"usage: spraycc-run [--remote|--local] [--] CMD [ARGS...]\n       spraycc-run --version | --help\n"
HELP = b"""
Runs one command through the SprayCC server of this build; without a server, on this host.
  --remote   on an executor if at all possible, whatever kind of command it is
  --local    on this host, when a local slot is free
"""


def say(*parts: bytes) -> None:
    """One line on stderr."""
    try:
        os.write(2, b"".join(parts) + b"\n")
    except OSError:
        pass


def reason(number: int) -> bytes:
    return os.fsencode(os.strerror(number))


def write_all(fd: int, data: bytes) -> int:
    """0, or the errno of the failure."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
        except OSError as exc:
            return exc.errno or errno.EIO
    return 0


# --- CBOR and messages ----------------------------------------------------------------------------------------------


def head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes((major << 5 | value,))
    width = 1 if value < 1 << 8 else 2 if value < 1 << 16 else 4 if value < 1 << 32 else 8
    return bytes((major << 5 | 23 + width.bit_length(),)) + value.to_bytes(width, "big")


def encode(item: object) -> bytes:
    if isinstance(item, int):
        return head(0, item) if item >= 0 else head(1, -1 - item)
    if isinstance(item, bytes):
        return head(2, len(item)) + item
    if isinstance(item, str):
        data = item.encode()
        return head(3, len(data)) + data
    assert isinstance(item, (list, tuple))
    return head(4, len(item)) + b"".join([encode(part) for part in item])


class Garbage(Exception):
    """The server sent a message that the grammar does not allow, or no whole message."""


class Cursor:
    """Reads the items of a message."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    def take(self, count: int) -> bytes:
        data = self.body[self.at : self.at + count]
        if len(data) != count:
            raise Garbage
        self.at += count
        return data

    def head(self, major: int, most: int = 2**64 - 1) -> int:
        first = self.take(1)[0]
        info = first & 31
        if first >> 5 != major or info > 27:
            raise Garbage
        value = info if info < 24 else int.from_bytes(self.take(1 << info - 24), "big")
        if value > most:
            raise Garbage
        return value

    def string(self, major: int) -> bytes:
        return self.take(self.head(major))


def decode(body: bytes) -> tuple[str, int, int, bytes]:
    """A message: its tag, two numbers (for "out" the first is the descriptor) and bytes.

    Raises:
        Garbage: the body is no message of the grammar.
    """
    cursor = Cursor(body)
    count = cursor.head(4)
    if count == 0:
        raise Garbage
    tag = cursor.string(3)
    if tag == b"out" and count >= 3:
        fd = cursor.head(0, 2)
        if fd == 0:
            raise Garbage
        return "out", fd, 0, cursor.string(2)
    if tag == b"exit" and count >= 3:
        return "exit", cursor.head(0, 255), cursor.head(0, 64), b""
    if tag == b"here":
        out = cursor.head(0) if count > 1 else 0
        err = cursor.head(0) if count > 2 else 0
        stay = cursor.head(0) if count > 3 else 0
        return "here", out, err, b"" if not stay else b"ask" if stay == 1 else b"tell"
    if tag == b"refused":
        return "refused", 0, 0, b""
    raise Garbage


# --- the environment ------------------------------------------------------------------------------------------------


def initial_environment() -> list[bytes]:
    """All entries as this process got them.

    os.environb has neither duplicates nor entries without a "=", and Python adds LC_CTYPE in the C locale (PEP 538).
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            return file.readall().split(b"\0")[:-1]
    except OSError:
        return [name + b"=" + value for name, value in os.environb.items()]


class Environment:
    """Entries, ``NAME=value`` each. Has the methods of a mapping that os.execve calls."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries

    def get(self, name: bytes) -> bytes | None:
        prefix = name + b"="
        return next((e[len(prefix) :] for e in self.entries if e.startswith(prefix)), None)

    def without_ours(self) -> list[bytes]:
        return [e for e in self.entries if not e.startswith(b"SPRAYCC_")]

    def strip_path(self, shims: bytes | None) -> None:
        if not shims:
            return
        stripped = []
        for entry in self.entries:
            if entry.startswith(b"PATH="):
                elements = [e for e in entry[5:].split(b":") if not is_shim_directory(e, shims)]
                if not elements:
                    continue
                entry = b"PATH=" + b":".join(elements)
            stripped.append(entry)
        self.entries = stripped

    def strip_preload(self) -> None:
        stripped = []
        for entry in self.entries:
            if entry.startswith(b"LD_PRELOAD="):
                entry = b"LD_PRELOAD=" + preload_without_ours(entry[11:])
                if entry == b"LD_PRELOAD=" and entry not in self.entries:
                    continue
            stripped.append(entry)
        self.entries = stripped

    def take_program(self) -> bytes | None:
        prefix = PROGRAM + b"="
        values = [e[len(prefix) :] for e in self.entries if e.startswith(prefix)]
        self.entries = [e for e in self.entries if not e.startswith(prefix)]
        return values[-1] or None if values else None

    def hold_slot(self) -> None:
        holds = b"SPRAYCC_SLOT=1"
        at = self.entries.index(holds) if holds in self.entries else len(self.entries)
        before, after = Environment(self.entries[:at]), Environment(self.entries[at + 1 :])
        self.entries = [*before.without_ours(), holds, *after.without_ours()]

    # The methods that os.execve calls. An entry may occur twice.
    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: bytes) -> bytes:
        raise KeyError(name)

    def keys(self) -> list[bytes]:
        return [e.partition(b"=")[0] for e in self.entries]

    def values(self) -> list[bytes]:
        return [e.partition(b"=")[2] for e in self.entries]


def preload_without_ours(value: bytes) -> bytes:
    """The libraries of LD_PRELOAD but ours. Each but the first keeps the separator before it."""
    kept = b""
    start = 0
    for end in [at for at, byte in enumerate(value) if byte in b": "] + [len(value)]:
        if value[start:end].rpartition(b"/")[2] != EXEC_LIBRARY:
            kept += (value[start - 1 : start] if kept else b"") + value[start:end]
        start = end + 1
    return kept if EXEC_LIBRARY in value else value


# --- the search for the real program --------------------------------------------------------------------------------


def is_shim_directory(element: bytes, shims: bytes) -> bool:
    def trim(path: bytes) -> bytes:
        return path[:1] + path[1:].rstrip(b"/")

    return trim(element) == trim(shims)


def is_runner(path: bytes) -> bool:
    try:
        st = os.stat(path)
        own = os.stat(__file__)
        if os.path.samestat(st, own) or os.path.basename(os.path.realpath(path)) == LAUNCHER:
            return True
        if st.st_mode & 0o170000 != 0o100000 or st.st_size <= len(SHIM_MARK):
            return False
        with open(path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), len(SHIM_MARK), st.st_size - len(SHIM_MARK)) == SHIM_MARK
    except OSError:
        return False


def check(path: bytes) -> int:
    """0 if the file can be executed, else an errno with the reason."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return errno.ENOENT
    if mode & 0o170000 == 0o040000:
        return errno.EISDIR
    executable = mode & 0o170000 == 0o100000 and os.access(path, os.X_OK, effective_ids=True)
    return 0 if executable else errno.EACCES


def find_program(name: bytes, path: bytes | None, shims: bytes | None) -> tuple[bytes, int]:
    """The path of the real program and 0; or the name and an errno."""
    if b"/" in name:
        if not is_runner(name):
            return name, check(name)
        name = os.path.basename(name)
    why = errno.ENOENT
    for element in (b"/bin:/usr/bin" if path is None else path).split(b":") if name else ():
        if shims and is_shim_directory(element, shims):
            continue
        candidate = element + b"/" + name if element else name
        problem = check(candidate)
        if problem == errno.EACCES:
            why = problem
        if problem == 0 and not is_runner(candidate):
            return candidate, 0
    return name, why


# --- the context, as in spraycc/context.py --------------------------------------------------------------------------


def context(cwd: bytes, server: int) -> str:
    root = os.stat("/")
    fd = os.open("/", os.O_PATH | os.O_CLOEXEC)
    mount = proc_fields(f"/proc/self/fdinfo/{fd}").get(b"mnt_id", b"").decode()
    os.close(fd)
    parts = []
    for name in ("mnt", "user", "pid", "net"):
        try:
            parts.append(f"{name}:{os.stat('/proc/self/ns/' + name).st_ino}")
        except OSError:
            parts.append(f"{name}:")
    parts += [f"root:{root.st_dev}/{root.st_ino}/{mount}", f"uid:{os.geteuid()}", f"gid:{os.getegid()}"]
    parts.append("groups:" + ",".join(map(str, sorted(set(os.getgroups())))))
    fields = proc_fields("/proc/self/status")
    for field in (b"TracerPid", b"CapEff", b"NoNewPrivs", b"Seccomp", b"Seccomp_filters"):
        parts.append(field.decode() + ":" + fields.get(field, b"").decode())
    try:
        is_hidden = not os.path.samestat(os.stat(cwd), os.stat("."))
    except OSError:
        is_hidden = True
    if is_hidden:
        parts.append("cwd:hidden")
    try:
        os.readlink(f"/proc/{server}/root")
    except PermissionError:
        parts.append("server:hidden")
    except OSError:
        pass
    return " ".join(parts)


def proc_fields(path: str) -> dict[bytes, bytes]:
    fields = {}
    try:
        with open(path, "rb", buffering=0) as file:
            for line in (file.read(65535) or b"").split(b"\n"):
                field, _, value = line.partition(b":")
                fields[field] = value.strip()
    except OSError:
        pass
    return fields


# --- the task -------------------------------------------------------------------------------------------------------


class Task:
    def __init__(self, env: Environment, wish: str, program: bytes, argv: list[bytes]) -> None:
        self.env = env
        self.wish = wish
        self.program = program
        self.argv = argv
        self.streams: list[tuple[str, int, int]] = []
        self.server = 0

    def examine_streams(self) -> None:
        """Note what descriptors 0 to 2 are. Each closed one gets a placeholder, so that no file gets its number."""
        for fd in range(3):
            try:
                st = os.fstat(fd)
            except OSError:
                self.streams.append(("closed", 0, 0))
                continue
            self.streams.append((stream_kind(fd, st), st.st_dev, st.st_ino))
        for kind, _, _ in self.streams:
            if kind == "closed":
                os.open("/", os.O_PATH | os.O_CLOEXEC)

    def streams_are_one(self) -> bool:
        return self.streams[1] == self.streams[2] and self.streams[1][0] != "closed"

    def request(self, build: bytes) -> bytes:
        """The first frame.

        Raises:
            OSError: there is no working directory.
        """
        import resource

        cwd = self.working_directory()
        umask = os.umask(0o077)
        os.umask(umask)
        limits = []
        for number in range(16):
            try:
                soft, hard = resource.getrlimit(number)
            except (ValueError, OSError):
                continue
            limits.append((number, soft % 2**64, hard % 2**64))  # in Python, unlimited is -1
        program = os.path.join(cwd, self.program)
        item = [
            "task", PROTOCOL, self.wish, build, self.argv, program, cwd, self.env.without_ours(), umask, limits,
            os.getpriority(os.PRIO_PROCESS, 0), self.streams, self.window(), context(cwd, self.server),
        ]  # fmt: skip
        body = encode(item)
        return len(body).to_bytes(4, "big") + body

    def window(self) -> tuple[int, int]:
        """Rows and columns of the terminal that is stdout, or else stderr."""
        for fd in (1, 2):
            if self.streams[fd][0] == "tty":
                try:
                    size = os.get_terminal_size(fd)
                except OSError:
                    continue
                return (size.lines, size.columns)
        return (0, 0)

    def working_directory(self) -> bytes:
        pwd = self.env.get(b"PWD") or b""
        try:
            if pwd.startswith(b"/") and os.path.samestat(os.stat(pwd), os.stat(b".")):
                return pwd
        except OSError:
            pass
        return os.getcwdb()

    def execute(self) -> "NoReturn":
        """Execute the program in the place of this process."""
        try:
            try:
                execve(self.program, self.argv, self.env)
            except OSError as exc:
                if exc.errno != errno.ENOEXEC:
                    raise
                execve(b"/bin/sh", [b"/bin/sh", self.program, *self.argv[1:]], self.env)
        except OSError as exc:
            say(self.program, b": ", reason(exc.errno or errno.EIO))
            os._exit(127 if exc.errno == errno.ENOENT else 126)
        raise AssertionError  # execve returned


def stream_kind(fd: int, st: os.stat_result) -> str:
    kinds = {0o100000: "file", 0o010000: "pipe", 0o140000: "socket"}
    kind = kinds.get(st.st_mode & 0o170000, "other")
    if st.st_mode & 0o170000 == 0o020000:
        if st.st_rdev == os.makedev(1, 3):
            return "null"
        if os.isatty(fd):
            return "tty"
    return kind


def execve(program: bytes, argv: list[bytes], env: Environment) -> None:
    if all(e.find(b"=") > 0 for e in env.entries):
        os.execve(program, argv, env)  # type: ignore[arg-type]
    # Python refuses entries without a name.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    vectors = [(ctypes.c_char_p * (len(v) + 1))(*v, None) for v in (argv, env.entries)]
    libc.execve(program, *vectors)
    raise OSError(ctypes.get_errno(), "execve")


# --- build tools ----------------------------------------------------------------------------------------------------


def exec_command(task: Task, name: bytes, given: bytes | None) -> None:
    """Execute the spraycc command, which opens a build and runs the tool in it. Returns if that fails."""
    directory = os.path.dirname(os.path.realpath(os.fsencode(__file__)))
    task.env.strip_preload()
    env = Environment([*task.env.entries, PROGRAM + b"=" + given] if given else task.env.entries)
    for place in (b"spraycc", b"../../bin/spraycc"):
        command = os.path.join(directory, place)
        if os.access(command, os.X_OK):
            try:
                execve(command, [command, b"--shim", given or name, *task.argv[1:]], env)
            except OSError:
                pass


#: the first words with which tools do not only configure
BUILDS = {b"cmake": (b"--build", b"--workflow"), b"meson": (b"compile", b"test", b"install")}


def configures(name: bytes, argv: list[bytes]) -> bool:
    return name in BUILDS and not (len(argv) > 1 and argv[1] in BUILDS[name])


def may_set_width(argv: list[bytes]) -> bool:
    """Whether a word may be a -j. A wrong yes only costs time."""
    for word in argv[1:]:
        if word == b"--":
            return False
        if word.startswith((b"--jobs", b"--parallel")) or (word[:1] == b"-" and word[1:2] != b"-" and b"j" in word):
            return True
    return False


def cap_width(argv: list[bytes], env: Environment) -> None:
    """Lower each -j of a tool without SprayCC to the number of local slots, unless it is below a make's jobserver."""
    if b"--jobserver" in (env.get(b"MAKEFLAGS") or b""):
        return
    import re

    chosen = env.get(b"SPRAYCC_LOCAL_SLOTS") or b""
    limit = int(chosen) if chosen.isdigit() and int(chosen) else len(os.sched_getaffinity(0))
    for at, word in enumerate(argv[1:], 1):
        found = re.fullmatch(rb"(--(?:jobs|parallel)=|-[BbdeikmnpqrRsStvw]*j)([0-9]*)|--(?:jobs|parallel)", word)
        if word == b"--":
            return
        if not found:
            continue
        number = found[2]
        if not number and argv[at + 1 : at + 2] and argv[at + 1].isdigit():
            argv[at + 1] = min(argv[at + 1], b"%d" % limit, key=int)
        else:
            start = found[1] or word + b"="
            argv[at] = start + (min(number, b"%d" % limit, key=int) if number else b"%d" % limit)


def may_have_left(env: Environment) -> bool:
    """Whether MAKEFLAGS was replaced by a value without the jobserver, perhaps with a -j. Likewise."""
    flags = env.get(b"MAKEFLAGS") or b""
    return b"j" in flags and b"--jobserver" not in flags


def reopen_jobserver(env: Environment, path: bytes, build: bytes) -> None:
    """Open the build's fifo under the number that MAKEFLAGS names, if that descriptor is closed."""
    import fcntl

    flags = env.get(b"MAKEFLAGS") or b""
    _, found, value = flags.rpartition(b"--jobserver-auth=")
    # The value that no make has expanded yet names the FIFO last. make 4.3 will use the descriptor all the same.
    if not found or value.startswith(b"fifo:"):
        _, found, value = flags.rpartition(b"--jobserver-fds=")
    numbers = value.split(b" ")[0].split(b",") if found else []
    if len(numbers) != 2 or numbers[0] != numbers[1] or not numbers[0].isdigit() or not 3 <= int(numbers[0]) <= 1023:
        return
    wanted = int(numbers[0])
    try:
        fcntl.fcntl(wanted, fcntl.F_GETFD)
        return
    except OSError:
        pass
    try:
        fd = os.open(
            os.path.join(os.path.dirname(path), b"builds", build, b"fifo"), os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW
        )
    except OSError:
        return
    st = os.fstat(fd)
    if st.st_mode & 0o170000 == 0o010000 and st.st_uid == os.geteuid():
        os.set_blocking(fd, True)
        os.dup2(fd, wanted)
    if fd != wanted:
        os.close(fd)


def lacks_library(env: Environment) -> bool:
    return bool(env.get(b"SPRAYCC_EXEC")) and EXEC_LIBRARY not in (env.get(b"LD_PRELOAD") or b"")


def run_build_tool(task: Task, name: bytes, given: bytes | None) -> "NoReturn":
    env = task.env
    path, build = env.get(b"SPRAYCC_SOCKET"), env.get(b"SPRAYCC_BUILD")
    if env.get(b"SPRAYCC_SLOT"):
        task.execute()
    shims = env.get(b"SPRAYCC_SHIMS")
    if configures(name, task.argv):
        if not (path and build):
            env.strip_path(shims)
    elif name == b"meson":
        pass
    elif path and build:
        if may_set_width(task.argv) or may_have_left(env) or lacks_library(env):
            exec_command(task, name, given)
        reopen_jobserver(env, path, build)
    elif shims:
        exec_command(task, name, given)
        say(
            b"spraycc: warning: the spraycc command is gone; install it again, or leave this shell; ",
            name + b" runs without SprayCC",
        )
        cap_width(task.argv, env)
    task.execute()


# --- running the program on the submit host -------------------------------------------------------------------------


def end_as(code: int, sig: int) -> "NoReturn":
    if sig in (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT):
        os._exit(128 + sig)
    if sig:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        try:
            signal.signal(sig, signal.SIG_DFL)
        except OSError:  # SIGKILL
            pass
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [sig])
        os.kill(os.getpid(), sig)
        os._exit(128 + sig)
    os._exit(code)


#: More than a terminal holds between its two ends (64 KiB and a page, Linux 6.1).
TERMINAL_BYTES = 131072


def terminal(window: tuple[int, int]) -> tuple[int, int]:
    """A pseudo-terminal of this size that passes bytes on unchanged; a pipe if the system has no terminal."""
    import fcntl
    import struct
    import termios

    try:
        ours, theirs = os.openpty()
        modes = termios.tcgetattr(theirs)
        modes[1] &= ~termios.OPOST
        modes[3] &= ~(termios.ECHO | termios.ISIG)
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *window, 0, 0))
    except (OSError, termios.error):
        return os.pipe()
    return ours, theirs


class Tap:
    """One of the child's output streams: a pipe, this process's descriptors for its bytes, and how many to drop."""

    def __init__(self, task: Task, to: tuple[int, ...], drop: int) -> None:
        self.reader, self.writer = terminal(task.window()) if task.streams[to[0]][0] == "tty" else os.pipe()
        self.to = to
        self.drop = drop
        self.open = True

    def pass_on(self) -> int:
        """Pass on the bytes of one read; returns their number."""
        try:
            data = os.read(self.reader, 65536)
        except OSError:  # a terminal that no process has open any more
            data = b""
        kept = data[self.drop :]
        self.drop -= min(self.drop, len(data))
        if not data or write_all(self.to[0], kept):
            os.close(self.reader)
            self.open = False
        return len(data)

    def drain(self) -> None:
        import fcntl
        import select
        import termios

        drained = 0
        while self.open and drained < TERMINAL_BYTES:
            poll = select.poll()
            poll.register(self.reader, select.POLLIN)
            poll.poll(0)  # a terminal offers one page at a time, and only after a poll
            left = int.from_bytes(fcntl.ioctl(self.reader, termios.FIONREAD, bytes(4)), sys.byteorder)
            if left <= 0:
                return
            while left > 0 and self.open:
                count = self.pass_on()
                left -= count
                drained += count


PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def run_child(
    task: Task, skip_out: int, skip_err: int, server: "socket.socket | None" = None, asks: bool = True
) -> "NoReturn":
    """Run the program as a child, and end as the child ends. ``server`` hears of the end, and allows it if ``asks``."""
    try:
        if task.streams_are_one():
            taps = [Tap(task, (1, 2), skip_out + skip_err)] if skip_out + skip_err else []
        else:
            taps = [Tap(task, (fd,), skip) for fd, skip in ((1, skip_out), (2, skip_err)) if skip]
        woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        task.execute()
    # Python has no signalfd, and a handler does not know the sender. So a terminal's signals are passed on, too.
    watched = [s for s in PASSED_ON if signal.getsignal(s) != signal.SIG_IGN]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*watched, signal.SIGCHLD])
    inherited = signal.getsignal(signal.SIGCHLD)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (*watched, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        child = os.fork()
    except OSError:
        child = 0
        taps = []
    if child == 0:
        if server is not None:
            die_with_parent()
        for number in watched:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, inherited)
        for tap in taps:
            for fd in tap.to:
                os.dup2(tap.writer, fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        task.execute()
    for tap in taps:
        os.close(tap.writer)
    signal.pthread_sigmask(signal.SIG_SETMASK, set(before) - {*watched, signal.SIGCHLD})
    attend(child, woken, taps, server, asks)


def die_with_parent() -> None:
    """Die when the parent dies: a kill of the runner is meant for the command."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def report_end(server: "socket.socket", status: int, usage: "resource.struct_rusage") -> bool:
    """Tell the server the command's exit status (as in $?) and its resources. False if the server is gone."""
    body = encode(["done", status, int(usage.ru_utime * 1e6), int(usage.ru_stime * 1e6), usage.ru_maxrss])
    try:
        server.sendall(len(body).to_bytes(4, "big") + body, socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def wait_for_leave(server: "socket.socket", woken: int) -> None:
    """Wait until the server closes the connection or a signal comes."""
    import select

    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.register(woken, select.POLLIN)
    poll.poll()


def attend(child: int, woken: int, taps: list[Tap], server: "socket.socket | None", asks: bool) -> "NoReturn":
    import select

    while True:
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        for tap in taps:
            if tap.open:
                poll.register(tap.reader, select.POLLIN)
        ready = {fd for fd, _ in poll.poll()}
        for tap in taps:
            if tap.open and tap.reader in ready:
                tap.pass_on()
        if woken not in ready:
            continue
        for number in os.read(woken, 256):
            if number != signal.SIGCHLD:
                os.kill(child, number)
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid != child:
            continue
        for tap in taps:
            tap.drain()
        code = os.waitstatus_to_exitcode(status)
        if server is not None and report_end(server, code if code >= 0 else 128 - code, usage) and asks:
            wait_for_leave(server, woken)
        end_as(max(code, 0), max(-code, 0))


# --- without a server -----------------------------------------------------------------------------------------------


def private_directory(path: bytes) -> bytes:
    """Make the directory, and return its path. Raises OSError if it is not this user's alone."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    st = os.lstat(path)
    if st.st_mode & 0o170077 != 0o040000 or st.st_uid != os.geteuid():
        raise PermissionError(path)
    return path


def open_slots(env: Environment, directory: bytes) -> list[bytes]:
    """Paths of the lock files; empty if none can be made."""
    slots: list[bytes] = []
    while os.path.lexists(b"%s/slots/%d" % (directory, len(slots))):
        slots.append(b"%s/slots/%d" % (directory, len(slots)))
    if slots:
        return slots
    try:
        base = env.get(b"SPRAYCC_RUNTIME_DIR") or b"/tmp/spraycc-%d" % os.geteuid()
        slot = os.path.join(private_directory(private_directory(base) + b"/fallback-slots"), b"0")
        os.close(open_slot(slot, os.O_CREAT))
        return [slot]
    except OSError:
        return []


def open_slot(path: bytes, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | flags, 0o600)


def warn_once(directory: bytes, build: bytes, count: int) -> None:
    if b"/" in build or build in (b".", b".."):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    parent = b"%s/builds/%s" % (directory, build)
    try:
        if os.path.islink(parent):
            return
        os.close(os.open(parent + b"/warned", flags, 0o600))
    except OSError:
        return
    bound = b", at most %d command%s at once" % (count, b"" if count == 1 else b"s") if count else b""
    say(
        b"spraycc: the server is gone; the rest of this build runs on this host",
        bound,
        b" (its log: see 'spraycc doctor')",
    )


def take_slot(slots: list[bytes]) -> bool:
    """Wait for a slot, which this process holds until its end. False if nothing can be locked."""
    import fcntl

    if not slots:
        return False
    first = os.getpid() % len(slots)
    try:
        for path in slots[first:] + slots[:first]:
            fd = open_slot(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError:
                os.close(fd)
        fcntl.flock(open_slot(slots[first]), fcntl.LOCK_EX)
        return True
    except OSError:
        return False


def run_without_server(
    task: Task, path: bytes, build: bytes, gone: bool, skip_out: int = 0, skip_err: int = 0
) -> "NoReturn":
    if build:
        directory = os.path.dirname(path) or b"."
        slots = open_slots(task.env, directory)
        if gone:
            warn_once(directory, build, len(slots))
        task.env.hold_slot()
        if take_slot(slots):
            run_child(task, skip_out, skip_err)
    if skip_out or skip_err:
        run_child(task, skip_out, skip_err)
    task.execute()


# --- with a server --------------------------------------------------------------------------------------------------


def connect(path: bytes) -> "tuple[socket.socket | None, int, bool]":
    """The connection, and the server's process id. Without one, whether the server is gone, and not another user's."""
    link = None
    directory = -1
    problem = errno.EACCES
    try:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        if len(path) > 107:
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            path = b"/proc/self/fd/%d/%s" % (directory, os.path.basename(path))
        link.connect(path)
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        if int.from_bytes(credentials[4:8], sys.byteorder) == os.geteuid():
            return link, int.from_bytes(credentials[:4], sys.byteorder), False
    except OSError as exc:
        problem = exc.errno or errno.EIO
    finally:
        if directory >= 0:
            os.close(directory)
    if link is not None:
        link.close()
    return None, 0, problem not in (errno.EACCES, errno.EPERM)


def receive(link: "socket.socket", count: int) -> bytes:
    """Exactly this many bytes. Raises Garbage if the server is gone."""
    parts = []
    while count:
        try:
            part = link.recv(min(count, 262144))
        except OSError:
            part = b""
        if not part:
            raise Garbage
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def converse(task: Task, link: "socket.socket", path: bytes, build: bytes) -> "NoReturn":
    passed = [0, 0, 0]
    stdout_error = 0
    gone = True
    try:
        while True:
            size = int.from_bytes(receive(link, 4), "big")
            if size > MAX_FRAME_BYTES:
                raise Garbage
            tag, first, second, data = decode(receive(link, size))
            if tag == "out":
                problem = write_all(first, data)
                passed[first] += len(data)
                if problem not in (0, errno.EBADF) and first == 1:
                    stdout_error = problem
            elif tag == "exit":
                if first == second == 0 and stdout_error:
                    say(b"spraycc: standard output: ", reason(stdout_error))
                    os._exit(1)
                end_as(first, second)
            elif tag == "here":
                if build:
                    reopen_jobserver(task.env, path, build)
                task.env.hold_slot()
                if first or second or data:
                    run_child(task, first, second, link if data else None, data == b"ask")
                task.execute()
            else:
                gone = False
                raise Garbage
    except Garbage:
        link.close()
    run_without_server(task, path, build, gone, passed[1], passed[2])


# --- start ----------------------------------------------------------------------------------------------------------


def own_arguments() -> list[bytes]:
    """sys.argv in the bytes that this process got, whatever the locale."""
    try:
        with open("/proc/self/cmdline", "rb", buffering=0) as file:
            words = file.readall().split(b"\0")[:-1]
        if len(words) > len(sys.argv):
            return words[-len(sys.argv) :]
    except OSError:
        pass
    return [os.fsencode(word) for word in sys.argv]


def misused(*what: bytes) -> "NoReturn":
    say(LAUNCHER, b": ", *what)
    write_all(2, USAGE)
    os._exit(2)


def parse(argv: list[bytes]) -> tuple[str, list[bytes]]:
    """The wish, and the command after the launcher's own words."""
    wish = "auto"
    argv = argv[1:]
    while argv:
        word = argv[0]
        if word in (b"--remote", b"--local"):
            wish = word[2:].decode()
        elif word == b"--version":
            version = VERSION if VERSION[:1] != "@" else "unknown"
            os._exit(1 if write_all(1, b"spraycc-run %s python\n" % version.encode()) else 0)
        elif word == b"--help":
            os._exit(1 if write_all(1, USAGE + HELP) else 0)
        elif word == b"--":
            argv = argv[1:]
            break
        elif word.startswith(b"-"):
            misused(b"unknown option ", word)
        else:
            break
        argv = argv[1:]
    if argv and os.path.basename(argv[0]) == LAUNCHER:  # a launcher before a launcher
        inner, argv = parse(argv)
        wish = inner if inner != "auto" else wish
    if not argv:
        misused(b"no command")
    return wish, argv


def shim_argv(argv: list[bytes], path: bytes | None) -> list[bytes]:
    """argv as the build tool gave it.

    For a script, the kernel replaces argv[0] by the script's path. If that path is in a directory of PATH, the program
    was most likely started by its bare name.
    """
    directory, name = os.path.split(argv[0])
    if directory in (path or b"").split(b":"):
        return [name, *argv[1:]]
    return argv


def main() -> "NoReturn":
    # Python ignores these two signals, and handles SIGINT. Ignored signals would stay ignored after an exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    env = Environment(initial_environment())
    search_path, shims = env.get(b"PATH"), env.get(b"SPRAYCC_SHIMS") or None
    argv = own_arguments()
    wish = "auto"
    given = env.take_program()
    name = os.path.basename(given or argv[0])
    if given is not None and is_runner(given):
        given = None
    launched = name == LAUNCHER
    if given is not None:
        # For a script, the kernel replaces argv[0] by the script's path.
        argv = [given, *argv[1:]]
        program = given
    else:
        if launched:
            wish, argv = parse(argv)
            name = argv[0]
        else:
            argv = shim_argv(argv, search_path)
        program, problem = find_program(name, search_path, shims)
        if problem:
            missing = problem == errno.ENOENT and b"/" not in name
            say(name, b": ", b"command not found" if missing else reason(problem))
            os._exit(127 if problem == errno.ENOENT else 126)
        # CMake's programs search PATH for a bare argv[0], to find their own files, and would find the shim (3.25).
        if is_runner(argv[0]) if b"/" in argv[0] else name in (b"cmake", b"ctest"):
            argv = [program, *argv[1:]]
    task = Task(env, wish, program, argv)
    if not launched and name in SHIMMED:
        run_build_tool(task, name, given)
    path, build = env.get(b"SPRAYCC_SOCKET"), env.get(b"SPRAYCC_BUILD") or b""
    env.strip_preload()
    env.strip_path(shims)
    for element in (env.get(b"PATH") or b"").split(b":") if given is None else ():
        if element and is_runner(element + b"/" + os.path.basename(name)):
            env.strip_path(element)
    if env.get(b"SPRAYCC_SLOT"):
        env.hold_slot()
        task.execute()
    if not path:
        task.execute()
    task.examine_streams()
    link, task.server, gone = connect(path)
    if link is None:
        run_without_server(task, path, build, gone)
    try:
        request = task.request(build)
    except OSError:
        link.close()
        run_without_server(task, path, build, gone=False)
    try:
        link.sendall(request, socket.MSG_NOSIGNAL)
    except OSError:
        link.close()
        run_without_server(task, path, build, gone=True)
    del request
    converse(task, link, path, build)


if __name__ == "__main__":
    main()
