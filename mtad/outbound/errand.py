"""A message on its way to one server: whom it is still for, and how the others fared.

Pure but for the look at a large content, which gives the reactor a turn now and then. A server takes a message in as
many transactions as it wants recipients in one; each recipient ends with one outcome.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from mtad.message import headers
from mtad.model.address import Address, path
from mtad.model.content import BLOCK_OCTETS, SPOOL_OCTETS, Content, begin, blocks
from mtad.model.envelope import PLAIN, Parameters, Recipient
from mtad.model.outcome import Failed, Outcome, Scope
from mtad.model.text import shown
from mtad.outbound.lease import MaySend, always
from mtad.smtp.offers import Limits
from mtad.smtp.survey import Survey
from mtad.smtp.transaction import Transaction, sayable

RECIPIENTS_PER_TRANSACTION = 100
"""What every server takes at once (RFC 5321 §4.5.3.1.8) unless it says that it takes fewer."""

_BLOCKS_A_TURN = SPOOL_OCTETS // BLOCK_OCTETS


@dataclass(frozen=True, slots=True)
class Mail:
    """What is sent: a content, whom it is from, the parameters that MAIL came with, and whether it still may be.

    `sound_octets` at the content's end are known to be sound, and have been in memory ever since.
    """

    reverse_path: Address | None
    content: Content
    parameters: Parameters = PLAIN
    may_send: MaySend = always
    sound_octets: int = 0


class Errand:
    """One mail for some recipients; `open` are the places of those that have no outcome yet, in order."""

    def __init__(self, mail: Mail, recipients: Sequence[Recipient], survey: Survey) -> None:
        self.mail = mail
        self._recipients = recipients
        self._outcomes: list[Outcome | None] = [None] * len(recipients)
        self._eight_bit = survey.eight_bit
        self._eight_bit_head = (
            survey.eight_bit
            and mail.parameters.smtputf8
            and not headers.split(begin(mail.content, SPOOL_OCTETS))[0].isascii()
        )
        wrong = _wrong_with(mail, survey)
        for n, recipient in enumerate(recipients):
            if wrong is not None or not sayable(recipient.address):
                self._outcomes[n] = wrong or _unsayable(recipient.address)

    @property
    def open(self) -> list[int]:
        """The places of the recipients that have no outcome yet."""
        return [n for n, outcome in enumerate(self._outcomes) if outcome is None]

    @property
    def outcomes(self) -> list[Outcome]:
        """One outcome a recipient, once none is open."""
        assert not self.open, "every recipient has an outcome in the end"
        return cast(list[Outcome], list(self._outcomes))

    def transaction(self, places: Sequence[int]) -> Transaction:
        """Return what sends the mail to the recipients in those places."""
        return Transaction(
            self.mail.reverse_path,
            tuple(self._recipients[n] for n in places),
            len(self.mail.content),
            self._eight_bit,
            self._eight_bit_head,
            self.mail.parameters,
        )

    def batch(self, limits: Limits) -> list[int]:
        """Return the places that the next transaction with a server of these limits is for (RFC 9422)."""
        most = min(limits.recipients or RECIPIENTS_PER_TRANSACTION, RECIPIENTS_PER_TRANSACTION)
        chosen: list[int] = []
        domains: set[str] = set()
        for n in self.open:
            if len(chosen) == most:
                break
            domain = self._recipients[n].address.domain
            if domain in domains or len(domains) < (limits.domains or RECIPIENTS_PER_TRANSACTION):
                domains.add(domain)
                chosen.append(n)
        return chosen

    def close(self, places: Sequence[int], outcomes: Sequence[Outcome | None]) -> None:
        """Give the recipients in those places their outcomes; None leaves one open."""
        for n, outcome in zip(places, outcomes, strict=True):
            self._outcomes[n] = outcome

    def end(self, outcome: Outcome) -> None:
        """Give all that are open this outcome."""
        self.close(self.open, [outcome] * len(self.open))


async def surveyed(mail: Mail, clock: IReactorTime) -> Survey:
    """Return what has to be known of a content before it is sent; raises Unavailable when it cannot be read."""
    survey = Survey()
    if isinstance(mail.content, bytes) and mail.sound_octets:
        unknown_octets = len(mail.content) - mail.sound_octets
        survey.look(mail.content[:unknown_octets])
        survey.pass_over(mail.content[unknown_octets:])
        return survey
    for number, block in enumerate(blocks(mail.content), 1):
        survey.look(block)
        if number % _BLOCKS_A_TURN == 0:
            await deferLater(clock, 0)
    return survey


def _wrong_with(mail: Mail, survey: Survey) -> Failed | None:
    """Return why a message can be sent to nobody; acceptance lets no such message in."""
    if not sayable(mail.reverse_path):
        return Failed(f"{shown(path(mail.reverse_path))} cannot be said in SMTP", Scope.MESSAGE, "5.1.7")
    if survey.bare_newline:
        return Failed("the message has a CR or LF that stands alone", Scope.MESSAGE, "5.6.0")
    return None


def _unsayable(recipient: Address) -> Failed:
    return Failed(f"{shown(path(recipient))} cannot be said in SMTP", Scope.RECIPIENT, "5.1.3")
