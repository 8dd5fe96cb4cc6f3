"""mtad.adapters.offload_process: IOffload in a process of its own, and what its end means."""

import os
import signal
import sys
import threading
from pathlib import Path

from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mtad.adapters import offload_process
from mtad.adapters.offload_process import ProcessOffload
from mtad.interfaces import IOffload
from mtad.model.errors import Unavailable
from mtad.outbound import maildir


class ProcessOffloadTest(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.offload = ProcessOffload(real_reactor, 1)
        self.offload.startService()
        self.addCleanup(lambda: self.offload.stopService() if self.offload.running else None)

    def test_provides_the_port(self) -> None:
        verifyObject(IOffload, self.offload)

    async def test_fires_with_what_the_work_returns(self) -> None:
        self.assertEqual(await self.offload.run(divmod, 17, 5), (3, 2))

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
        self.patch(offload_process, "RESTART_SECONDS", 0)
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

    async def test_a_cancelled_run_troubles_nobody(self) -> None:
        first: Deferred[int] = self.offload.run(int, "1")
        first.cancel()
        first.addErrback(lambda _: None)
        self.assertEqual(await self.offload.run(int, "2"), 2)

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
