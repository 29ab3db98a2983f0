"""One network without a teacher, taught by itself."""
