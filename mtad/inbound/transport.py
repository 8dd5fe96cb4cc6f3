"""What a session's connection tells of itself: who is at its other end, and the TLS it is under.

Sockets, TLS over them and the connections of tests answer alike; none of it is what the peer said.
"""

from typing import Any

from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ISystemHandle, ITLSTransport


class ISessionTransport(ITLSTransport, IConsumer, IPushProducer, ISystemHandle):
    """What a session needs of its connection."""


def host_of(address: IAddress | None) -> str:
    """Return the host of a peer; a socket of this machine has none."""
    return getattr(address, "host", "unix")


def tls_name(transport: ISessionTransport) -> str:
    """Return the version of TLS it is under, such as TLSv1.3."""
    name = getattr(transport.getHandle(), "get_protocol_version_name", None)
    return str(name()) if name is not None else "TLS"


def channel_binding(transport: ISessionTransport) -> bytes | None:
    """Return the tls-exporter value of a connection under TLS (RFC 9266 §4), None when it has none.

    Before TLS 1.3 it is safe only with an extension (RFC 7627) that OpenSSL's binding does not tell of.
    """
    if tls_name(transport) != "TLSv1.3":
        return None
    handle: Any = transport.getHandle()
    return bytes(handle.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""))
