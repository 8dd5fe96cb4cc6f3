"""Where a recipient leads."""
