"""IResolver: what the DNS says, from scripted servers on loopback and from the twin."""

from collections.abc import Iterable
from random import Random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters.network import SocketNetwork
from mtad.adapters.resolver.cache import (
    MAX_NEGATIVE_TTL_SECONDS,
    MAX_TTL_SECONDS,
    STALE_SECONDS,
    STALE_TTL_SECONDS,
)
from mtad.adapters.resolver.carriage import MAX_STRANGERS
from mtad.adapters.resolver.codec import MAX_CNAMES, UDP_OCTETS
from mtad.adapters.resolver.stub import SILENT_SERVER_LAST_SECONDS, Servers, StubResolver
from mtad.interfaces import IResolver
from mtad.model.answer import Answer, Kind, MailExchange, Question, Status
from mtad.testing.journal import MemoryJournal
from mtad.testing.resolver import MemoryResolver
from tests.contract.nameserver import NEGATIVE_TTL, TCP, UDP, NameServer

TIMEOUT = 5.0
LOOPBACK = "127.0.0.1"
TROUBLES = (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.BOGUS)


class ResolverContract:
    """Subclasses give `self.resolver`, and `self.zone` and `self.trouble` that it answers from."""

    timeout = 20
    resolver: IResolver
    zone: dict[str, list[str]]
    trouble: dict[str | Question, Status]

    async def ask(self, name: str, kind: Kind = Kind.A) -> Answer:
        question = Question(name, kind)
        answer = await self.resolver.resolve(question)
        self.assertEqual(answer.question, question)
        return answer

    def test_it_provides_the_port(self) -> None:
        self.assertTrue(verifyObject(IResolver, self.resolver))

    async def test_records_of_every_kind(self) -> None:
        self.zone["all.example"] = [
            "A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "MX 10 MX.All.example", "MX 20 b.example",
            "TXT v=spf1 -all", "PTR Host.example",
        ]  # fmt: skip
        expected = {
            Kind.A: {"192.0.2.1", "192.0.2.2"},
            Kind.AAAA: {"2001:db8::1"},
            Kind.MX: {MailExchange(10, "mx.all.example"), MailExchange(20, "b.example")},
            Kind.TXT: {b"v=spf1 -all"},
            Kind.PTR: {"host.example"},
        }
        for kind, records in expected.items():
            answer = await self.ask("all.example", kind)
            self.assertEqual((answer.status, set(answer.records)), (Status.FOUND, records))
            self.assertEqual((answer.canonical, answer.authentic), ("all.example", False))
            self.assertGreater(answer.ttl_seconds, 0)

    async def test_the_root_as_exchange_is_the_empty_name(self) -> None:
        self.zone["null.example"] = ["MX 0 ."]
        self.assertEqual((await self.ask("null.example", Kind.MX)).records, (MailExchange(0, ""),))

    async def test_odd_octets_in_names_are_escaped(self) -> None:
        self.zone["odd.example"] = ["MX 1 a\\032\\000b.example"]
        self.assertEqual((await self.ask("odd.example", Kind.MX)).exchanges[0].host, "a\\032\\000b.example")

    async def test_no_name_and_no_data_are_two_answers(self) -> None:
        self.zone["host.inner.example"] = ["A 192.0.2.1"]
        for name, kind, status in (
            ("nowhere.example", Kind.A, Status.NO_NAME),
            ("host.inner.example", Kind.AAAA, Status.NO_DATA),
            ("inner.example", Kind.A, Status.NO_DATA),
        ):
            answer = await self.ask(name, kind)
            self.assertEqual((answer.status, answer.records, answer.temporary), (status, (), False))

    async def test_troubles_are_told_apart_and_pass(self) -> None:
        self.zone["host.example"] = ["A 192.0.2.1"]
        for trouble in TROUBLES:
            self.trouble["host.example"] = trouble
            answer = await self.ask("host.example")
            self.assertEqual((answer.status, answer.records, answer.temporary), (trouble, (), True))
            self.assertTrue(answer.detail)
        self.trouble.clear()
        self.assertEqual((await self.ask("host.example")).status, Status.FOUND)

    async def test_trouble_with_one_question_leaves_the_others(self) -> None:
        self.zone["host.example"] = ["A 192.0.2.1", "AAAA 2001:db8::1"]
        self.trouble[Question("host.example", Kind.AAAA)] = Status.SERVFAIL
        self.assertEqual((await self.ask("host.example", Kind.AAAA)).status, Status.SERVFAIL)
        self.assertEqual((await self.ask("host.example")).status, Status.FOUND)

    async def test_cnames_are_followed_to_whatever_is_there(self) -> None:
        self.zone["a.example"] = ["CNAME B.example"]
        self.zone["b.example"] = ["CNAME c.example"]
        self.zone["c.example"] = ["A 192.0.2.1"]
        found = await self.ask("a.example")
        self.assertEqual((found.names, found.canonical), (("192.0.2.1",), "c.example"))
        self.assertEqual((await self.ask("a.example", Kind.MX)).status, Status.NO_DATA)
        self.assertEqual((await self.ask("a.example", Kind.CNAME)).names, ("b.example",))
        self.zone["d.example"] = ["CNAME nowhere.example"]
        self.assertEqual((await self.ask("d.example")).status, Status.NO_NAME)

    async def test_cnames_are_bounded(self) -> None:
        self.zone |= {f"a{n}.example": [f"CNAME a{n + 1}.example"] for n in range(MAX_CNAMES + 1)}
        self.zone[f"a{MAX_CNAMES + 1}.example"] = ["A 192.0.2.1"]
        self.assertEqual((await self.ask("a1.example")).names, ("192.0.2.1",))
        self.assertEqual((await self.ask("a0.example")).status, Status.SERVFAIL)

    async def test_cnames_in_a_circle_are_trouble(self) -> None:
        self.zone |= {"a.example": ["CNAME b.example"], "b.example": ["CNAME a.example"]}
        self.assertEqual((await self.ask("a.example")).status, Status.SERVFAIL)

    async def test_a_name_that_cannot_be_does_not_exist(self) -> None:
        for name in ("a" * 64 + ".example", "a..example", "a." * 127 + "aa", "caf\u00e9.example", "\\999.example"):
            self.assertEqual((await self.ask(name)).status, Status.NO_NAME, name)

    async def test_many_questions_at_once_have_their_own_answers(self) -> None:
        self.zone |= {f"host{n}.example": [f"A 192.0.2.{n}"] for n in range(50)}
        asked = [Deferred.fromCoroutine(self.ask(f"host{n}.example")) for n in range(50)]
        answers = await gatherResults(asked)
        self.assertEqual([answer.names for answer in answers], [(f"192.0.2.{n}",) for n in range(50)])


