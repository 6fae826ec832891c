"""The section of a recipe that says what is trained: a method with its settings, or a race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.methods import METHODS, MethodSettings, PromptTuning, method_settings
from cuecard.methods.attempt import no_sources
from cuecard.methods.prefix_start import PrefixSettings
from cuecard.methods.settings import UNREAD
from cuecard.methods.start import META
from cuecard.runs.recipe_sections import TaskRecipe
from cuecard.training.trainables.own_rate import check_one_rate, own_rate

if TYPE_CHECKING:
    from torch import Tensor

    from cuecard.artifacts import Prompt
    from cuecard.artifacts.manifest import Manifest
    from cuecard.types import Backbone

# Settings of every method: all of them stand where a recipe was written out.
_WRITTEN = {"slot", "length", "init", "text", "prompt"}
# Settings that are tensors, which a recipe has as folders.
_FOLDERS = ("prompt", "sources")

AUTO = "auto"
"""In place of a method's name: methods race on the validation rows, and the best one is trained."""


def with_method(values: Any, unnamed: str | None = None) -> Any:
    """A recipe's values with the name of its method; as they are if they have one.

    Args:
        values: what may be a mapping, not yet checked.
        unnamed: what is trained where they name none; by default auto, but prompt tuning where they
            set what a race sets itself.
    """
    method = values.get("method") if isinstance(values, Mapping) else None
    method = {} if method is None else method
    if not isinstance(values, Mapping) or not isinstance(method, Mapping) or "name" in method:
        return values
    if unnamed is None:
        unnamed = PromptTuning.name if _sets_a_method(values, method) else AUTO
    return {**values, "method": {"name": unnamed, **method}}


def without_race(values: Any) -> Any:
    """A recipe's values, with label words where a method is named and no head.

    In a race alone a head may stand beside them.
    """
    method = values.get("method") if isinstance(values, Mapping) else None
    if not isinstance(method, Mapping) or method.get("name") == AUTO:
        return values
    task = values.get("task", {})
    if isinstance(task, TaskRecipe):
        return {**values, "task": task.without_race}
    if isinstance(task, Mapping) and task.get("head", "auto") == "auto":
        return {**values, "task": {**task, "head": "none"}}
    return values


def _sets_a_method(values: Mapping[str, Any], method: Mapping[str, Any]) -> bool:
    """Whether a recipe has settings that suit one method, or few rows, and no budget."""
    training = values.get("training")
    if isinstance(training, BaseModel):
        training = training.model_dump()
    given = training if isinstance(training, Mapping) else {}
    if given.get("budget") is not None:
        return False
    own = any(value is not None for value in method.values())
    rate = given.get("lr") is not None or given.get("optimizer", "adamw") != "adamw"
    data = values.get("data")
    data = data.model_dump() if isinstance(data, BaseModel) else data
    few = isinstance(data, Mapping) and data.get("shots") is not None
    return own or rate or few


