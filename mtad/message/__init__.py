"""The octets of a message: headers and trace fields (RFC 5322)."""
