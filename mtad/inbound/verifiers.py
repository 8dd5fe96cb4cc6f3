"""What a peer is asked that begins SCRAM: by the verifier of who it says it is, or by one that is made up.

An address nobody has, a mailbox without a verifier and an organisation without SCRAM look alike: they all get a
question, always the same salt, and are refused at the end of the exchange.
"""

import binascii
from random import Random

from mtad.interfaces import IDirectory
from mtad.smtp import sasl, scram
from mtad.smtp.grammar import parse_address
from mtad.smtp.sasl import Challenge, Proof
from mtad.smtp.scram import Opening

NONCE_OCTETS = 18


class Verifiers:
    """Asks by what the directory holds; `random` makes nonces nobody can guess."""

    def __init__(self, *, directory: IDirectory, random: Random) -> None:
        self._directory = directory
        self._random = random

    async def question(self, asked: Opening, binding: bytes | None) -> Challenge | Proof:
        """Return the next step of an exchange; raises Unavailable when the directory is down.

        `binding` is the connection's tls-exporter value, None when it has none.
        """
        nonce = binascii.b2a_base64(self._random.randbytes(NONCE_OCTETS), newline=False).decode("ascii")
        return sasl.question(asked, verifier=await self._verifier(asked.authcid), nonce=nonce, binding=binding)

    async def _verifier(self, authcid: str) -> str:
        key = await self._directory.login_key()
        try:
            address = parse_address(authcid)
        except ValueError:
            return scram.nobodys(authcid, key)
        credential = await self._directory.credential(address)
        if credential is None or credential.scram is None or not scram.is_verifier(credential.scram):
            return scram.nobodys(address.key, key)
        return credential.scram
