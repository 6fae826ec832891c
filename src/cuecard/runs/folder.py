"""A run's folder: what kind of run it holds, with which settings, and which process writes to it.

A folder is used by one process at a time. Settings are written only once every check has passed,
and while the folder holds nothing that a run has come to, other settings may take their place.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cuecard.errors import ConfigError, TrainingError
from cuecard.folder_lock import LOCK, held
from cuecard.plain_files import write_text

_DATA_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".conll", ".bio", ".iob")
_MOST_LISTED = 6


@dataclass(frozen=True)
class RunKind:
    """A kind of run that is kept in a folder.

    Attributes:
        name: what messages call it.
        command: what starts and resumes it.
        file: holds its settings.
        results: files and folders that a run has come to: as long as there is none, nothing is lost
            by other settings.
        free: settings, by their dotted names, that two sittings of a run need not share; a name
            stands for everything below it.
        out: how another folder is chosen.
    """

    name: str
    command: str
    file: str
    results: tuple[str, ...]
    free: frozenset[str]
    out: str = "--out"


# Changed, they change neither what is trained nor a bit of it.
_FREE = frozenset(
    {
        "out",
        "device",
        "compare",
        "demonstrations",
        "task.max_new_tokens",
        "training.activations",
        "training.checkpoint_every",
    }
)
_RESULTS = ("checkpoint.pt", "result.json", "prompt")


def _inside(*sections: str) -> frozenset[str]:
    return frozenset(f"{section}.{name}" for section in sections for name in _FREE)


RUN = RunKind("run", "cuecard train", "recipe.yaml", _RESULTS, _FREE)
SWEEP = RunKind(
    "sweep", "cuecard sweep", "sweep.yaml", ("checkpoint.pt", "best"), _inside("recipe")
)
LORA = RunKind("LoRA run", "cuecard lora", "lora.yaml", (*_RESULTS, "adapter"), _inside("recipe"))
MULTITASK = RunKind(
    "multitask run",
    "cuecard multitask",
    "multitask.yaml",
    ("checkpoint.pt", "teachers/checkpoint.pt", "shared"),
    _FREE | {"tasks.*.task.max_new_tokens"},
    out="out in the recipe",
)
KINDS = (RUN, SWEEP, LORA, MULTITASK)
# What `--overwrite` removes: what another run would go on from, or take for its own result.
_STATE = ("checkpoint.pt", "teachers/checkpoint.pt", "log.jsonl", "result.json", "report.json")


class RunFolder:
    """A folder for a run of one kind.

    Args:
        path: where; it need not exist.
        read: reads the kind's file and completes it with defaults.
    """

    def __init__(self, path: Path, kind: RunKind, read: Callable[[Path], BaseModel]) -> None:
        self.path, self._kind, self._read = path, kind, read

    @property
    def file(self) -> Path:
        """Where the settings are."""
        return self.path / self._kind.file

    def check(self, settings: BaseModel, *, overwrite: bool = False) -> None:
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
            self._check_settings(settings)

    @contextmanager
    def claimed(
        self,
        settings: BaseModel,
        text: str,
        *,
        overwrite: bool = False,
        fits: Callable[[Path], object] = lambda path: None,
    ) -> Iterator[Path]:
        """Hold the folder, with the settings in it. Call it once every other check has passed.

        Args:
            settings: what an earlier run in the folder must have been started with.
            text: the file that says so.
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
            self._check_settings(settings)
            fits(self.path)
            write_text(text, self.file)
            yield self.path

    def must_exist(self) -> None:
        """Refuse to resume where there is nothing to resume.

        Raises:
            TrainingError: the folder holds no run of this kind.
        """
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

    def must_find(self, paths: Iterable[str]) -> None:
        """Refuse to resume in another working directory than that where the run was started.

        Args:
            paths: the files and folders of the run's settings; names of other things may be among
                them.

        Raises:
            TrainingError: a relative path leads nowhere from here, and somewhere from above the
                run's folder, or is a file's by its ending.
        """
        for name in paths:
            if Path(name).is_absolute() or Path(name).exists():
                continue
            above = next((p for p in self.path.resolve().parents if (p / name).exists()), None)
            if above is None and Path(name).suffix not in _DATA_ENDINGS:
                continue
            raise TrainingError(
                "a file of the run is not here: its path begins where the run was started",
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

    def _check_settings(self, settings: BaseModel) -> None:
        if not self.file.is_file():
            return
        if not any((self.path / name).exists() for name in self._kind.results):
            return  # nothing was trained with the settings that stand there
        before = self._read(self.file).model_dump(mode="json")
        changed = differences(before, settings.model_dump(mode="json"), self._kind.free)
        if changed:
            raise ConfigError(
                f"the folder holds a {self._kind.name} with other settings",
                where=str(self.path),
                got="; ".join(changed[:_MOST_LISTED])
                + (f"; and {len(changed) - _MOST_LISTED} more" if changed[_MOST_LISTED:] else ""),
                expected="the settings it was started with, or a folder of its own",
                hint=f"choose another folder ({self._kind.out}), or start again with --overwrite",
            )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """Which settings differ, each as "name: old -> new", in their order.

    Args:
        free: dotted names that are not compared; "*" stands for any one part of a name.
    """
    old, new = (dict(_flat(values)) for values in (before, now))
    return [
        f"{name}: {_told(old, name)} -> {_told(new, name)}"
        for name in [*new, *(name for name in old if name not in new)]
        if not _is_free(name, free) and old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


_ABSENT = object()


def _told(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "(not set)"


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_free(name: str, free: Collection[str]) -> bool:
    parts = name.split(".")
    return any(
        len(pattern) <= len(parts)
        and all(p in ("*", part) for p, part in zip(pattern, parts, strict=False))
        for pattern in (one.split(".") for one in free)
    )
