"""The command line that says the same as a recipe."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cuecard.errors import CuecardError
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_method import AUTO
from cuecard.runs.recipe_sections import TaskRecipe
from cuecard.settings import flat

# What the other defaults go by, and what it is where it is not named.
_UNSAID = {"method.name": AUTO, "task.kind": TaskRecipe().kind}


def command_of(
    values: Mapping[str, Any],
    flags: Mapping[str, str],
    command: str,
    only: Collection[str] | None = None,
) -> str:
    """The command line that starts a run with these settings; those that are usual are left out.

    Args:
        values: a recipe's.
        flags: a setting's key -> its flag; others are given by --set.
        command: the words in front of the data.
        only: what of the recipe is said; None for all.
    """
    usual = usual_settings(values)
    words: list[str] = []
    for key, value in flat({name: values[name] for name in values if only is None or name in only}):
        same = key in usual and value == _UNSAID.get(key, usual[key])
        if key != "data.path" and not same:
            words += _words(key, value, flags)
    data = values.get("data", {})
    path = data.get("path", "") if isinstance(data, Mapping) else ""
    return shlex.join([*command.split(), str(path), *words])


def _words(key: str, value: Any, flags: Mapping[str, str]) -> Sequence[str]:
    section, _, last = key.rpartition(".")
    if isinstance(value, bool) and key in flags:
        return [flags[key] if value else flags[key].replace("--", "--no-", 1)]
    if section in flags and isinstance(value, str):  # a mapping's entry, such as a label's word
        return [flags[section], f"{last}={value}"]
    told = _typed(key, value) if key in flags else None
    if told is None:
        return ["--set", f"{key}={json.dumps(value, ensure_ascii=False)}"]
    return [f"{flags[key]}={told}"] if told.startswith("-") else [flags[key], told]


def _typed(key: str, value: Any) -> str | None:
    """A value as its flag takes it; None for one that only --set can tell."""
    if isinstance(value, list):
        return _typed(key, value[0]) if len(value) == 1 and "," not in str(value[0]) else None
    if isinstance(value, str) and key == "task.template":
        # A backslash and an n are a line's end there.
        return None if "\\n" in value else value.replace("\n", "\\n")
    return str(value) if isinstance(value, str | int | float) else None


def usual_settings(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the same run would have without a word on its settings; empty where that is unknown."""
    try:
        bare = {
            "data": {"path": values["data"]["path"]},
            "task": {"kind": values["task"]["kind"]},
            "method": {"name": values["method"]["name"]},
        }
        return dict(flat(Recipe.parse(bare).model_dump(mode="json")))
    except (CuecardError, KeyError, TypeError):
        return {}
