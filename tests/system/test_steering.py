"""mtactl as an operator steers the queue with it: by filter, dry, with holds, and on record."""

import base64
import json
import os
import sys
from random import Random
from smtplib import SMTP

from twisted.internet import reactor  # noqa: TID251 - the real one is what is tested
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.nodes import PostgresNodes
from mtad.adapters.postgres.pool import Cursor
from mtad.adapters.postgres.queue import PostgresQueue
from mtad.adapters.postgres.writer import Writer
from mtad.config import load
from mtad.ctl.access import Stores
from mtad.ctl.person import who
from mtad.ctl.returning import Returning
from mtad.ctl.selecting import CONFIRM_OVER
from mtad.model.address import Address
from mtad.model.envelope import Recipient
from mtad.model.errors import Unavailable
from mtad.model.identity import first_id, print_id
from mtad.testing.spool import MemorySpool
from tests.contract.letters import ANN, NOW, letter, recipients
from tests.system.server import RunningServer
from tests.system.test_mtactl import DEMO, DatabaseCase, Terminal, started

FIRST, SECOND, THIRD = 10**15, 10**15 + 1, 10**15 + 2
BOB = Address("bob", "other.example")


class Answering(Terminal):
    """A terminal where somebody answers the first question with `answer`; `status` is how the command ended."""

    status: int | None = None

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        super().outReceived(data)
        self._said += data
        if b"[y/N]" in self._said:
            self.transport.write(self._answer)
            self._said = b""

    def processEnded(self, reason: Failure) -> None:
        self.status = reason.value.exitCode
        super().processEnded(reason)


class Unwritable(Trail):
    """A row of the audit that cannot be written."""

    async def add(self, cursor: Cursor, count: int, now: float) -> None:
        raise Unavailable("postgres", "away")


