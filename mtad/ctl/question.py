"""A question to whoever sits at the terminal, asked while the reactor runs.

A blocking read would not do: which thread gets a Ctrl-C is the system's choice, and a read in another one goes on.
"""

import os
import sys

import click
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.postgres.session import IReactor

_MAX_OCTETS = 1024


@implementer(IReadDescriptor)
class Keyboard:
    """Standard input; `line` fires with what is typed next, empty at its end."""

    def __init__(self) -> None:
        self.line: Deferred[bytes] = Deferred()

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        return sys.stdin.fileno()

    def logPrefix(self) -> str:
        """Return what errors are logged with."""
        return "keyboard"

    def doRead(self) -> None:
        """Take the line."""
        if not self.line.called:
            self.line.callback(os.read(self.fileno(), _MAX_OCTETS))

    def connectionLost(self, reason: Failure) -> None:
        """Take that there is nothing to come."""
        if not self.line.called:
            self.line.callback(b"")


async def agreed(reactor: IReactor, question: str) -> bool:
    """Return whether the answer is yes. Standard input has to be a terminal."""
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    keyboard = Keyboard()
    reactor.addReader(keyboard)
    try:
        answer = await keyboard.line
    finally:
        reactor.removeReader(keyboard)
    return answer.strip().lower() in (b"y", b"yes")
