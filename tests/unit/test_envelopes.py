"""mtad.inbound.envelopes: one message an organisation, each recipient once."""

from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.envelopes import Stamp, address_messages
from mtad.model.envelope import Peer
from mtad.model.event import Fact
from mtad.model.identity import print_id
from mtad.model.job import Message
from mtad.model.route import Place, Route
from mtad.model.tenant import Domain
from tests.unit.directory_values import ACME, OTHER, at


def route(forward_path: str, *mailboxes: str, domain: Domain = ACME) -> Route:
    places = tuple(Place(at(text), f"local:{domain.name}") for text in mailboxes)
    return Route(at(forward_path), domain, "alias", places, domain.organisation)


def messages(*routes: Route, message_id: bytes | None = b" <1@outside.example>\r\n") -> tuple[Message, ...]:
    ids = count(101)
    stamp = Stamp(100, lambda: next(ids), size=2000, now=5.0, expires_at=9.0, message_id=message_id)
    return address_messages(Peer("192.0.2.7", 4000, "outside.example"), at("ann@outside.example"), routes, stamp)


class EnvelopesTest(SynchronousTestCase):
    def test_one_organisation_makes_one_message(self) -> None:
        (message,) = messages(route("sales@acme.example", "alice@acme.example", "bob@acme.example"))
        self.assertEqual((message.id, message.content_id, message.copies), (100, 100, 1))
        self.assertEqual(
            [(to.n, str(to.original), str(to.address)) for to in message.recipients],
            [(0, "sales@acme.example", "alice@acme.example"), (1, "sales@acme.example", "bob@acme.example")],
        )

    def test_a_mailbox_that_two_paths_lead_to_gets_one_copy(self) -> None:
        (message,) = messages(
            route("alice@acme.example", "alice@acme.example"), route("sales@acme.example", "Alice@acme.example")
        )
        self.assertEqual([str(to.original) for to in message.recipients], ["alice@acme.example"])

    def test_organisations_share_octets_and_nothing_else(self) -> None:
        ours, theirs = messages(
            route("alice@acme.example", "alice@acme.example"),
            route("eve@other.example", "eve@other.example", domain=OTHER),
        )
        self.assertEqual((ours.content_id, theirs.content_id, ours.copies, theirs.copies), (100, 100, 2, 2))
        self.assertEqual((ours.organisation, theirs.organisation), (10, 20))
        self.assertEqual((ours.id, theirs.id), (100, 101))
        self.assertIn(print_id(100), theirs.keys)
        self.assertEqual(theirs.events[0].facts["told_id"], print_id(100))
        self.assertIsNone(ours.events[0].facts["told_id"])
        self.assertFalse({print_id(100), print_id(101)} & set(ours.keys))
        seen: list[Fact] = [fact for event in ours.events for fact in event.facts.values()]
        self.assertNotIn("other.example", repr((ours.keys, seen, ours.recipients)))

    def test_the_story_begins_with_what_was_received_and_where_it_leads(self) -> None:
        (message,) = messages(route("sales@acme.example", "alice@acme.example"))
        self.assertEqual([event.kind for event in message.events], ["received", "routed"])
        self.assertEqual(message.events[0].facts["message_id"], "<1@outside.example>")
        self.assertEqual(message.events[1].facts["to"], ["alice@acme.example"])
        self.assertEqual(
            set(message.keys),
            {"192.0.2.7", "ann@outside.example", "<1@outside.example>", "sales@acme.example", "alice@acme.example"},
        )

    def test_a_hostile_message_id_is_escaped_and_bounded(self) -> None:
        (message,) = messages(
            route("a@acme.example", "a@acme.example"), message_id=b"<\x00\xff\xed\xa0\x80" + b"x" * 9000
        )
        text = str(message.events[0].facts["message_id"])
        self.assertLessEqual(len(text), 250)
        self.assertTrue(text.isprintable())
        text.encode("utf-8")
