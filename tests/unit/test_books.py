"""What a worker has in hand, and what it tells the process' memory."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from mtad.model.content import SPOOL_OCTETS
from mtad.model.job import Job, Row
from mtad.outbound.books import CONTENT_COPIES, ROW_OCTETS, Books, Room
from mtad.outbound.lanes import Bounds
from mtad.scheduling.memory import Memory, Use
from tests.unit.test_lanes import job


class BooksTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.memory = Memory(1_000_000)
        self.books = Books(Room(Bounds(slots=10), content_octets=1_000, spooled_jobs=2), self.memory)

    def used(self) -> int:
        return self.memory.of(Use.DELIVERY)

    def handed_over(self, size: int) -> Job:
        return replace(job("local:acme.example"), size=size)

    def test_a_row_counts_from_when_it_comes_until_it_goes(self) -> None:
        mail = self.handed_over(100)
        (row,) = mail.rows()
        self.books.enter([mail])
        self.assertEqual((self.used(), self.books.row_count), (ROW_OCTETS, 1))
        self.assertTrue(self.books.has(row))
        self.assertFalse(self.books.has(replace(row, claim=row.claim + 1)))
        self.books.count(mail)
        self.assertEqual(self.used(), ROW_OCTETS + CONTENT_COPIES * 100)
        self.books.put_down(mail)
        self.assertEqual(self.used(), ROW_OCTETS)
        self.books.strike([mail])
        self.assertEqual((self.used(), self.books.row_count, self.books.has(row)), (0, 0, False))

    def test_what_came_again_under_a_later_claim_stays(self) -> None:
        mail = self.handed_over(1)
        (target,) = mail.targets
        again = replace(mail, targets=(replace(target, claim=target.claim + 1),))
        self.books.enter([mail])
        self.books.enter([again])
        self.books.strike([mail])
        self.assertTrue(self.books.has(Row(mail.message, target.recipient.n, target.claim + 1)))
        self.assertEqual(self.used(), ROW_OCTETS)

    def test_one_alone_may_exceed_the_room(self) -> None:
        large = replace(job("local:acme.example", claimed=True), size=5_000)
        self.assertFalse(self.books.has_room(large))
        self.assertTrue(self.books.fits(large))
        self.books.count(large)
        self.assertFalse(self.books.fits(replace(job("local:acme.example", claimed=True), size=1)))
        self.assertTrue(self.books.fits(self.handed_over(1)), "it is in memory anyway")

    def test_of_what_is_in_the_spool_jobs_are_counted(self) -> None:
        spooled = replace(job("local:acme.example", claimed=True), size=SPOOL_OCTETS + 1)
        for _ in range(2):
            self.assertTrue(self.books.has_room(spooled))
            self.books.count(spooled)
        self.assertFalse(self.books.has_room(spooled))
        self.assertEqual((self.used(), self.books.content_octets), (0, 0))
        self.books.count(spooled, -1)
        self.assertTrue(self.books.has_room(spooled))

    def test_a_claimed_job_that_did_not_begin_has_no_content_to_put_down(self) -> None:
        self.books.put_down(replace(job("local:acme.example", claimed=True), size=100))
        self.assertEqual(self.books.content_octets, 0)
