"""mtad.smtp.offers, .transaction and .notification: what is asked of a server that offers this and not that."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.outcome import Failed, Scope
from mtad.smtp.notification import original_recipient
from mtad.smtp.offers import NO_LIMITS, Limits, limits, misfits
from mtad.smtp.transaction import Transaction, commands
from tests.unit.recipients import to

ANN = Address("ann", "outside.example")
BOB = Address("bob", "remote.example")
ZOE = Address("zoë", "remote.example")
NOTHING: dict[str, str] = {}


class LimitsTest(SynchronousTestCase):
    def test_what_is_said(self) -> None:
        said = {"LIMITS": "RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1 NEWMAX=7"}
        self.assertEqual(limits(said), Limits(messages=5, recipients=20, domains=1))

    def test_what_is_not_said_or_not_understood(self) -> None:
        for value in ("", "RCPTMAX", "RCPTMAX=", "RCPTMAX=0", "RCPTMAX=-1", "RCPTMAX=x", "RCPTMAX=²", "=5", "==="):
            self.assertEqual(limits({"LIMITS": value}), NO_LIMITS, value)
        self.assertEqual(limits(NOTHING), NO_LIMITS)

    @given(st.text(max_size=60))
    def test_any_value_is_harmless(self, value: str) -> None:
        limits({"LIMITS": value})
        misfits(Transaction(ANN, to(BOB), 1), {"SIZE": value})


class MisfitsTest(SynchronousTestCase):
    def statuses(self, transaction: Transaction, **offers: str) -> list[str | None]:
        found = misfits(transaction, {"8BITMIME": "", **offers})
        for failed in found:
            self.assertIn(failed and failed.scope, (None, Scope.HOST))
        return [failed and failed.status for failed in found]

    def test_a_size_above_the_servers(self) -> None:
        small, large = Transaction(ANN, to(BOB, ZOE), 1000), Transaction(ANN, to(BOB, BOB), 1001)
        self.assertEqual(self.statuses(small, SIZE="1000", SMTPUTF8=""), [None, None])
        self.assertEqual(self.statuses(large, SIZE="1000"), ["5.3.4", "5.3.4"])
        failed = misfits(large, {"SIZE": "1000"})[0]
        assert isinstance(failed, Failed)
        self.assertIn("1001 octets, the server takes 1000", failed.detail)

    def test_a_size_that_says_nothing(self) -> None:
        for value in ("", "0", "many", "-1", "9" * 30, "1_0", "٣"):
            self.assertEqual(self.statuses(Transaction(ANN, to(BOB), 10**9), SIZE=value), [None], value)

    def test_only_the_recipient_that_needs_it(self) -> None:
        self.assertEqual(self.statuses(Transaction(ANN, to(BOB, ZOE), 9)), [None, "5.6.7"])
        self.assertEqual(self.statuses(Transaction(ANN, to(BOB, ZOE), 9), SMTPUTF8=""), [None, None])

    def test_everybody_for_a_sender_that_needs_it(self) -> None:
        self.assertEqual(self.statuses(Transaction(ZOE, to(BOB, BOB), 9)), ["5.6.7", "5.6.7"])

    def test_a_header_counts_where_the_sender_declared_it(self) -> None:
        declared = Parameters(smtputf8=True)
        for transaction, status in (
            (Transaction(ANN, to(BOB), 9, True, True, declared), "5.6.7"),
            (Transaction(ANN, to(BOB), 9, True, True, PLAIN), None),
            (Transaction(ANN, to(BOB), 9, True, False, declared), None),
            (Transaction(ANN, to(BOB), 9, False, False, declared), None),
        ):
            self.assertEqual(self.statuses(transaction), [status], transaction)


class CommandsTest(SynchronousTestCase):
    def said(self, transaction: Transaction, *offers: str) -> list[str]:
        said = [command.octets.decode() for command in commands(transaction, dict.fromkeys(offers, ""))]
        self.assertTrue(all(line.endswith("\r\n") and line.count("\r\n") == 1 for line in said), said)
        return [line[:-2] for line in said]

    def test_smtputf8_is_said_only_where_it_is_needed_and_offered(self) -> None:
        declared = Parameters(smtputf8=True)
        for transaction, needed in (
            (Transaction(ANN, to(BOB, ZOE), 9), True),
            (Transaction(ZOE, to(BOB), 9), True),
            (Transaction(ANN, to(BOB), 9, True, True, declared), True),
            (Transaction(ANN, to(BOB), 9, True, False, declared), False),
            (Transaction(None, to(BOB), 9, True, True), False),
        ):
            self.assertEqual(self.said(transaction, "SMTPUTF8")[0].endswith(" SMTPUTF8"), needed, transaction)
            self.assertNotIn("SMTPUTF8", self.said(transaction)[0])

    def test_what_the_sender_asked_to_be_told_goes_along(self) -> None:
        parameters = Parameters(ret="HDRS", envid="QQ+2B314")
        bob = to(BOB, notify="SUCCESS,FAILURE", orcpt="rfc822;robert@old.example")
        self.assertEqual(
            self.said(Transaction(ANN, bob, 9, parameters=parameters), "DSN")[:2],
            [
                "MAIL FROM:<ann@outside.example> RET=HDRS ENVID=QQ+2B314",
                "RCPT TO:<bob@remote.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;robert@old.example",
            ],
        )
        self.assertEqual(
            self.said(Transaction(ANN, bob, 9, parameters=parameters))[:2],
            ["MAIL FROM:<ann@outside.example>", "RCPT TO:<bob@remote.example>"],
        )

    def test_nobody_asked_nothing_is_said(self) -> None:
        self.assertEqual(self.said(Transaction(ANN, to(BOB), 9), "DSN")[1], "RCPT TO:<bob@remote.example>")

    def test_the_address_the_sender_knows_is_the_original_recipient(self) -> None:
        led = Recipient(0, Address("sales+x=1", "acme.example"), BOB, "mx:remote.example", "FAILURE")
        self.assertEqual(
            self.said(Transaction(ANN, (led,), 9), "DSN")[1],
            "RCPT TO:<bob@remote.example> NOTIFY=FAILURE ORCPT=rfc822;sales+2Bx+3D1@acme.example",
        )

    def test_of_a_report_only_that_it_causes_none(self) -> None:
        parameters = Parameters(ret="FULL", envid="x")
        for notify, said in (("NEVER", " NOTIFY=NEVER ORCPT=rfc822;bob@remote.example"), ("SUCCESS", "")):
            self.assertEqual(
                self.said(Transaction(None, to(BOB, notify=notify), 9, parameters=parameters), "DSN")[:2],
                ["MAIL FROM:<>", f"RCPT TO:<bob@remote.example>{said}"],
            )

    def test_what_was_stored_and_is_no_such_value_is_not_said(self) -> None:
        for envid in ("a b", "a\r\nRSET", "a+2", "a=b", "", "é", "x" * 101):
            parameters = Parameters(ret="SOME\r\nQUIT", envid=envid)
            self.assertEqual(
                self.said(Transaction(ANN, to(BOB), 9, parameters=parameters), "DSN")[0],
                "MAIL FROM:<ann@outside.example>",
            )
        for orcpt in ("bob@remote.example", "rfc822;a b", "rfc822;a\r\nQUIT", "rfc822;", "rfc822;é", "x;" + "y" * 500):
            recipients = to(BOB, notify="SUCCESS,NEVER", orcpt=orcpt)
            self.assertEqual(
                self.said(Transaction(ANN, recipients, 9), "DSN")[1], "RCPT TO:<bob@remote.example>", orcpt
            )

    def test_an_original_recipient_in_utf_8_goes_everywhere_in_ascii(self) -> None:
        self.assertEqual(original_recipient(ZOE), r"utf-8;zo\x{EB}@remote.example")
        recipients = to(BOB, orcpt="utf-8;zoë@remote.example")
        self.assertTrue(
            self.said(Transaction(ANN, recipients, 9), "DSN")[1].endswith(r" ORCPT=utf-8;zo\x{EB}@remote.example")
        )

    @given(
        st.builds(Address, st.text(min_size=1, max_size=64), st.just("x.example")),
        st.text(max_size=40) | st.none(),
        st.text(max_size=40) | st.none(),
        st.text(max_size=40).map(lambda text: f"rfc822;{text}") | st.none(),
    )
    def test_whatever_is_stored_a_command_is_one_line(
        self, address: Address, envid: str | None, notify: str | None, orcpt: str | None
    ) -> None:
        recipients = (Recipient(0, address, address, "", notify or "FAILURE", orcpt),)
        transaction = Transaction(address, recipients, 9, parameters=Parameters(True, notify, envid))
        try:
            said = list(commands(transaction, dict.fromkeys(("DSN", "SMTPUTF8", "SIZE"), "")))
        except ValueError:
            return
        self.assertEqual(len(said), 3)
        for command in said:
            self.assertTrue(command.octets.endswith(b"\r\n"))
            self.assertNotRegex(command.octets[:-2], rb"[\r\n\0]")
            self.assertLessEqual(len(command.octets), 512 + 500 + 123 + 28 + 40)
