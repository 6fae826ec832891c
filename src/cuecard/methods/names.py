"""The methods by name. A new one is a file beside this one and a line in `_BUILT_IN`.

A method of another package is an entry point in the group `cuecard.methods`: its name = its
settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from cuecard.errors import ConfigError
from cuecard.methods.around_labels.cocoop import CoCoOp
from cuecard.methods.around_labels.coop import CoOp
from cuecard.methods.around_labels.maple import MaPLe
from cuecard.methods.around_labels.promptsrc import PromptSRC
from cuecard.methods.attempt import ATTEMPT
from cuecard.methods.deep_prompts import DeepPrompts
from cuecard.methods.dept import DePT
from cuecard.methods.mpt import MPT
from cuecard.methods.p_tuning import PTuning
from cuecard.methods.p_tuning_v2 import PTuningV2
from cuecard.methods.prefix_tuning import PrefixTuning
from cuecard.methods.prompt_tuning import PromptTuning
from cuecard.methods.residual import ResidualPromptTuning
from cuecard.methods.settings import MethodSettings
from cuecard.methods.wayward import Wayward
from cuecard.plugins import PluginMapping
from cuecard.settings import parse_settings

_BUILT_IN: dict[str, type[MethodSettings]] = {
    "prompt-tuning": PromptTuning,
    "p-tuning": PTuning,
    "residual": ResidualPromptTuning,
    "dept": DePT,
    "mpt": MPT,
    "attempt": ATTEMPT,
    "wayward": Wayward,
    "prefix-tuning": PrefixTuning,
    "p-tuning-v2": PTuningV2,
    "deep-prompts": DeepPrompts,
    "coop": CoOp,
    "cocoop": CoCoOp,
    "maple": MaPLe,
    "promptsrc": PromptSRC,
}


def _offered(name: str, found: Any) -> type[MethodSettings]:
    """A method of an installed package.

    Raises:
        TypeError: it is not one, or its settings have no defaults.
        ValueError: it is called otherwise.
    """
    if not (isinstance(found, type) and issubclass(found, MethodSettings)):
        raise TypeError("a method is a subclass of cuecard.methods.MethodSettings")
    if found.name != name:
        raise ValueError(f"its settings are called {found.name!r}")
    found()  # the table of methods is made of defaults
    return found


METHODS: PluginMapping[type[MethodSettings]] = PluginMapping(
    "cuecard.methods", "method", _BUILT_IN, _offered
)
"""Name -> settings."""


def method_settings(
    name: str,
    settings: Mapping[str, Any],
    where: str = "method",
    others: Sequence[str] = (),
) -> MethodSettings:
    """A method's settings by its name.

    Args:
        where: what to call the source in an error.
        others: what may stand there, too.

    Raises:
        ConfigError: an unknown method or setting, with the nearest one, or a value that does not
            fit.
    """
    if name not in METHODS:
        known = (*sorted(METHODS), *others)
        near = get_close_matches(str(name).lower().replace("_", "-"), known, 1, 0.5)
        raise ConfigError(
            "unknown method",
            where=where,
            got=name,
            expected=", ".join(known),
            hint=f"did you mean {near[0]}?" if near else None,
        )
    return parse_settings(METHODS[name], settings, f"{where} ({name})")
