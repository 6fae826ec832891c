"""Texts put into templates: in one pass, and safe from what formats the outcome later."""

from __future__ import annotations

import re

_SLOT = re.compile(r"\[\[(\w+)\]\]")


def filled(template: str, **values: str) -> str:
    """A template with its [[slots]] filled; slots in values are text."""
    return _SLOT.sub(lambda found: values[found[1]], template)


def escaped(text: str) -> str:
    """A text that `str.format` leaves as it was."""
    return text.replace("{", "{{").replace("}", "}}")


def lined(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())
