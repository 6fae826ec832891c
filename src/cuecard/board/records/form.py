"""A recipe as a form: a field for each setting, and what was filled in as a recipe's values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cuecard.catalogue import BACKBONES
from cuecard.errors import ConfigError
from cuecard.methods import METHODS, PromptTuning
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_method import AUTO
from cuecard.settings import alternatives, setting_of
from cuecard.tasks.kinds import KINDS

Widget = Literal["text", "area", "number", "choice", "suggest"]
_TITLES = {
    "data": "Data",
    "task": "Task",
    "backbone": "Backbone",
    "dtype": "Backbone",
    "quantize": "Backbone",
    "adapter": "Backbone",
    "device": "Backbone",
    "method": "Method",
}
_REST = "Training"
# What most people set, in this order; the rest is folded away.
MAIN = (
    "data.path",
    "data.text_field",
    "data.label_field",
    "task.kind",
    "task.template",
    "backbone",
    "method.name",
    "training.budget",
    "training.steps",
    "training.lr",
)
PREVIEWED = (
    "data.path",
    "data.text_field",
    "data.label_field",
    "task.kind",
    "task.template",
    "task.labels",
    "data.validation",
    "data.test",
    "data.split_field",
    "data.group_field",
    "data.limit",
)
"""The settings that say what the rows are."""
_MOST = 20_000  # characters of a field


@dataclass(frozen=True)
class FormField:
    """A setting in a form.

    Attributes:
        key: its dotted name, which is the field's, too.
        title: the part of the form.
        help: the setting's description.
        default: what it is if nothing is filled in, as text.
        widget: how it is asked for.
        choices: what there is to choose or suggested.
    """

    key: str
    title: str
    help: str
    default: str
    widget: Widget
    choices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What the form calls it."""
        section, _, name = self.key.rpartition(".")
        shown = name if (section, name) != ("method", "name") else "method"
        return shown.replace("_", " ")


def form_fields(keys: Iterable[str]) -> list[FormField]:
    """The fields of these settings."""
    return [_form_field(key) for key in keys]


def filled_in(given: Mapping[str, str], keys: Collection[str]) -> dict[str, Any]:
    """A form's texts as a recipe's values, nested; what was left empty is left out.

    Raises:
        ConfigError: a field that there is not, or a text that is too long.
    """
    values: dict[str, Any] = {}
    for key, text in given.items():
        if not text.strip():
            continue
        if key not in keys or len(text) > _MOST:
            raise ConfigError("a field that cannot be used", where=key, got=f"{text[:60]}")
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = _value(key, text)
    return values


def _value(key: str, text: str) -> Any:
    """A field's text as its setting has it, not yet checked."""
    types = _plain(_setting(key))
    if dict in types:
        pairs = [line.partition("=") for line in text.splitlines() if line.strip()]
        return {name.strip(): word.strip() for name, _, word in pairs}
    if tuple in types:
        return [part.strip() for part in text.split(",")]
    # A browser ends lines as a form's encoding has it.
    return text.replace("\r\n", "\n") if key == "task.template" else text.strip()


def _form_field(key: str) -> FormField:
    setting = _setting(key)
    types, choices = _plain(setting), _choices(key, setting)
    default = "" if setting is None or setting.is_required() else _text(setting.default)
    widget: Widget = "text"
    if key == "task.template" or dict in types:
        widget = "area"
    elif key in _SUGGESTED:
        widget = "suggest"
    elif choices:
        widget = "choice"
    elif types and types <= {int, float}:
        widget = "number"
    about = "" if setting is None else setting.description or ""
    title = _TITLES.get(key.partition(".")[0], _REST)
    return FormField(key, title, about, _DEFAULTS.get(key, default), widget, choices)


_SUGGESTED = {"backbone": tuple(BACKBONES)}
_DEFAULTS = {"method.name": AUTO}


def _choices(key: str, setting: FieldInfo | None) -> tuple[str, ...]:
    if key == "method.name":
        return (AUTO, *METHODS)
    if key == "task.kind":
        return tuple(KINDS)
    if key in _SUGGESTED:
        return _SUGGESTED[key]
    found = [] if setting is None else list(alternatives(setting.annotation))
    if found == [bool]:
        return ("true", "false")
    literal = [str(x) for one in found if get_origin(one) is Literal for x in get_args(one)]
    # Where a number or a text may stand beside them, they are no list to choose from.
    return tuple(literal) if all(get_origin(one) is Literal for one in found) else ()


def _setting(key: str) -> FieldInfo | None:
    """A setting of the recipe by its key; None for one that only some methods have."""
    return setting_of(Recipe, key, {"method": PromptTuning})


def _plain(setting: FieldInfo | None) -> set[Any]:
    found = [] if setting is None else list(alternatives(setting.annotation))
    return {get_origin(one) or one for one in found}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return "" if value is None or isinstance(value, dict | BaseModel) else str(value)