class MemoryResolverTest(ResolverContract, TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = MemoryResolver(self.clock)
        self.zone, self.trouble = self.resolver.zone, self.resolver.trouble

    async def test_an_outage_is_everywhere_and_ends(self) -> None:
        self.zone["host.example"] = ["A 192.0.2.1"]
        self.resolver.outage = Status.TIMEOUT
        self.assertEqual((await self.ask("host.example")).status, Status.TIMEOUT)
        self.resolver.outage = None
        self.assertEqual((await self.ask("host.example")).status, Status.FOUND)
        self.assertEqual(self.resolver.asked, [Question("host.example", Kind.A)] * 2)

    def test_a_delay_is_the_clock_s(self) -> None:
        self.resolver.delay_seconds = 2
        asked = Deferred.fromCoroutine(self.ask("host.example"))
        self.clock.advance(1.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(asked).status, Status.NO_NAME)


class StubResolverCase(TestCase):
    """A resolver over one or more scripted servers. Its Clock stands, but for answers that do not come."""

    timeout = 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.random = Random(3)
        self.journal = MemoryJournal()
        self.zone: dict[str, list[str]] = {"host.example": ["A 192.0.2.1"]}
        self.trouble: dict[str | Question, Status] = {}
        self.server = self.serve()
        self.resolver = self.over(self.server)

    def serve(self, host: str = LOOPBACK) -> NameServer:
        server = NameServer(reactor, self.zone, self.trouble, host)
        server.unanswered = lambda: self.clock.advance(TIMEOUT)
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        return server

    def over(self, *servers: NameServer, trust_ad: bool = False) -> StubResolver:
        resolver = StubResolver(
            reactor=reactor,
            network=SocketNetwork(reactor),
            clock=self.clock,
            random=self.random,
            journal=self.journal,
            servers=Servers(tuple(server.place for server in servers), TIMEOUT, trust_ad),
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(resolver.stop()))
        return resolver

    async def ask(self, name: str = "host.example", kind: Kind = Kind.A) -> Answer:
        return await self.resolver.resolve(Question(name, kind))

    def tearDown(self) -> None:
        self.assertEqual(self.journal.records, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StubResolverTest(ResolverContract, StubResolverCase):
    """The contract over one server."""

    async def ask(self, name: str, kind: Kind = Kind.A) -> Answer:
        return await ResolverContract.ask(self, name, kind)


class WireTest(StubResolverCase):
    """What goes over the network, and what is taken from it."""

    async def test_queries_ask_for_recursion_and_say_what_fits(self) -> None:
        await self.ask()
        (query, over, _), *rest = self.server.heard
        self.assertEqual((query.flags, query.edns, query.payload, over), (dns.flags.RD, 0, UDP_OCTETS, UDP))
        self.assertEqual(rest, [])

    async def test_each_query_has_a_port_and_an_identifier_by_chance(self) -> None:
        for n in range(8):
            await self.ask(f"n{n}.example")
        ports = {port for _, _, port in self.server.heard}
        identifiers = {query.id for query, _, _ in self.server.heard}
        self.assertEqual((len(ports), len(identifiers)), (8, 8))
        first = Random(3)
        self.assertIn(first.getrandbits(16), identifiers)
        self.assertIn(first.randint(1024, 65535), ports)

    async def test_what_does_not_fit_comes_over_tcp(self) -> None:
        self.zone["large.example"] = [f"TXT {'x' * 100} {n}" for n in range(100)]
        answer = await self.ask("large.example", Kind.TXT)
        self.assertEqual((answer.status, len(answer.texts)), (Status.FOUND, 100))
        self.assertEqual([over for _, over, _ in self.server.heard], [UDP, TCP])

    async def test_what_is_too_large_for_anybody_is_trouble(self) -> None:
        self.zone["huge.example"] = [f"TXT {'x' * 200} {n}" for n in range(250)]
        self.assertEqual((await self.ask("huge.example", Kind.TXT)).status, Status.TIMEOUT)
        self.zone["many.example"] = [f"A 10.0.{n // 250}.{n % 250}" for n in range(1100)]
        self.assertEqual((await self.ask("many.example")).status, Status.SERVFAIL)

    async def test_silence_over_tcp_is_a_timeout(self) -> None:
        self.server.script = lambda query, over: [self.server.truncated(query)] if over == UDP else []
        self.assertEqual((await self.ask()).status, Status.TIMEOUT)
        self.assertEqual([over for _, over, _ in self.server.heard], [UDP, TCP] * 2)

    async def test_truncation_over_tcp_is_trouble(self) -> None:
        self.server.script = lambda query, over: [self.server.truncated(query)]
        self.assertEqual((await self.ask()).status, Status.SERVFAIL)

    async def test_answers_to_others_are_passed_over(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            (right,) = self.server.from_zone(query, over)
            false = dns.message.make_query("host.example", "A", id=query.id ^ 1)
            other = dns.message.make_query("other.example", "A", id=query.id)
            lies = [dns.message.make_response(lie, recursion_available=True) for lie in (false, other)]
            for lie in lies:
                lie.answer.append(dns.rrset.from_text(lie.question[0].name, 60, "IN", "A", "198.51.100.66"))
            return [b"", right[:5], query.to_wire(), *(lie.to_wire() for lie in lies), right]

        self.server.script = script
        self.assertEqual((await self.ask()).names, ("192.0.2.1",))

    async def test_somebody_who_guesses_gets_another_riddle(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            if len(self.server.heard) == 1:
                (right,) = self.server.from_zone(query, over)
                return [bytes([right[0] ^ 1]) + right[1:]] * MAX_STRANGERS
            return self.server.from_zone(query, over)

        self.server.script = script
        self.assertEqual((await self.ask()).status, Status.FOUND)
        self.assertEqual(len({(query.id, port) for query, _, port in self.server.heard}), 2)

    async def test_records_of_other_names_are_not_the_answer(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            reply = self.server.reply(query)
            for name, address in (("evil.example", "198.51.100.66"), ("host.example", "192.0.2.1")):
                reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", address))
            return [reply.to_wire()]

        self.server.script = script
        self.assertEqual((await self.ask()).names, ("192.0.2.1",))
        self.assertEqual((await self.ask("evil.example")).names, ("198.51.100.66",))
        self.assertEqual(self.server.asked(), ["host.example", "evil.example"])

    async def test_what_is_no_message_is_trouble(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            (right,) = self.server.from_zone(query, over)
            return [right[:-7]]

        self.server.script = script
        answer = await self.ask()
        self.assertEqual(answer.status, Status.SERVFAIL)
        self.assertIn("malformed", answer.detail)

    async def test_servers_without_edns_are_asked_without(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            if query.edns < 0:
                return self.server.from_zone(query, over)
            reply = dns.message.Message(id=query.id)
            reply.flags = dns.flags.QR
            reply.set_rcode(dns.rcode.FORMERR)
            return [reply.to_wire()]

        self.server.script = script
        self.assertEqual((await self.ask()).status, Status.FOUND)

    async def test_a_server_of_the_other_family(self) -> None:
        self.resolver = self.over(self.serve("::1"))
        self.zone["large.example"] = [f"TXT {'x' * 100} {n}" for n in range(50)]
        self.assertEqual((await self.ask()).status, Status.FOUND)
        self.assertEqual((await self.ask("large.example", Kind.TXT)).status, Status.FOUND)


class JudgementTest(StubResolverCase):
    """A resolver's fault is never a permanent failure."""

    def lame(self, code: dns.rcode.Rcode, *authority: str, flags: int = 0) -> None:
        def script(query: dns.message.Message, _over: str) -> Iterable[bytes]:
            reply = dns.message.make_response(query)
            reply.set_rcode(code)
            reply.flags |= flags
            for kind, data in (line.split(" ", 1) for line in authority):
                reply.authority.append(dns.rrset.from_text("example.", 60, "IN", kind, data))
            return [reply.to_wire()]

        self.server.script = script

    async def test_a_referral_is_no_answer(self) -> None:
        self.lame(dns.rcode.NOERROR, "NS ns.example.", flags=dns.flags.RA)
        self.assertEqual((await self.ask()).status, Status.SERVFAIL)

    async def test_nothing_from_one_who_does_not_resolve_is_no_answer(self) -> None:
        for code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            self.lame(code)
            self.assertEqual((await self.ask()).status, Status.SERVFAIL)

    async def test_nothing_without_an_soa_is_no_data_now_and_not_remembered(self) -> None:
        self.lame(dns.rcode.NOERROR, flags=dns.flags.RA)
        for _ in range(2):
            self.assertEqual((await self.ask()).status, Status.NO_DATA)
        self.assertEqual(len(self.server.heard), 2)

    async def test_a_contradiction_is_trouble(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            reply = dns.message.from_wire(*self.server.from_zone(query, over))
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return [reply.to_wire()]

        self.server.script = script
        self.assertEqual((await self.ask()).status, Status.SERVFAIL)

    async def test_chains_over_several_messages_are_followed_and_bounded(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            reply = dns.message.from_wire(*self.server.from_zone(query, over))
            reply.answer, reply.authority = reply.answer[:1], []
            return [reply.to_wire()]

        self.server.script = script
        self.zone |= {f"a{n}.example": [f"CNAME a{n + 1}.example"] for n in range(MAX_CNAMES)}
        self.zone[f"a{MAX_CNAMES}.example"] = ["A 192.0.2.9"]
        self.zone["loop.example"] = ["CNAME loop.example"]
        self.assertEqual((await self.ask("a0.example")).names, ("192.0.2.9",))
        self.assertEqual(len(self.server.heard), MAX_CNAMES + 1)
        self.assertEqual((await self.ask("loop.example")).status, Status.SERVFAIL)
        self.assertLess(len(self.server.heard), 3 * MAX_CNAMES)

    async def test_the_servers_words_are_shown_and_escaped(self) -> None:
        words = dns.edns.EDEOption(dns.edns.EDECode.NETWORK_ERROR, "no \x1b[31m route\n" + "x" * 1000)
        self.server.script = self.server.failing(dns.rcode.SERVFAIL, words)
        answer = await self.ask()
        self.assertEqual(answer.status, Status.SERVFAIL)
        self.assertIn("NETWORK ERROR", answer.detail)
        self.assertTrue(answer.detail.isprintable())
        self.assertLess(len(answer.detail), 300)


class AuthenticTest(StubResolverCase):
    def setUp(self) -> None:
        super().setUp()
        self.server.flags = dns.flags.AD

    async def test_the_word_of_servers_counts_only_when_trusted(self) -> None:
        self.assertFalse((await self.ask()).authentic)
        self.resolver = self.over(self.server, trust_ad=True)
        for _ in range(2):
            self.assertTrue((await self.ask()).authentic)
        self.assertTrue(self.server.heard[-1][0].flags & dns.flags.AD)
        self.server.flags = 0
        self.assertFalse((await self.ask("nowhere.example")).authentic)

    async def test_a_chain_is_as_authentic_as_its_weakest_part(self) -> None:
        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            reply = dns.message.from_wire(*self.server.from_zone(query, over))
            reply.answer, reply.authority = reply.answer[:1], []
            if query.question[0].name.to_text() == "alias.example.":
                reply.flags &= ~dns.flags.AD
            return [reply.to_wire()]

        self.resolver = self.over(self.server, trust_ad=True)
        self.zone["alias.example"] = ["CNAME host.example"]
        self.server.script = script
        self.assertTrue((await self.ask()).authentic)
        self.assertFalse((await self.ask("alias.example")).authentic)


class SeveralServersTest(StubResolverCase):
    def setUp(self) -> None:
        super().setUp()
        self.second = self.serve()
        self.resolver = self.over(self.server, self.second)

    async def test_the_next_is_asked_when_one_does_not_know(self) -> None:
        for code in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
            self.server.script = self.server.failing(code)
            self.zone[f"{code}.example"] = ["A 192.0.2.1"]
            self.assertEqual((await self.ask(f"{code}.example")).status, Status.FOUND)

    async def test_a_negative_answer_is_one(self) -> None:
        self.assertEqual((await self.ask("nowhere.example")).status, Status.NO_NAME)
        self.assertEqual(self.second.heard, [])

    async def test_a_bogus_answer_is_not_asked_away(self) -> None:
        self.trouble["host.example"] = Status.BOGUS
        self.assertEqual((await self.ask()).status, Status.BOGUS)
        self.assertEqual(self.second.heard, [])

    async def test_a_silent_server_comes_last_for_a_while(self) -> None:
        self.server.script = self.server.silent
        await self.ask()
        self.assertEqual((len(self.server.heard), len(self.second.heard), self.clock.seconds()), (1, 1, TIMEOUT))
        await self.ask("a.example")
        self.assertEqual((len(self.server.heard), len(self.second.heard)), (1, 2))
        self.server.script = self.server.from_zone
        self.clock.advance(SILENT_SERVER_LAST_SECONDS)
        await self.ask("b.example")
        self.assertEqual((len(self.server.heard), len(self.second.heard)), (2, 2))

    async def test_all_are_asked_twice_before_it_is_a_timeout(self) -> None:
        self.server.script, self.second.script = self.server.silent, self.second.silent
        answer = await self.ask()
        self.assertEqual((answer.status, self.clock.seconds()), (Status.TIMEOUT, 4 * TIMEOUT))
        self.assertEqual((len(self.server.heard), len(self.second.heard)), (2, 2))

    async def test_what_a_server_said_counts_more_than_another_s_silence(self) -> None:
        self.server.script, self.second.script = self.server.failing(dns.rcode.REFUSED), self.second.silent
        self.assertEqual((await self.ask()).status, Status.REFUSED)
        self.assertEqual((len(self.server.heard), len(self.second.heard)), (1, 2))

    async def test_where_nobody_listens_no_time_is_lost(self) -> None:
        await self.server.stop()
        self.assertEqual((await self.ask()).status, Status.FOUND)
        self.assertEqual(self.clock.seconds(), 0)


class RememberedTest(StubResolverCase):
    async def test_an_answer_holds_for_its_time(self) -> None:
        self.server.ttl = 100
        self.assertEqual((await self.ask()).ttl_seconds, 100)
        self.clock.advance(99)
        self.assertEqual((await self.ask()).ttl_seconds, 1)
        self.assertEqual(len(self.server.heard), 1)
        self.clock.advance(1)
        await self.ask()
        self.assertEqual(len(self.server.heard), 2)

    async def test_no_answer_holds_for_the_soa_s_time(self) -> None:
        for name, kind in (("nowhere.example", Kind.A), ("host.example", Kind.MX)):
            self.assertEqual((await self.ask(name, kind)).ttl_seconds, NEGATIVE_TTL)
            self.clock.advance(NEGATIVE_TTL - 1)
            await self.ask(name, kind)
            self.clock.advance(1)
            await self.ask(name, kind)
        self.assertEqual(len(self.server.heard), 4)

    async def test_no_time_is_longer_than_ours(self) -> None:
        self.server.ttl = 2**31 - 1
        self.assertEqual((await self.ask()).ttl_seconds, MAX_TTL_SECONDS)
        self.assertLess(MAX_NEGATIVE_TTL_SECONDS, MAX_TTL_SECONDS)

    async def test_trouble_and_answers_without_time_are_not_remembered(self) -> None:
        self.server.ttl = 0
        await self.ask()
        await self.ask()
        self.trouble["host.example"] = Status.SERVFAIL
        await self.ask()
        await self.ask()
        self.assertEqual(len(self.server.heard), 4)

    async def test_what_was_known_lately_is_better_than_trouble(self) -> None:
        self.server.ttl = 100
        await self.ask()
        self.trouble["host.example"] = Status.SERVFAIL
        self.clock.advance(100)
        self.assertIsNone(self.resolver.known(Question("host.example", Kind.A)))
        for _ in range(2):
            stale = await self.ask()
            self.assertEqual((stale.names, stale.ttl_seconds), (("192.0.2.1",), STALE_TTL_SECONDS))
        self.assertEqual(len(self.server.heard), 2)
        self.clock.advance(STALE_SECONDS - STALE_TTL_SECONDS)
        self.assertEqual((await self.ask()).status, Status.FOUND)
        self.clock.advance(STALE_TTL_SECONDS)
        self.assertEqual((await self.ask()).status, Status.SERVFAIL)

    async def test_what_is_bogus_is_not_hidden_by_what_was_known(self) -> None:
        self.server.ttl = 100
        await self.ask()
        self.trouble["host.example"] = Status.BOGUS
        self.clock.advance(100)
        self.assertEqual((await self.ask()).status, Status.BOGUS)

    async def test_what_is_known_is_said_at_once(self) -> None:
        question = Question("host.example", Kind.A)
        self.assertIsNone(self.resolver.known(question))
        answer = await self.resolver.resolve(question)
        self.assertEqual(self.resolver.known(question), answer)

    async def test_equal_questions_share_one_query(self) -> None:
        self.server.ttl = 0
        answers = await gatherResults([Deferred.fromCoroutine(self.ask()) for _ in range(20)])
        self.assertEqual({answer.names for answer in answers}, {("192.0.2.1",)})
        self.assertEqual(len(self.server.heard), 1)

    async def test_who_stops_waiting_leaves_the_others_their_answer(self) -> None:
        first, second = (Deferred.fromCoroutine(self.ask()) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((await second).status, Status.FOUND)


class StopTest(StubResolverCase):
    async def test_who_waits_is_told(self) -> None:
        self.server.script = self.server.silent
        heard: Deferred[None] = Deferred()
        self.server.unanswered = lambda: heard.callback(None)
        asked = [Deferred.fromCoroutine(self.ask()) for _ in range(2)]
        await heard
        await self.resolver.stop()
        for answer in await gatherResults(asked):
            self.assertEqual((answer.status, answer.detail), (Status.TIMEOUT, "this server is stopping"))
        self.assertEqual((await self.ask()).status, Status.TIMEOUT)

    async def test_a_connection_under_way_ends(self) -> None:
        waits: Deferred[None] = Deferred()

        def script(query: dns.message.Message, over: str) -> Iterable[bytes]:
            if over == TCP:
                waits.callback(None)
                return []
            return [self.server.truncated(query)]

        self.server.script = script
        self.server.unanswered = lambda: None
        asked = Deferred.fromCoroutine(self.ask())
        await waits
        await self.resolver.stop()
        self.assertEqual(self.successResultOf(asked).status, Status.TIMEOUT)
