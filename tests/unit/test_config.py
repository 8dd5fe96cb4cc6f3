import base64
import ipaddress
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from mtad import config
from mtad.model.address import Address
from mtad.model.endpoint import HostPort
from mtad.model.errors import InvalidInput
from mtad.model.journal import Level
from mtad.model.next_hop import TlsLevel

GB = 1024**3


class ConfigTest(SynchronousTestCase):
    def load(
        self, text: str | bytes, environ: dict[str, str] | None = None, machine: str = "box", memory: int = GB
    ) -> config.Settings:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        self.path /= "config.yaml"
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.load(self.path, environ or {}, lambda: machine, lambda: memory)

    def refusal(self, text: str | bytes, environ: dict[str, str] | None = None) -> str:
        """Return the error's line without the directory the file is in."""
        error = self.assertRaises(InvalidInput, self.load, text, environ)
        said = str(error).replace(f"{self.path.parent}/", "")
        self.assertNotIn("\n", said)
        return said


class DefaultsTest(ConfigTest):
    def test_empty_file_is_a_configuration(self) -> None:
        for text in ("", "# nothing\n", "{}", "\ufeff"):
            found = self.load(text)
            self.assertEqual(found.server.smtp_addr, ":25")
            self.assertEqual(found.server.max_message_size, 26_214_400)
            self.assertEqual(found.queue.lifetime, 432_000.0)
            self.assertEqual(found.logging.level, Level.INFO)
            self.assertIsNone(found.database)
            self.assertIsNone(found.redis)

    def test_paths_are_seen_from_the_directory_of_the_file(self) -> None:
        found = self.load("database: {sslrootcert: ca.pem}\ntls: {cert_file: a/cert.pem, key_file: /etc/key.pem}\n")
        here = self.path.parent
        self.assertEqual(found.server.state_dir, here / "state")
        self.assertEqual(found.delivery.local, config.Maildir(path=here / "state/mail"))
        self.assertEqual(found.tls, config.Tls(cert_file=here / "a/cert.pem", key_file=Path("/etc/key.pem")))
        assert found.database is not None
        self.assertEqual(found.database.sslrootcert, str(here / "ca.pem"))

    def test_certificates_are_those_of_both_keys(self) -> None:
        further = "certificates: [{names: [MX.example.net, '*.example.net'], cert_file: b/cert.pem, key_file: /b.pem}]"
        names = (config.CertificateName("mx.example.net"), config.CertificateName("*.example.net"))
        found = self.load(f"tls: {{{further}}}").tls
        second = config.Certificate(self.path.parent / "b/cert.pem", Path("/b.pem"), names)
        self.assertEqual((found.all, found.active), ((second,), True))
        further = further.replace("b/cert.pem", str(second.cert_file))
        found = self.load(f"tls: {{{further}, cert_file: /a.pem, key_file: /k.pem}}").tls
        self.assertEqual(found.all, (config.Certificate(Path("/a.pem"), Path("/k.pem")), second))
        found = self.load(f"tls: {{{further}, enabled: false}}").tls
        self.assertFalse(found.active)

    def test_a_link_to_the_file_does_not_move_its_paths(self) -> None:
        self.load("")
        link = self.path.parent / "elsewhere"
        link.mkdir()
        (link / "config.yaml").symlink_to(self.path)
        self.assertEqual(config.load(link / "config.yaml", {}, lambda: "").server.state_dir, link / "state")

    def test_hostname_is_the_machines_when_that_is_a_full_one(self) -> None:
        self.assertEqual(self.load("", machine="Mail.Example.org").server.hostname, "mail.example.org")
        for name in ("box", "", "a b.example", "127.0.0.1"):
            self.assertEqual(self.load("", machine=name).server.hostname, "localhost.localdomain")

    def test_a_written_hostname_asks_no_machine(self) -> None:
        found = self.load("server: {hostname: MX.example.org}", machine="box.example.net")
        self.assertEqual(found.server.hostname, "mx.example.org")

    def test_memory_is_a_part_of_the_machines_when_it_says_auto(self) -> None:
        for machine, memory in ((8 * GB, 2 * GB), (GB, GB // 4), (GB // 8, GB // 16), (64 * GB, 2 * GB)):
            self.assertEqual(self.load("server: {memory: auto}", memory=machine).server.memory, memory)
        self.assertEqual(self.load("server: {memory: 64MB}", memory=GB).server.memory, GB // 16)

    def test_settings_are_frozen(self) -> None:
        self.assertRaises(AttributeError, setattr, self.load("").server, "hostname", "x")


class ValuesTest(ConfigTest):
    def test_every_kind_of_value(self) -> None:
        found = self.load(
            """
server:
  hostname: mx.example.org
  postmaster: Ann@Example.org
  smtp_addr: "[::1]:25"
  http_networks: [192.0.2.0/24, "2001:db8::1", loopback]
  proxy_protocol_networks: [192.0.2.1]
  xclient_networks: [192.0.2.2, 192.0.2.4/31]
  greet_pause: 5s
  max_message_size: 26214400
queue: {retry_delay: 90s, max_retry_delay: 1.5h}
delivery: {local: {kind: lmtp, addr: /run/lmtp}}
logging: {format: text, levels: {mtad.smtp: debug}}
"""
        )
        assert found.server.postmaster is not None
        self.assertEqual(found.server.postmaster.address, Address("Ann", "example.org"))
        self.assertEqual(
            found.server.http_ranges,
            tuple(ipaddress.ip_network(text) for text in ("192.0.2.0/24", "2001:db8::1", "127.0.0.0/8", "::1")),
        )
        self.assertEqual(found.server.proxy_ranges, (ipaddress.ip_network("192.0.2.1"),))
        self.assertEqual(found.server.xclient_ranges, tuple(map(ipaddress.ip_network, ("192.0.2.2", "192.0.2.4/31"))))
        self.assertEqual(found.server.greet_pause, 5.0)
        self.assertEqual((found.queue.retry_delay, found.queue.max_retry_delay), (90.0, 5400.0))
        self.assertEqual(found.delivery.local, config.Lmtp(config.DialAddress("/run/lmtp")))
        self.assertEqual(found.logging.levels, {"mtad.smtp": Level.DEBUG})
        self.assertEqual(found.logging.least, Level.DEBUG)

    def test_private_is_what_people_call_private(self) -> None:
        ranges = config.Network("private").ranges
        for address in ("10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1"):
            self.assertTrue(any(ipaddress.ip_address(address) in network for network in ranges), address)
        for address in ("172.32.0.1", "8.8.8.8", "127.0.0.1", "2001:db8::1"):
            self.assertFalse(any(ipaddress.ip_address(address) in network for network in ranges), address)

    def test_words_that_yaml_1_1_takes_for_booleans_are_text(self) -> None:
        self.assertEqual(
            self.refusal("tls: {enabled: yes}"), "config.yaml:1: tls.enabled: expected true or false, got 'yes'"
        )
        found = self.load("database: {name: off, user: no}").database
        assert found is not None
        self.assertEqual((found.name, found.user), ("off", "no"))

    def test_impossible_values(self) -> None:
        domain = "expected a domain such as mail.example.org"
        cases = {
            "server: {memory: big}": "server.memory: expected a size such as 512MB, or auto, got 'big'",
            "server: {memory: 63MB}": "server.memory: expected at least 64MB, got '63MB'",
            "server: {max_message_size: big}": "server.max_message_size: expected a size such as 25MB, got 'big'",
            "server: {max_message_size: 63KB}": "server.max_message_size: expected 64KB to 1GB, got 64512 octets",
            "server: {max_message_size: true}": "server.max_message_size: expected a size such as 25MB, got True",
            "server: {max_recipients: 99}": "server.max_recipients: expected a whole number of at least 100, got 99",
            "server: {max_recipients: many}": "server.max_recipients: expected a whole number, got 'many'",
            "server: {max_recipients: 150.5}": "server.max_recipients: expected a whole number, got 150.5",
            "server: {max_recipients: [1]}": "server.max_recipients: expected a whole number, got a list",
            "server: {hostname: 192.0.2.1}": f"server.hostname: {domain}, got '192.0.2.1'",
            "server: {hostname: -a.example}": f"server.hostname: {domain}, got '-a.example'",
            "server: {hostname: 5}": "server.hostname: expected text, in quotes, got 5",
            'server: {hostname: "a\\nb"}': r"server.hostname: expected printable text, got 'a\nb'",
            "server: {postmaster: ann}": "server.postmaster: expected an address such as postmaster@example.org,"
            " got 'ann'",
            "server: {http_networks: [10.0.0.1/8]}": "server.http_networks[0]: expected a network such as 192.0.2.0/24,"
            " loopback or private, got '10.0.0.1/8'",
            "server: {http_networks: private}": "server.http_networks: expected a list, got text",
            "server: {smtp_addr: ':9090'}": "server.http_addr: expected another address than smtp_addr, got ':9090'",
            "server: {submission_addr: ':25'}": "server.submission_addr: expected another address than smtp_addr,"
            " got ':25'",
            "server: {relay_networks: [{network: 192.0.2.0/24}]}": "server.relay_networks[0]: expected the key"
            " organisation",
            "server: {relay_networks: [{network: 192.0.2.1/24, organisation: a}]}": "server.relay_networks[0].network:"
            " expected a network such as 192.0.2.0/24, loopback or private, got '192.0.2.1/24'",
            "server: mail": "server: expected keys and values, got text",
            "queue: {retry_delay: 5}": "queue.retry_delay: expected a duration such as 30s, 5m, 4h or 5d, got '5'",
            "queue: {retry_delay: 500ms}": "queue.retry_delay: expected at least 1s, got 0.5s",
            "queue: {retry_delay: 5h}": "queue.max_retry_delay: expected at least retry_delay, 5h, got 4h",
            "queue: {lifetime: 3651d}": "queue.lifetime: expected at most 3650d, got '3651d'",
            "timeline: {keep: 1h}": "timeline.keep: expected at least 1d, got 1h",
            "logging: {level: loud}": "logging.level: expected one of debug, info, warn, error, critical, got 'loud'",
            "logging: {format: xml}": "logging.format: expected one of json, text, got 'xml'",
            "delivery: {local: {path: x}}": "delivery.local: expected the key kind",
            "delivery: {local: {kind: mbox}}": "delivery.local.kind: expected one of maildir, lmtp, smtp, got 'mbox'",
            "delivery: {local: {kind: [lmtp]}}": "delivery.local.kind: expected one of maildir, lmtp, smtp, got a list",
            "delivery: {local: {kind: lmtp}}": "delivery.local: expected the key addr",
            "delivery: {local: {kind: lmtp, addr: x}}": "delivery.local.addr: expected host:port or the path of a unix"
            " socket, got 'x'",
            "tls: {cert_file: x}": "tls.cert_file: expected key_file beside it",
            "tls: {key_file: x, enabled: false}": "tls.key_file: expected cert_file beside it",
            "tls: {enabled: true}": "tls.enabled: expected cert_file and key_file beside it, or certificates",
            "tls: {certificates: [{cert_file: x}]}": "tls.certificates[0]: expected the key key_file",
            "tls: {certificates: [{cert_file: x, key_file: y, names: ['*.*.a']}]}": "tls.certificates[0].names[0]:"
            " expected a domain such as mail.example.org or *.example.org, got '*.*.a'",
            "server: {submissions_addr: ':25'}": "server.submissions_addr: expected another address than smtp_addr,"
            " got ':25'",
            "server: {greet_pause: 61s}": "server.greet_pause: expected at most 1m, got 61s",
            "server: {max_connections: 0}": "server.max_connections: expected a whole number of at least 1, got 0",
            "redis: {addr: /run/redis, tls: true}": "redis.tls: expected false, since addr is a unix socket",
            "database: {host: 'db:5433'}": "database.host: expected a host without port, which is a key of its own,"
            " got 'db:5433'",
            "database: {hosts: [a], host: b}": "database.hosts: expected only one of host and hosts",
            "database: {port: 65536}": "database.port: expected a whole number of at most 65535, got 65536",
            "database: {migrate: later}": "database.migrate: expected one of at_start, never, got 'later'",
        }
        for text, expected in cases.items():
            self.assertEqual(self.refusal(text), f"config.yaml:1: {expected}")

    def test_listening_addresses(self) -> None:
        for text in (":25", "127.0.0.1:2525", "[::1]:25", "0.0.0.0:0", "[::]:25"):
            self.assertEqual(config.ListenAddress.parse(text), text)
        for text in ("25", "mail.example.org:25", "127.0.0.1", ":65536", "::1:25", "[::1]", "/run/smtp", "", 25):
            self.assertRaises(ValueError, config.ListenAddress.parse, text)

    def test_dial_addresses(self) -> None:
        for text in ("localhost:24", "mail_store:24", "192.0.2.1:24", "[2001:db8::1]:24", "/run/lmtp"):
            self.assertEqual(config.DialAddress.parse(text), text)
        for text in ("localhost", ":24", "localhost:0", "run/lmtp", "a b:24", "tcp://a:24", "u@h:24", ""):
            self.assertRaises(ValueError, config.DialAddress.parse, text)

    def test_name_servers(self) -> None:
        found = self.load("dns: {servers: ['127.0.0.1:5353', '[::1]:53'], timeout: 250ms, trust_ad: true}").dns
        self.assertEqual([server.place for server in found.servers], [HostPort("127.0.0.1", 5353), HostPort("::1", 53)])
        self.assertEqual((found.timeout, found.trust_ad), (0.25, True))
        for text in ("127.0.0.1", "127.0.0.1:0", ":53", "localhost:53", "::1:53", "[::1]", "/run/dns", "", 53):
            self.assertRaises(ValueError, config.NameServer.parse, text)

    def test_a_relay(self) -> None:
        found = self.load(
            "delivery: {relay: {addr: 'smtp.example.net:587', username: u, password: 'p', tls: verify}, port: 2525,"
            " source_addresses: ['192.0.2.1', '2001:DB8::1'], allow_private: true}"
        ).delivery
        assert found.relay is not None
        self.assertEqual((found.relay.addr, found.relay.tls), ("smtp.example.net:587", TlsLevel.VERIFY))
        self.assertEqual(found.source_addresses, ("192.0.2.1", "2001:db8::1"))
        self.assertEqual((found.port, found.allow_private), (2525, True))
        self.assertIsNone(self.load("delivery: {port: 25}").delivery.relay)

    def test_a_password_goes_by_itself_only_to_who_has_a_valid_certificate(self) -> None:
        relay = "delivery: {relay: {addr: '%s'%s}}"
        login = ", username: u, password: 'p'"
        for (addr, keys), (level, warned) in {
            ("smtp.example.net:587", ""): (TlsLevel.MAY, False),
            ("smtp.example.net:587", ", tls: none"): (TlsLevel.NONE, False),
            ("smtp.example.net:587", login): (TlsLevel.VERIFY, False),
            ("smtp.example.net:587", f"{login}, tls: may"): (TlsLevel.MAY, True),
            ("smtp.example.net:587", f"{login}, tls: encrypt"): (TlsLevel.ENCRYPT, True),
            ("127.0.0.1:587", login): (TlsLevel.VERIFY, False),
            ("127.0.0.1:587", f"{login}, tls: may"): (TlsLevel.MAY, False),
            ("[::1]:587", f"{login}, tls: none"): (TlsLevel.NONE, False),
            ("localhost:587", f"{login}, tls: none"): (TlsLevel.NONE, False),
            ("/run/smtp", login): (TlsLevel.NONE, False),
        }.items():
            settings = self.load(relay % (addr, keys))
            assert settings.delivery.relay is not None
            self.assertEqual(settings.delivery.relay.level, level, (addr, keys))
            told = any(f"delivery.relay.tls is {level.value}" in warning for warning in settings.warnings)
            self.assertEqual(told, warned, (addr, keys))
        self.assertIn(
            "delivery.relay.tls: expected verify, since none would send the password in clear to another machine",
            self.refusal(relay % ("192.0.2.1:587", f"{login}, tls: none")),
        )

    def test_a_relay_that_cannot_be(self) -> None:
        relay = "delivery: {relay: {addr: '/run/smtp', %s}}"
        for keys, said in {
            "username: u": "username: expected password or password_file beside it",
            "password: 'p'": "password: expected username beside it",
            "password_file: p": "password_file: expected username beside it",
            "username: u, password: 'p', password_file: p": "password_file: expected only one of password and",
            "tls: verify": "tls: expected none, since addr is a unix socket",
            "tls: maybe": "tls: expected one of none, may, encrypt, verify, got 'maybe'",
        }.items():
            self.assertIn(f"config.yaml:1: delivery.relay.{said}", self.refusal(relay % keys))
        self.assertIn("expected an IP address", self.refusal("delivery: {source_addresses: [localhost]}"))


class UnknownKeysTest(ConfigTest):
    def test_says_the_line_and_the_closest_key(self) -> None:
        self.assertEqual(
            self.refusal("server:\n  hostname: a.example\n  max_recipiens: 5\n"),
            "config.yaml:3: server.max_recipiens: unknown key, did you mean max_recipients?",
        )
        self.assertEqual(self.refusal("\nsevrer: {}\n"), "config.yaml:2: sevrer: unknown key, did you mean server?")

    def test_says_all_keys_when_none_is_close(self) -> None:
        self.assertEqual(
            self.refusal("timeline: {x: 1}"), "config.yaml:1: timeline.x: unknown key, expected one of keep"
        )
        self.assertEqual(
            self.refusal("delivery: {local: {kind: maildir, addr: x}}"),
            "config.yaml:1: delivery.local.addr: unknown key, expected one of kind, path",
        )

    def test_key_that_looks_like_an_errors_path(self) -> None:
        for text in ('"x - at `$.y`": 1', '"x` - at `$[0]": 1', 'server: {"x` - at `$[...]": 1}'):
            self.assertIn("expected a name as key", self.refusal(text))


class FileTest(ConfigTest):
    def test_says_the_line(self) -> None:
        cases = {
            "server:\n  hostname: a.example\n  hostname: b.example\n": ":3: server.hostname: written twice",
            "queue: {}\n\nqueue: {}\n": ":3: queue: written twice",
            "server:\n  hostname:\n": ":2: server.hostname: expected a value, got nothing",
            "server:\n  hostname: ~\n": ":2: server.hostname: expected a value, got nothing",
            "logging:\n  levels:\n    a: info\n    b: loud\n": ":4: logging.levels.b: expected one of debug, info,"
            " warn, error, critical, got 'loud'",
            "server:\n  http_networks:\n    - private\n    - x\n": ":4: server.http_networks[1]: expected a network"
            " such as 192.0.2.0/24, loopback or private, got 'x'",
            "- a\n": ":1: expected keys and values",
            "text": ":1: expected keys and values",
            "5: x\n": ":1: expected a name as key",
            "a: 1\n? [b]\n: 2\n": ":2: expected a name as key",
            "server:\n  hostname: !name x\n": ":2: server.hostname: tags are not supported",
            "server: {}\n---\nqueue: {}\n": ":2: not YAML: but found another document expected a single document in the"
            " stream that begins on line 1",
            "server: {}\n hostname: x\n": ":2: not YAML: ",
            "server:\n  hostname: 'x\n": ":2: not YAML: ",
            "a: &x [*x]\n": ":1: a: too deep, or too much",
            "a: " + "[" * 100 + "]" * 100: ":1: a: too deep, or too much",
            "server: {}\nx: \0\n": ":2: expected no control characters",
        }
        for text, expected in cases.items():
            self.assertTrue(self.refusal(text).startswith(f"config.yaml{expected}"), (text, self.refusal(text)))

    def test_not_utf_8(self) -> None:
        self.assertEqual(self.refusal(b"server: {}\n# caf\xe9\n"), "config.yaml:2: expected UTF-8")

    def test_multiplied_aliases_are_bounded(self) -> None:
        lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
        lines.extend(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9))
        self.assertIn("too deep, or too much", self.refusal("\n".join(lines)))

    def test_missing_file_and_directory(self) -> None:
        for path, reason in ((Path("none.yaml"), "No such file or directory"), (Path("."), "Is a directory")):
            error = self.assertRaises(InvalidInput, config.load, path, {})
            self.assertEqual(str(error), f"{path}: cannot be read: {reason}")


class StoresTest(ConfigTest):
    def test_absent_means_embedded(self) -> None:
        for text, environ in (("server: {}", {}), ("", {"DB_HOST": "", "REDIS_ADDR": ""})):
            found = self.load(text, environ)
            self.assertEqual((found.database, found.redis), (None, None))

    def test_any_key_or_none_in_a_section_means_a_server(self) -> None:
        for text in ("database:\nredis:\n", "database: {}\nredis: {}\n", "database: {pool_size: 9}\nredis: {db: 1}\n"):
            found = self.load(text)
            assert found.database is not None
            assert found.redis is not None
            self.assertEqual((found.database.host, found.redis.addr), ("localhost", "localhost:6379"))

    def test_any_variable_means_a_server(self) -> None:
        for variable, (section, key) in config.VARIABLES.items():
            value = "5432" if variable == "DB_PORT" else "host.example:1" if variable == "REDIS_ADDR" else "x"
            if section in ("database", "redis"):
                found = getattr(self.load("", {variable: value}), section)
                self.assertIsNotNone(found, variable)
                self.assertIn(getattr(found, key), (5432, value, config.Secret(value)))

    def test_parameters_of_one_host(self) -> None:
        found = self.load(
            "database: {connect_timeout: 1500ms, sslmode: require, sslrootcert: system, password: geheim}"
        )
        assert found.database is not None
        self.assertEqual(
            found.database.parameters(),
            {
                "host": "localhost",
                "port": "5432",
                "dbname": "email_platform",
                "user": "smtp_server",
                "connect_timeout": 2,
                "tcp_user_timeout": 10_000,
                "password": "geheim",
                "sslmode": "require",
                "sslrootcert": "system",
            },
        )

    def test_parameters_of_several_hosts(self) -> None:
        found = self.load("database: {port: 5433, hosts: [db1, 'db2:5434', '::1', '[::1]:5435', /run/pg]}").database
        assert found is not None
        parameters = found.parameters()
        self.assertEqual(parameters["host"], "db1,db2,::1,::1,/run/pg")
        self.assertEqual(parameters["port"], "5433,5434,5433,5435,5433")
        self.assertEqual(parameters["target_session_attrs"], "read-write")
        self.assertNotIn("password", parameters)


class EnvironmentTest(ConfigTest):
    def test_overrides_the_file(self) -> None:
        text = "server: {hostname: a.example}\ndatabase: {hosts: [x, y], port: 1}\ntls: {cert_file: a, key_file: b}\n"
        environ = {"SMTP_HOSTNAME": "b.example", "DB_HOST": "z", "DB_PORT": "2", "TLS_KEY_FILE": "/c"}
        found = self.load(text, environ)
        assert found.database is not None
        self.assertEqual(found.server.hostname, "b.example")
        self.assertEqual((found.database.host, found.database.hosts, found.database.port), ("z", (), 2))
        self.assertEqual(found.tls.key_file, Path("/c"))
        self.assertTrue(found.tls.active)

    def test_errors_name_the_variable(self) -> None:
        cases = {
            ("DB_PORT", "pg"): "expected a whole number, got 'pg'",
            ("DB_PORT", "0"): "expected a whole number of at least 1, got 0",
            ("DB_PORT", "9" * 5000): f"expected a whole number, got '{'9' * 200}",
            ("DB_HOST", "a b"): "expected a host name, an IP address or the directory of a unix socket, got 'a b'",
            ("SMTP_HOSTNAME", "x y"): "expected a domain such as mail.example.org, got 'x y'",
            ("TLS_CERT_FILE", "x"): "expected key_file beside it",
        }
        for (variable, value), expected in cases.items():
            said = self.refusal("", {variable: value})
            self.assertTrue(said.startswith(f"environment variable {variable}: {expected}"), said)
            self.assertLess(len(said), 500)

    def test_cannot_mend_a_section_that_is_none(self) -> None:
        said = self.refusal("server: {}\ndatabase: x\n", {"DB_HOST": "z"})
        self.assertEqual(said, "config.yaml:2: database: expected keys and values, got text")


class SecretsTest(ConfigTest):
    def password_file(self, content: bytes) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content)
        return str(path)

    def test_master_keys_come_from_the_file_the_environment_or_a_file_of_their_own(self) -> None:
        one, two = (base64.b64encode(octet * 32).decode() for octet in (b"a", b"b"))
        path = self.password_file(f"new:{one},old:{two}\n".encode())
        for text, environ, ids in (
            ("", {}, []),
            (f"dkim: {{master_key: 'x:{one}'}}", {}, ["x"]),
            (f"dkim: {{master_key_file: {path}}}", {}, ["new", "old"]),
            ("dkim: {master_key_file: nothing-there}", {"MTAD_MASTER_KEY": f"e:{two}"}, ["e"]),
        ):
            found = self.load(text, environ).dkim
            self.assertEqual([key.id for key in found.keys], ids)
            self.assertNotIn(one, repr(found))
        for text, said in (
            ("dkim: {master_key: 'geheim'}", "expected master keys of 32 octets in base64"),
            (f"dkim: {{master_key_file: {self.password_file(b'geheim')}}}", "expected a file of one line of UTF-8"),
            (f"dkim: {{master_key: '{one}', master_key_file: x}}", "expected only one of"),
        ):
            complaint = self.refusal(text)
            self.assertIn(said, complaint)
            self.assertNotIn("geheim", complaint)

    def test_read_from_a_file(self) -> None:
        for content in (b"geheim", b"geheim\n", b"geheim\r\n"):
            path = self.password_file(content)
            relay = f"{{addr: 'smtp.example.net:587', username: u, password_file: {path}}}"
            found = self.load(
                f"database: {{password_file: {path}}}\nredis: {{password_file: {path}}}\ndelivery: {{relay: {relay}}}\n"
            )
            assert found.database is not None
            assert found.redis is not None
            self.assertEqual(found.database.password, config.Secret("geheim"))
            self.assertEqual(found.redis.password, config.Secret("geheim"))
            self.assertEqual(found.delivery.relay.password, config.Secret("geheim"))

    def test_file_that_cannot_be_one(self) -> None:
        for content in (b"", b"\n", b"a\nb", b"\xff", b"a\0b", b"x" * 5000):
            said = self.refusal(f"database:\n  password_file: {self.password_file(content)}\n")
            self.assertEqual(
                said,
                "config.yaml:2: database.password_file: expected a file of one line of UTF-8, the password",
            )
        self.assertIn("cannot be read: No such file", self.refusal("database: {password_file: none}"))

    def test_only_one_form(self) -> None:
        said = self.refusal("redis:\n  password: x\n  password_file: y\n")
        self.assertEqual(said, "config.yaml:3: redis.password_file: expected only one of password and password_file")

    def test_variable_takes_the_place_of_the_file(self) -> None:
        found = self.load("database: {password_file: none}", {"DB_PASSWORD": "geheim"})
        assert found.database is not None
        self.assertEqual(found.database.password, config.Secret("geheim"))

    def test_never_printed(self) -> None:
        found = self.load("database: {password: geheim}\nredis: {password: geheim}\n")
        for text in (
            repr(found),
            str(found),
            f"{found.database}",
            str(found.redis),
            str(config.Secret("geheim")),
        ):
            self.assertNotIn("geheim", text)

    def test_never_in_errors(self) -> None:
        for text in (
            "database: {password: [geheim]}",
            "database: {password: {geheim: geheim}}",
            "database: {password: 1234567}",
            "database: {password: 'geheim\\",
            "database: {password: *geheim}",
            "database: {password: 'geheim' x}",
            "database: {password: @geheim}",
            "database: {password: geheim, port: 0}",
            "database: 'host=x password=geheim'",
            "database: {host: 'postgresql://u:geheim@h/d'}",
            "database: {hosts: ['postgresql://u:geheim@h/d']}",
            "redis: {addr: 'redis://:geheim@h'}",
            "redis: geheim",
        ):
            said = self.refusal(text)
            self.assertNotIn("geheim", said)
            self.assertNotIn("1234567", said)
        for variable, value in (("DB_PASSWORD", "geheim\udcff"), ("REDIS_ADDR", "redis://:geheim@h")):
            self.assertNotIn("geheim", self.refusal("", {variable: value}))


class Team(Struct, forbid_unknown_fields=True):
    name: str
    members: list[config.EmailAddress] = []


class Teams(Struct, forbid_unknown_fields=True):
    teams: list[Team]


class DecodeYamlTest(SynchronousTestCase):
    def decode(self, text: str) -> Teams:
        self.path = Path(self.mktemp())
        self.path.write_text(text)
        return config.decode_yaml(self.path, Teams)

    def test_structs_of_others(self) -> None:
        found = self.decode("teams:\n  - {name: a, members: [x@a.example]}\n")
        self.assertEqual(found, Teams([Team("a", [config.EmailAddress("x@a.example")])]))

    def test_errors_have_line_and_path(self) -> None:
        cases = {
            "teams:\n  - name: a\n  - name: b\n    members: [x@b.example, y]\n": "4: teams[1].members[1]: expected an"
            " address such as postmaster@example.org, got 'y'",
            "teams:\n  - name: a\n  - nmae: b\n": "3: teams[1].nmae: unknown key, did you mean name?",
            "teams:\n  - {members: []}\n": "2: teams[0]: expected the key name",
            "teams:\n": "1: teams: expected a value, got nothing",
            "": "1: expected the key teams",
        }
        for text, expected in cases.items():
            error = self.assertRaises(InvalidInput, self.decode, text)
            self.assertEqual(str(error), f"{self.path}:{expected}")


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
NAMES = st.sampled_from(
    ["server", "database", "redis", "queue", "delivery", "logging", "local", "levels", "kind", "host"]
)


class AnythingTest(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_octets_make_settings_or_one_line(self, octets: bytes) -> None:
        self.check(octets)

    @settings(max_examples=300, deadline=None)
    @given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3) | VALUES, max_size=3))
    def test_values_make_settings_or_one_line(self, data: object) -> None:
        self.check(json.dumps(data).encode())

    def check(self, octets: bytes) -> None:
        path = Path(self.mktemp())
        path.write_bytes(octets)
        try:
            self.assertIsInstance(config.load(path, {}, lambda: ""), config.Settings)
        except InvalidInput as error:
            self.assertTrue(str(error).isprintable(), error)
            self.assertLess(len(str(error)), 1000)
        finally:
            path.unlink()
