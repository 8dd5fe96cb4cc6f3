"""Certificates: the context that STARTTLS answers with (RFC 3207), after RFC 9325.

TLS 1.2 and later, ephemeral keys and authenticated ciphers only, neither compression nor renegotiation. Files are read
once, before anything listens; what is wrong with them is said with the file's name. It does not judge dates or names:
peers that care do.
"""

from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocol
from zope.interface import implementer

from mtad.interfaces import ITlsContexts
from mtad.model.errors import InvalidInput

# RFC 9325 §4.2; the suites of TLS 1.3 are all of this kind and not named here.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """One certificate's context, shared by all its connections."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: IProtocol | None) -> SSL.Connection:
        """Return a new connection's side of TLS, for Twisted to feed."""
        return SSL.Connection(self._context, None)


@implementer(ITlsContexts)
class TlsContexts:
    """The certificate of `cert_file` (PEM, its chain behind it) with the key of `key_file`; neither: no TLS."""

    def __init__(self, cert_file: Path | None = None, key_file: Path | None = None) -> None:
        if (cert_file is None) is not (key_file is None):
            raise InvalidInput(str(cert_file or key_file), "a certificate and its key are configured together")
        self._server = ServerContext(load(cert_file, key_file)) if cert_file and key_file else None

    def server(self) -> ServerContext | None:
        """Return the context factory for `ITLSTransport.startTLS`, None when no certificate is configured."""
        return self._server


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
