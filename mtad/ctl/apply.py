"""`mtactl apply FILE`: lets organisations hold what a file says, in one transaction, and tells the difference."""

from collections.abc import Sequence
from pathlib import Path

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.postgres.audit import Trail
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.tenants import Present, Tenants
from mtad.adapters.sealing import Sealing
from mtad.config.decoding import decode
from mtad.config.document import read
from mtad.ctl.access import Access
from mtad.ctl.consistency import Complain, check, check_owners
from mtad.ctl.difference import describe, difference, summary, wanted
from mtad.ctl.keys import Pairs, brought, check_keys, check_lives, completed
from mtad.ctl.passwords import stored_passwords
from mtad.ctl.record import trail
from mtad.ctl.tenancy import Tenancy
from mtad.model.holdings import Change


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Tell the difference and change nothing.")
@click.option("--replace-keys", is_flag=True, help="Let the keys of FILE sign, whatever mtactl dkim has done since.")
@click.pass_obj
def apply(access: Access, file: Path, dry_run: bool, replace_keys: bool) -> None:
    """Let the organisations in FILE hold what it says, and nothing else.

    Within an organisation of the file, domains, mailboxes and aliases that it does not list are removed.
    Organisations it does not name stay as they are.
    """
    document = read(file)
    tenancy = decode(document, Tenancy)
    check(tenancy, document.wrong)
    pairs = brought(tenancy, file.parent, document.wrong)
    sealing = Sealing(access.settings().dkim.keys)

    deed = None if dry_run else trail("apply", str(file))

    async def work(pool: Pool) -> Sequence[Change]:
        return await applied(Tenants(pool, sealing), tenancy, document.wrong, pairs, dry_run, replace_keys, deed)

    changes = access.ask(work)
    for change in changes:
        click.echo(describe(change))
    click.echo(f"dry run: {summary(changes)}" if dry_run else summary(changes))


async def applied(
    tenants: Tenants,
    tenancy: Tenancy,
    complain: Complain,
    pairs: Pairs,
    dry_run: bool,
    replace_keys: bool = False,
    deed: Trail | None = None,
) -> Sequence[Change]:
    """Make the changes that a checked file asks for, unless this is a dry run; return them. `deed` counts them.

    `pairs` are the keys it brings; what `mtactl dkim` did is undone only to `replace_keys`. Passwords are hashed and
    further keys made before the transaction begins, for that takes long and others would wait.
    """
    organisations = [organisation.name for organisation in tenancy.organisations]
    domains = [domain.name for organisation in tenancy.organisations for domain in organisation.domains]

    def examine(found: Present) -> None:
        check_owners(tenancy, found.owners, complain)
        check_keys(tenancy, pairs, found, complain)
        if not replace_keys:
            check_lives(tenancy, found, complain)

    present = await tenants.present(organisations, domains)
    examine(present)
    passwords = stored_passwords(tenancy, present)
    made = completed(tenancy, pairs, present)

    def decide(now_present: Present) -> Sequence[Change]:
        examine(now_present)
        return difference(wanted(tenancy, now_present, passwords, completed(tenancy, made, now_present)), now_present)

    if dry_run:
        return decide(present)
    return await tenants.change(organisations, domains, decide, SystemClock().now(), deed)
