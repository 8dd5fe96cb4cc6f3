"""What no database takes as text, in whatever a peer says: it costs the one message it is in, and nobody else's.

On the queue's twin and on PostgreSQL, each field with each poison in one of 200 acceptances that go together. The
writer finds all of it before it is sent; so it is also put in on the way, where only the server can find it.
"""

from collections.abc import Iterator
from pathlib import Path

from twisted.internet.defer import Deferred, DeferredList

from mtad.model.address import Address
from mtad.model.envelope import Parameters, Recipient
from mtad.model.errors import Unacceptable
from mtad.model.event import QUARANTINED, RECEIVED, ROUTED, SIGNED, VERIFIED, Event
from mtad.model.job import Acceptance
from tests.contract.gate import Pipe
from tests.contract.letters import ALICE, LANE, NOW, gone, letter, settlement
from tests.contract.processes import ClientPipe, LosingGate, MemoryCase, PostgresCase

TOGETHER = 200
NUL = "\0"
LATIN_1 = b"\xe9".decode("utf-8", "surrogateescape")
LONE_SURROGATE = "\ud800"
# What the story of a message tells in a peer's words, or in those of its name servers; as `mtad.inbound` writes it.
FACTS = {
    RECEIVED: ("peer", "helo", "tls", "reverse_path", "message_id", "told_id", "submitter"),
    ROUTED: ("forward_path", "rule", "to", "dead_ends"),
    VERIFIED: ("spf", "dkim", "arc", "dmarc", "iprev", "dns"),
    QUARANTINED: ("rule", "reason", "recipients"),
    SIGNED: ("author", "why"),
}
LISTS = ("to", "dead_ends", "spf", "dkim", "dns", "recipients")


