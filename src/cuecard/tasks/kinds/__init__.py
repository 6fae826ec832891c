"""The kinds of tasks: a file each, and the one mapping from name to kind.

A kind of another package is an entry point in the group `cuecard.kinds`: its name = its object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticKnownError

from cuecard.errors import ConfigError
from cuecard.plugins import PluginMapping
from cuecard.tasks.kinds.base import TaskKind
from cuecard.tasks.kinds.classification import CLASSIFICATION
from cuecard.tasks.kinds.embedding import EMBEDDING
from cuecard.tasks.kinds.extractive_qa import EXTRACTIVE_QA
from cuecard.tasks.kinds.image_classification import IMAGE_CLASSIFICATION
from cuecard.tasks.kinds.image_multi_label import IMAGE_MULTI_LABEL
from cuecard.tasks.kinds.image_segmentation import IMAGE_SEGMENTATION
from cuecard.tasks.kinds.multi_label import MULTI_LABEL
from cuecard.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from cuecard.tasks.kinds.regression import REGRESSION
from cuecard.tasks.kinds.tagging import TAGGING
from cuecard.tasks.kinds.text_to_text import TEXT_TO_TEXT
from cuecard.tasks.similar import nearest

_BUILT_IN: dict[str, TaskKind[Any]] = {
    kind.name: kind
    for kind in (
        CLASSIFICATION,
        TEXT_TO_TEXT,
        MULTI_LABEL,
        REGRESSION,
        MULTIPLE_CHOICE,
        TAGGING,
        EXTRACTIVE_QA,
        EMBEDDING,
        IMAGE_CLASSIFICATION,
        IMAGE_MULTI_LABEL,
        IMAGE_SEGMENTATION,
    )
}


def _offered(name: str, found: Any) -> TaskKind[Any]:
    """A kind of an installed package.

    Raises:
        TypeError: it is not one.
        ValueError: it is called otherwise.
    """
    if not isinstance(found, TaskKind):
        raise TypeError("a kind is an object of a subclass of cuecard.TaskKind")
    if found.name != name:
        raise ValueError(f"it is called {found.name!r}")
    return found


KINDS: PluginMapping[TaskKind[Any]] = PluginMapping(
    "cuecard.kinds", "kind of task", _BUILT_IN, _offered
)
"""Name -> kind."""


def register_kind(kind: TaskKind[Any]) -> None:
    """Add a kind of task from outside the package, so that recipes and prompts may name it.

    Raises:
        ConfigError: there is another one of that name.
    """
    KINDS.add(kind.name, kind)


def _find(name: object) -> TaskKind[Any] | None:
    return KINDS.get(name) if isinstance(name, str) else None


def _known(name: str) -> str:
    if _find(name) is None:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, KINDS))})
    return name


KindName = Annotated[str, AfterValidator(_known)]
"""The name of a kind, checked where a setting has it."""


def with_own_settings(model: type[BaseModel], values: Any, usual: str = "") -> Any:
    """A mapping of settings with those of its kind checked, as a "before" validator has to do it.

    Settings that differ from their defaults stay, beside the model's fields. Those of other kinds
    have no effect and are left out.

    Args:
        model: what has the other settings as fields, and allows more beside them.
        usual: the kind where the mapping does not name one.

    Raises:
        ValidationError: settings that no kind has, or of which the value does not fit.
    """
    kind = _find(values.get("kind", usual)) if isinstance(values, Mapping) else None
    if kind is None:
        return values
    fields = model.model_fields
    more = {name: value for name, value in values.items() if name not in fields}
    unknown: list[InitErrorDetails] = [
        {"type": "extra_forbidden", "loc": (name,), "input": value}
        for name, value in more.items()
        if name not in kind.settings.model_fields and name not in own_settings()
    ]
    if unknown:
        raise ValidationError.from_exception_data("task", unknown)
    given = {name: more[name] for name in kind.settings.model_fields if name in more}
    common = {name: value for name, value in values.items() if name in fields}
    return common | kind.settings.model_validate(given).model_dump()


def own_settings() -> dict[str, FieldInfo]:
    """The settings that are some kind's own, by name."""
    kinds = KINDS.values()
    return {name: field for kind in kinds for name, field in kind.settings.model_fields.items()}


def kind_named(name: str) -> TaskKind[Any]:
    """The kind of that name.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if (found := _find(name)) is not None:
        return found
    raise ConfigError(
        "an unknown kind of task",
        where="kind",
        got=name,
        expected=", ".join(KINDS),
        hint=nearest(name, list(KINDS)),
    )
