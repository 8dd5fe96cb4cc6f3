"""The database's schema as numbered SQL files, applied in order and only forward (DESIGN §5)."""
