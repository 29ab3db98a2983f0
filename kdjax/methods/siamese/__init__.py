"""Several views, one network or it and its slow copy."""
