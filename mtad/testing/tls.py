"""The certificates' twin: a context that stands for one, for transports that only record it."""

from typing import NoReturn

from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
)
from zope.interface import implementer

from mtad.interfaces import ITlsContexts
from mtad.model.next_hop import TlsLevel


@implementer(IOpenSSLServerConnectionCreator)
class MemoryContext:
    """What `MemoryTransport.startTLS` gets to see."""

    def serverConnectionForTLS(self, tlsProtocol: IProtocol | None) -> NoReturn:
        """Refuse: nothing is encrypted in memory."""
        raise AssertionError("a memory context is for memory transports")


@implementer(IOpenSSLClientConnectionCreator)
class MemoryClientContext:
    """What `MemoryTransport.startTLS` gets to see of a client: how much it wants, and of whom."""

    def __init__(self, level: TlsLevel, host: str) -> None:
        self.level = level
        self.host = host

    def clientConnectionForTLS(self, tlsProtocol: IProtocol | None) -> NoReturn:
        """Refuse: nothing is encrypted in memory."""
        raise AssertionError("a memory context is for memory transports")


@implementer(ITlsContexts)
class MemoryTls:
    """With `configured` there is a certificate, and always the same; it may be changed between connections.

    `asked` are the levels and hosts that clients wanted contexts for, `wrong` is what `troubles` tells.
    """

    def __init__(self, configured: bool = False) -> None:
        self.configured = configured
        self.wrong: dict[str, str] = {}
        self.asked: list[tuple[TlsLevel, str]] = []
        self.context = MemoryContext()

    def server(self) -> MemoryContext | None:
        """Return the context, None when no certificate is configured."""
        return self.context if self.configured else None

    def client(self, level: TlsLevel, host: str) -> MemoryClientContext:
        """Return a context that says what was asked for."""
        self.asked.append((level, host))
        return MemoryClientContext(level, host)

    def troubles(self) -> dict[str, str]:
        """Return `wrong`."""
        return self.wrong
