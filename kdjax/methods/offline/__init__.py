"""A frozen teacher, one student."""
