"""Says in words what stands out in a build: its end, its begin, idle executors, retries, slow hosts. Pure.

Each finding has its own function and its own threshold. A finding below the threshold is left out: a reader of ten
sentences reads none of them.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

from spraycc.records import timeline
from spraycc.records.read import Record, Sample, Task

#: A part of the build that is shorter than this is not worth a sentence, whatever its share.
_LEAST_S = 1.0
#: ``why`` of a task that ran on the submit host because the build's settings start no executors.
_ALONE = "local"
#: ``why`` of tasks that ran on the submit host as the user's settings want.
_COMPILE_SLOT = (_ALONE, "compile-slot")
#: Outcomes of attempts in words. An outcome that is not in this table is shown as it is.
OUTCOMES = {
    "done": "done",
    "here": "ran on the submit host",
    "killed": "killed by a signal",
    "out-of-memory": "out of memory",
    "refused": "its files could not be captured",
    "cancelled": "cancelled",
    "unfit": "the host can't run it",
    "stale": "the host saw other files than the submit host",
    "lost": "the executor was lost",
}


class Finding(NamedTuple):
    """A sentence or two."""

    tone: Literal["", "good", "slow", "bad"]
    text: str
    #: the part of the build that the text is about, in seconds since its begin
    range: tuple[float, float] | None = None
    #: the task that the text is about, an index of ``Record.tasks``
    task: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """A record and the figures that several findings use."""

    record: Record
    spans: list[timeline.Interval]
    levels: list[timeline.Level]
    links: list[timeline.Link]
    wall_s: float
    #: most commands at once
    peak: int
    #: the workspace; paths in it are shown relative to it
    root: str

    @classmethod
    def of(cls, record: Record, root: str = "") -> Facts:
        spans = timeline.intervals(record)
        levels = timeline.parallelism(spans)
        peak = max((level.remote + level.here for level in levels), default=0)
        return cls(record, spans, levels, timeline.chain(record), timeline.wall_s(record), peak, root)

    def name(self, task: Task) -> str:
        """The path of the task's target, relative to the workspace if it is in it; without a target, the program."""
        if task.target == task.argv.partition(" ")[0]:
            return f"{os.path.basename(task.target)} in {shown_path(task.cwd, self.root)}"
        return shown_path(os.path.join(task.cwd, task.target), self.root)

    def is_notable(self, seconds: float, share: float = 0.1) -> bool:
        """Whether this time is worth a sentence: it is this share of the build, and not too short to matter."""
        return seconds >= _LEAST_S and seconds >= share * self.wall_s

    def part(self, seconds: float) -> str:
        """``20 s (33 % of the build)``."""
        return f"{text_of(seconds)} ({round(100 * seconds / self.wall_s)} % of the build)"


def findings(facts: Facts, earlier: Record | None) -> list[Finding]:
    """The findings, the most important first. ``earlier`` is the build before, of the same command."""
    record = facts.record
    found = [*_incomplete(record), *_headline(facts), *_failures(facts)]
    if record.has_times and facts.wall_s > 0 and record.tasks:
        for each in (_late_start, _narrow, _idle, _busy, _chain, _submit_host, _retries, _crowded, _slow_hosts):
            found += each(facts)
    if earlier is not None and earlier.tasks:
        found += _comparison(facts, earlier)
    return found


def shown_path(path: str, root: str) -> str:
    """A path without detours, relative to ``root`` if it is in it."""
    plain = os.path.normpath(path)
    if plain == root:
        return "."
    return plain[len(root) + 1 :] if root and plain.startswith(f"{root}/") else plain


def text_of(seconds: float) -> str:
    """A duration as a reader wants it: ``0.45 s``, ``12.3 s``, ``3 min 05 s``, ``2 h 05 min``."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def counted(number: int, noun: str) -> str:
    """``1 task``, ``1,284 tasks``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _incomplete(record: Record) -> Iterator[Finding]:
    if not record.has_times:
        yield Finding("slow", "An older SprayCC wrote this record. It has no times, so the timeline is empty.")
    if not record.end:
        yield Finding("slow", "The record has no end: the build is still running, or its server was killed.")
    dropped = record.end.get("dropped")
    if isinstance(dropped, int) and dropped > 0:
        yield Finding("slow", f"The record is full: {counted(dropped, 'further line')} of the build were left out.")


def _is_alone(record: Record) -> bool:
    """Whether the build had no executors by its settings."""
    return not record.executors and any(task.why == _ALONE for task in record.tasks)


