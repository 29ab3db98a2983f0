"""Training from labels alone."""
