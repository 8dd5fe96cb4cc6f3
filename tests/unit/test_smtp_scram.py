"""mtad.smtp.scram: the exchange of RFC 7677 §3, proofs right and wrong, channel binding, verifiers."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.smtp.scram import (
    ITERATIONS,
    PLUS,
    SALT_OCTETS,
    SCRAM,
    is_of,
    keys_of,
    nobodys,
    opening,
    question,
    verifier_of,
    wrong_binding,
)
from tests.unit.scram_client import VERIFIER, BindingClient, Client

BINDING = bytes(range(32))


class VectorTest(SynchronousTestCase):
    """The example of RFC 7677 §3."""

    SALT = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81"
    FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    FINAL = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )

    def test_the_exchange(self) -> None:
        verifier = verifier_of("pencil", self.SALT, 4096)
        asked = opening(SCRAM, self.FIRST)
        self.assertEqual((asked.authcid, asked.authzid, asked.binding), ("user", "", None))
        put = question(asked, verifier, self.NONCE, None)
        self.assertEqual(put.text, self.SERVER_FIRST)
        self.assertEqual(put.judge(self.FINAL), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        put = question(asked, verifier, self.NONCE, None)
        self.assertIsNone(put.judge(self.FINAL.replace(b"p=d", b"p=e")))


class ExchangeTest(SynchronousTestCase):
    def run_through(
        self, client: Client | BindingClient, mechanism: str = SCRAM, binding: bytes | None = None, **final: bytes
    ) -> bytes | None:
        asked = opening(mechanism, client.first())
        self.assertIsNone(wrong_binding(asked, binding))
        put = question(asked, VERIFIER, "server", binding)
        return put.judge(client.final(put.text, **final))

    def test_the_password_is_proven_and_the_verifier_too(self) -> None:
        client = Client("ann@acme.example", "pencil")
        client.trust(self.run_through(client))
        self.assertIsNone(self.run_through(Client("ann@acme.example", "Pencil")))

    def test_passwords_are_prepared(self) -> None:
        client = Client("ann@acme.example", "\u2170penc\u00adil")
        put = question(opening(SCRAM, client.first()), verifier_of("ipencil", b"s" * 16, 4096), "server", None)
        self.assertIsNotNone(put.judge(client.final(put.text)))

    def test_an_exchange_bound_to_its_connection(self) -> None:
        client = BindingClient("ann@acme.example", "pencil", binding=BINDING)
        client.trust(self.run_through(client, PLUS, BINDING))

    def test_an_exchange_bound_to_another_connection(self) -> None:
        for client, bound in (
            (BindingClient("ann@acme.example", "pencil", binding=b"x" * 32), None),
            (BindingClient("ann@acme.example", "pencil", binding=BINDING), b"n,,"),
            (BindingClient("ann@acme.example", "pencil", binding=BINDING), b"p=tls-exporter,,"),
        ):
            final = {} if bound is None else {"bound": bound}
            self.assertIsNone(self.run_through(client, PLUS, BINDING, **final))

    def test_a_client_that_cannot_bind(self) -> None:
        for header in ("n,,", "y,,", "n,a=ann@acme.example,"):
            binding = None if header == "y,," else BINDING
            client = BindingClient("ann@acme.example", "pencil", header)
            client.trust(self.run_through(client, SCRAM, binding))
            self.assertIsNone(self.run_through(client, SCRAM, binding, bound=b"n,a=eve,"))

    def test_another_nonce_is_wrong(self) -> None:
        client = Client("ann@acme.example", "pencil")
        put = question(opening(SCRAM, client.first()), VERIFIER, "server", None)
        self.assertIsNone(put.judge(client.final(put.text.replace(b"server", b"sever1"))))

    def test_bindings_that_may_not_be(self) -> None:
        for mechanism, header, binding, wrong in (
            (SCRAM, "y,,", BINDING, "offered and not seen"),
            (SCRAM, "p=tls-exporter,,", BINDING, "without -PLUS"),
            (SCRAM, "p=tls-exporter,,", None, "without -PLUS"),
            (PLUS, "n,,", BINDING, "no channel binding"),
            (PLUS, "y,,", BINDING, "no channel binding"),
            (PLUS, "p=tls-exporter,,", None, "no channel binding"),
            (PLUS, "p=tls-unique,,", BINDING, "another channel binding"),
            (PLUS, "p=tls-server-end-point,,", BINDING, "another channel binding"),
        ):
            said = wrong_binding(opening(mechanism, f"{header}n=ann,r=client".encode()), binding)
            self.assertIn(wrong, str(said), (mechanism, header))
        for mechanism, header, binding in (
            (SCRAM, "n,,", BINDING),
            (SCRAM, "y,,", None),
            (PLUS, "p=tls-exporter,,", BINDING),
        ):
            self.assertIsNone(wrong_binding(opening(mechanism, f"{header}n=ann,r=client".encode()), binding))


class MessagesTest(SynchronousTestCase):
    def test_names(self) -> None:
        asked = opening(SCRAM, b"n,a=b=2Co=3Db,n=a=2Cn=3Dn,r=x")
        self.assertEqual((asked.authcid, asked.authzid), ("a,n=n", "b,o=b"))
        self.assertEqual(opening(SCRAM, b"n,a=,n=ann,r=x").authzid, "")

    def test_what_is_no_first_message(self) -> None:
        for message in (
            b"", b"n", b"n,,", b"n,,n=,r=x", b"n,,n=ann", b"n,,r=x", b"n,,r=x,n=ann", b"x,,n=ann,r=x", b"p=,,n=ann,r=x",
            b"n,b=x,n=ann,r=x", b"n,a=x=y,n=ann,r=x", b"n,,n=an=n,r=x", b"n,,n=ann,r=\x00",
            b"n,,m=x,n=ann,r=x", b"n,,n=\xff,r=x", b"n,,n=" + b"a" * 321 + b",r=x", b"n,,n=a,r=" + b"x" * 2048,
            "n,,n=\U0001f600,r=x".encode(),
        ):  # fmt: skip
            self.assertRaises(ValueError, opening, SCRAM, message)

    def test_what_is_no_final_message(self) -> None:
        judge = question(opening(SCRAM, Client("ann", "pencil").first()), VERIFIER, "server", None).judge
        for message in (
            b"",
            b"c=biws",
            b"c=biws,r=clientserver",
            b"c=biws,r=a b,p=AA==",
            b"p=AA==",
            b"\xff",
            b"c=" * 4096,
        ):
            self.assertRaises(ValueError, judge, message)

    @given(st.binary(max_size=80), st.binary(max_size=80))
    def test_any_octets_are_judged_or_are_no_message(self, first: bytes, final: bytes) -> None:
        for message in (first, b"n,," + first, b"n,,n=ann,r=" + first):
            try:
                put = question(opening(SCRAM, message), VERIFIER, "server", None)
                self.assertIsNone(put.judge(b"c=biws,r=" + final))
            except ValueError:
                pass


class VerifierTest(SynchronousTestCase):
    def test_a_verifier_is_of_one_password_and_todays_iterations(self) -> None:
        made = verifier_of("pencil", b"s" * SALT_OCTETS)
        self.assertGreaterEqual(ITERATIONS, 15_000)
        self.assertTrue(made.startswith(f"SCRAM-SHA-256${ITERATIONS}:"))
        self.assertTrue(is_of(made, "pencil"))
        self.assertFalse(is_of(made, "Pencil"))
        self.assertFalse(is_of(VERIFIER, "pencil"))
        self.assertFalse(is_of("", "pencil"))
        self.assertFalse(is_of(made, "\U0001f600"))

    def test_some_passwords_have_none(self) -> None:
        for password in ("\U0001f600", "a\x00b", "\u0627a"):
            self.assertIsNone(verifier_of(password, b"s" * SALT_OCTETS))

    def test_nobodys_looks_like_any_other_and_is_always_the_same(self) -> None:
        made = nobodys("eve", b"key")
        self.assertEqual(made, nobodys("eve", b"key"))
        for other in (nobodys("ann", b"key"), nobodys("eve", b"other")):
            self.assertNotEqual(keys_of(other)[0], keys_of(made)[0])
        real = keys_of(verifier_of("pencil", b"s" * SALT_OCTETS))
        self.assertEqual([len(part) for part in real[:3]], [len(part) for part in keys_of(made)[:3]])
        self.assertEqual(keys_of(made)[3], ITERATIONS)
        client = Client("eve", "")
        put = question(opening(SCRAM, client.first()), made, "server", None)
        self.assertIsNone(put.judge(client.final(put.text)))

    def test_what_is_no_verifier(self) -> None:
        for text in ("", "x", "SCRAM-SHA-1" + VERIFIER[13:], VERIFIER + " ", VERIFIER.replace("4096", "1")):
            self.assertRaises(ValueError, keys_of, text)
