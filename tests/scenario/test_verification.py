"""Who mail is from, on the whole server: each row of what receiving domains enforce, told and kept as it should be."""

from base64 import b64encode
from pathlib import Path

from msgspec import structs
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Hostname, Tls, Verification
from mtad.message.headers import MAX_OCTETS
from mtad.model.answer import Status
from mtad.model.authentication import OwnChecks, Strictness
from mtad.model.event import Event
from mtad.model.identity import parse_id
from mtad.model.job import Status as RowStatus
from mtad.testing.world import DAY, World, settings
from tests.unit import test_arc
from tests.unit.test_dkim_verify import ED25519, TAGS, record, signed

OFF, MONITOR, ENFORCE = Strictness
SIGNED = TAGS.replace("acme.example", "sender.example")
KEY_NAME = "s1._domainkey.sender.example"
KEY = f"TXT {record(ED25519).decode()}"
HEAD = b"From: Ann <ann@sender.example>\r\nTo: alice@acme.example\r\nSubject: hi\r\n"
BODY = b"hello\r\n"
LETTER = HEAD + b"\r\n" + BODY
PASS, FAIL = "TXT v=spf1 ip4:192.0.2.7 -all", "TXT v=spf1 ip4:203.0.113.1 -all"
SPF_ONLY, DKIM_ONLY, DMARC_ONLY = (OwnChecks(*(ENFORCE if n == m else OFF for m in range(3))) for n in range(3))
NOTHING = OwnChecks(OFF, OFF, OFF)


def letter(body: bytes = BODY) -> bytes:
    """Return LETTER with a signature of sender.example."""
    return signed(SIGNED, head=HEAD, body=body)


def broken() -> bytes:
    return letter().replace(b"Subject: hi", b"Subject: ho")


class VerificationCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.build()

    def build(self, **verification: object) -> None:
        path = Path(self.mktemp())
        self.world = World(path, configured=settings(path, structs.replace(Verification(), **verification)))
        self.zone = self.world.zone
        self.zone["outside.example"] = ["A 192.0.2.7"]
        self.host(OwnChecks())

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    def host(self, checks: OwnChecks, *addresses: str, organisation: str = "acme") -> None:
        self.world.host(*(addresses or ("alice@acme.example",)), organisation=organisation, checks=checks)

    def send(
        self, content: bytes = LETTER, *recipients: str, sender: str = "ann@sender.example", code: str = "250 2.0.0"
    ) -> int:
        """Send a message, which is to be answered so; return its id, 0 for one that was not taken."""
        answer = self.world.send(*(recipients or ("alice@acme.example",)), sender=sender, content=content)
        self.assertEqual(answer.decode()[: len(code)], code)
        self.answer = answer
        return parse_id(answer.split()[-1].decode()) if answer.startswith(b"250") else 0

    def told(self, message: int, kind: str = "verified") -> Event:
        (event,) = [event for event in self.world.story(message) if event.kind == kind]
        return event

    def mail(self, address: str = "alice@acme.example") -> bytes:
        (mail,) = self.world.mail(address)
        return mail

    def results(self) -> bytes:
        """Return the one Authentication-Results field of what was delivered, unfolded."""
        head = self.mail().partition(b"\n\n")[0].replace(b"\n\t", b" ")
        (field,) = [line for line in head.split(b"\n") if line.startswith(b"Authentication-Results: mx.test;")]
        return field

    def asked(self) -> set[str]:
        return {question.name for question in self.world.resolver.asked}


