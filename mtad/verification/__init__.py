"""What proves whose mail it is: signatures made here, and their checks, over facts already known."""
