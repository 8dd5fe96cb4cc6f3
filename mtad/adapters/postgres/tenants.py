"""Organisations, domains, mailboxes, aliases and keys as rows: read whole, and changed in one transaction.

The write side of the directory. What is to be changed is decided by the caller, on what the transaction itself has
read under a lock, so that two operators cannot undo each other's work unseen. The tables' triggers tell the caches
(`directory`); statements take many rows, because a statement of many rows is one piece of news.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.dkim_keys import held_keys, put_keys, remove_keys
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.sealing import Sealing
from mtad.model.address import folded, from_plain
from mtad.model.authentication import OwnChecks, Strictness
from mtad.model.holdings import Change, HeldAlias, HeldDomain, HeldKey, HeldMailbox, Holding, Item, Sign
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import LmtpDelivery, LocalDelivery, MaildirDelivery, SmtpDelivery

ItemType = TypeVar("ItemType", bound=Item)

# Addresses are printable, so a line end may stand between them.
_BETWEEN_TARGETS = "\n"
_ROWS_A_STATEMENT = 5000

_ORGANISATIONS = "select id, name, contact, scram from organisations where name = any(%s)"
_DOMAINS = """
select id, organisation, name, verified_at is not null, catch_all, delivery, outbound_tls, spf, dkim, dmarc, check_from
from domains where organisation = any(%s) order by name
"""
_MAILBOXES = """
select m.domain, m.local_part, m.password_hash, m.enabled,
       array(select p.what from user_domain_permissions p where p.mailbox = m.id order by p.what), m.scram
from mailboxes m where m.organisation = any(%s) order by m.folded
"""
_ALIASES = "select domain, local_part, targets from aliases where organisation = any(%s) order by folded"
_OWNERS = """
select d.name, o.name from domains d join organisations o on o.id = d.organisation where d.name = any(%s)
"""

_LOCK = """
lock table organisations, domains, mailboxes, aliases, user_domain_permissions, dkim_keys
in share row exclusive mode
"""
_REMOVE_ADDRESSES = """
delete from {table} t using unnest(%s::text[], %s::text[]) as gone (domain, folded), domains d
where d.name = gone.domain and t.domain = d.id and t.folded = gone.folded
"""
_REMOVE_DOMAINS = "delete from domains where name = any(%s)"
_PUT_ORGANISATIONS = """
insert into organisations (name, contact, scram) select * from unnest(%s::text[], %s::text[], %s::boolean[])
on conflict (name) do update set contact = excluded.contact, scram = excluded.scram
"""
_PUT_DOMAINS = """
insert into domains (organisation, name, claimed_at, verified_at, catch_all, delivery, outbound_tls, spf, dkim, dmarc,
    check_from)
select o.id, put.name, put.at, case when put.verified then put.at end, put.catch_all, put.delivery, put.outbound_tls,
       put.spf, put.dkim, put.dmarc, put.check_from
from (select *, to_timestamp(%s) as at
      from unnest(%s::text[], %s::text[], %s::boolean[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
                  %s::text[], %s::boolean[]) as given
          (organisation, name, verified, catch_all, delivery, outbound_tls, spf, dkim, dmarc, check_from)) as put
join organisations o on o.name = put.organisation
on conflict (name) do update set
    verified_at = case when excluded.verified_at is not null
                       then coalesce(domains.verified_at, excluded.verified_at) end,
    catch_all = excluded.catch_all, delivery = excluded.delivery, outbound_tls = excluded.outbound_tls,
    spf = excluded.spf, dkim = excluded.dkim, dmarc = excluded.dmarc, check_from = excluded.check_from
"""
_PUT_MAILBOXES = """
insert into mailboxes (organisation, domain, local_part, folded, password_hash, enabled, scram)
select d.organisation, d.id, put.local_part, put.folded, put.password_hash, put.enabled, put.scram
from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[], %s::text[])
         as put (domain, local_part, folded, password_hash, enabled, scram)
join domains d on d.name = put.domain
on conflict (domain, folded) do update set
    local_part = excluded.local_part, password_hash = excluded.password_hash, enabled = excluded.enabled,
    scram = excluded.scram
"""
_REMOVE_PERMISSIONS = """
delete from user_domain_permissions p
using unnest(%s::text[], %s::text[]) as of (domain, folded), domains d, mailboxes m
where d.name = of.domain and m.domain = d.id and m.folded = of.folded and p.mailbox = m.id
"""
_PUT_PERMISSIONS = """
insert into user_domain_permissions (organisation, mailbox, what)
select m.organisation, m.id, put.what
from unnest(%s::text[], %s::text[], %s::text[]) as put (domain, folded, what)
join domains d on d.name = put.domain join mailboxes m on m.domain = d.id and m.folded = put.folded
"""
_PUT_ALIASES = """
insert into aliases (organisation, domain, local_part, folded, targets, target_keys)
select d.organisation, d.id, put.local_part, put.folded,
       string_to_array(put.targets, sep), string_to_array(put.keys, sep)
