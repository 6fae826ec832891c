"""A prompt folder's manifest, read and checked without its tensors, and so without torch."""

from __future__ import annotations

from pathlib import Path

from cuecard.artifacts.checks import check_names, check_peft_file, check_task
from cuecard.artifacts.files import MANIFEST_FILE
from cuecard.artifacts.manifest import Manifest
from cuecard.artifacts.safetensors_file import MAX_JSON_BYTES, read_plain_file


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder that `Prompt.save` made.

    Raises:
        ArtifactError: anything missing, altered, malformed or out of bounds.
    """
    path = str(folder / MANIFEST_FILE)
    manifest = Manifest.from_bytes(read_plain_file(folder, MANIFEST_FILE, MAX_JSON_BYTES), path)
    check_task(manifest, path)
    check_names(manifest, path)
    check_peft_file(manifest, folder)
    return manifest
