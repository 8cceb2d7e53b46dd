"""The command lines that cluster managers take, and their answers to others.

Written from the transcripts in ``transcripts`` and from the manuals, and not from the drivers. The fake cluster managers
answer by it. ``test_command_grammar.py`` holds it to the transcripts, and the drivers to it. It imports the standard
library only, because a fake manager's programs import it too.

Where a comment names no manual, the transcripts or a run of the same version showed it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

#: The most elements of an array, as the recorded systems are set
MOST_ELEMENTS = {"pbs": 10000, "openlava": 1000, "slurm": 1000, "gridengine": 75000}


class Refused(Exception):
    """The command line is refused, or does harm."""

    def __init__(self, status: int, text: str, *, server_dies: bool = False) -> None:
        super().__init__(text)
        self.status = status
        #: for the standard error, without the list of all options that some commands add
        self.text = text
        #: the cluster manager's daemon ends, and takes no command after this one
        self.server_dies = server_dies


@dataclass(slots=True)
class Command:
    """A command line that is taken."""

    program: str
    #: (option, value) in their order; a flag's value is empty
    options: list[tuple[str, str]] = field(default_factory=list)
    operands: list[str] = field(default_factory=list)
    #: ``--`` ended the options
    dashes: bool = False

    def values(self, option: str) -> list[str]:
        return [value for name, value in self.options if name == option]

    def value(self, option: str) -> str:
        """The option's first value, or empty."""
        return next(iter(self.values(option)), "")

    def has(self, option: str) -> bool:
        return bool(self.values(option))


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a program."""

    flags: frozenset[str]
    #: option -> pattern of its value
    valued: Mapping[str, str]
    #: exit status for a wrong option
    status: int
    #: text for an unknown option
    unknown: str


ANY = r"(?s).+"


def options(flags: str, valued: Mapping[str, str], status: int, unknown: str) -> Options:
    return Options(frozenset(flags.split()), valued, status, unknown)


def anything(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), ANY)


def check(system: str, words: Sequence[str]) -> Command:
    """The command, if the system takes it.

    Args:
        system: ``pbs``, ``openlava``, ``slurm`` or ``gridengine``.
        words: the program's name and its arguments.

    Raises:
        Refused: the system refuses it, or the command does harm.
    """
    read, refuse = _PROGRAMS[system, words[0]]
    command = read(words[0], words[1:])
    refuse(command)
    return command


# -- the forms of command lines


def _check_value(program: str, known: Options, option: str, value: str, bad: Mapping[str, str]) -> None:
    if re.fullmatch(known.valued[option], value) is None:
        text = bad.get(option, "{program}: illegal -{option} value")
        raise Refused(known.status, text.format(program=program, option=option, value=value))


def _getopt(known: Options, bad: Mapping[str, str]) -> Callable[[str, Sequence[str]], Command]:
    """``-f``, ``-q fast``, ``-qfast``, ``-fqfast``; operands may stand between options, and end at ``--``."""

    def read(program: str, words: Sequence[str]) -> Command:
        command, wrong = Command(program), []
        rest = [] if [*words] == ["--version"] else list(words)
        while rest:
            word = rest.pop(0)
            if word == "--":
                command.operands += rest
                command.dashes = True
                break
            if not word.startswith("-") or word == "-":
                command.operands.append(word)
                continue
            letters = word[1:]
            while letters:
                letter, letters = letters[0], letters[1:]
                if letter in known.flags:
                    command.options.append((letter, ""))
                elif letter in known.valued:
                    if not letters and not rest:
                        raise Refused(known.status, f"{program}: option requires an argument -- '{letter}'")
                    value, letters = letters or rest.pop(0), ""
                    _check_value(program, known, letter, value, bad)
                    command.options.append((letter, value))
                else:
                    wrong.append(known.unknown.format(program=program, option=letter))
                    if known.status == 255:  # LSF's commands stop at the first one
                        raise Refused(known.status, wrong[0])
        if wrong:
            raise Refused(known.status, "\n".join(wrong))
        return command

    return read


def _words(known: Options, bad: Mapping[str, str]) -> Callable[[str, Sequence[str]], Command]:
    """``-terse``, ``-t 1-3``: options of several letters. Operands follow them."""

    def read(program: str, words: Sequence[str]) -> Command:
        command, rest = Command(program), list(words)
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)[1:]
            if option in known.flags:
                command.options.append((option, ""))
            elif option in known.valued:
                taken = 2 if option == "pe" else 1
                if len(rest) < taken:
                    raise Refused(known.status, f"ERROR! -{option} option must have argument")
                value, rest = " ".join(rest[:taken]), rest[taken:]
                _check_value(program, known, option, value, bad)
                command.options.append((option, value))
            else:
                raise Refused(known.status, known.unknown.format(program=program, option=option))
        command.operands = rest
        return command

    return read


def _lsf(known: Options, bad: Mapping[str, str]) -> Callable[[str, Sequence[str]], Command]:
    """``-q fast``, ``-qfast``, ``-Ip``. The first word that is no option begins the batch job's command."""

    def read(program: str, words: Sequence[str]) -> Command:
        command, rest = Command(program), list(words)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            word = rest.pop(0)[1:]
            option = next((word[:length] for length in (2, 1) if word[:length] in known.flags | {*known.valued}), None)
            if option is None or (len(option) == 2 and option != word and option in known.flags):
                raise Refused(known.status, known.unknown.format(program=program, option=word[:1]))
            if option in known.flags:
                if word != option:
                    raise Refused(known.status, f"{program}: option cannot have an argument -- {option}")
                command.options.append((option, ""))
                continue
            if word == option and not rest:
                raise Refused(known.status, f"{program}: option requires an argument -- {option}")
            value = word[len(option) :] or rest.pop(0)
            _check_value(program, known, option, value, bad)
            command.options.append((option, value))
        command.operands = rest
        return command

    return read


