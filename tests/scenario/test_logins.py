"""Logins on the whole server: by SCRAM, bound to TLS and not; and what failed ones do to the next."""

from base64 import b64decode, b64encode
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from mtad.config import Tls
from mtad.policy.login import WINDOW_SECONDS
from mtad.testing.network import Line
from mtad.testing.wire import MemoryHandle
from mtad.testing.world import World, settings
from tests.unit.scram_client import BindingClient, Client

ALICE = "alice@acme.example"
BINDING = MemoryHandle().export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
HOME, ELSEWHERE = "192.0.2.7", "198.51.100.9"
AnyClient = Client | BindingClient


class LoginsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.build()

    def build(self, tls: Tls | None = None) -> None:
        path = Path(self.mktemp())
        self.world = World(path, configured=msgspec.structs.replace(settings(path), tls=tls or Tls()))
        self.world.tls.configured = tls is None
        self.world.host(ALICE, "bob@acme.example", "carol@acme.example")
        self.world.credential(ALICE, "wonderland")
        self.world.credential("bob@acme.example", "builder", enabled=False)

    def tearDown(self) -> None:
        self.assertEqual(self.world.journal.wrongs, [])
        self.assertEqual(self.world.journal.of("session.surprise"), [])

    def secured(self, host: str = HOME) -> Line:
        """Return a session under TLS, greeted."""
        line = self.world.connect("submission", (host, 40000))
        self.world.say(line, b"EHLO pc.example\r\nSTARTTLS\r\n")
        line.start_tls()
        self.world.say(line, b"EHLO pc.example\r\n")
        return line

    def say(self, line: Line, octets: bytes) -> bytes:
        """Send a line; return the code and the enhanced code of the last line of the reply."""
        return self.code(self.world.say(line, octets + b"\r\n"))

    def code(self, answer: bytes) -> bytes:
        return b" ".join(answer.splitlines()[-1].split(b" ")[:2]) if answer else b""

    def put(self, line: Line, octets: bytes) -> bytes:
        """Send a line that gets a question; return the question."""
        answer = self.world.say(line, octets + b"\r\n")
        self.assertEqual(answer[:4], b"334 ", answer)
        return b64decode(answer[4:])

    def scram(self, line: Line, client: AnyClient, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
        """Go through an exchange; return how it ended."""
        question = self.put(line, b"AUTH %s %s" % (mechanism, b64encode(client.first())))
        answer = self.world.say(line, b64encode(client.final(question)) + b"\r\n")
        if not answer.startswith(b"334 "):
            return self.code(answer)
        client.trust(b64decode(answer[4:]))
        return self.say(line, b"")

    def plain(self, password: str = "wonderland", user: str = ALICE) -> bytes:
        return b"AUTH PLAIN " + b64encode(f"\0{user}\0{password}".encode())

    def logins(self, *facts: str) -> list[tuple[object, ...]]:
        return [tuple(record[fact] for fact in facts) for record in self.world.journal.of("smtp.login")]


class ScramTest(LoginsCase):
    def test_it_logs_in_and_sends(self) -> None:
        line = self.secured()
        self.assertEqual(self.scram(line, Client("Alice@acme.example", "wonderland")), b"235 2.7.0")
        self.assertEqual(self.say(line, b"MAIL FROM:<alice@acme.example>"), b"250 2.1.0")
        self.assertEqual(self.world.offload.ran, 0)
        self.assertEqual(
            self.logins("mechanism", "result", "user"), [("SCRAM-SHA-256", "accepted", "Alice@acme.example")]
        )

    def test_it_may_begin_without_an_initial_response(self) -> None:
        line, client = self.secured(), Client(ALICE, "wonderland")
        self.assertEqual(self.put(line, b"AUTH SCRAM-SHA-256"), b"")
        question = self.put(line, b64encode(client.first()))
        client.trust(self.put(line, b64encode(client.final(question))))
        self.assertEqual(self.say(line, b""), b"235 2.7.0")

    def test_bound_to_the_connection(self) -> None:
        line = self.secured()
        client = BindingClient(ALICE, "wonderland", binding=BINDING)
        self.assertEqual(self.scram(line, client, b"SCRAM-SHA-256-PLUS"), b"235 2.7.0")
        self.assertEqual(self.logins("mechanism", "result"), [("SCRAM-SHA-256-PLUS", "accepted")])

    def test_bound_to_another_connection(self) -> None:
        client = BindingClient(ALICE, "wonderland", binding=b"x" * 32)
        self.assertEqual(self.scram(self.secured(), client, b"SCRAM-SHA-256-PLUS"), b"535 5.7.8")

    def test_whoever_took_plus_out_of_the_offer_is_found_out(self) -> None:
        for mechanism, header in ((b"SCRAM-SHA-256", "y,,"), (b"SCRAM-SHA-256-PLUS", "n,,")):
            client = BindingClient(ALICE, "wonderland", header)
            said = b"AUTH %s %s" % (mechanism, b64encode(client.first()))
            self.assertEqual(self.say(self.secured(), said), b"535 5.7.8")
        self.assertEqual(
            self.logins("reason"), [("channel binding was offered and not seen",), ("no channel binding with -PLUS",)]
        )

    def test_without_tls_there_is_nothing_to_bind_to(self) -> None:
        self.build(Tls(enabled=False))
        line = self.world.connect("submission", ("127.0.0.1", 40000))
        self.assertIn(b"AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n", self.world.say(line, b"EHLO pc.example\r\n"))
        self.assertEqual(self.say(line, b"AUTH SCRAM-SHA-256-PLUS"), b"504 5.5.4")
        self.assertEqual(self.scram(line, BindingClient(ALICE, "wonderland", "y,,")), b"235 2.7.0")
        line = self.world.connect("submission", (HOME, 40000))
        self.assertNotIn(b"AUTH", self.world.say(line, b"EHLO pc.example\r\n"))
        self.assertEqual(self.say(line, b"AUTH SCRAM-SHA-256"), b"530 5.7.0")

    def test_who_cannot_log_in_is_asked_like_anybody_and_refused_at_the_end(self) -> None:
        for user, password, reason in (
            (ALICE, "Wonderland", "wrong password"),
            ("bob@acme.example", "builder", "the mailbox is switched off"),
            ("carol@acme.example", "", "nobody logs in with this address by SCRAM"),
            ("nobody@acme.example", "x", "nobody logs in with this address by SCRAM"),
            ("no address", "x", "nobody logs in with this address by SCRAM"),
        ):
            line = self.secured()
            self.assertEqual(self.scram(line, Client(user, password)), b"535 5.7.8", user)
            self.assertEqual(self.logins("reason", "result")[-1], (reason, "refused"))
            self.assertEqual(self.say(line, b"MAIL FROM:<>"), b"530 5.7.0")

    def test_the_same_name_gets_the_same_salt_each_time(self) -> None:
        def salt(user: str) -> bytes:
            first = b"AUTH SCRAM-SHA-256 " + b64encode(Client(user, "x").first())
            return self.put(self.secured(), first).split(b",")[1]

        users = (ALICE, "nobody@acme.example", "carol@acme.example", "no address")
        salts = [salt(user) for user in users]
        self.assertEqual(len(set(salts)), 4)
        self.assertEqual([salt(user) for user in users], salts)
        self.assertEqual(salt("NoBody@ACME.example"), salts[1])
        self.assertEqual({len(each) for each in salts}, {len(b"s=") + 24})

    def test_nonces_are_new_each_time(self) -> None:
        first = b"AUTH SCRAM-SHA-256 " + b64encode(Client(ALICE, "wonderland").first())
        questions = {self.put(self.secured(), first) for _ in range(5)}
        self.assertEqual(len(questions), 5)

    def test_an_organisation_without_scram(self) -> None:
        self.world.switch_scram_off()
        line = self.secured()
        self.assertEqual(self.scram(line, Client(ALICE, "wonderland")), b"535 5.7.8")
        self.assertEqual(self.say(line, self.plain()), b"235 2.7.0")

    def test_a_password_that_changes_meanwhile(self) -> None:
        line, client = self.secured(), Client(ALICE, "wonderland")
        question = self.put(line, b"AUTH SCRAM-SHA-256 " + b64encode(client.first()))
        self.world.credential(ALICE, "mirror")
        self.assertEqual(self.say(line, b64encode(client.final(question))), b"535 5.7.8")

    def test_who_does_not_take_our_proof_is_not_in(self) -> None:
        for line_of_client, code in ((b"*", b"501 5.7.0"), (b64encode(b"x"), b"501 5.5.2")):
            line, client = self.secured(), Client(ALICE, "wonderland")
            question = self.put(line, b"AUTH SCRAM-SHA-256 " + b64encode(client.first()))
            self.put(line, b64encode(client.final(question)))
            self.assertEqual(self.say(line, line_of_client), code)
            self.assertEqual(self.say(line, b"MAIL FROM:<alice@acme.example>"), b"530 5.7.0")
            self.assertEqual(self.scram(line, Client(ALICE, "wonderland")), b"235 2.7.0")
        self.assertEqual(self.logins("result"), [("accepted",)] * 2)

    def test_three_failures_and_the_line_is_closed(self) -> None:
        line = self.secured()
        for _ in range(3):
            self.assertEqual(self.scram(line, Client(ALICE, "x")), b"535 5.7.8")
        self.assertEqual(self.say(line, b"AUTH SCRAM-SHA-256"), b"421 4.7.0")
        self.assertTrue(line.closed)

    def test_it_can_be_called_off_and_what_is_no_message_is_no_failure(self) -> None:
        line = self.secured()
        for _ in range(4):
            self.put(line, b"AUTH SCRAM-SHA-256")
            self.assertEqual(self.say(line, b"*"), b"501 5.7.0")
            self.assertEqual(self.say(line, b"AUTH SCRAM-SHA-256 " + b64encode(b"hello")), b"501 5.5.2")
        self.assertEqual(self.scram(line, Client(ALICE, "wonderland")), b"235 2.7.0")

    def test_a_directory_that_is_down_refuses_nobody(self) -> None:
        line, client = self.secured(), Client(ALICE, "wonderland")
        question = self.put(line, b"AUTH SCRAM-SHA-256 " + b64encode(client.first()))
        self.world.directory.reachable = False
        self.assertEqual(self.say(line, b64encode(client.final(question))), b"454 4.7.0")
        self.assertEqual(self.say(line, b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=a,r=b")), b"454 4.7.0")
        self.world.directory.reachable = True
        self.assertEqual(self.scram(line, Client(ALICE, "wonderland")), b"235 2.7.0")

    def test_acting_for_somebody_else(self) -> None:
        for authzid, code in ((ALICE, b"235 2.7.0"), ("bob@acme.example", b"535 5.7.8")):
            client = BindingClient(ALICE, "wonderland", f"n,a={authzid},")
            self.assertEqual(self.scram(self.secured(), client), code)


class FailuresTest(LoginsCase):
    def fail(self, times: int, host: str = HOME, user: str = ALICE) -> None:
        """Let so many logins fail, each as late as it may."""
        for _ in range(times):
            line = self.secured(host)
            line.send(self.plain("wrong", user) + b"\r\n")
            self.world.advance(11)
            self.assertEqual(self.code(line.take()), b"535 5.7.8")

    def waits(self, line: Line) -> int:
        """Log in with the right password; return how many seconds it takes."""
        code = self.say(line, self.plain())
        for tenths in range(200):
            if code:
                self.assertEqual(code, b"235 2.7.0")
                return tenths // 10
            self.world.advance(0.1, 0.1)
            code = self.code(line.take())
        raise AssertionError("no answer for 20 s")

    def test_failures_slow_the_next_and_a_success_forgives_them(self) -> None:
        self.fail(4)
        self.assertEqual(self.waits(self.secured()), 0)
        self.fail(7)
        self.assertEqual(self.waits(self.secured()), 4)
        self.assertEqual(self.waits(self.secured()), 0)

    def test_then_the_place_is_refused_for_that_account_only_and_only_for_a_while(self) -> None:
        self.fail(15)
        ran = self.world.offload.ran
        line = self.secured()
        self.assertEqual(self.say(line, self.plain()), b"454 4.7.0")
        self.assertEqual(self.scram(line, Client(ALICE, "wonderland")), b"454 4.7.0")
        self.assertEqual(self.world.offload.ran, ran)
        self.assertEqual(self.logins("result")[-2:], [("throttled",)] * 2)
        self.assertEqual(self.say(line, self.plain("x", "carol@acme.example")), b"535 5.7.8")
        self.assertEqual(self.waits(self.secured(ELSEWHERE)), 0)
        self.world.advance(WINDOW_SECONDS)
        self.assertEqual(self.waits(self.secured()), 0)

    def test_proofs_count_as_passwords_do(self) -> None:
        for _ in range(5):
            self.assertEqual(self.scram(self.secured(), Client(ALICE, "x")), b"535 5.7.8")
        line, client = self.secured(), Client(ALICE, "wonderland")
        question = self.put(line, b"AUTH SCRAM-SHA-256 " + b64encode(client.first()))
        self.assertEqual(self.world.say(line, b64encode(client.final(question)) + b"\r\n"), b"")
        self.world.advance(1.1)
        self.assertEqual(line.take()[:4], b"334 ")
        self.assertEqual(self.say(line, b""), b"235 2.7.0")

    def test_a_network_of_ipv6_is_one_place(self) -> None:
        self.fail(15, "2001:db8::1")
        self.assertEqual(self.say(self.secured("2001:db8::2"), self.plain()), b"454 4.7.0")
        self.assertEqual(self.say(self.secured("2001:db8:0:1::1"), self.plain()), b"235 2.7.0")

    def test_who_guesses_at_many_accounts_is_slowed_then_refused_and_who_was_there_before_is_not(self) -> None:
        for number in range(100):
            if number == 30:
                self.assertEqual(self.waits(self.secured()), 1)
            line = self.secured()
            if self.say(line, self.plain("x", f"user{number}@acme.example")) == b"":
                self.world.advance(10.1, 5)
            line.hang_up()
        self.assertEqual(self.say(self.secured(), self.plain("x", "carol@acme.example")), b"454 4.7.0")
        self.assertEqual(self.waits(self.secured()), 0)

    def test_nobody_can_lock_an_account_out(self) -> None:
        self.assertEqual(self.waits(self.secured()), 0)
        for number in range(100):
            self.say(self.secured(f"203.0.113.{number}"), self.plain("x"))
            self.world.advance(6)
        self.assertEqual(self.waits(self.secured()), 0)
        self.assertEqual(self.waits(self.secured(ELSEWHERE)), 5)
        self.assertEqual(self.waits(self.secured(ELSEWHERE)), 0)

    def test_what_is_no_login_is_no_failure(self) -> None:
        for _ in range(30):
            self.assertEqual(self.say(self.secured(), b"AUTH PLAIN " + b64encode(b"\0ann")), b"501 5.5.2")
        self.assertEqual(self.waits(self.secured()), 0)

    def test_who_leaves_waits_no_more(self) -> None:
        self.fail(6)
        timers = len(self.world.clock.getDelayedCalls())
        line = self.secured()
        self.say(line, self.plain())
        line.hang_up()
        self.world.turn()
        self.assertEqual(len(self.world.clock.getDelayedCalls()), timers)
        self.assertEqual(self.logins("result", "reason")[-1], ("deferred", "the peer is gone"))

    def test_only_so_many_wait(self) -> None:
        self.fail(6)
        lines = [self.secured() for _ in range(12)]
        codes = [self.say(line, self.plain()) for line in lines]
        self.assertEqual(codes, [b""] * 10 + [b"454 4.7.0"] * 2)
        self.assertEqual(self.logins("result")[-1], ("throttled",))
        self.world.advance(2.1)
        self.assertEqual(self.code(lines[0].take()), b"235 2.7.0")

    def test_who_waited_while_others_failed_waits_on(self) -> None:
        self.fail(5)
        lines = [self.secured() for _ in range(4)]
        for number, line in enumerate(lines):
            self.say(line, self.plain(f"wrong {number}"))
        refused = []
        for seconds in (1.1, 1.0, 2.0, 4.0):
            self.world.advance(seconds, 0.1)
            refused.append([self.code(line.take()) for line in lines].count(b"535 5.7.8"))
        self.assertEqual(refused, [1, 1, 1, 1])
        self.assertEqual(self.waits(self.secured()), 10)

    def test_another_process_knows_of_it(self) -> None:
        self.fail(15)
        self.world = self.world.another()
        self.world.tls.configured = True
        self.assertEqual(self.say(self.secured(), self.plain()), b"454 4.7.0")

    def test_without_redis_each_process_counts_for_itself_and_tells_it_once(self) -> None:
        self.world.counters.reachable = False
        self.fail(15)
        self.assertEqual(self.say(self.secured(), self.plain()), b"454 4.7.0")
        told = [facts for facts in self.world.journal.of("store.unavailable") if facts["dependency"] == "redis"]
        self.assertEqual([facts["task"] for facts in told], ["count failed logins"])
        self.world.counters.reachable = True
        self.assertEqual(self.say(self.secured(), self.plain()), b"454 4.7.0")
        self.assertEqual(self.say(self.secured(ELSEWHERE), self.plain()), b"235 2.7.0")
        self.world.counters.reachable = False
        self.assertEqual(self.say(self.secured(ELSEWHERE), self.plain()), b"235 2.7.0")
        told = [facts for facts in self.world.journal.of("store.unavailable") if facts["dependency"] == "redis"]
        self.assertEqual(len(told), 2)
