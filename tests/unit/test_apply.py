"""The apply file: what it may say, what it must be to itself, and the difference to what is."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.postgres.tenants import Present
from mtad.config.decoding import decode
from mtad.config.document import read
from mtad.ctl.consistency import check, check_owners
from mtad.ctl.difference import describe, difference, summary, wanted
from mtad.ctl.passwords import Stored
from mtad.ctl.tenancy import Tenancy
from mtad.model.address import Address, from_plain
from mtad.model.authentication import OwnChecks, Strictness
from mtad.model.dkim import KeyState
from mtad.model.errors import InvalidInput
from mtad.model.holdings import Change, HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding, Item, Sign
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import LmtpDelivery, MaildirDelivery, SmtpDelivery
from mtad.verification.keys import generate

PAIR = generate("ed25519")
WHOLE = """
organisations:
  - name: acme
    contact: Hostmaster@Acme.example
    domains:
      - name: Acme.example
        verified: true
        catch_all: alice@acme.example
        delivery: {kind: lmtp, addr: "127.0.0.1:24"}
        policy: {outbound_tls: verify, spf: off, dkim: enforce, check_from: false}
        mailboxes:
          - {local_part: Alice, password: "wonderland"}
          - {local_part: bob, enabled: false}
        aliases:
          - {local_part: sales, targets: ["alice@acme.example", "BOB@acme.example"]}
          - {local_part: all, targets: ["sales@acme.example"]}
      - name: bücher.example
        delivery: {kind: maildir, path: /srv/mail}
  - name: other
