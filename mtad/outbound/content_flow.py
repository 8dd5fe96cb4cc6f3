"""The content of a message above 64 KiB on its way into a connection, a block whenever the socket's buffer is empty.

So little of it is in memory at once, and when all of it was sent no more than the closing dot is left to write: whether
this process still may is asked directly before (DESIGN §8). Over TLS the socket is below the transport that is written
to, and it alone knows what has left: the flow is registered there. Twisted's TLS would pull its producers without
asking, and call its buffer empty with 64 KiB in it. From there the dot takes one turn of the reactor more than in
clear.
"""

from collections.abc import Callable, Iterator
from typing import cast

from twisted.internet.interfaces import IConsumer, IPullProducer, ITCPTransport, ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mtad.model.errors import Unavailable
from mtad.outbound.patience import Patience
from mtad.smtp import timeouts


class ISocket(IConsumer, ITCPTransport):
    """A transport that takes producers."""


def socket_of(transport: ITransport) -> ISocket:
    """Return what is below TLS, or the transport itself in clear: it asks for more when all it was given has left."""
    above = getattr(transport, "protocol", None)
    return cast(ISocket, above.transport if isinstance(above, TLSMemoryBIOProtocol) else transport)


@implementer(IPullProducer)
class ContentFlow:
    """One message's: its `blocks` go to the `transport`, then `sent` is called, or `unreadable` for one that fails."""

    def __init__(
        self,
        blocks: Iterator[bytes],
        *,
        transport: ITransport,
        patience: Patience,
        sent: Callable[[], None],
        unreadable: Callable[[Unavailable], None],
    ) -> None:
        self._blocks = blocks
        self._transport = transport
        self._socket = socket_of(transport)
        self._patience = patience
        self._sent = sent
        self._unreadable = unreadable

    def begin(self) -> None:
        """Write the first block; the others follow as the socket asks for them."""
        self._socket.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Write the next block, or be done: the socket's buffer is empty."""
        try:
            block = next(self._blocks, None)
        except Unavailable as trouble:
            self._unreadable(trouble)
            return
        if block is not None:
            self._patience.wait(timeouts.BLOCK_SECONDS, "the server takes no more of the content")
            self._transport.write(block)
        else:
            self._socket.unregisterProducer()
            self._sent()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost, and its protocol hears of that."""
