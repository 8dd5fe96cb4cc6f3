"""mtactl as an operator runs it: a process of its own, its output and its exit status."""

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mtad.adapters.passwords import verify_password
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.writer import Writer
from mtad.model.event import DEFERRED, RECEIVED, ROUTED, Event
from mtad.model.identity import print_id
from mtad.model.job import Acceptance
from mtad.testing.spool import MemorySpool
from tests.contract.letters import NOW, letter, message, recipients
from tests.stores import database, wait_stopped

DEMO = Path(__file__).parents[2] / "docs" / "demo.yaml"
MESSAGE, OTHER = 10**15, 10**15 + 1


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    output: str
    complaint: str
    status: int


class Terminal(ProcessProtocol):
    """The other end of a terminal: `ended` fires with all that was written to it."""

    def __init__(self) -> None:
        self.ended: Deferred[str] = Deferred()
        self._written = b""

    def outReceived(self, data: bytes) -> None:
        self._written += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(self._written.decode())


def started(coroutine: object) -> Deferred:
    return Deferred.fromCoroutine(coroutine)


class MtactlCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mtad-mtactl-")).resolve()
        self.directory.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.directory)
        self.config = self.written("config.yaml", "server: {hostname: mail.example.org}\n")

    def written(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    async def run_raw(self, *words: object, **variables: str) -> Ended:
        """Run mtactl with these words and an environment that has nothing of ours but `variables`."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
        output, complaint, status = await getProcessOutputAndValue(
            sys.executable, ["-m", "mtad.ctl", *map(str, words)], environment, str(self.directory)
        )
        return Ended(output.decode(), complaint.decode(), status)

    async def mtactl(self, *words: object, **variables: str) -> str:
        """Run mtactl with the configuration of this test; return its output."""
        ended = await self.run_raw("--config", self.config, *words, **variables)
        self.assertEqual((ended.complaint, ended.status), ("", 0))
        return ended.output

    async def refused(self, *words: object, **variables: str) -> str:
        """Run mtactl, which is to say no in one line; return that."""
        ended = await self.run_raw("--config", self.config, *words, **variables)
        self.assertEqual((ended.output, ended.status), ("", 1))
        self.assertRegex(ended.complaint, r"\Amtactl: .*\n\Z")
        return ended.complaint


class DatabaseCase(MtactlCase):
    async def setUp(self) -> None:
        super().setUp()
        self.parameters = database()
        names = {"host": "host", "port": "port", "dbname": "name", "user": "user", "password": "password"}
        keys = {names[key]: value for key, value in self.parameters.items()}
        keys["port"] = int(keys.get("port", 5432))
        self.written("config.yaml", json.dumps({"database": keys}))
        self.pool = Pool(reactor, self.parameters, 2)
        self.addCleanup(lambda: started(self.pool.stop()))
        await self.pool.start()


class MigrateTest(DatabaseCase):
    async def test_it_says_what_it_applied(self) -> None:
        self.assertEqual(await self.mtactl("migrate"), "no change\n")
        await self.pool.query("drop schema public cascade")
        await self.pool.query("create schema public")
        self.assertRegex(await self.mtactl("migrate"), r"^applied 1\b.*\n$")

    async def test_where_it_is_not_done_at_the_start_it_has_to_be_asked_for(self) -> None:
        self.config.write_text(self.config.read_text().replace('{"host"', '{"migrate": "never", "host"'))
        await self.pool.query("drop schema public cascade")
        await self.pool.query("create schema public")
        said = await self.refused("queue", "list")
        self.assertIn("mtactl: database: its schema lacks 0001_the_house.sql", said)
        await self.mtactl("migrate")
        await self.mtactl("queue", "list")

    async def test_a_schema_that_is_too_new_is_refused(self) -> None:
        await self.pool.query("insert into schema_version (version, oldest_code) values (9001, 9000)")
        self.assertIn("its schema needs mtad of schema version 9000 or later", await self.refused("queue", "list"))


class DestinationTest(DatabaseCase):
    async def test_what_is_wanted_of_a_destination(self) -> None:
        self.assertEqual(json.loads(await self.mtactl("destination", "list", "--json")), [])
        self.assertEqual(await self.mtactl("destination", "set", "B\u00fccher.example", "--tls", "verify"),
                         "xn--bcher-kva.example: tls verify\n")  # fmt: skip
        await self.mtactl("destination", "set", "a.example", "--tls", "none")
        self.assertEqual(await self.mtactl("destination", "set", "a.example", "--tls", "none"), "no change\n")
        wanted = [{"domain": "a.example", "tls": "none"}, {"domain": "xn--bcher-kva.example", "tls": "verify"}]
        self.assertEqual(json.loads(await self.mtactl("destination", "list", "--json")), wanted)
        self.assertEqual(json.loads(await self.mtactl("destination", "show", "A.example", "--json")), wanted[0])
        self.assertRegex(await self.mtactl("destination", "show", "a.example"), r"\Adomain +tls\na.example +none\n\Z")
        self.assertEqual(await self.mtactl("destination", "remove", "a.example"), "a.example: removed\n")
        for command in ("show", "remove"):
            said = await self.refused("destination", command, "a.example")
            self.assertEqual(said, "mtactl: a.example: nothing is wanted of this destination\n")

    async def test_a_wrong_level_or_domain_is_a_wrong_command_line(self) -> None:
        for words in (
            ("a.example", "--tls", "much"),
            ("a.example",),
            ("a b", "--tls", "may"),
            ("x@y.example", "--tls", "may"),
        ):
            ended = await self.run_raw("--config", self.config, "destination", "set", *words)
            self.assertEqual((ended.output, ended.status), ("", 2))


class ApplyTest(DatabaseCase):
    async def counts(self) -> tuple[int, int, int]:
        tables = ("domains", "mailboxes", "aliases")
        return tuple([(await self.pool.query(f"select count(*) from {table}"))[0][0] for table in tables])

    async def test_the_demo_is_applied_once(self) -> None:
        told = await self.mtactl("apply", DEMO, "--dry-run")
        self.assertEqual(await self.counts(), (0, 0, 0))
        done = await self.mtactl("apply", DEMO)
        self.assertEqual(told, done.replace("6 added", "dry run: 6 added"))
        self.assertIn("+ mailbox bob@acme.example: password\n", done)
        self.assertNotIn("wonderland", done)
        self.assertEqual(await self.counts(), (1, 2, 1))
        ((password_hash,),) = await self.pool.query("select password_hash from mailboxes where folded = 'alice'")
        self.assertTrue(verify_password(password_hash, "wonderland"))
        self.assertEqual(await self.mtactl("apply", DEMO), "no change\n")
        self.assertEqual(await self.mtactl("apply", "--dry-run", DEMO), "dry run: no change\n")

    async def test_a_file_with_something_wrong_at_its_end_changes_nothing(self) -> None:
        beginning = "organisations:\n- name: acme\n  domains:\n  - {name: a.example}\n"
        for ending, complaint in {
            "  - {name: b.example, limit: 3}": "5: organisations[0].domains[1].limit: unknown key",
            "  - {name: b.example, catch_all: x@c.example}": "5: organisations[0].domains[1].catch_all: expected",
            "- {name: other, domains: [{name: A.example}]}": "5: organisations[1].domains[0].name: expected each",
            "- {": "5: not YAML",
        }.items():
            file = self.written("tenants.yaml", beginning + ending)
            self.assertIn(f"{file}:{complaint}", await self.refused("apply", file))
            self.assertEqual(await self.counts(), (0, 0, 0))

    async def test_a_domain_of_another_organisation_changes_nothing(self) -> None:
        await self.mtactl("apply", DEMO)
        file = self.written("theft.yaml", "organisations:\n- {name: thief, domains: [{name: acme.example}]}\n")
        for words in (["apply", file], ["apply", file, "--dry-run"]):
            said = await self.refused(*words)
            self.assertIn(":2: organisations[0].domains[0].name: belongs to organisation acme", said)
        self.assertEqual(await self.pool.query("select name from organisations order by id"), [("system",), ("acme",)])


class DkimTest(DatabaseCase):
    async def test_the_demos_key_and_the_record_to_publish(self) -> None:
        await self.mtactl("apply", DEMO)
        (key,) = json.loads(await self.mtactl("dkim", "list", "acme.example", "--json"))
        self.assertEqual((key["selector"], key["algorithm"], key["state"]), ("s1", "rsa2048", "active"))
        self.assertEqual(key["name"], "s1._domainkey.acme.example")
        ((public_key,),) = await self.pool.query("select public_key from dkim_keys")
        self.assertEqual(key["text"], f"v=DKIM1; k=rsa; p={public_key}")
        listed = (await self.mtactl("dkim", "list", "ACME.example")).splitlines()
        self.assertEqual(
            [line.split()[:3] for line in listed[:2]], [["selector", "algorithm", "state"], ["s1", "rsa2048", "active"]]
        )
        name, _, strings = listed[3].partition(" IN TXT ( ")
        self.assertEqual(name, "s1._domainkey.acme.example.")
        parts = strings.removesuffix(" )").split('" "')
        self.assertEqual("".join(parts).strip('"'), key["text"])
        self.assertTrue(all(len(part.strip('"')) <= 255 for part in parts))

    async def test_a_domain_nobody_has(self) -> None:
        self.assertIn(
            "none.example: no organisation here has this domain", await self.refused("dkim", "list", "none.example")
        )


class QueueTest(DatabaseCase):
    async def setUp(self) -> None:
        await super().setUp()
        writer = Writer(reactor, self.parameters, Random(1))
        await writer.start()
        self.addCleanup(lambda: started(writer.stop()))
        node = await PostgresNodes(self.pool).join("test", NOW)
        self.queue = queue = PostgresQueue(writer, self.pool, MemorySpool())
        events = (
            Event(RECEIVED, NOW, {"peer": "192.0.2.1", "helo": "a b\\x1b", "size": 7, "tls": None}),
            Event(ROUTED, NOW + 0.5, {"recipients": ["user0@acme.example", "user1@acme.example"]}),
        )
        self.owner = node.owner
        await queue.accept(letter(MESSAGE, recipients=recipients(2), events=events), node.owner)
        await queue.accept(letter(OTHER, reverse_path=None, received_at=NOW + 1), node.owner)
        await self.pool.query("update message_queue set status = 'held', owner = null where message = %s", (OTHER,))
        self.ids = [print_id(MESSAGE), print_id(OTHER)]

    async def test_what_waits_is_listed_oldest_first(self) -> None:
        lines = (await self.mtactl("queue", "list")).splitlines()
        self.assertEqual(lines[0].split(), ["id", "received", "size", "from", "to", "status", "attempts", "due"])
        self.assertEqual([line.split()[0] for line in lines[1:]], [self.ids[0], self.ids[0], self.ids[1]])
        self.assertIn("2027-01-15 08:00:00", lines[1])
        self.assertIn("<ann@outside.example>", lines[1])
        self.assertIn("user1@acme.example", lines[2])
        self.assertIn("  <>  ", lines[3])
        held = await self.mtactl("queue", "list", "--status", "held")
        self.assertEqual([line.split()[0] for line in held.splitlines()[1:]], [self.ids[1]])

    async def test_a_list_for_programs(self) -> None:
        listed = json.loads(await self.mtactl("queue", "list", "--json"))
        self.assertEqual([message["id"] for message in listed], self.ids)
        self.assertEqual(listed[0]["received_at"], "2027-01-15T08:00:00.000Z")
        self.assertEqual(listed[0]["reverse_path"], "ann@outside.example")
        self.assertIsNone(listed[1]["reverse_path"])
        self.assertEqual(
            [row["recipient"] for row in listed[0]["recipients"]], ["user0@acme.example", "user1@acme.example"]
        )
        self.assertEqual(listed[1]["recipients"][0]["status"], "held")

    async def test_a_list_that_is_cut_says_so(self) -> None:
        for words, first in (((), "id"), (("--json",), "[")):
            cut = await self.run_raw("--config", self.config, "queue", "list", "--limit", "1", *words)
            self.assertEqual((cut.complaint, cut.status), ("… and more: --limit N\n", 0))
            self.assertTrue(cut.output.startswith(first))
            self.assertEqual([number in cut.output for number in self.ids], [True, False])
            whole = await self.mtactl("queue", "list", "--limit", "2", *words)
            self.assertEqual([number in whole for number in self.ids], [True, True])

    async def test_one_message_is_shown(self) -> None:
        shown = await self.mtactl("queue", "show", self.ids[0].lower())
        for part in (self.ids[0], "<ann@outside.example>", "user1@acme.example", "local:acme.example", "delivering"):
            self.assertIn(part, shown)
        self.assertEqual(json.loads(await self.mtactl("queue", "show", self.ids[0], "--json"))["id"], self.ids[0])
        self.assertIn("nothing of it is in the queue", await self.refused("queue", "show", print_id(1)))

    async def statuses(self, number: int) -> list[tuple[int, str]]:
        return await self.pool.query("select n, status from message_queue where message = %s order by n", (number,))

    async def test_a_held_message_is_tried_again(self) -> None:
        said = await self.mtactl("queue", "retry", self.ids[1])
        self.assertEqual(said, f"{self.ids[1]}: 1 recipient due now\n")
        self.assertEqual(await self.statuses(OTHER), [(0, "queued")])
        self.assertRegex(await self.mtactl("trace", self.ids[1]), r'retried .*by="mtactl queue retry"')
        self.assertIn("none of its recipients waits", await self.refused("queue", "retry", self.ids[0]))

    async def free(self) -> None:
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW)

    async def test_what_is_being_delivered_is_left_alone(self) -> None:
        for command in ("retry", "remove", "bounce"):
            self.assertIn("they are being delivered", await self.refused("queue", command, self.ids[0]))
        self.assertEqual(await self.statuses(MESSAGE), [(0, "delivering"), (1, "delivering")])

    async def test_a_message_is_removed(self) -> None:
        await self.free()
        said = await self.mtactl("queue", "remove", self.ids[0])
        self.assertEqual(said, f"{self.ids[0]}: removed with 2 recipients, nobody is told\n")
        self.assertEqual(await self.statuses(MESSAGE), [])
        self.assertEqual(await self.pool.query("select id from messages"), [(OTHER,)])
        self.assertRegex(await self.mtactl("trace", self.ids[0]), r'removed .*by="mtactl queue remove"')

    async def test_a_message_is_returned_to_its_sender(self) -> None:
        await self.free()
        said = await self.mtactl("queue", "bounce", self.ids[0])
        self.assertRegex(said, rf"^{self.ids[0]}: ended for 2 recipients, its sender is told by [0-9A-Z]{{13}}\n$")
        report = said.split()[-1]
        self.assertEqual(await self.statuses(MESSAGE), [])
        self.assertRegex(
            await self.mtactl("trace", self.ids[0]), rf'failed .*by="mtactl queue bounce"  report={report}\n'
        )
        shown = json.loads(await self.mtactl("queue", "show", report, "--json"))
        self.assertIsNone(shown["reverse_path"])
        (to,) = shown["recipients"]
        self.assertEqual(
            (to["recipient"], to["destination"], to["status"]), ("ann@outside.example", "mx:outside.example", "queued")
        )
        self.assertEqual(await self.pool.query("select name from nodes"), [("test",)])

    async def quarantine(self) -> None:
        await self.pool.query(
            "update message_queue set status = 'quarantined', owner = null, due = now() where message = %s", (MESSAGE,)
        )

    async def test_what_is_quarantined_is_listed_and_released(self) -> None:
        await self.quarantine()
        listed = await self.mtactl("queue", "list", "--status", "quarantined")
        self.assertEqual([line.split()[0] for line in listed.splitlines()[1:]], [self.ids[0]] * 2)
        for command in ("retry", "bounce"):
            self.assertIn("none of its recipients waits", await self.refused("queue", command, self.ids[0]))
        said = await self.mtactl("queue", "release", self.ids[0])
        self.assertEqual(said, f"{self.ids[0]}: 2 recipients due now\n")
        self.assertEqual(await self.statuses(MESSAGE), [(0, "queued"), (1, "queued")])
        self.assertRegex(await self.mtactl("trace", self.ids[0]), r'released .*by="mtactl queue release"')
        refusal = await self.refused("queue", "release", self.ids[0])
        self.assertIn("none of its recipients is quarantined", refusal)

    async def test_what_is_quarantined_is_removed(self) -> None:
        await self.quarantine()
        said = await self.mtactl("queue", "remove", self.ids[0])
        self.assertEqual(said, f"{self.ids[0]}: removed with 2 recipients, nobody is told\n")
        self.assertEqual(await self.pool.query("select id from messages"), [(OTHER,)])

    async def test_there_is_nobody_to_return_a_report_to(self) -> None:
        said = await self.mtactl("queue", "bounce", self.ids[1])
        self.assertEqual(said, f"{self.ids[1]}: ended for 1 recipient, there is nobody to tell\n")
        self.assertEqual(await self.pool.query("select id from messages"), [(MESSAGE,)])

    async def test_what_is_not_in_the_queue_is_left_alone(self) -> None:
        for command in ("retry", "release", "remove", "bounce"):
            self.assertIn("nothing of it is in the queue", await self.refused("queue", command, print_id(1)))

    async def test_a_terminal_gets_a_table(self) -> None:
        terminal = Terminal()
        words = [sys.executable, "-m", "mtad.ctl", "--config", str(self.config), "queue", "list"]
        environment = {**os.environ, "TERM": "dumb", "PYTHONUTF8": "1"}
        reactor.spawnProcess(terminal, sys.executable, words, environment, usePTY=True)
        table = await terminal.ended
        self.assertIn("\u2500\u2500\u2500", table)
        for number in self.ids:
            self.assertIn(number, table)

    async def test_a_story_is_told_by_id_message_id_and_address(self) -> None:
        story = await self.mtactl("trace", self.ids[0])
        lines = story.splitlines()
        self.assertEqual(lines[0], self.ids[0])
        self.assertEqual(lines[1], '  2027-01-15 08:00:00  received    peer=192.0.2.1  helo="a b\\x1b"  size=7')
        self.assertEqual(
            lines[2], "  2027-01-15 08:00:00  routed      recipients=user0@acme.example,user1@acme.example"
        )
        for key in (f"<{MESSAGE}@outside.example>", f"{MESSAGE}@OUTSIDE.example"):
            self.assertEqual(await self.mtactl("trace", key), story)
        both = await self.mtactl("trace", "alice@acme.example")
        self.assertEqual([line for line in both.splitlines() if line and line[0] != " "], self.ids[::-1])
        one = await self.mtactl("trace", "alice@acme.example", "--limit", "1")
        self.assertEqual(one.splitlines()[0], self.ids[1])
        self.assertIn("nobody@acme.example: nothing is known of it", await self.refused("trace", "nobody@acme.example"))

    async def test_the_id_a_peer_was_told_finds_the_messages_of_all_organisations(self) -> None:
        told, copy = OTHER + 1, OTHER + 2
        messages = (
            message(told, copies=2),
            message(copy, organisation=2, content_id=told, copies=2, keys=(print_id(told), "eve@other.example")),
        )
        await self.queue.accept(Acceptance(told, b"content", messages), self.owner)
        both = await self.mtactl("trace", print_id(told).lower())
        headings = [line for line in both.splitlines() if line and line[0] != " "]
        self.assertEqual(headings, [print_id(told), print_id(copy)])
        one = await self.mtactl("trace", print_id(copy))
        self.assertNotIn(print_id(told) + "\n", one)
        self.assertEqual(one.splitlines()[0], print_id(copy))

    async def test_facts_are_printed_as_what_they_are(self) -> None:
        facts = {"next_at": NOW + 300.25, "share": 0.1234567890123, "count": 1_234_567, "dead_ends": [], "tls": None}
        await self.queue.accept(letter(OTHER + 1, events=(Event(DEFERRED, NOW + 1, facts),)), self.owner)
        story = await self.mtactl("trace", print_id(OTHER + 1))
        self.assertEqual(
            story.splitlines()[-1],
            '  2027-01-15 08:00:01  deferred    next_at="2027-01-15 08:05:00"  share=0.1234567890123  count=1234567',
        )
        (told,) = json.loads(await self.mtactl("trace", print_id(OTHER + 1), "--json"))
        self.assertEqual(told["events"][-1]["facts"], facts | {"next_at": "2027-01-15T08:05:00.250Z"})

    async def test_a_story_for_programs(self) -> None:
        (story,) = json.loads(await self.mtactl("trace", self.ids[0], "--json"))
        self.assertEqual((story["id"], story["organisation"]), (self.ids[0], 1))
        self.assertEqual([event["kind"] for event in story["events"]], [RECEIVED, ROUTED])
        self.assertEqual(story["events"][1]["at"], "2027-01-15T08:00:00.500Z")
        self.assertEqual(json.loads(await self.mtactl("trace", "--json", "nobody@acme.example")), [])


class EmbeddedTest(MtactlCase):
    timeout = 120

    async def test_it_works_while_no_server_runs_and_leaves_nothing_running(self) -> None:
        ended = await self.run_raw("apply", DEMO)
        self.assertEqual(ended.status, 0, ended)
        self.assertTrue(ended.output.endswith("6 added, 0 changed, 0 removed\n"), ended)
        again = await self.run_raw("apply", DEMO)
        self.assertEqual((again.output, again.status), ("no change\n", 0), again)
        self.assertTrue(wait_stopped(self.directory / "state"))
