"""cuecard: adapt one frozen language model to many tasks with trained prompts.

A prompt takes tens to hundreds of kilobytes.

import cuecard

backbone = cuecard.load_backbone("smollm2-135m-instruct")
task = cuecard.Task.from_file("reviews.csv", template="Review: {text}\\nSentiment:")
run = cuecard.train(backbone, task, cuecard.PromptTuning(length=20, init="text"))
run.prompt.save("reviews")

cuecard.load("reviews").predict(["a gob of drivel"])
"""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.artifacts.bound_prompt import BoundPrompt
    from cuecard.artifacts.export import export, peft_config
    from cuecard.artifacts.importing import import_npy, import_peft
    from cuecard.artifacts.prompt import Prompt, answer
    from cuecard.artifacts.shared import SharedPrompt
    from cuecard.backbones.causal import CausalBackbone
    from cuecard.backbones.masked import MaskedBackbone
    from cuecard.backbones.seq2seq import Seq2SeqBackbone
    from cuecard.comparison.prove import Proof, prove
    from cuecard.errors import CuecardError
    from cuecard.evaluation.embedding import embed
    from cuecard.evaluation.ensemble import Ensemble
    from cuecard.evaluation.evaluate import Evaluation, evaluate
    from cuecard.evaluation.measured.advise import advise
    from cuecard.evaluation.predict import predict
    from cuecard.methods.attempt import ATTEMPT
    from cuecard.methods.deep_prompts import DeepPrompts
    from cuecard.methods.dept import DePT
    from cuecard.methods.mpt import MPT
    from cuecard.methods.names import METHODS
    from cuecard.methods.p_tuning import PTuning
    from cuecard.methods.p_tuning_v2 import PTuningV2
    from cuecard.methods.prefix_tuning import PrefixTuning
    from cuecard.methods.prompt_tuning import PromptTuning
    from cuecard.methods.residual import ResidualPromptTuning
    from cuecard.methods.wayward import Wayward
    from cuecard.names import data_source, load_backbone
    from cuecard.runs.compare.measure import measure_and_advise
    from cuecard.runs.compare.recipe import CompareRecipe
    from cuecard.runs.compare.run import run_compare
    from cuecard.runs.compiling.recipe import CompileRecipe
    from cuecard.runs.compiling.run import run_compile
    from cuecard.runs.porting.recipe import PortRecipe
    from cuecard.runs.porting.run import run_port
    from cuecard.runs.recipe import Recipe, run_recipe
    from cuecard.runs.search.recipe import SearchRecipe
    from cuecard.runs.search.run import run_search
    from cuecard.runs.sweeps.collect import collect_sweep
    from cuecard.runs.sweeps.sweep_recipe import SweepRecipe, run_sweep
    from cuecard.runs.transfer_recipe import TransferRecipe, run_transfer
    from cuecard.saved_prompts import LoadedPrompt, load, load_prompt, prompt_library
    from cuecard.tasks.kinds import KINDS, register_kind
    from cuecard.tasks.kinds.base import TaskKind
    from cuecard.tasks.task import Task, TaskSpec
    from cuecard.training.config import TrainConfig
    from cuecard.training.multitask import multitask
    from cuecard.training.multitask_trainer import Multitask
    from cuecard.training.race.auto import auto
    from cuecard.training.race.with_lora import auto_or_lora
    from cuecard.training.run import Run
    from cuecard.training.seeds import SeedRuns, train_seeds
    from cuecard.training.sweep import sweep
    from cuecard.training.sweeps.space import SweepConfig
    from cuecard.training.sweeps.trials import Sweep
    from cuecard.training.train import train
    from cuecard.training.train_lora import LoraRun, train_lora
    from cuecard.training.trainables.lora import LoraSettings
    from cuecard.types import Interval, Prediction, Record
    from cuecard.version import __version__ as __version__

