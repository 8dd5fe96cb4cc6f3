"""ITlsContexts: a connection goes over to TLS, with a real certificate and with the one that is played."""

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as real_reactor  # noqa: TID251 - the real one is what is tested
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mtad.adapters.network import SocketNetwork
from mtad.adapters.tls.certificates import ServerCertificates
from mtad.adapters.tls.contexts import MAX_VERIFYING, TlsContexts
from mtad.interfaces import INetwork, ITlsContexts
from mtad.model.errors import InvalidInput
from mtad.model.next_hop import TlsLevel
from mtad.testing.network import MemoryNetwork
from mtad.testing.tls import MemoryTls
from tests.contract.certificates import NAME, served, write_certificate


@implementer(IHandshakeListener)
class Upgrader(Protocol):
    """Keeps what comes; tells of the first octets, of the handshake, of the end."""

    def __init__(self) -> None:
        self.received = b""
        self.came: Deferred[bytes] = Deferred()
        self.shaken: Deferred[None] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if not self.came.called:
            self.came.callback(data)

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)

    def expect(self) -> Deferred[bytes]:
        """Fire with what comes next."""
        self.came = Deferred()
        return self.came


class Server(Upgrader):
    """Answers the first octets with `go ahead`, and takes the next as TLS."""

    def __init__(self, context: object) -> None:
        super().__init__()
        self.context = context

    def connectionMade(self) -> None:
        self.came.addCallback(self.go_ahead)

    def go_ahead(self, _: bytes) -> None:
        self.transport.write(b"go ahead")
        self.transport.startTLS(self.context)


class TlsContract:
    """Subclasses give `contexts` (of a configured and an unconfigured server), `network`, and a client's context."""

    timeout = 10
    network: INetwork
    with_certificate: ITlsContexts
    without: ITlsContexts

    async def pair(self) -> tuple[Upgrader, Server]:
        server = Server(self.with_certificate.server())
        factory = Factory.forProtocol(lambda: server)
        factory.noisy = False
        port = self.network.listen("127.0.0.1:0", factory)
        self.addCleanup(port.stopListening)
        client: Any = await self.network.dial(f"127.0.0.1:{port.getHost().port}", Factory.forProtocol(Upgrader), 5.0)
        self.addCleanup(self.hang_up, client, server)
        return client, server

    async def hang_up(self, *ends: Upgrader) -> None:
        for end in ends:
            if not end.lost.called:
                end.transport.abortConnection()
                await end.lost

    async def test_provides_the_port(self) -> None:
        verifyObject(ITlsContexts, self.with_certificate)
        verifyObject(ITlsContexts, self.without)

    async def test_without_a_certificate_there_is_no_context(self) -> None:
        self.assertIsNone(self.without.server())

    async def test_a_client_has_a_context_for_every_level_and_host(self) -> None:
        for contexts in (self.with_certificate, self.without):
            for level in (TlsLevel.MAY, TlsLevel.ENCRYPT, TlsLevel.VERIFY):
                creator = contexts.client(level, NAME)
                self.assertTrue(IOpenSSLClientConnectionCreator.providedBy(creator))

    async def test_the_context_is_always_the_same(self) -> None:
        self.assertIsNotNone(self.with_certificate.server())
        self.assertIs(self.with_certificate.server(), self.with_certificate.server())

    async def test_a_connection_goes_over_to_tls(self) -> None:
        client, server = await self.pair()
        client.transport.write(b"tls please")
        await client.came
        self.assertEqual(client.received, b"go ahead")
        client.transport.startTLS(self.client_context())
        await client.shaken
        await server.shaken
        self.assertTrue(ISSLTransport.providedBy(server.transport))
        self.assertIn(server.transport.getHandle().get_protocol_version_name(), ("TLSv1.2", "TLSv1.3"))
        came = server.expect()
        client.transport.write(b"secret")
        self.assertEqual(await came, b"secret")
        answer = client.expect()
        server.transport.write(b"answer")
        self.assertEqual(await answer, b"answer")

    async def test_plain_octets_where_tls_was_expected_end_the_connection(self) -> None:
        client, server = await self.pair()
        client.transport.write(b"tls please")
        await client.came
        client.transport.write(b"MAIL FROM:<injected@example.org>\r\n")
        await server.lost
        self.assertNotIn(b"injected", server.received)


