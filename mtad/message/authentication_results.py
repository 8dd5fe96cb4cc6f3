"""What an Authentication-Results field says: whose results, and which (RFC 8601 §2.2).

    authres-payload = [CFWS] authserv-id [ CFWS authres-version ] ( no-result / 1*resinfo ) [CFWS]
    resinfo         = [CFWS] ";" methodspec [ CFWS reasonspec ] [ CFWS 1*propspec ]
    methodspec      = [CFWS] method [CFWS] "=" [CFWS] result
    method          = Keyword [ [CFWS] "/" [CFWS] method-version ]

Whoever wrote the field may have written anything: whose id it claims is told whatever follows it, and of the results
those are told that can be read. All scans are linear, over a field of bounded length. Properties and reasons are passed
over, and nothing is believed here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mtad.model.text import shown

MAX_OCTETS = 16 * 1024
MAX_RESULTS = 50
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