class SpfTest(VerificationCase):
    def setUp(self) -> None:
        super().setUp()
        self.host(SPF_ONLY)

    def test_what_a_host_may_not_send_is_refused(self) -> None:
        self.zone["sender.example"] = [FAIL]
        self.send(code="550 5.7.23")
        self.assertEqual(self.world.mail("alice@acme.example"), [])
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual((refused["stage"], refused["reason"]), ("message", "spf-fail"))
        self.assertEqual(refused["spf"][0][:32], "fail mailfrom=sender.example (ma")
        self.assertIn('TXT of sender.example: "v=spf1 ip4:203.0.113.1 -all"', refused["dns"])

    def test_what_its_owner_says_to_that_is_told(self) -> None:
        self.zone["sender.example"] = ["TXT v=spf1 exp=why.sender.example -all"]
        self.zone["why.sender.example"] = ["TXT %{i} is none of ours"]
        self.send(code="550 5.7.23")
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertIn('sender.example explains: "192.0.2.7 is none of ours"', refused["spf"][0])

    def test_everything_else_is_taken(self) -> None:
        for lines, result in (
            ([PASS], "pass"),
            (["TXT v=spf1 ~all"], "softfail"),
            (["TXT v=spf1 ?all"], "neutral"),
            ([], "none"),
            (["TXT v=spf1 nonsense -all"], "permerror"),
        ):
            self.zone["sender.example"] = lines
            told = self.told(self.send())
            self.assertEqual(told.facts["rule"], ["acme.example: identity"])
            self.assertEqual(told.facts["spf"][0].split()[0], result)

    def test_what_is_not_known_now_is_to_come_again(self) -> None:
        self.world.resolver.trouble["sender.example"] = Status.SERVFAIL
        self.send(code="451 4.7.24")
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual(refused["reason"], "identity-trouble")
        self.assertIn("TXT of sender.example: SERVFAIL", refused["dns"])

    def test_it_yields_to_a_dmarc_pass(self) -> None:
        self.host(OwnChecks(spf=ENFORCE))
        self.zone["sender.example"] = [FAIL]
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=reject"]
        self.zone[KEY_NAME] = [KEY]
        told = self.told(self.send(letter()))
        self.assertEqual(told.facts["dmarc"], "pass from=sender.example p=reject of=sender.example dkim=sender.example")
        self.world.resolver.trouble["sender.example"] = Status.SERVFAIL
        self.send(letter())
        self.send(code="451 4.7.")

    def test_nor_is_it_refused_while_dmarc_may_yet_pass(self) -> None:
        self.host(OwnChecks(spf=ENFORCE))
        self.zone["sender.example"] = [FAIL]
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=none"]
        self.zone[KEY_NAME] = [KEY]
        self.world.resolver.trouble[KEY_NAME] = Status.TIMEOUT
        self.send(letter(), code="451 4.7.0")
        self.world.resolver.trouble.clear()
        self.send(letter())
        self.send(broken(), code="550 5.7.23")

    def test_the_null_reverse_path_is_the_greetings(self) -> None:
        self.zone["outside.example"] = [FAIL]
        self.send(sender="", code="550 5.7.23")
        self.send(code="250")

    def test_monitored_it_is_told(self) -> None:
        self.host(OwnChecks(spf=MONITOR, dkim=OFF, dmarc=OFF))
        self.zone["sender.example"] = [FAIL]
        self.assertEqual(self.told(self.send()).facts["rule"], ["acme.example: monitored: spf"])
        self.assertIn(b"spf=fail", self.results())


class DkimTest(VerificationCase):
    def setUp(self) -> None:
        super().setUp()
        self.host(DKIM_ONLY)
        self.zone[KEY_NAME] = [KEY]

    def test_what_is_not_signed_is_taken(self) -> None:
        self.assertEqual(self.told(self.send()).facts["dkim"], [])

    def test_a_good_signature_is_taken(self) -> None:
        (told,) = self.told(self.send(letter())).facts["dkim"]
        self.assertEqual(told, "pass d=sender.example s=s1 a=ed25519-sha256")

    def test_signatures_of_which_none_is_good_are_refused(self) -> None:
        self.send(broken(), code="550 5.7.20")
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual(refused["reason"], "dkim-fail")

    def test_one_good_signature_is_enough(self) -> None:
        wrong = broken().partition(b"From:")[0]
        self.send(wrong.replace(b"s=s1", b"s=s2") + letter())

    def test_a_key_that_cannot_be_asked_for_is_to_be_asked_for_again(self) -> None:
        self.world.resolver.trouble[KEY_NAME] = Status.TIMEOUT
        self.send(letter(), code="451 4.7.0")

    def test_a_key_that_is_being_tested_refuses_nothing(self) -> None:
        self.zone[KEY_NAME] = [f"TXT {record(ED25519, 'v=DKIM1; t=y; ').decode()}"]
        (told,) = self.told(self.send(broken())).facts["dkim"]
        self.assertTrue(told.startswith("fail d=sender.example s=s1 a=ed25519-sha256 t=y"), told)

    def test_monitored_it_is_told(self) -> None:
        self.host(OwnChecks(dkim=MONITOR, spf=OFF, dmarc=OFF))
        self.assertEqual(self.told(self.send(broken())).facts["rule"], ["acme.example: monitored: dkim"])

    def test_a_body_of_many_blocks(self) -> None:
        self.world.spool.kept_octets = 1000
        self.send(letter(b"so many words\r\n" * 20_000))
        self.send(letter(b"so many words\r\n" * 20_000)[:-9] + b"w0rds\r\n", code="550 5.7.20")