class SteeringTest(DatabaseCase):
    """FIRST and SECOND go to acme.example, THIRD to other.example; all wait."""

    timeout = 120

    async def setUp(self) -> None:
        await super().setUp()
        writer = Writer(reactor, self.parameters, Random(1))
        await writer.start()
        self.addCleanup(lambda: started(writer.stop()))
        self.owner = (await PostgresNodes(self.pool).join("test", NOW)).owner
        self.queue = PostgresQueue(writer, self.pool, MemorySpool())
        await self.queue.accept(letter(FIRST, recipients=recipients(2)), self.owner)
        await self.queue.accept(letter(SECOND, reverse_path=None), self.owner)
        to_bob = (Recipient(0, BOB, BOB, "mx:other.example"),)
        await self.queue.accept(letter(THIRD, recipients=to_bob), self.owner)
        await self.free()
        self.ids = [print_id(number) for number in (FIRST, SECOND, THIRD)]

    async def free(self) -> None:
        await self.queue.release(await self.queue.owned(self.owner), self.owner, NOW)

    async def statuses(self) -> list[tuple[int, str]]:
        return await self.pool.query("select message, status from message_queue order by message, n")

    async def audit(self) -> list[tuple[str, str, int]]:
        deeds = json.loads(await self.mtactl("audit", "--json"))
        self.assertEqual({deed["who"] for deed in deeds} | {who()}, {who()})
        return [(deed["command"], deed["what"], deed["count"]) for deed in reversed(deeds)]

    async def test_a_dry_run_counts_and_shows_and_changes_nothing(self) -> None:
        before = await self.statuses()
        for command in ("retry", "remove", "bounce"):
            said = await self.mtactl("queue", command, "--sender", "ann@outside.example", "--dry-run")
            first, columns, *lines = said.splitlines()
            self.assertEqual((first, columns.split()[0]), ("dry run: 3 recipients", "id"))
            self.assertEqual([line.split()[0] for line in lines], [self.ids[0], self.ids[0], self.ids[2]])
        said = await self.mtactl("queue", "remove", "--sender", "nobody@outside.example", "--dry-run")
        self.assertEqual(said, "dry run: 0 recipients\n")
        self.assertEqual(await self.statuses(), before)
        self.assertEqual(await self.audit(), [])

    async def test_a_selection_is_retried_and_removed(self) -> None:
        said = await self.mtactl("queue", "retry", "--recipient-domain", "acme.example", "--status", "queued")
        self.assertEqual(said, "3 recipients due now\n")
        said = await self.mtactl("queue", "remove", "--recipient", "user1@acme.example", "--organisation", "system")
        self.assertEqual(said, "1 recipient removed, nobody is told\n")
        self.assertEqual(len(await self.statuses()), 3)
        said = await self.mtactl("queue", "remove", *self.ids)
        self.assertEqual(said, "3 recipients removed, nobody is told\n")
        self.assertEqual(await self.pool.query("select count(*) from messages"), [(0,)])
        self.assertEqual(
            await self.audit(),
            [
                ("mtactl queue retry", "recipient-domain=acme.example status=queued", 3),
                ("mtactl queue remove", "organisation=system recipient=user1@acme.example", 1),
                ("mtactl queue remove", " ".join(self.ids), 3),
            ],
        )
        table = await self.mtactl("audit")
        self.assertEqual(table.splitlines()[0].split(), ["at", "who", "command", "count", "what"])

    async def test_a_selection_is_returned_to_its_senders(self) -> None:
        said = await self.mtactl("queue", "bounce", "--recipient", "user1@acme.example")
        self.assertEqual(said, "1 recipient ended, and their senders are told\n")
        left = await self.pool.query("select recipient from message_queue where message = %s", (FIRST,))
        self.assertEqual(left, [("user0@acme.example",)])
        said = await self.mtactl("queue", "bounce", "--domain", "other.example")
        self.assertEqual(said, "1 recipient ended, and their senders are told\n")
        reports = await self.pool.query("select recipient from message_queue where destination = 'mx:outside.example'")
        self.assertEqual(reports, [(ANN.plain,)] * 2)
        self.assertEqual([count for _, _, count in await self.audit()], [1, 1])
        self.assertEqual(await self.pool.query("select name from nodes"), [("test",)])

    async def test_what_cannot_be_put_on_record_is_not_returned(self) -> None:
        stores = Stores(reactor, self.pool, self.queue)
        returning = Returning(stores, load(self.config, {}), "test")
        await returning.begin()
        with self.assertRaises(Unavailable):
            await returning.give_back(FIRST, (), Unwritable("ops", "mtactl queue bounce", "all"))
        await returning.end()
        self.assertEqual([status for message, status in await self.statuses() if message == FIRST], ["queued"] * 2)
        self.assertEqual(await self.audit(), [])

    async def test_the_content_of_what_was_returned_is_kept_as_any_other(self) -> None:
        sections = json.loads(self.config.read_text()) | {"queue": {"keep_content": "7d"}}
        self.config.write_text(json.dumps(sections))
        now = SystemClock().now()
        new = first_id(now)
        await self.queue.accept(letter(new, received_at=now), self.owner)
        await self.free()
        await self.mtactl("queue", "bounce", print_id(new))
        self.assertEqual(await self.mtactl("queue", "content", print_id(new)), "content")
        await self.mtactl("queue", "bounce", self.ids[0])
        self.assertIn("its content is not there", await self.refused("queue", "content", self.ids[0]))

    async def test_what_selects_nothing_or_everything(self) -> None:
        self.assertEqual(await self.mtactl("queue", "retry", "--sender", "*@none.example"), "0 recipients due now\n")
        for words in (("retry",), ("retry", "--sender", "x y"), ("retry", "--older-than", "soon"), ("bounce", "x")):
            ended = await self.run_raw("--config", self.config, "queue", *words)
            self.assertEqual((ended.output, ended.status), ("", 2), words)
        said = await self.refused("queue", "retry", "--organisation", "nobody")
        self.assertIn("nobody: there is no organisation of that name", said)

    async def many(self) -> None:
        await self.queue.accept(letter(THIRD + 1, recipients=recipients(CONFIRM_OVER)), self.owner)
        await self.free()

    async def test_much_is_not_done_unasked(self) -> None:
        await self.many()
        words = ["queue", "remove", "--domain", "acme.example"]
        self.assertIn(f"{CONFIRM_OVER + 3} recipients: --dry-run shows some, --yes does it", await self.refused(*words))
        command = [sys.executable, "-m", "mtad.ctl", "--config", str(self.config), *words]
        for answer, status in ((b"n\n", 130), (b"\x03", 130), (b"y\n", 0)):
            terminal = Answering(answer)
            reactor.spawnProcess(terminal, sys.executable, command, {**os.environ, "TERM": "dumb"}, usePTY=True)
            written = await terminal.ended
            self.assertIn(f"Remove {CONFIRM_OVER + 3} recipients?", written)
            self.assertEqual(terminal.status, status, written)
            self.assertEqual(len(await self.statuses()), 1 if status == 0 else CONFIRM_OVER + 4)
        await self.many()
        said = await self.mtactl(*words, "--yes")
        self.assertEqual(said, f"{CONFIRM_OVER} recipients removed, nobody is told\n")

    async def test_a_hold_is_placed_listed_and_released(self) -> None:
        dry = await self.mtactl("queue", "hold", "--sender", "@Outside.example", "--reason", "spam?", "--dry-run")
        self.assertTrue(dry.startswith("dry run: 3 recipients\n"), dry)
        kept = "update message_queue set status = %s, owner = %s where message = %s and n = 0"
        await self.pool.query(kept, ("quarantined", None, FIRST))
        await self.pool.query(kept, ("delivering", self.owner, THIRD))
        dry = await self.mtactl("queue", "hold", "--sender", "@Outside.example", "--reason", "spam?", "--dry-run")
        self.assertTrue(dry.startswith("dry run: 1 recipient\n"), "what is delivered or kept anyway is not kept by it")
        await self.pool.query(kept, ("queued", None, FIRST))
        await self.pool.query(kept, ("queued", None, THIRD))
        said = await self.mtactl(
            "queue",
            "hold",
            "--sender",
            "@Outside.example",
            "--organisation",
            "system",
            "--reason",
            "spam?",
            "--for",
            "2h",
        )
        self.assertEqual(said, "hold 1: sender *@outside.example of organisation system\n")
        (hold,) = json.loads(await self.mtactl("queue", "holds", "--json"))
        self.assertEqual(
            [hold[name] for name in ("hold", "scope", "what", "organisation", "recipients", "by", "reason")],
            [1, "sender", "*@outside.example", "system", 0, who(), "spam?"],
        )
        self.assertIsNotNone(hold["until"])
        await self.pool.query("update message_queue set status = 'held', hold = 1 where message = %s", (FIRST,))
        listed = (await self.mtactl("queue", "holds")).splitlines()[1].split()
        self.assertEqual(listed[:6], ["1", "sender", "*@outside.example", "of", "organisation", "system"])
        dry = await self.mtactl("queue", "release", "--hold", "1", "--dry-run")
        self.assertTrue(dry.startswith("dry run: hold 1: 2 recipients held\n"), dry)
        said = await self.mtactl("queue", "release", "--sender", "*@outside.example", "--organisation", "system")
        self.assertEqual(said, "hold 1: released, 2 recipients due now\n")
        self.assertEqual(json.loads(await self.mtactl("queue", "holds", "--json")), [])
        self.assertIn("hold 1: there is none that stands", await self.refused("queue", "release", "--hold", "1"))
        story = await self.mtactl("trace", self.ids[0])
        self.assertIn(f"by={who()}", story.replace('"', ""))
        self.assertEqual(
            await self.audit(),
            [("mtactl queue hold", "hold 1: sender *@outside.example", 1), ("mtactl queue release", "hold 1", 1)],
        )

    async def test_one_message_is_held_at_once_and_released_by_its_id(self) -> None:
        said = await self.mtactl("queue", "hold", self.ids[0], self.ids[2], "--reason", "a look first")
        self.assertEqual(said, f"hold 1: message {self.ids[0]}\nhold 2: message {self.ids[2]}\n")
        statuses = [status for _, status in await self.statuses()]
        self.assertEqual(statuses, ["held", "held", "queued", "held"])
        self.assertIn("none of its recipients waits", await self.refused("queue", "retry", self.ids[0]))
        self.assertRegex(await self.mtactl("trace", self.ids[0]), r'held .*reason="a look first"')
        said = await self.mtactl("queue", "release", self.ids[0])
        self.assertEqual(said, "hold 1: released, 2 recipients due now\n")
        statuses = [status for _, status in await self.statuses()]
        self.assertEqual(statuses, ["queued", "queued", "queued", "held"])
        said = await self.mtactl("queue", "bounce", self.ids[2])
        self.assertIn(f"{self.ids[2]}: ended for 1 recipient", said)

    async def test_a_release_goes_on_where_another_died(self) -> None:
        await self.mtactl("queue", "hold", self.ids[0], "--reason", "a look first")
        await self.pool.query("update holds set released_at = now(), released_by = 'somebody'")
        await self.mtactl("queue", "hold", self.ids[2], "--reason", "a look first")
        said = await self.mtactl("queue", "release", "--hold", "2")
        self.assertEqual(said, "hold 2: released, 3 recipients due now\n")
        self.assertIn("by=somebody", await self.mtactl("trace", self.ids[0]))

    async def test_wrong_holds(self) -> None:
        for words in (
            ("hold", "--reason", "x"),
            ("hold", "--domain", "a.example"),
            ("hold", "--domain", "a.example", "--sender", "<>", "--reason", "x"),
            ("hold", self.ids[0], "--organisation", "system", "--reason", "x"),
            ("release",),
            ("release", "--status", "held"),
            ("release", "--hold", "1", "--sender", "<>"),
        ):
            ended = await self.run_raw("--config", self.config, "queue", *words)
            self.assertEqual((ended.output, ended.status), ("", 2), words)
        said = await self.refused("queue", "hold", "--domain", "elsewhere.example", "--reason", "x")
        self.assertIn("elsewhere.example: no organisation here has this domain", said)
        self.assertIn("no such hold stands", await self.refused("queue", "release", "--sender", "<>"))

    async def test_what_is_quarantined_is_released_by_filter(self) -> None:
        await self.pool.query("update message_queue set status = 'quarantined' where message <> %s", (SECOND,))
        said = await self.mtactl("queue", "release", "--status", "quarantined", "--recipient-domain", "acme.example")
        self.assertEqual(said, "2 recipients due now\n")
        self.assertEqual([status for _, status in await self.statuses()], ["queued"] * 3 + ["quarantined"])
        (deed,) = await self.audit()
        self.assertEqual(deed, ("mtactl queue release", "recipient-domain=acme.example status=quarantined", 2))

    async def test_the_list_and_the_counts(self) -> None:
        listed = await self.mtactl("queue", "list", "--recipient", "bob@other.example")
        self.assertEqual([line.split()[0] for line in listed.splitlines()[1:]], [self.ids[2]])
        (most, *_) = json.loads(await self.mtactl("queue", "stats", "--json"))
        self.assertEqual(
            (most["organisation"], most["destination"], most["status"], most["recipients"]),
            ("system", "local:acme.example", "queued", 3),
        )
        cut = await self.run_raw("--config", self.config, "queue", "stats", "--limit", "1")
        self.assertEqual((cut.complaint, cut.status), ("… and more: --limit N\n", 0))
        self.assertEqual(cut.output.splitlines()[1].split()[:4], ["system", "local:acme.example", "queued", "3"])

    async def test_a_content_is_printed_and_that_is_on_record(self) -> None:
        self.assertEqual(await self.mtactl("queue", "content", self.ids[0]), "content")
        await self.mtactl("queue", "remove", self.ids[0])
        self.assertIn("its content is not there", await self.refused("queue", "content", self.ids[0]))
        self.assertEqual((await self.audit())[0], ("mtactl queue content", self.ids[0], 1))

    async def test_what_other_commands_change_is_on_record(self) -> None:
        await self.mtactl("apply", DEMO, "--dry-run")
        await self.mtactl("apply", DEMO)
        await self.mtactl("apply", DEMO)
        await self.mtactl("destination", "set", "slow.example", "--tls", "none")
        await self.mtactl("destination", "remove", "slow.example")
        await self.mtactl("dkim", "generate", "acme.example", "--algorithm", "ed25519", "--selector", "e1")
        await self.mtactl("dkim", "retire", "acme.example", "e1")
        rotated = await self.mtactl("dkim", "rotate", "acme.example", "--algorithm", "ed25519")
        master_key = base64.b64encode(b"k" * 32).decode()
        for _ in range(2):
            await self.mtactl("dkim", "seal", MTAD_MASTER_KEY=f"one:{master_key}")
        key = "e1._domainkey.acme.example"
        self.assertEqual(
            await self.audit(),
            [
                ("mtactl apply", str(DEMO), 6),
                ("mtactl destination set", "slow.example tls=none", 1),
                ("mtactl destination remove", "slow.example", 1),
                ("mtactl dkim generate", key, 1),
                ("mtactl dkim retire", key, 1),
                ("mtactl dkim rotate", f"{rotated.splitlines()[1].split()[0]}._domainkey.acme.example", 1),
                ("mtactl dkim seal", "with one", 2),
            ],
        )


