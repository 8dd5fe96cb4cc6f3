"""Certificates: the context that STARTTLS answers with (RFC 3207), after RFC 9325, and those it is begun with.

TLS 1.2 and later, ephemeral keys and authenticated ciphers only, neither compression nor renegotiation. Files are read
once, before anything listens; what is wrong with them is said with the file's name. It does not judge dates or names:
peers that care do.

As a client it takes what the other side has to offer, for encryption without authentication is still better than none
(RFC 7435), unless it is to verify: then the certificate must be valid, and for that host's name (RFC 9525 §6).
"""

from pathlib import Path

from OpenSSL import SSL
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
)
from twisted.internet.ssl import Certificate, optionsForClientTLS
from zope.interface import implementer

from mtad.interfaces import ITlsContexts
from mtad.model.errors import InvalidInput
from mtad.model.next_hop import TlsLevel
from mtad.model.text import shown

# RFC 9325 §4.2; the suites of TLS 1.3 are all of this kind and not named here.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# Old servers have keys and groups that OpenSSL's higher levels refuse; in clear they would have none at all.
CLIENT_CIPHERS = b"DEFAULT:@SECLEVEL=0"
MAX_VERIFYING = 100


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """One certificate's context, shared by all its connections."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: IProtocol | None) -> SSL.Connection:
        """Return a new connection's side of TLS, for Twisted to feed."""
        return SSL.Connection(self._context, None)


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
    """The certificate of `cert_file` (PEM, its chain behind it) with the key of `key_file`; neither: no TLS.

    As a client it trusts `authority`, None being all that this machine trusts.
    """

    def __init__(
        self,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        authority: Certificate | None = None,
    ) -> None:
        self._authority = authority
        self._opportunistic = unverifying()
        self._verifying: dict[str, IOpenSSLClientConnectionCreator] = {}
        if (cert_file is None) is not (key_file is None):
            raise InvalidInput(str(cert_file or key_file), "a certificate and its key are configured together")
        self._server = ServerContext(load(cert_file, key_file)) if cert_file and key_file else None

    def server(self) -> ServerContext | None:
        """Return the context factory for `ITLSTransport.startTLS`, None when no certificate is configured."""
        return self._server

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


def load(cert_file: Path, key_file: Path) -> SSL.Context:
    """Return the context of a certificate and its key; InvalidInput names the file that is no good, and why."""
    for file in (cert_file, key_file):
        try:
            file.read_bytes()
        except OSError as error:
            raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Without this OpenSSL would ask the terminal for the password of an encrypted key.
    context.set_passwd_cb(lambda *_: b"")
    try:
        context.use_certificate_chain_file(str(cert_file))
    except SSL.Error as error:
        raise InvalidInput(str(cert_file), "expected a certificate in PEM form") from error
    try:
        context.use_privatekey_file(str(key_file))
    except SSL.Error as error:
        raise InvalidInput(str(key_file), _trouble_with_key(error, cert_file)) from error
    context.set_cipher_list(CIPHERS)
    return context


def _trouble_with_key(error: SSL.Error, cert_file: Path) -> str:
    reasons = [reason for _, _, reason in error.args[0]] if error.args else []
    if any("mismatch" in reason for reason in reasons):
        return f"is not the key of the certificate in {cert_file}"
    return "expected an unencrypted private key in PEM form"


def _is_name(host: str) -> bool:
    """Return whether a host can be asked for by SNI: a name, not an address or a path (RFC 6066 §3)."""
    return host.isascii() and not (isIPAddress(host) or isIPv6Address(host) or "/" in host or host.startswith("["))
