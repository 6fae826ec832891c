"""What is trained: a file per method, and the one mapping from name to settings."""

from cuecard.methods.prompt_tuning import PromptTuning, SoftPrompt

METHODS: dict[str, type[PromptTuning]] = {"prompt-tuning": PromptTuning}

__all__ = ["METHODS", "PromptTuning", "SoftPrompt"]
