"""A recipe: everything that a run depends on, as a YAML file or flags say it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict

from cuecard.errors import ConfigError
from cuecard.runs.run_kinds import RunKind
from cuecard.settings import parse_settings
from cuecard.validation_text import shown
from cuecard.yaml_files import DuplicateKeyError, load_yaml


class Section(BaseModel):
    """A part of a recipe, in which a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRecipe(Section, ABC):
    """A recipe that one kind of run is started with, and kept in its folder.

    Attributes:
        KIND: the kind of run.
    """

    KIND: ClassVar[RunKind]

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The run's folder."""

    @property
    @abstractmethod
    def paths(self) -> tuple[str, ...]:
        """What may be a path: files, folders, and names of other things."""

    @abstractmethod
    def in_folder(self, folder: Path) -> Self:
        """The same recipe for another folder."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str = "the recipe") -> Self:
        """Check a nested mapping.

        Raises:
            ConfigError: an unknown key, with the nearest valid one, or a value that does not fit.
        """
        return parse_settings(cls, values, where)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read and check a YAML file.

        Raises:
            ConfigError: no such file, a file that is not YAML, an unknown key, or a value that
                does not fit.
        """
        return cls.parse(read_yaml(path, cls.model_fields), str(path))

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def read_yaml(path: str | Path, keys: Collection[str]) -> dict[str, Any]:
    """A YAML file as a nested mapping, not yet checked.

    Args:
        keys: what it may hold, for the error.

    Raises:
        ConfigError: no such file, or a file that is not a YAML mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            "the recipe cannot be read", where=str(path), got=got, expected="a YAML file"
        ) from error
    try:
        found = load_yaml(text)
    except yaml.YAMLError as error:
        got = " ".join(str(error).split())
        raise ConfigError("the recipe is not YAML", where=str(path), got=got) from error
    except DuplicateKeyError as error:
        raise ConfigError(
            "a key is given twice",
            where=f"{path}, line {error.line}",
            got=error.key,
            expected="each key once",
            hint=f"the first one is in line {error.first}: remove one of them",
        ) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise ConfigError(
            "the recipe is not a mapping",
            where=str(path),
            got="nothing" if found is None else shown(found),
            expected=f"keys among {', '.join(sorted(keys))}",
        )
    return found
