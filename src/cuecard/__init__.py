"""cuecard: adapt one frozen language model to many tasks with prompts of a few kilobytes.

import cuecard

backbone = cuecard.load_backbone("smollm2-135m-instruct")
task = cuecard.Task.from_file("reviews.csv", template="Review: {text}\\nSentiment:")
run = cuecard.train(backbone, task, cuecard.PromptTuning(length=20, init="text"))
run.prompt.save("reviews")
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cuecard.artifacts import Prompt, SharedPrompt, export, import_npy, import_peft
    from cuecard.backbones import CausalBackbone, MaskedBackbone, Seq2SeqBackbone
    from cuecard.errors import CuecardError
    from cuecard.evaluation.embedding import embed
    from cuecard.evaluation.evaluate import Evaluation, evaluate
    from cuecard.evaluation.predict import predict
    from cuecard.methods import (
        METHODS,
        MPT,
        DeepPrompts,
        DePT,
        PrefixTuning,
        PromptTuning,
        PTuning,
        PTuningV2,
        ResidualPromptTuning,
        Wayward,
    )
    from cuecard.names import data_source, load_backbone
    from cuecard.recipe import Recipe, run_recipe
    from cuecard.sweep_recipe import SweepRecipe, run_sweep
    from cuecard.tasks import Task, TaskSpec
    from cuecard.training import (
        LoraRun,
        LoraSettings,
        Multitask,
        Proof,
        Run,
        Sweep,
        SweepConfig,
        TrainConfig,
        answer,
        multitask,
        prove,
        sweep,
        train,
        train_lora,
    )
    from cuecard.types import Interval, Prediction, Record

# Where each public name lives. They are imported when they are first used: with torch and
# transformers that takes seconds, which `cuecard --help` need not wait for.
_HOMES = {
    "cuecard.artifacts": (
        "Prompt",
        "SharedPrompt",
        "export",
        "import_npy",
        "import_peft",
    ),
    "cuecard.backbones": ("CausalBackbone", "MaskedBackbone", "Seq2SeqBackbone"),
    "cuecard.errors": ("CuecardError",),
    "cuecard.evaluation.evaluate": (
        "Evaluation",
        "evaluate",
    ),
    "cuecard.evaluation.embedding": ("embed",),
    "cuecard.evaluation.predict": ("predict",),
    "cuecard.methods": (
        "METHODS",
        "MPT",
        "DeepPrompts",
        "DePT",
        "PrefixTuning",
        "PromptTuning",
        "PTuning",
        "PTuningV2",
        "ResidualPromptTuning",
        "Wayward",
    ),
    "cuecard.names": (
        "data_source",
        "load_backbone",
    ),
    "cuecard.recipe": (
        "Recipe",
        "run_recipe",
    ),
    "cuecard.sweep_recipe": (
        "SweepRecipe",
        "run_sweep",
    ),
    "cuecard.tasks": (
        "Task",
        "TaskSpec",
    ),
    "cuecard.training": (
        "LoraRun",
        "LoraSettings",
        "Multitask",
        "Proof",
        "Run",
        "Sweep",
        "SweepConfig",
        "TrainConfig",
        "answer",
        "multitask",
        "prove",
        "sweep",
        "train",
        "train_lora",
    ),
    "cuecard.types": (
        "Interval",
        "Prediction",
        "Record",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = version("cuecard")

__all__ = [
    "METHODS",
    "MPT",
    "CausalBackbone",
    "CuecardError",
    "DePT",
    "DeepPrompts",
    "Evaluation",
    "Interval",
    "LoraRun",
    "LoraSettings",
    "MaskedBackbone",
    "Multitask",
    "PTuning",
    "PTuningV2",
    "Prediction",
    "PrefixTuning",
    "Prompt",
    "PromptTuning",
    "Proof",
    "Recipe",
    "Record",
    "ResidualPromptTuning",
    "Run",
    "Seq2SeqBackbone",
    "SharedPrompt",
    "Sweep",
    "SweepConfig",
    "SweepRecipe",
    "Task",
    "TaskSpec",
    "TrainConfig",
    "Wayward",
    "answer",
    "data_source",
    "embed",
    "evaluate",
    "export",
    "import_npy",
    "import_peft",
    "load_backbone",
    "multitask",
    "predict",
    "prove",
    "run_recipe",
    "run_sweep",
    "sweep",
    "train",
    "train_lora",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