class RunningTest(SynchronousTestCase):
    """What commands do to a server that runs."""

    def setUp(self) -> None:
        self.server = RunningServer()
        self.addCleanup(self.server.close)
        self.server.apply()
        self.server.start()

    def send(self, subject: str, to: str = "alice@acme.example") -> None:
        with SMTP("127.0.0.1", self.server.smtp_port) as client:
            client.sendmail("ann@outside.example", [to], f"Subject: {subject}\r\n\r\nhi\r\n")

    def test_mail_on_hold_is_kept_once_the_server_knows_and_goes_when_it_is_released(self) -> None:
        said = self.server.mtactl("queue", "hold", "--recipient-domain", "acme.example", "--reason", "a look first")
        self.assertEqual(said, "hold 1: recipient-domain acme.example\n")
        self.server.wait_for("holds.changed")
        for number in range(5):
            self.send(f"kept {number}")
            self.server.wait_for("delivery.held")
        self.assertEqual(self.server.mail("alice@acme.example"), [])
        rows = self.server.database_ask("select status, hold, count(*) from message_queue group by 1, 2")
        self.assertEqual(rows, [("held", 1, 5)])
        self.assertIn("5 recipients due now", self.server.mtactl("queue", "release", "--hold", "1"))
        for _ in range(5):
            self.server.wait_for("delivery.delivered")
        self.send("free")
        self.server.wait_for("delivery.delivered")
        self.assertEqual(len(self.server.mail("alice@acme.example")), 6)
