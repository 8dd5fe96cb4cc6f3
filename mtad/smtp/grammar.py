"""Addresses and domains: the grammar of RFC 5321 §4.1.2, from the wire and from what operators write.

On the wire an address is octets of a hostile peer. One pattern matches a path, and its loops are possessive: the time
is linear, and the answer to what does not fit is a reply, never an exception. Like most servers it takes two things the
grammar lacks: spaces after the colon, and a plain address without angle brackets. UTF-8 passes as RFC 6531 §3.3 has it,
and a path tells that it has some; U-labels become A-labels as for a lookup (RFC 5891 §5), with nothing mapped or
guessed. Operators write text: `parse_address` and `parse_domain` take U-labels (RFC 5890 §2.3.2.1) and raise ValueError
saying what was expected.

Nothing here looks anything up; which addresses exist is the directory's to say.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

import idna

from mtad.model import replies
from mtad.model.address import Address, path
from mtad.model.reply import Reply

# RFC 5321 §4.5.3.1.1, §4.5.3.1.2, §4.5.3.1.3; the path with its brackets.
LOCAL_PART_OCTETS = 64
DOMAIN_OCTETS = 255
PATH_OCTETS = 256

# Possessive on characters, never on groups: Python before 3.11.4 mismatches possessive groups. What a group repeats
# begins with a character its body lacks, so nothing is tried twice.
# Dot-string = Atom *("."  Atom) ; Atom = 1*atext
_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~-"
_DOT_STRING = rf"[{_ATEXT}]++(?:\.[{_ATEXT}]++)*"
WIDE = "\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
"""What UTF8-non-ascii (RFC 6531 §3.3) is here, as a range of a pattern: no controls, nothing that ends a line."""
_UTF8_DOT_STRING = _DOT_STRING.replace(_ATEXT, f"{WIDE}{_ATEXT}")
# Quoted-string = DQUOTE *QcontentSMTP DQUOTE ; qtextSMTP = %d32-33 / %d35-91 / %d93-126
_QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_UTF8_QUOTED_STRING = _QUOTED_STRING.replace(" !", f"{WIDE} !")
# sub-domain = Let-dig [Ldh-str], at most 63 octets (RFC 1035 §2.3.4); Domain = sub-domain *("." sub-domain)
_LABEL = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+(?<!-)"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
# sub-domain =/ U-label (RFC 6531 §3.3)
_UTF8_LABEL = rf"[A-Za-z0-9{WIDE}-]{{1,63}}+"
_UTF8_DOMAIN = rf"{_UTF8_LABEL}(?:\.{_UTF8_LABEL})*"
# A-d-l = At-domain *( "," At-domain )
_ROUTE = rf"@{_DOMAIN}(?:,@{_DOMAIN})*:"
_LITERAL = r"\[[0-9A-Za-z:.]{1,64}+\]"
_MAILBOX = rf"(?:({_DOT_STRING})|({_QUOTED_STRING}))@(?:({_DOMAIN})|({_LITERAL}))"

_UTF8_MAILBOX = rf"(?:({_UTF8_DOT_STRING})|({_UTF8_QUOTED_STRING}))@(?:({_UTF8_DOMAIN})|({_LITERAL}))"

_PATH = re.compile(rf"<(?:{_ROUTE})?{_MAILBOX}>".encode("ascii"))
_UTF8_PATH = re.compile(rf"<(?:{_ROUTE})?{_UTF8_MAILBOX}>")
_POSTMASTER = re.compile(rb"<postmaster>", re.IGNORECASE)
_QUOTED_PAIR = re.compile(r"\\(.)")


class Path(NamedTuple):
    """A path and the octets behind it: a space and parameters, or nothing. None is the null reverse-path.

    `international` tells that it was not said in ASCII, which is for mail with SMTPUTF8 (RFC 6531 §3.4).
    """

    address: Address | None
    rest: bytes
    international: bool = False


def reverse_path(octets: bytes) -> Path | Reply:
    """Read what follows `MAIL FROM:`; a reply says what is wrong with it."""
    octets = octets.lstrip(b" ")
    if octets.startswith(b"<>"):
        return _delimited(None, octets[2:]) or replies.BAD_SENDER_SYNTAX
    return _path(octets) or replies.BAD_SENDER_SYNTAX


def forward_path(octets: bytes, hostname: str) -> Path | Reply:
    """Read what follows `RCPT TO:`; a reply says what is wrong with it.

    `<Postmaster>` alone, in any case, is the postmaster of `hostname` (RFC 5321 §4.5.1).
    """
    octets = octets.lstrip(b" ")
    postmaster = _POSTMASTER.match(octets)
    if postmaster:
        found = _delimited(Address("postmaster", hostname), octets[postmaster.end() :])
        return found or replies.BAD_RECIPIENT_SYNTAX
    return _path(octets) or replies.BAD_RECIPIENT_SYNTAX


def parse_address(text: str) -> Address:
    """Return the address an operator wrote as `local@domain`; ValueError says what was expected."""
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise ValueError(f"expected an address such as alice@example.com, got {text!r}")
    if len(local_part.encode("utf-8", "replace")) > LOCAL_PART_OCTETS:
        raise ValueError(f"expected at most {LOCAL_PART_OCTETS} octets before the @ of an address, got {text!r}")
    if re.fullmatch(_QUOTED_STRING, local_part):
        local_part = _unquoted(local_part)
    elif not (re.fullmatch(_UTF8_DOT_STRING, local_part) and local_part.isprintable()):
        raise ValueError(f"expected letters, digits and single dots before the @ of an address, got {text!r}")
    name = _literal(domain) if domain.startswith("[") else parse_domain(domain)
    if name is None:
        raise ValueError(f"expected an address literal such as [192.0.2.1] or [IPv6:2001:db8::1], got {text!r}")
    address = Address(local_part, name)
    if len(path(address).encode("utf-8")) > PATH_OCTETS:
        raise ValueError(f"expected an address of at most {PATH_OCTETS - 2} octets, got {text!r}")
    return address


def parse_domain(text: str) -> str:
    """Return the domain an operator wrote, as A-labels in lower case; ValueError says what was expected."""
    domain = text.lower()
    if not text.isascii():
        try:
            # Case and width are mapped as people expect of names they type (UTS 46).
            domain = idna.encode(text, uts46=True).decode("ascii")
        except idna.IDNAError as error:
            raise ValueError(f"expected a domain name, got {text!r}: {error}") from error
    if len(domain) > DOMAIN_OCTETS or not re.fullmatch(_DOMAIN, domain):
        raise ValueError(f"expected a domain name such as example.com, got {text!r}")
    return domain


def _path(octets: bytes) -> Path | None:
    if not octets.startswith(b"<"):
        return _bare(octets) if octets else None
    match = _PATH.match(octets)
    if match is None:
        return None if octets.isascii() else _international(octets)
    dot_string, quoted_string, domain, literal = match.groups()
    local_part = dot_string or quoted_string
    if len(local_part) > LOCAL_PART_OCTETS or match.end() > PATH_OCTETS:
        return None
    # No domain is over DOMAIN_OCTETS in a path that is within PATH_OCTETS.
    name = domain.decode("ascii").lower() if domain else _literal(literal.decode("ascii"))
    if name is None:
        return None
    text = local_part.decode("ascii")
    return _delimited(Address(text if dot_string else _unquoted(text), name), octets[match.end() :])


def _international(octets: bytes) -> Path | None:
    # What is no UTF-8 becomes surrogates, which match nothing.
    match = _UTF8_PATH.match(octets.decode("utf-8", "surrogateescape"))
    if match is None:
        return None
    dot_string, quoted_string, domain, literal = match.groups()
    local_part = dot_string or _unquoted(quoted_string)
    name = _a_labels(domain) if domain else _literal(literal)
    said = len((dot_string or quoted_string).encode("utf-8"))
    if name is None or said > LOCAL_PART_OCTETS or len(match[0].encode("utf-8")) > PATH_OCTETS:
        return None
    address = Address(local_part, name)
    if len(path(address).encode("utf-8")) > PATH_OCTETS:
        return None
    found = _delimited(address, octets[len(match[0].encode("utf-8")) :])
    return found and found._replace(international=True)


def _a_labels(domain: str) -> str | None:
    """Return a domain with U-labels as A-labels in lower case, None for one that IDNA has none for (RFC 5891 §5)."""
    try:
        labels = [label if label.isascii() else idna.alabel(label).decode("ascii") for label in domain.split(".")]
    except idna.IDNAError:
        return None
    name = ".".join(labels).lower()
    return name if re.fullmatch(_DOMAIN, name) else None


def _bare(octets: bytes) -> Path | None:
    """Read a path that lacks its brackets: it ends at the first space, also at a quoted one."""
    address, space, rest = octets.partition(b" ")
    found = _path(b"<" + address + b">")
    return found._replace(rest=space + rest) if found and not found.rest else None


def _delimited(address: Address | None, rest: bytes) -> Path | None:
    return Path(address, rest) if not rest or rest.startswith(b" ") else None


def _unquoted(quoted_string: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", quoted_string[1:-1])


def _literal(literal: str) -> str | None:
    """Return an address literal (RFC 5321 §4.1.3) in its one canonical form, None for what is none."""
    if not re.fullmatch(_LITERAL, literal):
        return None
    inner = literal[1:-1]
    try:
        if inner[:5].lower() != "ipv6:":
            return f"[{IPv4Address(inner)}]"
        groups = [group for group in inner[5:].split(":") if group]
        # In this grammar "::" stands for two groups or more; an IPv4 tail counts as two.
        if "::" in inner and len(groups) + ("." in inner) > 6:
            return None
        return f"[IPv6:{IPv6Address(inner[5:]).compressed}]"
    except ValueError:
        return None
