"""`mtactl queue hold`, `holds`, `release`: mail that is kept back, and let go again.

A hold marks nothing in bulk: servers keep what meets it from now on, within a second. A release is first written down,
then the rows it kept are freed, here and by the servers; ended in between, the servers go on alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres import holds as table
from mtad.adapters.postgres import selected
from mtad.adapters.postgres.holds import Held, PostgresHolds
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.postgres.session import IReactor
from mtad.ctl.access import Access
from mtad.ctl.acting import done, nothing_done, told
from mtad.ctl.person import who
from mtad.ctl.record import trail
from mtad.ctl.selecting import (
    SAMPLE,
    Choice,
    Progress,
    chosen,
    duration,
    message_ids,
    print_messages,
    recipients,
    selecting,
    show_some,
    whose,
)
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.errors import InvalidInput
from mtad.model.hold import Hold, HoldScope
from mtad.model.identity import print_id
from mtad.model.job import Status
from mtad.model.selection import Selection
from mtad.model.text import shown
from mtad.model.units import seconds

_SCOPES = {
    "domain": HoldScope.DOMAIN,
    "sender": HoldScope.SENDER,
    "recipient-domain": HoldScope.RECIPIENT_DOMAIN,
    "messages": HoldScope.MESSAGE,
    "organisation": HoldScope.ORGANISATION,
}
_MAX_REASON = 500


@click.command()
@click.argument("messages", metavar="[ID]...", nargs=-1, callback=message_ids)
@whose
@click.option("--reason", required=True, help="Why, for everybody who looks at the mail.")
@click.option("--for", "duration", callback=duration, help="Let go by itself after that time, such as 2h.")
@click.option("--dry-run", is_flag=True, help="Count what waits and would be kept, show some, and change nothing.")
@click.pass_obj
def hold(access: Access, /, reason: str, duration: str | None, dry_run: bool, **terms: Any) -> None:
    """Keep mail back: messages by id, or all of an organisation, a domain, a sender, or to a domain.

    What is being delivered goes on. --organisation beside another option keeps that organisation's mail only.
    """
    choice = chosen(terms)
    _one_scope(choice)

    async def work(pool: Pool) -> list[str]:
        selection = await choice.selection(pool)
        if choice.domain is not None and not await selected.is_hosted(pool, choice.domain):
            raise InvalidInput(choice.domain, "no organisation here has this domain; --recipient-domain is for others")
        if dry_run:
            await show_some(pool, selection, selected.QUEUED)
            return []
        now = SystemClock().now()
        expires_at = None if duration is None else now + seconds(duration)
        placed = await _placed(pool, _terms(choice, selection, reason, now, expires_at))
        return [f"hold {each.id}: {_whose(each, choice.organisation)}" for each in placed]

    for line in access.ask(work):
        click.echo(line)


@click.command()
@json_option
@click.pass_obj
def holds(access: Access, as_json: bool) -> None:
    """List the holds that stand, and how many recipients each keeps."""
    found = access.ask(table.held)
    if as_json:
        print_json([_json(each) for each in found])
        return
    columns = ("hold", "keeps", "recipients", "since", "until", "by", "reason")
    print_table(columns, [_row(each) for each in found])


@click.command()
@selecting
@click.option("--hold", "numbers", type=int, multiple=True, help="This hold, by its number in `queue holds`.")
@click.pass_obj
def release(access: Access, /, numbers: tuple[int, ...], dry_run: bool, yes: bool, **terms: Any) -> None:
    """Let mail go: what a hold keeps, or what is quarantined.

    By --hold, or by the options the hold was placed with. Ids, and selections with --status quarantined, free what is
    quarantined as it is; ids also end the hold of that message.
    """
    choice = Choice(**terms) if numbers else chosen(terms)
    if numbers and choice.names:
        raise click.UsageError("--hold stands alone")
    if not numbers and not choice.messages and choice.status != Status.QUARANTINED.value:
        _one_scope(choice)

    async def work(reactor: IReactor, pool: Pool) -> str:
        if numbers:
            return await _let_go(pool, await _numbered(pool, numbers), dry_run)
        selection = await choice.selection(pool)
        if choice.messages:
            return await _free_messages(reactor, pool, choice, selection, dry_run, yes)
        if selection.status is Status.QUARANTINED:
            count = await done(reactor, pool, selected.FREE, selection, "release", dry_run=dry_run, yes=yes)
            return f"{recipients(count)} due now"
        return await _let_go(pool, await _standing(pool, _terms(choice, selection)), dry_run)

    said = access.watch(work)
    if not dry_run:
        click.echo(said)


def _one_scope(choice: Choice) -> None:
    """Raise UsageError unless the options name one hold, or a message each."""
    scopes = [name for name in choice.names if name != "organisation"] or ["organisation"]
    if len(scopes) > 1 or scopes[0] not in _SCOPES or (choice.messages and choice.organisation):
        raise click.UsageError(
            "a hold is of messages by their ids, or of one of --organisation, --domain, --sender, --recipient-domain;"
            " --organisation may stand beside the others; `queue retry` is for what the server itself holds"
        )


def _terms(
    choice: Choice, selection: Selection, reason: str = "", now: float = 0.0, expires_at: float | None = None
) -> list[Hold]:
    """Return the holds that the options are about, which name one scope."""
    name = next(name for name in _SCOPES if name in choice.names)
    whats: dict[str, list[str | None]] = {
        "domain": [choice.domain],
        "sender": [choice.sender],
        "recipient-domain": [choice.recipient_domain],
        "messages": [print_id(message) for message in choice.messages],
        "organisation": [choice.organisation],
    }
    return [
        Hold(_SCOPES[name], what, shown(reason, _MAX_REASON), who(), now, selection.organisation, expires_at)
        for what in whats[name]
        if what is not None
    ]


async def _placed(pool: Pool, wanted: Sequence[Hold]) -> list[Hold]:
    """Place holds in one transaction with their audit; one that stands already is placed once more, with its reason."""

    async def work(cursor: Cursor) -> list[Hold]:
        placed = [replace(each, id=await table.place(cursor, each)) for each in wanted]
        for each in placed:
            deed = trail("queue hold", f"hold {each.id}: {each.scope.value} {each.what}")
            await deed.add(cursor, 1, each.created_at)
        return placed

    return await pool.interact(work)


async def _numbered(pool: Pool, numbers: Sequence[int]) -> list[Hold]:
    standing = {each.id: each for each in await PostgresHolds(pool).active()}
    for number in numbers:
        if number not in standing:
            raise InvalidInput(f"hold {number}", "there is none that stands; `mtactl queue holds` lists them")
    return [standing[number] for number in dict.fromkeys(numbers)]


async def _standing(pool: Pool, wanted: Sequence[Hold]) -> list[Hold]:
    """Return the holds that stand and were placed with these terms; InvalidInput when there is none."""
    keys = {(each.scope, each.what, each.organisation) for each in wanted}
    found = [each for each in await PostgresHolds(pool).active() if (each.scope, each.what, each.organisation) in keys]
    if not found:
        what = " ".join(f"{each.scope.value} {each.what}" for each in wanted)
        raise InvalidInput(what, "no such hold stands; `mtactl queue holds` lists them")
    return found


async def _let_go(pool: Pool, standing: Sequence[Hold], dry_run: bool) -> str:
    """Release holds, and free what they kept; return what is to be said."""
    if dry_run:
        kept, messages = await table.kept_by(pool, [each.id for each in standing], SAMPLE)
        click.echo(f"dry run: {', '.join(f'hold {each.id}' for each in standing)}: {recipients(kept)} held")
        print_messages(messages)
        return ""
    names = ", ".join(f"hold {each.id}" for each in standing)
    deed = trail("queue release", names)
    now = SystemClock().now()

    async def work(cursor: Cursor) -> None:
        for each in standing:
            await table.release(cursor, each.id, now, deed.who)
        await deed.add(cursor, len(standing), now)

    await pool.interact(work)
    progress = Progress()
    port = PostgresHolds(pool)
    while freed := await port.free(SystemClock().now()):
        progress.add(freed)
    return f"{names}: released, {recipients(progress.count)} due now"


async def _free_messages(
    reactor: IReactor, pool: Pool, choice: Choice, selection: Selection, dry_run: bool, yes: bool
) -> str:
    """Free what is quarantined of messages, and end the holds of them alone."""
    ids = {print_id(message) for message in choice.messages}
    own = [each for each in await PostgresHolds(pool).active() if each.scope is HoldScope.MESSAGE and each.what in ids]
    said = [await _let_go(pool, own, dry_run)] if own else []
    count = await done(reactor, pool, selected.FREE, selection, "release", dry_run=dry_run, yes=yes)
    if not count and not own and not dry_run:
        await nothing_done(pool, selection, "is quarantined, nor has it a hold of its own")
    if count or not own:
        said.append(told(selection, f"{recipients(count)} due now"))
    return "\n".join(said)


def _whose(each: Hold, organisation: str | None) -> str:
    beside = "" if organisation is None or each.scope is HoldScope.ORGANISATION else f" of organisation {organisation}"
    return f"{each.scope.value} {each.what}{beside}"


def _row(each: Held) -> tuple[str | int, ...]:
    until = "-" if each.hold.expires_at is None else date_text(each.hold.expires_at)
    since = date_text(each.hold.created_at)
    keeps = _whose(each.hold, each.organisation)
    return each.hold.id, keeps, each.rows, since, until, each.hold.held_by, each.hold.reason


def _json(each: Held) -> dict[str, object]:
    return {
        "hold": each.hold.id,
        "scope": each.hold.scope.value,
        "what": each.hold.what,
        "organisation": each.organisation,
        "recipients": each.rows,
        "since": date_json(each.hold.created_at),
        "until": None if each.hold.expires_at is None else date_json(each.hold.expires_at),
        "by": each.hold.held_by,
        "reason": each.hold.reason,
    }