def columns(poison: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name of each column that has a peer's text, and the terms of a letter that has poison there."""
    inside = f"a{poison}b"
    yield "local part of the sender", {"reverse_path": Address(inside, "outside.example")}
    yield "domain of the sender", {"reverse_path": Address("ann", inside)}
    yield "RET", {"parameters": Parameters(ret=inside)}
    yield "ENVID", {"parameters": Parameters(envid=inside)}
    odd = Address(inside, "acme.example")
    for name, recipient in (
        ("forward-path", Recipient(0, odd, ALICE, LANE)),
        ("recipient", Recipient(0, ALICE, odd, LANE)),
        ("domain of the recipient", Recipient(0, ALICE, Address("alice", inside), LANE)),
        ("destination", Recipient(0, ALICE, ALICE, f"mx:{inside}")),
        ("NOTIFY", Recipient(0, ALICE, ALICE, LANE, inside)),
        ("ORCPT", Recipient(0, ALICE, ALICE, LANE, None, inside)),
    ):
        yield name, {"recipients": (recipient,)}


def facts(poison: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield the name of each fact of a story, and the terms of a letter that has poison there."""
    inside = f"a{poison}b"
    for kind, names in FACTS.items():
        for name in names:
            told = Event(kind, NOW, {name: [inside] if name in LISTS else inside})
            yield f"{name} of {kind}", {"events": (told,)}


def keys(poison: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield what a message may be found by, the same way."""
    yield "Message-ID as a key", {"keys": (f"<a{poison}b@outside.example>",)}
    yield "peer as a key", {"keys": (poison,)}


class PoisonCase:
    """`here` is a process that joined as `owner`."""

    async def begin(self) -> None:
        self.here = await self.process()
        self.queue = self.here.queue
        self.owner = (await self.here.nodes.join("here", NOW)).owner
        self.next = 1

    async def accept_with(self, odd: Acceptance) -> Exception | None:
        """Accept it amidst others, which all are accepted and then settled; return the trouble it had itself."""
        place = TOGETHER // 3
        letters = [letter(self.next + n) for n in range(TOGETHER)]
        letters[place] = odd
        accepts = [Deferred.fromCoroutine(self.queue.accept(each, self.owner)) for each in letters]
        answers = await DeferredList(accepts, consumeErrors=True)
        refused = [n for n, (accepted, _) in enumerate(answers) if not accepted]
        self.assertIn(refused, ([], [place]))
        accepted = {each.content_id for n, each in enumerate(letters) if n not in refused}
        self.assertEqual({row.message for row in await self.queue.owned(self.owner)}, accepted)
        self.assertEqual(await self.queue.waiting(odd.content_id) is None, bool(refused))
        await self.look(accepted)
        await self.queue.settle([settlement(number, gone()) for number in accepted], self.owner, NOW + 1)
        self.next += TOGETHER
        return answers[place][1].value if refused else None

    async def look(self, accepted: set[int]) -> None:
        """See how they were written."""

    def odd(self, content: bytes = b"content", **terms: object) -> Acceptance:
        """Return the letter that `accept_with` has among the next ones."""
        return letter(self.next + TOGETHER // 3, content, **terms)


class PoisonContract(PoisonCase):
    async def assert_refused(self, poison: str, *kinds: object) -> None:
        for kind in kinds:
            for name, terms in kind(poison):
                odd = self.odd(**terms)
                self.assertIsInstance(await self.accept_with(odd), Unacceptable, name)
                self.assertEqual(await self.here.timeline.story(odd.content_id), [], name)

    async def assert_stored(self, poison: str, *kinds: object) -> None:
        for kind in kinds:
            for name, terms in kind(poison):
                odd = self.odd(**terms)
                self.assertIsNone(await self.accept_with(odd), name)
                story = await self.here.timeline.story(odd.content_id)
                self.assertEqual(story[0].events, odd.messages[0].events, name)

    async def test_nul(self) -> None:
        await self.assert_refused(NUL, columns)
        await self.assert_stored(NUL, facts, keys)

    async def test_latin_1(self) -> None:
        await self.assert_refused(LATIN_1, columns, facts)
        await self.assert_stored(LATIN_1, keys)

    async def test_lone_surrogates(self) -> None:
        await self.assert_refused(LONE_SURROGATE, columns, facts)
        await self.assert_stored(LONE_SURROGATE, keys)

    async def test_content_is_octets(self) -> None:
        for octets in (b"Subject: \0\r\n", b"Subject: \xe9\r\n", b"Subject: \xed\xa0\x80\r\n"):
            odd = self.odd(octets)
            await self.queue.accept(odd, self.owner)
            self.assertEqual(await self.queue.content(odd.content_id), octets)
            self.assertIsNone(await self.accept_with(odd))


class MemoryPoisonTest(PoisonContract, MemoryCase):
    async def setUp(self) -> None:
        super().setUp()
        await self.begin()


class PostgresPoisonTest(PoisonContract, PostgresCase):
    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()

    async def look(self, accepted: set[int]) -> None:
        """They were one batch: one transaction wrote them, but for what was there before."""
        written = await self.pool.query("select count(*) from messages group by xmin::text order by 1 desc")
        self.assertGreaterEqual(written[0][0], TOGETHER - 1)


MARK = "☢".encode()
"""What becomes poison on its way. No request ends within it."""

ON_THE_WIRE = {
    "NUL": b"\0--",
    "latin-1": b"\xe9--",
    "a lone surrogate": LONE_SURROGATE.encode("utf-8", "surrogatepass"),
}


class PoisoningGate(LosingGate):
    """A gate that writes `poison` where the mark is, as long; `sent` says how often it did."""

    poison = MARK
    sent = 0

    def front(self) -> Pipe:
        """Return the end at the client."""
        return PoisoningPipe(self)


class PoisoningPipe(ClientPipe):
    """The end at the client that poisons. A mark may come in two parts: the first waits for the second."""

    gate: PoisoningGate
    rest = b""

    def dataReceived(self, data: bytes) -> None:
        data = self.rest + data
        cut = next((octets for octets in (2, 1) if data.endswith(MARK[:octets])), 0)
        self.rest = data[len(data) - cut :]
        data = data[: len(data) - cut]
        self.gate.sent += data.count(MARK)
        super().dataReceived(data.replace(MARK, self.gate.poison))


class PostgresWireTest(PoisonCase, PostgresCase):
    """PostgreSQL itself refuses all 200, and the writer finds which one it was."""

    gate: PoisoningGate

    async def setUp(self) -> None:
        await super().setUp()
        await self.begin()

    def new_gate(self, directory: Path) -> PoisoningGate:
        return PoisoningGate(self.parameters, directory)

    async def test_what_the_writer_does_not_find_the_server_does(self) -> None:
        for poison, octets in ON_THE_WIRE.items():
            self.gate.poison = octets
            for name, terms in columns(MARK.decode()):
                self.gate.sent = 0
                trouble = await self.accept_with(self.odd(**terms))
                self.assertIsInstance(trouble, Unacceptable, f"{poison} in {name}")
                # 200, 100, 50 and so on down to the one.
                self.assertIn(self.gate.sent, (8, 9), f"{poison} in {name}")
