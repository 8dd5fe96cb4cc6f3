"""What a connection begins TLS with (RFC 3207).

As a server it shows the certificates it is given. As a client it takes what the other side has to offer, for encryption
without authentication is still better than none (RFC 7435), unless it is to verify: then the certificate must be valid,
and for that host's name (RFC 9525 §6).
"""

from collections.abc import Mapping

from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IProtocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from zope.interface import implementer

from mtad.adapters.tls.certificates import ServerCertificates
from mtad.interfaces import ITlsContexts
from mtad.model.errors import InvalidInput
from mtad.model.next_hop import TlsLevel
from mtad.model.text import shown

# Old servers have keys and groups that OpenSSL's higher levels refuse; in clear they would have none at all.
CLIENT_CIPHERS = b"DEFAULT:@SECLEVEL=0"
MAX_VERIFYING = 100


@implementer(IOpenSSLClientConnectionCreator)
class OpportunisticContext:
    """Begins TLS with a server called `host`, whoever that is."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: IProtocol | None) -> SSL.Connection:
        """Return a new connection's side of TLS, for Twisted to feed."""
        connection = SSL.Connection(self._context, None)
        if _is_name(self._host):
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


@implementer(ITlsContexts)
class TlsContexts:
    """As a server it shows `certificates`, None: there is no TLS.

    As a client it trusts `authority`, None being all that this machine trusts.
    """

    def __init__(self, certificates: ServerCertificates | None = None, authority: Certificate | None = None) -> None:
        self._certificates = certificates
        self._authority = authority
        self._opportunistic = unverifying()
        self._verifying: dict[str, IOpenSSLClientConnectionCreator] = {}

    def server(self) -> ServerCertificates | None:
        """Return the context factory for `ITLSTransport.startTLS`, None when no certificate is configured."""
        return self._certificates

    def troubles(self) -> Mapping[str, str]:
        """Return what is wrong with certificates' files, by the certificate's file."""
        return {} if self._certificates is None else self._certificates.troubles

    def client(self, level: TlsLevel, host: str) -> IOpenSSLClientConnectionCreator:
        """Return what a connection to `host` begins TLS with; InvalidInput for a name that cannot be verified."""
        if level is not TlsLevel.VERIFY:
            return OpportunisticContext(self._opportunistic, host)
        # What is trusted is read but once for each host; the DNS may name as many as it likes.
        known = self._verifying.pop(host, None)
        if known is None and len(self._verifying) == MAX_VERIFYING:
            del self._verifying[next(iter(self._verifying))]
        self._verifying[host] = known or _verifying(host, self._authority)
        return self._verifying[host]


def _verifying(host: str, authority: Certificate | None) -> IOpenSSLClientConnectionCreator:
    try:
        return optionsForClientTLS(host, trustRoot=authority)
    except (UnicodeError, ValueError) as error:
        raise InvalidInput(shown(host), "is no name that a certificate can be for") from error


def unverifying() -> SSL.Context:
    """Return the context of clients that do not verify."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_cipher_list(CLIENT_CIPHERS)
    return context


def _is_name(host: str) -> bool:
    """Return whether a host can be asked for by SNI: a name, not an address or a path (RFC 6066 §3)."""
    return host.isascii() and not (isIPAddress(host) or isIPv6Address(host) or "/" in host or host.startswith("["))
