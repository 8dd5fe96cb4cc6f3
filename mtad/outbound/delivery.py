"""Delivery: carries a job to its next hop and says how each recipient fared.

The mailbox and the way it is served are looked up when the message is delivered, not when it was accepted: what the
operator changed meanwhile holds. Every trouble of ours is Deferred; an error nobody foresaw is one too.
"""

from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet import defer

from mtad.interfaces import IDirectory, IJournal
from mtad.model.errors import Unavailable
from mtad.model.identity import print_id
from mtad.model.job import Job, Target
from mtad.model.outcome import Deferred, Failed, Outcome, Scope
from mtad.model.tenant import LmtpDelivery, LocalDelivery, Mailbox, MaildirDelivery
from mtad.model.text import shown
from mtad.outbound.lmtp import LmtpClient
from mtad.outbound.local import MaildirWriter

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Way:
    """How a target is served."""

    mailbox: Mailbox
    delivery: LocalDelivery


class DeliveryService(Service):
    """Delivers what is hosted here. `default` serves the domains that have no delivery of their own."""

    name = "delivery"

    def __init__(
        self,
        *,
        directory: IDirectory,
        maildirs: MaildirWriter,
        lmtp: LmtpClient,
        default: LocalDelivery,
        maildir_path: Path,
        journal: IJournal,
    ) -> None:
        self._directory = directory
        self._maildirs = maildirs
        self._lmtp = lmtp
        self._default = default
        self._maildir_path = maildir_path
        self._journal = journal

    def stopService(self) -> None:
        """Take leave of the mail stores nothing is being sent to."""
        super().stopService()
        self._lmtp.stop()

    def abort(self) -> None:
        """Drop every connection whose message is not sent whole: the lease is lost (DESIGN §8)."""
        self._lmtp.abort()

    def deliver(self, job: Job, content: bytes) -> defer.Deferred[list[Outcome]]:
        """Fire with one outcome a target, in their order; never fails."""
        return defer.Deferred.fromCoroutine(self._deliver(job, content))

    async def _deliver(self, job: Job, content: bytes) -> list[Outcome]:
        ways = await _together(self._way(target) for target in job.targets)
        groups: dict[LocalDelivery, list[int]] = {}
        results: dict[int, Outcome] = {}
        for position, way in enumerate(ways):
            if isinstance(way, _Way):
                groups.setdefault(way.delivery, []).append(position)
            else:
                results[position] = way
                self._tell(job, job.targets[position], "none", way)
        served = await _together(
            self._serve(
                delivery,
                job,
                [(job.targets[position], way.mailbox) for position in group if isinstance(way := ways[position], _Way)],
                content,
            )
            for delivery, group in groups.items()
        )
        for group, outcomes in zip(groups.values(), served, strict=True):
            results.update(zip(group, outcomes, strict=True))
        return [results[position] for position in range(len(job.targets))]

    async def _way(self, target: Target) -> _Way | Deferred | Failed:
        address = target.recipient.address
        try:
            entry = await self._directory.entry(address)
        except Unavailable as trouble:
            return Deferred(f"the directory does not answer: {shown(trouble.reason)}", Scope.DESTINATION, "4.3.0")
        if entry.domain is None or not entry.domain.verified or not isinstance(entry.behind, Mailbox):
            return Failed(f"{address} is no mailbox here any more", Scope.RECIPIENT, "5.1.1")
        if not entry.behind.enabled:
            return Deferred(f"{address} is switched off", Scope.RECIPIENT, "4.2.1")
        return _Way(entry.behind, entry.domain.delivery or self._default)

    async def _serve(
        self, delivery: LocalDelivery, job: Job, targets: Sequence[tuple[Target, Mailbox]], content: bytes
    ) -> list[Outcome]:
        kind = "lmtp" if isinstance(delivery, LmtpDelivery) else "maildir"
        try:
            match delivery:
                case LmtpDelivery(addr=addr):
                    recipients = [mailbox.address for _, mailbox in targets]
                    outcomes = await self._lmtp.deliver(addr, job.reverse_path, recipients, content)
                case MaildirDelivery(path=own_path):
                    path = Path(own_path) if own_path else self._maildir_path
                    outcomes = await _together(
                        self._maildirs.deliver(mailbox, path, job, target, content) for target, mailbox in targets
                    )
        except Exception as surprise:
            self._journal.record("session.surprise", failure=shown(repr(surprise), 4000))
            outcomes = [Deferred("internal trouble", Scope.MESSAGE, "4.3.0")] * len(targets)
        for (target, _), outcome in zip(targets, outcomes, strict=True):
            self._tell(job, target, kind, outcome)
        return outcomes

    def _tell(self, job: Job, target: Target, kind: str, outcome: Outcome) -> None:
        self._journal.record(
            f"delivery.{type(outcome).__name__.lower()}",
            id=print_id(job.message),
            n=target.recipient.n,
            recipient=str(target.recipient.address),
            kind=kind,
            detail=outcome.detail,
        )


async def _together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines beside each other and return their results in order."""
    started = [defer.Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    return [await running for running in started]
