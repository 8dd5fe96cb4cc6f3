"""mtad.verification.spf: what the suites of others do not ask: odd senders, modifiers, and what a peer may cost."""

import time

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.answer import Answer, Kind, MailExchange, Question, Record, Status
from mtad.model.authentication import Result, Spf
from mtad.verification import spf
from mtad.verification.facts import Facts

DOMAIN = "acme.example"
TURN_SECONDS = 0.25
"""Far above what one evaluation may take on a machine that is busy, and far below what it could without bounds."""


class SpfCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.zone: dict[tuple[str, Kind], list[Record]] = {}
        self.asked: list[str] = []

    def publish(self, *texts: str, domain: str = DOMAIN) -> None:
        self.zone[domain, Kind.TXT] = [text.encode() for text in texts]

    def known(self, question: Question) -> Answer:
        self.asked.append(question.name)
        there = tuple(self.zone.get((question.name, question.kind), ()))
        return Answer(question, Status.FOUND if there else Status.NO_DATA, there)

    def check(self, local_part: str = "joe", *, helo: str = "mx.acme.example") -> Spf:
        sender = Address(local_part, DOMAIN)
        return spf.check(
            Facts(self.known), ip="192.0.2.7", helo=helo, sender=sender, hostname="mx.test", at=1_750_000_000.0
        )


class CheckTest(SpfCase):
    def test_at_signs_of_the_local_part_are_its_own(self) -> None:
        self.publish("v=spf1 exists:%{l}._at.%{d} -all")
        self.assertIs(self.check("joe@evil").result, Result.FAIL)
        self.assertEqual(self.asked[:2], [DOMAIN, "joe@evil._at.acme.example"])

    def test_names_of_modifiers_are_of_any_case(self) -> None:
        self.publish("v=spf1 Redirect=other.example")
        self.publish("v=spf1 ip4:192.0.2.7 -all", domain="other.example")
        self.assertIs(self.check().result, Result.PASS)

    def test_unknown_modifiers_are_ignored_however_often_they_are_there(self) -> None:
        self.publish("v=spf1 x=a X=b ip4:192.0.2.7 x=c -all")
        self.assertIs(self.check().result, Result.PASS)
        for wrong in ("x=a x=%x", "redirect=a.example Redirect=b.example", "exp=a.example exp=b.example"):
            self.publish(f"v=spf1 ip4:192.0.2.7 {wrong} -all")
            self.assertIs(self.check().result, Result.PERMERROR, wrong)

    def test_a_name_that_is_too_long_loses_labels_on_the_left(self) -> None:
        self.publish("v=spf1 exists:%{l}.%{l}.%{l}.%{l}.%{l}.end.example -all")
        self.check(".".join("abcdefgh" * 4))
        name = self.asked[-1]
        self.assertLessEqual(len(name), 253)
        self.assertGreater(len(name), 250)
        self.assertTrue(name.endswith(".g.h.end.example"))


class BoundsTest(SpfCase):
    def dear(self, result: Result, local_part: str = "joe") -> str:
        """Return why a record that is dear to evaluate has this result, which is found in little time."""
        began = time.process_time()
        found = self.check(local_part)
        self.assertLess(time.process_time() - began, TURN_SECONDS)
        self.assertIs(found.result, result, found.reason)
        return found.reason

    def test_a_record(self) -> None:
        self.publish("v=spf1" + " ip4:1.2.3.4" * (spf.MAX_RECORD_OCTETS // 12 + 1) + " -all")
        self.assertIn("the record has more than", self.dear(Result.PERMERROR))

    def test_all_records_together(self) -> None:
        addresses = " ip4:1.2.3.4" * 300
        for number in range(6):
            self.publish(
                f"v=spf1{addresses} include:d{number + 1}.example -all",
                domain=f"d{number}.example" if number else DOMAIN,
            )
        self.assertIn("the records have more than", self.dear(Result.PERMERROR))

    def test_as_many_records_as_honest_domains_have(self) -> None:
        self.publish("v=spf1" + "".join(f" include:d{number}.example" for number in range(9)) + " -all")
        for number in range(9):
            self.publish("v=spf1" + " ip4:198.51.100.0/24" * 50 + " -all", domain=f"d{number}.example")
        self.dear(Result.FAIL)

    def test_addresses(self) -> None:
        self.publish("v=spf1" + " mx" * 10 + " -all")
        self.zone[DOMAIN, Kind.MX] = [MailExchange(10, f"mx{number}.example") for number in range(10)]
        for number in range(10):
            self.zone[f"mx{number}.example", Kind.A] = [f"198.51.100.{last}" for last in range(250)]
        self.assertIn("addresses to compare", self.dear(Result.PERMERROR))

    def test_macros(self) -> None:
        long = "a.b-" * 16
        for spec in ("%{lr-+.}" * 1000, "%{l}." * 1500):
            self.publish(f"v=spf1 exists:{spec}x.example -all")
            self.assertIn("a macro-string has more than", self.dear(Result.PERMERROR, long))

    def test_an_explanation_nobody_could_read_is_none(self) -> None:
        self.publish("v=spf1 exp=why.example -all")
        self.publish("%{lr-+.}" * 4000, domain="why.example")
        self.dear(Result.FAIL, "a.b-" * 16)
        self.assertEqual(self.check().explanation, "")
        self.publish("%{i} may not send as %{d}", domain="why.example")
        self.assertEqual(self.check().explanation, "192.0.2.7 may not send as acme.example")
