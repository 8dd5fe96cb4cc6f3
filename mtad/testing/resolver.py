"""The resolver's twin: a zone that a test writes, and troubles it switches on and off.

    resolver = MemoryResolver(clock, {"remote.example": ["MX 10 mx.remote.example"]})
    resolver.zone["mx.remote.example"] = ["A 192.0.2.25", "AAAA 2001:db8::25"]
    resolver.trouble["mx.remote.example"] = Status.SERVFAIL
    resolver.outage = Status.TIMEOUT

A name that is not in the zone, nor above one that is, does not exist; one with an empty list has no records.
"""

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from mtad.interfaces import IResolver
from mtad.model.answer import Answer, Kind, MailExchange, Question, Record, Status

MAX_CNAMES = 8
TTL_SECONDS = 300.0


@implementer(IResolver)
class MemoryResolver:
    """Answers from `zone`: by name, records as `TYPE data`.

    `trouble` holds what happens instead to a name, or to one question; `outage` what happens to all. `asked` lists the
    questions in their order. Answers take `delay_seconds`, and none at all without.
    """

    def __init__(self, clock: IReactorTime, zone: dict[str, list[str]] | None = None) -> None:
        self.zone = {} if zone is None else zone
        self.trouble: dict[str | Question, Status] = {}
        self.outage: Status | None = None
        self.asked: list[Question] = []
        self.delay_seconds = 0.0
        self.authentic = False
        self._clock = clock

    def known(self, question: Question) -> Answer | None:
        """Return nothing: what is in the zone has to be asked for."""
        return None

    async def resolve(self, question: Question) -> Answer:
        """Answer from the zone as it is when the delay is over."""
        self.asked.append(question)
        if self.delay_seconds:
            await deferLater(self._clock, self.delay_seconds)
        name = question.name
        for _ in range(MAX_CNAMES + 1):
            status = self.outage or self.trouble.get(name) or self.trouble.get(Question(name, question.kind))
            if status is not None:
                return Answer(question, status, detail="the test wants it so")
            records = _records(self.zone.get(name, []), question.kind)
            alias = _records(self.zone.get(name, []), Kind.CNAME)
            if records or not alias:
                return self._answer(question, name, records)
            name = str(alias[0])
        return Answer(question, Status.SERVFAIL, detail="too many CNAMEs")

    def _answer(self, question: Question, name: str, records: tuple[Record, ...]) -> Answer:
        if records:
            status = Status.FOUND
        elif any(there == name or there.endswith(f".{name}") for there in self.zone):
            status = Status.NO_DATA
        else:
            status = Status.NO_NAME
        return Answer(question, status, records, name, self.authentic, TTL_SECONDS)


def _records(lines: list[str], kind: Kind) -> tuple[Record, ...]:
    return tuple(_record(kind, line.partition(" ")[2]) for line in lines if line.partition(" ")[0] == kind.value)


def _record(kind: Kind, data: str) -> Record:
    if kind is Kind.TXT:
        return data.encode()
    if kind is Kind.MX:
        preference, host = data.split()
        return MailExchange(int(preference), _name(host))
    return data if kind in (Kind.A, Kind.AAAA) else _name(data)


def _name(text: str) -> str:
    return text.lower().removesuffix(".")
