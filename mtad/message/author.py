"""Who a message says it is from: the one address of its From field (RFC 5322 §3.4, §3.6.2), or all, or their domains.

Only a message with one From field that holds one address, readable in one way, has an author here: lists, groups,
several fields and what could be read as several addresses have none. Comments and quoted text are passed over; all
scans are linear, over a field of bounded length.
"""

import re

from mtad.message import headers

MAX_OCTETS = 16 * 1024
"""A From field longer than this has no author, and several that are longer together have no domains."""

MAX_FIELDS = 100
"""Nor have more From fields than this."""

MAX_AUTHORS = 100
"""Who names more is not believed to be any of them."""

_FOLDING = re.compile(rb"\r\n(?=[ \t])")
# quoted-string = DQUOTE *(qtext / quoted-pair) DQUOTE
_QUOTED = rb'"(?:[^"\\]|\\.)*+"'
# Quotes mean nothing within a comment, parentheses nothing within quotes.
_OUTSIDE = re.compile(_QUOTED + rb"|[^\"()\\]++|\(", re.DOTALL)
_WITHIN = re.compile(rb"[^()\\]++|\\.|[()]", re.DOTALL)
# addr-spec = local-part "@" domain, without white space or comments within (those are obs-addr-spec)
_ADDRESS = rb'((?:[^\s"()<>\[\],:;@\\]++|' + _QUOTED + rb')@(?:[^\s"()<>\[\],:;@\\]++|\[[^\s\[\]\\]*+\]))'
# mailbox = name-addr / addr-spec ; name-addr = [display-name] angle-addr
_MAILBOX = re.compile(
    rb"\s*+(?:" + _ADDRESS + rb'|(?:[^"<>()\[\],:;@\\]++|' + _QUOTED + rb")*+<\s*+" + _ADDRESS + rb"\s*+>)\s*+",
    re.DOTALL,
)

# Behind a mailbox of a list (RFC 5322 §4.4 lets there be none before)
_END = re.compile(rb"[ \t]*+(?:,|\Z)")

# Every at sign that is not quoted has a domain behind it; anything else is passed over, no octet is looked at twice.
_PIECES = re.compile(rb'@(?P<domain>[^\s"()<>\[\],:;@\\]++|\[[^\s\[\]\\]*+\])?|' + _QUOTED + rb'|[^"@]++', re.DOTALL)


def author(header_block: bytes) -> str | None:
    """Return the address in the From field as it is written there; None when there is not exactly one."""
    if headers.count(header_block, b"From") != 1:
        return None
    value = headers.first(header_block, b"From") or b""
    if len(value) > MAX_OCTETS:
        return None
    text = _without_comments(_FOLDING.sub(b"", value))
    match = None if text is None else _MAILBOX.fullmatch(text)
    if match is None:
        return None
    try:
        return (match[1] or match[2]).decode("utf-8")
    except UnicodeDecodeError:
        return None


def authors(header_block: bytes) -> tuple[str, ...] | None:
    """Return all addresses in all From fields as written there; None when they cannot be told for sure.

    So it is with a group, with what is read in more than one way, with more than MAX_AUTHORS of them, and with a header
    of which only a part is looked at.
    """
    found: list[str] = []
    for name, value in headers.fields(header_block):
        if name.lower() == b"from":
            listed = _listed(value)
            if listed is None:
                return None
            found += listed
    if len(found) > MAX_AUTHORS:
        return None
    return tuple(found) if headers.ends(header_block) and headers.is_whole(header_block) else None


def _listed(value: bytes) -> list[str] | None:
    """Return the addresses of a mailbox-list, obsolete commas without anything between them included."""
    text = None if len(value) > MAX_OCTETS else _without_comments(_FOLDING.sub(b"", value))
    if text is None:
        return None
    found = []
    at = 0
    while at < len(text):
        match = _MAILBOX.match(text, at)
        if match is not None:
            found.append(match[1] or match[2])
            at = match.end()
        end = _END.match(text, at)
        if end is None:
            return None
        at = end.end()
    try:
        return [address.decode("utf-8") for address in found]
    except UnicodeDecodeError:
        return None


def author_domains(header_block: bytes) -> tuple[str, ...]:
    """Return the domains of all addresses in all From fields, as written there, each once; none when that is unclear.

    A message with one author has that author's; of any other more may be returned than its readers would see. Where a
    From field may be that is not looked at, nothing is clear.
    """
    if not headers.ends(header_block):
        return ()
    single = author(header_block)
    if single is not None:
        return (single.rpartition("@")[2],)
    values = [value for name, value in headers.fields(header_block) if name.lower() == b"from"]
    unseen = headers.count(header_block, b"From") != len(values)
    if unseen or len(values) > MAX_FIELDS or sum(map(len, values)) > MAX_OCTETS:
        return ()
    found: dict[str, None] = {}
    for value in values:
        text = _without_comments(_FOLDING.sub(b"", value))
        if text is None:
            return ()
        for piece in _PIECES.finditer(_closed_up(text)):
            if piece["domain"] is not None:
                found[piece["domain"].decode("utf-8", "replace")] = None
            elif piece[0] == b"@":
                return ()
    return tuple(found)


def _closed_up(text: bytes) -> bytes:
    """Return text without white space around dots and at signs, where an address may have it (RFC 5322 §3.4.1, §4.4).

    What is quoted loses it as well, so it is good for domains only.
    """
    text = b" ".join(text.split())
    for sign in (b".", b"@"):
        text = text.replace(b" " + sign, sign).replace(sign + b" ", sign)
    return text


def _without_comments(text: bytes) -> bytes | None:
    """Return text with a space for each comment (RFC 5322 §3.2.2); None when something begun in it does not end."""
    kept = []
    at = 0
    depth = 0
    while at < len(text):
        part = (_WITHIN if depth else _OUTSIDE).match(text, at)
        if part is None:
            return None
        at = part.end()
        if part[0] == b"(":
            depth += 1
        elif depth and part[0] == b")":
            depth -= 1
        elif not depth:
            kept.append(part[0])
            continue
        kept.append(b" ")
    return None if depth else b"".join(kept)
