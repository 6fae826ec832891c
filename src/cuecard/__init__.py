"""cuecard: adapt one frozen language model to many tasks with prompts of a few kilobytes.

import cuecard

backbone = cuecard.load_backbone("smollm2-135m-instruct")
task = cuecard.Task.from_file("reviews.csv", template="Review: {text}\\nSentiment:")
run = cuecard.train(backbone, task, cuecard.PromptTuning(length=20, init="text"))
run.prompt.save("reviews")
"""

from importlib.metadata import version

from cuecard.artifacts import Prompt, export, import_npy, import_peft
from cuecard.backbones import CausalBackbone, Seq2SeqBackbone
from cuecard.errors import CuecardError
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.predict import predict
from cuecard.methods import (
    METHODS,
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
from cuecard.training import Proof, Run, Sweep, SweepConfig, TrainConfig, prove, sweep, train
from cuecard.types import Interval, Prediction, Record

__version__ = version("cuecard")

__all__ = [
    "METHODS",
    "CausalBackbone",
    "CuecardError",
    "DePT",
    "DeepPrompts",
    "Evaluation",
    "Interval",
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
    "Sweep",
    "SweepConfig",
    "SweepRecipe",
    "Task",
    "TaskSpec",
    "TrainConfig",
    "Wayward",
    "data_source",
    "evaluate",
    "export",
    "import_npy",
    "import_peft",
    "load_backbone",
    "predict",
    "prove",
    "run_recipe",
    "run_sweep",
    "sweep",
    "train",
]
