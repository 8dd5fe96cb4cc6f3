"""Whether a peer's address has a name that has that address (RFC 8601 §3).

It never waits: an answer that is not known ends the run (`mtad.verification.facts`).
"""

from ipaddress import ip_address

from mtad.model.answer import Kind, Question
from mtad.model.authentication import Iprev, Result
from mtad.verification.facts import Facts

MAX_NAMES = 5


def check(facts: Facts, ip: str) -> Iprev:
    """Return what the DNS says of an address; NotYetKnown."""
    try:
        address = ip_address(ip.partition("%")[0])
    except ValueError:
        return Iprev(Result.NONE, reason="no IP address")
    named = facts.lookup(Question(address.reverse_pointer, Kind.PTR))
    if named.temporary:
        return Iprev(Result.TEMPERROR, reason=f"DNS: {named.question}: {named.status.value}")
    if not named.names:
        return Iprev(Result.PERMERROR, reason="the address has no name")
    kind = Kind.A if address.version == 4 else Kind.AAAA
    questions = [Question(name, kind) for name in named.names[:MAX_NAMES]]
    facts.want(questions)
    answers = [facts.lookup(question) for question in questions]
    for answer in answers:
        if any(_is(address_text, ip) for address_text in answer.names):
            return Iprev(Result.PASS, answer.question.name)
    if any(answer.temporary for answer in answers):
        return Iprev(Result.TEMPERROR, reason="the address of its name is not known now")
    return Iprev(Result.FAIL, named.names[0], "its name has another address")


def _is(text: str, ip: str) -> bool:
    return ip_address(text) == ip_address(ip.partition("%")[0])
