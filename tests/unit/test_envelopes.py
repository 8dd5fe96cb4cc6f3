"""mtad.inbound.envelopes: one message an organisation, each recipient once."""

from collections.abc import Mapping
from itertools import count

from twisted.trial.unittest import SynchronousTestCase

from mtad.inbound.envelopes import Stamp, address_messages
from mtad.model.address import Address
from mtad.model.envelope import PLAIN, Parameters, Peer
from mtad.model.event import Event, Fact
from mtad.model.identity import print_id
from mtad.model.job import Message
from mtad.model.route import Place, Route
from mtad.model.tenant import Credential, Domain, Mailbox, Submitter
from mtad.model.verdict import Quarantine
from tests.unit.directory_values import ACME, OTHER, at


def route(
    forward_path: str, *mailboxes: str, domain: Domain = ACME, notify: str | None = None, orcpt: str | None = None
) -> Route:
    places = tuple(Place(at(text), f"local:{domain.name}") for text in mailboxes)
    return Route(at(forward_path), domain, "alias", places, domain.organisation, notify=notify, orcpt=orcpt)


def messages(
    *routes: Route,
    message_id: bytes | None = b" <1@outside.example>\r\n",
    submitter: Submitter | None = None,
    events: tuple[Event, ...] = (),
    parameters: Parameters = PLAIN,
    verified: Mapping[int, Event] | None = None,
    quarantines: Mapping[Address, Quarantine] | None = None,
) -> tuple[Message, ...]:
    ids = count(101)
    stamp = Stamp(
        100, lambda: next(ids), 2000, 5.0, 9.0, message_id, submitter, events, parameters,
        verified=verified or {}, quarantines=quarantines or {},
    )  # fmt: skip
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

    def test_a_submission_is_its_organisations_own_and_foreign_mail_to_another(self) -> None:
        credential = Credential(Mailbox(1, 20, at("eve@other.example")))
        remote = Route(at("far@x.example"), None, "remote", (Place(at("far@x.example"), "mx:x.example"),), 20)
        signed = Event("signed", 5.0, {"domain": "other.example"})
        ours, theirs = messages(
            route("alice@acme.example", "alice@acme.example"),
            remote,
            submitter=Submitter(20, credential),
            events=(signed,),
        )
        self.assertEqual([(ours.organisation, ours.direction), (theirs.organisation, theirs.direction)],
                         [(20, "outbound"), (10, "inbound")])  # fmt: skip
        self.assertEqual(ours.id, ours.content_id, "the submitter is told the id of its own message")
        self.assertEqual([recipient.destination for recipient in ours.recipients], ["mx:x.example"])
        self.assertEqual(ours.events[0].facts["submitter"], "eve@other.example")
        self.assertIn(signed, ours.events)
        self.assertIn("192.0.2.7", ours.keys)
        told = repr((theirs.events, theirs.keys))
        for secret in ("192.0.2.7", "other.example", "far@x.example", "'signed'", "'helo'", "'submitter'"):
            self.assertNotIn(secret, told)

    def test_who_submits_to_others_alone_has_a_message_for_its_story(self) -> None:
        credential = Credential(Mailbox(1, 20, at("eve@other.example")))
        theirs, ours = messages(
            route("sales@acme.example", "alice@acme.example"),
            submitter=Submitter(20, credential),
            verified={10: Event("verified", 5.0, {"spf": ["pass"]})},
        )
        self.assertEqual((theirs.id, theirs.content_id, theirs.copies, theirs.organisation), (100, 100, 1, 10))
        self.assertEqual((ours.organisation, ours.direction, ours.recipients), (20, "outbound", ()))
        self.assertEqual((ours.id, ours.content_id, ours.copies), (101, 101, 1))
        self.assertEqual([event.kind for event in ours.events], ["received", "routed"])
        self.assertEqual(ours.events[0].facts["told_id"], print_id(100))
        self.assertEqual(
            ours.events[1].facts, {"forward_path": "sales@acme.example", "rule": "another organisation here"}
        )
        self.assertNotIn("alice@", repr((ours.events, ours.keys)))
        self.assertLess({print_id(100), "sales@acme.example", "192.0.2.7", "<1@outside.example>"}, set(ours.keys))

    def test_a_relay_network_has_no_mailbox_to_name(self) -> None:
        (message,) = messages(route("alice@acme.example", "alice@acme.example"), submitter=Submitter(10))
        self.assertEqual((message.direction, message.events[0].facts["submitter"]), ("outbound", "a relay network"))

    def test_a_hostile_message_id_is_escaped_and_bounded(self) -> None:
        (message,) = messages(
            route("a@acme.example", "a@acme.example"), message_id=b"<\x00\xff\xed\xa0\x80" + b"x" * 9000
        )
        text = str(message.events[0].facts["message_id"])
        self.assertLessEqual(len(text), 250)
        self.assertTrue(text.isprintable())
        text.encode("utf-8")


