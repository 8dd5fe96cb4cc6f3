"""Care of hosted domains (L3): what the DNS says of them, and the lives of their keys."""
