"""How much memory this process may use: that of the machine, or of the group the system put it in."""

import os
from pathlib import Path

# cgroups version 2 and 1, as a container sees its own group.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_octets() -> int:
    """Return the least of what is known; a group without a limit says `max`, or more than there is."""
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *filter(None, map(_limit, _LIMITS))])


def _limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