def complete_method(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every default written out, but the learning rate's, which `training.lr` may replace.

    Raises:
        ConfigError: an unknown method or setting, with the nearest one.
    """
    if values.get("name") == AUTO:
        return _auto(values)
    start = values.get("prompt")
    if start is not None and not isinstance(start, str):
        raise ConfigError(
            "the prompt to start from is not a folder",
            where="the recipe, method.prompt",
            got=repr(start),
            expected="a prompt's or a run's folder",
        )
    method = _settings_of(values)
    sources = {"sources": _sources(values)} if "sources" in type(method).model_fields else {}
    written, rate = method.model_dump(mode="json"), method.rate or ""
    # cuecard 0.1 wrote out the rate's default too, which nobody had chosen.
    if rate not in values or (values.keys() >= _WRITTEN and _default_rate(method)):
        written.pop(rate, None)
    return {"name": method.name, **written, "prompt": start, **sources}


def _sources(values: Mapping[str, Any]) -> list[str]:
    """The folders of the source prompts of a method that mixes such.

    Raises:
        ConfigError: none, or something else than folders.
    """
    found = values.get("sources")
    if not found:
        raise no_sources()
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise ConfigError(
            "the source prompts are not folders",
            where="the recipe, method.sources",
            got=repr(found),
            expected="a list of prompts' or runs' folders",
        )
    return [*found]


def read_method(method: Mapping[str, Any]) -> MethodSettings:
    """A recipe's method, with the numbers of the prompt to start from.

    Raises:
        ArtifactError: that prompt cannot be read.
        ConfigError: settings that contradict each other.
    """
    given = {"name", *_FOLDERS}
    settings = {name: value for name, value in method.items() if name not in given}
    if method["prompt"] is not None:
        settings |= _start(method)
    if "sources" in method:
        settings["sources"] = source_prompts(method["sources"])
    return method_settings(method["name"], settings, "the recipe, method")


def _start(method: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the prompt to start from makes: a learnt start, tasks' shared one, ..."""
    from cuecard.artifacts import Prompt, SharedPrompt, shared_folder  # noqa: PLC0415
    from cuecard.artifacts.meta_init import MetaInit  # noqa: PLC0415
    from cuecard.artifacts.tensors import DECODER_NAME  # noqa: PLC0415

    start = method["prompt"]
    if method.get("init") == META:
        return {"prompt": MetaInit.load(start).vectors}
    shared = shared_folder(start)
    if shared is not None:
        return {"prompt": SharedPrompt.load(shared).start()}
    prompt = Prompt.load(prompt_folder(start))
    if not prompt.tensors:
        return {"init": "text", "text": _words_of(prompt, start)}
    _check_start_from(prompt.manifest, method["name"], start)
    found: dict[str, Any] = {"prompt": prompt.vectors}
    if DECODER_NAME in prompt.tensors and method.get("decoder_length"):
        found["decoder_prompt"] = prompt.tensors[DECODER_NAME]
    return found


def source_prompts(folders: Sequence[str]) -> Tensor:
    """[S, P, H] the vectors of trained prompts.

    Raises:
        ArtifactError: one cannot be read.
        ConfigError: one is not vectors among the input alone, or has another size than the first.
    """
    from cuecard.artifacts import Prompt  # noqa: PLC0415

    found: list[Tensor] = []
    for folder in folders:
        prompt = Prompt.load(prompt_folder(folder))
        shape = tuple(prompt.vectors.shape)
        if not prompt.is_plain or (found and shape != found[0].shape):
            raise ConfigError(
                "a prompt cannot be mixed with the others",
                where=f"method.sources, {folder}",
                got=f"{prompt.manifest.method}, shape {shape}",
                expected="vectors among the input, as many as the first source prompt has",
            )
        found.append(prompt.vectors)
    return torch.stack(found)


def prompt_folder(path: str | Path) -> Path:
    """The prompt's folder of a run, or the path itself."""
    inner = Path(path) / "prompt"
    return inner if (inner / "prompt.json").is_file() else Path(path)


def _words_of(prompt: Prompt, start: str) -> str:
    """What a prompt without vectors, such as one that a search found, says before every record.

    Raises:
        ConfigError: it says nothing there.
    """
    from cuecard.search.words.saved_words import words_in_front  # noqa: PLC0415

    words = words_in_front(prompt)
    if not words.strip():
        raise ConfigError(
            "the prompt to start from has no vectors, and no words in front of a record",
            where="method.prompt",
            got=start,
            expected="a trained prompt, or a search's that found an instruction or demonstrations",
        )
    return words


def check_start_is_of(backbone: Backbone, method: Mapping[str, Any]) -> None:
    """
    Raises:
        ArtifactError: the learnt start or a source prompt that the method has cannot be read.
        WrongBackboneError: it is another backbone's.
    """
    start = method["prompt"]
    if method.get("init") == META and start is not None:
        from cuecard.artifacts.meta_init import MetaInit  # noqa: PLC0415

        MetaInit.load(start).check(backbone, str(start))
    for folder in method.get("sources", ()):
        from cuecard.artifacts import Prompt, check_backbone  # noqa: PLC0415

        check_backbone(Prompt.load(prompt_folder(folder)).manifest.backbone, backbone, folder)


def _check_start_from(manifest: Manifest, method: str, folder: str) -> None:
    """
    Args:
        manifest: of the prompt in the folder that the method is to start from.

    Raises:
        ConfigError: keys and values, for a method of vectors, or vectors that an input completes.
    """
    from cuecard.artifacts.tensors import MIX_SOURCES  # noqa: PLC0415

    if MIX_SOURCES in manifest.tensors:
        raise ConfigError(
            "a mix of prompts is no start: its own vectors are a part of it",
            where="method.prompt",
            got=f"{folder}, trained by {manifest.method}",
            expected="a prompt of vectors, such as one of those that it mixes",
        )
    keyed = manifest.injection.endswith("prefix-kv")
    if keyed and not issubclass(METHODS[method], PrefixSettings):
        raise ConfigError(
            f"{method} does not start from keys and values",
            where="method.prompt",
            got=f"{folder}, trained by {manifest.method}",
            expected="a prompt of vectors, or the method that trained this one",
            hint=f"--method {manifest.method} --slot {manifest.slot}",
        )


def check_rate(method: dict[str, Any], lr: float | Literal["auto"] | None) -> None:
    """Leave the method's own rate out where it is its default.

    Args:
        lr: the training's.

    Raises:
        ConfigError: the method and the training are given two rates.
    """
    settings = _settings_of(method)
    check_one_rate(settings, lr)
    if settings.rate in method and _default_rate(settings):
        del method[settings.rate]  # or the recipe would read like one of cuecard 0.1


def _auto(given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        ConfigError: settings of a method that is not known yet.
    """
    own = [name for name, value in given.items() if name != "name" and value is not None]
    if own:
        raise ConfigError(
            "auto chooses the method's settings itself",
            where=f"method.{own[0]}",
            got=repr(given[own[0]]),
            expected="no settings, or a method by its name",
            hint="--method p-tuning-v2 or another one of `cuecard methods`",
        )
    return {"name": AUTO, "prompt": None}


def _settings_of(method: Mapping[str, Any]) -> MethodSettings:
    """A recipe's method, without the numbers of the prompt to start from.

    Raises:
        ConfigError: an unknown method or setting, with the nearest one.
    """
    given = {name: value for name, value in method.items() if name not in ("name", "prompt")}
    given |= {name: UNREAD for name in _FOLDERS if method.get(name) is not None}
    name = method.get("name", PromptTuning.name)
    return method_settings(name, given, "the recipe, method", others=(AUTO,))


def _default_rate(method: MethodSettings) -> bool:
    """Whether the method's own learning rate is its default."""
    return own_rate(method) == own_rate(type(method).model_construct())
