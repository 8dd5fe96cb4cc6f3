"""`mtactl node list`, `drain` and `reload`: the processes that run, and what they are told to do.

What is wanted is written to the database and told by NOTIFY; what comes of it is seen in the nodes' rows, which are
looked at until it is done.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence

import click
from twisted.internet.task import deferLater

from mtad.adapters.postgres import fleet
from mtad.adapters.postgres.fleet import NodeState
from mtad.adapters.postgres.pool import Cursor, Pool
from mtad.adapters.postgres.session import IReactor
from mtad.ctl.access import Access
from mtad.ctl.record import on_record, trail
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.errors import InvalidInput, Unavailable

_COLUMNS = ("owner", "name", "process", "since", "rows", "sessions", "state")
_LOOK_SECONDS = 0.5
_TELL_AGAIN_SECONDS = 5.0
_ALL = "all nodes"

_names = click.argument("names", metavar="[NODE]...", nargs=-1)
_timeout = click.option(
    "--timeout",
    type=click.IntRange(1, 86_400),
    default=300,
    show_default=True,
    help="How many seconds to wait for it.",
)


@click.group()
def node() -> None:
    """The processes that run on this database."""


@node.command("list")
@json_option
@click.pass_obj
def list_(access: Access, as_json: bool) -> None:
    """List the processes that run, or did a moment ago."""
    found = access.ask(fleet.nodes)
    if as_json:
        print_json([_json(each) for each in found])
    else:
        print_table(_COLUMNS, [_row(each) for each in found])


@click.command()
@_names
@click.option("--all", "everybody", is_flag=True, help="All nodes.")
@click.option("--undo", is_flag=True, help="Let them work again.")
@_timeout
@click.pass_obj
def drain(access: Access, names: Sequence[str], everybody: bool, undo: bool, timeout: int) -> None:
    """Take nodes out, by name or owner number: no new sessions, no new work, and no rows in the end."""
    if bool(names) == everybody:
        raise click.UsageError("name nodes, or write --all")

    async def work(reactor: IReactor, pool: Pool) -> None:
        owners = {each.owner for each in _chosen(await fleet.nodes(pool), names)}
        deed = trail("drain --undo" if undo else "drain", " ".join(names) or _ALL)
        await on_record(pool, deed, lambda cursor: fleet.drain(cursor, sorted(owners), not undo), int)
        settled = _works if undo else _is_drained
        await _watch(reactor, pool, timeout, lambda found: _drain_left(found, owners, settled))

    access.watch(work)
    click.echo("working again" if undo else "drained")


@click.command()
@_names
@_timeout
@click.pass_obj
def reload(access: Access, names: Sequence[str], timeout: int) -> None:
    """Let servers read their configuration anew, and replace their processes one by one; all, if none is named."""
    token = secrets.token_hex(8)

    async def work(reactor: IReactor, pool: Pool) -> None:
        before = _chosen(await fleet.nodes(pool), names)
        called = sorted({each.name for each in before})
        owners = {each.owner for each in before}

        async def wanted(cursor: Cursor) -> int:
            await fleet.want_reload(cursor, token, called)
            return len(before)

        await on_record(pool, trail("reload", " ".join(called)), wanted, int)
        await _watch(
            reactor,
            pool,
            timeout,
            lambda found: _reload_left(found, owners, token),
            # Who did not hear it the first time hears it again.
            tell=lambda: fleet.want_reload(pool, token, called),
        )

    access.watch(work)
    click.echo("reloaded")


def _chosen(found: Sequence[NodeState], names: Sequence[str]) -> list[NodeState]:
    """Return the nodes of these names or owner numbers, all when there are none; InvalidInput for one that is not."""
    if not found:
        raise InvalidInput("nodes", "none runs on this database")
    for name in names:
        if not any(name in (each.name, str(each.owner)) for each in found):
            raise InvalidInput(name, "no node is called so; `mtactl node list` lists them")
    return [each for each in found if not names or each.name in names or str(each.owner) in names]


async def _watch(
    reactor: IReactor,
    pool: Pool,
    patience_seconds: int,
    left: Callable[[Sequence[NodeState]], list[str]],
    tell: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Look at the nodes until nothing is `left`, printing what that is whenever it changes.

    `tell` is done now and then. Unavailable when it takes too long.
    """
    begun_at = reactor.seconds()
    told_at = float("-inf")
    before: list[str] = []
    while True:
        if tell is not None and reactor.seconds() - told_at >= _TELL_AGAIN_SECONDS:
            told_at = reactor.seconds()
            await tell()
        now = left(await fleet.nodes(pool))
        if now != before:
            for line in now:
                click.echo(line)
        if not now:
            return
        if reactor.seconds() - begun_at > patience_seconds:
            raise Unavailable("nodes", f"not done after {patience_seconds} s: {'; '.join(now)}")
        before = now
        await deferLater(reactor, _LOOK_SECONDS)


def _drain_left(found: Sequence[NodeState], owners: set[int], settled: Callable[[NodeState], bool]) -> list[str]:
    """Return a line for each of these nodes that has not come to what is wanted; one that is no more has."""
    return [
        f"{each.name}, owner {each.owner}: {each.rows} rows, {each.sessions or 0} sessions"
        for each in found
        if each.owner in owners and not settled(each)
    ]


def _is_drained(each: NodeState) -> bool:
    return each.drains and not each.rows and not each.sessions


def _works(each: NodeState) -> bool:
    return not each.drains


def _reload_left(found: Sequence[NodeState], owners: set[int], token: str) -> list[str]:
    """Return a line for each server some of whose nodes are still those before; InvalidInput when one refuses."""
    old = [each for each in found if each.owner in owners]
    for each in old:
        if reason := each.refuses(token):
            raise InvalidInput(each.name, f"reload refused: {reason}")
    counts = {name: sum(each.name == name for each in old) for name in sorted({each.name for each in old})}
    return [f"{name}: {count} to be replaced" for name, count in counts.items()]


def _row(each: NodeState) -> tuple[str | int | None, ...]:
    state = "draining" if each.draining else "working"
    return each.owner, each.name, each.process, date_text(each.started_at), each.rows, each.sessions, state


def _json(each: NodeState) -> dict[str, object]:
    return {
        "owner": each.owner,
        "name": each.name,
        "process": each.process,
        "started_at": date_json(each.started_at),
        "rows": each.rows,
        "sessions": each.sessions,
        "draining": each.draining,
    }