class DmarcTest(VerificationCase):
    def setUp(self) -> None:
        super().setUp()
        self.host(DMARC_ONLY)

    def policy(self, text: str, domain: str = "sender.example") -> None:
        self.zone[f"_dmarc.{domain}"] = [f"TXT v=DMARC1; {text}"]

    def test_reject(self) -> None:
        self.policy("p=reject")
        self.send(code="550 5.7.1")
        self.assertIn(b"sender.example", self.answer)
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual(refused["reason"], "dmarc-fail")
        self.assertIn('TXT of _dmarc.sender.example: "v=DMARC1; p=reject"', refused["dns"])
        self.assertEqual(self.world.store.messages, {})

    def test_none(self) -> None:
        self.policy("p=none")
        self.assertTrue(self.told(self.send()).facts["dmarc"].startswith("fail from=sender.example p=none"))

    def test_no_record(self) -> None:
        self.assertEqual(self.told(self.send()).facts["dmarc"], "none from=sender.example (no DMARC record)")

    def test_pass_by_spf(self) -> None:
        self.policy("p=reject")
        self.zone["sender.example"] = [PASS]
        self.send()
        self.assertIn(b"dmarc=pass (p=reject) header.from=sender.example", self.results())

    def test_spf_of_another_domain_is_none(self) -> None:
        self.policy("p=reject")
        self.zone["other.example"] = [PASS]
        self.send(sender="ann@other.example", code="550 5.7.1")

    def test_the_greeting_counts_only_without_a_sender(self) -> None:
        self.policy("p=reject", "outside.example")
        self.zone["outside.example"] = [PASS]
        content = LETTER.replace(b"ann@sender", b"ann@outside")
        self.send(content, sender="ann@other.example", code="550 5.7.1")
        self.send(content, sender="")

    def test_what_is_not_known_now_is_to_come_again(self) -> None:
        self.world.resolver.trouble["_dmarc.sender.example"] = Status.SERVFAIL
        self.send(code="451 4.7.0")
        self.world.resolver.trouble.clear()
        self.policy("p=reject")
        self.world.resolver.trouble["sender.example"] = Status.TIMEOUT
        self.send(code="451 4.7.0")

    def test_what_is_not_known_now_matters_only_where_it_may_refuse(self) -> None:
        self.zone[KEY_NAME] = [KEY]
        self.world.resolver.trouble[KEY_NAME] = Status.TIMEOUT
        for text, code in (
            ("p=none", "250 2.0.0"),
            ("p=quarantine; t=y", "250 2.0.0"),
            ("p=quarantine", "451 4.7.0"),
            ("p=reject; t=y", "451 4.7.0"),
            ("p=reject", "451 4.7.0"),
            ("p=none; sp=reject", "250 2.0.0"),
        ):
            self.policy(text)
            number = self.send(letter(), code=code)
            if number:
                self.assertRegex(str(self.told(number).facts["dmarc"]), "^temperror from=sender.example p=none")

    def test_whether_a_name_exists_matters_only_where_it_decides(self) -> None:
        from_sub = LETTER.replace(b"ann@sender", b"ann@sub.sender")
        self.world.resolver.trouble["sub.sender.example"] = Status.SERVFAIL
        for text, code in (
            ("p=none; np=reject", "451 4.7.0"),
            ("p=reject; np=none", "451 4.7.0"),
            ("p=reject; sp=none; np=none", "250 2.0.0"),
            ("p=none; np=quarantine; t=y", "250 2.0.0"),
            ("p=reject; np=reject", "550 5.7.1"),
        ):
            self.policy(text)
            self.send(from_sub, code=code)
        self.policy("p=reject; np=none")
        self.zone["sender.example"] = [PASS]
        self.send(from_sub)

    def test_of_several_authors_one_that_is_refused_counts(self) -> None:
        self.zone[KEY_NAME] = [KEY]
        self.world.resolver.trouble[KEY_NAME] = Status.TIMEOUT
        self.policy("p=none")
        self.policy("p=reject", "bank.example")
        head = HEAD.replace(b"From: Ann <ann@sender.example>", b"From: boss@bank.example, ann@sender.example")
        self.send(signed(SIGNED, head=head, body=BODY), code="550 5.7.1")

    def test_whether_spf_may_be_aligned_is_its_own_strictness(self) -> None:
        self.world.resolver.trouble["sub.sender.example"] = Status.SERVFAIL
        self.policy("p=reject; adkim=s; aspf=r")
        self.send(sender="ann@sub.sender.example", code="451 4.7.0")
        self.policy("p=reject; adkim=r; aspf=s")
        self.send(sender="ann@sub.sender.example", code="550 5.7.1")

    def test_no_author_and_several(self) -> None:
        self.send(b"Subject: hi\r\n\r\nhello\r\n", code="550 5.7.1")
        self.send(LETTER.replace(b"ann@sender.example", b"ann@[192.0.2.1]"), code="550 5.7.1")
        several = LETTER.replace(b"From: Ann <ann@sender.example>", b"From: bob@third.example, ann@sender.example")
        self.send(several)
        self.policy("p=reject")
        self.send(several, code="550 5.7.1")
        self.send(b"From: bob@third.example\r\n" + LETTER, code="550 5.7.1")
        many = b", ".join(b"a@d%d.example" % number for number in range(11))
        self.send(b"From: %s\r\n\r\n" % many, code="550 5.7.1")

    def test_an_author_of_an_international_domain(self) -> None:
        self.policy("p=reject", "xn--bcher-kva.example")
        self.send(LETTER.replace(b"ann@sender.example", "ann@Bücher.example".encode()), code="550 5.7.1")

    def test_monitored_it_is_told(self) -> None:
        self.host(OwnChecks(dmarc=MONITOR, spf=OFF, dkim=OFF))
        self.policy("p=reject")
        self.assertEqual(self.told(self.send()).facts["rule"], ["acme.example: monitored: dmarc"])
        self.send(b"Subject: hi\r\n\r\nhello\r\n")

    def test_without_the_dns_nothing_is_a_pass(self) -> None:
        self.world.resolver.outage = Status.TIMEOUT
        self.send(code="451 4.7.0")