ORCPT = "rfc822;sales@acme.example"


class WishesTest(SynchronousTestCase):
    """RFC 3461 §5.2.7: what becomes of a sender's wishes on the way to a recipient."""

    def wishes(self, *routes: Route) -> list[tuple[str, str | None, str | None, bool]]:
        (message,) = messages(*routes)
        return [(str(to.address), to.notify, to.orcpt, to.expanded) for to in message.recipients]

    def test_each_message_has_the_parameters(self) -> None:
        asked = Parameters(True, "HDRS", "id")
        routes = route("a@acme.example", "a@acme.example"), route("e@other.example", "e@other.example", domain=OTHER)
        self.assertEqual([message.parameters for message in messages(*routes, parameters=asked)], [asked, asked])

    def test_a_way_to_one_place_keeps_them(self) -> None:
        for notify in (None, "NEVER", "SUCCESS", "SUCCESS,FAILURE,DELAY"):
            one = route("sales@acme.example", "alice@acme.example", notify=notify, orcpt=ORCPT)
            self.assertEqual(self.wishes(one), [("alice@acme.example", notify, ORCPT, False)])

    def test_of_a_way_to_several_success_is_told_once(self) -> None:
        mailboxes = [f"{name}@acme.example" for name in "abc"]
        for notify, left, told in (
            (None, None, False),
            ("NEVER", "NEVER", False),
            ("FAILURE,DELAY", "FAILURE,DELAY", False),
            ("SUCCESS", "NEVER", True),
            ("SUCCESS,FAILURE", "FAILURE", True),
            ("DELAY,SUCCESS,FAILURE", "DELAY,FAILURE", True),
        ):
            got = self.wishes(route("sales@acme.example", *mailboxes, notify=notify, orcpt=ORCPT))
            self.assertEqual(got, [(mailbox, left, ORCPT, told and n == 0) for n, mailbox in enumerate(mailboxes)])

    def test_one_copy_is_for_the_path_that_asks_for_most(self) -> None:
        ways = {
            ("NEVER", None): None,
            (None, "NEVER"): None,
            ("FAILURE", "SUCCESS,FAILURE,DELAY"): "SUCCESS,FAILURE,DELAY",
            ("SUCCESS,FAILURE,DELAY", None): "SUCCESS,FAILURE,DELAY",
        }
        for (first, second), kept in ways.items():
            got = self.wishes(
                route("alice@acme.example", "alice@acme.example", notify=first),
                route("sales@acme.example", "alice@acme.example", notify=second),
            )
            self.assertEqual(got, [("alice@acme.example", kept, None, False)])

    def test_one_copy_is_told_of_as_any_of_its_paths_asks(self) -> None:
        direct, alias = "alice@acme.example", "sales@acme.example"
        for first, second, told_of, kept in (
            ("SUCCESS", None, direct, "SUCCESS,FAILURE,DELAY"),
            (None, "SUCCESS", alias, "SUCCESS,FAILURE,DELAY"),
            ("FAILURE,DELAY", "SUCCESS", alias, "SUCCESS,FAILURE,DELAY"),
            ("SUCCESS", "DELAY", direct, "SUCCESS,DELAY"),
            ("SUCCESS", "SUCCESS", direct, "SUCCESS"),
            ("FAILURE", "DELAY", direct, "FAILURE,DELAY"),
            ("NEVER", "NEVER", direct, "NEVER"),
        ):
            (message,) = messages(route(direct, direct, notify=first), route(alias, direct, notify=second))
            (recipient,) = message.recipients
            self.assertEqual((str(recipient.original), recipient.notify), (told_of, kept), (first, second))

    def test_beside_an_alias_for_several_a_path_keeps_its_success(self) -> None:
        mailboxes = ["a@acme.example", "b@acme.example"]
        team = route("team@acme.example", *mailboxes, notify="SUCCESS,FAILURE,DELAY")
        (message,) = messages(team, route("a@acme.example", "a@acme.example", notify="SUCCESS"))
        self.assertEqual(
            [(str(to.original), to.notify, to.expanded) for to in message.recipients],
            [("a@acme.example", "SUCCESS,FAILURE,DELAY", False), ("team@acme.example", "FAILURE,DELAY", True)],
        )

    def test_an_alias_without_a_copy_of_its_own_is_told_of_by_others(self) -> None:
        mailboxes = ["a@acme.example", "b@acme.example"]
        own = [route(each, each) for each in mailboxes]
        got = self.wishes(route("team@acme.example", *mailboxes, notify="SUCCESS"), *own)
        self.assertEqual(got, [(each, "SUCCESS,FAILURE,DELAY", None, False) for each in mailboxes])

    def test_what_a_quarantined_path_asks_is_not_for_others(self) -> None:
        kept = Quarantine("dmarc-fail", "it looks forged")
        (message,) = messages(
            route("sales@acme.example", "a@acme.example", notify="SUCCESS"),
            route("a@acme.example", "a@acme.example", notify="FAILURE"),
            quarantines={at("sales@acme.example"): kept},
        )
        self.assertEqual([to.notify for to in message.recipients], ["FAILURE"])

    def test_an_alias_is_told_of_by_a_copy_that_is_its_own(self) -> None:
        got = self.wishes(
            route("a@acme.example", "a@acme.example", notify="SUCCESS,FAILURE,DELAY"),
            route("sales@acme.example", "a@acme.example", "b@acme.example", "c@acme.example", notify="SUCCESS,FAILURE"),
        )
        self.assertEqual([expanded for *_, expanded in got], [False, True, False])


