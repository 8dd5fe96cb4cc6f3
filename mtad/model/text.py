"""What a peer sent, made fit to be shown and stored.

A peer's octets are data: before they reach a log, a page, a timeline or a text column they pass through here.
The result is bounded, printable and free of NUL, lone surrogates and control characters.
"""

import re

SHOWN_CHARACTERS = 400

_UNPRINTABLE = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
# Bidirectional overrides and line separators would let a peer rearrange a terminal's or a page's text.
_REARRANGING = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def shown(raw: bytes | str, limit: int = SHOWN_CHARACTERS) -> str:
    """Return `raw` as printable text of at most `limit` characters; what cannot be shown is escaped as `\\xNN`."""
    text = raw[: limit * 4].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw[: limit * 4]
    text = _UNPRINTABLE.sub(_escaped, _REARRANGING.sub(_escaped, text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
