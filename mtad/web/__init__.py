"""The HTTP side: health, readiness, metrics."""
