"""Training: one loop for every method, task and backbone."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.training.config import TrainConfig
    from cuecard.training.log import Observer, read_log
    from cuecard.training.lora import LoraSettings
    from cuecard.training.mix import Multitask
    from cuecard.training.space import SweepConfig
    from cuecard.training.train import Run
    from cuecard.training.train_lora import LoraRun
    from cuecard.training.trials import Sweep

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".config": ("TrainConfig",),
        ".log": ("Observer", "read_log"),
        ".lora": ("LoraSettings",),
        ".mix": ("Multitask",),
        ".space": ("SweepConfig",),
        ".train": ("Run",),
        ".train_lora": ("LoraRun",),
        ".trials": ("Sweep",),
    },
)

__all__ = [
    "LoraRun",
    "LoraSettings",
    "Multitask",
    "Observer",
    "Run",
    "Sweep",
    "SweepConfig",
    "TrainConfig",
    "read_log",
]