def _long(known: Options, bad: Mapping[str, str], short: Mapping[str, str]) -> Callable[[str, Sequence[str]], Command]:
    """``--array=1-3``, ``--array 1-3``, and one-letter forms. ``short``: letter -> long name."""

    def read(program: str, words: Sequence[str]) -> Command:
        command, rest = Command(program), list(words)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            word = rest.pop(0)
            if word.startswith("--"):
                option, equals, value = word[2:].partition("=")
            else:
                option, equals, value = short.get(word[1:2], ""), word[2:], word[2:]
            if option in known.flags:
                command.options.append((option, ""))
            elif option in known.valued:
                if not equals:
                    if not rest:
                        raise Refused(known.status, f"{program}: option '--{option}' requires an argument")
                    value = rest.pop(0)
                _check_value(program, known, option, value, bad)
                command.options.append((option, value))
            else:
                raise Refused(known.status, known.unknown.format(program=program, option=word))
        command.operands = rest
        return command

    return read


def _fine(command: Command) -> None:
    """Nothing else is refused."""


def elements(text: str) -> list[int]:
    """The elements of ``1-3,7`` and ``1-9:2``."""
    found: list[int] = []
    for span in text.split(","):
        low, high, step = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", span).groups()  # type: ignore[union-attr]
        found += range(int(low), int(high or low) + 1, int(step or 1))
    return found


# -- PBS: usage of OpenPBS 23.06.06

_PBS_UNKNOWN = "{program}: invalid option -- '{option}'"
_QSUB_PBS = options(
    "f h I X V z",
    {
        **anything("a A c C e k l m M o p P q R S u v W"),
        "j": "oe|eo|n",
        "J": r"\d+-\d+(?::\d+)?(?:%\d+)?",
        "N": r"[A-Za-z_]\S{0,229}",
        "r": "[yn]",
    },
    2,
    _PBS_UNKNOWN,
)
#: qstat(1B), qselect(1B), qdel(1B)
_QSTAT_PBS = options("f p t x a i r H T s n w 1 G M J L E q Q B", anything("F D u"), 2, _PBS_UNKNOWN)
_QSELECT_PBS = options("H J x T", anything("a A c h l N p P q r s t u"), 2, _PBS_UNKNOWN)
_QDEL_PBS = options("x", anything("W"), 2, _PBS_UNKNOWN)
_PBS_ID = r"(?P<number>\d+)(?P<index>\[(?:\d+(?:-\d+(?::\d+)?)?)?\])?(?:\.[\w.-]+)?"


