"""Delivery: carries a job to its next hop and says how each recipient fared.

    local:acme.example      recipients hosted here: a Maildir, or a mail store that speaks LMTP or SMTP
    mx:remote.example       recipients elsewhere: `mtad.outbound.remote`; here all the same if the domain has moved here

The mailbox and the way it is served are looked up when the message is delivered, not when it was accepted: what the
operator changed meanwhile holds. Every trouble of ours is Deferred; an error nobody foresaw is one too.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from mtad.interfaces import IDirectory, IJournal
from mtad.model.content import Content
from mtad.model.envelope import Recipient
from mtad.model.errors import Unavailable
from mtad.model.event import Fact
from mtad.model.identity import print_id
from mtad.model.job import Job, Target
from mtad.model.next_hop import Dialect, NextHop, TlsLevel
from mtad.model.outcome import Deferred, Delivered, Failed, Outcome, Scope
from mtad.model.tenant import LmtpDelivery, LocalDelivery, Mailbox, MaildirDelivery, SmtpDelivery
from mtad.model.text import shown
from mtad.outbound.client import MailClient
from mtad.outbound.errand import Mail
from mtad.outbound.lease import MaySend
from mtad.outbound.local import MaildirWriter
from mtad.outbound.remote import RemoteDelivery
from mtad.outbound.tasks import together

ELSEWHERE = "mx"


@dataclass(frozen=True, slots=True)
class _Way:
    """How a target is served."""

    mailbox: Mailbox
    delivery: LocalDelivery


class DeliveryService(Service):
    """Delivers what is hosted here, and what goes elsewhere.

    `default` serves the domains that have no delivery of their own.
    """

    name = "delivery"

    def __init__(
        self,
        *,
        directory: IDirectory,
        maildirs: MaildirWriter,
        client: MailClient,
        remote: RemoteDelivery,
        default: LocalDelivery,
        maildir_path: Path,
        clock: IReactorTime,
        journal: IJournal,
    ) -> None:
        self._directory = directory
        self._maildirs = maildirs
        self._client = client
        self._remote = remote
        self._default = default
        self._maildir_path = maildir_path
        self._clock = clock
        self._journal = journal

    def stopService(self) -> None:
        """Take leave of the servers nothing is being sent to."""
        super().stopService()
        self._client.stop()

    def abort(self, stopping: bool = False) -> None:
        """Drop what waits for a disk, and connections whose message is not sent whole: the lease ran out (DESIGN §8).

        When this server is `stopping` drop all others too: their outcome says that the message may arrive twice.
        """
        self._client.abort(stopping)
        self._maildirs.abort()

    def expel(self) -> None:
        """Drop these and what waits for connections: what was begun is others' now, and must not be in the way."""
        self.abort()
        self._client.dismiss()

    async def deliver(self, job: Job, content: Content, may_send: MaySend) -> list[Outcome]:
        """Return one outcome a target, in their order; what may not be sent goes to no server and no disk."""
        kind, _, domain = job.destination.partition(":")
        mail = Mail(job.reverse_path, content, job.parameters, may_send, job.sound_octets)
        if kind == ELSEWHERE:
            return await self._deliver_elsewhere(domain, job, mail)
        return await self._deliver_here(job, mail)

    async def _deliver_elsewhere(self, domain: str, job: Job, mail: Mail) -> list[Outcome]:
        """Deliver to a domain that was hosted elsewhere when the message came, and here if it is here by now."""
        sender = job.reverse_path.domain if job.reverse_path is not None else None
        try:
            hosted = await self._directory.domain(domain)
            if hosted is not None and hosted.verified:
                return await self._deliver_here(job, mail)
            tls = await self._directory.tls_level(domain, sender)
        except Unavailable as trouble:
            return self._all(job, _away(trouble))
        recipients = [target.recipient for target in job.targets]
        sending = self._remote.deliver(domain, mail, recipients, tls)
        return await self._watched("remote", job, job.targets, sending)

    def _all(self, job: Job, outcome: Outcome) -> list[Outcome]:
        """Return the outcome for every target, told."""
        for target in job.targets:
            self._tell(job, target, "none", outcome)
        return [outcome] * len(job.targets)

    async def _deliver_here(self, job: Job, mail: Mail) -> list[Outcome]:
        moved = job.destination.startswith(f"{ELSEWHERE}:")
        ways = await together(self._way(target, moved) for target in job.targets)
        groups: dict[LocalDelivery, list[int]] = {}
        results: dict[int, Outcome] = {}
        for position, way in enumerate(ways):
            if isinstance(way, _Way):
                groups.setdefault(way.delivery, []).append(position)
            else:
                results[position] = way
                self._tell(job, job.targets[position], "none", way)
        served = await together(
            self._serve(
                delivery,
                job,
                [(job.targets[position], way.mailbox) for position in group if isinstance(way := ways[position], _Way)],
                mail,
            )
            for delivery, group in groups.items()
        )
        for group, outcomes in zip(groups.values(), served, strict=True):
            results.update(zip(group, outcomes, strict=True))
        return [results[position] for position in range(len(job.targets))]

    async def _way(self, target: Target, moved: bool) -> _Way | Deferred | Failed:
        """Return how a target is served, or why it is not; who was no mailbox here when it was queued is waited for."""
        address = target.recipient.address
        try:
            entry = await self._directory.entry(address)
        except Unavailable as trouble:
            return _away(trouble)
        if entry.domain is None or not entry.domain.verified or not isinstance(entry.behind, Mailbox):
            if moved:
                detail = f"the domain of {address} has come to this server, and the address leads to no mailbox yet"
                return Deferred(detail, Scope.RECIPIENT, "4.1.1")
            return Failed(f"{address} is no mailbox here any more", Scope.RECIPIENT, "5.1.1")
        if not entry.behind.enabled:
            return Deferred(f"{address} is switched off", Scope.RECIPIENT, "4.2.1")
        return _Way(entry.behind, entry.domain.delivery or self._default)

    async def _serve(
        self, delivery: LocalDelivery, job: Job, targets: Sequence[tuple[Target, Mailbox]], mail: Mail
    ) -> list[Outcome]:
        served = [target for target, _ in targets]
        match delivery:
            case LmtpDelivery(addr=addr):
                store = NextHop(host=addr, address=addr, dialect=Dialect.LMTP, behind=True)
                sending = self._client.deliver(store, mail, _as_stored(targets))
                return await self._watched("lmtp", job, served, sending)
            case SmtpDelivery(addr=addr):
                store = NextHop(host=addr, address=addr, tls=TlsLevel.MAY, behind=True)
                sending = self._client.deliver(store, mail, _as_stored(targets))
                return await self._watched("smtp", job, served, sending)
            case MaildirDelivery(path=own_path):
                path = Path(own_path) if own_path else self._maildir_path
                writing = together(
                    self._maildirs.deliver(mailbox, path, job, target, mail.content, mail.may_send)
                    for target, mailbox in targets
                )
                return await self._watched("maildir", job, served, writing)

    async def _watched(
        self, kind: str, job: Job, targets: Sequence[Target], delivering: Awaitable[list[Outcome]]
    ) -> list[Outcome]:
        """Return the outcomes, and record them; a surprise is temporary."""
        began_at = self._clock.seconds()
        try:
            outcomes = await delivering
        except Exception as surprise:
            self._journal.record("session.surprise", failure=shown(repr(surprise), 4000))
            outcomes = [Deferred("internal trouble", Scope.OURS, "4.3.0")] * len(targets)
        domain = job.destination.partition(":")[2]
        sent = any(isinstance(outcome, Delivered) for outcome in outcomes)
        self._journal.record(
            "delivery.attempted",
            id=print_id(job.message),
            domain=domain,
            # What a sender mistyped or made up must not take the room in the metrics that real domains need.
            real=not domain.startswith("[") and (sent or kind != "remote"),
            type=kind,
            seconds=self._clock.seconds() - began_at,
            sent=int(sent),
        )
        for target, outcome in zip(targets, outcomes, strict=True):
            self._tell(job, target, kind, outcome)
        return outcomes

    def _tell(self, job: Job, target: Target, kind: str, outcome: Outcome) -> None:
        where: dict[str, Fact] = {}
        if outcome.remote is not None:
            where = {"host": outcome.remote.host, "address": outcome.remote.address, "tls": outcome.remote.tls}
        self._journal.record(
            f"delivery.{type(outcome).__name__.lower()}",
            id=print_id(job.message),
            n=target.recipient.n,
            recipient=str(target.recipient.address),
            kind=kind,
            detail=outcome.detail,
            **where,
        )


def _as_stored(targets: Sequence[tuple[Target, Mailbox]]) -> list[Recipient]:
    """Return the recipients with the addresses of their mailboxes, which is how a mail store knows them."""
    return [
        target.recipient
        if target.recipient.address == mailbox.address
        else replace(target.recipient, address=mailbox.address)
        for target, mailbox in targets
    ]


def _away(trouble: Unavailable) -> Deferred:
    return Deferred(f"the directory does not answer: {shown(trouble.reason)}", Scope.OURS, "4.3.0")
