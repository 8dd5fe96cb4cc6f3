"""mtad.policy.authorship: one table of cases."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.reply import Reply
from mtad.model.tenant import Credential, Domain, Mailbox, Submitter
from mtad.model.verdict import Accept
from mtad.policy.authorship import Author, AuthorFacts, decide
from tests.unit.directory_values import ACME, OTHER, PENDING, SHOP, at

ALICE = Submitter(10, Credential(Mailbox(1, 10, at("alice@acme.example")), None, ("*@shop.example", "other.example")))
PRINTER = Submitter(10)


def author(text: str, domain: Domain | None = None) -> Author:
    return Author(at(text), domain)


OWN, SHOPS = author("alice@acme.example", ACME), author("x@shop.example", SHOP)
COLLEAGUE, ANOTHERS = author("bob@acme.example", ACME), author("x@other.example", OTHER)
PENDINGS, FAR, ODD = author("x@pending.example", PENDING), author("x@far.example"), Author(None, None)


class AuthorshipTest(SynchronousTestCase):
    def answer(self, submitter: Submitter, authors: tuple[Author, ...] | None, checked: bool) -> Reply | None:
        verdict = decide(AuthorFacts(submitter, authors, checked))
        return None if isinstance(verdict, Accept) else verdict.reply

    def test_who_may_be_from_whom(self) -> None:
        for submitter, authors, checked, unchecked in (
            (ALICE, (OWN,), True, True),
            (ALICE, (SHOPS,), True, True),
            (ALICE, (OWN, SHOPS), True, True),
            (ALICE, (COLLEAGUE,), False, True),
            (ALICE, (OWN, COLLEAGUE), False, True),
            (ALICE, (FAR,), False, True),
            (ALICE, (PENDINGS,), False, True),
            (ALICE, (ODD,), False, True),
            (ALICE, (ANOTHERS,), False, False),
            (ALICE, (OWN, ANOTHERS), False, False),
            (PRINTER, (COLLEAGUE,), True, True),
            (PRINTER, (FAR,), False, True),
            (PRINTER, (ANOTHERS,), False, False),
        ):
            for check_from, expected in ((True, checked), (False, unchecked)):
                reply = None if expected else replies.AUTHOR_NOT_PERMITTED
                self.assertEqual(self.answer(submitter, authors, check_from), reply, (authors, check_from))

    def test_nobody_and_what_cannot_be_read_are_refused_anyway(self) -> None:
        for checked in (True, False):
            self.assertEqual(self.answer(ALICE, None, checked), replies.FROM_UNREADABLE)
            self.assertEqual(self.answer(ALICE, (), checked), replies.FROM_MISSING)
