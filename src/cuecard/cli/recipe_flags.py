"""The flags that say what a recipe says, for every command that takes one."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from cuecard.catalogue import BACKBONES, DATASETS
from cuecard.cli.fields import Fields, Flag, named
from cuecard.cli.options import pairs, unescaped
from cuecard.errors import ConfigError
from cuecard.methods import METHODS, PromptTuning
from cuecard.runs.recipe import Recipe
from cuecard.runs.recipe_file import read_yaml
from cuecard.runs.recipe_method import AUTO, with_method
from cuecard.runs.recipe_sections import DataRecipe, TaskRecipe
from cuecard.tasks.kinds import KINDS
from cuecard.tracking import TRACKERS
from cuecard.training.config import DEFAULT_BUDGET
from cuecard.training.sweeps.space import parse_values
from cuecard.yaml_files import DuplicateKeyError, load_yaml


@dataclass(frozen=True)
class Given:
    """What was given of a recipe.

    Attributes:
        values: the flags' values, nested as the recipe is.
        flags: a setting's key -> what its flag is called; also of --set and --recipe.
        file: the recipe's file.
    """

    values: Mapping[str, Any]
    flags: Mapping[str, str]
    file: Path | None

    def recipe(
        self,
        command: str,
        *,
        unnamed: str | None = PromptTuning.name,
        unused: Collection[str] = (),
    ) -> Recipe:
        """The checked recipe; flags win over the file.

        Args:
            unnamed: the method of one that names none; None where methods may race.
            unused: keys of the file that are nothing to the command, such as "training.budget".

        Raises:
            ConfigError: no data, an unknown key, or a value that does not fit.
        """
        base = {} if self.file is None else read_yaml(self.file, Recipe.model_fields)
        for key in unused:
            base = _without(base, *key.split("."))
        values = with_method(_merged(base, self.values), unnamed)
        data = values.get("data", {})
        # A misspelt key is named rather than missed.
        if (
            isinstance(data, dict)
            and "path" not in data
            and data.keys() <= DataRecipe.model_fields.keys()
        ):
            raise ConfigError(
                "there is no data", where=command, expected="a file, or a recipe with data"
            )
        try:
            where = "the command line" if self.file is None else str(self.file)
            recipe = Recipe.parse(values, where)
        except ConfigError as error:
            raise named(error, self.flags) from error
        self._check_kind(recipe.task.kind)
        return recipe

    def _check_kind(self, kind: str) -> None:
        """Refuse settings of other kinds of task; a file may have them, as older ones do."""
        able = {*TaskRecipe.model_fields, *KINDS[kind].settings.model_fields}
        for name in self.values.get("task", {}).keys() - able:
            having = [each for each, one in KINDS.items() if name in one.settings.model_fields]
            raise ConfigError(
                "a setting that this kind of task does not have",
                where=self.flags.get(f"task.{name}", "--set task"),
                got=f"the kind {kind}",
                expected=f"the kind {' or '.join(having)}",
            )


def value_lists(texts: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """What --grid takes: KEY=VALUE,VALUE texts as the values of each key.

    Raises:
        ConfigError: see `pairs`.
    """
    return {key: parse_values(text) for key, text in pairs(texts, "--grid").items()}


def refuse(flags: Sequence[str], what: str) -> None:
    """For a run that takes its settings from its folder.

    Args:
        flags: what else was given.

    Raises:
        ConfigError: something was given.
    """
    if flags:
        raise ConfigError(
            f"{what} resumes with the settings in its folder",
            where="--resume",
            got=", ".join(flags),
            expected="--resume alone",
        )


class _RecipeFields(Fields):
    """The recipe's own settings, a file of them, and any other by its key."""

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The recipe's flags, with --recipe and --set."""
        parameter = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY, default=None)
        file = typer.Option(
            metavar="FILE", help="A YAML recipe; flags override its settings.", show_default=False
        )
        others = typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of a recipe, such as method.hidden=256. May be repeated.",
            show_default=False,
        )
        data, *more = super().parameters
        return [
            data,
            parameter("recipe", annotation=Annotated[Path | None, file]),
            parameter("others", annotation=Annotated[list[str] | None, others]),
            *more,
        ]

    def take(self, options: dict[str, Any]) -> Given:
        """What was given, with a text or a folder to start from as the init that reads it."""
        file, others = options.pop("recipe"), pairs(options.pop("others") or (), "--set")
        values, flags = self.given(options)
        method = values.get("method", {})
        if "prompt" in method:
            method.setdefault("init", "prompt")
        named = {key: f"--set {key}" for key in others}
        if file is not None:
            named["recipe"] = "--recipe"
        return Given(_merged(_set(others), values), {**named, **flags}, file)


REPORT_TO = Flag(metavar="NAMES", names=lambda _: TRACKERS)
BACKBONE_FLAGS: Mapping[str, Flag] = {
    "backbone": Flag(metavar="NAME", names=lambda _: BACKBONES),
    "dtype": Flag(),
    "quantize": Flag(),
    "adapter": Flag(metavar="FOLDER"),
    "device": Flag(names=lambda _: ("auto", "cpu", "cuda")),
}
"""Which backbone a recipe names, and how it is loaded."""

BACKBONE_TITLES = dict.fromkeys(BACKBONE_FLAGS, "Backbone")

