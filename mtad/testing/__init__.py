"""Twins of the ports, and the world they make for tests."""
