"""PostgreSQL: the only truth (DESIGN D4)."""
