"""mtad.adapters.resolver, its parts that wait for nothing: codec, cache, the system's servers."""

from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rrset
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.resolver.cache import MAX_NEGATIVE_TTL_SECONDS, Cache
from mtad.adapters.resolver.codec import MAX_RECORDS, Query, Reply, Retry, is_name
from mtad.adapters.resolver.servers import DEFAULT, system_servers
from mtad.model.answer import Answer, Kind, MailExchange, Question, Status
from mtad.model.endpoint import HostPort

QUERY = Query(Question("host.example", Kind.MX), 0x1234)


def answer_wire(*records: str) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(QUERY.encode()), recursion_available=True)
    for name, kind, data in (record.split(" ", 2) for record in records):
        reply.answer.append(dns.rrset.from_text(name, 300, "IN", kind, data))
    return reply.to_wire()


WIRE = answer_wire("host.example. CNAME real.example.", "real.example. MX 10 mx.example.")


class DecodeTest(SynchronousTestCase):
    def test_the_wire_used_below_is_an_answer(self) -> None:
        reply = QUERY.decode(WIRE)
        self.assertIsInstance(reply, Reply)
        self.assertEqual((reply.records, reply.cnames), ((MailExchange(10, "mx.example"),), 1))

    @given(st.binary(max_size=200))
    def test_any_octets_after_our_identifier_are_judged(self, octets: bytes) -> None:
        self.assertIsInstance(QUERY.decode(b"\x12\x34\x80" + octets), Reply | Retry | None)

    @given(st.lists(st.tuples(st.integers(2, len(WIRE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
    def test_an_answer_with_octets_changed_is_judged(self, changes: list[tuple[int, int]]) -> None:
        octets = bytearray(WIRE)
        for at, value in changes:
            octets[at] = value
        self.assertIsInstance(QUERY.decode(bytes(octets)), Reply | Retry | None)

    @given(st.integers(0, 4095), st.integers(0, 65535), st.binary(max_size=20))
    def test_any_code_with_any_extended_error_is_judged(self, code: int, error: int, words: bytes) -> None:
        option = dns.edns.GenericOption(dns.edns.OptionType.EDE, error.to_bytes(2, "big") + words)
        reply = dns.message.make_response(dns.message.from_wire(QUERY.encode()), recursion_available=True)
        reply.use_edns(0, options=[option])
        reply.set_rcode(code)
        judged = QUERY.decode(reply.to_wire())
        self.assertIsInstance(judged, Reply | Retry)
        if isinstance(judged, Reply):
            self.assertTrue(judged.words.isprintable())

    def test_more_records_than_may_be_are_not_even_read(self) -> None:
        header = b"\x12\x34\x81\x80\x00\x01" + (MAX_RECORDS + 1).to_bytes(2, "big") + bytes(4)
        self.assertEqual(QUERY.decode(header + WIRE[12:]).status, Status.SERVFAIL)

    def test_an_update_or_a_query_is_no_answer(self) -> None:
        self.assertIsNone(QUERY.decode(QUERY.encode()))
        flags = dns.flags.QR | dns.opcode.to_flags(dns.opcode.UPDATE)
        self.assertIsNone(QUERY.decode(WIRE[:2] + flags.to_bytes(2, "big") + WIRE[4:]))

    def test_case_makes_no_difference(self) -> None:
        self.assertEqual(QUERY.decode(WIRE.replace(b"host", b"hOsT")).status, Status.FOUND)

    @given(st.text(max_size=80))
    def test_what_is_a_name_can_be_asked(self, text: str) -> None:
        if is_name(text):
            self.assertTrue(Query(Question(text, Kind.A), 1).encode())


def found(n: int, *, octets: int = 10, ttl: float = 60.0, status: Status = Status.FOUND) -> Answer:
    return Answer(Question(f"n{n}.example", Kind.TXT), status, (b"x" * octets,), ttl_seconds=ttl)


class CacheTest(SynchronousTestCase):
    def test_entries_are_bounded_and_the_least_asked_goes_first(self) -> None:
        cache = Cache(max_entries=3)
        for n in range(3):
            cache.put(found(n), 0)
        cache.get(found(0).question, 1)
        cache.put(found(3), 2)
        self.assertEqual([n for n in range(4) if cache.get(found(n).question, 3)], [0, 2, 3])

    def test_memory_is_bounded(self) -> None:
        cache = Cache(max_octets=100_000)
        for n in range(100):
            cache.put(found(n, octets=10_000), 0)
        self.assertLess(len(cache), 10)
        self.assertGreater(len(cache), 5)
        cache.put(found(1000, octets=200_000), 0)
        self.assertEqual(len(cache), 0)

    def test_room_comes_back_when_an_answer_is_replaced_or_is_over(self) -> None:
        cache = Cache(max_octets=25_000)
        for _ in range(10):
            cache.put(found(1, octets=10_000, ttl=5), 0)
        self.assertIsNone(cache.get(found(1).question, 5))
        cache.put(found(2, octets=10_000), 5)
        cache.put(found(3, octets=10_000), 5)
        self.assertEqual(len(cache), 2)

    def test_negative_answers_are_kept_for_less(self) -> None:
        kept = Cache().put(found(1, status=Status.NO_NAME, ttl=3000), 0)
        self.assertEqual(kept.ttl_seconds, MAX_NEGATIVE_TTL_SECONDS)

    def test_trouble_is_never_kept(self) -> None:
        cache = Cache()
        for trouble in (Status.SERVFAIL, Status.REFUSED, Status.TIMEOUT, Status.BOGUS):
            cache.put(found(1, status=trouble), 0)
        self.assertEqual(len(cache), 0)


class SystemServersTest(SynchronousTestCase):
    def servers(self, text: str) -> tuple[HostPort, ...]:
        path = Path(self.mktemp())
        path.write_text(text)
        return system_servers(path)

    def test_name_servers_in_their_order_each_once(self) -> None:
        text = "# nameserver 192.0.2.9\nsearch a.example\nnameserver ::1\n nameserver\t192.0.2.1 # it\nnameserver ::1\n"
        self.assertEqual(self.servers(text), (HostPort("::1", 53), HostPort("192.0.2.1", 53)))
        self.assertEqual(self.servers("nameserver fe80::1%eth0\n"), (HostPort("fe80::1%eth0", 53),))

    def test_none_named_means_this_machine(self) -> None:
        for text in (
            "",
            "nameserver\nnameserver localhost\n",
            "\udcff".encode("utf-8", "surrogatepass").decode("latin1"),
        ):
            self.assertEqual(self.servers(text), (DEFAULT,))
        self.assertEqual(system_servers(Path(self.mktemp())), (DEFAULT,))
