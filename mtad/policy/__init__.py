"""Decisions, one stage a module: decide(facts) returns a Verdict."""
