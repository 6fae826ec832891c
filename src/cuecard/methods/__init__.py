"""What is trained: a file per method, and the one mapping from name to settings."""

from cuecard.methods.deep_prompts import DeepPrompts
from cuecard.methods.dept import DePT
from cuecard.methods.mpt import MPT, TaskPrompts
from cuecard.methods.names import METHODS, method_settings
from cuecard.methods.p_tuning import PTuning
from cuecard.methods.p_tuning_v2 import PTuningV2
from cuecard.methods.prefix_tuning import PrefixTuning
from cuecard.methods.prompt_tuning import PromptTuning, SoftPrompt
from cuecard.methods.residual import ResidualPromptTuning
from cuecard.methods.settings import MethodSettings
from cuecard.methods.wayward import Wayward

__all__ = [
    "METHODS",
    "MPT",
    "DePT",
    "DeepPrompts",
    "MethodSettings",
    "PTuning",
    "PTuningV2",
    "PrefixTuning",
    "PromptTuning",
    "ResidualPromptTuning",
    "SoftPrompt",
    "TaskPrompts",
    "Wayward",
    "method_settings",
]
