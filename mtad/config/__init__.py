"""config.yaml and environment become Settings, frozen and checked (DESIGN §6).

`sections` is what can be set, `kinds` what a value can be, `document` reads YAML, `decoding` says what is wrong with
it, `loading` joins file, environment, secret files and paths. A wrong configuration is one InvalidInput that names
the line. Nothing here listens, connects or changes anything.
"""

from mtad.config.kinds import (
    DatabaseHost,
    DialAddress,
    EmailAddress,
    Hostname,
    IPNetwork,
    ListenAddress,
    Name,
    NameServer,
    Network,
    Octets,
    RootCertificates,
    Seconds,
    Secret,
)
from mtad.config.loading import VARIABLES, decode_yaml, load
from mtad.config.sections import (
    Database,
    Delivery,
    Dns,
    Lmtp,
    Logging,
    Maildir,
    Queue,
    Redis,
    Section,
    Server,
    Settings,
    Timeline,
    Tls,
    Wrong,
)

__all__ = [
    "VARIABLES",
    "Database",
    "DatabaseHost",
    "Delivery",
    "DialAddress",
    "Dns",
    "EmailAddress",
    "Hostname",
    "IPNetwork",
    "ListenAddress",
    "Lmtp",
    "Logging",
    "Maildir",
    "Name",
    "NameServer",
    "Network",
    "Octets",
    "Queue",
    "Redis",
    "RootCertificates",
    "Seconds",
    "Secret",
    "Section",
    "Server",
    "Settings",
    "Timeline",
    "Tls",
    "Wrong",
    "decode_yaml",
    "load",
]