def _headline(facts: Facts) -> Iterator[Finding]:
    record = facts.record
    if not record.tasks:
        yield Finding("", f"No task in {text_of(facts.wall_s)}: the build had nothing to compile.")
        return
    remote = sum(task.ran == "remote" for task in record.tasks)
    here = sum(task.ran == "here" for task in record.tasks)
    used = len({span.executor for span in facts.spans if span.executor != timeline.SUBMIT_HOST})
    parts = [f"{here:,} on the submit host"]
    if remote or not _is_alone(record):
        parts.insert(0, f"{remote:,} on {counted(used, 'executor')}")
    text = f"{counted(len(record.tasks), 'task')} in {text_of(facts.wall_s)}: {', '.join(parts)}"
    if facts.spans:
        text += f"; {timeline.mean_parallelism(facts.record):.1f} at once on average, {facts.peak:,} at most"
    yield Finding("", f"{text}.")


def _failures(facts: Facts) -> Iterator[Finding]:
    record = facts.record
    failed = [index for index, task in enumerate(record.tasks) if task.has_failed]
    if not failed:
        return
    if record.end.get("status") == 0:
        text = f"{counted(len(failed), 'command')} ended with a status other than 0, but the build succeeded."
        yield Finding("", f"{text} Tests of configure scripts do so on purpose.")
        return
    first = min(failed, key=lambda index: record.tasks[index].ended)
    task = record.tasks[first]
    which = counted(len(failed), "task") + " failed" + (". The first:" if len(failed) > 1 else ":")
    where = _place(record, task)
    text = f"{which} {facts.name(task)}, with status {task.status} {where}, {text_of(task.ended)} after the begin."
    yield Finding("bad", text, task=first)


def _late_start(facts: Facts) -> Iterator[Finding]:
    record = facts.record
    wanted = [task for task in record.tasks if task.placement == "remote"]
    if not wanted or _is_alone(record):
        return
    if not record.executors:
        yield Finding(
            "slow", "No executor joined: the submit host ran all commands. `spraycc doctor` looks for the cause."
        )
        return
    came = min(task.at for task in wanted)
    joined = min(executor.joined for executor in record.executors.values())
    if facts.is_notable(joined - came):
        text = f"The first executor joined {text_of(joined)} after the begin. Until then, compiles waited for it."
        yield Finding("slow", text, (came, joined))
    if record.samples and (missing := record.samples[-1].asked):
        yield Finding("", f"{counted(missing, 'executor')} that SprayCC asked for had not joined when the build ended.")


