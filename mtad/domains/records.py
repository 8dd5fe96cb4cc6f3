"""The records a domain's owner publishes, as lines of a zone file (RFC 1035 §5.1)."""

from collections.abc import Iterator
from ipaddress import ip_address

from mtad.domains.dns_check import Server
from mtad.model.dkim import KeyState, record_name, record_text, zone_line
from mtad.model.domain_check import HostedDomain, challenge_name, challenge_text


def zone(domain: HostedDomain, server: Server) -> Iterator[str]:
    """Yield the lines for a domain, with comments: what proves the ownership, MX, SPF, a line a key, DMARC."""
    if not domain.verified:
        yield "; proves that the domain is yours; it may go once the domain is verified"
        yield zone_line(challenge_name(domain.name), challenge_text(domain.challenge))
    yield "; mail for the domain comes here"
    yield f"{domain.name}. IN MX 10 {server.hostname}."
    if server.smarthost:
        yield "; SPF: mail leaves by a smarthost, whose operator says what to publish"
    else:
        yield "; mail of the domain leaves from here; add what else sends as it to this one record"
        yield zone_line(domain.name, f"v=spf1 {' '.join(_mechanisms(server))} ~all")
    for key in domain.keys:
        if key.state is not KeyState.REVOKED:
            yield f"; the key {key.selector}, {key.state.value}"
            yield zone_line(record_name(key.selector, domain.name), record_text(key.algorithm, key.public_key))
    yield "; a beginning for DMARC; p=quarantine or p=reject once all that sends as the domain passes"
    yield zone_line(f"_dmarc.{domain.name}", "v=DMARC1; p=none")


def _mechanisms(server: Server) -> Iterator[str]:
    if not server.sources:
        yield f"a:{server.hostname}"
    for address in server.sources:
        yield f"ip{ip_address(address).version}:{address}"
