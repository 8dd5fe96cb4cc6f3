"""Which domain signs a submission: the author's or the envelope's, and only one of the submitter's own (DESIGN D9).

A signature lends a domain's good name, so the domain must be verified here and belong to the organisation that submits;
the author's counts only when this submitter may write as that author.
"""

from dataclasses import dataclass

from mtad.model.tenant import Domain

AUTHOR = "author"
ENVELOPE = "envelope"


@dataclass(frozen=True, slots=True)
class SigningFacts:
    """What the directory says of the domains in question; None: there is none, or nobody claimed it here.

    `author` is the domain in the From field of a message that has one author, `may_author` whether the submitter may
    write as that author; `envelope` is the domain of the reverse-path.
    """

    organisation: int
    author: Domain | None
    may_author: bool
    envelope: Domain | None


@dataclass(frozen=True, slots=True)
class Signer:
    """The domain that signs, and as whose it was chosen."""

    domain: str
    because: str


def decide(facts: SigningFacts) -> Signer | None:
    """Return who signs, None when nobody may."""
    for domain, because in ((facts.author if facts.may_author else None, AUTHOR), (facts.envelope, ENVELOPE)):
        if domain is not None and domain.verified and domain.organisation == facts.organisation:
            return Signer(domain.name, because)
    return None
