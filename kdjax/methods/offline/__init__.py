"""A frozen teacher and its student."""
