"""Certificates for tests, made on the spot: self-signed, for `mx.test`, good for a day."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.internet.task import Clock

from mtad.adapters.tls.certificate import CertificateFiles
from mtad.adapters.tls.certificates import ServerCertificates
from mtad.testing.clock import MemoryWallClock
from mtad.testing.journal import MemoryJournal

NAME = "mx.test"


def served(cert_file: Path, key_file: Path) -> ServerCertificates:
    """Return what shows the certificate of these files, and looks at them no more."""
    clock = Clock()
    files = [CertificateFiles(cert_file, key_file)]
    return ServerCertificates(files, clock=clock, wall=MemoryWallClock(clock), journal=MemoryJournal())


def write_certificate(
    directory: Path, password: bytes | None = None, names: tuple[str, ...] = (NAME,), expires: datetime | None = None
) -> tuple[Path, Path]:
    """Write a certificate and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(expires or now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return cert_file, key_file