class MemoryTlsTest(TlsContract, TestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork(real_reactor)
        self.with_certificate = MemoryTls(configured=True)
        self.without = MemoryTls()

    def client_context(self) -> object:
        return object()


class TlsContextsTest(TlsContract, TestCase):
    def setUp(self) -> None:
        self.cert_file, self.key_file = write_certificate(self.directory())
        self.network = SocketNetwork(real_reactor)
        self.with_certificate = TlsContexts(served(self.cert_file, self.key_file))
        self.without = TlsContexts()

    def directory(self) -> Path:
        directory = Path(self.mktemp())
        directory.mkdir()
        return directory

    def client_context(self) -> object:
        return optionsForClientTLS(NAME, trustRoot=Certificate.loadPEM(self.cert_file.read_bytes()))


class Handshake:
    """A handshake in memory: what a client that insists on something gets from a server."""

    def __init__(self, server: ServerCertificates, client: SSL.Context | SSL.Connection) -> None:
        self.server = server.serverConnectionForTLS(None)
        self.server.set_accept_state()
        self.client = SSL.Connection(client, None) if isinstance(client, SSL.Context) else client
        self.client.set_connect_state()

    def run(self) -> None:
        """Go on until both are done; SSL.Error when they do not agree."""
        done = 0
        while done < 2:
            done = 0
            for this, other in ((self.client, self.server), (self.server, self.client)):
                try:
                    this.do_handshake()
                    done += 1
                except SSL.WantReadError:
                    pass
                finally:
                    self.pass_on(this, other)

    def pass_on(self, this: SSL.Connection, other: SSL.Connection) -> None:
        try:
            other.bio_write(this.bio_read(65536))
        except SSL.WantReadError:
            pass


class ClientTest(SynchronousTestCase):
    """What a client that does not verify agrees to; tests/contract/test_tls_delivery.py has those that do."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.server = served(*write_certificate(directory))

    def shake_hands(self, level: TlsLevel, host: str) -> SSL.Connection:
        """Return the server's end after a handshake."""
        handshake = Handshake(self.server, TlsContexts().client(level, host).clientConnectionForTLS(None))
        handshake.run()
        return handshake.server

    def test_any_certificate_will_do(self) -> None:
        for level in (TlsLevel.MAY, TlsLevel.ENCRYPT):
            server = self.shake_hands(level, "mx.other.example")
            self.assertEqual(server.get_servername(), b"mx.other.example")
            self.assertEqual(server.get_protocol_version_name(), "TLSv1.3")

    def test_an_address_is_no_server_name(self) -> None:
        for host in ("192.0.2.1", "2001:db8::1", "[192.0.2.1]", "/run/smtp", "mx.b\xfccher.example"):
            self.assertIsNone(self.shake_hands(TlsLevel.MAY, host).get_servername(), host)

    def test_what_is_no_name_cannot_be_verified(self) -> None:
        contexts = TlsContexts()
        for host in ("mx_1.example", "-a.example", "a..b", "", "x" * 300, "\\x00.example", "xn--a.example"):
            self.assertRaises(InvalidInput, contexts.client, TlsLevel.VERIFY, host)
            contexts.client(TlsLevel.ENCRYPT, host)

    def test_a_host_is_asked_for_again_and_only_so_many_are_kept(self) -> None:
        contexts = TlsContexts()
        first = contexts.client(TlsLevel.VERIFY, NAME)
        self.assertIs(contexts.client(TlsLevel.VERIFY, NAME), first)
        for n in range(MAX_VERIFYING):
            contexts.client(TlsLevel.VERIFY, f"mx{n}.example")
        self.assertIsNot(contexts.client(TlsLevel.VERIFY, NAME), first)


class StrictnessTest(SynchronousTestCase):
    """What the server's context agrees to."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.context = served(*write_certificate(directory))

    def client(self, version: int, ciphers: bytes = b"ALL:@SECLEVEL=0") -> SSL.Context:
        client = SSL.Context(SSL.TLS_METHOD)
        client.set_cipher_list(ciphers)
        client.set_min_proto_version(version)
        client.set_max_proto_version(version)
        return client

    def test_modern_versions_are_spoken(self) -> None:
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            handshake = Handshake(self.context, self.client(version))
            handshake.run()
            self.assertEqual(handshake.server.get_protocol_version_name(), name)

    def test_old_versions_are_not(self) -> None:
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            self.assertRaises(SSL.Error, Handshake(self.context, self.client(version)).run)

    def test_weak_ciphers_are_not(self) -> None:
        for ciphers in (b"ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", b"ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0"):
            handshake = Handshake(self.context, self.client(SSL.TLS1_2_VERSION, ciphers))
            self.assertRaises(SSL.Error, handshake.run)

    def test_renegotiation_is_not(self) -> None:
        handshake = Handshake(self.context, self.client(SSL.TLS1_2_VERSION))
        handshake.run()
        handshake.client.renegotiate()
        self.assertRaises(SSL.WantReadError, handshake.client.do_handshake)
        handshake.pass_on(handshake.client, handshake.server)
        self.assertRaises(SSL.WantReadError, handshake.server.recv, 1)
        handshake.pass_on(handshake.server, handshake.client)
        # The answer is the alert no_renegotiation, and the session is as before.
        self.assertRaises(SSL.Error, handshake.client.do_handshake)


class LoadingTest(SynchronousTestCase):
    """What is wrong with the files is said with their names."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.cert_file, self.key_file = write_certificate(self.directory)

    def wrong(self, cert_file: Path, key_file: Path) -> InvalidInput:
        return self.assertRaises(InvalidInput, served, cert_file, key_file)

    def test_a_missing_file(self) -> None:
        missing = self.directory / "missing.pem"
        for wrong in (self.wrong(missing, self.key_file), self.wrong(self.cert_file, missing)):
            self.assertEqual(wrong.where, str(missing))
            self.assertIn("No such file", wrong.what)

    def test_a_directory(self) -> None:
        self.assertEqual(self.wrong(self.directory, self.key_file).where, str(self.directory))

    def test_no_certificate_in_it(self) -> None:
        wrong = self.wrong(self.key_file, self.key_file)
        self.assertEqual(wrong.where, str(self.key_file))
        self.assertIn("certificate in PEM form", wrong.what)

    def test_no_key_in_it(self) -> None:
        wrong = self.wrong(self.cert_file, self.cert_file)
        self.assertEqual(wrong.where, str(self.cert_file))
        self.assertIn("private key in PEM form", wrong.what)

    def test_a_key_of_another_certificate(self) -> None:
        other = self.directory / "other"
        other.mkdir()
        _, other_key = write_certificate(other)
        wrong = self.wrong(self.cert_file, other_key)
        self.assertEqual(wrong.where, str(other_key))
        self.assertIn(f"not the key of the certificate in {self.cert_file}", wrong.what)

    def test_an_encrypted_key_asks_nobody(self) -> None:
        cert_file, key_file = write_certificate(self.directory, b"password")
        wrong = self.wrong(cert_file, key_file)
        self.assertIn("unencrypted", wrong.what)

    def test_the_chain_is_sent(self) -> None:
        other = self.directory / "other"
        other.mkdir()
        issuer, _ = write_certificate(other)
        self.cert_file.write_bytes(self.cert_file.read_bytes() + issuer.read_bytes())
        client = SSL.Context(SSL.TLS_METHOD)
        handshake = Handshake(served(self.cert_file, self.key_file), client)
        handshake.run()
        self.assertEqual(len(handshake.client.get_peer_cert_chain()), 2)
