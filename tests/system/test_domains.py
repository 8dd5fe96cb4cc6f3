"""mtactl dkim and mtactl domain as an operator runs them, over a real name server and a real database."""

import base64
import json
import re

import yaml

from mtad.adapters.postgres.dkim_keys import move_keys
from mtad.adapters.postgres.key_care import PostgresKeyCare
from mtad.adapters.sealing import Sealing
from mtad.model.dkim import KeyMove, KeyState
from mtad.model.master_key import parse_master_keys
from tests.system.test_mtactl import DatabaseCase, Ended
from tests.system.zone import NameServerProcess

ACME = "acme.example"
RECORD = re.compile(r"^(\S+)\. IN TXT \( (.*) \)$", re.MULTILINE)
TENANTS = {
    "organisations": [
        {"name": "acme", "domains": [{"name": ACME, "verified": True, "dkim": [{"selector": "s1"}]}]},
        {"name": "ann", "domains": [{"name": "claimed.example"}]},
    ]
}


def records(text: str) -> dict[str, str]:
    """Return the TXT records among lines of a zone file."""
    return {name: "".join(strings.split('"')[1::2]) for name, strings in RECORD.findall(text)}


class DomainsCase(DatabaseCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.sections = json.loads(self.config.read_text())
        self.sections["server"] = {"hostname": "mx.test"}
        self.config.write_text(json.dumps(self.sections))
        await self.mtactl("apply", self.written("tenants.yaml", yaml.safe_dump(TENANTS)))

    async def in_zone(self, zone: dict[str, list[str]], *words: object) -> Ended:
        """Run mtactl where the DNS has these records."""
        with NameServerProcess(zone) as server:
            self.config.write_text(json.dumps(self.sections | {"dns": {"servers": [server.place], "timeout": "1s"}}))
            return await self.run_raw("--config", self.config, *words)

    async def states(self, domain: str = ACME) -> dict[str, str]:
        listed = json.loads(await self.mtactl("dkim", "list", domain, "--json"))
        return {key["selector"]: key["state"] for key in listed}


class KeysTest(DomainsCase):
    async def test_the_next_key_is_begun_and_waits_for_its_record(self) -> None:
        said = await self.mtactl("dkim", "rotate", ACME)
        selector = next(iter(records(said))).partition(".")[0]
        self.assertRegex(selector, r"^s20\d{6}a$")
        self.assertIn("Then this signs no more: s1.", said)
        self.assertEqual(await self.states(), {"s1": "active", selector: "generated"})
        self.assertIn(f"{selector} is on its way already", await self.refused("dkim", "rotate", ACME))
        listed = await self.mtactl("dkim", "list", ACME)
        self.assertRegex(listed, rf"{selector} +rsa2048 +generated +\S+ \S+ +its record in the DNS")
        self.assertEqual(len(records(listed)), 2)
        ((domain,),) = await self.pool.query(
            "select d.name from domain_care c join domains d on d.id = c.domain order by c.due desc limit 1"
        )
        self.assertEqual(domain, ACME, "it is due since its key was made")

    async def test_by_force_it_signs_at_once_and_the_one_before_retires(self) -> None:
        await self.mtactl("dkim", "generate", ACME, "--algorithm", "ed25519", "--selector", "ED", "--force")
        self.assertEqual(await self.states(), {"ed": "active", "s1": "active"})
        said = await self.mtactl("dkim", "rotate", ACME, "--force")
        self.assertEqual(len(records(said)), 2, "one for each kind")
        states = await self.states()
        self.assertEqual((states.pop("s1"), states.pop("ed")), ("retiring", "retiring"))
        self.assertEqual(set(states.values()), {"active"})
        self.assertRegex(await self.mtactl("dkim", "list", ACME), "s1 .* its record is needed until ")

    async def test_what_cannot_be(self) -> None:
        self.assertIn("nobody.example: no organisation", await self.refused("dkim", "rotate", "nobody.example"))
        self.assertIn("one key for ever", await self.refused("dkim", "generate", ACME, "--selector", "s1"))
        self.assertIn("there is no such key", await self.refused("dkim", "retire", ACME, "s9"))
        await self.mtactl("dkim", "generate", ACME, "--algorithm", "ed25519", "--force")
        self.assertIn("two kinds", await self.refused("dkim", "rotate", ACME, "--selector", "s3"))

    async def test_a_key_can_be_called_back(self) -> None:
        await self.mtactl("dkim", "generate", ACME, "--selector", "s2")
        self.assertIn("generated -> revoked", await self.mtactl("dkim", "retire", ACME, "s2"))
        self.assertIn("active -> retiring", await self.mtactl("dkim", "retire", ACME, "s1"))
        self.assertIn("is retiring already", await self.refused("dkim", "retire", ACME, "s1"))
        noted = await self.pool.query("select command, what from audit where command like '% dkim %' order by id")
        retired = [("mtactl dkim retire", f"{selector}._domainkey.{ACME}") for selector in ("s2", "s1")]
        self.assertEqual(noted, [("mtactl dkim generate", f"s2._domainkey.{ACME}"), *retired])
        self.assertNotIn("s2._domainkey", await self.mtactl("dkim", "list", ACME))

    async def test_an_apply_leaves_what_is_begun_and_brings_back_nothing_that_is_gone(self) -> None:
        await self.mtactl("dkim", "generate", ACME, "--selector", "s2")
        file = self.directory / "tenants.yaml"
        self.assertEqual(await self.mtactl("apply", file), "no change\n")
        await self.mtactl("dkim", "retire", ACME, "s1")
        self.assertIn("s1 was retired and would sign again: list the keys that", await self.refused("apply", file))
        self.assertEqual((await self.states())["s1"], "retiring")
        self.assertIn("state retiring -> active", await self.mtactl("apply", "--replace-keys", file))
        moves = [KeyMove(ACME, "s1", KeyState.ACTIVE, KeyState.REVOKED)]
        await self.pool.interact(lambda cursor: move_keys(cursor, moves, 0.0))
        self.assertIn("s1 was revoked, and its key is gone", await self.refused("apply", file))

    async def test_private_keys_are_sealed_by_hand(self) -> None:
        old, new = (base64.b64encode(octet * 32).decode() for octet in (b"o", b"n"))
        self.assertIn("dkim.master_key: is not set", await self.refused("dkim", "seal"))
        variable = {"MTAD_MASTER_KEY": f"old:{old}"}
        self.assertEqual(await self.mtactl("dkim", "seal", **variable), "1 keys sealed with old\n")
        self.assertEqual(await self.mtactl("dkim", "seal", **variable), "no change\n")
        await self.mtactl("dkim", "generate", ACME, "--selector", "s2", **variable)
        both = {"MTAD_MASTER_KEY": f"new:{new},old:{old}"}
        self.assertEqual(await self.mtactl("dkim", "seal", **both), "2 keys sealed with new\n")
        listed = json.loads(await self.mtactl("dkim", "list", ACME, "--json"))
        self.assertEqual([key["sealed_with"] for key in listed], ["new", "new"])
        ended = await self.run_raw("--config", self.config, "dkim", "seal", **variable)
        self.assertEqual(ended.status, 1)
        self.assertIn("the master key new does not open it (2 keys are left as they are)", ended.complaint)
        care = PostgresKeyCare(self.pool, Sealing(parse_master_keys(new)))
        self.assertEqual((await care.seal(10)).locked, tuple(await self.locked(new)))

    async def locked(self, key: str) -> list[object]:
        """Return the keys that a master key alone, called otherwise, does not open: all."""
        return list((await PostgresKeyCare(self.pool, Sealing(parse_master_keys(key))).seal(10)).locked)


class DomainTest(DomainsCase):
    async def zone(self, domain: str = ACME) -> dict[str, list[str]]:
        """Return a zone in which all is published that is to be."""
        said = await self.mtactl("domain", "dns", domain)
        zone = {name: [f"TXT {text}"] for name, text in records(said).items()}
        zone[domain].append("MX 10 mx.test")
        return zone | {"mx.test": ["A 192.0.2.1"]}

    async def test_what_is_published_is_found_good(self) -> None:
        ended = await self.in_zone(await self.zone(), "domain", "verify", ACME)
        self.assertEqual((ended.status, ended.complaint), (0, ""))
        lines = ended.output.splitlines()
        self.assertEqual(lines[0].split(), ["subject", "expected", "seen", "verdict"])
        self.assertEqual([(line.split()[0], line.split()[-1]) for line in lines[1:]], [
            ("ownership", "good"), ("mx", "good"), ("spf", "good"), ("dkim", "good"), ("dmarc", "good"),
        ])  # fmt: skip
        (acme, claimed) = json.loads(await self.mtactl("domain", "list", "--json"))
        self.assertEqual({check["status"] for check in acme["checks"].values()}, {"good"})
        self.assertEqual((claimed["verified"], claimed["checks"]), (False, {}))

    async def test_what_is_not_is_told_and_the_status_is_no_worse_at_once(self) -> None:
        zone = await self.zone()
        zone[ACME] = ["MX 10 far.test", "TXT v=spf1 -all"]
        ended = await self.in_zone(zone, "domain", "verify", ACME, "--json")
        self.assertEqual(ended.status, 1)
        verdicts = {found["subject"]: found["verdict"] for found in json.loads(ended.output)["findings"]}
        good = dict.fromkeys(("ownership", "dkim", "dmarc"), "good")
        self.assertEqual(verdicts, good | {"mx": "bad", "spf": "bad"})
        shown = await self.mtactl("domain", "show", ACME)
        self.assertRegex(shown, r"mx +unknown +\S+ \S+ +1 +10 far.test")

    async def test_without_an_answer_nothing_is_held_against_it(self) -> None:
        self.config.write_text(json.dumps(self.sections | {"dns": {"servers": ["127.0.0.1:1"], "timeout": "100ms"}}))
        ended = await self.run_raw("--config", self.config, "domain", "verify", ACME)
        self.assertEqual(ended.status, 1)
        self.assertEqual(ended.output.count("no answer"), 4)
        self.assertNotIn("bad", await self.mtactl("domain", "list"))

    async def test_keys_move_on_as_far_as_they_may(self) -> None:
        await self.mtactl("dkim", "generate", ACME, "--selector", "s2")
        zone = await self.zone()
        ended = await self.in_zone(zone, "domain", "verify", ACME)
        self.assertIn("dkim key s2: generated -> published\n", ended.output)
        ended = await self.in_zone(zone, "domain", "verify", ACME)
        self.assertNotIn("->", ended.output, "it has to be seen again a while later")
        await self.pool.query("update dkim_keys set published_at = published_at - interval '11 minutes' returning id")
        ended = await self.in_zone(zone, "domain", "verify", ACME)
        self.assertIn("dkim key s2: published -> active\ndkim key s1: active -> retiring\n", ended.output)
        noted = await self.pool.query(
            "select what, count from audit where command = 'mtactl domain verify' order by id"
        )
        self.assertEqual(noted, [(ACME, 1), (ACME, 2)], "what moved nothing is no deed")

    async def test_a_claim_is_proven(self) -> None:
        zone = await self.zone("claimed.example")
        self.assertRegex(zone["_mtad-challenge.claimed.example"][0], "^TXT mtad-domain-verification=[0-9a-f-]{36}$")
        ended = await self.in_zone(
            zone | {"_mtad-challenge.claimed.example": []}, "domain", "verify", "claimed.example"
        )
        self.assertEqual(ended.status, 1)
        ended = await self.in_zone(zone, "domain", "verify", "claimed.example")
        self.assertIn("claimed.example is verified from now on\n", ended.output)
        self.assertIn("claimed.example of ann: verified", await self.mtactl("domain", "show", "claimed.example"))
        self.assertNotIn("_mtad-challenge", await self.mtactl("domain", "dns", "claimed.example"))

    async def test_lists(self) -> None:
        lines = (await self.mtactl("domain", "list", "--organisation", "ann")).splitlines()
        self.assertEqual(lines[1].split(), ["claimed.example", "ann", "no", "-", "-", "-", "-"])
        for command in ("show", "dns", "verify"):
            self.assertIn("none.example: no organisation", await self.refused("domain", command, "none.example"))
