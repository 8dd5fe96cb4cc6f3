"""What the DNS says of hosted domains, as rows: whose turn it is, what is held of each, what a look came to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from zope.interface import implementer

from mtad.adapters.postgres.dkim_keys import keys_of_each, move_keys
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.interfaces import IDomainCare
from mtad.model.dkim import KeyMove
from mtad.model.domain_check import Check, HostedDomain, Noted, Status, Subject

# Whoever is first puts the domain off for the others; who comes at the same time passes it over.
_TAKE = """
with turn as (
    select domain from domain_care where due <= to_timestamp(%s) order by due limit %s for update skip locked
)
update domain_care c set due = to_timestamp(%s) from turn where c.domain = turn.domain
returning c.domain
"""
_DOMAINS = """
select d.id, d.name, o.name, d.verified_at is not null, extract(epoch from d.claimed_at)::float8, d.challenge
from domains d join organisations o on o.id = d.organisation where {which} order by d.name
"""
_CHECKS = """
select domain, subject, status, detail, extract(epoch from since)::float8, extract(epoch from checked_at)::float8,
       failures, extract(epoch from failing_since)::float8
from domain_checks where domain = any(%s) order by domain, subject
"""
_PUT_CHECKS = """
insert into domain_checks (domain, subject, status, detail, since, checked_at, failures, failing_since)
select d.id, put.subject, put.status, put.detail, to_timestamp(put.since), to_timestamp(put.checked_at), put.failures,
       to_timestamp(put.failing_since)
from unnest(%s::text[], %s::text[], %s::text[], %s::float8[], %s::float8[], %s::integer[], %s::float8[])
         as put (subject, status, detail, since, checked_at, failures, failing_since)
join domains d on d.id = %s
on conflict (domain, subject) do update set
    status = excluded.status, detail = excluded.detail, since = excluded.since, checked_at = excluded.checked_at,
    failures = excluded.failures, failing_since = excluded.failing_since
"""
_PROVE = "update domains set verified_at = to_timestamp(%s) where id = %s and verified_at is null"
_PUT_OFF = "update domain_care set due = to_timestamp(%s) where domain = %s"
_STATUSES = "select subject, status, count(*) from domain_checks group by subject, status"


@implementer(IDomainCare)
class PostgresDomainCare:
    """The care of domains in PostgreSQL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def due(self, now: float, until: float, limit: int) -> Sequence[HostedDomain]:
        """Return domains whose turn it is (IDomainCare)."""

        async def work(cursor: Cursor) -> Sequence[HostedDomain]:
            taken = [domain for (domain,) in await cursor.query(_TAKE, (now, limit, until))]
            return await _domains(cursor, "d.id = any(%s)", taken) if taken else []

        return await self._pool.interact(work)

    async def hosted(self, name: str) -> HostedDomain | None:
        """Return a domain by its name (IDomainCare)."""
        found = await self._pool.interact(lambda cursor: _domains(cursor, "d.name = %s", name))
        return found[0] if found else None

    async def note(self, noted: Noted, now: float) -> Sequence[KeyMove]:
        """Write what a look came to (IDomainCare)."""
        return await self._pool.interact(lambda cursor: note(cursor, noted, now))

    async def statuses(self) -> Mapping[Subject, Mapping[Status, int]]:
        """Return how many domains have each status (IDomainCare)."""
        found: dict[Subject, dict[Status, int]] = {}
        for subject, status, count in await self._pool.query(_STATUSES):
            found.setdefault(Subject(subject), {})[Status(status)] = count
        return found

    async def names(self) -> frozenset[str]:
        """Return the host names of the nodes (IDomainCare)."""
        return frozenset(name for (name,) in await self._pool.query("select distinct lower(name) from nodes"))


async def hosted_domains(pool: Pool, organisation: str | None = None) -> Sequence[HostedDomain]:
    """Return all domains, or those of one organisation, by name."""
    which = "true" if organisation is None else "o.name = %s"
    asked = () if organisation is None else (organisation,)
    return await pool.interact(lambda cursor: _domains(cursor, which, *asked))


async def note(cursor: Cursor, noted: Noted, now: float) -> Sequence[KeyMove]:
    """Write what a look came to, in a transaction of the caller's; return the moves of keys that were made."""
    await cursor.execute(_PUT_CHECKS, (*_columns(noted.checks), noted.domain.id))
    if noted.proven:
        await cursor.execute(_PROVE, (now, noted.domain.id))
    await cursor.execute(_PUT_OFF, (noted.due, noted.domain.id))
    return await move_keys(cursor, noted.moves, now)


async def _domains(cursor: Cursor, which: str, *asked: object) -> list[HostedDomain]:
    rows = await cursor.query(_DOMAINS.format(which=which), asked)
    ids = [row[0] for row in rows]
    keys = await keys_of_each(cursor, ids)
    checks: dict[int, list[Check]] = {}
    for domain, *check in await cursor.query(_CHECKS, (ids,)):
        checks.setdefault(domain, []).append(_check(check))
    return [replace(HostedDomain(*row), keys=tuple(keys[row[0]]), checks=tuple(checks.get(row[0], ()))) for row in rows]


def _check(row: Sequence[Any]) -> Check:
    subject, status, *rest = row
    return Check(Subject(subject), Status(status), *rest)


def _columns(checks: Sequence[Check]) -> list[list[Any]]:
    rows = [
        (
            check.subject.value,
            check.status.value,
            check.detail,
            check.since,
            check.checked_at,
            check.failures,
            check.failing_since,
        )
        for check in checks
    ]
    return [list(column) for column in zip(*rows, strict=True)]
