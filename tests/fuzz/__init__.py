"""Hostile octets, by the million, against both sides of the protocol: `python -m tests.fuzz`, or `make fuzz`."""
