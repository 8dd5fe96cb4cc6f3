"""Names of addresses, and whether they lead back."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.answer import Answer, Kind, Question, Status
from mtad.model.authentication import Iprev, Result
from mtad.verification.facts import Facts
from mtad.verification.iprev import check

POINTER = Question("1.2.0.192.in-addr.arpa", Kind.PTR)
FORWARD = Question("mx.example", Kind.A)


def found(*answers: Answer) -> Iprev:
    return check(Facts({answer.question: answer for answer in answers}.get), "192.0.2.1")


class IprevTest(SynchronousTestCase):
    def test_a_name_that_leads_back(self) -> None:
        answers = Answer(POINTER, Status.FOUND, ("mx.example",)), Answer(FORWARD, Status.FOUND, ("192.0.2.1",))
        self.assertEqual(found(*answers), Iprev(Result.PASS, "mx.example"))

    def test_a_name_that_leads_elsewhere_or_nowhere(self) -> None:
        named = Answer(POINTER, Status.FOUND, ("mx.example",))
        self.assertEqual(found(named, Answer(FORWARD, Status.FOUND, ("192.0.2.2",))).result, Result.FAIL)
        self.assertEqual(found(named, Answer(FORWARD, Status.NO_NAME)).result, Result.FAIL)

    def test_no_name(self) -> None:
        self.assertEqual(found(Answer(POINTER, Status.NO_NAME)).result, Result.PERMERROR)

    def test_trouble(self) -> None:
        self.assertEqual(found(Answer(POINTER, Status.TIMEOUT)).result, Result.TEMPERROR)
        named = Answer(POINTER, Status.FOUND, ("mx.example",))
        self.assertEqual(found(named, Answer(FORWARD, Status.SERVFAIL)).result, Result.TEMPERROR)

    def test_version_6(self) -> None:
        pointer = Question("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", Kind.PTR)
        forward = Question("mx.example", Kind.AAAA)
        answers = {
            pointer: Answer(pointer, Status.FOUND, ("mx.example",)),
            forward: Answer(forward, Status.FOUND, ("2001:db8:0::1",)),
        }
        self.assertEqual(check(Facts(answers.get), "2001:db8::1").result, Result.PASS)

    def test_no_address(self) -> None:
        self.assertEqual(check(Facts({}.get), "unix").result, Result.NONE)