class QuarantineTest(SynchronousTestCase):
    FORGED = Quarantine("dmarc-fail", "it looks forged")
    ALICE, SALES, EVE = "alice@acme.example", "sales@acme.example", "eve@other.example"

    def test_what_is_kept_is_marked_and_told(self) -> None:
        ours, theirs = messages(
            route(self.SALES, self.ALICE, "bob@acme.example"),
            route("carol@acme.example", "carol@acme.example"),
            route(self.EVE, self.EVE, domain=OTHER),
            quarantines={at(self.SALES): self.FORGED},
        )
        self.assertEqual((ours.quarantined, theirs.quarantined), (frozenset((0, 1)), frozenset()))
        self.assertEqual([event.kind for event in ours.events], ["received", "routed", "routed", "quarantined"])
        self.assertEqual(
            ours.events[-1].facts,
            {
                "rule": "dmarc-fail",
                "reason": "it looks forged",
                "recipients": [self.ALICE, "bob@acme.example"],
                "count": 2,
            },
        )
        self.assertEqual([event.kind for event in theirs.events], ["received", "routed"])

    def test_reasons_are_told_apart(self) -> None:
        other = Quarantine("spf-fail", "it looks forged")
        (message,) = messages(
            route(self.ALICE, self.ALICE),
            route(self.SALES, "bob@acme.example"),
            quarantines={at(self.ALICE): self.FORGED, at(self.SALES): other},
        )
        told = [event.facts["rule"] for event in message.events if event.kind == "quarantined"]
        self.assertEqual(told, ["dmarc-fail", "spf-fail"])

    def test_a_place_that_an_open_way_leads_to_gets_it(self) -> None:
        for routes in ((self.ALICE, self.SALES), (self.SALES, self.ALICE)):
            (message,) = messages(
                *(route(each, self.ALICE, notify="SUCCESS" if each == self.SALES else None) for each in routes),
                quarantines={at(self.SALES): self.FORGED},
            )
            (recipient,) = message.recipients
            self.assertEqual((str(recipient.original), message.quarantined), (self.ALICE, frozenset()))
            self.assertNotIn("quarantined", [event.kind for event in message.events])

    def test_each_organisation_is_told_its_own(self) -> None:
        told = Event("verified", 5.0, {"rule": ["other.example: identity"]})
        ours, theirs = messages(
            route(self.ALICE, self.ALICE), route(self.EVE, self.EVE, domain=OTHER), verified={OTHER.organisation: told}
        )
        self.assertEqual([event.kind for event in ours.events], ["received", "routed"])
        self.assertEqual(theirs.events[1], told)
