"""The mtactl command."""
