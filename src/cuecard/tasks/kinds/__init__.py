"""The kinds of tasks: a file each, and the one mapping from name to kind."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticKnownError

from cuecard.errors import ConfigError
from cuecard.tasks.kinds.base import TaskKind
from cuecard.tasks.kinds.classification import CLASSIFICATION
from cuecard.tasks.kinds.embedding import EMBEDDING
from cuecard.tasks.kinds.extractive_qa import EXTRACTIVE_QA
from cuecard.tasks.kinds.multi_label import MULTI_LABEL
from cuecard.tasks.kinds.multiple_choice import MULTIPLE_CHOICE
from cuecard.tasks.kinds.regression import REGRESSION
from cuecard.tasks.kinds.tagging import TAGGING
from cuecard.tasks.kinds.text_to_text import TEXT_TO_TEXT
from cuecard.tasks.similar import nearest

_KINDS: dict[str, TaskKind[Any]] = {
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
    )
}

KINDS: Mapping[str, TaskKind[Any]] = MappingProxyType(_KINDS)
"""Name -> kind."""


def register_kind(kind: TaskKind[Any]) -> None:
    """Add a kind of task from outside the package, so that recipes and prompts may name it.

    Raises:
        ConfigError: there is another one of that name.
    """
    if _KINDS.setdefault(kind.name, kind) is not kind:
        raise ConfigError(
            "there is a kind of task of that name",
            where="kind",
            got=kind.name,
            expected="a new one",
        )


def _known(name: str) -> str:
    if name not in KINDS:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, KINDS))})
    return name


KindName = Annotated[str, AfterValidator(_known)]
"""The name of a kind, checked where a setting has it."""


def kind_named(name: str) -> TaskKind[Any]:
    """The kind of that name.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if name not in KINDS:
        raise ConfigError(
            "an unknown kind of task",
            where="kind",
            got=name,
            expected=", ".join(KINDS),
            hint=nearest(name, list(KINDS)),
        )
    return KINDS[name]
