"""The client's side of SCRAM for tests: scramp's own, and with it tls-exporter, which scramp does not know."""

import hashlib
import hmac
from base64 import b64decode, b64encode

from scramp import ScramClient

from mtad.smtp.scram import SALT_OCTETS, verifier_of

ITERATIONS = 4096
VERIFIER = verifier_of("pencil", b"s" * SALT_OCTETS, ITERATIONS) or ""


class Client:
    """Logs in as `user` without channel binding."""

    def __init__(self, user: str, password: str, nonce: str = "client") -> None:
        self._client = ScramClient(["SCRAM-SHA-256"], user, password, c_nonce=nonce)

    def first(self) -> bytes:
        """Return the first message."""
        return self._client.get_client_first().encode()

    def final(self, question: bytes) -> bytes:
        """Return the answer to the server's first message."""
        self._client.set_server_first(question.decode())
        return self._client.get_client_final().encode()

    def trust(self, final: bytes) -> None:
        """Raise when the server does not know the verifier."""
        self._client.set_server_final(final.decode())


class BindingClient:
    """As RFC 5802 §3 has it, with any GS2 header and channel binding, right or wrong."""

    def __init__(self, user: str, password: str, header: str = "p=tls-exporter,,", binding: bytes = b"") -> None:
        self.header, self.binding = header, binding
        self._bare = f"n={user},r=client"
        self._password = password
        self._expected = b""

    def first(self) -> bytes:
        """Return the first message."""
        return f"{self.header}{self._bare}".encode()

    def final(self, question: bytes, bound: bytes | None = None) -> bytes:
        """Return the answer; `bound` takes the place of the right value of `c=`."""
        nonce, salt, iterations = (part[2:] for part in question.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", self._password.encode(), b64decode(salt), int(iterations))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bound = self.header.encode() + self.binding if bound is None else bound
        without_proof = f"c={b64encode(bound).decode()},r={nonce}"
        message = f"{self._bare},{question.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._expected = b"v=" + b64encode(hmac.digest(server_key, message, "sha256"))
        return f"{without_proof},p={b64encode(proof).decode()}".encode()

    def trust(self, final: bytes) -> None:
        """Raise when the server does not know the verifier."""
        assert final == self._expected
