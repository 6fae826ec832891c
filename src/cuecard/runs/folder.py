"""A run's folder: what kind of run it holds, with which recipe, and which process writes to it.

A folder is used by one process at a time. A recipe is written only once every check has passed, and
as long as the folder holds no results, another recipe may take its place.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from cuecard.artifacts.files import MANIFEST_FILE
from cuecard.errors import ConfigError, TrainingError
from cuecard.folder_lock import LOCK, held
from cuecard.plain_files import write_text
from cuecard.runs.recipe_file import RunRecipe
from cuecard.runs.run_kinds import KINDS, RunKind
from cuecard.settings import flat
from cuecard.tasks.readers.compressed import data_suffix

R = TypeVar("R", bound=RunRecipe)

_DATA_ENDINGS = (
    *(".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", ".conll", ".bio", ".iob"),
)
_MOST_LISTED = 6
_NO_CHANGE = (": (not set) -> None", ": None -> (not set)")


# What `--overwrite` removes: what another run would resume from, or take for its own result.
_STATE = (
    *("checkpoint.pt", "teachers/checkpoint.pt"),
    *("race/checkpoint.pt", "race/lora/checkpoint.pt"),
    *("log.jsonl", "tracking.json", "result.json", "report.json", "report.md"),
    *("report.csv", "report.tex", "compare.csv"),
    *("journal.jsonl", "judge.jsonl", "search.json", "search.md", "prompt.txt", "words.json"),
    *("measure.json", "dataset.jsonl", "optimise.json", "extract_graph.txt"),
    *("compare.json", "compare.md", "compare.html", "compare.tex", "compare.svg"),
    *("learning-curve.svg", "score-by-bytes.svg", "score-by-cpu.svg", "score-by-tokens.svg"),
    *("questions.jsonl", "teacher.jsonl", "advice.json"),
)
_FOLDERS = ("tensorboard",)


class RunFolder(Generic[R]):
    """A folder for a run of one kind.

    Args:
        path: where; it need not exist.
        recipe: the class of the kind's recipes.
    """

    def __init__(self, path: Path, recipe: type[R]) -> None:
        self.path, self._recipe, self._kind = path, recipe, recipe.KIND

    @classmethod
    def of(cls, recipe: R) -> RunFolder[R]:
        """The folder that a recipe names."""
        return cls(recipe.folder, type(recipe))

    @property
    def file(self) -> Path:
        """Where the recipe is."""
        return self.path / self._kind.file

    @property
    def resume_command(self) -> str:
        """What resumes the run."""
        return f"{self._kind.command} --resume {shlex.quote(str(self.path))}"

    def check(self, recipe: R, *, overwrite: bool = False) -> None:
        """Refuse, and change nothing, where `claimed` would.

        Raises:
            ConfigError: the folder is a file, or holds another run.
            TrainingError: another process uses it.
        """
        self._check_place()
        if (self.path / LOCK).is_file():
            with held(self.path):
                pass
        if not overwrite:
            self._check_settings(recipe)

    @contextmanager
    def claimed(
        self,
        recipe: R,
        *,
        overwrite: bool = False,
        fits: Callable[[Path], object] = lambda path: None,
    ) -> Iterator[Path]:
        """Hold the folder, with the recipe in it. Call it once every other check has passed.

        Args:
            recipe: what an earlier run in the folder must have been started with.
            overwrite: start again where the folder holds another run of this kind.
            fits: checks what else the folder holds; called before anything is written.

        Raises:
            ConfigError: the folder is a file, or holds another run.
            FileError: it cannot be written.
            TrainingError: another process uses it.
        """
        self._check_place()
        with held(self.path):
            if overwrite:
                for name in (*_STATE, self._kind.file):
                    (self.path / name).unlink(missing_ok=True)
                for name in (*_FOLDERS, *self._kind.folders):
                    shutil.rmtree(self.path / name, ignore_errors=True)
            self._check_settings(recipe)
            fits(self.path)
            write_text(recipe.to_yaml(), self.file)
            yield self.path

    def to_resume(self) -> R:
        """The recipe of the run in the folder.

        Raises:
            TrainingError: the folder holds no run of this kind, or the working directory is not
                that in which the run was started.
            ConfigError: a recipe that cannot be read.
        """
        self._must_exist()
        recipe = self._recipe.read(self.file).in_folder(self.path)
        self._must_find(recipe.paths)
        return recipe

    def report(self, key: str, prompts: Iterable[str]) -> dict[str, Any] | None:
        """The report of the finished run in the folder; None where it is of something else.

        Args:
            key: what its report has as `key`: a digest of all that the run depends on.
            prompts: the folders, in the run's, of what it must have left.
        """
        try:
            found = json.loads((self.path / self._kind.done).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = all((self.path / prompt / MANIFEST_FILE).is_file() for prompt in prompts)
        return found if whole and isinstance(found, dict) and found.get("key") == key else None

    def _must_exist(self) -> None:
        if self.file.is_file():
            return
        other = self._other()
        raise TrainingError(
            f"there is no {self._kind.name} to resume",
            where=str(self.path),
            got=self._what_is_there(other),
            expected=f"the folder of a {self._kind.name}",
            hint=None
            if other is None
            else f"{other.command} --resume {shlex.quote(str(self.path))}",
        )

    def _must_find(self, paths: Iterable[str]) -> None:
        """Refuse a relative path that leads nowhere from here, and somewhere from above the folder.

        A path that leads nowhere at all is refused if it is a file's by its ending.
        """
        for name in paths:
            if Path(name).is_absolute() or Path(name).exists():
                continue
            above = next((p for p in self.path.resolve().parents if (p / name).exists()), None)
            if above is None and data_suffix(name) not in _DATA_ENDINGS:
                continue
            raise TrainingError(
                "a file of the run was not found: its path is relative to another directory",
                where=str(self.file),
                got=name,
                expected="the working directory "
                + ("in which the run was started" if above is None else str(above)),
                hint=None if above is None else f"cd {shlex.quote(str(above))}",
            )

    def _what_is_there(self, other: RunKind | None) -> str:
        if other is not None:
            return f"a {other.name}"
        if not self.path.exists():
            return "no such folder"
        return f"no {self._kind.file} in it" if self.path.is_dir() else "a file"

    def _other(self) -> RunKind | None:
        """The kind of run that the folder holds, if it is not this one."""
        others = (kind for kind in KINDS if kind is not self._kind)
        return next((kind for kind in others if (self.path / kind.file).is_file()), None)

    def _check_place(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(
                f"the {self._kind.name}'s folder is a file",
                where=str(self.path),
                expected=f"a new name: {self._kind.out}",
            )
        other = self._other()
        if other is not None:
            raise ConfigError(
                f"the folder holds a {other.name}",
                where=str(self.path),
                got=other.file,
                expected="a folder of its own",
                hint=f"choose another folder: {self._kind.out}",
            )

    def _check_settings(self, recipe: R) -> None:
        if not self.file.is_file():
            return
        if not any((self.path / name).exists() for name in self._kind.results):
            return  # nothing was trained with the recipe that is there
        before = self._recipe.read(self.file).model_dump(mode="json")
        changed = differences(before, recipe.model_dump(mode="json"), self._kind.free)
        if changed:
            # A section that was left out, or given, has settings that are None.
            telling = [one for one in changed if not one.endswith(_NO_CHANGE)] or changed
            raise ConfigError(
                f"the folder holds a {self._kind.name} with other settings",
                where=str(self.path),
                got="; ".join(telling[:_MOST_LISTED])
                + (f"; and {len(telling) - _MOST_LISTED} more" if telling[_MOST_LISTED:] else ""),
                expected="the settings it was started with, or a folder of its own",
                hint=f"choose another folder ({self._kind.out}), resume that run with "
                f"{self.resume_command}, or start again with --overwrite",
            )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """Which settings differ, each as "name: old -> new", in their order.

    Args:
        free: dotted names that are not compared; "*" is any one part of a name.
    """
    old, new = (dict(flat(values)) for values in (before, now))
    return [
        f"{name}: {_value(old, name)} -> {_value(new, name)}"
        for name in [*new, *(name for name in old if name not in new)]
        if not is_free(name, free) and old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


_ABSENT = object()


def _value(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "(not set)"


def is_free(name: str, free: Collection[str]) -> bool:
    """Whether a setting is one of those by their dotted names, or below one; see `differences`."""
    parts = name.split(".")
    return any(
        len(pattern) <= len(parts)
        and all(p in ("*", part) for p, part in zip(pattern, parts, strict=False))
        for pattern in (one.split(".") for one in free)
    )
