"""Options of an LLM that a command asks."""

from __future__ import annotations

from cuecard.cli.fields import Flag
from cuecard.training.sweeps.space import parse_values


def llm_flags(model: Flag, section: str = "llm", prefix: str = "--llm") -> dict[str, Flag]:
    """Those of one LLM.

    Args:
        model: what it is chosen by.
        section: its key in the settings.
        prefix: what its other flags begin with.
    """
    return {
        f"{section}.model": model,
        f"{section}.url": Flag(f"{prefix}-url", metavar="URL"),
        f"{section}.price": Flag(f"{prefix}-price", metavar="READ,WRITTEN", read=parse_values),
        f"{section}.at_once": Flag(f"{prefix}-at-once"),
        f"{section}.seconds": Flag(f"{prefix}-seconds"),
    }
