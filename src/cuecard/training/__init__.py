"""Training: one loop for every method, task and backbone."""

from cuecard.training.config import TrainConfig
from cuecard.training.log import Observer, read_log
from cuecard.training.prove import Proof, prove
from cuecard.training.train import Run, train

__all__ = ["Observer", "Proof", "Run", "TrainConfig", "prove", "read_log", "train"]
