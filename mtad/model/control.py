"""What `mtactl` tells running processes through PostgreSQL's NOTIFY: a few words, for everybody who listens."""

import re
from dataclasses import dataclass

CHANNEL = "mtad_control"
DRAIN = "drain"
RELOAD = "reload"

_RELOAD = re.compile(r"reload ([0-9a-f]{16}) ([!-~]{1,253})")


@dataclass(frozen=True, slots=True)
class Notice:
    """`what` is DRAIN, or RELOAD: of the nodes called `name`; notices with the same `token` are one."""

    what: str
    token: str = ""
    name: str = ""


def notice(channel: str, payload: str) -> Notice | None:
    """Return what a notification says; None for one that is none of these."""
    if channel != CHANNEL:
        return None
    if payload == DRAIN:
        return Notice(DRAIN)
    found = _RELOAD.fullmatch(payload)
    return Notice(RELOAD, found[1], found[2]) if found else None


def reload_payload(token: str, name: str) -> str:
    """Return the notification that wants the nodes of that name to be replaced."""
    return f"{RELOAD} {token} {name}"