from (values (%s)) as between (sep),
     unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
         as put (domain, local_part, folded, targets, keys)
join domains d on d.name = put.domain
on conflict (domain, folded) do update set
    local_part = excluded.local_part, targets = excluded.targets, target_keys = excluded.target_keys
"""


def delivery_text(delivery: LocalDelivery | None) -> str | None:
    """Return how a domain's delivery is stored: `maildir:PATH`, `maildir:`, `lmtp:ADDR`, `smtp:ADDR`; None: default."""
    match delivery:
        case None:
            return None
        case MaildirDelivery(path):
            return f"maildir:{path or ''}"
        case LmtpDelivery(addr):
            return f"lmtp:{addr}"
        case SmtpDelivery(addr):
            return f"smtp:{addr}"


def delivery_from_text(text: str | None) -> LocalDelivery | None:
    """Return the delivery that is stored so; ValueError for a kind this code does not know."""
    if text is None:
        return None
    kind, _, place = text.partition(":")
    match kind:
        case "maildir":
            return MaildirDelivery(place or None)
        case "lmtp":
            return LmtpDelivery(place)
        case "smtp":
            return SmtpDelivery(place)
        case _:
            raise ValueError(f"a domain's delivery is {text!r}, expected maildir:PATH, lmtp:ADDR or smtp:ADDR")


def checks_from_text(*stored: str | None) -> OwnChecks:
    """Return what a domain's columns spf, dkim and dmarc say."""
    return OwnChecks(*(None if text is None else Strictness(text) for text in stored))


@dataclass(frozen=True, slots=True)
class Present:
    """What the database holds: organisations by name, and which organisation has a domain."""

    holdings: Mapping[str, Holding]
    owners: Mapping[str, str]


Decide = Callable[[Present], Sequence[Change]]


class Tenants:
    """The organisations in the database; `sealing` seals the private keys that are added."""

    def __init__(self, pool: Pool, sealing: Sealing) -> None:
        self._pool = pool
        self._sealing = sealing

    async def present(self, organisations: Sequence[str], domains: Sequence[str] = ()) -> Present:
        """Return what these organisations hold, those that exist, and who has these domains."""
        return await self._pool.interact(lambda cursor: _present(cursor, organisations, domains))

    async def change(
        self,
        organisations: Sequence[str],
        domains: Sequence[str],
        decide: Decide,
        now: float,
        trail: Trail | None = None,
    ) -> Sequence[Change]:
        """Make the changes that `decide` finds in what is present, all or none, counted on `trail`; return them.

        Nobody else changes tenants from the reading to the commit. What is added is claimed, and verified, at `now`
        (epoch seconds). What `decide` raises is raised, and nothing is changed.
        """

        async def work(cursor: Cursor) -> Sequence[Change]:
            await cursor.execute("set local lock_timeout = '10s'")
            await cursor.execute(_LOCK)
            changes = decide(await _present(cursor, organisations, domains))
            await _write(cursor, changes, now, self._sealing)
            if trail is not None:
                await trail.add(cursor, len(changes), now)
            return changes

        return await self._pool.interact(work)


async def _present(cursor: Cursor, organisations: Sequence[str], domains: Sequence[str]) -> Present:
    found = await cursor.query(_ORGANISATIONS, (list(organisations),))
    ids = [organisation for organisation, *_ in found]
    mailboxes: dict[int, list[HeldMailbox]] = {}
    for domain, local_part, password_hash, enabled, send_as, scram in await cursor.query(_MAILBOXES, (ids,)):
        mailbox = HeldMailbox(local_part, password_hash, enabled, tuple(send_as), scram)
        mailboxes.setdefault(domain, []).append(mailbox)
    aliases: dict[int, list[HeldAlias]] = {}
    for domain, local_part, targets in await cursor.query(_ALIASES, (ids,)):
        aliases.setdefault(domain, []).append(HeldAlias(local_part, tuple(map(from_plain, targets))))
    keys = await held_keys(cursor, ids)
    held: dict[int, list[HeldDomain]] = {}
    for domain, organisation, name, verified, catch_all, delivery, tls, *policy in await cursor.query(_DOMAINS, (ids,)):
        *checks, check_from = policy
        held.setdefault(organisation, []).append(
            HeldDomain(
                name,
                verified,
                None if catch_all is None else from_plain(catch_all),
                delivery_from_text(delivery),
                tuple(mailboxes.get(domain, ())),
                tuple(aliases.get(domain, ())),
                tuple(keys.get(domain, ())),
                None if tls is None else TlsLevel(tls),
                checks_from_text(*checks),
                check_from,
            )
        )
    holdings = {name: Holding(name, contact, tuple(held.get(id_, ())), scram) for id_, name, contact, scram in found}
    return Present(holdings, dict(await cursor.query(_OWNERS, (list(domains),))))


