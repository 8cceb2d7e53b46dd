"""The actions of a submission plan (cluster/submission_plan.py): commands for the cluster manager, and reports."""

from __future__ import annotations

from dataclasses import dataclass

from spraycc.cluster.driver import BatchId


@dataclass(frozen=True, slots=True)
class Submit:
    """Submit an array of ``count`` batch jobs. Answered by ``submitting``, then ``submitted`` or ``refused``."""

    queue: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Search:
    """Find the submissions of this session by name. Answered by ``found`` or ``search_failed``."""


@dataclass(frozen=True, slots=True)
class List:
    """List these submissions. Answered by ``listed`` or ``list_failed``."""

    submission_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explain:
    """Ask why a batch job is pending. Answered by ``explained``."""

    batch: BatchId


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel batch jobs. Answered by ``cancelled`` for each command, and by ``cancel_failed`` if one fails."""

    ids: tuple[BatchId, ...]
    #: for the log
    why: str


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class ReportFailed:
    """Executors that were asked for will not connect."""

    count: int
    #: seconds until others may be asked for
    retry_s: float
    #: for the user, or empty
    text: str
    #: the executors' log may have the reason
    is_logged: bool = False


Command = Submit | Search | List | Explain | Cancel
Report = Say | ReportFailed


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit of the site keeps some executors from being submitted."""

    #: of the cluster manager, and the next step
    words: str
    #: the words, and how many executors are submitted
    text: str
    #: the time of the first refusal
    since: float
