"""`mtactl domain`: hosted domains, what the DNS says of them and should say."""

from collections.abc import Sequence

import click

from mtad.adapters.postgres.domain_checks import PostgresDomainCare, hosted_domains
from mtad.adapters.postgres.pool import Pool
from mtad.adapters.postgres.session import IReactor
from mtad.ctl.access import Access
from mtad.ctl.dkim import domain_name
from mtad.ctl.record import trail
from mtad.ctl.show import date_json, date_text, json_option, print_json, print_table
from mtad.model.dkim import KeyMove
from mtad.model.domain_check import HostedDomain, Look, Subject, Verdict
from mtad.model.errors import InvalidInput

_CHECKED = (Subject.MX, Subject.SPF, Subject.DKIM, Subject.DMARC)
_NOT_WELL = (Verdict.BAD, Verdict.TROUBLE)


@click.group()
def domain() -> None:
    """The domains hosted here."""


@domain.command("list")
@click.option("--organisation", help="Only those of this organisation.")
@json_option
@click.pass_obj
def list_(access: Access, organisation: str | None, as_json: bool) -> None:
    """List the domains, and what the DNS says of each."""
    found = access.ask(lambda pool: hosted_domains(pool, organisation))
    if as_json:
        print_json([_json(each) for each in found])
        return
    columns = ("domain", "organisation", "verified", *(subject.value for subject in _CHECKED))
    print_table(
        columns,
        [
            (each.name, each.organisation, "yes" if each.verified else "no", *(_status(each, s) for s in _CHECKED))
            for each in found
        ],
    )


@domain.command()
@click.argument("name", metavar="DOMAIN", callback=domain_name)
@json_option
@click.pass_obj
def show(access: Access, name: str, as_json: bool) -> None:
    """Show what is held of DOMAIN, since when, and what was seen."""
    found = access.ask(lambda pool: _hosted(pool, name))
    if as_json:
        print_json(_json(found))
        return
    verified = "verified" if found.verified else "not verified"
    click.echo(f"{found.name} of {found.organisation}: {verified}, claimed {date_text(found.claimed_at)}")
    rows = [
        (check.subject.value, check.status.value, date_text(check.since), check.failures, check.detail)
        for check in found.checks
    ]
    if rows:
        print_table(("subject", "status", "since", "failures", "seen"), rows)


@domain.command()
@click.argument("name", metavar="DOMAIN", callback=domain_name)
@click.pass_obj
def dns(access: Access, name: str) -> None:
    """Print the records to publish for DOMAIN, as lines of a zone file."""
    found = access.ask(lambda pool: _hosted(pool, name))
    from mtad.ctl.looking import zone_of

    for line in zone_of(found, access.settings()):
        click.echo(line)


@domain.command()
@click.argument("name", metavar="DOMAIN", callback=domain_name)
@json_option
@click.pass_context
def verify(context: click.Context, name: str, as_json: bool) -> None:
    """Ask the DNS now what it says of DOMAIN; what it proves, and what keys wait for, is taken at once.

    The exit status is 1 where something is not as expected, or the DNS does not answer.
    """
    from mtad.ctl.looking import looked

    access: Access = context.obj
    settings = access.settings()

    async def work(reactor: IReactor, pool: Pool) -> tuple[Look, Sequence[KeyMove]]:
        return await looked(reactor, pool, settings, await _hosted(pool, name), trail("domain verify", name))

    found, moved = access.watch(work)
    if as_json:
        print_json(_look_json(found, moved))
    else:
        print_table(
            ("subject", "expected", "seen", "verdict"),
            [
                (finding.subject.value, finding.expected, finding.seen, finding.verdict.value)
                for finding in found.findings
            ],
        )
        if found.proves:
            click.echo(f"{name} is verified from now on")
        for move in moved:
            click.echo(f"dkim key {move.selector}: {move.before.value} -> {move.after.value}")
    context.exit(1 if any(finding.verdict in _NOT_WELL for finding in found.findings) else 0)


async def _hosted(pool: Pool, name: str) -> HostedDomain:
    found = await PostgresDomainCare(pool).hosted(name)
    if found is None:
        raise InvalidInput(name, "no organisation here has this domain")
    return found


def _status(found: HostedDomain, subject: Subject) -> str | None:
    check = found.check(subject)
    return None if check is None else check.status.value


def _json(found: HostedDomain) -> dict[str, object]:
    return {
        "domain": found.name,
        "organisation": found.organisation,
        "verified": found.verified,
        "claimed_at": date_json(found.claimed_at),
        "checks": {
            check.subject.value: {
                "status": check.status.value,
                "seen": check.detail,
                "since": date_json(check.since),
                "checked_at": date_json(check.checked_at),
                "failures": check.failures,
            }
            for check in found.checks
        },
    }


def _look_json(found: Look, moved: Sequence[KeyMove]) -> dict[str, object]:
    return {
        "domain": found.domain.name,
        "proven": found.proves,
        "findings": [
            {
                "subject": finding.subject.value,
                "expected": finding.expected,
                "seen": finding.seen,
                "verdict": finding.verdict.value,
            }
            for finding in found.findings
        ],
        "moved": [
            {"selector": move.selector, "before": move.before.value, "after": move.after.value} for move in moved
        ],
    }
