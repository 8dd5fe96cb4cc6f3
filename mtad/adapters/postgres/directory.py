"""The directory in PostgreSQL: domains, mailboxes and aliases by address, logins, keys (IDirectory).

Lookups of all sessions that wait in one turn of the reactor go out as one query; logins and keys are rarer and ask by
themselves. Answers, also those that say "nobody", are remembered in a `Cache` that news from `IWakeups` keeps true;
when news may have been missed, all of it is dropped. Without the database nothing that is not remembered can be told:
Unavailable, never "nobody".
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mtad.adapters.postgres.cache import Cache, address_key, domain_key
from mtad.adapters.postgres.dkim_keys import ACTIVE_KEYS, signing_keys
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.tenants import checks_from_text, delivery_from_text
from mtad.adapters.sealing import Sealing
from mtad.interfaces import IDirectory, IWakeups
from mtad.model.address import Address, folded, from_plain
from mtad.model.dkim import SigningKey
from mtad.model.next_hop import TlsLevel, strictest
from mtad.model.tenant import Alias, Credential, Domain, Entry, Mailbox

T = TypeVar("T")
Row = tuple[Any, ...]

CHANNEL = "mtad_directory"
BATCH_KEYS = 1000

# A peer waits for the answer.
_LOOKUP_SECONDS = 5.0
_LOOKUP = """
select asked.n, d.id, d.organisation, d.name, d.verified_at is not null,
       extract(epoch from d.claimed_at)::float8, d.catch_all, d.delivery,
       d.outbound_tls, d.spf, d.dkim, d.dmarc, d.check_from, t.tls,
       m.id, m.local_part, m.enabled, a.local_part, a.targets
from unnest(%s::text[], %s::text[]) with ordinality as asked (folded, domain, n)
left join domains d on d.name = asked.domain
left join destinations t on t.domain = asked.domain
left join mailboxes m on m.domain = d.id and m.folded = asked.folded
left join aliases a on a.domain = d.id and a.folded = asked.folded
"""

_CREDENTIAL = """
select m.id, m.organisation, m.local_part, m.enabled, m.password_hash,
       array(select p.what from user_domain_permissions p where p.mailbox = m.id order by p.what),
       array(select a.local_part || '@' || ad.name from aliases a join domains ad on ad.id = a.domain
             where a.target_keys @> array[m.folded || '@' || d.name] and a.organisation = m.organisation order by 1),
       case when o.scram then m.scram end
