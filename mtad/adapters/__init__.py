"""The outside world, one library a module."""
