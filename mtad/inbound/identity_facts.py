"""What was found out about a message's identity, as facts for its timeline and for the log: a line for each result."""

from collections.abc import Iterator

from mtad.model.authentication import Arc, Authentication, Dkim, Dmarc, Iprev, Result, Spf
from mtad.model.event import Fact
from mtad.model.text import shown

_CHARACTERS = 250


def identity_facts(found: Authentication) -> dict[str, Fact]:
    """Return the results by the names of their methods, and as `dns` the answers they rest on; all fit to be shown."""
    return {
        "spf": [_line(_spf(each)) for each in found.spf],
        "dkim": [_line(_dkim(each)) for each in found.dkim],
        "arc": None if found.arc.result is Result.NONE else _line(_arc(found.arc)),
        "dmarc": _line(_dmarc(found.dmarc)) if _was_looked_at(found.dmarc) else None,
        "iprev": None if found.iprev.result is Result.NONE else _line(_iprev(found.iprev)),
        "dns": list(found.answers),
    }


def _was_looked_at(dmarc: Dmarc) -> bool:
    return bool(dmarc.domain) or dmarc.result is not Result.NONE


def _line(words: Iterator[str]) -> str:
    return shown(" ".join(words), _CHARACTERS)


def _spf(spf: Spf) -> Iterator[str]:
    yield f"{spf.result.value} {spf.identity}={spf.domain}"
    yield from _because(spf.reason)
    if spf.explanation:
        yield f'{spf.domain} explains: "{spf.explanation}"'


def _dkim(dkim: Dkim) -> Iterator[str]:
    yield dkim.result.value
    named = (("d", dkim.domain), ("s", dkim.selector), ("a", dkim.algorithm))
    yield from (f"{name}={value}" for name, value in named if value)
    if dkim.testing:
        yield "t=y"
    yield from _because(dkim.reason)


def _arc(arc: Arc) -> Iterator[str]:
    yield arc.result.value
    if arc.sealers:
        yield f"by {','.join(arc.sealers)}"
    yield from _because(arc.reason)


def _dmarc(dmarc: Dmarc) -> Iterator[str]:
    yield dmarc.result.value
    if dmarc.domain:
        yield f"from={dmarc.domain}"
    if dmarc.policy is not None:
        yield f"p={dmarc.policy.value}"
    if dmarc.record_domain:
        yield f"of={dmarc.record_domain}"
    yield from dmarc.aligned
    yield from _because(dmarc.reason)


def _iprev(iprev: Iprev) -> Iterator[str]:
    yield iprev.result.value
    if iprev.name:
        yield f"name={iprev.name}"
    yield from _because(iprev.reason)


def _because(reason: str) -> Iterator[str]:
    if reason:
        yield f"({reason})"
