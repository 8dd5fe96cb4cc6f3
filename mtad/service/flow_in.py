"""What comes before the queue, from settings and ports: what receives and takes submissions, and what both share."""

from dataclasses import replace

from mtad.config import Settings
from mtad.inbound.authentication import NetworkChecker, PasswordChecker
from mtad.inbound.dialogue import Terms
from mtad.inbound.factory import ReceivingFactory, SubmissionFactory
from mtad.inbound.reception import Reception
from mtad.inbound.routing import RoutingService
from mtad.inbound.session import InboundSession, Means
from mtad.inbound.signing import Signing
from mtad.inbound.submission import SubmissionSession, signed_by
from mtad.interfaces import Ports
from mtad.model.tenant import Submitter
from mtad.outbound.queue import QueueService
from mtad.policy.submission import RelayNetwork, may_log_in_clear, relayed_for
from mtad.smtp.sasl import Login


def means(settings: Settings, ports: Ports, routing: RoutingService, queue: QueueService) -> Means:
    """Return what every session works with."""
    reception = Reception(
        acceptance=queue,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        lifetime_seconds=settings.queue.lifetime,
        sign=signed_by(Signing(directory=ports.directory, offload=ports.offload, clock=ports.clock, wall=ports.wall)),
    )
    return Means(
        routing=routing,
        reception=reception,
        clock=ports.wall,
        journal=ports.journal,
        hostname=settings.server.hostname,
        max_recipients=settings.server.max_recipients,
    )


def _terms(settings: Settings, ports: Ports) -> Terms:
    return Terms(
        port="smtp",
        hostname=settings.server.hostname,
        max_message_size=settings.server.max_message_size,
        clock=ports.clock,
        journal=ports.journal,
        tls=ports.tls,
    )


def receiving(settings: Settings, ports: Ports, means: Means) -> ReceivingFactory:
    """Return the sessions of the receiving port."""
    return ReceivingFactory(terms=_terms(settings, ports), make_session=lambda: InboundSession(means))


def submission(settings: Settings, ports: Ports, means: Means) -> SubmissionFactory:
    """Return the sessions of a submission port."""
    networks = tuple(
        RelayNetwork(network, entry.organisation)
        for entry in settings.server.relay_networks
        for network in entry.network.ranges
    )

    def login(host: str) -> Login:
        return Login(
            required=relayed_for(host, networks) is None,
            needs_tls=not may_log_in_clear(host, settings.tls.enabled is False),
        )

    def make_session(submitter: Submitter) -> SubmissionSession:
        return SubmissionSession(means, submitter, ports.directory)

    passwords = PasswordChecker(
        directory=ports.directory,
        offload=ports.offload,
        clock=ports.clock,
        verify=ports.verify_password,
        key=ports.random.randbytes(32),
    )
    return SubmissionFactory(
        terms=replace(_terms(settings, ports), port="submission", login=login),
        make_session=make_session,
        checkers=[passwords, NetworkChecker(directory=ports.directory, networks=networks)],
    )
