"""mtad.outbound.maildir and .local: names, files on disk, batches."""

import errno
import os
import stat
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred as Pending
from twisted.trial.unittest import SynchronousTestCase

from mtad.model.address import Address
from mtad.model.content import Content
from mtad.model.envelope import Recipient
from mtad.model.errors import Unavailable
from mtad.model.identity import print_id
from mtad.model.job import Job, Target
from mtad.model.outcome import Deferred, Delivered, Outcome, Scope
from mtad.model.tenant import Mailbox
from mtad.outbound import local, maildir
from mtad.outbound.local import MaildirWriter
from mtad.outbound.maildir import file_name, mailbox_path, unix_lines
from mtad.testing.offload import MemoryOffload
from mtad.testing.spool import MemorySpool

ALICE = Address("alice", "acme.example")
CONTENT = b"Subject: hi\r\n\r\nFrom here\r\n.dot\r\n"
HOUR = 3600.0


class MailboxPathTest(SynchronousTestCase):
    def test_plain_names_stay_as_they_are(self) -> None:
        self.assertEqual(
            mailbox_path("alice.b_c-d+e9", "xn--bcher-kva.example"), "xn--bcher-kva.example/alice.b_c-d+e9"
        )

    def test_everything_else_is_escaped(self) -> None:
        for local_part, escaped in {
            "Alice": "%41lice",
            "a/b": "a%2Fb",
            "a%2Fb": "a%252%46b",
            "..": "%2E%2E",
            ".": "%2E",
            ".a": "%2Ea",
            "a.": "a%2E",
            "a..b": "a..b",
            "a\0b": "a%00b",
            "a b@c": "a%20b%40c",
            "jürgen": "j%C3%BCrgen",
        }.items():
            self.assertEqual(mailbox_path(local_part, "acme.example"), f"acme.example/{escaped}")

    def test_a_hostile_domain_stays_below_the_root_too(self) -> None:
        self.assertEqual(mailbox_path("a", "../../etc"), "%2E.%2F..%2Fetc/a")

    def test_nothing_is_no_name(self) -> None:
        self.assertRaises(ValueError, mailbox_path, "", "acme.example")
        self.assertRaises(ValueError, mailbox_path, "a", "")

    @given(st.text(min_size=1), st.text(min_size=1))
    def test_two_names_below_the_root_whatever_comes(self, local_part: str, domain: str) -> None:
        parts = mailbox_path(local_part, domain).split("/")
        self.assertEqual(len(parts), 2)
        for part in parts:
            self.assertNotIn(part, ("", ".", ".."))
            self.assertRegex(part, r"\A[a-z0-9+_.%A-F-]+\Z")
            self.assertFalse(part.startswith("."))

    @given(st.text(min_size=1, max_size=4), st.text(min_size=1, max_size=4))
    @settings(max_examples=300)
    def test_different_local_parts_never_share_a_maildir_even_where_case_is_folded(self, one: str, other: str) -> None:
        if one != other:
            self.assertNotEqual(mailbox_path(one, "d").lower(), mailbox_path(other, "d").lower())


class FileNameTest(SynchronousTestCase):
    def test_is_made_of_time_id_n_and_host(self) -> None:
        self.assertEqual(
            file_name(1900000000.9, 7, 3, "mx.acme.example"), f"1900000000.{print_id(7)}_3.mx.acme.example"
        )

    def test_a_hostname_cannot_add_parts(self) -> None:
        self.assertTrue(file_name(0, 7, 0, "a/b:2,S").endswith("_0.a\\057b\\0722\\054S"))


def job(message: int = 7, *, n: int = 0, claim: int = 1, reverse_path: Address | None = None) -> Job:
    target = Target(Recipient(n, ALICE, ALICE, "local:acme.example"), claim, claim - 1, 2e9)
    return Job(message, 10, "local:acme.example", reverse_path, 7, 100, 1900000000.5, 1, 1, (target,))


