"""What receiving domains make of a message's identity, row by row, and what becomes of several judgements."""

from twisted.trial.unittest import SynchronousTestCase

from mtad.model import replies
from mtad.model.authentication import Arc, Authentication, Checks, Dkim, Dmarc, DmarcPolicy, Result, Spf, Strictness
from mtad.model.verdict import Accept, Quarantine, Refuse
from mtad.policy.authentication import judge, settled, trusted_sealer

OFF, MONITOR, ENFORCE = Strictness
ALL = Checks(ENFORCE, ENFORCE, ENFORCE)


def spf(result: Result, identity: str = "mailfrom") -> Spf:
    return Spf(result, identity, "sender.example")


def dkim(result: Result, testing: bool = False) -> Dkim:
    return Dkim(result, "sender.example", "s1", testing=testing)


def dmarc(result: Result, policy: DmarcPolicy | None = DmarcPolicy.REJECT) -> Dmarc:
    return Dmarc(result, "sender.example", "sender.example", policy=policy)


class JudgeTest(SynchronousTestCase):
    def refusal(self, found: Authentication, checks: Checks) -> str:
        judgement = judge(found, checks)
        self.assertIsInstance(judgement, Refuse)
        assert isinstance(judgement, Refuse)
        return judgement.reply.text[:10].strip()

    def test_spf(self) -> None:
        checks = Checks(spf=ENFORCE, dkim=OFF, dmarc=OFF)
        self.assertEqual(self.refusal(Authentication(spf=(spf(Result.FAIL),)), checks), "550 5.7.23")
        self.assertEqual(self.refusal(Authentication(spf=(spf(Result.TEMPERROR),)), checks), "451 4.7.24")
        for result in (Result.PASS, Result.SOFTFAIL, Result.NEUTRAL, Result.NONE, Result.PERMERROR):
            self.assertIsInstance(judge(Authentication(spf=(spf(result),)), checks), Accept)

    def test_spf_yields_to_a_dmarc_pass(self) -> None:
        for result in (Result.FAIL, Result.TEMPERROR):
            found = Authentication(spf=(spf(result),), dmarc=dmarc(Result.PASS))
            self.assertIsInstance(judge(found, ALL), Accept)

    def test_spf_of_the_helo_counts_only_without_a_mailfrom(self) -> None:
        checks = Checks(spf=ENFORCE, dkim=OFF, dmarc=OFF)
        found = Authentication(spf=(spf(Result.FAIL, "helo"), spf(Result.PASS)))
        self.assertIsInstance(judge(found, checks), Accept)
        self.assertEqual(self.refusal(Authentication(spf=(spf(Result.FAIL, "helo"),)), checks), "550 5.7.23")

    def test_dkim(self) -> None:
        checks = Checks(spf=OFF, dkim=ENFORCE, dmarc=OFF)
        self.assertEqual(self.refusal(Authentication(dkim=(dkim(Result.FAIL),)), checks), "550 5.7.20")
        both = Authentication(dkim=(dkim(Result.FAIL), dkim(Result.TEMPERROR)))
        self.assertEqual(self.refusal(both, checks), "451 4.7.0")
        self.assertIsInstance(judge(Authentication(dkim=(dkim(Result.FAIL), dkim(Result.PASS))), checks), Accept)
        self.assertIsInstance(judge(Authentication(), checks), Accept)

    def test_a_key_that_is_being_tested_refuses_nothing(self) -> None:
        checks = Checks(spf=OFF, dkim=ENFORCE, dmarc=OFF)
        for result in (Result.FAIL, Result.PERMERROR, Result.POLICY):
            self.assertIsInstance(judge(Authentication(dkim=(dkim(result, testing=True),)), checks), Accept)
        both = Authentication(dkim=(dkim(Result.FAIL, testing=True), dkim(Result.FAIL)))
        self.assertEqual(self.refusal(both, checks), "550 5.7.20")
        passed = Authentication(dkim=(dkim(Result.PASS, testing=True), dkim(Result.FAIL)))
        self.assertIsInstance(judge(passed, checks), Accept)

    def test_dmarc(self) -> None:
        checks = Checks(spf=OFF, dkim=OFF, dmarc=ENFORCE)
        refused = judge(Authentication(dmarc=dmarc(Result.FAIL)), checks)
        assert isinstance(refused, Refuse)
        self.assertEqual(refused.reply.text[:10], "550 5.7.1 ")
        self.assertIn("sender.example", refused.reply.text)
        self.assertIsInstance(
            judge(Authentication(dmarc=dmarc(Result.FAIL, DmarcPolicy.QUARANTINE)), checks), Quarantine
        )
        self.assertIsInstance(judge(Authentication(dmarc=dmarc(Result.FAIL, DmarcPolicy.NONE)), checks), Accept)
        self.assertIsInstance(judge(Authentication(dmarc=dmarc(Result.NONE, None)), checks), Accept)
        self.assertEqual(self.refusal(Authentication(dmarc=dmarc(Result.TEMPERROR, None)), checks), "451 4.7.0")
        for policy in (DmarcPolicy.REJECT, DmarcPolicy.QUARANTINE):
            self.assertEqual(self.refusal(Authentication(dmarc=dmarc(Result.TEMPERROR, policy)), checks), "451 4.7.0")
        harmless = Authentication(dmarc=dmarc(Result.TEMPERROR, DmarcPolicy.NONE))
        self.assertEqual(judge(harmless, checks), Accept("identity"))
        self.assertEqual(self.refusal(Authentication(dmarc=dmarc(Result.PERMERROR, None)), checks), "550 5.7.1")

    def test_a_trusted_sealer_stands_for_dmarc(self) -> None:
        arc = Arc(Result.PASS, sealers=("other.example", "list.example"), dmarc_passed=(True, True))
        found = Authentication(dmarc=dmarc(Result.FAIL), arc=arc)
        accepted = judge(found, ALL, frozenset({"list.example"}))
        self.assertEqual(accepted, Accept("arc: list.example saw DMARC pass"))
        self.assertIsInstance(judge(found, ALL, frozenset({"third.example"})), Refuse)
        unseen = Authentication(dmarc=dmarc(Result.FAIL), arc=Arc(Result.PASS, "", ("list.example",), (False,)))
        self.assertIsInstance(judge(unseen, ALL, frozenset({"list.example"})), Refuse)
        broken = Authentication(dmarc=dmarc(Result.FAIL), arc=Arc(Result.FAIL, "", ("list.example",), (True,)))
        self.assertIsInstance(judge(broken, ALL, frozenset({"list.example"})), Refuse)

    def sealer(self, sealers: str, passed: str, oldest_pass: int, trusted: str) -> str | None:
        chain = Arc(Result.PASS, "", tuple(sealers), tuple(each == "y" for each in passed), oldest_pass)
        return trusted_sealer(Authentication(arc=chain), frozenset(trusted))

    def test_who_may_have_changed_the_message_behind_a_trusted_sealer(self) -> None:
        for sealers, passed, oldest_pass, trusted, expected in (
            # Nobody changed it: it is as the first had it.
            ("ab", "yn", 0, "a", "a"),
            ("abc", "ynn", 1, "a", "a"),
            # The second did, and may be anybody.
            ("ab", "yn", 2, "a", None),
            ("abc", "ynn", 2, "a", None),
            ("abc", "ynn", 3, "ac", None),
            # Whoever did is trusted.
            ("ab", "yn", 2, "ab", "a"),
            ("abc", "ynn", 2, "ab", "a"),
            ("abc", "ynn", 3, "abc", "a"),
            # What came before does not matter.
            ("ab", "yy", 2, "b", "b"),
            ("abc", "nyn", 2, "b", "b"),
        ):
            found = self.sealer(sealers, passed, oldest_pass, trusted)
            self.assertEqual(found, expected, (sealers, passed, oldest_pass, trusted))

    def test_a_sealers_key_that_cannot_be_asked_for_is_to_be_asked_for_again(self) -> None:
        trouble = Arc(Result.FAIL, "", ("list.example",), temporary=True)
        found = Authentication(dmarc=dmarc(Result.FAIL), arc=trouble)
        refused = judge(found, ALL, frozenset({"list.example"}))
        assert isinstance(refused, Refuse)
        self.assertEqual(refused.reply.text[:10], "451 4.7.0 ")
        self.assertEqual(self.refusal(found, ALL), "550 5.7.1")

    def test_what_is_watched_is_told_and_what_is_off_is_not(self) -> None:
        found = Authentication(spf=(spf(Result.FAIL),), dkim=(dkim(Result.FAIL),), dmarc=dmarc(Result.FAIL))
        self.assertEqual(judge(found, Checks(MONITOR, OFF, MONITOR)), Accept("monitored: dmarc, spf"))
        self.assertEqual(judge(found, Checks(OFF, OFF, OFF)), Accept("identity"))

    def test_what_is_temporary_comes_first(self) -> None:
        found = Authentication(spf=(spf(Result.TEMPERROR),), dkim=(dkim(Result.FAIL),), dmarc=dmarc(Result.FAIL))
        self.assertEqual(self.refusal(found, ALL), "451 4.7.24")


class SettledTest(SynchronousTestCase):
    GONE = Refuse(replies.DKIM_FAILED, "dkim-fail")
    OTHER = Refuse(replies.SPF_FAILED, "spf-fail")
    LATER = Refuse(replies.IDENTITY_TROUBLE, "identity-trouble")
    TAKEN = Accept("identity")

    def test_all_refuse(self) -> None:
        self.assertEqual(settled([self.GONE, self.OTHER]).refusal, self.GONE)

    def test_any_temporary_defers_all(self) -> None:
        self.assertEqual(settled([self.TAKEN, self.GONE, self.LATER]).refusal, self.LATER)

    def test_some_refuse(self) -> None:
        found = settled([self.TAKEN, self.GONE])
        self.assertIsNone(found.refusal)
        self.assertEqual(found.judgements[0], self.TAKEN)
        self.assertIsInstance(found.judgements[1], Quarantine)

    def test_quarantine_is_no_refusal(self) -> None:
        kept = Quarantine("dmarc-fail", "so it is")
        self.assertEqual(settled([kept, kept]).judgements, (kept, kept))
        self.assertIsNone(settled([kept, self.GONE]).refusal)
        self.assertIsNone(settled([]).refusal)
