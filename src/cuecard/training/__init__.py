"""Training: one loop for every method, task and backbone."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.training.config import TrainConfig
    from cuecard.training.multitask_trainer import Multitask
    from cuecard.training.run import Run
    from cuecard.training.storage.log import Observer, read_log
    from cuecard.training.sweeps.space import SweepConfig
    from cuecard.training.sweeps.trials import Sweep
    from cuecard.training.train_lora import LoraRun
    from cuecard.training.trainables.lora import LoraSettings

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".config": ("TrainConfig",),
        ".storage.log": ("Observer", "read_log"),
        ".trainables.lora": ("LoraSettings",),
        ".multitask_trainer": ("Multitask",),
        ".sweeps.space": ("SweepConfig",),
        ".run": ("Run",),
        ".train_lora": ("LoraRun",),
        ".sweeps.trials": ("Sweep",),
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
