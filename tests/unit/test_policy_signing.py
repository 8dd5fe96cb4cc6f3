"""mtad.policy.signing: the author's domain when it may, else the envelope's, and only one of the submitter's own."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from mtad.policy.signing import AUTHOR, ENVELOPE, Signer, SigningFacts, decide
from tests.unit.directory_values import ACME, OTHER, PENDING, SHOP

BOTH = SigningFacts(organisation=10, author=ACME, may_author=True, envelope=SHOP)


class SigningPolicyTest(SynchronousTestCase):
    def test_the_author_comes_first(self) -> None:
        self.assertEqual(decide(BOTH), Signer("acme.example", AUTHOR))

    def test_else_the_envelope(self) -> None:
        for facts in (
            replace(BOTH, may_author=False),
            replace(BOTH, author=None),
            replace(BOTH, author=OTHER),
            replace(BOTH, author=replace(ACME, verified=False)),
        ):
            self.assertEqual(decide(facts), Signer("shop.example", ENVELOPE), facts)

    def test_else_nobody(self) -> None:
        for envelope in (None, OTHER, PENDING, replace(SHOP, verified=False)):
            self.assertIsNone(decide(replace(BOTH, may_author=False, envelope=envelope)), envelope)
            self.assertIsNone(decide(replace(BOTH, author=OTHER, envelope=envelope)), envelope)
        self.assertIsNone(decide(replace(BOTH, organisation=99)))