"""


class ApplyTestCase(SynchronousTestCase):
    def loaded(self, text: str) -> Tenancy:
        """Return a file as the command would take it; raise what it would say."""
        path = Path(self.mktemp())
        path.write_text(text)
        try:
            document = read(path)
            tenancy = decode(document, Tenancy)
            check(tenancy, document.wrong)
        except InvalidInput as error:
            raise InvalidInput(error.where.replace(str(path), "file"), error.what) from None
        return tenancy

    def refused(self, text: str) -> str:
        with self.assertRaises(InvalidInput) as caught:
            self.loaded(text)
        self.assertNotIn("\n", str(caught.exception))
        return str(caught.exception)

    def acme(self, *lines: str, name: str = "acme.example") -> str:
        """Return a file of one domain that has these keys."""
        return "\n      ".join([f"organisations:\n- name: acme\n  domains:\n    - name: {name}", *lines])


class FormTest(ApplyTestCase):
    def test_the_whole_form(self) -> None:
        stored = {"alice@acme.example": Stored("hash", "verifier")}
        acme, other = wanted(self.loaded(WHOLE), Present({}, {}), stored, {})
        self.assertEqual(other, Holding("other"))
        self.assertEqual((acme.organisation, acme.contact), ("acme", "Hostmaster@acme.example"))
        alice = from_plain("alice@acme.example")
        self.assertEqual(
            acme.domains,
            (
                HeldDomain(
                    "acme.example",
                    True,
                    alice,
                    LmtpDelivery("127.0.0.1:24"),
                    (HeldMailbox("Alice", "hash", scram="verifier"), HeldMailbox("bob", enabled=False)),
                    (
                        HeldAlias("sales", (alice, from_plain("BOB@acme.example"))),
                        HeldAlias("all", (from_plain("sales@acme.example"),)),
                    ),
                    outbound_tls=TlsLevel.VERIFY,
                    checks=OwnChecks(Strictness.OFF, Strictness.ENFORCE),
                    check_from=False,
                ),
                HeldDomain("xn--bcher-kva.example", delivery=MaildirDelivery("/srv/mail")),
            ),
        )

    def test_wrong_keys_and_values_are_told_with_line_and_path(self) -> None:
        at = "organisations[0].domains[0]."
        for lines, complaint in {
            ("limits: {}",): f"file:5: {at}limits: unknown key",
            ("verified: maybe",): f"file:5: {at}verified: expected true or false, got 'maybe'",
            ("catch_all: alice",): f"file:5: {at}catch_all: expected an address such as alice@example.com, got 'alice'",
            ("delivery: {kind: uucp}",): f"file:5: {at}delivery.kind: expected one of maildir, lmtp, smtp, got 'uucp'",
            (
                "policy: {outbound_tls: may}",
            ): f"file:5: {at}policy.outbound_tls: expected one of encrypt, verify, got 'may'",
            (
                "policy: {dmarc: reject}",
            ): f"file:5: {at}policy.dmarc: expected one of off, monitor, enforce, got 'reject'",
            ("delivery: {kind: lmtp}",): f"file:5: {at}delivery: expected the key addr",
            ("delivery: {kind: lmtp, addr: nowhere}",): f"file:5: {at}delivery.addr: expected host:port or the path",
            (
                "delivery: {kind: maildir, path: mail}",
            ): f"file:5: {at}delivery.path: expected a path that begins with /",
            ("mailboxes:", "- {password: x}"): f"file:6: {at}mailboxes[0]: expected the key local_part",
            ("mailboxes:", "- {local_part: a b}"): f"file:6: {at}mailboxes[0].local_part: expected what stands before",
            ("mailboxes:", "- {local_part: 7}"): f"file:6: {at}mailboxes[0].local_part: expected text",
            ("mailboxes: [alice]",): f"file:5: {at}mailboxes[0]: expected keys and values",
            ("aliases:", "- {local_part: a, targets: []}"): f"file:6: {at}aliases[0].targets: expected 1 to 1000",
            ("aliases:", "- {local_part: a, targets: [b]}"): f"file:6: {at}aliases[0].targets[0]: expected an address",
            (
                "dkim: [{selector: a_b}]",
            ): f"file:5: {at}dkim[0].selector: expected a selector such as s1, of at most 63",
            ("dkim: [{algorithm: rsa2048}]",): f"file:5: {at}dkim[0]: expected the key selector",
            (
                "dkim: [{selector: a, algorithm: rsa1024}]",
            ): f"file:5: {at}dkim[0].algorithm: expected one of rsa2048, rsa4096, ed25519, got 'rsa1024'",
            (
                f"dkim: [{', '.join(f'{{selector: s{n}}}' for n in range(11))}]",
            ): f"file:5: {at}dkim: expected at most 10 keys, got 11",
            ("mailboxes:", f"- {{local_part: {'x' * 65}}}"): f"file:6: {at}mailboxes[0].local_part: expected what",
        }.items():
            said = self.refused(self.acme(*lines))
            self.assertTrue(said.startswith(complaint), f"{said}\nis not\n{complaint}")

    def test_names_that_are_no_domains(self) -> None:
        for name in (
            "a b",
            "192.0.2.1",
            "'[192.0.2.1]'",
            "-a.example",
            "a..example",
            "x" * 64 + ".example",
            "'*.a.example'",
        ):
            self.assertIn(
                "organisations[0].domains[0].name: expected a domain name", self.refused(self.acme(name=name))
            )

    def test_whom_a_mailbox_may_send_as_has_one_form(self) -> None:
        said = '["*@Shop.example", "Bücher.example", "ANN.*@shop.example", "*@shop.example"]'
        tenancy = self.loaded(self.acme(f"mailboxes: [{{local_part: a, send_as: {said}}}]"))
        (mailbox,) = wanted(tenancy, Present({}, {}), {}, {})[0].domains[0].mailboxes
        self.assertEqual(mailbox.send_as, ("*@shop.example", "ann.*@shop.example", "xn--bcher-kva.example"))
        for wrong in ("'*'", "'*.shop.example'", "'a@*.example'", "'@shop.example'", "192.0.2.1", "7"):
            refused = self.refused(self.acme(f"mailboxes: [{{local_part: a, send_as: [{wrong}]}}]"))
            self.assertIn("mailboxes[0].send_as[0]: expected ", refused)
        many = ", ".join(f"d{n}.example" for n in range(1001))
        self.assertIn(
            "mailboxes[0].send_as: expected at most 1000",
            self.refused(self.acme(f"mailboxes: [{{local_part: a, send_as: [{many}]}}]")),
        )

    def test_a_file_without_organisations(self) -> None:
        self.assertIn("expected the key organisations", self.refused(""))
        self.assertEqual(self.loaded("organisations: []").organisations, ())

    def test_a_password_is_never_told(self) -> None:
        said = self.refused(self.acme('mailboxes: [{local_part: a, password: ["geheim"]}]'))
        self.assertIn("password: expected text", said)
        self.assertNotIn("geheim", said)


class ConsistencyTest(ApplyTestCase):
    def test_names_are_given_once(self) -> None:
        self.assertEqual(
            self.refused("organisations:\n- name: a\n- name: a"),
            "file:3: organisations[1].name: expected each organisation once, got a again",
        )
        twice = "organisations:\n- {name: a, domains: [{name: x.example}]}\n- {name: b, domains: [{name: X.example}]}"
        self.assertEqual(
            self.refused(twice),
            "file:3: organisations[1].domains[0].name: expected each domain once, got x.example again",
        )

    def test_addresses_that_fold_to_the_same_are_one(self) -> None:
        said = self.refused(self.acme("mailboxes: [{local_part: alice}, {local_part: ALICE}]"))
        self.assertIn(
            "mailboxes[1]: expected each address once, but ALICE@acme.example is the mailbox alice@acme", said
        )
        said = self.refused(self.acme("mailboxes: [{local_part: straße}, {local_part: STRASSE}]"))
        self.assertIn("mailboxes[1]: expected each address once", said)

    def test_a_name_is_a_mailbox_or_an_alias(self) -> None:
        said = self.refused(
            self.acme("mailboxes: [{local_part: a}]", "aliases: [{local_part: A, targets: [a@acme.example]}]")
        )
        self.assertIn("aliases[0]: expected each address once, but A@acme.example is the mailbox a@acme.example", said)

    def test_selectors_are_given_once_in_a_domain(self) -> None:
        said = self.refused(self.acme("dkim: [{selector: s1}, {selector: S1}]"))
        self.assertEqual(
            said, "file:5: organisations[0].domains[0].dkim[1].selector: expected each selector once, got s1 again"
        )
        self.loaded(self.acme("dkim: [{selector: s1}]") + "\n    - {name: b.example, dkim: [{selector: s1}]}")

    def test_the_same_name_in_two_domains_is_two_addresses(self) -> None:
        domains = "[{name: a.example, mailboxes: [{local_part: x}]}, {name: b.example, mailboxes: [{local_part: x}]}]"
        self.loaded(f"organisations: [{{name: acme, domains: {domains}}}]")

    def test_targets_and_catch_alls_are_addresses_of_the_organisation(self) -> None:
        said = self.refused(self.acme("aliases: [{local_part: a, targets: [bob@elsewhere.example]}]"))
        self.assertEqual(
            said,
            "file:5: organisations[0].domains[0].aliases[0].targets[0]: expected a mailbox or an alias of this"
            " organisation in this file (forwarding elsewhere does not exist yet), got bob@elsewhere.example",
        )
        said = self.refused(self.acme("catch_all: nobody@acme.example"))
        self.assertIn("domains[0].catch_all: expected a mailbox or an alias of this organisation in this file", said)
        stranger = "- {name: other, domains: [{name: other.example, mailboxes: [{local_part: x}]}]}"
        said = self.refused(self.acme("catch_all: x@other.example") + "\n" + stranger)
        self.assertIn("catch_all: expected a mailbox or an alias of this organisation", said)

    def test_targets_may_be_in_another_domain_of_the_organisation(self) -> None:
        self.loaded(
            self.acme("mailboxes: [{local_part: a}]", "catch_all: b@b.example")
            + "\n    - {name: b.example, aliases: [{local_part: b, targets: [A@acme.example]}]}"
        )

    def aliases(self, *ways: tuple[str, str]) -> str:
        items = ", ".join(f"{{local_part: {name}, targets: [{target}@acme.example]}}" for name, target in ways)
        return self.acme("mailboxes: [{local_part: end}]", f"aliases: [{items}]")

    def test_loops(self) -> None:
        self.assertIn("leads back to itself: a@acme.example -> a@acme.example", self.refused(self.aliases(("a", "A"))))
        said = self.refused(self.aliases(("x", "a"), ("a", "b"), ("b", "c"), ("c", "a")))
        self.assertIn("aliases[1]: leads back to itself: x@acme.example -> a@acme.example -> b@", said)

    def test_ways_longer_than_routing_follows(self) -> None:
        def way(length: int) -> list[tuple[str, str]]:
            return [(f"a{n}", f"a{n + 1}" if n < length else "end") for n in range(1, length + 1)]

        self.loaded(self.aliases(*way(10)))
        for order in (way(11), way(11)[::-1], way(5000)):
            said = self.refused(self.aliases(*order))
            self.assertIn("expected a way through at most 10 aliases", said)
        self.loaded(self.aliases(*way(9)) + "\n      catch_all: a1@acme.example")
        said = self.refused(self.aliases(*way(10)) + "\n      catch_all: a1@acme.example")
        self.assertIn("domains[0].catch_all: expected a way through fewer than 10 aliases", said)

    def test_more_mailboxes_than_routing_follows(self) -> None:
        def file(count: int) -> str:
            mailboxes = ", ".join(f"{{local_part: m{n}}}" for n in range(count))
            halves = [", ".join(f"m{n}@acme.example" for n in range(count) if n % 2 == half) for half in (0, 1)]
            aliases = [
                f"{{local_part: h0, targets: [{halves[0]}]}}",
                f"{{local_part: h1, targets: [{halves[1]}]}}",
                "{local_part: both, targets: [h0@acme.example, h1@acme.example]}",
            ]
            return self.acme(f"mailboxes: [{mailboxes}]", f"aliases: [{', '.join(aliases)}]")

        self.loaded(file(1000))
        said = self.refused(file(1001))
        self.assertIn("aliases[2]: expected at most 1000 mailboxes behind an alias, got 1001", said)

    def test_a_domain_of_another_organisation(self) -> None:
        tenancy = self.loaded(self.acme())

        def complain(at: tuple[str | int, ...], what: str) -> InvalidInput:
            return InvalidInput(".".join(map(str, at)), what)

        check_owners(tenancy, {"acme.example": "acme", "else.example": "other"}, complain)
        check_owners(tenancy, {}, complain)
        with self.assertRaisesRegex(
            InvalidInput, r"^organisations\.0\.domains\.0\.name: belongs to organisation other"
        ):
            check_owners(tenancy, {"acme.example": "other"}, complain)


class DifferenceTest(ApplyTestCase):
    def lines(self, text: str, *holdings: Holding, passwords: Mapping[str, Stored] | None = None) -> list[str]:
        present = Present({holding.organisation: holding for holding in holdings}, {})
        tenancy = self.loaded(text)
        domains = [domain for organisation in tenancy.organisations for domain in organisation.domains]
        pairs = {(domain.name, key.selector): PAIR for domain in domains for key in domain.dkim or ()}
        changes = difference(wanted(tenancy, present, passwords or {}, pairs), present)
        return [describe(change) for change in changes]

    def acme_keys(self, *keys: HeldKey) -> Holding:
        return Holding("acme", None, (HeldDomain("acme.example", keys=keys),))

    def test_keys_are_added_retired_and_taken_back_but_never_removed(self) -> None:
        old, new = HeldKey("old", "rsa2048", "p"), HeldKey("gone", "ed25519", "q", KeyState.RETIRING)
        self.assertEqual(
            self.lines(self.acme("dkim: [{selector: S1}]")),
            [
                "+ organisation acme",
                "+ domain acme.example",
                "+ dkim key s1._domainkey.acme.example: algorithm ed25519",
            ],
        )
        self.assertEqual(
            self.lines(self.acme("dkim: [{selector: s1}, {selector: gone}]"), self.acme_keys(new, old)),
            [
                "~ dkim key gone._domainkey.acme.example: state retiring -> active",
                "~ dkim key old._domainkey.acme.example: state active -> retiring",
                "+ dkim key s1._domainkey.acme.example: algorithm ed25519",
            ],
        )
        self.assertEqual(
            self.lines(self.acme("dkim: []"), self.acme_keys(new, old)),
            ["~ dkim key old._domainkey.acme.example: state active -> retiring"],
        )

    def test_a_file_that_does_not_speak_of_keys_leaves_them(self) -> None:
        held = self.acme_keys(HeldKey("a", "rsa2048", "p"), HeldKey("b", "rsa2048", "q", KeyState.RETIRING))
        self.assertEqual(self.lines(self.acme(), held), [])

    def test_into_an_empty_house(self) -> None:
        self.assertEqual(
            self.lines(WHOLE, passwords={"alice@acme.example": Stored("hash", "verifier")}),
            [
                "+ organisation acme: contact Hostmaster@acme.example",
                "+ domain acme.example: verified yes, catch_all alice@acme.example, delivery lmtp:127.0.0.1:24,"
                " outbound_tls verify, spf off, dkim enforce, check_from no",
                "+ mailbox Alice@acme.example: password",
                "+ mailbox bob@acme.example: enabled no",
                "+ alias sales@acme.example: targets alice@acme.example BOB@acme.example",
                "+ alias all@acme.example: targets sales@acme.example",
                "+ domain xn--bcher-kva.example: delivery maildir:/srv/mail",
                "+ organisation other",
            ],
        )

    def test_verifiers_come_and_go_with_the_organisations_scram(self) -> None:
        def held(scram: bool, verifier: str | None) -> Holding:
            mailboxes = (HeldMailbox("alice", "hash", scram=verifier),)
            return Holding("acme", None, (HeldDomain("acme.example", mailboxes=mailboxes),), scram)

        text = self.acme("mailboxes: [{local_part: alice, password: x}]")
        off = text.replace("name: acme\n", "name: acme\n  scram: false\n", 1)
        self.assertNotEqual(off, text)
        stored = {"alice@acme.example": Stored("hash", "verifier")}
        self.assertEqual(self.lines(text, held(True, "verifier"), passwords=stored), [])
        self.assertEqual(
            self.lines(text, held(True, None), passwords=stored), ["~ mailbox alice@acme.example: scram verifier"]
        )
        self.assertEqual(
            self.lines(off, held(True, "verifier")),
            ["~ organisation acme: scram yes -> no", "~ mailbox alice@acme.example: scram verifier"],
        )
        self.assertEqual(self.lines(off, held(False, None), passwords={"alice@acme.example": Stored("hash")}), [])
        self.assertEqual(self.lines(off)[0], "+ organisation acme: scram no")

    def test_what_the_file_does_not_list_goes(self) -> None:
        held = Holding(
            "acme",
            "x@y.example",
            (
                HeldDomain(
                    "acme.example",
                    mailboxes=(HeldMailbox("alice"), HeldMailbox("bob")),
                    aliases=(HeldAlias("sales", (from_plain("bob@acme.example"),)),),
                ),
                HeldDomain("empty.example"),
                HeldDomain("gone.example", mailboxes=(HeldMailbox("carol"),)),
            ),
        )
        self.assertEqual(
            self.lines(self.acme("mailboxes: [{local_part: alice}]"), held),
            [
                "~ organisation acme: contact x@y.example -> none",
                "- domain empty.example",
                "- domain gone.example: with 1 address",
                "- mailbox bob@acme.example",
                "- alias sales@acme.example",
            ],
        )

    def test_organisations_that_are_not_named_are_left_alone(self) -> None:
        self.assertEqual(self.lines("organisations: []", Holding("acme", None, (HeldDomain("acme.example"),))), [])

    def test_changes_name_what_was_and_what_will_be(self) -> None:
        alice, bob = from_plain("alice@acme.example"), from_plain("bob@acme.example")
        held = Holding(
            "acme",
            None,
            (
                HeldDomain(
                    "acme.example",
                    True,
                    alice,
                    MaildirDelivery(),
                    (HeldMailbox("alice", "old", send_as=("b.example",)), HeldMailbox("Bob", "kept")),
                    (HeldAlias("sales", (alice, bob)),),
                ),
            ),
        )
        text = self.acme(
            "verified: false",
            "mailboxes: [{local_part: alice, password: x, enabled: false}, {local_part: bob, send_as: [c.example]}]",
            "aliases: [{local_part: sales, targets: [bob@acme.example]}]",
        )
        self.assertEqual(
            self.lines(text, held, passwords={"alice@acme.example": Stored("new", "verifier")}),
            [
                "~ domain acme.example: verified yes -> no, catch_all alice@acme.example -> none,"
                " delivery maildir: -> none",
                "~ mailbox alice@acme.example: password, enabled yes -> no, send_as b.example -> none",
                "~ mailbox bob@acme.example: local_part Bob -> bob, send_as none -> c.example",
                "~ alias sales@acme.example: targets alice@acme.example bob@acme.example -> bob@acme.example",
            ],
        )

    def test_what_the_file_does_not_say_of_verification_and_passwords_stays(self) -> None:
        held = Holding("acme", None, (HeldDomain("acme.example", True, mailboxes=(HeldMailbox("alice", "hash"),)),))
        self.assertEqual(self.lines(self.acme("mailboxes: [{local_part: alice}]"), held), [])

    def test_a_mailbox_that_becomes_an_alias_goes_first(self) -> None:
        held = Holding("acme", None, (HeldDomain("acme.example", mailboxes=(HeldMailbox("a"), HeldMailbox("b"))),))
        text = self.acme("mailboxes: [{local_part: b}]", "aliases: [{local_part: a, targets: [b@acme.example]}]")
        self.assertEqual(
            self.lines(text, held), ["- mailbox a@acme.example", "+ alias a@acme.example: targets b@acme.example"]
        )

    def test_the_summary_counts(self) -> None:
        self.assertEqual(summary([]), "no change")
        signs = [Sign.ADD, Sign.ADD, Sign.REMOVE]
        self.assertEqual(
            summary([Change(sign, "a", "", Holding("a")) for sign in signs]), "2 added, 0 changed, 1 removed"
        )


NAMES = st.sampled_from(["alice", "bob", "carol", "sales"])
ADDRESSES = st.builds(Address, NAMES, st.just("a.example"))
MAILBOXES = st.lists(
    st.builds(
        HeldMailbox, NAMES, st.sampled_from([None, "x", "y"]), st.booleans(), st.sampled_from([(), ("b.example",)])
    ),
    max_size=3,
    unique_by=lambda m: m.local_part,
)
ALIASES = st.lists(
    st.builds(HeldAlias, NAMES, st.lists(ADDRESSES, min_size=1, max_size=2).map(tuple)),
    max_size=2,
    unique_by=lambda a: a.local_part,
)
DOMAINS = st.lists(
    st.builds(
        HeldDomain,
        st.sampled_from(["a.example", "b.example", "c.example"]),
        st.booleans(),
        st.none() | ADDRESSES,
        st.none()
        | st.builds(MaildirDelivery, st.none() | st.just("/srv"))
        | st.sampled_from([LmtpDelivery("/run/lmtp"), SmtpDelivery("/run/lmtp")]),
        MAILBOXES.map(tuple),
        ALIASES.map(tuple),
    ),
    max_size=2,
    unique_by=lambda domain: domain.name,
)
HOLDINGS = st.builds(Holding, st.just("acme"), st.none() | st.just("a@a.example"), DOMAINS.map(tuple))


def changed(held: Holding | None, changes: list[Change]) -> Holding:
    """Make changes as the database would: upsert and delete, one after another."""
    own: dict[tuple[str, str, str], Item] = {}
    if held is not None:
        own[("", "", "")] = held
        for domain in held.domains:
            own[("domain", domain.name, "")] = domain
            own |= {
                (type(item).__name__, domain.name, item.local_part): item for item in domain.mailboxes + domain.aliases
            }
    for change in changes:
        match change.item:
            case Holding():
                own[("", "", "")] = change.item
            case HeldDomain() as domain if change.sign is Sign.REMOVE:
                own = {key: item for key, item in own.items() if key[1] != domain.name}
            case HeldDomain() as domain:
                own[("domain", domain.name, "")] = domain
            case item if change.sign is Sign.REMOVE:
                del own[(type(item).__name__, change.domain, item.local_part)]
            case item:
                own[(type(item).__name__, change.domain, item.local_part)] = item
    organisation = own[("", "", "")]
    return Holding(
        organisation.organisation,
        organisation.contact,
        tuple(
            HeldDomain(
                domain.name,
                domain.verified,
                domain.catch_all,
                domain.delivery,
                tuple(item for key, item in sorted(own.items()) if key[:2] == ("HeldMailbox", domain.name)),
                tuple(item for key, item in sorted(own.items()) if key[:2] == ("HeldAlias", domain.name)),
            )
            for key, domain in sorted(own.items())
            if key[0] == "domain"
        ),
    )


class DifferenceLawTest(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(st.none() | HOLDINGS, HOLDINGS)
    def test_the_difference_leads_from_what_is_to_what_is_wanted_and_is_empty_there(
        self, held: Holding | None, wanted: Holding
    ) -> None:
        present = Present({} if held is None else {"acme": held}, {})
        reached = changed(held, difference([wanted], present))
        self.assertEqual(reached, changed(wanted, []))
        self.assertEqual(difference([wanted], Present({"acme": reached}, {})), [])
