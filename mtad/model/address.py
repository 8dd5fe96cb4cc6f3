"""A mailbox as mtad holds it: local part and domain (RFC 5321 §4.1.2), already parsed and bounded.

Parsing bytes from the wire is `mtad.smtp.grammar`'s work; this module only holds and prints the value. The null
reverse-path is `None`, never an empty Address.
"""

import re
import unicodedata
from dataclasses import dataclass

_DOT_STRING = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)


@dataclass(frozen=True, slots=True)
class Address:
    """`local_part` is unquoted and never changed; `domain` is an A-label in lower case or a bracketed literal."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        """Return the form of the wire, without angle brackets, quoted where RFC 5321 asks for it."""
        if _DOT_STRING.fullmatch(self.local_part):
            return f"{self.local_part}@{self.domain}"
        quoted = self.local_part.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"@{self.domain}'

    @property
    def key(self) -> str:
        """What hosted addresses are compared by: the local part after NFC and casefold (DESIGN §5)."""
        return f"{folded(self.local_part)}@{self.domain}"

    @property
    def plain(self) -> str:
        """The local part as it is, never quoted, and the domain: what is stored; `from_plain` is its inverse."""
        return f"{self.local_part}@{self.domain}"


def from_plain(text: str) -> Address:
    """Return the address whose `plain` form this is; a domain has no at sign, so the last one divides."""
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)


def folded(local_part: str) -> str:
    """Return a hosted local part in the form it is stored and compared in."""
    if local_part.isascii():
        return local_part.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", local_part).casefold())


def path(address: Address | None) -> str:
    """Return an address as a path of RFC 5321 §4.1.2, `<>` for the null reverse-path."""
    return "<>" if address is None else f"<{address}>"
