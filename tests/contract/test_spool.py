"""ISpool: small contents stay in memory, large ones come back from the disk as they were, and take no room after."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mtad.adapters.spool import DiskSpool
from mtad.adapters.spooled import Descriptor, SpooledFile
from mtad.interfaces import IGathering, ISpool
from mtad.model.content import SPOOL_OCTETS, Content, Spooled, begin, behind, blocks
from mtad.model.errors import InvalidInput, Unavailable
from mtad.testing.spool import MemorySpool

KEPT = 10
LARGE = st.binary(min_size=KEPT + 1, max_size=60)
HEADS = st.lists(st.tuples(st.binary(max_size=12), st.integers(0, 70)), max_size=4)


def gathered(spool: ISpool, pieces: Iterable[bytes]) -> Content:
    gathering = spool.gather()
    for piece in pieces:
        gathering.add(piece)
    return gathering.content()


class SpoolContract:
    """What every spool keeps: `spool` keeps KEPT octets in memory, `large` as many as a server's does."""

    spool: ISpool
    large: ISpool

    def spooled(self, octets: bytes) -> Spooled:
        content = gathered(self.spool, [octets])
        assert not isinstance(content, bytes)
        return content

    def test_it_provides_its_ports(self) -> None:
        verifyObject(ISpool, self.spool)
        verifyObject(IGathering, self.spool.gather())

    def test_small_content_is_octets(self) -> None:
        for pieces in ([], [b""], [b"12345", b"67890"], [b"x"] * KEPT):
            content = gathered(self.spool, pieces)
            self.assertIsInstance(content, bytes)
            self.assertEqual(content, b"".join(pieces))

    def test_one_octet_more_is_spooled(self) -> None:
        content = gathered(self.spool, [b"12345", b"67890", b"1"])
        self.assertNotIsInstance(content, bytes)
        self.assertEqual((len(content), b"".join(blocks(content))), (11, b"12345678901"))

    def test_what_is_in_memory_is_told_and_what_is_spooled_is_not(self) -> None:
        gathering = self.spool.gather()
        told = [gathering.in_memory()]
        for piece in (b"12345", b"67890", b"1", b"2"):
            gathering.add(piece)
            told.append(gathering.in_memory())
        self.assertEqual(told, [0, 5, 10, 0, 0])
        gathering = self.spool.gather()
        gathering.add(b"12345")
        gathering.drop()
        self.assertEqual(gathering.in_memory(), 0)

    def test_its_disk_has_room(self) -> None:
        self.assertGreater(self.spool.room_octets(), 0)

    def test_content_of_any_size_comes_back(self) -> None:
        for size in (32 * 1024, 32 * 1024 + 1, 100_000, SPOOL_OCTETS - 1, SPOOL_OCTETS, SPOOL_OCTETS + 1):
            octets = bytes(range(256)) * (size // 256 + 1)
            pieces = [octets[at : min(at + 20_000, size)] for at in range(0, size, 20_000)]
            content = gathered(self.large, pieces)
            self.assertEqual(b"".join(blocks(content)), octets[:size])

    def test_a_servers_spool_keeps_a_mebibyte_in_memory(self) -> None:
        self.assertIsInstance(gathered(self.large, [bytes(SPOOL_OCTETS)]), bytes)
        self.assertNotIsInstance(gathered(self.large, [bytes(SPOOL_OCTETS), b"1"]), bytes)

    def test_a_content_is_handed_out_once(self) -> None:
        for pieces in ([b"few"], [b"many octets of content"]):
            gathering = self.spool.gather()
            for piece in pieces:
                gathering.add(piece)
            gathering.content()
            self.assertEqual(gathering.content(), b"")

    def test_what_is_dropped_is_gone_and_another_content_may_follow(self) -> None:
        gathering = self.spool.gather()
        gathering.add(b"many octets of content")
        gathering.drop()
        self.assertEqual(gathering.content(), b"")
        gathering.add(b"few")
        self.assertEqual(gathering.content(), b"few")

    def test_blocks_are_of_the_size_asked_for_and_begin_is_the_first(self) -> None:
        @given(octets=LARGE, size=st.integers(1, 70))
        def check(octets: bytes, size: int) -> None:
            content = self.spooled(octets)
            expected = [octets[at : at + size] for at in range(0, len(octets), size)]
            self.assertEqual(list(blocks(content, size)), expected)
            self.assertEqual(begin(content, size), expected[0])

        check()

    def test_heads_are_put_before_what_remains(self) -> None:
        @given(octets=LARGE, heads=HEADS, size=st.integers(1, 20))
        @settings(max_examples=200)
        def check(octets: bytes, heads: list[tuple[bytes, int]], size: int) -> None:
            content: Content = self.spooled(octets)
            for head, start in heads:
                content, octets = behind(head, content, start), head + octets[start:]
            self.assertEqual((b"".join(blocks(content, size)), len(content)), (octets, len(octets)))
            self.assertEqual(begin(content, size), octets[:size])

        check()

    def test_two_readers_do_not_disturb_each_other(self) -> None:
        content = self.spooled(b"0123456789abcdef")
        one, other = blocks(content, 4), blocks(behind(b"##", content, 4), 4)
        read = [(next(one), next(other)) for _ in range(3)]
        self.assertEqual(read, [(b"0123", b"##45"), (b"4567", b"6789"), (b"89ab", b"abcd")])


class MemorySpoolTest(SpoolContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = MemorySpool(kept_octets=KEPT)
        self.large = MemorySpool()

    def test_a_full_disk_takes_nothing_that_is_large(self) -> None:
        self.spool.full = True
        gathering = self.spool.gather()
        gathering.add(b"0123456789")
        self.assertRaises(Unavailable, gathering.add, b"a")

    def test_a_broken_disk_is_read_up_to_there(self) -> None:
        content = self.spooled(b"0123456789abcdef")
        self.spool.readable_octets = 8
        read = blocks(content, 4)
        self.assertEqual([next(read), next(read)], [b"0123", b"4567"])
        self.assertRaises(Unavailable, next, read)


class DiskSpoolTest(SpoolContract, SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "spool"
        self.spool = DiskSpool(self.directory, kept_octets=KEPT, max_files=3)
        self.spool.open()
        self.large = DiskSpool(self.directory)

    def test_the_directory_is_private_and_shows_no_file(self) -> None:
        content = self.spooled(b"many octets of content")
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(begin(content, 4), b"many")

    def test_a_directory_that_cannot_be_made_is_told_at_the_start(self) -> None:
        blocked = self.directory.parent / "file"
        blocked.write_bytes(b"")
        self.assertRaises(InvalidInput, DiskSpool(blocked / "spool").open)

    def test_files_are_bounded_and_closed_with_their_last_reader(self) -> None:
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        contents = [self.spooled(b"many octets of content") for _ in range(3)]
        gathering = self.spool.gather()
        self.assertRaises(Unavailable, gathering.add, b"many octets of content")
        self.assertEqual(self.spool.files_count, 3)
        view = behind(b"head", contents.pop())
        self.assertEqual(self.spool.files_count, 3)
        del view
        self.assertEqual(self.spool.files_count, 2)
        contents.clear()
        self.assertEqual(self.spool.files_count, 0)
        if before:
            self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual(len(self.spooled(b"many octets of content")), 22)

    def test_what_is_dropped_takes_no_room(self) -> None:
        gathering = self.spool.gather()
        gathering.add(b"many octets of content")
        self.assertEqual(self.spool.files_count, 1)
        gathering.drop()
        self.assertEqual(self.spool.files_count, 0)

    def test_a_disk_that_refuses_is_unavailable(self) -> None:
        full = DiskSpool(self.directory, kept_octets=KEPT)
        self.patch(full, "new_file", lambda: Descriptor(os.open("/dev/full", os.O_RDWR)))
        error = self.assertRaises(Unavailable, full.gather().add, b"many octets of content")
        self.assertEqual(error.dependency, "disk")

    def test_a_directory_that_went_away_is_unavailable(self) -> None:
        self.directory.rmdir()
        error = self.assertRaises(Unavailable, self.spool.gather().add, b"many octets of content")
        self.assertEqual(error.dependency, "disk")

    def test_a_file_that_cannot_be_read_is_unavailable(self) -> None:
        read_end, write_end = os.pipe()
        os.close(write_end)
        unseekable = SpooledFile(Descriptor(read_end), 10)
        self.assertRaises(Unavailable, unseekable.begin, 4)
        too_short = self.spooled(b"many octets of content")
        longer = SpooledFile(too_short._descriptor, 100)
        self.assertRaises(Unavailable, list, longer.blocks(30))