def _qsub_pbs(command: Command) -> None:
    if len(command.operands) > 1 and not command.dashes:
        raise Refused(2, "usage: qsub")
    if array := command.value("J"):
        low, high = map(int, re.split("[:%]", array)[0].split("-"))
        if low >= high:
            raise Refused(2, "qsub: illegal -J value")
        # A further -r y does not help.
        if command.value("r") == "n":
            raise Refused(2, "qsub:  cannot submit non-rerunable Array Job")
    for value in command.values("l"):
        wanted = re.search(r"walltime=([^,]*)", value)
        if wanted and re.fullmatch(r"\d+(?::\d\d){0,2}", wanted[1]) is None:
            raise Refused(166, "qsub: Illegal attribute or resource value Resource_List.walltime")
    resources = [part.partition("=")[0] for value in command.values("l") for part in value.split(",")]
    # qsub(1B): select excludes the older forms.
    if "select" in resources and {"nodes", "ncpus", "mem", "nodect"} & {*resources}:
        raise Refused(2, 'qsub: "-lresource=" cannot be used with "select" or "place", resource is: ncpus')


def _ids_pbs(command: Command) -> None:
    for word in command.operands:
        if re.fullmatch(_PBS_ID, word) is None:
            raise Refused(2, f"{command.program}: illegally formed job identifier: {word}")


#: The effect of several ids in one qdel on OpenPBS 22.05 to 23.06, by the kinds of two neighbours.
_SEVERAL_IDS = {
    ("plain", "element"): "dies", ("element", "plain"): "dies", ("range", "element"): "dies",
    ("range", "plain"): "nothing", ("array", "plain"): "nothing",
}  # fmt: skip


def kind_of_id(word: str) -> str:
    """``plain`` ``8``, ``array`` ``8[]``, ``element`` ``8[3]`` or ``range`` ``8[2-3]``."""
    index = re.fullmatch(_PBS_ID, word)["index"]  # type: ignore[index]
    if index is None:
        return "plain"
    return "array" if index == "[]" else "range" if "-" in index else "element"


def _qdel_pbs(command: Command) -> None:
    if not command.operands:
        raise Refused(2, "usage: qdel")
    _ids_pbs(command)
    for word in command.operands:
        if (span := re.search(r"\[(\d+)-(\d+)", word)) and int(span[1]) >= int(span[2]):
            raise Refused(156, f"qdel: Invalid request {word}")


def check_several_ids(ids: Sequence[str]) -> None:
    """
    Args:
        ids: the operands of one qdel, without those of which no batch job exists.

    Raises:
        Refused: OpenPBS cancels nothing, or its server dies.
    """
    kinds = [kind_of_id(word) for word in ids]
    harm = {_SEVERAL_IDS.get(pair, "") for pair in itertools.pairwise(kinds)}
    if harm & {"dies", "nothing"}:
        aborts = kinds[0] in ("element", "array")
        text = "free(): invalid pointer" if aborts else ""
        raise Refused(134 if aborts else 0, text, server_dies="dies" in harm)


# -- OpenLava 2.2, and volclava, which has the same grammar

_BSUB_UNKNOWN = "{program}: illegal option -- {option}"
_LSF_UNKNOWN = "{program}: invalid option -- '{option}'"
_INDEX_LIST = r"\d+(?:-\d+)?(?::\d+)?(?:,\d+(?:-\d+)?(?::\d+)?)*"
_BSUB = options(
    "h V x H r N B I K Ip Is Zs",
    {
        **anything("L c F k P q m b t u i is o e M D S f w E a"),
        "W": r"(?:\d+:)?\d+(?:/\S+)?",
        "n": r"\d+(?:,\d+)?",
        "sp": r"\d+",
        "J": rf"[^][]+|[^][]*\[{_INDEX_LIST}\](?:%\d+)?",
        "R": ANY,
    },
    255,
    _BSUB_UNKNOWN,
)
_BSUB_BAD = {
    "W": "{value}: Bad RUNLIMIT specification. Job not submitted.",
    "J": "Bad job name. Job not submitted.",
    "n": "{value}: Bad processor number specification. Job not submitted.",
}
_BJOBS = options("h V w l a d p s r A", anything("m q u P N J"), 255, _LSF_UNKNOWN)
_BKILL = options("h V l r", anything("m q u s J"), 255, _LSF_UNKNOWN)
_BAD_REQUIREMENT = "Bad resource requirement syntax. Job not submitted."
_SECTION = r"\s*(?:(?:select|order|rusage|span|same)\[[^][]*\]\s*)+|[^][]*"