class ArcTest(VerificationCase):
    def setUp(self) -> None:
        super().setUp()
        self.build(trusted_arc_sealers=(Hostname("hop1.example"),))
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=reject"]
        for hop in (1, 2):
            self.zone[f"s._domainkey.hop{hop}.example"] = [f"TXT {test_arc.RECORD.decode()}"]

    def test_a_trusted_sealer_that_saw_dmarc_pass_counts_as_a_pass(self) -> None:
        told = self.told(self.send(test_arc.sealed(LETTER)))
        self.assertEqual(told.facts["rule"], ["acme.example: arc: hop1.example saw DMARC pass"])
        self.assertEqual(told.facts["arc"], "pass by hop1.example")
        self.assertIn(b"arc=pass", self.results())

    def test_others_do_not(self) -> None:
        self.send(test_arc.sealed(LETTER, b"dmarc=fail"), code="550 5.7.1")
        self.send(test_arc.sealed(LETTER).replace(b"Subject: hi", b"Subject: ho"), code="550 5.7.1")
        self.build(trusted_arc_sealers=(Hostname("hop2.example"),))
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=reject"]
        self.zone["s._domainkey.hop1.example"] = [f"TXT {test_arc.RECORD.decode()}"]
        self.send(test_arc.sealed(LETTER), code="550 5.7.1")

    def test_whoever_handles_it_behind_a_trusted_sealer_may_have_put_in_anything(self) -> None:
        self.send(test_arc.sealed(test_arc.sealed(LETTER), b"dmarc=fail"))
        changed = test_arc.sealed(LETTER).replace(BODY, b"pay here\r\n")
        self.send(test_arc.sealed(changed, b"dmarc=pass"), code="550 5.7.1")
        self.zone["_dmarc.bank.example"] = ["TXT v=DMARC1; p=reject"]
        self.send(b"From: boss@bank.example\r\n" + test_arc.sealed(LETTER, b"dmarc=pass"), code="550 5.7.1")

    def test_a_key_of_a_trusted_sealer_that_cannot_be_asked_for_is_to_be_asked_for_again(self) -> None:
        self.world.resolver.trouble["s._domainkey.hop1.example"] = Status.SERVFAIL
        self.send(test_arc.sealed(LETTER), code="451 4.7.0")

    def test_what_a_trusted_sealer_vouches_for_waits_for_nothing(self) -> None:
        self.world.resolver.trouble["sender.example"] = Status.SERVFAIL
        self.send(code="451 4.7.0")
        told = self.told(self.send(test_arc.sealed(LETTER)))
        self.assertEqual(told.facts["rule"], ["acme.example: arc: hop1.example saw DMARC pass"])


