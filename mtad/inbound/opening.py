"""How a session begins: a peer listens before it talks, and what it says first is no PROXY header.

Who talks before the greeting is no mail server (RFC 5321 §4.3.1), and a header is only for those who were told to send
one (`mtad.inbound.proxied`): from anybody else it is a lie about where a connection is from.
"""

from mtad.smtp.proxy import SIGNATURE, announced

EARLY_TALKER = "early-talker"
PROXY_HEADER = "proxy-header"


class Opening:
    """The first octets of a session, for as long as they can be the beginning of a header."""

    def __init__(self) -> None:
        self._octets = b""
        self._over = False

    def problem(self, data: bytes, greeted: bool) -> str | None:
        """Return why a session that goes on with `data` has to end, as REASONS has it; None when it need not."""
        if self._over:
            return None
        self._octets += data[: len(SIGNATURE)]
        self._over = len(self._octets) >= len(SIGNATURE)
        if announced(self._octets):
            return PROXY_HEADER
        return None if greeted else EARLY_TALKER