class WriterCase(SynchronousTestCase):
    """Writes below a directory of the test's own."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.offload = MemoryOffload()
        self.writer = MaildirWriter(self.offload, "mx.acme.example")

    def begin(self, work: Job, address: Address = ALICE, content: Content = CONTENT) -> "Pending[Outcome]":
        mailbox = Mailbox(1, 10, address)
        return Pending.fromCoroutine(self.writer.deliver(mailbox, self.root, work, work.targets[0], content))

    def deliver(self, work: Job, address: Address = ALICE, content: Content = CONTENT) -> Outcome:
        return self.successResultOf(self.begin(work, address, content))

    def deferred(self, work: Job, address: Address = ALICE) -> Deferred:
        outcome = self.deliver(work, address)
        assert isinstance(outcome, Deferred), outcome
        return outcome

    def files(self, folder: str = "new", mailbox: str = "acme.example/alice") -> list[Path]:
        return sorted((self.root / mailbox / folder).iterdir())


class MaildirWriterTest(WriterCase):
    def test_a_message_lands_in_new_with_its_trace_on_top(self) -> None:
        outcome = self.deliver(job(reverse_path=Address("ann", "outside.example")))
        (file,) = self.files()
        self.assertEqual(file.name, f"1900000000.{print_id(7)}_0.mx.acme.example")
        self.assertEqual(outcome, Delivered(f"acme.example/alice/new/{file.name}"))
        self.assertEqual(
            file.read_bytes(),
            b"Return-Path: <ann@outside.example>\nDelivered-To: alice@acme.example\nSubject: hi\n\nFrom here\n.dot\n",
        )
        self.assertEqual((self.files("tmp"), self.files("cur")), ([], []))

    def test_nobody_else_may_look(self) -> None:
        self.deliver(job())
        (file,) = self.files()
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        for directory in (file.parent, file.parent.parent, file.parent.parent.parent):
            self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700)

    def test_a_hostile_mailbox_name_stays_inside(self) -> None:
        for local_part in ("..", ".", "a/b", "/etc/passwd", "a\0b", "../../../x"):
            self.assertIsInstance(self.deliver(job(), Address(local_part, "acme.example")), Delivered)
        self.assertEqual(os.listdir(self.root.parent), [self.root.name])
        self.assertEqual(os.listdir(self.root), ["acme.example"])

    def test_a_mailbox_without_a_name_has_no_maildir(self) -> None:
        self.assertEqual(self.deferred(job(), Address("", "acme.example")).scope, Scope.RECIPIENT)
        self.assertEqual(os.listdir(self.root), [])

    def test_recipients_of_one_message_have_files_of_their_own(self) -> None:
        self.deliver(job(n=0))
        self.deliver(job(n=1))
        self.assertEqual(len(self.files()), 2)


class SpooledTest(WriterCase):
    """What is in the spool."""

    def setUp(self) -> None:
        super().setUp()
        self.spool = MemorySpool(kept_octets=10)

    def spooled(self, octets: bytes) -> Content:
        gathering = self.spool.gather()
        gathering.add(octets)
        return gathering.content()

    def test_it_lands_like_any_other(self) -> None:
        octets = b"Subject: hi\r\n\r\n" + b"a line\r\n" * 100_000
        self.deliver(job(), content=self.spooled(octets))
        (file,) = self.files()
        self.assertTrue(file.read_bytes().endswith(octets.replace(b"\r\n", b"\n")))

    def test_it_goes_alone_and_does_not_keep_the_small_from_their_turn(self) -> None:
        self.offload.hold()
        content = self.spooled(CONTENT * 300_000)
        large = [self.begin(job(message=n), content=content) for n in (1, 2)]
        small = self.begin(job(message=3))
        self.assertEqual(self.offload.waiting, 2)
        self.offload.release()
        for delivery in (*large, small):
            self.assertIsInstance(self.successResultOf(delivery), Delivered)

    def test_where_it_cannot_be_read_there_is_no_file(self) -> None:
        self.spool.readable_octets = 100
        outcome = self.deliver(job(), content=self.spooled(CONTENT * 100))
        assert isinstance(outcome, Deferred), outcome
        self.assertIn("the spool cannot be read", outcome.detail)
        self.assertEqual((self.files("tmp"), self.files()), ([], []))

    @given(st.lists(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"a"]), max_size=12))
    def test_how_it_is_cut_makes_no_difference_to_its_lines(self, pieces: list[bytes]) -> None:
        self.assertEqual(b"".join(unix_lines(pieces)), b"".join(pieces).replace(b"\r\n", b"\n"))


class AgainTest(WriterCase):
    """A second attempt for the same message and recipient."""

    def again(self) -> Delivered:
        outcome = self.deliver(job(claim=2))
        assert isinstance(outcome, Delivered), outcome
        return outcome

    def test_finds_what_is_in_new(self) -> None:
        self.deliver(job())
        self.assertIn("earlier attempt", self.again().detail)
        self.assertEqual(len(self.files()), 1)

    def test_finds_what_a_reader_moved_and_flagged(self) -> None:
        self.deliver(job())
        (file,) = self.files()
        file.rename(file.parent.parent / "cur" / f"{file.name}:2,FS")
        self.assertIn("earlier attempt", self.again().detail)
        self.assertEqual((len(self.files()), len(self.files("cur"))), (0, 1))

    def test_finds_what_a_process_of_another_hostname_wrote(self) -> None:
        self.deliver(job())
        self.writer = MaildirWriter(self.offload, "other.example")
        self.assertIn("earlier attempt", self.again().detail)
        self.assertEqual(len(self.files()), 1)

    def test_takes_no_other_file_for_it(self) -> None:
        self.deliver(job(message=8))
        self.deliver(job(n=1))
        (self.root / "acme.example/alice/new/garbage").write_bytes(b"")
        (self.root / "acme.example/alice/cur/1900000000").write_bytes(b"")
        self.assertNotIn("earlier attempt", self.again().detail)
        self.assertEqual(len(self.files()), 4)

    def test_never_overwrites_even_when_it_did_not_look(self) -> None:
        self.deliver(job())
        (file,) = self.files()
        file.write_bytes(b"as the reader changed it")
        outcome = self.deliver(job(claim=1))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(file.read_bytes(), b"as the reader changed it")
        self.assertEqual(self.files("tmp"), [])

    def test_replaces_what_a_crash_left_in_tmp(self) -> None:
        self.deliver(job(message=8))
        left = self.root / "acme.example/alice/tmp" / f"{file_name(1900000000.5, 7, 0, 'mx.acme.example')}.1"
        left.write_bytes(b"half a mess")
        self.deliver(job())
        self.assertEqual(self.files("tmp"), [])
        self.assertIn(b"Subject: hi", self.files()[0].read_bytes())

    def test_a_mailbox_used_for_the_first_time_is_rid_of_stale_files(self) -> None:
        self.deliver(job(message=8))
        tmp = self.root / "acme.example/alice/tmp"
        (tmp / "stale").write_bytes(b"")
        (tmp / "fresh").write_bytes(b"")
        now = (tmp / "stale").stat().st_mtime
        os.utime(tmp / "stale", (now - 37 * HOUR,) * 2)
        os.utime(tmp / "fresh", (now - 35 * HOUR,) * 2)
        self.deliver(job())
        self.assertEqual(len(self.files("tmp")), 2)
        self.writer = MaildirWriter(self.offload, "mx.acme.example")
        self.deliver(job(message=9))
        self.assertEqual([file.name for file in self.files("tmp")], ["fresh"])


class TroubleTest(WriterCase):
    """Whatever a disk does is temporary, and leaves nothing behind."""

    def setUp(self) -> None:
        super().setUp()
        self.deliver(job(message=1))

    def failing(self, call: str, code: int, times: int = 1) -> None:
        """Let the next calls of an `os` function fail as the system would."""
        real = getattr(os, call)
        left = [times]

        def instead(*arguments: object, **options: object) -> object:
            if left[0]:
                left[0] -= 1
                raise OSError(code, os.strerror(code))
            return real(*arguments, **options)

        self.patch(maildir.os, call, instead)

    def test_a_missing_root_is_not_made(self) -> None:
        # A disk that is not mounted: what were written now would vanish under it.
        self.root = self.root / "not-mounted"
        outcome = self.deferred(job())
        self.assertEqual(outcome.scope, Scope.DESTINATION)
        self.assertIn("No such file or directory", outcome.detail)
        self.assertFalse(self.root.exists())

    def test_a_maildir_that_went_away_is_made_again(self) -> None:
        for folder in ("tmp", "new", "cur"):
            for file in self.files(folder):
                file.unlink()
            (self.root / "acme.example/alice" / folder).rmdir()
        self.assertIsInstance(self.deliver(job()), Delivered)

    def test_a_full_disk(self) -> None:
        self.failing("write", errno.ENOSPC)
        outcome = self.deferred(job())
        self.assertEqual((outcome.scope, outcome.status), (Scope.DESTINATION, "4.3.1"))
        self.assertIn("No space left on device", outcome.detail)
        self.assertEqual((len(self.files("tmp")), len(self.files())), (0, 1))

    def test_a_full_quota_is_the_mailbox_alone(self) -> None:
        self.failing("fsync", errno.EDQUOT)
        outcome = self.deferred(job())
        self.assertEqual((outcome.scope, outcome.status), (Scope.RECIPIENT, "4.2.2"))
        self.assertEqual((len(self.files("tmp")), len(self.files())), (0, 1))

    def test_a_name_that_cannot_be_given(self) -> None:
        self.failing("link", errno.EACCES)
        self.assertEqual(self.deferred(job()).scope, Scope.RECIPIENT)
        self.assertEqual((len(self.files("tmp")), len(self.files())), (0, 1))

    def test_a_file_where_the_maildir_should_be(self) -> None:
        (self.root / "acme.example/bob").write_bytes(b"")
        outcome = self.deferred(job(), Address("bob", "acme.example"))
        self.assertEqual(outcome.scope, Scope.RECIPIENT)
        self.assertIn("Not a directory", outcome.detail)

    def test_an_entry_that_may_not_be_on_disk_is_not_delivered_yet(self) -> None:
        syncs: list[int] = []
        real = os.fsync

        def fail_on_directories(fd: int) -> None:
            syncs.append(fd)
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(fd)

        self.patch(maildir.os, "fsync", fail_on_directories)
        self.assertIn("Input/output error", self.deferred(job()).detail)
        self.assertEqual(len(syncs), 2)
        self.patch(maildir.os, "fsync", real)
        self.assertIsInstance(self.deliver(job(claim=2)), Delivered)
        self.assertEqual(len(self.files()), 2)

    def test_one_bad_mailbox_does_not_touch_the_others(self) -> None:
        (self.root / "acme.example/bob").write_bytes(b"")
        self.offload.hold()
        first = self.begin(job(message=2))
        second = self.begin(job(message=3))
        bad = self.begin(job(message=4), Address("bob", "acme.example"))
        good = self.begin(job(message=5))
        self.offload.release()
        self.assertIsInstance(self.successResultOf(bad), Deferred)
        for delivery in (first, second, good):
            self.assertIsInstance(self.successResultOf(delivery), Delivered)

    def test_short_writes_are_continued(self) -> None:
        real = os.write
        self.patch(maildir.os, "write", lambda fd, octets: real(fd, octets[:7]))
        self.deliver(job())
        self.assertTrue(self.files()[-1].read_bytes().endswith(b".dot\n"))

    def test_an_offload_that_stops_or_fails_is_temporary_too(self) -> None:
        self.offload.fail_next(Unavailable("offload", "the server is stopping"))
        self.assertEqual(self.deferred(job()).scope, Scope.HOST)
        self.offload.fail_next(OSError(errno.ENOSPC, "No space left on device"))
        self.assertEqual(self.deferred(job()).status, "4.3.1")

    def test_a_surprise_is_raised_and_the_next_delivery_works(self) -> None:
        self.offload.fail_next(ZeroDivisionError())
        self.failureResultOf(self.begin(job()), ZeroDivisionError)
        self.assertIsInstance(self.deliver(job()), Delivered)


class DurableTest(WriterCase):
    """After Delivered the octets and every entry on the way to them are on disk; the order makes it so."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[str, str]] = []
        fsync, link = os.fsync, os.link

        def note_sync(fd: int) -> None:
            self.calls.append(("sync", self.name(os.readlink(f"/proc/self/fd/{fd}"))))
            fsync(fd)

        def note_link(source: str, target: str) -> None:
            self.calls.append(("link", self.name(target)))
            link(source, target)

        self.patch(maildir.os, "fsync", note_sync)
        self.patch(maildir.os, "link", note_link)

    def name(self, path: str) -> str:
        relative = os.path.relpath(path, self.root.resolve())
        return relative.replace(f"1900000000.{print_id(7)}_0.mx.acme.example", "F")

    def test_the_first_file_of_a_mailbox(self) -> None:
        self.deliver(job())
        self.assertEqual(
            self.calls,
            [
                ("sync", "acme.example/alice"),
                ("sync", "acme.example"),
                ("sync", "."),
                ("sync", "acme.example/alice/tmp/F.1"),
                ("link", os.path.relpath(f"{self.root}/acme.example/alice/new/F", self.root.resolve())),
                ("sync", "acme.example/alice/new"),
            ],
        )

    def test_later_files_need_two_syncs(self) -> None:
        self.deliver(job(message=1))
        self.calls.clear()
        self.deliver(job())
        self.assertEqual(
            [what for kind, what in self.calls if kind == "sync"],
            ["acme.example/alice/tmp/F.1", "acme.example/alice/new"],
        )

    def test_what_was_found_is_synced_where_it_was_found(self) -> None:
        self.deliver(job())
        (file,) = self.files()
        file.rename(file.parent.parent / "cur" / f"{file.name}:2,")
        self.calls.clear()
        self.deliver(job(claim=2))
        self.assertEqual(self.calls, [("sync", "acme.example/alice/cur")])

    def test_a_batch_syncs_a_directory_once(self) -> None:
        self.deliver(job(message=1))
        self.offload.hold()
        waiting = [self.begin(job(message=message)) for message in range(2, 10)]
        self.calls.clear()
        self.offload.release()
        for delivery in waiting:
            self.successResultOf(delivery)
        directories = [what for kind, what in self.calls if kind == "sync" and what.endswith("/new")]
        self.assertEqual(len(directories), 3)