def _bsub(command: Command) -> None:
    requirements = command.values("R")
    if len(requirements) > 1 or not all(re.fullmatch(_SECTION, text) for text in requirements):
        raise Refused(255, _BAD_REQUIREMENT)
    if found := re.search(r"\[(.*)\]", command.value("J")):
        asked = elements(found[1])
        if 0 in asked:
            raise Refused(255, "Bad job name. Job not submitted.")
        if len(asked) > MOST_ELEMENTS["openlava"]:
            raise Refused(255, "Job array index too large. Job not submitted.")


def _ids_lsf(command: Command) -> None:
    for word in command.operands:
        if re.fullmatch(rf"\d+(?:\[{_INDEX_LIST}\])?", word) is None:
            raise Refused(255, f"{word}: Illegal job ID.")


# -- Slurm: sbatch(1), squeue(1), scancel(1) of 22.05

_SLURM_UNKNOWN = "{program}: unrecognized option '{option}'\nTry \"{program} --help\" for more information"
_TIME = r"\d+|\d+:\d+|\d+:\d+:\d+|\d+-\d+(?::\d+){0,2}|infinite|UNLIMITED"
_SBATCH = options(
    "parsable no-requeue requeue hold exclusive version",
    {
        **anything("job-name output error chdir partition account qos constraint reservation wrap"),
        **anything("comment export signal licenses gres exclude nodelist dependency begin"),
        "propagate": "ALL|NONE|[A-Z,]+",
        "nodes": r"\d+(?:-\d+)?", "ntasks": r"\d+", "cpus-per-task": r"\d+",
        "array": rf"|{_INDEX_LIST}(?:%\d+)?", "time": _TIME, "mem": r"\d+[KMGT]?",
    },
    255,
    _SLURM_UNKNOWN,
)  # fmt: skip
_SBATCH_BAD = {"time": "sbatch: error: Invalid --time specification"}
_SBATCH_SHORT = {"J": "job-name", "o": "output", "p": "partition", "t": "time", "c": "cpus-per-task", "a": "array",
                 "A": "account", "n": "ntasks", "N": "nodes", "H": "hold", "e": "error", "q": "qos"}  # fmt: skip
_SQUEUE = options(
    "noheader array me version all", {**anything("format Format name states"), "user": r"\S+", "jobs": r"[\d_,]+"}, 1,
    _SLURM_UNKNOWN,
)  # fmt: skip
_SQUEUE_SHORT = {"a": "all", "h": "noheader", "r": "array", "o": "format", "O": "Format", "u": "user", "j": "jobs", "n": "name",
                 "t": "states"}  # fmt: skip
_SCANCEL = options("quiet verbose full batch hurry", anything("name user state signal partition"), 1, _SLURM_UNKNOWN)
_SCANCEL_SHORT = {"u": "user", "n": "name", "t": "state", "s": "signal", "Q": "quiet", "v": "verbose", "f": "full"}


def _sbatch(command: Command) -> None:
    array = command.value("array").partition("%")[0]
    if array and max(elements(array)) > MOST_ELEMENTS["slurm"]:
        raise Refused(1, "sbatch: error: Batch job submission failed: Invalid job array specification")


def _scancel(command: Command) -> None:
    for word in command.operands:
        if re.fullmatch(rf"\d+(?:_\d+|_\[{_INDEX_LIST}\])?", word) is None:
            raise Refused(1, f"scancel: error: Invalid job id {word}")


