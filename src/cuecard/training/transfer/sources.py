"""Saved prompts that a task's training may start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cuecard.errors import ConfigError
from cuecard.methods import ATTEMPT, MethodSettings
from cuecard.tasks import Task
from cuecard.training.checks import check_words
from cuecard.training.config import TrainConfig
from cuecard.training.transfer.found import USUAL

MIX = ATTEMPT.name
"""What the start that mixes saved prompts is called."""


@dataclass(frozen=True)
class SourcePrompt:
    """A saved prompt as a start.

    Attributes:
        method: settings that start from its numbers.
        shared: whether it is what the tasks of a multitask run share.
        mixed: the names of the saved prompts that it mixes; empty for one by itself.
    """

    method: MethodSettings
    shared: bool = False
    mixed: tuple[str, ...] = ()


def check_transfer(task: Task, config: TrainConfig, sources: Mapping[str, SourcePrompt]) -> None:
    """
    Raises:
        ConfigError: a task that does not answer in words, no one learning rate, or a saved prompt
            with the usual start's name, or that of the mix.
    """
    check_words(
        task.spec,
        "the task",
        "saved prompts cannot be scored on a task that does not answer in words",
        hint="`cuecard nearest` ranks saved prompts; --init-prompt starts from one",
    )
    if config.lr == "auto":
        raise ConfigError(
            "a transfer tries no learning rates", where="lr", got="auto", expected="a number"
        )
    taken = {USUAL: "the usual start", MIX: "the mix of saved prompts"}
    for name, what in taken.items():
        if name in sources and not sources[name].mixed:
            raise ConfigError(
                f"a saved prompt has the name of {what}",
                where="the library",
                got=name,
                expected="another name",
            )
