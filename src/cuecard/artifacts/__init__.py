"""Prompt artefacts: kilobytes that are checked before they are believed."""

from cuecard.artifacts.export import FORMS, export
from cuecard.artifacts.fingerprints import check_backbone
from cuecard.artifacts.manifest import SCHEMA_VERSION, Manifest
from cuecard.artifacts.npy_form import import_npy
from cuecard.artifacts.peft_form import import_peft
from cuecard.artifacts.prompt import Prompt
from cuecard.artifacts.shared import SharedPrompt, shared_folder

__all__ = [
    "FORMS",
    "SCHEMA_VERSION",
    "Manifest",
    "Prompt",
    "SharedPrompt",
    "check_backbone",
    "export",
    "import_npy",
    "import_peft",
    "shared_folder",
]