# -- Grid Engine: submit(1), qstat(1), qdel(1) of 8.1.9

_GE_UNKNOWN = '{program}: invalid option argument "-{option}"'
_YES_NO = "y|n|yes|no"
_QSUB_GE = options(
    "terse cwd notify V h clear hard soft",
    {
        **anything("o e S wd q P A l hold_jid p M m a v C ckpt"),
        "N": r"\S+", "j": _YES_NO, "b": _YES_NO, "r": _YES_NO, "shell": _YES_NO, "w": "[ewnpv]", "tc": r"\d+",
        "t": r"\d+(?:-\d+(?::\d+)?)?", "pe": r"\S+ \d+(?:-\d+)?",
    },
    2,
    _GE_UNKNOWN,
)  # fmt: skip
_QSTAT_GE = options("xml ext f r help", {**anything("u s j F q"), "g": "[cdt]+"}, 1, _GE_UNKNOWN)
_QDEL_GE = options("f", anything("u"), 1, _GE_UNKNOWN)
_REJECTED = "Unable to run job: {}\nExiting."


def _qsub_ge(command: Command) -> None:
    if command.value("N")[:1].isdigit():
        name = command.value("N")
        raise Refused(1, _REJECTED.format(f'denied: "{name}" is not a valid object name (cannot start with a digit)'))
    if command.has("t"):
        asked = elements(command.value("t"))
        if 0 in asked:
            raise Refused(1, _REJECTED.format("job rejected: 0 is an invalid task id"))
        if len(asked) > MOST_ELEMENTS["gridengine"]:
            text = f"job rejected: you tried to submit a job with more than {MOST_ELEMENTS['gridengine']} tasks"
            raise Refused(1, _REJECTED.format(text))
    if command.value("w") == "e" and any("mem_free=" in word for word in command.values("l")):
        raise Refused(1, _REJECTED.format("error: no suitable queues."))  # no load values in this check


def _qdel_ge(command: Command) -> None:
    """Ids, each with ``-t`` and one range after it."""
    words = list(command.operands)
    while words:
        word = words.pop(0)
        if re.fullmatch(r"\d+(?:\.\d+(?:-\d+)?)?|[a-z]\w*", word) is None:
            raise Refused(1, f'denied: job "{word}" does not exist')
        if words[:1] == ["-t"]:
            if len(words) < 2 or re.fullmatch(r"\d+(?:-\d+(?::\d+)?)?", words[1]) is None:
                raise Refused(1, "ERROR! wrong range")
            del words[:2]


_Program = tuple[Callable[[str, Sequence[str]], Command], Callable[[Command], None]]
_PROGRAMS: dict[tuple[str, str], _Program] = {
    ("pbs", "qsub"): (_getopt(_QSUB_PBS, {}), _qsub_pbs),
    ("pbs", "qstat"): (_getopt(_QSTAT_PBS, {}), _ids_pbs),
    ("pbs", "qselect"): (_getopt(_QSELECT_PBS, {}), _fine),
    ("pbs", "qdel"): (_getopt(_QDEL_PBS, {}), _qdel_pbs),
    ("openlava", "bsub"): (_lsf(_BSUB, _BSUB_BAD), _bsub),
    ("openlava", "bjobs"): (_getopt(_BJOBS, {}), _ids_lsf),
    ("openlava", "bkill"): (_getopt(_BKILL, {}), _ids_lsf),
    ("slurm", "sbatch"): (_long(_SBATCH, _SBATCH_BAD, _SBATCH_SHORT), _sbatch),
    ("slurm", "squeue"): (_long(_SQUEUE, {}, _SQUEUE_SHORT), _fine),
    ("slurm", "scancel"): (_long(_SCANCEL, {}, _SCANCEL_SHORT), _scancel),
    ("gridengine", "qsub"): (_words(_QSUB_GE, {}), _qsub_ge),
    ("gridengine", "qstat"): (_words(_QSTAT_GE, {}), _fine),
    ("gridengine", "qdel"): (_words(_QDEL_GE, {}), _qdel_ge),
}
