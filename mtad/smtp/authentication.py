"""How a client says who it is: AUTH PLAIN (RFC 4616) or the older AUTH LOGIN (RFC 4954 §4).

PLAIN is one exchange and goes first where both are offered. Whether a password may be sent at all is the caller's to
decide: both mechanisms show it to whoever reads the connection.
"""

from base64 import b64encode

from mtad.model.next_hop import Credentials
from mtad.smtp.answers import Step
from mtad.smtp.transaction import Command


def authentication(credentials: Credentials, mechanisms: str) -> tuple[Command, ...]:
    """Return the commands, each to be sent when the one before was answered; none when no mechanism is known.

    `mechanisms` are the parameters of AUTH in the hello.
    """
    offered = mechanisms.upper().split()
    username, password = credentials.username.encode("utf-8"), credentials.password.encode("utf-8")
    if "PLAIN" in offered:
        return (Command(Step.AUTH, b"AUTH PLAIN %s\r\n" % b64encode(b"\0%s\0%s" % (username, password))),)
    if "LOGIN" in offered:
        return (
            Command(Step.AUTH_PROMPT, b"AUTH LOGIN\r\n"),
            Command(Step.AUTH_PROMPT, b64encode(username) + b"\r\n"),
            Command(Step.AUTH, b64encode(password) + b"\r\n"),
        )
    return ()
