"""Files that are in the hub's layout already: looked at, and taken as they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from cuecard.catalogue.progress import Progress
from cuecard.errors import CatalogueError


def take_hub_files(files: Sequence[Path], folder: Path, progress: Progress, label: str) -> None:
    """Copy files into `folder` byte for byte.

    Args:
        files: a model's configuration, weights and tokenizer.
        folder: an existing, empty folder.
        progress: called after each file.
        label: what to call the work there.

    Raises:
        CatalogueError: broken JSON or safetensors.
    """
    for done, file in enumerate(files, start=1):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            elif file.suffix == ".safetensors":
                with safe_open(file, "np") as weights:
                    weights.keys()
        except (ValueError, SafetensorError) as error:
            raise CatalogueError(
                "a file of the package cannot be read", where=file.name, got=str(error)
            ) from error
        shutil.copyfile(file, folder / file.name)
        progress(label, done, len(files))
