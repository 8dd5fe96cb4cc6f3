"""The file of `mtactl apply`: what organisations hold, as an operator writes it (DESIGN §7).

    organisations:
      - name: acme
        contact: hostmaster@acme.example
        scram: true
        domains:
          - name: acme.example
            verified: true                     # the operator vouches for the ownership
            catch_all: alice@acme.example
            delivery: {kind: maildir, path: /srv/mail}
            policy: {outbound_tls: encrypt, spf: enforce, dkim: monitor, dmarc: enforce, check_from: true}
            dkim: [{selector: s1, algorithm: rsa2048}]
            mailboxes: [{local_part: alice, password: "secret", send_as: ["acme.example", "*@shop.example"]}]
            aliases: [{local_part: sales, targets: ["alice@acme.example"]}]

Only what each key may be by itself is said here; `mtad.ctl.consistency` has what the keys must be to each other. Keys
whose feature does not exist yet are unknown.
"""

from pathlib import Path, PurePosixPath
from typing import Literal, Self

from mtad.config import DialAddress, Name, Secret, Section, Wrong
from mtad.model.address import Address, folded, from_plain
from mtad.model.authentication import OwnChecks, Strictness
from mtad.model.dkim import parse_selector
from mtad.model.next_hop import TlsLevel
from mtad.model.tenant import LmtpDelivery, LocalDelivery, MaildirDelivery, SmtpDelivery
from mtad.smtp.grammar import parse_address, parse_domain

MAX_TARGETS = 1000
MAX_SEND_AS = 1000
MAX_KEYS = 10


class DomainName(str):
    """A mail domain, as A-labels in lower case; U-labels are understood."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the domain; an IP address is none."""
        domain = parse_domain(Name.parse(raw))
        if domain.rpartition(".")[2].isdigit():
            raise ValueError(f"expected a domain name such as example.com, got {raw!r}")
        return cls(domain)


class LocalPart(str):
    """What stands before the @ of an address here, as it was written."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the local part."""
        text = Name.parse(raw)
        try:
            return cls(parse_address(f"{text}@example.com").local_part)
        except ValueError:
            raise ValueError(f"expected what stands before the @ of an address, such as alice, got {raw!r}") from None


class MailAddress(str):
    """An address in its plain form."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the address."""
        return cls(parse_address(Name.parse(raw)).plain)

    @property
    def address(self) -> Address:
        """The address as the rest of mtad knows it."""
        return from_plain(self)


class SendAs(str):
    """Whom a mailbox may send as: a domain, or an address before whose @ `*` stands for anything.

    In lower case, the domain as A-labels.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the domain or the pattern."""
        text = Name.parse(raw)
        if "@" not in text:
            return cls(DomainName.parse(text))
        try:
            pattern = parse_address(text)
        except ValueError:
            raise ValueError(f"expected a domain or a pattern such as *@shop.example, got {raw!r}") from None
        return cls(f"{folded(pattern.local_part)}@{pattern.domain}")


class AbsolutePath(str):
    """A path that means the same to every process of every machine."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the path."""
        text = Name.parse(raw)
        if not text.startswith("/"):
            raise ValueError(f"expected a path that begins with /, got {raw!r}")
        return cls(PurePosixPath(text))


class Maildir(Section, frozen=True, tag_field="kind", tag="maildir"):
    """Deliver into Maildirs below `path`; without it, below the server's."""

    path: AbsolutePath | None = None

    @property
    def value(self) -> LocalDelivery:
        """What the directory stores."""
        return MaildirDelivery(self.path)


class Lmtp(Section, frozen=True, tag_field="kind", tag="lmtp"):
    """Hand over to a mail store by LMTP (RFC 2033)."""

    addr: DialAddress

    @property
    def value(self) -> LocalDelivery:
        """What the directory stores."""
        return LmtpDelivery(self.addr)


class Smtp(Section, frozen=True, tag_field="kind", tag="smtp"):
    """Hand over to a mail store by SMTP."""

    addr: DialAddress

    @property
    def value(self) -> LocalDelivery:
        """What the directory stores."""
        return SmtpDelivery(self.addr)


class Mailbox(Section, frozen=True):
    """A mailbox. Without `password` the one it has stays; a new mailbox has none, and nobody can log in."""

    local_part: LocalPart
    password: Secret | None = None
    enabled: bool = True
    send_as: tuple[SendAs, ...] = ()

    def __post_init__(self) -> None:
        if len(self.send_as) > MAX_SEND_AS:
            raise Wrong("send_as", f"expected at most {MAX_SEND_AS} domains and patterns, got {len(self.send_as)}")


class Alias(Section, frozen=True):
    """An address that stands for others."""

    local_part: LocalPart
    targets: tuple[MailAddress, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.targets) <= MAX_TARGETS:
            raise Wrong("targets", f"expected 1 to {MAX_TARGETS} addresses, got {len(self.targets)}")


class Selector(str):
    """The name of a key, in lower case."""

    __slots__ = ()

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the selector."""
        return cls(parse_selector(Name.parse(raw)))


class Key(Section, frozen=True):
    """A key to sign with: the one it has, the one in `private_key_file`, else a new one of `algorithm`."""

    selector: Selector
    algorithm: Literal["rsa2048", "rsa4096", "ed25519"] | None = None
    private_key_file: Path | None = None


class Policy(Section, frozen=True):
    """What holds for a domain's mail.

    Without `outbound_tls` what is sent as it goes as its destination has it; what it receives is checked as strictly as
    the server does where `spf`, `dkim` or `dmarc` is not said.
    """

    outbound_tls: Literal["encrypt", "verify"] | None = None
    spf: Strictness | None = None
    dkim: Strictness | None = None
    dmarc: Strictness | None = None
    check_from: bool = True

    @property
    def level(self) -> TlsLevel | None:
        """What mail sent as the domain must have."""
        return None if self.outbound_tls is None else TlsLevel(self.outbound_tls)

    @property
    def checks(self) -> OwnChecks:
        """How strictly what it receives is checked."""
        return OwnChecks(self.spf, self.dkim, self.dmarc)


class Domain(Section, frozen=True):
    """A domain. Without `verified` it stays what it is, a new one is not verified; without `dkim` it keeps its keys."""

    name: DomainName
    verified: bool | None = None
    catch_all: MailAddress | None = None
    delivery: Maildir | Lmtp | Smtp | None = None
    policy: Policy = Policy()
    dkim: tuple[Key, ...] | None = None
    mailboxes: tuple[Mailbox, ...] = ()
    aliases: tuple[Alias, ...] = ()

    def __post_init__(self) -> None:
        if self.dkim is not None and len(self.dkim) > MAX_KEYS:
            raise Wrong("dkim", f"expected at most {MAX_KEYS} keys, got {len(self.dkim)}")


class Organisation(Section, frozen=True):
    """An organisation and all it holds: what is not written here it will not have.

    Where `scram` is false nobody logs in by SCRAM, and no verifiers are stored.
    """

    name: Name
    contact: MailAddress | None = None
    scram: bool = True
    domains: tuple[Domain, ...] = ()


class Tenancy(Section, frozen=True):
    """The whole file. Organisations it does not name stay as they are."""

    organisations: tuple[Organisation, ...]
