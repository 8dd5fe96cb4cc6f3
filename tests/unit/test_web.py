"""The HTTP site, asked over the memory network, octet for octet."""

import json
from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mtad.testing.dependency import MemoryDependency
from mtad.testing.network import Line, MemoryNetwork
from mtad.web.metrics import Metrics
from mtad.web.ready import Checks, OwnReadiness
from mtad.web.site import IDLE_SECONDS, site

INSIDE = ("127.0.0.1", 40000)
OUTSIDE = ("192.0.2.7", 40000)
PAGES = (b"/health", b"/ready", b"/metrics")


class Response:
    """An answer taken apart."""

    def __init__(self, octets: bytes) -> None:
        head, _, self.body = octets.partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, value in (field.split(b": ", 1) for field in fields)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class WebTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork(self.clock)
        self.postgres, self.redis = MemoryDependency("postgres"), MemoryDependency("redis")
        self.stopping = False
        self.certificates: dict[str, str] = {}
        self.exposition = b"# HELP some_total Some.\n"
        self.draining = False
        readiness = OwnReadiness(
            Checks({"postgres": self.postgres, "redis": self.redis}, self.clock),
            is_stopping=lambda: self.stopping,
            is_draining=lambda: self.draining,
            certificates=lambda: self.certificates,
        )
        self.site = site(
            readiness=readiness.ask,
            exposition=lambda: self.exposition,
            networks=(ip_network("127.0.0.0/8"), ip_network("::1"), ip_network("10.0.0.0/8")),
            clock=self.clock,
        )
        self.network.listen(":9090", self.site)

    def connect(self, peer: tuple[str, int] = INSIDE) -> Line:
        return self.network.connect(":9090", peer)

    def request(self, path: bytes, method: bytes = b"GET", peer: tuple[str, int] = INSIDE) -> Line:
        line = self.connect(peer)
        line.send(method + b" " + path + b" HTTP/1.1\r\nHost: mx.test\r\n\r\n")
        self.clock.advance(0)
        return line

    def get(self, path: bytes, method: bytes = b"GET", peer: tuple[str, int] = INSIDE) -> Response:
        return Response(self.request(path, method, peer).take())


