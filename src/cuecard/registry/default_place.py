"""Where versions are looked up when nobody says."""

import os

DEFAULT_REGISTRY = "prompts"
VARIABLE = "CUECARD_REGISTRY"


def default_registry() -> str:
    """What the variable says, or the folder `prompts` in the working directory."""
    return os.environ.get(VARIABLE) or DEFAULT_REGISTRY
