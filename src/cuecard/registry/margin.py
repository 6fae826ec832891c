"""How much worse a version may be than what an alias points to, where nobody says."""

MARGIN = 0.02
"""In the score's units."""