class BatchTest(WriterCase):
    """Two runs at most; what waits meanwhile goes together."""

    def setUp(self) -> None:
        super().setUp()
        self.sizes: list[int] = []
        real = maildir.write

        def counted(files: list[maildir.File]) -> list[maildir.Written]:
            self.sizes.append(len(files))
            return real(files)

        self.patch(local.maildir, "write", counted)
        self.offload.hold()

    def finish(self, waiting: "list[Pending[Outcome]]") -> None:
        self.offload.release()
        for delivery in waiting:
            self.assertIsInstance(self.successResultOf(delivery), Delivered)

    def test_a_lone_message_does_not_wait(self) -> None:
        delivery = self.begin(job())
        self.assertEqual(self.offload.waiting, 1)
        self.finish([delivery])

    def test_what_waits_is_taken_together(self) -> None:
        waiting = [self.begin(job(message=message)) for message in range(1, 50)]
        self.assertEqual(self.offload.waiting, 2)
        self.finish(waiting)
        self.assertEqual(self.sizes, [1, 1, 47])

    def test_a_batch_is_bounded_in_files(self) -> None:
        waiting = [self.begin(job(message=message)) for message in range(1, 140)]
        self.finish(waiting)
        self.assertEqual(self.sizes, [1, 1, 64, 64, 9])

    def test_a_batch_is_bounded_in_octets(self) -> None:
        large = b"x" * (1024 * 1024) + b"\r\n"
        waiting = [self.begin(job(message=message), content=large) for message in range(1, 8)]
        self.finish(waiting)
        self.assertEqual(self.sizes, [1, 1, 3, 2])

    def test_a_message_above_the_bound_goes_alone(self) -> None:
        sizes = (10, 10, 10, local.BATCH_OCTETS + 10, 10)
        waiting = [self.begin(job(message=n), content=b"x" * size) for n, size in enumerate(sizes, 1)]
        self.finish(waiting)
        self.assertEqual(self.sizes, [1, 1, 1, 1, 1])
