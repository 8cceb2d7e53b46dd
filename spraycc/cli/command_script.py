"""The script that runs the command line. The build hook makes an installed script of this file.

``spraycc`` is a small native program, which executes ``python -E -P spraycc-main``: this script. (See isolated.py for
the options.) Without a C compiler the script itself is ``spraycc``, and executes itself again with the options. Until
then it imports only modules that are part of the interpreter, so PYTHONPATH can't replace them. But a PYTHONHOME or a
PYTHONHASHSEED with which Python does not start needs the native program.
"""

import _signal  # type: ignore[import-not-found]  # signal imports enum, which PYTHONPATH may replace
import os
import sys

OPTIONS = ("-E", "-P")
#: Python obeys this variable even with -E (isolated.py). Until the build's tool starts, the value has another name
#: (cli/caller_environment.py).
EXECUTABLE = b"PYTHONEXECUTABLE"


def restart_isolated() -> None:
    """Execute this script again with the options, unless Python has them. Goes on without them if that fails."""
    if sys.flags.ignore_environment and sys.flags.safe_path and EXECUTABLE not in os.environb:
        return
    environ = os.environb
    try:
        # As this process got it: in the C locale, Python has changed LC_CTYPE (PEP 538).
        with open("/proc/self/environ", "rb") as file:
            entries = [entry.partition(b"=") for entry in file.read().split(b"\0")]
        environ = {name: value for name, sign, value in reversed(entries) if name and sign}  # type: ignore[assignment]
    except OSError:
        pass
    if EXECUTABLE in environ:
        environ[b"SPRAYCC_" + EXECUTABLE] = environ.pop(EXECUTABLE)
    try:
        # Not sys.executable, which may be the variable's value. The words after the script's name are the user's.
        interpreter = sys.orig_argv[0]
        launchers = [f"-X{name}={value}" for name, value in sys._xoptions.items()]
        os.execvpe(interpreter, [interpreter, *OPTIONS, *launchers, os.path.abspath(__file__), *sys.argv[1:]], environ)
    except OSError:
        pass


def find_package() -> None:
    """Import the package spraycc: the one of this script's installation, wherever that is, else any."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    roots = [
        os.path.join(prefix, lib, version, packages)
        for lib in ("lib", sys.platlibdir)
        for packages in ("site-packages", "dist-packages")
    ]
    # pip install --target. Last, because the virtual environment may be in a checkout of SprayCC.
    roots.append(prefix)
    for root in roots:
        if os.path.isfile(os.path.join(root, "spraycc", "isolated.py")):
            sys.path.insert(0, root)
            try:
                import spraycc
            finally:
                del sys.path[0]
            break
    else:
        named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path += [directory for directory in named if os.path.isabs(directory)]
    import spraycc.isolated

    spraycc.isolated.complete_path()


def without_spraycc(exc: BaseException) -> None:
    """Run the build tool without SprayCC, if the command line has a tool. Returns if that fails."""
    why = f"{type(exc).__name__}: {exc}".split("\n")[0]
    own = os.path.realpath(__file__)
    launcher = os.path.join(os.path.dirname(own), "spraycc")
    try:
        if os.path.realpath(launcher) != own:
            os.execv(launcher, [launcher, "--plain", why, *sys.argv[1:]])
    except OSError:
        pass


if __name__ == "__main__":
    # Python's own handler would show where an import was interrupted. main() sets it again.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    restart_isolated()
    try:
        find_package()
        from spraycc.cli.main import main

        status = main()
    except Exception as exc:
        # A build's errors end in main(), which knows more. This is for an installation that can't be imported.
        without_spraycc(exc)
        raise
    sys.exit(status)
