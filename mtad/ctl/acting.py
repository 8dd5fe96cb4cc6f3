"""`mtactl queue retry`, `remove`, `bounce`: what is done to recipients that wait, by id or by filter.

A single message is spoken of by its id, and it is an error when there is nothing to do; of a selection it is told how
many recipients it came to.
"""

from collections.abc import Callable
from typing import Any

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres import care, selected
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.session import IReactor
from mtad.config import Settings
from mtad.ctl.access import Access, Stores
from mtad.ctl.record import trail
from mtad.ctl.returning import Returning
from mtad.ctl.selecting import Progress, chosen, confirm, recipients, selecting, show_some
from mtad.model.errors import InvalidInput
from mtad.model.identity import print_id
from mtad.model.job import Settlement
from mtad.model.report import Action
from mtad.model.selection import Selection


@click.command()
@selecting
@click.pass_obj
def retry(access: Access, /, dry_run: bool, yes: bool, **terms: Any) -> None:
    """Let recipients that wait or are held be tried now; what a hold or the quarantine keeps is kept."""

    def say(selection: Selection, count: int) -> str:
        return told(selection, f"{recipients(count)} due now")

    _act(
        access, terms, selected.RETRY, "retry", "waits: they are being delivered or kept", say, dry_run=dry_run, yes=yes
    )


@click.command()
@selecting
@click.pass_obj
def remove(access: Access, /, dry_run: bool, yes: bool, **terms: Any) -> None:
    """Remove recipients nothing is being delivered to, and messages with their last one; nobody is told."""

    def say(selection: Selection, count: int) -> str:
        if selection.single is None:
            return f"{recipients(count)} removed, nobody is told"
        return told(selection, f"removed with {recipients(count)}, nobody is told")

    _act(access, terms, selected.REMOVE, "remove", "waits: they are being delivered", say, dry_run=dry_run, yes=yes)


@click.command()
@selecting
@click.pass_obj
def bounce(access: Access, /, dry_run: bool, yes: bool, **terms: Any) -> None:
    """Return messages to their senders, for the recipients they still wait for."""
    settings = access.settings()
    choice = chosen(terms)

    async def look(pool: Pool) -> None:
        await show_some(pool, await choice.selection(pool), selected.RETURNABLE)

    async def work(stores: Stores) -> str:
        selection = await choice.selection(stores.pool)
        if not yes:
            await confirm(stores.reactor, stores.pool, selection, selected.RETURNABLE, "Return")
        return await _returned(stores, settings, selection)

    if dry_run:
        access.ask(look)
    else:
        click.echo(access.act(work))


def _act(
    access: Access,
    terms: dict[str, Any],
    act: selected.Act,
    word: str,
    found_none: str,
    say: Callable[[Selection, int], str],
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Do something to what the options select, and say what; `found_none` is why a message had no such recipient."""
    choice = chosen(terms)

    async def work(reactor: IReactor, pool: Pool) -> str:
        selection = await choice.selection(pool)
        count = await done(reactor, pool, act, selection, word, dry_run=dry_run, yes=yes)
        if not count and not dry_run:
            await nothing_done(pool, selection, found_none)
        return say(selection, count)

    said = access.watch(work)
    if not dry_run:
        click.echo(said)


async def done(
    reactor: IReactor, pool: Pool, act: selected.Act, selection: Selection, word: str, *, dry_run: bool, yes: bool
) -> int:
    """Do something to all selected rows, a slice after the other; return how many there were, 0 for a dry run."""
    if dry_run:
        await show_some(pool, selection, act.which)
        return 0
    if not yes:
        await confirm(reactor, pool, selection, act.which, word.capitalize())
    deed = trail(f"queue {word}", str(selection))
    progress = Progress()
    after: selected.Key | None = selected.START
    while after is not None:
        count, after = await selected.act(pool, act, selection, after, SystemClock().now(), deed)
        progress.add(count)
    return progress.count


async def nothing_done(pool: Pool, selection: Selection, what: str) -> None:
    """Say why a command found no recipient of a single message: none `what`. Of a selection that is no error."""
    message = selection.single
    if message is None:
        return
    if await care.waiting(pool, message) is None:
        raise not_there(message)
    raise InvalidInput(print_id(message), f"none of its recipients {what}")


def not_there(message: int) -> InvalidInput:
    """Return what is said of a message that is not in the queue."""
    return InvalidInput(print_id(message), "nothing of it is in the queue; `mtactl trace` may know what became of it")


def told(selection: Selection, what: str) -> str:
    """Return what is said of a selection, a single message by its id."""
    return what if selection.single is None else f"{print_id(selection.single)}: {what}"


async def _returned(stores: Stores, settings: Settings, selection: Selection) -> str:
    """Return all that is selected to its senders, a message after the other; return what is to be said."""
    deed = trail("queue bounce", str(selection))
    progress = Progress()
    returning = Returning(stores, settings, deed.command)
    await returning.begin()
    last: Settlement | None = None
    after: selected.Key | None = selected.START
    try:
        while after is not None:
            keys = await selected.keys(stores.pool, selection, selected.RETURNABLE, after)
            after = keys[-1] if len(keys) == selected.AT_ONCE else None
            for message, rows in _by_message(keys).items():
                settlement = await returning.give_back(message, rows, deed)
                if settlement is not None:
                    last = settlement
                    progress.add(len(settlement.results))
    finally:
        await returning.end()
    if last is None:
        await nothing_done(stores.pool, selection, "waits: they are being delivered or quarantined")
    if selection.single is None or last is None:
        return f"{recipients(progress.count)} ended, and their senders are told"
    reports = [print_id(each.report.content_id) for each in last.reports if each.action is Action.FAILED]
    by = f"its sender is told by {reports[0]}" if reports else "there is nobody to tell"
    return told(selection, f"ended for {recipients(progress.count)}, {by}")


def _by_message(keys: list[selected.Key]) -> dict[int, list[int]]:
    messages: dict[int, list[int]] = {}
    for message, n in keys:
        messages.setdefault(message, []).append(n)
    return messages
