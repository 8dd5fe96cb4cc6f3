"""Host names of the database, looked up without libpq."""

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mtad.adapters.postgres.resolve import addressed
from mtad.model.errors import Unavailable

KNOWN = {
    "db.example": [IPv4Address("TCP", "192.0.2.1", 0), IPv6Address("TCP", "2001:db8::1", 0)],
    "other.example": [IPv4Address("TCP", "192.0.2.9", 0)],
}


@implementer(IReactorPluggableNameResolver)
class Names:
    """A reactor that knows a few names."""

    @property
    def nameResolver(self) -> "Names":
        return self

    def installNameResolver(self, resolver: object) -> None:
        raise AssertionError

    def resolveHostName(self, receiver: object, name: str) -> None:
        for address in KNOWN.get(name, []):
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class AddressedTest(SynchronousTestCase):
    def addressed(self, **parameters: object) -> dict[str, object]:
        return self.successResultOf(Deferred.fromCoroutine(addressed(Names(), parameters)))

    def test_sockets_and_addresses_stay_as_they_are(self) -> None:
        for host in ("/run/postgresql", "192.0.2.1", "2001:db8::1", "/a,192.0.2.1", "@abstract"):
            self.assertEqual(self.addressed(host=host, port=5432), {"host": host, "port": 5432})
        self.assertEqual(self.addressed(dbname="x"), {"dbname": "x"})

    def test_an_address_that_is_given_is_believed(self) -> None:
        given = {"host": "db.example", "hostaddr": "192.0.2.7"}
        self.assertEqual(self.addressed(**given), given)

    def test_a_name_becomes_all_its_addresses(self) -> None:
        self.assertEqual(
            self.addressed(host="db.example", port=5432),
            {"host": "db.example,db.example", "hostaddr": "192.0.2.1,2001:db8::1", "port": "5432,5432"},
        )

    def test_a_list_keeps_its_order_and_ports(self) -> None:
        self.assertEqual(
            self.addressed(host="other.example,/run/pg,db.example", port="1,2,3"),
            {
                "host": "other.example,/run/pg,db.example,db.example",
                "hostaddr": "192.0.2.9,,192.0.2.1,2001:db8::1",
                "port": "1,2,3,3",
            },
        )

    def test_a_name_without_an_address(self) -> None:
        looking = Deferred.fromCoroutine(addressed(Names(), {"host": "none.example"}))
        self.failureResultOf(looking, Unavailable)
