"""What is true of every request: authentication, limits, bodies, metrics."""
