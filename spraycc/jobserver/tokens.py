"""The account of one build's tokens: how many exist, how many should exist, and the difference.

A token is a byte. The byte lies in the build's FIFO, or a process has read it and holds it. The server can write a
token at any time, but can withdraw one only while it lies in the FIFO: a token that a process holds is out of reach
until the process writes it back. So a build that becomes narrower leaves a debt, ``owed``. Tokens that come back pay
the debt.

Tokens are conserved. Only four things change how many exist, and each is one method of :class:`TokenAccount`:

- the server has written tokens (``written``) or withdrawn them (``withdrawn``);
- a process was killed while it held tokens (``lost``). make 4.4.1 also forgets its tokens when it is interrupted;
- tokens that counted as lost have come back (``found``).

The tokens in the FIFO and the tokens that processes hold add up to ``issued`` at every moment. At the end of a build no
process holds a token, so the FIFO must hold ``issued`` bytes.

A build tool runs one recipe on its implicit slot, without a token. So a build with a width of n has n - 1 tokens. No
build can have a width of 0: its tool goes on with one recipe at a time.

Two parts of the server share one account: the governor says how many tokens should exist (``set_tokens``), and the FIFO
says how many do.
"""

from __future__ import annotations

import sys


class TokenAccount:
    """Counts the tokens of one build. Does no IO.

    Invariants: ``issued + due - owed`` is the number that :meth:`set_tokens` asked for, ``due`` and ``owed`` are never
    both positive, and nothing is negative.
    """

    def __init__(self) -> None:
        #: tokens that exist: all that were written and neither withdrawn nor lost
        self.issued = 0
        #: tokens that should exist
        self._wanted = 0
        #: no more tokens than this can exist: the FIFO has no room for them
        self._capacity = sys.maxsize

    @property
    def due(self) -> int:
        """Tokens to write."""
        return max(0, self._wanted - self.issued)

    @property
    def owed(self) -> int:
        """Tokens to withdraw as soon as they lie in the FIFO."""
        return max(0, self.issued - self._wanted)

    @property
    def committed(self) -> int:
        """Tokens that a tool may hold sooner or later: those that exist, and those to write."""
        return max(self.issued, self._wanted)

    @property
    def is_full(self) -> bool:
        """The FIFO has no room for one more."""
        return self.committed >= self._capacity

    def set_tokens(self, count: int) -> None:
        """From now on ``count`` tokens should exist, or as many as the FIFO has room for."""
        assert count >= 0, count
        self._wanted = min(count, self._capacity)

    def set_capacity(self, count: int = sys.maxsize) -> None:
        """The FIFO has room for ``count`` tokens; by default for any number."""
        assert count >= 0, count
        self._capacity = count
        self._wanted = min(self._wanted, count)

    def written(self, count: int) -> None:
        """``count`` tokens were written, at most as many as were due."""
        assert 0 <= count <= self.due, (count, self.due)
        self.issued += count

    def withdrawn(self, count: int) -> None:
        """``count`` tokens were withdrawn, at most as many as were owed."""
        assert 0 <= count <= self.owed, (count, self.owed)
        self.issued -= count

    def lost(self, count: int) -> None:
        """``count`` tokens are gone with their holders. They are not due again until :meth:`set_tokens` says so."""
        assert 0 <= count <= self.issued, (count, self.issued)
        self._wanted = min(self._wanted, self.committed - count)
        self.issued -= count

    def found(self, count: int) -> None:
        """``count`` more tokens exist than ``issued``: they counted as lost, but were not."""
        assert count >= 0, count
        self.issued += count
