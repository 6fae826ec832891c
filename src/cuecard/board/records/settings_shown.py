"""A run's settings beside the defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cuecard.runs.recipe_command import usual_settings
from cuecard.settings import flat


@dataclass(frozen=True)
class Setting:
    """A setting of a run.

    Attributes:
        key: its dotted name.
        value, default: as text; no default where it is not known.
        changed: whether it is another than the default.
    """

    key: str
    value: str
    default: str
    changed: bool


def settings_shown(values: Mapping[str, Any]) -> list[Setting]:
    """All settings, those that were changed first.

    Args:
        values: of a training, or of a run around one. Those of the training alone have defaults
            here; the others are shown as changed.
    """
    inner = values.get("recipe")
    if isinstance(inner, Mapping):
        around = {key: value for key, value in values.items() if key != "recipe"}
        own = [
            Setting(key, _shown(value), "", changed=value is not None)
            for key, value in flat(around)
        ]
        found = [*own, *settings_shown(inner)]
        return sorted(found, key=lambda setting: not setting.changed)
    usual = usual_settings(values)
    found = [
        Setting(
            key,
            _shown(value),
            _shown(usual[key]) if key in usual else "",
            changed=bool(usual) and (key not in usual or usual[key] != value),
        )
        for key, value in flat(values)
    ]
    return sorted(found, key=lambda setting: not setting.changed)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
