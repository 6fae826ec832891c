"""Many trials on one backbone: what is tried, which runs, and what came of it."""
