"""Certificates: which one a peer is shown, and what happens when their files change."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mtad.adapters.tls.certificate import CertificateFiles
from mtad.adapters.tls.certificates import LOOK_SECONDS, ServerCertificates
from mtad.model.errors import InvalidInput
from mtad.testing.clock import MemoryWallClock
from mtad.testing.journal import MemoryJournal
from tests.contract.certificates import write_certificate
from tests.contract.test_tls import Handshake

DAY = 86400.0


class CertificatesTest(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.clock = Clock()
        self.wall = MemoryWallClock(self.clock, datetime.now(UTC).timestamp())
        self.journal = MemoryJournal()
        self.files: list[CertificateFiles] = []

    def tearDown(self) -> None:
        self.assertEqual(self.journal.wrongs, [])
        self.assertEqual(self.journal.of("task.surprise"), [])

    def write(self, place: str, *names: str, days: float = 90) -> tuple[Path, Path]:
        directory = self.directory / place
        directory.mkdir(exist_ok=True)
        expires = datetime.fromtimestamp(self.wall.now(), UTC) + timedelta(days=days)
        return write_certificate(directory, names=names, expires=expires)

    def have(self, place: str, *names: str, shown_for: tuple[str, ...] = (), days: float = 90) -> None:
        """Let the server have a certificate for these names."""
        self.files.append(CertificateFiles(*self.write(place, *names, days=days), shown_for))

    def start(self) -> ServerCertificates:
        certificates = ServerCertificates(self.files, clock=self.clock, wall=self.wall, journal=self.journal)
        certificates.start()
        self.addCleanup(certificates.stop)
        return certificates

    def shake_hands(self, certificates: ServerCertificates, name: str | None) -> Handshake:
        client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)
        if name is not None:
            client.set_tlsext_host_name(name.encode())
        handshake = Handshake(certificates, client)
        handshake.run()
        return handshake

    def shown(self, certificates: ServerCertificates, name: str | None = None) -> list[str]:
        """Return the names of the certificate that a client sees who asks for this one."""
        certificate = self.shake_hands(certificates, name).client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)

    def look(self) -> None:
        self.clock.advance(LOOK_SECONDS)


class ChoiceTest(CertificatesTest):
    def test_a_peer_is_shown_the_certificate_for_the_name_it_asks_for(self) -> None:
        self.have("default", "mx.acme.example")
        self.have("shop", "mx.shop.example", "*.shop.example")
        self.have("other", "unused.example", shown_for=("mx.other.example", "*.deep.other.example"))
        certificates = self.start()
        default, shop, other = ["mx.acme.example"], ["mx.shop.example", "*.shop.example"], ["unused.example"]
        for name, expected in (
            (None, default), ("mx.acme.example", default), ("nobody.example", default), ("127.0.0.1", default),
            ("mx.shop.example", shop), ("MX.Shop.Example", shop), ("any.shop.example", shop),
            ("a.b.shop.example", default), ("shop.example", default),
            ("mx.other.example", other), ("a.deep.other.example", other), ("unused.example", default),
        ):  # fmt: skip
            self.assertEqual(self.shown(certificates, name), expected, name)

    def test_the_first_of_two_for_a_name_is_shown(self) -> None:
        self.have("a", "mx.acme.example", "a.example")
        self.have("b", "mx.acme.example", "b.example")
        certificates = self.start()
        self.assertIn("a.example", self.shown(certificates, "mx.acme.example"))
        self.assertIn("b.example", self.shown(certificates, "b.example"))

    def test_a_name_of_its_own_comes_before_a_wildcard(self) -> None:
        self.have("a", "*.acme.example")
        self.have("b", "mx.acme.example")
        certificates = self.start()
        self.assertEqual(self.shown(certificates, "mx.acme.example"), ["mx.acme.example"])

    def test_every_certificate_is_of_tls_1_2_at_least(self) -> None:
        self.have("a", "a.example")
        self.have("b", "b.example")
        client = SSL.Context(SSL.TLS_METHOD)
        client.set_cipher_list(b"ALL:@SECLEVEL=0")
        client.set_min_proto_version(SSL.TLS1_1_VERSION)
        client.set_max_proto_version(SSL.TLS1_1_VERSION)
        connection = SSL.Connection(client, None)
        connection.set_tlsext_host_name(b"b.example")
        self.assertRaises(SSL.Error, Handshake(self.start(), connection).run)

    def test_a_bad_one_is_said_at_the_start(self) -> None:
        self.have("a", "a.example")
        self.have("b", "b.example")
        self.files[1].key_file.write_text("no key\n")
        wrong = self.assertRaises(InvalidInput, self.start)
        self.assertEqual(wrong.where, str(self.files[1].key_file))


class ReplacementTest(CertificatesTest):
    def test_new_files_are_shown_after_ten_seconds(self) -> None:
        self.have("a", "old.example")
        self.have("b", "b.example")
        certificates = self.start()
        self.write("a", "new.example")
        self.assertEqual(self.shown(certificates), ["old.example"])
        self.look()
        self.assertEqual(self.shown(certificates), ["new.example"])
        self.assertEqual(self.shown(certificates, "b.example"), ["b.example"])
        self.assertEqual([facts["names"] for facts in self.journal.of("tls.certificate_loaded")], [["new.example"]])

    def test_each_may_be_new_while_others_are_in_use(self) -> None:
        self.have("a", "a.example")
        self.have("b", "b.example")
        certificates = self.start()
        for place in ("b", "a", "b"):
            for name in ("a.example", "b.example"):
                self.assertEqual(self.shown(certificates, name), [name])
            self.write(place, f"{place}.example", f"{place}.new.example")
            self.look()
            both = [f"{place}.example", f"{place}.new.example"]
            self.assertEqual(self.shown(certificates, f"{place}.new.example"), both)
            self.write(place, f"{place}.example")
            self.look()

    def test_names_follow_the_certificate(self) -> None:
        self.have("a", "a.example")
        self.have("b", "b.example")
        certificates = self.start()
        self.write("b", "c.example")
        self.look()
        self.assertEqual(self.shown(certificates, "c.example"), ["c.example"])
        self.assertEqual(self.shown(certificates, "b.example"), ["a.example"])

    def test_a_link_that_leads_elsewhere_is_a_change(self) -> None:
        """As Kubernetes' ..data and certbot's live/ do, where the new files may be older."""
        for place in ("one", "two"):
            self.write(place, f"{place}.example")
        for file in (self.directory / "two").iterdir():
            os.utime(file, (0, 0))
        live = self.directory / "live"
        live.symlink_to("one")
        self.files.append(CertificateFiles(live / "cert.pem", live / "key.pem"))
        certificates = self.start()
        self.assertEqual(self.shown(certificates), ["one.example"])
        (self.directory / "next").symlink_to("two")
        (self.directory / "next").rename(live)
        self.look()
        self.assertEqual(self.shown(certificates), ["two.example"])

    def test_a_session_goes_on_with_what_it_began_with(self) -> None:
        self.have("a", "old.example")
        certificates = self.start()
        handshake = self.shake_hands(certificates, None)
        self.write("a", "new.example")
        self.look()
        handshake.client.send(b"still here")
        handshake.pass_on(handshake.client, handshake.server)
        self.assertEqual(handshake.server.recv(100), b"still here")

    def test_nothing_is_read_again_while_nothing_changes(self) -> None:
        self.have("a", "a.example")
        self.start()
        for _ in range(10):
            self.look()
        self.assertEqual(self.journal.of("tls.certificate_loaded"), [])

    def test_nothing_is_looked_at_after_the_stop(self) -> None:
        self.have("a", "a.example")
        self.start().stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BrokenTest(CertificatesTest):
    def setUp(self) -> None:
        super().setUp()
        self.have("a", "a.example")
        self.have("b", "b.example")
        self.certificates = self.start()

    def reasons(self) -> list[object]:
        return [facts["reason"] for facts in self.journal.of("tls.certificate_broken")]

    def broken(self) -> object:
        return self.journal.of("tls.certificates")[-1]["broken"]

    def test_the_old_one_is_kept_and_the_journal_says_why(self) -> None:
        cert_file = self.files[1].cert_file
        self.assertEqual(self.broken(), 0)
        cert_file.write_text("-----BEGIN CERTIFICATE-----\nhalf of it")
        for _ in range(5):
            self.look()
        self.assertEqual(self.shown(self.certificates, "b.example"), ["b.example"])
        self.assertEqual(self.reasons(), [f"{cert_file}: expected a certificate in PEM form"])
        self.assertEqual(
            self.certificates.troubles, {str(cert_file): f"{cert_file}: expected a certificate in PEM form"}
        )
        self.assertEqual(self.broken(), 1)

    def test_a_key_of_another_certificate_waits_for_its_own(self) -> None:
        shutil.copy(self.write("c", "new.example")[0], self.files[0].cert_file)
        self.look()
        self.assertEqual(self.shown(self.certificates), ["a.example"])
        self.assertIn("is not the key of the certificate", str(self.reasons()[0]))
        shutil.copy(self.directory / "c" / "key.pem", self.files[0].key_file)
        self.look()
        self.assertEqual(self.shown(self.certificates), ["new.example"])
        self.assertEqual(self.certificates.troubles, {})
        self.assertEqual(self.broken(), 0)

    def test_files_that_are_gone(self) -> None:
        kept = self.files[0].key_file.read_bytes()
        self.files[0].key_file.unlink()
        self.look()
        self.assertEqual(self.shown(self.certificates), ["a.example"])
        self.assertIn("cannot be read", str(self.reasons()[0]))
        self.files[0].key_file.write_bytes(kept)
        self.look()
        self.assertEqual(self.broken(), 0)

    def test_another_reason_is_told_as_well(self) -> None:
        self.files[0].key_file.write_text("x")
        self.look()
        self.files[0].cert_file.write_text("x")
        self.look()
        self.assertEqual(len(set(self.reasons())), 2)


class ExpiryTest(CertificatesTest):
    def test_who_expires_soon_is_told_of_once_a_day(self) -> None:
        self.have("a", "a.example", days=60)
        self.have("b", "b.example", days=15.5)
        self.start()
        self.assertEqual(self.journal.of("tls.certificate_expires"), [])
        seconds = self.journal.of("tls.certificates")[-1]["expiry_seconds"]
        assert isinstance(seconds, float)
        self.assertAlmostEqual(seconds / DAY, 15.5, places=3)
        for _ in range(4):
            self.clock.pump([DAY / 4] * 4)
        told = self.journal.of("tls.certificate_expires")
        self.assertEqual([facts["days"] for facts in told], [13, 12, 11])
        self.assertEqual({str(facts["names"]) for facts in told}, {"['b.example']"})

    def test_one_that_has_expired_is_shown_all_the_same(self) -> None:
        self.have("a", "a.example", days=-0.5)
        certificates = self.start()
        self.assertEqual([facts["days"] for facts in self.journal.of("tls.certificate_expires")], [-1])
        self.assertEqual(self.shown(certificates), ["a.example"])
