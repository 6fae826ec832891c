"""A backbone that dies after so many passes, as a process may that is killed."""

from __future__ import annotations

from typing import Any


class Killed(Exception):
    """Stands for a death between two lines of code."""


def counted(backbone: Any, calls: int) -> list[int]:
    """Let a backbone die after so many passes; how many are left."""
    left, read = [calls], backbone.read_many

    def dying(*args: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return read(*args, **options)

    backbone.read_many = dying
    return left
