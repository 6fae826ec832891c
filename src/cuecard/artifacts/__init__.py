"""Saved prompts: checked when they are loaded, bound to a backbone to be asked."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.artifacts.export import FORMS
    from cuecard.artifacts.importing import import_npy, import_peft
    from cuecard.artifacts.manifest import SCHEMA_VERSION, Manifest
    from cuecard.artifacts.prompt import Prompt
    from cuecard.artifacts.prompt_backbone import check_backbone
    from cuecard.artifacts.shared import SharedPrompt, shared_folder

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".export": ("FORMS",),
        ".prompt_backbone": ("check_backbone",),
        ".manifest": ("Manifest", "SCHEMA_VERSION"),
        ".importing": ("import_npy", "import_peft"),
        ".prompt": ("Prompt",),
        ".shared": ("SharedPrompt", "shared_folder"),
    },
)

__all__ = [
    "FORMS",
    "SCHEMA_VERSION",
    "Manifest",
    "Prompt",
    "SharedPrompt",
    "check_backbone",
    "import_npy",
    "import_peft",
    "shared_folder",
]
