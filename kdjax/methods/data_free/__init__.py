"""A teacher without its data."""
