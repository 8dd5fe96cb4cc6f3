"""The servers this machine asks: the `nameserver` lines of resolv.conf. Its other lines are about names people type."""

from ipaddress import ip_address
from pathlib import Path

from mtad.model.endpoint import HostPort

RESOLV_CONF = Path("/etc/resolv.conf")
PORT = 53
# What resolv.conf(5) says of a machine that names none.
DEFAULT = HostPort("127.0.0.1", PORT)


def system_servers(path: Path = RESOLV_CONF) -> tuple[HostPort, ...]:
    """Return the servers of the file at `path`, in its order; where it names none, or is none, DEFAULT."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return (DEFAULT,)
    lines = [line.split() for line in text.splitlines()]
    hosts = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and _is_address(words[1])]
    return tuple(HostPort(host, PORT) for host in dict.fromkeys(hosts)) or (DEFAULT,)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
