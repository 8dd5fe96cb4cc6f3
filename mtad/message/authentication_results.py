"""What an Authentication-Results field says: whose results, and which (RFC 8601 §2.2).

    authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]
    resinfo         = [CFWS] ";" methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ]
    methodspec      = [CFWS] method [CFWS] "=" [CFWS] result
    method          = Keyword [ [CFWS] "/" [CFWS] method-version ]

Whoever wrote the field may have written anything: whose id it claims is told whatever follows it, and of the results
those are told that can be read. All scans are linear, over a field of bounded length. Properties and reasons are passed
over, and nothing is believed here. What claims to be ours and came from elsewhere is taken out (§5).
"""

import re
from collections.abc import Iterator
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

_WHITE = b" \t\r\n"
_QUOTED = rb'"(?:[^"\\]|\\.)*+"?'
_TOKEN = re.compile(rb"[ \t\r\n]++|" + _QUOTED + rb'|[^ \t\r\n"();=/]++|.', re.DOTALL)
_IN_COMMENT = re.compile(rb"[^()\\]++|\\.|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """The authserv-id in lower case, empty when there is none, and pairs of method and result, in lower case.

    All of it is fit to be shown.
    """

    authserv_id: str
    results: tuple[tuple[str, str], ...] = ()


def parse(value: bytes) -> AuthenticationResults:
    """Return what the raw value of a field says, as far as it can be read."""
    infos = _infos(value[:MAX_OCTETS])
    named = next(infos)
    results: list[tuple[str, str]] = []
    for words in infos:
        match words:
            # A method may have a version: dkim/1=pass
            case [method, b"=", result, *_] | [method, b"/", _, b"=", result, *_] if len(results) < MAX_RESULTS:
                results.append((_text(method), _text(result)))
    return AuthenticationResults(_text(named[0]) if named else "", tuple(results))


def dmarc_passed(value: bytes) -> bool:
    """Return whether it says that DMARC passed, and nothing else of DMARC."""
    return {result for method, result in parse(value).results if method == "dmarc"} == {"pass"}


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
    return _text(words[0]).removesuffix(".") == authserv_id.lower()


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
    if word.startswith(b'"'):
        word = re.sub(rb"\\(.)", rb"\1", word[1:].removesuffix(b'"'), flags=re.DOTALL)
    return shown(word, _SHOWN_CHARACTERS).lower()
