"""Reporting: finds out what reports to senders need to be written, around `mtad.outbound.duty` and `bounce`."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from mtad.interfaces import IDirectory
from mtad.model.address import Address
from mtad.model.content import Content, behind
from mtad.model.errors import Unavailable
from mtad.model.event import Event
from mtad.model.job import Job, Settlement, Told
from mtad.model.route import Route
from mtad.model.tenant import SYSTEM
from mtad.outbound import bounce
from mtad.outbound.bounce import Terms
from mtad.outbound.duty import duties

Sign = Callable[[Content, int], Awaitable[tuple[bytes, Event]]]
"""Of a report and whose it is: the fields to put on top of it, and what its timeline is told."""


class Reporting:
    """Gives settlements their reports.

    A sender is found by `route` as any recipient is, and what is written is given to `sign` (`mtad.inbound`); `next_id`
    issues ids; a report is tried for `lifetime_seconds`. Of a message that is late its sender is told after
    `delay_notice_seconds`, 0 for never.
    """

    def __init__(
        self,
        *,
        directory: IDirectory,
        route: Callable[[Address], Awaitable[Route]],
        sign: Sign,
        next_id: Callable[[], int],
        hostname: str,
        lifetime_seconds: float,
        delay_notice_seconds: float,
    ) -> None:
        self._directory = directory
        self._route = route
        self._sign = sign
        self._next_id = next_id
        self._hostname = hostname
        self._lifetime_seconds = lifetime_seconds
        self._delay_notice_seconds = delay_notice_seconds

    async def reported(self, job: Job, settlement: Settlement, content: Content, now: float) -> Settlement:
        """Return the settlement with the reports it asks for, if any; Unavailable, LeaseLost.

        `content` is the original's, empty when it cannot be read; `now` is epoch seconds.
        """
        sender = job.reverse_path
        if sender is None or settlement.reports:
            return settlement
        due = duties(job, settlement, now, self._delay_notice_seconds)
        if not due:
            return settlement
        organisation = await self._directory.organisation(SYSTEM)
        if organisation is None:
            raise Unavailable("postgres", f"there is no organisation {SYSTEM}")
        route = await self._route(sender)
        terms = Terms(self._next_id, organisation, self._hostname, now, now + self._lifetime_seconds)
        written = bounce.report(job, settlement, due, content, route, terms)
        return replace(written, reports=tuple([await self._signed(told, organisation) for told in written.reports]))

    async def _signed(self, told: Told, organisation: int) -> Told:
        header, event = await self._sign(told.report.content, organisation)
        content = behind(header, told.report.content)
        messages = tuple(
            replace(message, size=len(content), events=(*message.events, event)) for message in told.report.messages
        )
        return replace(told, report=replace(told.report, content=content, messages=messages))
