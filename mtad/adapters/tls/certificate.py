"""One certificate and its key, from their files to a context that servers accept TLS with, after RFC 9325.

TLS 1.2 and later, ephemeral keys and authenticated ciphers only, neither compression nor renegotiation. Each file is
read once, so that what is judged is what is used; what is wrong with it is said with its name. Neither dates nor the
chain are judged: peers that care do.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL

from mtad.model.errors import InvalidInput

# RFC 9325 §4.2; the suites of TLS 1.3 are all of this kind and not named here.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"

Fingerprint = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where a certificate (PEM, its chain behind it) and its key are, and for which names it is shown.

    A name is an A-label in lower case, `*.example.org` any one label before it. None at all: the certificate's own.
    """

    cert_file: Path
    key_file: Path
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """What the files held: `names` it is shown for, `expires_at` in epoch seconds."""

    context: SSL.Context
    names: tuple[str, ...]
    expires_at: float


def load(files: CertificateFiles) -> LoadedCertificate:
    """Return the certificate of the files; InvalidInput names the file that is no good, and why."""
    chain = _chain(files.cert_file)
    key = _key(files.key_file)
    if key.public_key() != chain[0].public_key():
        raise InvalidInput(str(files.key_file), f"is not the key of the certificate in {files.cert_file}")
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    try:
        context.use_certificate(chain[0])
        for issuer in chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(key)
        names = files.names or _names(chain[0])
    except (SSL.Error, ValueError, TypeError) as error:
        raise InvalidInput(str(files.cert_file), "is a certificate that OpenSSL does not take") from error
    return LoadedCertificate(context, names, chain[0].not_valid_after_utc.timestamp())


def fingerprint(files: CertificateFiles) -> Fingerprint:
    """Return what changes with the files, whatever way they are replaced: written, renamed, or by a link to others."""
    return tuple(_fingerprint(file) for file in (files.cert_file, files.key_file))


def _fingerprint(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _chain(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_octets(file))
    except ValueError as error:
        raise InvalidInput(str(file), "expected a certificate in PEM form") from error


def _key(file: Path) -> Any:
    """Return the private key; which class it is of depends on its algorithm."""
    try:
        return load_pem_private_key(_octets(file), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # TypeError: it is encrypted.
        raise InvalidInput(str(file), "expected an unencrypted private key in PEM form") from error


def _octets(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidInput(str(file), f"cannot be read: {error.strerror}") from error


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names it is for; the common name is none of them (RFC 9525 §2)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))
