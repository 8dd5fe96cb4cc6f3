"""IOffload: work done elsewhere, in order, with its result or its error; the process and the twin alike."""

import os
import signal
import sys
import threading
from pathlib import Path

from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mtad.adapters import offload
from mtad.adapters.offload import ProcessOffload
from mtad.adapters.spool import DiskSpool
from mtad.interfaces import IOffload, ISpool
from mtad.model.content import Content, behind, blocks
from mtad.model.errors import Unavailable
from mtad.outbound import maildir
from mtad.testing.offload import MemoryOffload


def spooled(spool: ISpool, octets: bytes) -> Content:
    gathering = spool.gather()
    gathering.add(octets)
    return gathering.content()


def read(contents: list[Content]) -> list[bytes]:
    return [b"".join(blocks(content)) for content in contents]


class OffloadContract:
    timeout = 10
    offload: IOffload

    def test_provides_the_port(self) -> None:
        verifyObject(IOffload, self.offload)

    async def test_fires_with_what_the_work_returns(self) -> None:
        self.assertEqual(await self.offload.run(divmod, 17, 5), (3, 2))

    async def test_fails_with_what_the_work_raises(self) -> None:
        try:
            await self.offload.run(int, "no number")
        except ValueError as error:
            self.assertIn("no number", str(error))
        else:
            self.fail("expected a ValueError")

    async def test_results_come_first_come_first_served(self) -> None:
        ended: list[int] = []
        await gatherResults([self.offload.run(int, str(number)).addCallback(ended.append) for number in range(50)])
        self.assertEqual(ended, list(range(50)))

    async def test_an_error_is_the_failed_works_alone(self) -> None:
        runs = [self.offload.run(int, word) for word in ("1", "x", "3")]
        runs[1].addErrback(lambda failure: failure.trap(ValueError) and None)
        self.assertEqual(await gatherResults(runs), [1, None, 3])

    async def test_a_cancelled_run_troubles_nobody(self) -> None:
        first = self.offload.run(int, "1")
        first.cancel()
        first.addErrback(lambda _: None)
        self.assertEqual(await self.offload.run(int, "2"), 2)


class MemoryOffloadTest(OffloadContract, TestCase):
    def setUp(self) -> None:
        self.offload = MemoryOffload()


