"""A server that mail is handed to, and how it is to be spoken to.

Values only: who decides that a next hop is used, and who talks to it, is elsewhere. Next hops that are equal share
their connections, so everything that makes a difference to a connection is part of the value.
"""

from dataclasses import dataclass, field
from enum import Enum


class TlsLevel(Enum):
    """How much encryption a next hop must give.

    NONE does not ask for it; MAY takes it unverified where it is offered and works, and goes on in clear where not
    (RFC 7435); ENCRYPT sends nothing without it; VERIFY wants a certificate as well that is valid for the host's name.
    """

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"

    @property
    def needed(self) -> bool:
        """Whether nothing may be sent in clear."""
        return self in (TlsLevel.ENCRYPT, TlsLevel.VERIFY)


_BY_STRICTNESS = list(TlsLevel)


def strictest(*levels: TlsLevel | None) -> TlsLevel | None:
    """Return the level that keeps them all; None when nobody asks for one."""
    return max((level for level in levels if level is not None), key=_BY_STRICTNESS.index, default=None)


class Dialect(Enum):
    """Which protocol; the value is its hello."""

    LMTP = b"LHLO"
    SMTP = b"EHLO"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and its password, as AUTH sends them."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NextHop:
    """`address` is dialled (`192.0.2.25:25`, `mail.example:587`, a unix path), from `source` if that is given.

    `host` is the name it goes by. `guarded` tells that the address came out of the DNS, not from an operator: then it
    must not turn out to be one of this machine's. `behind` tells that it is a mail store behind this server, of which
    senders need to know no more.
    """

    host: str
    address: str
    dialect: Dialect = Dialect.SMTP
    tls: TlsLevel = TlsLevel.NONE
    credentials: Credentials | None = None
    source: str | None = None
    guarded: bool = False
    behind: bool = False
