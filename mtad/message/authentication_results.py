"""What an Authentication-Results field says: whose results, and which (RFC 8601 §2.2).

    authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]
    resinfo         = [CFWS] ";" methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ]
    methodspec      = [CFWS] method [CFWS] "=" [CFWS] result
    method          = Keyword [ [CFWS] "/" [CFWS] method-version ]

Whoever wrote the field may have written anything: whose id it claims is told whatever follows it, and of the results
those are told that can be read. All scans are linear, over a field of bounded length. Reasons are passed over, and all
properties but one, and nothing is believed here. What claims to be ours and came from elsewhere is taken out (§5).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from mtad.message import headers
from mtad.model.content import Content, behind
from mtad.model.text import shown

MAX_OCTETS = 16 * 1024
MAX_RESULTS = 50

MAX_FIELDS_READ = 50
"""Of so many fields in a message it is read whose id they claim; nobody honest has more, so further ones go unread."""

MAX_ID_OCTETS = 512
"""So much of a field has to tell whose id it claims; what does not may claim ours."""

_SHOWN_CHARACTERS = 255

# Other control characters are no white space, but taken for some by those who read the field after us.
_WHITE = bytes((*range(33), 127))
_QUOTED = rb'"(?:[^"\\]|\\.)*+"?'
_TOKEN = re.compile(rb"[\x00- \x7f]++|" + _QUOTED + rb'|[^\x00- \x7f"();=/]++|.', re.DOTALL)
# What no name of a host begins or ends with; whoever looks for one may pass over it.
_NO_HOST = bytes(octet for octet in range(256) if not (octet < 128 and (chr(octet).isalnum() or octet in b"-_")))
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """The authserv-id in lower case, empty when there is none, and pairs of method and result, in lower case.

    `authors` are the domains that results of DMARC are said to be for (header.from, RFC 8601 §2.7 and RFC 7489 §11.1).
    All of it is fit to be shown.
    """

    authserv_id: str
    results: tuple[tuple[str, str], ...] = ()
    authors: tuple[str, ...] = ()


def parse(value: bytes) -> AuthenticationResults:
    """Return what the raw value of a field says, as far as it can be read."""
    infos = _infos(value[:MAX_OCTETS])
    named = next(infos)
    results: list[tuple[str, str]] = []
    authors: list[str] = []
    for words in infos:
        match words:
            # A method may have a version: dkim/1=pass
            case [method, b"=", result, *rest] | [method, b"/", _, b"=", result, *rest] if len(results) < MAX_RESULTS:
                results.append((_text(method), _text(result)))
                authors += _authors(rest) if results[-1][0] == "dmarc" else ()
    return AuthenticationResults(_text(named[0]) if named else "", tuple(results), tuple(authors))


def dmarc_passed(value: bytes, authors: Sequence[str]) -> bool:
    """Return whether it says that DMARC passed, and nothing else of DMARC, for the author's domain.

    `authors` are the domains in the From field, A-labels; of several nobody says so. Whose domain it was may go unsaid.
    """
    found = parse(value)
    results = {result for method, result in found.results if method == "dmarc"}
    return results == {"pass"} and len(authors) == 1 and set(found.authors) <= set(authors)


def without_claims(content: Content, header_block: bytes, authserv_id: str) -> Content:
    """Return content without the fields of its header, which is `header_block`, that claim to be by `authserv_id`."""
    seen = count(1)
    kept = headers.without(
        header_block,
        b"Authentication-Results",
        lambda value: next(seen) > MAX_FIELDS_READ or _claims(value, authserv_id),
    )
    return content if len(kept) == len(header_block) else behind(kept, content, len(header_block))


def _claims(value: bytes, authserv_id: str) -> bool:
    words = next(_infos(value[:MAX_ID_OCTETS]))
    if not words:
        return len(value) > MAX_ID_OCTETS
    return _unquoted(words[0]).strip(_NO_HOST).lower() == authserv_id.lower().encode("ascii")


def _authors(words: Sequence[bytes]) -> Iterator[str]:
    """Yield what header.from is said to be; it may be a whole address, whose domain counts."""
    for name, equals, value in zip(words, words[1:], words[2:], strict=False):
        if name.lower() == b"header.from" and equals == b"=":
            yield _text(value).rpartition("@")[2].removesuffix(".")


def _infos(text: bytes) -> Iterator[list[bytes]]:
    """Yield the words between semicolons, each time; white space and comments separate them and are left out."""
    words: list[bytes] = []
    for token in _tokens(text):
        if token == b";":
            yield words
            words = []
        else:
            words.append(token)
    yield words


def _tokens(text: bytes) -> Iterator[bytes]:
    at = depth = 0
    while match := (_IN_COMMENT if depth else _TOKEN).match(text, at):
        at = match.end()
        token = match[0]
        if token == b"(":
            depth += 1
        elif depth and token == b")":
            depth -= 1
        elif not depth and token.strip(_WHITE):
            yield token


def _text(word: bytes) -> str:
    return shown(_unquoted(word), _SHOWN_CHARACTERS).lower()


def _unquoted(word: bytes) -> bytes:
    if not word.startswith(b'"'):
        return word
    return re.sub(rb"\\(.)", rb"\1", word[1:].removesuffix(b'"'), flags=re.DOTALL)
