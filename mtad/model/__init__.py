"""The words of the field as frozen values: addresses, envelopes, replies, jobs, outcomes. Standard library only."""