class SeveralDomainsTest(VerificationCase):
    BOTH = ("alice@acme.example", "eve@other.example")

    def setUp(self) -> None:
        super().setUp()
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=reject"]
        self.zone["sender.example"] = [FAIL]

    def test_all_refuse(self) -> None:
        self.host(SPF_ONLY)
        self.host(DMARC_ONLY, "eve@other.example", organisation="other")
        self.send(LETTER, *self.BOTH, code="550 5.7.23")
        self.send(LETTER, *reversed(self.BOTH), code="550 5.7.1")

    def test_any_that_cannot_tell_defers_all(self) -> None:
        self.host(OwnChecks(OFF, OFF, MONITOR))
        self.host(DKIM_ONLY, "eve@other.example", organisation="other")
        self.world.resolver.trouble[KEY_NAME] = Status.SERVFAIL
        self.send(letter(), *self.BOTH, code="451 4.7.0")
        self.assertEqual(self.world.store.messages, {})

    def test_what_some_refuse_is_kept_from_theirs(self) -> None:
        self.host(OwnChecks(OFF, OFF, OFF))
        self.host(DMARC_ONLY, "eve@other.example", "bob@other.example", organisation="other")
        number = self.send(LETTER, *self.BOTH, "bob@other.example")
        self.mail()
        self.assertEqual(self.world.mail("eve@other.example"), [])
        (theirs,) = [message for message in self.world.store.messages if message != number]
        kept = self.told(theirs, "quarantined")
        self.assertEqual(kept.facts["rule"], "dmarc-fail")
        self.assertIn("550 5.7.1 DMARC: sender.example", kept.facts["reason"])
        self.assertEqual(kept.facts["recipients"], ["eve@other.example", "bob@other.example"])
        self.assertEqual(self.told(theirs).facts["rule"], ["other.example: dmarc-fail"])
        self.assertEqual(
            [event.kind for event in self.world.story(number)], ["received", "verified", "routed", "delivered"]
        )
        self.assertEqual(self.told(number).facts["rule"], ["acme.example: identity"])

    def test_of_one_organisation(self) -> None:
        self.host(NOTHING, "alice@acme.example")
        self.host(DMARC_ONLY, "c@shop.example")
        number = self.send(LETTER, "alice@acme.example", "c@shop.example")
        self.mail()
        self.assertEqual(self.world.mail("c@shop.example"), [])
        self.assertEqual(self.told(number).facts["rule"], ["acme.example: identity", "shop.example: dmarc-fail"])
        waiting = self.world.store.waiting(number)
        self.assertEqual([row.status for row in waiting.rows], [RowStatus.QUARANTINED])

    def test_a_mailbox_that_an_open_way_leads_to_gets_it(self) -> None:
        self.host(NOTHING, "alice@acme.example")
        self.host(DMARC_ONLY, "c@shop.example")
        self.world.alias("sales@shop.example", "alice@acme.example")
        self.send(LETTER, "sales@shop.example", "alice@acme.example")
        self.mail()
        number = self.send(LETTER, "sales@shop.example", code="550 5.7.1")
        self.assertEqual(number, 0)

    def test_a_domain_of_its_own_mind_beside_the_servers(self) -> None:
        self.host(OwnChecks())
        self.host(OwnChecks(dmarc=OFF), "eve@other.example", organisation="other")
        self.send(code="550 5.7.1")
        self.send(LETTER, "eve@other.example")


