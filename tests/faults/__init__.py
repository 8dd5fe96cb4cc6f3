"""What takes minutes to go wrong; `make faults` runs it. Scenarios by one clock say the same in `make test`."""
