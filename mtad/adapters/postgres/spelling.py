"""How addresses in the queue are spelled that compare as the same: by NFC and casefold, as `Address.key` says.

No version of PostgreSQL does that alike. What is all ASCII needs no more than `lower` there; the rest is looked up
here, before rows are selected by it.
"""

from dataclasses import replace

from mtad.adapters.postgres.pool import Pool
from mtad.model.address import from_plain
from mtad.model.selection import Selection

_SENDERS = """
select distinct reverse_path from messages
where octet_length(reverse_path) > length(reverse_path) and right(reverse_path, length(%s) + 1) = '@' || %s
"""
_RECIPIENTS = """
select distinct address from message_queue cross join lateral (values (recipient), (original)) as given (address)
where octet_length(address) > length(address) and right(address, length(%s) + 1) = '@' || %s
"""


async def spelled(pool: Pool, selection: Selection) -> Selection:
    """Return the selection with all spellings in the queue of its addresses, which Python compares.

    What is spelled otherwise and comes later is not selected.
    """
    sender = selection.sender if selection.sender_is_address else None
    return replace(
        selection,
        sender_spellings=await _spellings(pool, _SENDERS, sender),
        recipient_spellings=await _spellings(pool, _RECIPIENTS, selection.recipient),
    )


async def _spellings(pool: Pool, sql: str, key: str | None) -> tuple[str, ...]:
    if key is None:
        return ()
    domain = from_plain(key).domain
    return tuple(text for (text,) in await pool.query(sql, (domain, domain)) if from_plain(text).key == key)