from mailboxes m join domains d on d.id = m.domain join organisations o on o.id = m.organisation
where d.name = %s and m.folded = %s
"""
_ORGANISATION = "select id from organisations where name = %s"
_LOGIN_KEY = "select value from secrets where name = 'login'"

Question = tuple[str, str]
"""A folded local part (empty: the domain alone) and a domain."""


@implementer(IDirectory)
class PostgresDirectory:
    """Answers from memory where it may, from the database where it must; `sealing` opens keys on their way."""

    def __init__(self, pool: Pool, clock: IReactorTime, wakeups: IWakeups, sealing: Sealing) -> None:
        self._pool = pool
        self._sealing = sealing
        self._clock = clock
        self._cache: Cache[Entry] = Cache(clock)
        # In a tuple, because that there is none is an answer as well.
        self._credentials: Cache[tuple[Credential | None]] = Cache(clock)
        self._organisations: Cache[tuple[int | None]] = Cache(clock)
        self._keys: Cache[tuple[SigningKey, ...]] = Cache(clock)
        self._login_key: bytes | None = None
        self._waiting: dict[Question, list[Deferred[Entry]]] = {}
        wakeups.listen(self._heard, self._lost)

    async def entry(self, address: Address) -> Entry:
        """Return what is known of an address (IDirectory)."""
        remembered = self._cache.get(address_key(address.key))
        if remembered is None:
            of_domain = self._cache.get(domain_key(address.domain))
            remembered = of_domain if of_domain is not None and of_domain.domain is None else None
        if remembered is None:
            remembered = await self._ask(folded(address.local_part), address.domain)
        return remembered

    async def domain(self, name: str) -> Domain | None:
        """Return the domain of that A-label if anybody claimed it here (IDirectory)."""
        return (await self._domain_entry(name)).domain

    async def tls_level(self, destination: str, sender: str | None) -> TlsLevel | None:
        """Return the TLS that mail to a domain elsewhere must have (IDirectory)."""
        wanted = (await self._domain_entry(destination)).tls
        ours = None if sender is None else await self.domain(sender)
        return strictest(wanted, ours.outbound_tls if ours is not None and ours.verified else None)

    async def _domain_entry(self, name: str) -> Entry:
        remembered = self._cache.get(domain_key(name))
        return await self._ask("", name) if remembered is None else remembered

    async def credential(self, address: Address) -> Credential | None:
        """Return what the mailbox of that address logs in with (IDirectory)."""
        key = address_key(address.key)
        remembered = self._credentials.get(key)
        if remembered is None:
            question = (address.domain, folded(address.local_part))
            made = _at_most_one(_credential_of(address.domain))
            remembered = await self._find(self._credentials, key, _CREDENTIAL, question, made)
        return remembered[0]

    async def login_key(self) -> bytes:
        """Return the key that answers for nobody are made up with (IDirectory)."""
        if self._login_key is None:
            ((key,),) = await self._pool.query(_LOGIN_KEY, (), timeout_seconds=_LOOKUP_SECONDS)
            self._login_key = bytes(key)
        return self._login_key

    async def organisation(self, name: str) -> int | None:
        """Return the id of the organisation of that name (IDirectory)."""
        remembered = self._organisations.get(name)
        if remembered is None:
            made = _at_most_one(lambda row: int(row[0]))
            remembered = await self._find(self._organisations, name, _ORGANISATION, (name,), made)
        return remembered[0]

    async def keys(self, domain: str) -> tuple[SigningKey, ...]:
        """Return the active keys of a verified domain (IDirectory)."""
        key = domain_key(domain)
        remembered = self._keys.get(key)
        if remembered is None:
            opened = partial(signing_keys, sealing=self._sealing)
            remembered = await self._find(self._keys, key, ACTIVE_KEYS, (domain,), opened)
        return remembered

    async def _find(
        self, cache: Cache[T], key: str, sql: str, question: tuple[str, ...], made: Callable[[Sequence[Row]], T]
    ) -> T:
        """Ask the database, and remember what is made of the rows it answers with."""
        lookup = cache.begin([key])
        try:
            found = made(await self._pool.query(sql, question, timeout_seconds=_LOOKUP_SECONDS))
        except BaseException:
            cache.abandon(lookup)
            raise
        cache.finish(lookup, {key: found})
        return found

    def _heard(self, channel: str, key: str) -> None:
        if channel == CHANNEL:
            self._cache.forget(key)
            self._credentials.forget(key)
            self._keys.forget(key)

    def _lost(self) -> None:
        self._cache.flush()
        self._credentials.flush()
        self._keys.flush()

    def _ask(self, local_part: str, domain: str) -> "Deferred[Entry]":
        """Let the next batch ask for an address, or for a domain alone when `local_part` is empty."""
        answer: Deferred[Entry] = Deferred()
        if not self._waiting:
            self._clock.callLater(0, self._send)
        self._waiting.setdefault((local_part, domain), []).append(answer)
        return answer

    def _send(self) -> None:
        waiting, self._waiting = list(self._waiting.items()), {}
        for start in range(0, len(waiting), BATCH_KEYS):
            Deferred.fromCoroutine(self._serve(dict(waiting[start : start + BATCH_KEYS])))

    async def _serve(self, batch: dict[Question, list[Deferred[Entry]]]) -> None:
        try:
            found = await self._look_up(list(batch))
        except Exception as error:
            for answer in chain.from_iterable(batch.values()):
                answer.errback(error)
        else:
            for question, answers in batch.items():
                for answer in answers:
                    answer.callback(found[question])

    async def _look_up(self, questions: Sequence[Question]) -> dict[Question, Entry]:
        """Ask the database once, and remember what it says."""
        keys = [key for question in questions for key in _keys(question)]
        lookup = self._cache.begin(keys)
        try:
            asked = tuple(map(list, zip(*questions, strict=True)))
            rows = await self._pool.query(_LOOKUP, asked, timeout_seconds=_LOOKUP_SECONDS)
        except BaseException:
            self._cache.abandon(lookup)
            raise
        found = {questions[row[0] - 1]: _entry(row) for row in rows}
        self._cache.finish(lookup, {key: entry for question in questions for key, entry in _facts(question, found)})
        return found


def _keys(question: Question) -> list[str]:
    """Return the keys whose news concerns the answer."""
    local_part, domain = question
    keys = [domain_key(domain)]
    if local_part:
        keys.append(address_key(f"{local_part}@{domain}"))
    return keys


def _facts(question: Question, found: dict[Question, Entry]) -> Iterator[tuple[str, Entry]]:
    """Say what an answer tells: of the domain always, of the address when the domain is somebody's."""
    local_part, domain = question
    entry = found[question]
    yield domain_key(domain), Entry(entry.domain, None, entry.tls)
    if local_part and entry.domain is not None:
        yield address_key(f"{local_part}@{domain}"), entry


def _entry(row: Row) -> Entry:
    _, domain_id, organisation, name, verified, claimed_at, catch_all, delivery, outbound_tls, *rest = row
    spf, dkim, dmarc, check_from, wanted, *behind = rest
    tls = _level(wanted)
    if domain_id is None:
        return Entry(None, None, tls)
    domain = Domain(
        id=domain_id,
        organisation=organisation,
        name=name,
        verified=verified,
        claimed_at=claimed_at,
        catch_all=None if catch_all is None else from_plain(catch_all),
        delivery=delivery_from_text(delivery),
        outbound_tls=_level(outbound_tls),
        checks=checks_from_text(spf, dkim, dmarc),
        check_from=check_from,
    )
    mailbox_id, mailbox_local_part, enabled, alias_local_part, targets = behind
    if mailbox_id is not None:
        return Entry(domain, Mailbox(mailbox_id, organisation, Address(mailbox_local_part, name), enabled), tls)
    if targets is not None:
        alias = Alias(organisation, Address(alias_local_part, name), tuple(map(from_plain, targets)))
        return Entry(domain, alias, tls)
    return Entry(domain, None, tls)


def _level(text: str | None) -> TlsLevel | None:
    return None if text is None else TlsLevel(text)


def _at_most_one(made: Callable[[Row], T]) -> Callable[[Sequence[Row]], tuple[T | None]]:
    """Return what makes of rows, if there is one, what `made` makes of it."""
    return lambda rows: (made(rows[0]) if rows else None,)


def _credential_of(domain: str) -> Callable[[Row], Credential]:
    """Return what makes a credential of a row about a mailbox in that domain."""

    def made(row: Row) -> Credential:
        mailbox_id, organisation, local_part, enabled, password_hash, send_as, aliases, scram = row
        mailbox = Mailbox(mailbox_id, organisation, Address(local_part, domain), enabled)
        return Credential(mailbox, password_hash, tuple(send_as), tuple(map(from_plain, aliases)), scram)

    return made
