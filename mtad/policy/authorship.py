"""Submission: who may stand in the From field (RFC 6409 §6.1). Facts come from the directory, before.

All who stand there count, in however many fields. Nobody ever writes as somebody of another organisation here, whatever
their domain allows; where their domain has `check_from`, nobody writes as whom they may not send as.
"""

from dataclasses import dataclass

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.tenant import Domain, Submitter
from mtad.model.verdict import Accept, Refuse, Verdict
from mtad.policy.submission import may_send_as


@dataclass(frozen=True, slots=True)
class Author:
    """An address of a From field, None when it is no address that could have mail, and its domain, None: nobody's."""

    address: Address | None
    domain: Domain | None


@dataclass(frozen=True, slots=True)
class AuthorFacts:
    """`authors` is None where the From field cannot be read in one way, empty where nobody stands there or could.

    `checked` is the `check_from` of the submitter's domain: that of its mailbox, or without one of the reverse-path.
    """

    submitter: Submitter
    authors: tuple[Author, ...] | None
    checked: bool


def decide(facts: AuthorFacts) -> Verdict:
    """Return whether the submitter may write as these."""
    if facts.authors is None:
        return Refuse(replies.FROM_UNREADABLE, "from-unreadable")
    if not facts.authors:
        return Refuse(replies.FROM_MISSING, "from-unreadable")
    if all(_may_stand(facts, author) for author in facts.authors):
        return Accept("permitted authors")
    return Refuse(replies.AUTHOR_NOT_PERMITTED, "author-not-permitted")


def _may_stand(facts: AuthorFacts, author: Author) -> bool:
    if author.address is not None and may_send_as(facts.submitter, author.address, author.domain):
        return True
    return not facts.checked and not _is_anothers(author.domain, facts.submitter.organisation)


def _is_anothers(domain: Domain | None, organisation: int) -> bool:
    return domain is not None and domain.verified and domain.organisation != organisation
