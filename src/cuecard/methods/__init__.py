"""What is trained: a file per method, and the one mapping from name to settings."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.methods.around_labels.cocoop import CoCoOp
    from cuecard.methods.around_labels.coop import CoOp
    from cuecard.methods.around_labels.maple import MaPLe
    from cuecard.methods.around_labels.promptsrc import PromptSRC
    from cuecard.methods.around_labels.settings import LabelSettings
    from cuecard.methods.attempt import ATTEMPT
    from cuecard.methods.deep_prompts import DeepPrompts
    from cuecard.methods.dept import DePT
    from cuecard.methods.modules.soft_prompt import SoftPrompt
    from cuecard.methods.modules.task_prompts import TaskPrompts
    from cuecard.methods.mpt import MPT
    from cuecard.methods.names import METHODS, method_settings
    from cuecard.methods.p_tuning import PTuning
    from cuecard.methods.p_tuning_v2 import PTuningV2
    from cuecard.methods.prefix_tuning import PrefixTuning
    from cuecard.methods.prompt_tuning import PromptTuning
    from cuecard.methods.residual import ResidualPromptTuning
    from cuecard.methods.settings import MethodSettings
    from cuecard.methods.wayward import Wayward

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".around_labels.cocoop": ("CoCoOp",),
        ".around_labels.coop": ("CoOp",),
        ".around_labels.maple": ("MaPLe",),
        ".around_labels.promptsrc": ("PromptSRC",),
        ".around_labels.settings": ("LabelSettings",),
        ".attempt": ("ATTEMPT",),
        ".deep_prompts": ("DeepPrompts",),
        ".dept": ("DePT",),
        ".mpt": ("MPT",),
        ".names": ("METHODS", "method_settings"),
        ".p_tuning": ("PTuning",),
        ".p_tuning_v2": ("PTuningV2",),
        ".prefix_tuning": ("PrefixTuning",),
        ".prompt_tuning": ("PromptTuning",),
        ".residual": ("ResidualPromptTuning",),
        ".settings": ("MethodSettings",),
        ".modules.soft_prompt": ("SoftPrompt",),
        ".modules.task_prompts": ("TaskPrompts",),
        ".wayward": ("Wayward",),
    },
)

__all__ = [
    "ATTEMPT",
    "METHODS",
    "MPT",
    "CoCoOp",
    "CoOp",
    "DePT",
    "DeepPrompts",
    "LabelSettings",
    "MaPLe",
    "MethodSettings",
    "PTuning",
    "PTuningV2",
    "PrefixTuning",
    "PromptSRC",
    "PromptTuning",
    "ResidualPromptTuning",
    "SoftPrompt",
    "TaskPrompts",
    "Wayward",
    "method_settings",
]
