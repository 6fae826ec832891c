"""Models that only answer: over HTTP, or by a script."""