class SiteTest(WebTestCase):
    def test_health_is_well_while_the_process_turns(self) -> None:
        self.postgres.wrong = "connection refused"
        response = self.get(b"/health")
        self.assertEqual((response.status, response.body), (200, b"ok\n"))
        self.assertEqual(self.postgres.checks, 0)

    def test_metrics_are_the_exposition_of_this_moment(self) -> None:
        response = self.get(b"/metrics")
        self.assertEqual(response.body, b"# HELP some_total Some.\n")
        self.assertEqual(response.headers[b"content-type"], b"text/plain; version=0.0.4; charset=utf-8")
        self.exposition = b"# HELP other_total Other.\n"
        self.assertEqual(self.get(b"/metrics").body, b"# HELP other_total Other.\n")

    def test_metrics_may_be_late_and_the_networks_may_change(self) -> None:
        late: Deferred[bytes] = Deferred()
        self.site.resource.putChild(b"metrics", Metrics(lambda: late))
        line, gone = self.request(b"/metrics"), self.request(b"/metrics")
        self.assertEqual(line.take(), b"")
        gone.abort()
        self.clock.advance(0)
        late.callback(b"late_total 1\n")
        self.clock.advance(0)
        self.assertEqual(Response(line.take()).body, b"late_total 1\n")
        self.site.admit((ip_network("192.0.2.0/24"),))
        self.assertEqual(self.get(b"/health").status, 403)
        self.assertEqual(self.get(b"/health", peer=OUTSIDE).status, 200)

    def test_metrics_that_cannot_be_made_are_logged_and_not_shown(self) -> None:
        self.site.resource.putChild(b"metrics", Metrics(lambda: fail(KeyError("secret detail"))))
        response = self.get(b"/metrics")
        self.assertEqual((response.status, response.body), (500, b"internal trouble, see the log\n"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_every_answer_is_typed_and_never_kept(self) -> None:
        for path in (*PAGES, b"/nothing", b"/"):
            headers = self.get(path).headers
            self.assertEqual(headers[b"x-content-type-options"], b"nosniff", path)
            self.assertEqual(headers[b"cache-control"], b"no-store", path)
            self.assertNotIn(b"html", headers[b"content-type"], path)
            self.assertEqual(headers[b"server"], b"mtad", path)

    def test_head_is_get_without_a_body(self) -> None:
        for path in PAGES:
            head, got = self.get(path, b"HEAD"), self.get(path)
            self.assertEqual((head.status, head.body), (got.status, b""), path)
            self.assertEqual(head.headers[b"content-length"], b"%d" % len(got.body), path)

    def test_what_is_not_there_is_not_found(self) -> None:
        for path in (b"/", b"/nothing", b"/health/", b"/health/more", b"/ready/../metrics", b"//health", b"/HEALTH"):
            response = self.get(path)
            self.assertEqual((response.status, response.body), (404, b"not found\n"), path)

    def test_a_query_changes_nothing(self) -> None:
        self.assertEqual(self.get(b"/health?verbose=1").status, 200)

    def test_only_get_and_head(self) -> None:
        for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"NONSENSE"):
            for path in (*PAGES, b"/"):
                response = self.get(path, method)
                self.assertEqual(response.status, 405, (method, path))
                self.assertEqual(response.headers[b"allow"], b"GET, HEAD")

    def test_a_connection_is_kept_for_further_requests(self) -> None:
        line = self.request(b"/health")
        self.assertEqual(Response(line.take()).status, 200)
        line.send(b"GET /metrics HTTP/1.1\r\nHost: mx.test\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(Response(line.take()).body, self.exposition)

    def test_an_idle_connection_is_closed(self) -> None:
        line = self.request(b"/health")
        self.clock.pump([IDLE_SECONDS + 1, 0])
        self.assertTrue(line.closed)

    def test_a_body_is_cut_short(self) -> None:
        line = self.connect()
        line.send(b"POST /health HTTP/1.1\r\nHost: mx.test\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(10):
            line.send(b"x" * 10_000)
            self.clock.advance(0)
        self.assertTrue(line.closed)

    def test_nothing_is_logged_and_nothing_ticks(self) -> None:
        events: list[object] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        line = self.request(b"/health")
        line.hang_up()
        self.clock.advance(0)
        self.assertEqual(events, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class GuardTest(WebTestCase):
    def test_outsiders_get_403_and_nothing_else(self) -> None:
        seen = set()
        for path in (*PAGES, b"/", b"/nothing"):
            for method in (b"GET", b"POST", b"DELETE"):
                response = self.get(path, method, OUTSIDE)
                seen.add((response.status, response.body))
        self.assertEqual(seen, {(403, b"forbidden\n")})
        self.assertEqual(self.postgres.checks, 0)

    def test_networks_are_those_named(self) -> None:
        admitted = ("127.0.0.1", "127.9.9.9", "10.1.2.3", "::1", "::ffff:10.1.2.3")
        refused = ("11.0.0.1", "192.168.1.1", "::2", "fe80::1%eth0", "::ffff:192.0.2.7", "2001:db8::1")
        for host in admitted:
            self.assertEqual(self.get(b"/health", peer=(host, 1)).status, 200, host)
        for host in refused:
            self.assertEqual(self.get(b"/health", peer=(host, 1)).status, 403, host)

    def test_what_a_client_says_of_itself_does_not_count(self) -> None:
        line = self.connect(OUTSIDE)
        line.send(b"GET /health HTTP/1.1\r\nHost: mx.test\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(Response(line.take()).status, 403)


class ReadyTest(WebTestCase):
    def test_all_well(self) -> None:
        response = self.get(b"/ready")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.headers[b"content-type"], b"application/json")
        self.assertEqual(
            response.json,
            {
                "ready": True,
                "stopping": False,
                "draining": False,
                "dependencies": {"postgres": "ok", "redis": "ok"},
            },
        )

    def test_what_is_wrong_is_said_for_each(self) -> None:
        self.postgres.wrong = "connection refused"
        response = self.get(b"/ready")
        self.assertEqual(response.status, 503)
        self.assertEqual(response.json["dependencies"], {"postgres": "connection refused", "redis": "ok"})

    def test_what_is_wrong_is_fit_to_be_shown(self) -> None:
        self.redis.wrong = "bad\r\nX: \x1b[31m" + "y" * 10_000
        response = self.get(b"/ready")
        self.assertIn("bad\\x0d\\x0aX", response.json["dependencies"]["redis"])
        self.assertLess(len(response.body), 1000)

    def test_a_certificate_that_is_broken_is_told_and_changes_nothing(self) -> None:
        self.certificates["/etc/cert.pem"] = "expected a certificate\x1b[31m"
        response = self.get(b"/ready")
        self.assertEqual((response.status, response.json["ready"]), (200, True))
        self.assertEqual(response.json["certificates"], {"/etc/cert.pem": "expected a certificate\\x1b[31m"})

    def test_a_stopping_server_is_not_ready(self) -> None:
        self.stopping = True
        response = self.get(b"/ready")
        self.assertEqual(response.status, 503)
        self.assertEqual((response.json["ready"], response.json["stopping"]), (False, True))

    def test_a_draining_server_is_not_ready(self) -> None:
        self.draining = True
        response = self.get(b"/ready")
        self.assertEqual(response.status, 503)
        self.assertEqual((response.json["ready"], response.json["draining"]), (False, True))

    def test_a_silent_dependency_is_waited_for_two_seconds_and_the_others_beside_it(self) -> None:
        self.postgres.silent = self.redis.silent = True
        line = self.request(b"/ready")
        self.clock.advance(1.9)
        self.assertEqual(line.take(), b"")
        self.clock.pump([0.2, 0])
        response = Response(line.take())
        self.assertEqual(response.status, 503)
        self.assertEqual(set(response.json["dependencies"].values()), {"no answer within 2 s"})

    def test_answers_are_shared_for_a_second_and_no_longer(self) -> None:
        for _ in range(5):
            self.get(b"/ready")
        self.assertEqual(self.postgres.checks, 1)
        self.postgres.wrong = "connection refused"
        self.clock.advance(0.9)
        self.assertEqual(self.get(b"/ready").status, 200)
        self.clock.advance(0.2)
        self.assertEqual(self.get(b"/ready").status, 503)
        self.assertEqual(self.postgres.checks, 2)

    def test_stopping_is_never_an_old_answer(self) -> None:
        self.assertEqual(self.get(b"/ready").status, 200)
        self.stopping = True
        self.assertEqual(self.get(b"/ready").status, 503)

    def test_requests_that_wait_share_one_question(self) -> None:
        self.postgres.silent = True
        lines = [self.request(b"/ready") for _ in range(3)]
        self.clock.pump([1.5, 0])
        lines.append(self.request(b"/ready"))
        self.clock.pump([0.6, 0])
        self.assertEqual({Response(line.take()).status for line in lines}, {503})
        self.assertEqual(self.postgres.checks, 1)

    def test_who_hangs_up_while_waiting_troubles_nobody(self) -> None:
        self.postgres.silent = True
        gone, stays = self.request(b"/ready"), self.request(b"/ready")
        gone.abort()
        self.clock.pump([0, 2.1, 0])
        self.assertEqual(Response(stays.take()).status, 503)

    def test_a_surprise_is_logged_and_not_shown(self) -> None:
        async def surprise() -> None:
            raise KeyError("secret detail")

        self.patch(self.redis, "check", surprise)
        response = self.get(b"/ready")
        self.assertEqual(response.json["dependencies"]["redis"], "internal trouble, see the log")
        self.assertNotIn(b"secret", response.body)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_without_dependencies_it_is_ready(self) -> None:
        alone = OwnReadiness(
            Checks({}, self.clock), is_stopping=lambda: False, is_draining=lambda: False, certificates=dict
        )
        bare = site(readiness=alone.ask, exposition=bytes, networks=(ip_network("127.0.0.0/8"),), clock=self.clock)
        self.network.listen(":9091", bare)
        line = self.network.connect(":9091", INSIDE)
        line.send(b"GET /ready HTTP/1.0\r\n\r\n")
        self.clock.advance(0)
        expected = {"ready": True, "stopping": False, "draining": False, "dependencies": {}}
        self.assertEqual(Response(line.take()).json, expected)
