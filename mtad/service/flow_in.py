"""What comes before the queue, from settings and ports: what receives and takes submissions, and what both share."""

from collections.abc import Callable
from dataclasses import replace

from twisted.cred.checkers import ICredentialsChecker

from mtad.config import Settings
from mtad.inbound.admission import Admission
from mtad.inbound.authentication import NetworkChecker, PasswordChecker, ScramChecker
from mtad.inbound.backpressure import Backpressure
from mtad.inbound.dialogue import Terms
from mtad.inbound.factory import ReceivingFactory, SmtpFactory, SubmissionFactory
from mtad.inbound.failures import Failures
from mtad.inbound.gate import Gate
from mtad.inbound.reception import Reception
from mtad.inbound.routing import RoutingService
from mtad.inbound.screening import Identity, Screening
from mtad.inbound.session import InboundSession, Means
from mtad.inbound.signing import Signing
from mtad.inbound.submission import SubmissionSession, judged_with, signed_by, signer_of
from mtad.inbound.verification import VerificationService
from mtad.inbound.verifiers import Verifiers
from mtad.inbound.vouched import VouchedChecker
from mtad.interfaces import Ports
from mtad.model.process import Part
from mtad.outbound.queue import QueueService
from mtad.policy.connection import Limits
from mtad.policy.submission import RelayNetwork, may_log_in_clear, relayed_for
from mtad.scheduling.memory import Memory
from mtad.smtp.sasl import Login


def verification(settings: Settings, ports: Ports) -> VerificationService:
    """Return what finds out who mail is from."""
    return VerificationService(
        resolver=ports.resolver, clock=ports.clock, wall=ports.wall, hostname=settings.server.hostname
    )


SPOOLED_AT_LEAST = 4
"""For so many of the largest messages the spool's disk must have room, or none is taken."""


def backpressure(settings: Settings, ports: Ports, memory: Memory, queue: QueueService) -> Backpressure:
    """Return what keeps sessions from taking in more than there is room for."""
    return Backpressure(
        memory=memory,
        strain=queue.strain,
        spool=ports.spool,
        least_room_octets=SPOOLED_AT_LEAST * settings.server.max_message_size,
        clock=ports.clock,
        journal=ports.journal,
    )


def means(
    settings: Settings, ports: Ports, routing: RoutingService, verification: VerificationService, queue: QueueService
) -> Means:
    """Return what every session works with."""
    signing = Signing(directory=ports.directory, offload=ports.offload, clock=ports.clock, wall=ports.wall)
    identity = Identity(
        checks=settings.verification.checks,
        authserv_id=settings.verification.authserv_id or settings.server.hostname,
        hostname=settings.server.hostname,
        trusted_sealers=frozenset(settings.verification.trusted_arc_sealers),
    )
    screening = Screening(
        verification=verification,
        signer_of=signer_of(signing),
        clock=ports.wall,
        journal=ports.journal,
        terms=identity,
    )
    reception = Reception(
        acceptance=queue,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        authserv_id=identity.authserv_id,
        lifetime_seconds=settings.queue.lifetime,
        screening=screening,
        judge=judged_with(ports.directory),
        sign=signed_by(signing),
    )
    return Means(
        routing=routing,
        reception=reception,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        max_recipients=settings.server.max_recipients,
    )


def entrances(
    settings: Settings, ports: Ports, means: Means, backpressure: Backpressure, part: Part
) -> tuple[tuple[str, SmtpFactory], ...]:
    """Return the ports mail comes in by: where each is listened at, and its sessions, this process' share of them."""
    server = settings.server
    admission = Admission(
        Limits(part.share(server.max_connections), part.share(server.max_connections_per_ip)),
        (*(entry.network for entry in _relay_networks(settings)), *server.proxy_ranges, *server.xclient_ranges),
    )
    terms = Terms(
        port="smtp",
        hostname=server.hostname,
        max_message_size=server.max_message_size,
        max_recipients=server.max_recipients,
        clock=ports.clock,
        journal=ports.journal,
        tls=ports.tls,
        backpressure=backpressure,
        spool=ports.spool,
        greet_pause_seconds=server.greet_pause,
        xclient_networks=server.xclient_ranges,
        soft_bounce=settings.queue.soft_bounce,
    )
    receiving = ReceivingFactory(
        terms=terms, admission=admission, proxies=server.proxy_ranges, make_session=lambda: InboundSession(means)
    )
    checkers = _checkers(settings, ports)
    verifiers = Verifiers(directory=ports.directory, random=ports.random)

    def submission(terms: Terms) -> SubmissionFactory:
        return SubmissionFactory(
            terms=replace(terms, login=_login(settings), verifiers=verifiers),
            admission=admission,
            proxies=server.proxy_ranges,
            make_session=lambda submitter: SubmissionSession(means, submitter, ports.directory),
            checkers=checkers,
        )

    found = (server.smtp_addr, receiving), (server.submission_addr, submission(replace(terms, port="submission")))
    if not settings.tls.active:
        return found
    return *found, (server.submissions_addr, submission(replace(terms, port="submissions", implicit_tls=True)))


def _relay_networks(settings: Settings) -> tuple[RelayNetwork, ...]:
    return tuple(
        RelayNetwork(network, entry.organisation)
        for entry in settings.server.relay_networks
        for network in entry.network.ranges
    )


def _login(settings: Settings) -> Callable[[str], Login]:
    """Return what says how a peer at an address may log in."""
    networks = _relay_networks(settings)

    def login(host: str) -> Login:
        return Login(
            required=relayed_for(host, networks) is None,
            needs_tls=not may_log_in_clear(host, settings.tls.enabled is False),
        )

    return login


def _checkers(settings: Settings, ports: Ports) -> list[ICredentialsChecker]:
    """Return what says who a peer of a submission port is."""
    failures = Failures(counters=ports.counters, clock=ports.clock, journal=ports.journal)
    gate = Gate(failures=failures, clock=ports.clock)
    passwords = PasswordChecker(
        directory=ports.directory,
        gate=gate,
        offload=ports.offload,
        clock=ports.clock,
        verify=ports.verify_password,
        key=ports.random.randbytes(32),
    )
    return [
        passwords,
        ScramChecker(directory=ports.directory, gate=gate),
        NetworkChecker(directory=ports.directory, networks=_relay_networks(settings)),
        VouchedChecker(directory=ports.directory),
    ]
