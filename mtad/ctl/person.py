"""Who runs a command, for the audit: what the operating system knows of them, not what they say."""

import os
import pwd


def who() -> str:
    """Return the name of the user; of one who became root by sudo the name before."""
    name = _name(os.getuid())
    before = os.environ.get("SUDO_USER", "")
    return f"{before} as {name}" if os.getuid() == 0 and before else name


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
