"""The SMTP protocol without I/O: bytes become events, replies become bytes (RFC 5321)."""
