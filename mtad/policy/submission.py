"""Submission: who may log in without TLS, who need not log in, and as whom a submitter may send (RFC 6409 §4.3, §6.1).

Only verified domains of the submitter's own organisation are ever its to send from (DESIGN D12), whatever an operator
permitted. The null reverse-path is nobody's and permitted to all. The directory's answers are facts found before.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from mtad.model import replies
from mtad.model.address import Address
from mtad.model.tenant import Credential, Domain, Submitter
from mtad.model.verdict import Accept, Refuse, Verdict
from mtad.policy.peer import address_of


@dataclass(frozen=True, slots=True)
class RelayNetwork:
    """Machines that may submit without a login, each as the organisation of that name."""

    network: IPv4Network | IPv6Network
    organisation: str


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """`domain` is the reverse-path's as the directory has it, `standing` whether who logged in still may."""

    submitter: Submitter
    reverse_path: Address | None
    domain: Domain | None
    standing: bool


def decide(facts: SenderFacts) -> Verdict:
    """Return whether the submitter may send with this reverse-path."""
    if facts.standing and (
        facts.reverse_path is None or may_send_as(facts.submitter, facts.reverse_path, facts.domain)
    ):
        return Accept("permitted sender")
    return Refuse(replies.SENDER_NOT_PERMITTED, "sender-not-permitted")


def may_send_as(submitter: Submitter, address: Address, domain: Domain | None) -> bool:
    """Return whether the submitter may write as `address`, whose domain is `domain` (None: nobody's here)."""
    if domain is None or not domain.verified or domain.organisation != submitter.organisation:
        return False
    credential = submitter.credential
    return credential is None or address.key in _own(credential) or any(_covers(credential.send_as, address))


def may_log_in_clear(host: str, tls_is_off: bool) -> bool:
    """Return whether a peer at this address may show a password without TLS: only from this machine, with TLS off."""
    address = address_of(host)
    return tls_is_off and address is not None and address.is_loopback


def relayed_for(host: str, networks: Iterable[RelayNetwork]) -> str | None:
    """Return the organisation a peer at this address submits for without a login; the first network that has it."""
    address = address_of(host)
    return next((entry.organisation for entry in networks if address is not None and address in entry.network), None)


def _own(credential: Credential) -> set[str]:
    return {credential.mailbox.address.key, *(alias.key for alias in credential.aliases)}


def _covers(send_as: tuple[str, ...], address: Address) -> Iterable[bool]:
    for what in send_as:
        yield what == address.domain if "@" not in what else _pattern(what).fullmatch(address.key) is not None


@lru_cache(maxsize=4096)
def _pattern(what: str) -> re.Pattern[str]:
    return re.compile(".*?".join(map(re.escape, what.split("*"))), re.DOTALL)