class ProcessOffloadTest(OffloadContract, TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.offload = ProcessOffload(real_reactor, 1)
        self.offload.startService()
        self.addCleanup(lambda: self.offload.stopService() if self.offload.running else None)

    async def test_fails_with_what_the_work_raises(self) -> None:
        error = await self.assertFailure(self.offload.run(os.stat, "/nonexistent"), FileNotFoundError)
        self.assertEqual(error.filename, "/nonexistent")

    async def test_works_elsewhere_and_first_come_first_served(self) -> None:
        pids = await gatherResults([self.offload.run(os.getpid) for _ in range(3)])
        self.assertEqual(len(set(pids)), 1)
        self.assertNotEqual(pids[0], os.getpid())
        results = await gatherResults([self.offload.run(divmod, number, 7) for number in range(200)])
        self.assertEqual(results, [divmod(number, 7) for number in range(200)])

    async def test_large_values_go_both_ways(self) -> None:
        large = b"x" * 3_000_000
        self.assertEqual(await self.offload.run(bytes.upper, large), b"X" * 3_000_000)

    async def test_what_cannot_be_carried_fails_alone(self) -> None:
        there = self.offload.run(print, lambda: None)
        back = self.offload.run(threading.Lock)
        await self.assertFailure(there, Exception)
        await self.assertFailure(back, RuntimeError)
        self.assertEqual(await self.offload.run(int, "7"), 7)

    async def test_what_work_prints_disturbs_nobody(self) -> None:
        await self.offload.run(exec, "import os; os.write(1, b'\\n')")
        self.assertEqual(await self.offload.run(int, "7"), 7)

    async def test_signals_for_the_group_leave_it_alone(self) -> None:
        pid = await self.offload.run(os.getpid)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, signum)
        self.assertEqual(await self.offload.run(os.getpid), pid)

    async def test_when_it_dies_its_work_fails_and_another_takes_over(self) -> None:
        self.patch(offload, "RESTART_SECONDS", 0)
        pid = await self.offload.run(os.getpid)
        under_way = [self.offload.run(signal.pause), self.offload.run(int, "7")]
        os.kill(pid, signal.SIGKILL)
        for work in under_way:
            await self.assertFailure(work, Unavailable)
        self.assertNotEqual(await self.offload.run(os.getpid), pid)

    async def test_stopping_waits_for_all_that_was_taken_and_for_the_process(self) -> None:
        pid = await self.offload.run(os.getpid)
        done = [self.offload.run(divmod, number, 7) for number in range(20)]
        await self.offload.stopService()
        self.assertEqual([self.successResultOf(each) for each in done], [divmod(number, 7) for number in range(20)])
        self.assertRaises(ProcessLookupError, os.kill, pid, 0)
        self.failureResultOf(self.offload.run(int, "1"), Unavailable)

    async def test_work_given_before_the_start_waits_for_it(self) -> None:
        early = ProcessOffload(real_reactor, 2)
        working = early.run(int, "7")
        early.startService()
        self.assertEqual(await working, 7)
        await early.stopService()

    async def test_stopped_before_it_started(self) -> None:
        never = ProcessOffload(real_reactor, 1)
        working = never.run(int, "7")
        await never.stopService()
        self.failureResultOf(working, Unavailable)

    def test_it_ends_with_its_parent(self) -> None:
        # A parent that is killed closes the pipe as this one does, without a word.
        read, write = os.pipe()
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "mtad.adapters.offload_child", "1"],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_CLOSE, write)],
        )
        os.close(read)
        os.close(write)
        self.assertEqual(os.waitpid(child, 0), (child, 0))

    async def test_contents_of_the_spool_are_read_there(self) -> None:
        spool = DiskSpool(Path(self.mktemp()), kept_octets=10)
        spool.open()
        contents = [spooled(spool, b"%d: many octets" % n * 20_000) for n in range(3)]
        seen = [behind(b"head ", contents[0]), contents[1], contents[0], b"small", contents[2]]
        expected = [b"".join(blocks(content)) for content in seen]
        self.assertEqual(await gatherResults([self.offload.run(read, seen) for _ in range(20)]), [expected] * 20)

    async def test_contents_are_let_go_of_when_they_are_read(self) -> None:
        spool = DiskSpool(Path(self.mktemp()), kept_octets=10)
        spool.open()
        await self.offload.run(read, [b"what it imports has descriptors too"])
        before = await self.offload.run(os.listdir, "/proc/self/fd")
        for _ in range(3):
            await self.offload.run(read, [spooled(spool, b"many octets of content")])
        self.assertEqual(len(await self.offload.run(os.listdir, "/proc/self/fd")), len(before))
        self.assertEqual(spool.files_count, 0)

    async def test_a_content_given_before_the_start_goes_with_it(self) -> None:
        spool = DiskSpool(Path(self.mktemp()), kept_octets=10)
        spool.open()
        early = ProcessOffload(real_reactor, 1)
        reading = early.run(read, [spooled(spool, b"many octets of content")])
        early.startService()
        self.assertEqual(await reading, [b"many octets of content"])
        await early.stopService()

    async def test_too_many_contents_fail_alone(self) -> None:
        spool = DiskSpool(Path(self.mktemp()), kept_octets=10)
        spool.open()
        # More than one message of a unix socket can carry (SCM_MAX_FD, unix(7)).
        contents = [spooled(spool, b"many octets of content") for _ in range(300)]
        await self.assertFailure(self.offload.run(read, contents), Unavailable)
        self.assertEqual(await self.offload.run(read, contents[:2]), [b"many octets of content"] * 2)

    def test_carries_a_batch_of_files(self) -> "Deferred[None]":
        root = Path(self.mktemp()).absolute()
        root.mkdir()
        files = [
            maildir.File(str(root), "acme.example/alice", f"{n}", b"A: b\r\n", b"x\r\n", 1, False, True) for n in (1, 2)
        ]

        def check(written: list[maildir.Written]) -> None:
            self.assertEqual(written, [maildir.Written()] * 2)
            self.assertEqual(sorted(os.listdir(root / "acme.example/alice/new")), ["1", "2"])

        return self.offload.run(maildir.write, files).addCallback(check)


class MemoryOffloadOrdersTest(SynchronousTestCase):
    """What only the twin can do: wait and fail when told."""

    def setUp(self) -> None:
        self.offload = MemoryOffload()

    def test_held_work_waits_its_turn(self) -> None:
        self.offload.hold()
        first, second = self.offload.run(int, "1"), self.offload.run(int, "2")
        self.assertNoResult(first)
        self.assertEqual(self.offload.waiting, 2)
        self.offload.release_next()
        self.assertEqual(self.successResultOf(first), 1)
        self.assertNoResult(second)
        self.offload.release()
        self.assertEqual(self.successResultOf(second), 2)
        self.assertEqual(self.successResultOf(self.offload.run(int, "3")), 3)

    def test_failures_are_given_to_the_next_runs_instead_of_their_work(self) -> None:
        done: list[int] = []
        self.offload.fail_next(OSError("disk full"), times=2)
        for number in (1, 2):
            self.failureResultOf(self.offload.run(done.append, number), OSError)
        self.successResultOf(self.offload.run(done.append, 3))
        self.assertEqual(done, [3])
