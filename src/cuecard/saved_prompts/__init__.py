"""Saved prompts, wherever they lie: in a run, in a folder of their own, or in a registry."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.saved_prompts.finding import SavedPrompt, find_prompt, load_prompt
    from cuecard.saved_prompts.library import prompt_library
    from cuecard.saved_prompts.loaded import LoadedPrompt, load
    from cuecard.saved_prompts.own_backbone import load_own_backbone

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".finding": ("SavedPrompt", "find_prompt", "load_prompt"),
        ".library": ("prompt_library",),
        ".loaded": ("LoadedPrompt", "load"),
        ".own_backbone": ("load_own_backbone",),
    },
)

__all__ = [
    "LoadedPrompt",
    "SavedPrompt",
    "find_prompt",
    "load",
    "load_own_backbone",
    "load_prompt",
    "prompt_library",
]
