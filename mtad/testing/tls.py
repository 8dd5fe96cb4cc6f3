"""The certificates' twin: a context that stands for one, for transports that only record it."""

from typing import NoReturn

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocol
from zope.interface import implementer

from mtad.interfaces import ITlsContexts


@implementer(IOpenSSLServerConnectionCreator)
class MemoryContext:
    """What `MemoryTransport.startTLS` gets to see."""

    def serverConnectionForTLS(self, tlsProtocol: IProtocol | None) -> NoReturn:
        """Refuse: nothing is encrypted in memory."""
        raise AssertionError("a memory context is for memory transports")


@implementer(ITlsContexts)
class MemoryTls:
    """With `configured` there is a certificate, and always the same; it may be changed between connections."""

    def __init__(self, configured: bool = False) -> None:
        self.configured = configured
        self.context = MemoryContext()

    def server(self) -> MemoryContext | None:
        """Return the context, None when no certificate is configured."""
        return self.context if self.configured else None
