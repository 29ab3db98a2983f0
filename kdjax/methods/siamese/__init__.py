"""Two views, two branches."""
