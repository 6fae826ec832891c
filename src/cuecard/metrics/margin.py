"""What decides whether a prompt was shown to be no worse than another one."""

MARGIN = 0.02
"""How much worse it may be, in the score's units, as the upper end of the 95% interval."""

FEWEST = 30
"""Fewer rows decide nothing."""
