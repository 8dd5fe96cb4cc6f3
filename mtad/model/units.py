"""Sizes and durations as people write them: `25MB` is 26 214 400 octets, `5d` is 432 000 seconds."""

import re

_SIZE = re.compile(r"(\d{1,15})\s*(B|KB|MB|GB)?", re.IGNORECASE)
_OCTETS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3}
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(ms|s|m|h|d|w)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def octets(text: str | int) -> int:
    """Return a size in octets; ValueError names the expected form."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"expected a size such as 25MB, got {text!r}")
    return int(match[1]) * _OCTETS[(match[2] or "B").upper()]


def seconds(text: str) -> float:
    """Return a duration in seconds; a bare 0 needs no unit. ValueError names the expected form."""
    if str(text).strip() == "0":
        return 0.0
    match = _DURATION.fullmatch(str(text).strip())
    if not match:
        raise ValueError(f"expected a duration such as 30s, 5m, 4h or 5d, got {text!r}")
    return float(match[1]) * _SECONDS[match[2].lower()]


def duration_text(duration_seconds: float) -> str:
    """Return a duration in its largest whole unit, the inverse of `seconds`."""
    for unit in ("d", "h", "m", "s"):
        size = _SECONDS[unit]
        if duration_seconds >= size and duration_seconds % size == 0:
            return f"{duration_seconds / size:.0f}{unit}"
    return f"{duration_seconds:g}s"