class HeadersTest(VerificationCase):
    FORGED = b"Authentication-Results: MX.test (yes) 1; dmarc=pass\r\n\theader.from=bank.example\r\n"
    OTHERS = b"Authentication-Results: mx.other.example; spf=pass\r\n"

    def test_what_is_delivered(self) -> None:
        self.zone["sender.example"] = [PASS]
        self.zone["7.2.0.192.in-addr.arpa"] = ["PTR outside.example."]
        self.send()
        head = self.mail().partition(b"\n\n")[0]
        names = [line.partition(b":")[0] for line in head.split(b"\n") if not line.startswith(b"\t")]
        self.assertEqual(
            names[:6],
            [b"Return-Path", b"Delivered-To", b"Authentication-Results", b"Received-SPF", b"Received", b"From"],
        )
        self.assertIn(b"spf=pass (matched ip4:192.0.2.7) smtp.mailfrom=ann@sender.example", self.results())
        self.assertIn(b"dmarc=none (no DMARC record) header.from=sender.example", self.results())
        self.assertIn(b"iprev=pass (outside.example) policy.iprev=192.0.2.7", self.results())
        self.assertIn(b"Received-SPF: pass (matched ip4:192.0.2.7)\n", head)
        self.assertIn(b"receiver=mx.test", head)

    def test_results_that_claim_to_be_ours_are_taken_out(self) -> None:
        self.send(self.OTHERS + self.FORGED + LETTER)
        mail = self.mail()
        self.assertNotIn(b"bank.example", mail)
        self.assertIn(self.OTHERS.replace(b"\r\n", b"\n"), mail)
        self.assertEqual(mail.count(b"Authentication-Results: "), 2)

    def test_behind_where_nobody_looks_there_are_none(self) -> None:
        filling = b"X-Filling: %s\r\n" % (b"x" * 60)
        self.world.spool.kept_octets = 1000
        much, rest = filling * (MAX_OCTETS // len(filling) - 10), b"\r\n" + BODY
        self.send(HEAD + much + self.FORGED + rest)
        self.assertNotIn(b"bank.example", self.mail())
        self.host(NOTHING)
        self.send(HEAD + much + filling * 20 + self.FORGED + rest, code="552 5.3.4")
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual((refused["stage"], refused["reason"]), ("message", "header-too-large"))

    def test_signatures_over_them_are_judged_before(self) -> None:
        self.zone[KEY_NAME] = [KEY]
        made = signed(f"{SIGNED}:authentication-results", head=self.FORGED + HEAD, body=BODY)
        self.send(made)
        self.assertIn(b"dkim=pass", self.results())
        self.assertNotIn(b"bank.example", self.mail())

    def test_from_large_contents_as_well(self) -> None:
        self.world.spool.kept_octets = 1000
        body = b"so many words\r\n" * 200
        self.send(self.FORGED + HEAD + b"\r\n" + body)
        self.assertNotIn(b"bank.example", self.mail())
        self.assertTrue(self.mail().endswith(b"\n\n" + body.replace(b"\r\n", b"\n")))

    def test_where_nothing_is_checked_as_well(self) -> None:
        self.host(NOTHING)
        number = self.send(self.FORGED + LETTER)
        self.assertNotIn(b"Authentication-Results", self.mail())
        self.assertEqual([event.kind for event in self.world.story(number)], ["received", "routed", "delivered"])

    def test_by_a_name_of_our_own(self) -> None:
        self.build(authserv_id=Hostname("example.org"))
        self.send(self.FORGED + self.FORGED.replace(b"MX.test", b"example.org") + LETTER)
        self.assertEqual(self.mail().count(b"bank.example"), 1)
        self.assertIn(b"\nAuthentication-Results: example.org;", self.mail())


class AskingTest(VerificationCase):
    def test_where_nothing_is_checked_nobody_is_asked(self) -> None:
        self.host(NOTHING)
        self.world.resolver.outage = Status.TIMEOUT
        self.send()
        self.assertEqual(self.asked(), set())

    def test_only_what_somebody_wants_is_asked(self) -> None:
        self.host(SPF_ONLY)
        self.send(letter())
        self.assertIn("sender.example", self.asked())
        self.assertNotIn("_dmarc.sender.example", self.asked())
        self.assertNotIn(KEY_NAME, self.asked())

    def test_all_that_is_known_beforehand_is_asked_at_once(self) -> None:
        self.world.resolver.delay_seconds = 1.0
        line = self.world.connect()
        self.world.say(
            line,
            b"EHLO outside.example\r\nMAIL FROM:<ann@sender.example>\r\nRCPT TO:<alice@acme.example>\r\nDATA\r\n",
        )
        self.assertEqual(self.world.say(line, letter() + b".\r\n"), b"")
        first = self.asked()
        wanted = {KEY_NAME, "_dmarc.sender.example", "sender.example", "outside.example", "7.2.0.192.in-addr.arpa"}
        self.assertEqual(first, wanted)
        self.world.advance(5)
        self.assertEqual(line.take()[:9], b"250 2.0.0")

    def test_the_answers_that_mattered_are_told(self) -> None:
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=none"]
        told = self.told(self.send())
        self.assertIn("TXT of sender.example: NODATA", told.facts["dns"])
        self.assertIn('TXT of _dmarc.sender.example: "v=DMARC1; p=none"', told.facts["dns"])

    def test_each_receiving_domain_counts_what_it_wants(self) -> None:
        self.host(OwnChecks(spf=MONITOR, dkim=OFF, dmarc=OFF), "eve@other.example", organisation="other")
        self.send(letter(), "alice@acme.example", "eve@other.example")
        for method, counted in (
            ("spf", [("acme.example", "none"), ("other.example", "none")]),
            ("dkim", [("acme.example", "permerror")]),
            ("dmarc", [("acme.example", "none")]),
        ):
            found = self.world.journal.of(f"verification.{method}")
            self.assertEqual([(facts["domain"], facts["result"]) for facts in found], counted)

    def test_a_content_that_cannot_be_read_is_to_come_again(self) -> None:
        self.world.spool.kept_octets = 1000
        self.world.spool.readable_octets = 70_000
        self.send(letter(b"so many words\r\n" * 20_000), code="451 4.3.0")


class QuarantineTest(VerificationCase):
    def setUp(self) -> None:
        super().setUp()
        self.zone["_dmarc.sender.example"] = ["TXT v=DMARC1; p=quarantine"]

    def statuses(self, number: int) -> list[str]:
        waiting = self.world.store.waiting(number)
        return [row.status.value for row in waiting.rows] if waiting else []

    def test_it_is_kept_and_told(self) -> None:
        number = self.send()
        self.world.advance(6 * DAY, step=1800.0)
        self.assertEqual(self.world.mail("alice@acme.example"), [])
        self.assertEqual(self.statuses(number), ["quarantined"])
        kinds = [event.kind for event in self.world.story(number)]
        self.assertEqual(kinds, ["received", "verified", "routed", "quarantined"])
        kept = self.told(number, "quarantined")
        self.assertEqual((kept.facts["rule"], kept.facts["recipients"]), ("dmarc-fail", ["alice@acme.example"]))
        self.assertIn("sender.example", kept.facts["reason"])
        self.assertEqual(self.world.journal.of("queue.sizes")[-1]["quarantined"], 1)

    def test_it_is_delivered_as_it_is_once_it_is_released(self) -> None:
        number = self.send()
        self.world.advance(8 * DAY, step=1800.0)
        self.assertEqual(self.world.store.free_quarantined(number, self.world.wall.now(), "mtactl"), 1)
        self.world.advance(5)
        self.assertTrue(self.mail().endswith(b"\n\nhello\n"))
        self.assertIn(b"dmarc=fail", self.results())
        self.assertEqual([event.kind for event in self.world.story(number)][-2:], ["released", "delivered"])

    def test_it_goes_after_thirty_days(self) -> None:
        number = self.send()
        self.world.advance(29.9 * DAY, step=7200.0)
        self.assertEqual(self.statuses(number), ["quarantined"])
        self.world.advance(0.2 * DAY, step=3600.0)
        self.assertEqual(self.statuses(number), [])
        self.assertEqual(self.world.store.contents, {})
        self.assertEqual(self.told(number, "removed").facts["by"], "queue.quarantine_keep")
        self.assertEqual(self.world.journal.of("queue.quarantine_expired"), [{"count": 1}])


class CrossingTest(VerificationCase):
    """Submissions to the domains of others here (DESIGN D12)."""

    FROM_ALICE = b"From: alice@acme.example\r\nSubject: hi\r\n\r\nhello\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.host(DMARC_ONLY, "eve@other.example", organisation="other")
        self.host(NOTHING, "f@third.example", organisation="third")
        self.world.host("alice@acme.example", "bob@acme.example", checks=DMARC_ONLY, check_from=False)
        self.world.credential("alice@acme.example", "wonderland")
        self.zone["_dmarc.acme.example"] = ["TXT v=DMARC1; p=reject; adkim=s; aspf=s"]
        self.zone["_dmarc.bank.example"] = ["TXT v=DMARC1; p=reject"]

    def build(self, **verification: object) -> None:
        path = Path(self.mktemp())
        made = settings(path, structs.replace(Verification(), **verification))
        self.world = World(path, configured=structs.replace(made, tls=Tls(enabled=False)))
        self.zone = self.world.zone

    def submit(
        self, content: bytes, *recipients: str, sender: str = "alice@acme.example", code: str = "250 2.0"
    ) -> int:
        """Hand a message in as alice, which is to be answered so; return its id."""
        line = self.world.connect("submission", ("127.0.0.1", 40000))
        proof = b64encode(b"\0alice@acme.example\0wonderland")
        self.world.say(line, b"EHLO pc.example\r\nAUTH PLAIN %s\r\n" % proof)
        commands = [b"MAIL FROM:<%s>" % sender.encode(), *(b"RCPT TO:<%s>" % to.encode() for to in recipients), b"DATA"]
        self.assertIn(b"\r\n354 ", self.world.say(line, b"\r\n".join([*commands, b""])))
        answer = self.world.say(line, content + b".\r\n")
        self.assertEqual(answer.decode()[: len(code)], code)
        return parse_id(answer.split()[-1].decode()) if answer.startswith(b"250") else 0

    def foreign(self, number: int) -> int:
        (message,) = [message for message in self.world.store.messages if message != number]
        return message

    def test_the_login_stands_for_spf_and_dkim(self) -> None:
        self.submit(self.FROM_ALICE, "eve@other.example")
        self.mail("eve@other.example")
        self.assertEqual(self.asked(), {"_dmarc.acme.example"})
        (accepted,) = self.world.journal.of("smtp.accepted")
        told = self.told(parse_id(str(accepted["id"])))
        self.assertEqual(told.facts["rule"], ["other.example: identity"])
        self.assertEqual(told.facts["spf"], ["pass mailfrom=acme.example (submitted here)"])
        self.assertEqual(told.facts["dkim"], ["pass d=acme.example (submitted here)"])
        self.assertTrue(told.facts["dmarc"].startswith("pass from=acme.example p=reject"))

    def test_whose_signature_it_is_due_counts_without_a_sender(self) -> None:
        self.submit(self.FROM_ALICE, "eve@other.example", sender="")
        self.mail("eve@other.example")

    def test_who_says_nothing_is_who_they_are(self) -> None:
        self.submit(b"Subject: hi\r\n\r\nhello\r\n", "eve@other.example")
        self.mail("eve@other.example")

    def test_who_writes_as_somebody_else_is_refused(self) -> None:
        forged = b"From: boss@bank.example\r\n\r\nhello\r\n"
        self.submit(forged, "eve@other.example", code="550 5.7.1")
        (refused,) = self.world.journal.of("smtp.rejected")
        self.assertEqual((refused["stage"], refused["reason"]), ("message", "dmarc-fail"))
        self.assertEqual(self.world.store.messages, {})

    def test_beside_others_it_is_kept_from_them_alone(self) -> None:
        forged = b"From: boss@bank.example\r\n\r\nhello\r\n"
        number = self.submit(forged, "bob@acme.example", "eve@other.example", "f@third.example")
        self.mail("bob@acme.example")
        self.mail("f@third.example")
        self.assertEqual(self.world.mail("eve@other.example"), [])
        kept = self.told(self.foreign(number), "quarantined")
        self.assertEqual(kept.facts["recipients"], ["eve@other.example"])
        self.assertEqual([event for event in self.world.story(number) if event.kind == "verified"], [])

    def test_what_cannot_be_known_defers_all(self) -> None:
        self.world.resolver.trouble["_dmarc.acme.example"] = Status.SERVFAIL
        self.submit(self.FROM_ALICE, "bob@acme.example", "eve@other.example", code="451 4.7.0")
        self.submit(self.FROM_ALICE, "bob@acme.example")

    def test_what_stays_among_themselves_is_not_looked_at(self) -> None:
        self.world.resolver.outage = Status.TIMEOUT
        self.submit(b"From: boss@bank.example\r\n\r\nhello\r\n", "bob@acme.example", "f@third.example")
        self.assertEqual(self.asked(), set())

    def test_results_that_claim_to_be_ours_are_taken_out(self) -> None:
        self.submit(HeadersTest.FORGED + self.FROM_ALICE, "bob@acme.example")
        self.assertNotIn(b"bank.example", self.mail("bob@acme.example"))

    def test_a_directory_that_is_away_is_to_be_asked_again(self) -> None:
        line = self.world.connect("submission", ("127.0.0.1", 40000))
        proof = b64encode(b"\0alice@acme.example\0wonderland")
        self.world.say(line, b"EHLO pc.example\r\nAUTH PLAIN %s\r\n" % proof)
        self.world.say(line, b"MAIL FROM:<alice@acme.example>\r\nRCPT TO:<eve@other.example>\r\nDATA\r\n")
        self.world.directory.reachable = False
        self.assertEqual(self.world.say(line, self.FROM_ALICE + b".\r\n")[:9], b"451 4.3.0")
