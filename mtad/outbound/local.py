"""Delivery into Maildirs: what waits together is written together.

A disk takes about as long for sixty files as for one, and so does a thread beside a busy reactor (bench/maildir.py).
So deliveries that arrive while writing is under way wait and make the next batch, never with an artificial delay: a
lone message is written at once. The reactor itself never touches the disk. What is in the spool is written by itself,
one message at a time, so that large mail does not keep the small from its turn.

Whatever is wrong with a disk or a directory is temporary: a Maildir is ours to repair, not the sender's to hear of.
Nothing is begun that may not be sent any more (DESIGN D8): who else has the message may have delivered it, and its
reader moved it to where only a later claim looks.
"""

import errno
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from twisted.internet import defer
from twisted.python.failure import Failure

from mtad.interfaces import IOffload
from mtad.message.trace import delivered_to, return_path
from mtad.model.content import Content
from mtad.model.errors import LeaseLost, Unavailable
from mtad.model.job import Job, Target
from mtad.model.outcome import Deferred, Delivered, Outcome, Scope
from mtad.model.tenant import Mailbox
from mtad.model.text import shown
from mtad.outbound import maildir
from mtad.outbound.lease import MaySend, always
from mtad.outbound.maildir import File, Written

BATCH_FILES = 64
BATCH_OCTETS = 4 * 1024 * 1024
RUNS = 2
"""Batches under way at once: one is written while the disk works for the other."""

LARGE_RUNS = 1

_KNOWN_MAILBOXES = 100_000
_NOT_OURS = "this server may not deliver it any more"

_THIS_MAILBOX = frozenset({
    errno.EACCES, errno.EDQUOT, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM,
})  # fmt: skip
# RFC 3463 §3.3 and §3.4: mailbox full, mail system full.
_STATUS = {errno.EDQUOT: "4.2.2", errno.ENOSPC: "4.3.1"}


@dataclass(slots=True)
class _Waiting:
    """A delivery that waits for its batch, whether it still may be made, and who waits for it."""

    file: File
    may_send: MaySend
    done: "defer.Deferred[Written]"


class _Line:
    """Deliveries that wait for a batch; `runs` more of them may be under way."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.waiting: deque[_Waiting] = deque()

    def next_batch(self) -> list[_Waiting]:
        """Take what fits into one run: at least one delivery, the oldest first."""
        batch = [self.waiting.popleft()]
        octets = len(batch[0].file.content)
        while self.waiting and len(batch) < BATCH_FILES:
            octets += len(self.waiting[0].file.content)
            if octets > BATCH_OCTETS:
                break
            batch.append(self.waiting.popleft())
        return batch


class MaildirWriter:
    """Writes messages into Maildirs below any root; `hostname` is the last part of every file name."""

    def __init__(self, offload: IOffload, hostname: str) -> None:
        self._offload = offload
        self._hostname = hostname
        self._small = _Line(RUNS)
        self._large = _Line(LARGE_RUNS)
        # Maildirs this process knows to be on disk with their directories' entries.
        self._known: set[str] = set()

    async def deliver(
        self,
        mailbox: Mailbox,
        path: Path,
        job: Job,
        target: Target,
        content: Content,
        may_send: MaySend = always,
    ) -> Outcome:
        """Write a message, when it still may be sent, into a mailbox's Maildir below `path`, which must exist.

        Delivered once the file and its entry are on disk, or were there already; else Deferred. What the offload raises
        beyond OSError and Unavailable is raised.
        """
        try:
            file = self._file(mailbox, path, job, target, content)
        except ValueError as wrong:
            return Deferred(str(wrong), Scope.RECIPIENT, "4.3.5")
        waiting = _Waiting(file, may_send, defer.Deferred())
        line = self._small if isinstance(content, bytes) else self._large
        line.waiting.append(waiting)
        self._write_on(line)
        try:
            return self._outcome(file, await waiting.done)
        except OSError as error:
            return self._outcome(file, maildir.problem(error))
        except LeaseLost as lost:
            return Deferred(lost.reason, Scope.OURS, "4.3.0")
        except Unavailable as trouble:
            return Deferred(str(trouble), Scope.HOST, "4.3.2")

    def abort(self) -> None:
        """Begin none of those that wait: the lease is lost, or was."""
        for line in (self._small, self._large):
            waiting = list(line.waiting)
            line.waiting.clear()
            self._excuse(Failure(LeaseLost(_NOT_OURS)), waiting)

    def _file(self, mailbox: Mailbox, path: Path, job: Job, target: Target, content: Content) -> File:
        address = mailbox.address
        inside = maildir.mailbox_path(address.local_part, address.domain)
        return File(
            root=str(path),
            mailbox=inside,
            name=maildir.file_name(job.received_at, job.message, target.recipient.n, self._hostname),
            head=return_path(job.reverse_path) + delivered_to(address),
            content=content,
            claim=target.claim,
            # Nobody had a row under its first claim before us.
            again=target.claim > 1,
            first=f"{path}/{inside}" not in self._known,
        )

    def _write_on(self, line: _Line) -> None:
        """Begin as many batches as may be under way."""
        while line.waiting and line.runs:
            batch = self._ours(line.next_batch())
            if not batch:
                continue
            line.runs -= 1
            run = self._offload.run(maildir.write, [waiting.file for waiting in batch])
            answered = run.addCallbacks(self._answer, self._excuse, callbackArgs=(batch,), errbackArgs=(batch,))
            answered.addCallback(self._ran, line)

    def _ours(self, batch: list[_Waiting]) -> list[_Waiting]:
        """Return those that may still be sent; the others are told."""
        ours: list[_Waiting] = []
        others: list[_Waiting] = []
        for waiting in batch:
            (ours if waiting.may_send() else others).append(waiting)
        self._excuse(Failure(LeaseLost(_NOT_OURS)), others)
        return ours

    def _answer(self, results: list[Written], batch: list[_Waiting]) -> None:
        for waiting, written in zip(batch, results, strict=True):
            waiting.done.callback(written)

    def _excuse(self, failure: Failure, batch: list[_Waiting]) -> None:
        for waiting in batch:
            waiting.done.errback(failure)

    def _ran(self, _: None, line: _Line) -> None:
        line.runs += 1
        self._write_on(line)

    def _outcome(self, file: File, written: Written) -> Outcome:
        if written.code:
            self._known.discard(file.maildir)
            scope = Scope.RECIPIENT if written.code in _THIS_MAILBOX else Scope.DESTINATION
            return Deferred(shown(f"cannot write: {written.detail}"), scope, _STATUS.get(written.code, "4.3.0"))
        if len(self._known) >= _KNOWN_MAILBOXES:
            self._known.clear()
        self._known.add(file.maildir)
        where = f"{file.mailbox}/new/{file.name}"
        return Delivered(shown(f"found, written by an earlier attempt: {where}" if written.before else where))
