"""`mtactl apply FILE`: lets organisations hold what a file says, in one transaction, and tells the difference."""

from collections.abc import Sequence
from pathlib import Path

import click

from mtad.adapters.clock import SystemClock
from mtad.adapters.passwords import hash_password, is_current, verify_password
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.tenants import Present, Tenants
from mtad.config.decoding import decode
from mtad.config.document import read
from mtad.ctl.access import Access
from mtad.ctl.consistency import Complain, check, check_owners
from mtad.ctl.difference import describe, difference, summary, wanted
from mtad.ctl.keys import Pairs, brought, check_keys, completed
from mtad.ctl.tenancy import Tenancy
from mtad.model.address import Address
from mtad.model.holdings import Change


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Tell the difference and change nothing.")
@click.pass_obj
def apply(access: Access, file: Path, dry_run: bool) -> None:
    """Let the organisations in FILE hold what it says, and nothing else.

    Within an organisation of the file, domains, mailboxes and aliases that it does not list are removed.
    Organisations it does not name stay as they are.
    """
    document = read(file)
    tenancy = decode(document, Tenancy)
    check(tenancy, document.wrong)
    pairs = brought(tenancy, file.parent, document.wrong)
    changes = access.ask(lambda pool: applied(pool, tenancy, document.wrong, pairs, dry_run))
    for change in changes:
        click.echo(describe(change))
    click.echo(f"dry run: {summary(changes)}" if dry_run else summary(changes))


async def applied(pool: Pool, tenancy: Tenancy, complain: Complain, pairs: Pairs, dry_run: bool) -> Sequence[Change]:
    """Make the changes that a checked file asks for, unless this is a dry run; return them.

    `pairs` are the keys it brings. Passwords are hashed and further keys made before the transaction begins, for that
    takes long and others would wait.
    """
    tenants = Tenants(pool)
    organisations = [organisation.name for organisation in tenancy.organisations]
    domains = [domain.name for organisation in tenancy.organisations for domain in organisation.domains]
    present = await tenants.present(organisations, domains)
    check_owners(tenancy, present.owners, complain)
    check_keys(tenancy, pairs, present, complain)
    hashes = password_hashes(tenancy, present)
    made = completed(tenancy, pairs, present)

    def decide(now_present: Present) -> Sequence[Change]:
        check_owners(tenancy, now_present.owners, complain)
        check_keys(tenancy, pairs, now_present, complain)
        return difference(wanted(tenancy, now_present, hashes, completed(tenancy, made, now_present)), now_present)

    if dry_run:
        return decide(present)
    return await tenants.change(organisations, domains, decide, SystemClock().now())


def password_hashes(tenancy: Tenancy, present: Present) -> dict[str, str]:
    """Return a hash for each password of the file: the mailbox' own when it is a good one of it, else a new one."""
    held = {
        Address(mailbox.local_part, domain.name).key: mailbox.password_hash
        for holding in present.holdings.values()
        for domain in holding.domains
        for mailbox in domain.mailboxes
    }
    hashes = {}
    for organisation in tenancy.organisations:
        for domain in organisation.domains:
            for mailbox in domain.mailboxes:
                if mailbox.password is not None:
                    key = Address(mailbox.local_part, domain.name).key
                    hashes[key] = _hash(held.get(key), mailbox.password.reveal())
    return hashes


def _hash(held: str | None, password: str) -> str:
    if held is not None and is_current(held) and verify_password(held, password):
        return held
    return hash_password(password)
