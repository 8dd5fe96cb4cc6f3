"""The socket between a supervisor and one of its processes: news both ways, questions that are answered.

A frame is a length of four octets and a list in MessagePack, which unlike JSON knows infinity. Both ends are one
program; a frame that is none, or too long, ends the link all the same, and with it the process.
"""

import struct
from collections.abc import Callable
from socket import socket
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from mtad.model.errors import Unavailable

MAX_OCTETS = 64 * 1024 * 1024
"""The counters of ten thousand domains are some 40 MB."""

_LENGTH = struct.Struct("!I")
_TELL, _ASK, _ANSWER = "tell", "ask", "answer"

Answering = Callable[[str], "Deferred[Any]"]
Hearing = Callable[[str, Any], None]


class Link(Int32StringReceiver):
    """One end. `answer` is given what the other end asks, `heard` what it tells; `lost` is called at the end."""

    MAX_LENGTH = MAX_OCTETS

    def __init__(self, *, heard: Hearing, lost: Callable[[], None], answer: Answering | None = None) -> None:
        self._heard = heard
        self._lost = lost
        self._answer = answer
        self._number = 0
        self._waiting: dict[int, Deferred[Any]] = {}
        self._connected = False
        self._ended: Deferred[None] | None = None

    def tell(self, what: str, value: object = None) -> None:
        """Tell the other end, unless the link is lost."""
        self._send(_TELL, what, value)

    def ask(self, what: str) -> "Deferred[Any]":
        """Fire with what the other end answers; fails with Unavailable when it cannot, or the link is lost first."""
        if not self._connected:
            return fail(Unavailable("process", "it has no link"))
        self._number += 1
        answered: Deferred[Any] = Deferred()
        self._waiting[self._number] = answered
        self._send(_ASK, self._number, what)
        return answered

    def finish(self) -> "Deferred[None]":
        """Close the link once all that was told is sent; fires when it is closed."""
        self._ended = Deferred()
        if self._connected and self.transport is not None:
            self.transport.loseConnection()
        else:
            self._ended.callback(None)
        return self._ended

    def connectionMade(self) -> None:
        """Begin."""
        self._connected = True

    def stringReceived(self, string: bytes) -> None:
        """Take a frame."""
        try:
            kind, first, second = msgspec.msgpack.decode(string)
        except (msgspec.DecodeError, ValueError, TypeError):
            self.lengthLimitExceeded(len(string))
            return
        if kind == _TELL:
            self._heard(first, second)
        elif kind == _ASK and self._answer is not None:
            answered = self._answer(second)
            answered.addCallbacks(
                lambda value: self._send(_ANSWER, first, [value, None]),
                lambda failure: self._send(_ANSWER, first, [None, failure.getErrorMessage()]),
            )
        elif kind == _ANSWER and (waiter := self._waiting.pop(first, None)) is not None:
            value, trouble = second
            if trouble is None:
                waiter.callback(value)
            else:
                waiter.errback(Unavailable("process", trouble))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is not answered."""
        self._connected = False
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            waiter.errback(Unavailable("process", "it ended"))
        if self._ended is not None:
            self._ended.callback(None)
        self._lost()

    def _send(self, kind: str, first: object, second: object) -> None:
        if self._connected:
            self.sendString(msgspec.msgpack.encode([kind, first, second]))


class Once(ServerFactory[Any]):
    """Builds a link that exists."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: object) -> Link:
        """Return it."""
        return self._link


def first_told(link: socket) -> Any:
    """Return the value that the other end tells first, before there is a reactor; EOFError when it is gone."""
    (length,) = _LENGTH.unpack(_read(link, _LENGTH.size))
    _, _, value = msgspec.msgpack.decode(_read(link, length))
    return value


def _read(link: socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = link.recv(count - len(octets))
        if not more:
            raise EOFError("the supervisor is gone")
        octets += more
    return octets