# They are imported when they are first used: with torch and transformers that takes seconds.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".artifacts.export": ("export", "peft_config"),
        ".artifacts.importing": ("import_npy", "import_peft"),
        ".artifacts.bound_prompt": ("BoundPrompt",),
        ".artifacts.prompt": ("Prompt", "answer"),
        ".artifacts.shared": ("SharedPrompt",),
        ".backbones.causal": ("CausalBackbone",),
        ".backbones.masked": ("MaskedBackbone",),
        ".backbones.seq2seq": ("Seq2SeqBackbone",),
        ".errors": ("CuecardError",),
        ".evaluation.embedding": ("embed",),
        ".evaluation.ensemble": ("Ensemble",),
        ".evaluation.evaluate": ("Evaluation", "evaluate"),
        ".evaluation.measured.advise": ("advise",),
        ".evaluation.predict": ("predict",),
        ".methods.attempt": ("ATTEMPT",),
        ".methods.deep_prompts": ("DeepPrompts",),
        ".methods.dept": ("DePT",),
        ".methods.mpt": ("MPT",),
        ".methods.names": ("METHODS",),
        ".methods.p_tuning": ("PTuning",),
        ".methods.p_tuning_v2": ("PTuningV2",),
        ".methods.prefix_tuning": ("PrefixTuning",),
        ".methods.prompt_tuning": ("PromptTuning",),
        ".methods.residual": ("ResidualPromptTuning",),
        ".methods.wayward": ("Wayward",),
        ".names": ("data_source", "load_backbone"),
        ".runs.compare.recipe": ("CompareRecipe",),
        ".runs.compare.measure": ("measure_and_advise",),
        ".runs.compare.run": ("run_compare",),
        ".runs.compiling.recipe": ("CompileRecipe",),
        ".runs.compiling.run": ("run_compile",),
        ".runs.porting.recipe": ("PortRecipe",),
        ".runs.porting.run": ("run_port",),
        ".runs.search.recipe": ("SearchRecipe",),
        ".runs.search.run": ("run_search",),
        ".runs.recipe": ("Recipe", "run_recipe"),
        ".runs.sweeps.collect": ("collect_sweep",),
        ".runs.sweeps.sweep_recipe": ("SweepRecipe", "run_sweep"),
        ".runs.transfer_recipe": ("TransferRecipe", "run_transfer"),
        ".saved_prompts": ("LoadedPrompt", "load", "load_prompt", "prompt_library"),
        ".tasks.kinds": ("KINDS", "register_kind"),
        ".tasks.kinds.base": ("TaskKind",),
        ".tasks.task": ("Task", "TaskSpec"),
        ".training.config": ("TrainConfig",),
        ".training.trainables.lora": ("LoraSettings",),
        ".training.multitask_trainer": ("Multitask",),
        ".training.multitask": ("multitask",),
        ".comparison.prove": ("Proof", "prove"),
        ".training.sweeps.space": ("SweepConfig",),
        ".training.sweep": ("sweep",),
        ".training.race.auto": ("auto",),
        ".training.race.with_lora": ("auto_or_lora",),
        ".training.run": ("Run",),
        ".training.seeds": ("SeedRuns", "train_seeds"),
        ".training.train": ("train",),
        ".training.train_lora": ("LoraRun", "train_lora"),
        ".training.sweeps.trials": ("Sweep",),
        ".types": ("Interval", "Prediction", "Record"),
        ".version": ("__version__",),
    },
)

__all__ = [
    "ATTEMPT",
    "KINDS",
    "METHODS",
    "MPT",
    "BoundPrompt",
    "CausalBackbone",
    "CompareRecipe",
    "CompileRecipe",
    "CuecardError",
    "DePT",
    "DeepPrompts",
    "Ensemble",
    "Evaluation",
    "Interval",
    "LoadedPrompt",
    "LoraRun",
    "LoraSettings",
    "MaskedBackbone",
    "Multitask",
    "PTuning",
    "PTuningV2",
    "PortRecipe",
    "Prediction",
    "PrefixTuning",
    "Prompt",
    "PromptTuning",
    "Proof",
    "Recipe",
    "Record",
    "ResidualPromptTuning",
    "Run",
    "SearchRecipe",
    "SeedRuns",
    "Seq2SeqBackbone",
    "SharedPrompt",
    "Sweep",
    "SweepConfig",
    "SweepRecipe",
    "Task",
    "TaskKind",
    "TaskSpec",
    "TrainConfig",
    "TransferRecipe",
    "Wayward",
    "advise",
    "answer",
    "auto",
    "auto_or_lora",
    "collect_sweep",
    "data_source",
    "embed",
    "evaluate",
    "export",
    "import_npy",
    "import_peft",
    "load",
    "load_backbone",
    "load_prompt",
    "measure_and_advise",
    "multitask",
    "peft_config",
    "predict",
    "prompt_library",
    "prove",
    "register_kind",
    "run_compare",
    "run_compile",
    "run_port",
    "run_recipe",
    "run_search",
    "run_sweep",
    "run_transfer",
    "sweep",
    "train",
    "train_lora",
    "train_seeds",
]
