"""Runs a program where the DNS is a zone of ours: `unshare … python -m tests.system.own_dns ZONE COMMAND…`.

In namespaces of its own (unshare(1)) it has 127.0.0.1:53 for itself, and /etc/resolv.conf says so. ZONE is JSON, a text
by name: the TXT records there are. The program gets standard input and output; its exit status is the process'.
"""

import fcntl
import json
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NAMESPACES = ("unshare", "--map-root-user", "--mount", "--net")


def possible() -> bool:
    """Return whether this machine lets us have namespaces of our own."""
    try:
        return subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def command(zone: Mapping[str, str], program: Sequence[str | Path]) -> list[str | Path]:
    """Return the command line that runs a program where the DNS is that zone."""
    return [*_NAMESPACES, sys.executable, "-m", "tests.system.own_dns", json.dumps(zone), *program]


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _answer(zone: Mapping[str, str], octets: bytes) -> bytes:
    query = dns.message.from_wire(octets)
    reply = dns.message.make_response(query, recursion_available=True)
    asked = query.question[0]
    text = zone.get(asked.name.to_text(True).lower())
    if text is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif asked.rdtype == dns.rdatatype.TXT:
        strings = " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
        reply.answer.append(dns.rrset.from_text(asked.name, 300, "IN", "TXT", strings))
    return reply.to_wire(max_size=4096)


def _serve(server: socket.socket, zone: Mapping[str, str]) -> None:
    while True:
        octets, peer = server.recvfrom(4096)
        server.sendto(_answer(zone, octets), peer)


def main() -> int:
    zone, *program = sys.argv[1:]
    _loopback_up()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_serve, args=(server, json.loads(zone)), daemon=True).start()
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("nameserver 127.0.0.1\n")
        file.flush()
        subprocess.run(["mount", "--bind", file.name, "/etc/resolv.conf"], check=True)
        return subprocess.run(program, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
