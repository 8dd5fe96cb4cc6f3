"""The certificates of a server: which one a peer is shown, by the name it asks for (SNI, RFC 6066 §3).

Their files are looked at every ten seconds. What has changed is read again and shown from then on; sessions go on with
what they began with. Files that cannot be used change nothing: what was read before is kept, and the journal says so,
as it does of certificates that expire, once a day.
"""

from collections.abc import Mapping, Sequence

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocol, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from mtad.adapters.tls.certificate import CertificateFiles, LoadedCertificate, fingerprint, load
from mtad.interfaces import IJournal, IWallClock
from mtad.model.errors import InvalidInput

LOOK_SECONDS = 10.0
WARNING_SECONDS = 14 * 86400.0
REMINDER_SECONDS = 86400.0


class _Kept:
    """One certificate that is in use, and what is known of its files."""

    def __init__(self, files: CertificateFiles) -> None:
        self.files = files
        self.seen = fingerprint(files)
        self.loaded = load(files)
        self.trouble: str | None = None
        self.reminded_at = float("-inf")

    def look(self) -> bool:
        """Read the files again when they changed, or are broken; return whether there is a new certificate."""
        seen = fingerprint(self.files)
        if seen == self.seen and self.trouble is None:
            return False
        self.seen = seen
        try:
            self.loaded = load(self.files)
        except InvalidInput as wrong:
            self.trouble = str(wrong)
            return False
        self.trouble = None
        return True


@implementer(IOpenSSLServerConnectionCreator)
class ServerCertificates:
    """The certificates of these files, at least one; the first is shown to peers that ask for no name it has.

    InvalidInput names a file that is no good.
    """

    def __init__(
        self, files: Sequence[CertificateFiles], *, clock: IReactorTime, wall: IWallClock, journal: IJournal
    ) -> None:
        self._wall = wall
        self._journal = journal
        self._clock = clock
        self._kept = [_Kept(each) for each in files]
        self._by_name: dict[str, LoadedCertificate] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock
        self._show(self._kept)

    def serverConnectionForTLS(self, tlsProtocol: IProtocol | None) -> SSL.Connection:
        """Return a new connection's side of TLS, for Twisted to feed."""
        return SSL.Connection(self._kept[0].loaded.context, None)

    def start(self) -> None:
        """Look at the files from now on."""
        self._looking.start(LOOK_SECONDS)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    @property
    def troubles(self) -> Mapping[str, str]:
        """What is wrong with the files of each certificate that cannot be read again, by the certificate's file."""
        return {str(each.files.cert_file): each.trouble for each in self._kept if each.trouble is not None}

    def _look(self) -> None:
        try:
            self._look_at_all()
        except Exception:
            self._journal.record("task.surprise", task="certificates", failure=Failure().getTraceback())

    def _look_at_all(self) -> None:
        for each in self._kept:
            before = each.trouble
            if each.look():
                self._journal.record(
                    "tls.certificate_loaded", names=list(each.loaded.names), file=str(each.files.cert_file)
                )
                self._show([each])
            elif each.trouble is not None and each.trouble != before:
                self._journal.record("tls.certificate_broken", file=str(each.files.cert_file), reason=each.trouble)
            self._remind(each)
        self._journal.record(
            "tls.certificates",
            broken=len(self.troubles),
            expiry_seconds=min(each.loaded.expires_at for each in self._kept) - self._wall.now(),
        )

    def _remind(self, each: _Kept) -> None:
        left = each.loaded.expires_at - self._wall.now()
        now = self._clock.seconds()
        if left < WARNING_SECONDS and now - each.reminded_at >= REMINDER_SECONDS:
            each.reminded_at = now
            self._journal.record(
                "tls.certificate_expires",
                names=list(each.loaded.names),
                file=str(each.files.cert_file),
                days=int(left // 86400),
            )

    def _show(self, loaded: Sequence[_Kept]) -> None:
        """Show what is kept now, of which this was just loaded; of two certificates for a name the first."""
        self._by_name = {name: each.loaded for each in reversed(self._kept) for name in each.loaded.names}
        for each in loaded:
            # A context that connections were begun with may not be changed any more.
            each.loaded.context.set_tlsext_servername_callback(self._choose)

    def _choose(self, connection: SSL.Connection) -> None:
        """Show the peer the certificate for the name it asks for."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        found = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")
        if found is not None:
            connection.set_context(found.context)
