"""Training: one loop for every method, task and backbone."""

from cuecard.training.answer import answer
from cuecard.training.config import TrainConfig
from cuecard.training.log import Observer, read_log
from cuecard.training.lora import LoraSettings
from cuecard.training.mix import Multitask
from cuecard.training.multitask import multitask
from cuecard.training.prove import Proof, prove
from cuecard.training.space import SweepConfig
from cuecard.training.sweep import sweep
from cuecard.training.train import Run, train
from cuecard.training.train_lora import LoraRun, train_lora
from cuecard.training.trials import Sweep

__all__ = [
    "LoraRun",
    "LoraSettings",
    "Multitask",
    "Observer",
    "Proof",
    "Run",
    "Sweep",
    "SweepConfig",
    "TrainConfig",
    "answer",
    "multitask",
    "prove",
    "read_log",
    "sweep",
    "train",
    "train_lora",
]
