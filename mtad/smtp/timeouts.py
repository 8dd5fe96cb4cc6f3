"""How long each end of a session waits for the other, in seconds (RFC 5321 §4.5.3.2).

The server's is what `mtad.smtp.server` offers; the others are the least a client waits for a reply. Nothing here
counts: who waits sets the timer.
"""

SERVER_SECONDS = 300.0
"""For the next command, and for the next octets of data (RFC 5321 §4.5.3.2.7)."""

GREETING_SECONDS = 300.0
"""For the 220 after connecting (RFC 5321 §4.5.3.2.1); EHLO, STARTTLS, RSET and QUIT take the same."""

MAIL_SECONDS = 300.0
"""For the reply to MAIL (RFC 5321 §4.5.3.2.2)."""

RCPT_SECONDS = 300.0
"""For the reply to RCPT (RFC 5321 §4.5.3.2.3)."""

DATA_SECONDS = 120.0
"""For the 354 (RFC 5321 §4.5.3.2.4)."""

BLOCK_SECONDS = 180.0
"""For the peer to take a block of data (RFC 5321 §4.5.3.2.5)."""

END_SECONDS = 600.0
"""For the reply to the final dot (RFC 5321 §4.5.3.2.6): too short makes duplicates."""

OPENING_SECONDS = 600.0
"""For all from connecting to the first transaction, whatever the server does with its single waits."""

_TRANSACTION_SECONDS = 1800.0
_LEAST_OCTETS_PER_SECOND = 8192


def transaction_seconds(octets: int) -> float:
    """Return how long a client stays with a message of that size, up to its dot; the wait for the answer comes on top.

    No RFC has a limit for the whole: it is there for servers that answer each command in the last moment.
    """
    return _TRANSACTION_SECONDS + octets / _LEAST_OCTETS_PER_SECOND
