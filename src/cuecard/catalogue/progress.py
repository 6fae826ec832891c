"""How long work tells its caller where it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(what is being done, how much is done, of how much); a total of 0 means that it is not known."""


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""
