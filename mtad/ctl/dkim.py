"""`mtactl dkim`: the keys domains sign with, their lives, and the records that publish them."""

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.key_care import PostgresKeyCare
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.sealing import Sealing
from mtad.ctl import new_keys
from mtad.ctl.access import Access
from mtad.ctl.keys import DEFAULT_ALGORITHM
from mtad.ctl.new_keys import Begun
from mtad.ctl.record import on_record, trail
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.ctl.tenancy import DomainName
from mtad.domains.keys import awaited, needed_until
from mtad.model.dkim import Key, KeyState, key_type, parse_selector, record_name, record_text, zone_line
from mtad.model.domain_check import Locked
from mtad.model.errors import InvalidInput
from mtad.verification.keys import ALGORITHMS

_SEALED_AT_ONCE = 100


def domain_name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return a domain as A-labels; anything else is a wrong command line."""
    try:
        return DomainName.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _selector(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else parse_selector(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group()
def dkim() -> None:
    """The keys domains sign their mail with."""


@dkim.command("list")
@click.argument("domain", callback=domain_name)
@json_option
@click.pass_obj
def list_(access: Access, domain: str, as_json: bool) -> None:
    """List the keys of a domain, what each waits for, and the records to publish for them.

    The record of a retiring key is needed until mail it has signed is delivered everywhere.
    """
    keys = access.ask(lambda pool: new_keys.held(pool, domain))
    if as_json:
        print_json([_json(domain, key) for key in keys])
        return
    now, lifetime = SystemClock().now(), access.settings().queue.lifetime
    print_table(
        ("selector", "algorithm", "state", "since", "awaits"),
        [
            (key.selector, key.algorithm, key.state.value, date_text(_since(key)), awaited(key, now, lifetime) or None)
            for key in keys
        ],
    )
    for key in keys:
        if key.state is not KeyState.REVOKED:
            click.echo()
            click.echo(zone_line(record_name(key.selector, domain), record_text(key.algorithm, key.public_key)))


@dkim.command()
@click.argument("domain", callback=domain_name)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default=DEFAULT_ALGORITHM, show_default=True)
@click.option("--selector", callback=_selector, help="Its name; by default one made of the date.")
@click.option("--force", is_flag=True, help="Sign at once, whether its record is there or not.")
@click.pass_obj
def generate(access: Access, domain: str, algorithm: str, selector: str | None, force: bool) -> None:
    """Give DOMAIN a key, which signs once its record was seen in the DNS.

    Then the key of its kind, RSA or Ed25519, that signed before signs no more.
    """
    _begin(access, "dkim generate", domain, [algorithm], selector, force)


@dkim.command()
@click.argument("domain", callback=domain_name)
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="What the next key is made of, if it is to differ.")
@click.option("--selector", callback=_selector, help="Its name; by default one made of the date.")
@click.option("--force", is_flag=True, help="Sign at once, whether its record is there or not.")
@click.pass_obj
def rotate(access: Access, domain: str, algorithm: str | None, selector: str | None, force: bool) -> None:
    """Begin the next key of DOMAIN, or the next keys where an RSA and an Ed25519 key sign, and say what follows."""
    _begin(access, "dkim rotate", domain, None if algorithm is None else [algorithm], selector, force)


@dkim.command()
@click.argument("domain", callback=domain_name)
@click.argument("selector", callback=_selector)
@click.pass_obj
def retire(access: Access, domain: str, selector: str) -> None:
    """Let the key SELECTOR of DOMAIN sign no more; one that never signed is revoked at once."""

    deed = trail("dkim retire", record_name(selector, domain))
    move = access.ask(lambda pool: new_keys.retire(pool, domain, selector, SystemClock().now(), deed))
    click.echo(f"{record_name(selector, domain)}: {move.before.value} -> {move.after.value}")


@dkim.command()
@click.pass_obj
def seal(access: Access) -> None:
    """Encrypt all private keys with the first master key: those in clear, and those of other master keys."""
    sealing = Sealing(access.settings().dkim.keys)
    if sealing.writes_with is None:
        raise InvalidInput("dkim.master_key", "is not set, nor is MTAD_MASTER_KEY")

    async def work(pool: Pool) -> tuple[int, tuple[Locked, ...]]:
        return await _sealed(pool, sealing, trail("dkim seal", f"with {sealing.writes_with}"))

    count, locked = access.ask(work)
    click.echo(f"{count} keys sealed with {sealing.writes_with}" if count else "no change")
    if locked:
        first = locked[0]
        raise InvalidInput(
            record_name(first.selector, first.domain),
            f"the master key {first.master_key} does not open it ({len(locked)} keys are left as they are)",
        )


async def _sealed(pool: Pool, sealing: Sealing, deed: Trail) -> tuple[int, tuple[Locked, ...]]:
    care = PostgresKeyCare(pool, sealing)
    total = 0
    while True:
        sealed = await on_record(
            pool, deed, lambda cursor: care.seal_in(cursor, _SEALED_AT_ONCE), lambda sealed: sealed.count
        )
        total += sealed.count
        if not sealed.count:
            return total, sealed.locked


def _begin(
    access: Access, command: str, domain: str, algorithms: list[str] | None, selector: str | None, force: bool
) -> None:
    settings = access.settings()
    now = SystemClock().now()

    async def work(pool: Pool) -> Begun:
        sealing = Sealing(settings.dkim.keys)
        return await new_keys.begin(pool, domain, algorithms, selector, sealing, now, force, command)

    begun = access.ask(work)
    state = "active" if force else "generated"
    print_table(("selector", "algorithm", "state"), [(key.selector, key.algorithm, state) for key in begun.keys])
    click.echo("\nPublish:\n")
    for key in begun.keys:
        click.echo(zone_line(record_name(key.selector, domain), record_text(key.algorithm, key.public_key)))
    until = date_text(needed_until(now, settings.queue.lifetime))
    for line in _consequences(begun, force, until):
        click.echo(f"\n{line}")


def _consequences(begun: Begun, force: bool, until: str) -> list[str]:
    """Return what follows, for people."""
    kinds = {key_type(key.algorithm) for key in begun.keys}
    replaced = ", ".join(key.selector for key in begun.signing if key_type(key.algorithm) in kinds)
    if force:
        said = ["It signs from now on: until the record is there, nobody can check its signatures."]
        return said + ([f"No longer signing: {replaced}. The record is needed until {until} UTC."] if replaced else [])
    said = ["It signs once the server has seen its record twice, some ten minutes apart; nothing else is to be done."]
    if replaced:
        said.append(f"Then this signs no more: {replaced}. Its record stays until mtactl dkim list says it may go.")
    return said


def _since(key: Key) -> float:
    """Return since when a key is in its state."""
    times = {
        KeyState.GENERATED: key.created_at,
        KeyState.PUBLISHED: key.published_at,
        KeyState.ACTIVE: key.active_at,
        KeyState.RETIRING: key.retiring_at,
        KeyState.REVOKED: key.revoked_at,
    }
    since = times[key.state]
    return key.created_at if since is None else since


def _json(domain: str, key: Key) -> dict[str, str | None]:
    def date(at: float | None) -> str | None:
        return None if at is None else date_json(at)

    return {
        "selector": key.selector,
        "algorithm": key.algorithm,
        "state": key.state.value,
        "created_at": date(key.created_at),
        "published_at": date(key.published_at),
        "active_at": date(key.active_at),
        "retiring_at": date(key.retiring_at),
        "revoked_at": date(key.revoked_at),
        "sealed_with": key.sealed_with,
        "name": record_name(key.selector, domain),
        "text": record_text(key.algorithm, key.public_key),
    }
