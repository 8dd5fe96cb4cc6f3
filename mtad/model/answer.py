"""What is asked of the DNS, and what came back: six ways to get no record, and none of them is another.

A name that does not exist, a name without such records, and four kinds of trouble (DESIGN D11). Only the first two
say anything about the name; trouble is temporary, always. Names are in lower case, without the final dot, odd octets
escaped as in master files (RFC 1035 §5.1); so they can be shown, and the root is the empty name.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The record types that are asked for, by their names in RFC 1035 §3.2.2 and RFC 3596 §2.1."""

    A = "A"
    AAAA = "AAAA"
    MX = "MX"
    TXT = "TXT"
    PTR = "PTR"
    CNAME = "CNAME"


@dataclass(frozen=True, slots=True)
class Question:
    """One name and type, of class IN. `name` is an A-label in lower case without the final dot."""

    name: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind.value} of {self.name or '.'}"


class Status(Enum):
    """How a question ended; the value is for people and logs."""

    FOUND = "found"
    NO_NAME = "NXDOMAIN"
    NO_DATA = "NODATA"
    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    TIMEOUT = "timeout"
    BOGUS = "bogus"


FINAL = frozenset((Status.FOUND, Status.NO_NAME, Status.NO_DATA))


@dataclass(frozen=True, slots=True)
class MailExchange:
    """An MX record (RFC 1035 §3.3.9). An empty `host` is the root: no mail here, says RFC 7505 §3."""

    preference: int
    host: str


Record = str | bytes | MailExchange


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of a question for the next `ttl_seconds`.

    `records` are there only when FOUND, in the server's order: addresses (A, AAAA) and names (PTR, CNAME) as text,
    TXT as the octets of its strings joined (RFC 7208 §3.3), MX as MailExchange. `canonical` is the name at the end of
    the CNAMEs, the question's own when there are none. `authentic` is the AD bit (RFC 6840 §5.7) of servers that the
    configuration trusts with it, over all of the chain. `detail` says for people who answered, and what.
    """

    question: Question
    status: Status
    records: tuple[Record, ...] = ()
    canonical: str = ""
    authentic: bool = False
    ttl_seconds: float = 0.0
    detail: str = ""

    @property
    def temporary(self) -> bool:
        """Whether it says nothing about the name: ask again later."""
        return self.status not in FINAL

    @property
    def names(self) -> tuple[str, ...]:
        """The records that are text: addresses, or names."""
        return tuple(record for record in self.records if isinstance(record, str))

    @property
    def exchanges(self) -> tuple[MailExchange, ...]:
        """The MX records."""
        return tuple(record for record in self.records if isinstance(record, MailExchange))

    @property
    def texts(self) -> tuple[bytes, ...]:
        """The TXT records, each one joined."""
        return tuple(record for record in self.records if isinstance(record, bytes))
