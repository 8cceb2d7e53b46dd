"""The token account of one build: how many tokens exist, how many should, and what to do about the difference.

A token is a byte in the build's FIFO or in the hands of a process that has read it. The server can write one at any
time (issue), but can take one out only while it lies in the FIFO (withdraw); a token that somebody holds is out of
reach until it is written back. So a narrowed width leaves a debt, ``owed``, that is paid with tokens as they come back.

The build tool runs one recipe without a token, on its implicit slot, whatever the pool holds. A width of n is therefore
n - 1 tokens, and a width of 0 can't be had: the tool goes on one recipe at a time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What the IO part is to try now. At most one of the two is not 0."""

    #: tokens to write
    issue: int = 0
    #: tokens to take out as soon as they are free
    withdraw: int = 0


class TokenLedger:
    """Counts the tokens of one build. Does no IO: it says what to do, and is told what was done.

    Invariants: ``circulation + due - owed == target``; ``due`` and ``owed`` are never both positive; nothing is
    negative.
    """

    def __init__(self) -> None:
        #: tokens that exist, free or held: all that were issued and not withdrawn
        self._circulation = 0
        #: tokens that should exist
        self._target = 0

    @property
    def circulation(self) -> int:
        """Tokens that exist, free or held."""
        return self._circulation

    @property
    def target(self) -> int:
        """Tokens that should exist: the width without the implicit slot."""
        return self._target

    @property
    def owed(self) -> int:
        """Tokens to take out when they are seen free."""
        return max(0, self._circulation - self._target)

    @property
    def due(self) -> int:
        """Tokens still to write."""
        return max(0, self._target - self._circulation)

    def set_width(self, width: int) -> Adjustment:
        """So many recipes may run at once from now on, the one on the implicit slot included. 0 is the same as 1."""
        if width < 0:
            raise ValueError(f"negative width {width}")
        self._target = max(0, width - 1)
        return self.adjustment()

    def adjustment(self) -> Adjustment:
        """What is to be done as things stand."""
        return Adjustment(issue=self.due, withdraw=self.owed)

    def issued(self, count: int) -> None:
        """``count`` tokens were written, at most as many as were due."""
        assert 0 <= count <= self.due, (count, self.due)
        self._circulation += count

    def withdrawn(self, count: int) -> None:
        """``count`` tokens were taken out, at most as many as were owed."""
        assert 0 <= count <= self.owed, (count, self.owed)
        self._circulation -= count

    def recount(self, free: int) -> int:
        """Squares the account with the truth at a time when nobody holds a token: ``free`` is what lies in the FIFO.

        Returns:
            Tokens lost: their holders were killed, or forgot them (make 4.4.1 does when it is interrupted). Negative if
            more were written than were ever issued.
        """
        assert free >= 0, free
        lost = self._circulation - free
        self._circulation = free
        return lost

    def found(self, count: int) -> None:
        """``count`` tokens exist that are not counted: they were written off, and were not lost."""
        assert count >= 0, count
        self._circulation += count

    def write_off(self, count: int) -> None:
        """``count`` tokens are known to be lost in the midst of the build; they become due again."""
        assert 0 <= count <= self._circulation, (count, self._circulation)
        self._circulation -= count
