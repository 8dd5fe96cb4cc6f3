"""Flow in: from a connection to a committed message."""
