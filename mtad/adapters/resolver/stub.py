"""A stub resolver (RFC 1034 §5.3.1): it asks servers that resolve, and tells apart what can come of it.

One question is asked of the servers in their order until one of them knows; a server that was silent comes last for a
while. Who asks what is being asked already waits for that answer. CNAMEs are followed, within one answer or by further
questions, MAX_CNAMES in all. It does not validate DNSSEC itself: whether answers are authentic is the servers' word,
and counts only when the configuration trusts it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.resolver.cache import Cache
from mtad.adapters.resolver.carriage import Carriage, NoReply
from mtad.adapters.resolver.codec import MAX_CNAMES, Query, Reply, Retry, is_name
from mtad.interfaces import IJournal, INetwork, IResolver
from mtad.model.answer import FINAL, Answer, Question, Status
from mtad.model.endpoint import HostPort
from mtad.model.text import shown

ROUNDS = 2
MAX_EXCHANGES = 250
SILENT_SERVER_LAST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Servers:
    """Whom to ask, never none; how long one may take each time; whether their AD bit counts."""

    places: Sequence[HostPort]
    timeout_seconds: float
    trust_ad: bool = False


@implementer(IResolver)
class StubResolver:
    """Answers from its cache or from `servers`. `stop` ends what is under way."""

    def __init__(
        self,
        *,
        reactor: IReactorFDSet,
        network: INetwork,
        clock: IReactorTime,
        random: Random,
        journal: IJournal,
        servers: Servers,
    ) -> None:
        self._carriage = Carriage(reactor, network, clock, random)
        self._clock = clock
        self._random = random
        self._journal = journal
        self._servers = servers
        self._cache = Cache()
        self._silent_until: dict[HostPort, float] = {}
        self._exchanges = DeferredSemaphore(MAX_EXCHANGES)
        self._waiting: dict[Question, list[Deferred[Answer]]] = {}
        self._tasks: dict[Question, Deferred[Answer]] = {}
        self._stopped = False

    async def resolve(self, question: Question) -> Answer:
        """Return what is known, or ask; who stops waiting leaves the question to the others."""
        known = self.known(question)
        if known is not None:
            return known
        if self._stopped:
            return _stopping(question)
        waiter: Deferred[Answer] = Deferred()
        waiting = self._waiting.setdefault(question, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            task = Deferred.fromCoroutine(self._find(question))
            self._tasks[question] = task
            task.addErrback(self._failed, question).addCallback(self._answered)
        return await waiter

    def known(self, question: Question) -> Answer | None:
        """Return what is remembered and still good."""
        return self._cache.get(question, self._clock.seconds())

    async def stop(self) -> None:
        """Answer nothing more from the servers; whoever waits is told so."""
        self._stopped = True
        while self._tasks:
            task = next(iter(self._tasks.values()))
            ended: Deferred[None] = Deferred()
            task.addCallback(_passed_on(ended))
            task.cancel()
            await ended

    def _answered(self, answer: Answer) -> Answer:
        answer = self._remembered(answer)
        self._tasks.pop(answer.question, None)
        for waiter in self._waiting.pop(answer.question):
            if not waiter.called:
                waiter.callback(answer)
        return answer

    def _remembered(self, answer: Answer) -> Answer:
        """Keep an answer; in place of trouble return what was known until lately. What is bogus is no such trouble."""
        now = self._clock.seconds()
        if answer.temporary and answer.status is not Status.BOGUS and not self._stopped:
            return self._cache.stale(answer.question, now) or answer
        return self._cache.put(answer, now)

    def _failed(self, failure: Failure, question: Question) -> Answer:
        """Make an answer of what should not have happened; of an end that `stop` wanted, too."""
        if self._stopped:
            return _stopping(question)
        self._journal.record("task.surprise", task="resolver", failure=shown(failure.getTraceback(), 4000))
        return Answer(question, Status.SERVFAIL, detail="internal trouble")

    async def _find(self, question: Question) -> Answer:
        """Ask for the question's name, then for what its CNAMEs lead to."""
        if not is_name(question.name):
            return Answer(question, Status.NO_NAME, canonical=question.name, detail="no name the DNS could have")
        asked, cnames, authentic, ttl = question, 0, True, float("inf")
        while True:
            reply, who = await self._ask(asked)
            cnames, authentic, ttl = cnames + reply.cnames, authentic and reply.authentic, min(ttl, reply.ttl_seconds)
            if cnames > MAX_CNAMES:
                reply = Reply(Status.SERVFAIL, words=f"more than {MAX_CNAMES} CNAMEs")
            if reply.status not in FINAL or reply.complete:
                break
            asked = replace(asked, name=reply.canonical)
        if reply.status not in FINAL:
            return Answer(question, reply.status, detail=f"{who}: {reply.words}")
        return Answer(question, reply.status, reply.records, reply.canonical, authentic, ttl, who)

    async def _ask(self, question: Question) -> tuple[Reply, str]:
        """Return what the first server that knows says, and which it is; else the last trouble that says most.

        A bogus answer ends the search: a server that does not validate would only hide it.
        """
        trouble, who = Reply(Status.TIMEOUT, words="no server"), "DNS"
        left = sorted(self._servers.places, key=lambda server: self._silent_until.get(server, 0.0) > self._now())
        for _ in range(ROUNDS):
            silent = []
            for server in left:
                reply = await self._exchange(server, question)
                if reply.status in FINAL or reply.status is Status.BOGUS:
                    return reply, _shown(server)
                if reply.status is Status.TIMEOUT:
                    silent.append(server)
                if reply.status is not Status.TIMEOUT or trouble.status is Status.TIMEOUT:
                    trouble, who = reply, _shown(server)
            left = silent
        return trouble, who

    async def _exchange(self, server: HostPort, question: Question) -> Reply:
        """Ask one server, again without EDNS or over TCP if it wants that."""
        await self._exchanges.acquire()
        try:
            reply = await self._attempts(server, question)
        except NoReply as silence:
            self._silent_until[server] = self._now() + SILENT_SERVER_LAST_SECONDS
            return Reply(Status.TIMEOUT, words=str(silence))
        finally:
            self._exchanges.release()
        self._silent_until.pop(server, None)
        return reply

    async def _attempts(self, server: HostPort, question: Question) -> Reply:
        timeout_seconds = self._servers.timeout_seconds
        edns = True
        for _ in range(2):
            query = self._query(question, edns)
            found = await self._carriage.by_datagram(server, query.encode(), query.decode, timeout_seconds)
            if found is Retry.OVER_TCP:
                query = self._query(question, edns)
                found = await self._carriage.by_stream(server, query.encode(), query.decode, timeout_seconds)
            if isinstance(found, Reply):
                return found
            edns = False
        return Reply(Status.SERVFAIL, words="it wants the question put yet another way")

    def _query(self, question: Question, edns: bool) -> Query:
        return Query(question, self._random.getrandbits(16), edns, self._servers.trust_ad)

    def _now(self) -> float:
        return self._clock.seconds()


def _stopping(question: Question) -> Answer:
    return Answer(question, Status.TIMEOUT, detail="this server is stopping")


def _passed_on(ended: "Deferred[None]") -> Callable[[Answer], Answer]:
    def pass_on(answer: Answer) -> Answer:
        ended.callback(None)
        return answer

    return pass_on


def _shown(server: HostPort) -> str:
    host = f"[{server.host}]" if ":" in server.host else server.host
    return host if server.port == 53 else f"{host}:{server.port}"
