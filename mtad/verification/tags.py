"""Tag lists, the syntax of signatures and of key records (RFC 6376 §3.2).

    tag-list  = tag-spec *( ";" tag-spec ) [ ";" ]
    tag-spec  = [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
    tag-name  = ALPHA *ALNUMPUNC

What the values mean is for those who ask; here only their outer white space is taken away. Values may be UTF-8
(RFC 8616 §4). Every scan is linear, over a list of bounded length.
"""

import base64
import binascii
import re

MAX_OCTETS = 16 * 1024
"""A longer list is no tag list; a signature with RSA of 4096 bits and all of its names takes a tenth of it."""

WHITE = b" \t\r\n"
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*+")
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e\x80-\xff]*+")
_NUMBER = re.compile(rb"[0-9]{1,12}")
_EMPTY_B = re.compile(rb"((?:\A|;)[ \t\r\n]*+b[ \t\r\n]*+=)[^;]*+")

Tags = dict[bytes, bytes]


def parse(text: bytes) -> Tags:
    """Return the values by their names; ValueError says what is wrong with the list."""
    if len(text) > MAX_OCTETS:
        raise ValueError("the list of tags is too long")
    if not _TEXT.fullmatch(text):
        raise ValueError("there are control characters among the tags")
    specs = text.split(b";")
    if not specs[-1].strip(WHITE):
        specs.pop()
    tags: Tags = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(WHITE)
        if not equals or not _NAME.fullmatch(name):
            raise ValueError("not a list of tags")
        if name in tags:
            raise ValueError(f"{name.decode('ascii')[:20]}= is there twice")
        tags[name] = value.strip(WHITE)
    return tags


def present(tags: Tags, name: bytes) -> bytes:
    """Return the value of a tag that must be there, be it empty; ValueError."""
    if name not in tags:
        raise ValueError(f"{name.decode('ascii')}= is missing")
    return tags[name]


def needed(tags: Tags, name: bytes) -> bytes:
    """Return the value of a tag that must be there and not empty; ValueError."""
    value = present(tags, name)
    if not value:
        raise ValueError(f"{name.decode('ascii')}= is empty")
    return value


def listed(value: bytes) -> list[bytes]:
    """Return the parts of a list with colons, in lower case, without the empty ones."""
    return [part for each in value.lower().split(b":") if (part := each.strip(WHITE))]


def number(tags: Tags, name: bytes) -> int | None:
    """Return the value of a tag that is digits, None when it is not there; ValueError."""
    value = tags.get(name)
    if value is None:
        return None
    if not _NUMBER.fullmatch(value):
        raise ValueError(f"{name.decode('ascii')}= is no number")
    return int(value)


def octets(tags: Tags, name: bytes) -> bytes:
    """Return what a tag holds as base64, white space anywhere in it; ValueError when it is nothing or no base64."""
    try:
        return base64.b64decode(b"".join(needed(tags, name).split()), validate=True)
    except binascii.Error:
        raise ValueError(f"{name.decode('ascii')}= is no base64") from None


def without_b(text: bytes) -> bytes:
    """Return a tag list whose b= is empty: what a signature is made over (RFC 6376 §3.7)."""
    return _EMPTY_B.sub(rb"\1", text, count=1)
