"""The default margin of promotion checks."""

MARGIN = 0.02
"""How much worse a new version may be, in the score's units."""
