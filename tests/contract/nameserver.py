"""A DNS server on loopback, over UDP and TCP, that answers from a zone or as a test scripts it."""

from collections.abc import Callable, Iterable
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.protocols.basic import Int16StringReceiver

from mtad.model.answer import Status
from mtad.model.endpoint import HostPort

UDP, TCP = "UDP", "TCP"
NEGATIVE_TTL = 60
Script = Callable[[dns.message.Message, str], Iterable[bytes]]


class NameServer:
    """`zone` and `trouble` are those of `mtad.testing.resolver`. `heard` lists the queries with how they came.

    `script` returns the octets to answer a query with, none or several; `heard_nothing` is called when it is none.
    """

    def __init__(self, reactor: Any, zone: dict[str, list[str]], trouble: dict[Any, Status], host: str) -> None:
        self.zone = zone
        self.trouble = trouble
        self.heard: list[tuple[dns.message.Message, str, int]] = []
        self.script: Script = self.from_zone
        self.unanswered: Callable[[], object] = lambda: None
        self.ttl = 300
        self.flags = 0
        self._ports: list[Any] = []
        self._listen(reactor, host)

    def _listen(self, reactor: Any, host: str) -> None:
        factory = Factory.forProtocol(lambda: _Stream(self))
        for _ in range(20):
            stream = reactor.listenTCP(0, factory, interface=host)
            try:
                datagrams = reactor.listenUDP(stream.getHost().port, _Datagrams(self), interface=host)
            except CannotListenError:
                stream.stopListening()
                continue
            self._ports = [stream, datagrams]
            self.place = HostPort(host, stream.getHost().port)
            return
        raise AssertionError("no port is free for both UDP and TCP")

    async def stop(self) -> None:
        for port in self._ports:
            await maybeDeferred(port.stopListening)

    def asked(self) -> list[str]:
        """Return the names of the questions heard."""
        return [query.question[0].name.to_text(True) for query, _, _ in self.heard]

    def answers(self, octets: bytes, over: str, port: int) -> list[bytes]:
        query = dns.message.from_wire(octets)
        self.heard.append((query, over, port))
        found = list(self.script(query, over))
        if not found:
            self.unanswered()
        return found

    def silent(self, _query: dns.message.Message, _over: str) -> Iterable[bytes]:
        return []

    def from_zone(self, query: dns.message.Message, over: str) -> Iterable[bytes]:
        """Answer as a resolver does: with the CNAMEs on the way, an SOA where there is nothing, TC where no room."""
        reply = self.reply(query)
        asked = query.question[0]
        name = asked.name.to_text(True).lower()
        kind = dns.rdatatype.to_text(asked.rdtype)
        for _ in range(12):
            troubles = [trouble for key, trouble in self.trouble.items() if _is_about(key, name, kind)]
            if troubles:
                return self._troubled(query, troubles[0])
            lines = self.zone.get(name, [])
            if _add(reply, name, kind, lines, self.ttl) or not _add(reply, name, "CNAME", lines, self.ttl):
                break
            name = _data(lines, "CNAME")[0].removesuffix(".").lower()
        if not any(rrset.rdtype == asked.rdtype for rrset in reply.answer):
            self._deny(reply, name)
        wire = reply.to_wire(max_size=65535)
        if over == UDP and len(wire) > query.payload:
            return [self.truncated(query)]
        return [wire]

    def reply(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query, recursion_available=True)
        reply.flags |= self.flags
        return reply

    def truncated(self, query: dns.message.Message) -> bytes:
        reply = self.reply(query)
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    def failing(self, code: dns.rcode.Rcode, *options: dns.edns.Option) -> Script:
        def script(query: dns.message.Message, _over: str) -> Iterable[bytes]:
            reply = self.reply(query)
            reply.set_rcode(code)
            if options:
                reply.use_edns(0, options=list(options))
            return [reply.to_wire()]

        return script

    def _troubled(self, query: dns.message.Message, trouble: Status) -> Iterable[bytes]:
        match trouble:
            case Status.TIMEOUT:
                return []
            case Status.BOGUS:
                bogus = dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS)
                return self.failing(dns.rcode.SERVFAIL, bogus)(query, UDP)
            case _:
                return self.failing(dns.rcode.from_text(trouble.value))(query, UDP)

    def _deny(self, reply: dns.message.Message, name: str) -> None:
        if not any(there == name or there.endswith(f".{name}") for there in self.zone):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.test. host.test. 1 2 3 4 {NEGATIVE_TTL}"
        reply.authority.append(dns.rrset.from_text(".", 3600, "IN", "SOA", soa))


class _Datagrams(DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        for octets in self._server.answers(datagram, UDP, addr[1]):
            self.transport.write(octets, addr)


class _Stream(Int16StringReceiver):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def stringReceived(self, string: bytes) -> None:
        for octets in self._server.answers(string, TCP, self.transport.getPeer().port):
            self.sendString(octets)


def _is_about(key: Any, name: str, kind: str) -> bool:
    return key == name or (not isinstance(key, str) and (key.name, key.kind.value) == (name, kind))


def _data(lines: list[str], kind: str) -> list[str]:
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == kind]


def _add(reply: dns.message.Message, name: str, kind: str, lines: list[str], ttl: int) -> bool:
    data = _data(lines, kind)
    if kind == "TXT":
        # Several strings: whoever reads must join them.
        data = [" ".join(f'"{text[at : at + 7]}"' for at in range(0, len(text), 7)) for text in data]
    elif kind in ("MX", "CNAME", "PTR"):
        data = [f"{text.removesuffix('.')}." for text in data]
    if data:
        reply.answer.append(dns.rrset.from_text_list(f"{name}.", ttl, "IN", kind, data))
    return bool(data)