async def _write(cursor: Cursor, changes: Sequence[Change], now: float, sealing: Sealing) -> None:
    """Remove first, so that a name may change its kind; then put what holds before what is held."""
    removed = [change for change in changes if change.sign is Sign.REMOVE]
    put = [change for change in changes if change.sign is not Sign.REMOVE]
    mailboxes = [(change.domain, folded(item.local_part)) for change, item in _of_kind(removed, HeldMailbox)]
    await _in_bulk(cursor, _REMOVE_ADDRESSES.format(table="mailboxes"), mailboxes)
    aliases = [(change.domain, folded(item.local_part)) for change, item in _of_kind(removed, HeldAlias)]
    await _in_bulk(cursor, _REMOVE_ADDRESSES.format(table="aliases"), aliases)
    await remove_keys(cursor, [(change.domain, item) for change, item in _of_kind(removed, HeldKey)])
    await _in_bulk(cursor, _REMOVE_DOMAINS, [(item.name,) for _, item in _of_kind(removed, HeldDomain)])
    await _in_bulk(
        cursor,
        _PUT_ORGANISATIONS,
        [(item.organisation, item.contact, item.scram) for _, item in _of_kind(put, Holding)],
    )
    await _in_bulk(cursor, _PUT_DOMAINS, [_domain_row(change, item) for change, item in _of_kind(put, HeldDomain)], now)
    put_mailboxes = _of_kind(put, HeldMailbox)
    await _in_bulk(cursor, _PUT_MAILBOXES, [_mailbox_row(change, item) for change, item in put_mailboxes])
    theirs = [(change.domain, folded(item.local_part)) for change, item in put_mailboxes]
    await _in_bulk(cursor, _REMOVE_PERMISSIONS, theirs)
    permissions = [(*key, what) for key, (_, item) in zip(theirs, put_mailboxes, strict=True) for what in item.send_as]
    await _in_bulk(cursor, _PUT_PERMISSIONS, permissions)
    put_aliases = [_alias_row(change, item) for change, item in _of_kind(put, HeldAlias)]
    await _in_bulk(cursor, _PUT_ALIASES, put_aliases, _BETWEEN_TARGETS)
    await put_keys(cursor, [(change.domain, item) for change, item in _of_kind(put, HeldKey)], now, sealing)


def _of_kind(changes: Iterable[Change], kind: type[ItemType]) -> Sequence[tuple[Change, ItemType]]:
    return [(change, change.item) for change in changes if isinstance(change.item, kind)]


def _domain_row(change: Change, domain: HeldDomain) -> tuple[Any, ...]:
    catch_all = None if domain.catch_all is None else domain.catch_all.plain
    tls = None if domain.outbound_tls is None else domain.outbound_tls.value
    delivery = delivery_text(domain.delivery)
    checks = [None if each is None else each.value for each in astuple(domain.checks)]
    return change.organisation, domain.name, domain.verified, catch_all, delivery, tls, *checks, domain.check_from


def _mailbox_row(change: Change, mailbox: HeldMailbox) -> tuple[Any, ...]:
    name = mailbox.local_part
    return change.domain, name, folded(name), mailbox.password_hash, mailbox.enabled, mailbox.scram


def _alias_row(change: Change, alias: HeldAlias) -> tuple[Any, ...]:
    targets = _BETWEEN_TARGETS.join(target.plain for target in alias.targets)
    keys = _BETWEEN_TARGETS.join(target.key for target in alias.targets)
    return change.domain, alias.local_part, folded(alias.local_part), targets, keys


async def _in_bulk(cursor: Cursor, sql: str, rows: Sequence[tuple[Any, ...]], *before: object) -> None:
    """Run a statement that takes its rows as one array a column, after the values `before`."""
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        columns = zip(*rows[start : start + _ROWS_A_STATEMENT], strict=True)
        await cursor.execute(sql, (*before, *map(list, columns)))