_FLAGS = {
    "data.path": Flag("DATA", names=lambda _: DATASETS, optional=True),
    "data.text_field": Flag(metavar="COLUMN"),
    "data.label_field": Flag(metavar="COLUMN"),
    "task.options_field": Flag(metavar="COLUMN"),
    "data.validation": Flag(metavar="FILE"),
    "data.test": Flag(metavar="FILE"),
    "data.split_field": Flag(metavar="COLUMN"),
    "data.group_field": Flag(metavar="COLUMN"),
    "data.split_seed": Flag(),
    "data.shots": Flag(),
    "data.limit": Flag(),
    "data.held_out_limit": Flag(),
    "data.allow_empty": Flag(metavar="FIELD", repeat=True),
    "task.kind": Flag(metavar="KIND", names=lambda _: KINDS, listed=True),
    "task.head": Flag(),
    "task.template": Flag(read=unescaped),
    "task.labels": Flag(),
    "task.words": Flag("--word", metavar="LABEL=WORD"),
    "task.chat": Flag(),
    "task.max_length": Flag(),
    **BACKBONE_FLAGS,
    "method.name": Flag(
        "--method",
        metavar="NAME",
        help=f"What is trained, see `cuecard methods`.  [default: {PromptTuning.name}]",
        names=lambda _: METHODS,
    ),
    "method.length": Flag(),
    "method.init": Flag(),
    "method.text": Flag("--init-text"),
    "method.prompt": Flag(
        "--init-prompt",
        metavar="FOLDER",
        help="A prompt's or a search's folder to start from; with --init meta a file of "
        "`cuecard meta-init`, by default the one shipped for the backbone.",
        read=str,
    ),
    "method.slot": Flag(),
    "training.steps": Flag(),
    "training.batch_rows": Flag(),
    "training.batch_tokens": Flag(),
    "training.lr": Flag(),
    "training.head_lr": Flag(),
    "training.head_start": Flag(),
    "training.fluency": Flag(),
    "training.optimizer": Flag(),
    "training.loss": Flag(),
    "training.patience": Flag(),
    "training.augment": Flag(metavar="flip,crop,shift"),
    "training.activations": Flag(),
    "training.calibrate": Flag(),
    "training.seed": Flag(),
    "compare": Flag(),
    "report_to": REPORT_TO,
    "out": Flag(metavar="FOLDER"),
}
_SEEDS = {"seeds": Flag(), "keep": Flag()}
# What `cuecard train` alone takes.
_TRAIN = {
    **_FLAGS,
    "method.name": Flag(
        "--method",
        metavar="NAME",
        help="What is trained, see `cuecard methods`; auto lets methods and rates race within "
        f"--budget.  [default: {AUTO}; {PromptTuning.name} with --shots, --length, --init, "
        "--init-text, --init-prompt, --slot, --lr or --optimizer adafactor]",
        names=lambda _: (AUTO, *METHODS),
    ),
    "training.budget": Flag(
        metavar="BUDGET",
        help="What auto may spend on training: CPU time such as 90s, 2m or 1h, or a number of "
        f"steps such as '300 steps'.  [default: --steps if given, else {DEFAULT_BUDGET}]",
    ),
    "allow": Flag(metavar="lora"),
    **_SEEDS,
}
_TITLES = {
    "data": "Data",
    "task": "Task",
    "method": "Method",
    **dict.fromkeys(("training", "allow", *_SEEDS), "Training"),
    **BACKBONE_TITLES,
}

# What those take that train nothing.
_UNTRAINED = {
    key: flag
    for key, flag in _FLAGS.items()
    if key.split(".")[0] not in ("method", "training", "compare") and key != "data.shots"
}

# What advice takes, which only reads the rows unless it measures.
_ADVISE = {
    **{key: flag for key, flag in _UNTRAINED.items() if key.split(".")[0] in ("data", "task")},
    **BACKBONE_FLAGS,
    "out": _FLAGS["out"],
}

RECIPE = _RecipeFields(Recipe, _FLAGS, sections={"method": PromptTuning}, titles=_TITLES)
UNTRAINED = _RecipeFields(Recipe, _UNTRAINED, titles=_TITLES)
ADVISE = _RecipeFields(Recipe, _ADVISE, titles=_TITLES)
TRAIN = _RecipeFields(Recipe, _TRAIN, sections={"method": PromptTuning}, titles=_TITLES)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[name] = _merged(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _without(values: Mapping[str, Any], name: str, *below: str) -> dict[str, Any]:
    """The same mapping without a key, or one that is deeper in it."""
    inner = values.get(name)
    if below:
        return {**values, name: _without(inner, *below)} if isinstance(inner, dict) else {**values}
    return {key: value for key, value in values.items() if key != name}


def _set(others: Mapping[str, str]) -> dict[str, Any]:
    """SECTION.NAME=VALUE texts, nested as the recipe is; values are YAML."""
    found: dict[str, Any] = {}
    for name, text in others.items():
        *sections, last = name.split(".")
        try:
            value = load_yaml(text)
        except (yaml.YAMLError, DuplicateKeyError) as error:
            raise ConfigError(
                "the value is not YAML", where="--set", got=f"{name}={text}", expected="8 or true"
            ) from error
        nested: dict[str, Any] = {last: value}
        for section in reversed(sections):
            nested = {section: nested}
        found = _merged(found, nested)
    return found