def narrow_parts(facts: Facts) -> list[tuple[float, float]]:
    """The parts of the build in which few tasks ran, where many ran at other times. Short parts are left out."""
    few = max(1, facts.peak // 10)
    if facts.peak < 3:
        return []
    parts: list[tuple[float, float]] = []
    for level, following in pairwise(facts.levels):
        if not 0 < level.remote + level.here <= few:
            continue
        # Milliseconds between two tasks do not end a part.
        if parts and level.t - parts[-1][1] < 0.01 * facts.wall_s and not _is_wide(facts, parts[-1][1], level.t, few):
            parts[-1] = (parts[-1][0], following.t)
        else:
            parts.append((level.t, following.t))
    return [part for part in parts if facts.is_notable(part[1] - part[0])]


def _is_wide(facts: Facts, begin: float, end: float, few: int) -> bool:
    """Whether more than ``few`` tasks run at once at some time from ``begin`` to ``end``."""
    first = bisect_left(facts.levels, (begin,))
    return any(level.remote + level.here > few for level in facts.levels[first : bisect_left(facts.levels, (end,))])


def _narrow(facts: Facts) -> Iterator[Finding]:
    """The two longest parts of the build in which few tasks ran."""
    tasks = facts.record.tasks
    last = max((task.ended for task in tasks), default=0.0)
    parts = sorted(narrow_parts(facts), key=lambda part: part[0] - part[1])[:2]
    for begin, end in sorted(parts):
        inside = [span for span in facts.spans if span.began < end and span.ended > begin]
        busy = sum(min(span.ended, end) - max(span.began, begin) for span in inside)
        longest = max(inside, key=lambda span: min(span.ended, end) - max(span.began, begin))
        task = tasks[longest.task]
        is_alone = min(longest.ended, end) - max(longest.began, begin) > 0.9 * (end - begin) > 0.75 * busy
        length = facts.part(end - begin)
        text = (
            f"The last {length}: " if end >= last - 0.01 * facts.wall_s else f"From {text_of(begin)} on, for {length}: "
        )
        about = f"{facts.name(task)} ({task.kind}, {text_of(timeline.ran_s(task))} {_place(facts.record, task)})"
        if is_alone:
            text += (
                f"one task, {about}. Nothing else could run, so a shorter {facts.name(task)} makes the build shorter."
            )
        else:
            text += f"{busy / (end - begin):.1f} tasks at once on average, where {facts.peak:,} ran at other times. "
            text += f"The longest: {about}."
        yield Finding("slow", text, (begin, end), longest.task)


def _idle(facts: Facts) -> Iterator[Finding]:
    """Times without any task, in which the build tool did something else."""
    gaps = []
    before = 0.0
    for task in sorted(facts.record.tasks, key=lambda task: task.at):
        if task.at > before:
            gaps.append((before, task.at))
        before = max(before, task.ended)
    if facts.wall_s > before:
        gaps.append((before, facts.wall_s))
    total = sum(end - begin for begin, end in gaps)
    if not facts.is_notable(total):
        return
    longest = max(gaps, key=lambda gap: gap[1] - gap[0])
    tool = str(facts.record.header.get("tool") or "the build tool")
    when = "at the begin" if longest[0] == 0 else "at the end" if longest[1] == facts.wall_s else "in the middle"
    text = (
        f"For {facts.part(total)} there was no task: {tool} read its files, or ran commands that SprayCC does not see. "
        f"The longest such time is {text_of(longest[1] - longest[0])}, {when}."
    )
    yield Finding("slow", text, longest)


def _busy(facts: Facts) -> Iterator[Finding]:
    """Whether executors or tasks were missing."""
    samples = facts.record.samples
    held: list[tuple[float, Sample]] = [(following.t - sample.t, sample) for sample, following in pairwise(samples)]
    full = [(s, sample) for s, sample in held if sample.waiting and sample.running >= sample.executors > 0]
    full_s = sum(s for s, _ in full)
    if facts.is_notable(full_s, 0.25):
        waiting = sum(s * sample.waiting for s, sample in full) / full_s
        most = max(sample.executors for _, sample in full)
        text = (
            f"For {facts.part(full_s)} all executors ({most:,}) were busy, and {waiting:.0f} tasks waited on average. "
        )
        text += "More executors would make the build shorter (the setting `executors`)."
        yield Finding("slow", text, (full[0][1].t, full[-1][1].t))
    narrow = narrow_parts(facts)  # they have sentences of their own
    empty = [
        (s, sample)
        for s, sample in held
        if not sample.waiting
        and sample.running * 2 < sample.executors
        and not any(begin <= sample.t < end for begin, end in narrow)
    ]
    empty_s = sum(s for s, _ in empty)
    if facts.is_notable(empty_s, 0.25):
        text = f"For {facts.part(empty_s)} more than half of the executors had nothing to do, and no task waited. "
        cap = facts.record.header.get("cap")
        if isinstance(cap, int) and all(sample.running + sample.here >= cap for _, sample in empty):
            text += f"-j{cap} allowed no more tasks at once."
        else:
            text += "The build tool offered no more tasks: its dependencies or its -j allow no more."
        yield Finding("slow", text, (empty[0][1].t, empty[-1][1].t))


def _chain(facts: Facts) -> Iterator[Finding]:
    tasks = [facts.record.tasks[index] for index in _dependent(facts)]
    ran = sum(timeline.ran_s(task) for task in tasks)
    queued = sum(task.queued_s for task in tasks)
    if len(tasks) < 2 or not facts.is_notable(ran, 0.5):
        return
    text = f"A chain of {len(tasks):,} tasks, each after the one before, ran for {facts.part(ran)}"
    text += f" and waited {text_of(queued)} for executors. " if facts.is_notable(queued, 0.05) else ". "
    yield Finding("", text + "More executors can't make the build shorter than that chain.")


def _dependent(facts: Facts) -> list[int]:
    """The end of the chain in which each task needs the one before, as far as that can be guessed.

    While all executors are busy, a task comes when another one ends, for the free token alone. So a task that names no
    product of the one before counts only if half of the executors had nothing to do when it came.
    """
    times = [level.t for level in facts.levels]
    found: list[int] = []
    for link in reversed(facts.links):
        found.append(link.task)
        if link.by == "first":
            break
        # A moment earlier, for the end of the task before it is at the same time.
        place = bisect_left(times, facts.record.tasks[link.task].at - 0.01) - 1
        level = facts.levels[place] if place >= 0 else timeline.Level(0, 0, 0)
        if link.by == "order" and (level.remote + level.here) * 2 > facts.peak > 1:
            break
    return found[::-1]


def _submit_host(facts: Facts) -> Iterator[Finding]:
    fallen = [
        task
        for task in facts.record.tasks
        if task.ran == "here" and task.placement == "remote" and task.why not in _COMPILE_SLOT
    ]
    seconds = sum(timeline.ran_s(task) for task in fallen)
    if fallen and (len(fallen) >= 0.05 * len(facts.record.tasks) or facts.is_notable(seconds, 0.05)):
        reasons: defaultdict[str, int] = defaultdict(int)
        for task in fallen:
            reasons[task.why or task.reason] += 1
        reason, count = max(reasons.items(), key=lambda item: item[1])
        share = "" if count == len(fallen) else f"{count:,} of them "
        text = f"{counted(len(fallen), 'task')} for executors ran on the submit host ({text_of(seconds)}), "
        yield Finding("slow", f"{text}{share}because: {reason}.")


def _retries(facts: Facts) -> Iterator[Finding]:
    counts = timeline.retries(facts.record)
    lost = sum(span.ended - span.began for span in facts.spans if span.outcome not in ("done", "here", "cancelled"))
    if not counts:
        return
    causes: Counter[str] = Counter()
    hosts: Counter[str] = Counter()
    for (outcome, host), count in counts.items():
        causes[OUTCOMES.get(outcome, outcome)] += count
        hosts[host] += count
    text = f"{counted(counts.total(), 'attempt')} did not count ({text_of(lost)} of executors' time): "
    text += ", ".join(f"{cause} ({count:,})" for cause, count in causes.most_common(3))
    host, most = hosts.most_common(1)[0]
    if most > counts.total() / 2 and len(facts.record.executors) > 1:
        text += f"; all on {host}" if most == counts.total() else f"; {most:,} of them on {host}"
    yield Finding("slow" if facts.is_notable(lost, 0.05) else "", f"{text}.")


def was_thrown_away(outcome: str) -> bool:
    """Whether an attempt with this outcome gave no result."""
    return outcome not in ("done", "here")


def _crowded(facts: Facts) -> Iterator[Finding]:
    """Commands that computed for less than half of the time for which they ran."""
    remote = [task for task in facts.record.tasks if task.ran == "remote" and task.wall_s > 0]
    ran = sum(task.wall_s for task in remote)
    computed = sum(task.user_s + task.system_s for task in remote)
    if facts.is_notable(ran, 0.5) and computed < 0.5 * ran:
        text = f"Commands on executors computed for {text_of(computed)} of the {text_of(ran)} for which they ran "
        text += f"({round(100 * computed / ran)} %): their hosts run too much at once, or wait for files."
        yield Finding("slow", text)


def _slow_hosts(facts: Facts) -> Iterator[Finding]:
    """Hosts whose compiles take much longer than those of all hosts. Chance places tasks, so 20 of them are enough."""
    by_host: defaultdict[str, list[float]] = defaultdict(list)
    for span in facts.spans:
        if span.outcome == "done" and facts.record.tasks[span.task].kind == "compile":
            by_host[facts.record.host_of(span.executor)].append(span.ended - span.began)
    if len(by_host) < 2:
        return
    usual = median(seconds for each in by_host.values() for seconds in each)
    for host, each in sorted(by_host.items()):
        if len(each) >= 20 and usual > 0 and median(each) >= 1.5 * usual:
            text = f"Compiles on {host} took {median(each) / usual:.1f} times as long as on all hosts (medians)."
            yield Finding("slow", text)


def _comparison(facts: Facts, earlier: Record) -> Iterator[Finding]:
    before, now = timeline.wall_s(earlier), facts.wall_s
    if before <= 0:
        return
    then, tasks = len(earlier.tasks), len(facts.record.tasks)
    text = f"The build before took {text_of(before)}"
    if abs(then - tasks) > 0.1 * max(then, tasks):
        yield Finding("", f"{text} with {counted(then, 'task')}, so it had other work to do.")
    elif abs(now - before) < 0.05 * before:
        yield Finding("", f"{text}, about the same.")
    else:
        words = "shorter" if now < before else "longer"
        share = round(100 * abs(now - before) / before)
        tone: Literal["good", "slow"] = "good" if now < before else "slow"
        yield Finding(tone, f"{text}: this build is {text_of(abs(now - before))} ({share} %) {words}.")


def _place(record: Record, task: Task) -> str:
    if task.here is not None or task.ran == "here":
        return "on the submit host"
    host = record.host_of(task.executor)
    return f"on {host}" if host else "on no host"
