"""What was found about a message's identity, as fields on top of it: Authentication-Results and Received-SPF.

RFC 8601 §2.2 and RFC 7208 §9.1. Whatever a peer or a record said is put into quoted strings and comments, printable
ASCII only and bounded, so that nobody's words can end a field, or look like a result of ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mtad.model.address import Address, path
from mtad.model.authentication import Authentication, Dkim, Dmarc, Result, Spf
from mtad.model.text import shown

MAX_WORDS_CHARACTERS = 200
_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`{|}~/@")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose message it was: the peer's address, what it called itself, and the reverse-path it gave."""

    ip: str
    helo: str
    reverse_path: Address | None


def authentication_results(found: Authentication, subject: Subject, authserv_id: str) -> bytes:
    """Return the Authentication-Results field of a message; `authserv_id` is who says so.

    What was not checked is not in it.
    """
    results = [
        *(_spf(each, subject) for each in found.spf),
        *(_dkim(each) for each in found.dkim),
    ]
    if found.dmarc.domain or found.dmarc.result is not Result.NONE:
        results.append(_dmarc(found.dmarc))
    if found.arc.result is not Result.NONE:
        results.append(f"arc={found.arc.result.value}{_comment(found.arc.reason)}")
    if found.iprev.result is not Result.NONE:
        results.append(
            f"iprev={found.iprev.result.value}{_comment(found.iprev.name)} policy.iprev={_value(subject.ip)}"
        )
    lines = ";\r\n\t".join((authserv_id, *(results or ["none"])))
    return f"Authentication-Results: {lines}\r\n".encode("ascii")


def received_spf(spf: Spf, subject: Subject, hostname: str) -> bytes:
    """Return the Received-SPF field for what was checked of a message."""
    parts = [
        f"client-ip={_value(subject.ip)}",
        f"envelope-from={_quoted(path(subject.reverse_path)[1:-1])}",
        f"helo={_value(subject.helo)}",
        f"receiver={hostname}",
        f"identity={spf.identity}",
    ]
    named = ";\r\n\t".join(parts)
    return f"Received-SPF: {spf.result.value}{_comment(spf.reason)}\r\n\t{named}\r\n".encode("ascii")


def _spf(spf: Spf, subject: Subject) -> str:
    said = subject.helo if spf.identity == "helo" else path(subject.reverse_path)[1:-1]
    return f"spf={spf.result.value}{_comment(spf.reason)} smtp.{spf.identity}={_value(said)}"


def _dkim(dkim: Dkim) -> str:
    properties = (("d", dkim.domain), ("s", dkim.selector), ("a", dkim.algorithm), ("b", dkim.signature[:8]))
    named = [f"header.{name}={_value(value)}" for name, value in properties if value]
    found = f"dkim={dkim.result.value}{_comment(dkim.reason)}"
    fits = sum(map(len, named)) < MAX_WORDS_CHARACTERS
    # No line comes near 998 octets (RFC 5322 §2.1.1), however long the words are.
    return (" " if fits else "\r\n\t\t").join((found, *named))


def _dmarc(dmarc: Dmarc) -> str:
    words = "; ".join(_words(dmarc))
    author = f" header.from={_value(dmarc.domain)}" if dmarc.domain else ""
    return f"dmarc={dmarc.result.value}{_comment(words)}{author}"


def _words(dmarc: Dmarc) -> Iterator[str]:
    if dmarc.policy is not None:
        yield f"p={dmarc.policy.value}"
    if dmarc.reason:
        yield dmarc.reason


def _ascii(words: str) -> str:
    return shown(words, MAX_WORDS_CHARACTERS).encode("ascii", "backslashreplace").decode()[:MAX_WORDS_CHARACTERS]


def _comment(words: str) -> str:
    """Return words as a comment behind a space; nothing for none (RFC 5322 §3.2.2)."""
    if not words:
        return ""
    escaped = "".join(f"\\{letter}" if letter in "()\\" else letter for letter in _ascii(words))
    return f" ({escaped})"


def _value(words: str) -> str:
    """Return a value as a token where it can be one, else as a quoted string (RFC 8601 §2.2, RFC 2045 §5.1)."""
    text = _ascii(words)
    return text if text and _TOKEN.issuperset(text) else _quoted(text)


def _quoted(words: str) -> str:
    escaped = "".join(f"\\{letter}" if letter in '"\\' else letter for letter in _ascii(words))
    return f'"{escaped}"'
