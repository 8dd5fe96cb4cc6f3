"""Whether a server of several processes is ready: one of them has to be, and none may lack what it depends on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtad.web.ready import WELL, Readiness

Page = Mapping[str, Any]
"""What a process tells of itself, as its `/ready` would."""


@dataclass(frozen=True, slots=True)
class Silent:
    """A process that tells nothing, and why."""

    why: str


def together(told: Mapping[int, Page | Silent], *, stopping: bool) -> Readiness:
    """Return the readiness of all processes, from what each tells by its number."""
    pages = [page for page in told.values() if not isinstance(page, Silent)]
    lacking = any(found != WELL for page in pages for found in page["dependencies"].values())
    ready = not stopping and not lacking and any(page["ready"] for page in pages)
    processes = {str(number): _shown(page) for number, page in sorted(told.items())}
    return Readiness(ready, {"ready": ready, "stopping": stopping, "processes": processes})


def _shown(page: Page | Silent) -> Page:
    return {"ready": False, "reason": page.why} if isinstance(page, Silent) else page
