"""How similar prompts are: which task to start a new one from (SPoT).

Vu et al., "SPoT: Better Frozen Model Adaptation through Soft Prompt Transfer" (ACL 2022), section
4.2: "cosine similarity of average tokens" and "per-token average cosine similarity". Prompts can
only be compared on one backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.artifacts.files import MANIFEST_FILE
from cuecard.artifacts.prompt import Prompt
from cuecard.errors import ArtifactError, ConfigError
from cuecard.lazy import functional

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Similarity:
    """Two prompts compared.

    Attributes:
        mean: cosine of the two mean vectors.
        pairs: mean cosine over every pair of vectors, one from each prompt.
    """

    mean: float
    pairs: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A saved prompt beside another one."""

    folder: Path
    prompt: Prompt
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class Skipped:
    """A saved prompt that could not be compared, and why."""

    folder: Path
    reason: str


def similarity(first: Tensor, second: Tensor) -> Similarity:
    """Compare the vectors [P, H] and [Q, H] of two prompts.

    Raises:
        ConfigError: vectors of different widths.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ConfigError(
            "these prompts cannot be compared",
            got=f"shapes {tuple(first.shape)} and {tuple(second.shape)}",
            expected="vectors of one width",
        )
    a, b = first.double(), second.double()
    pairs = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T
    mean = functional.cosine_similarity(a.mean(0), b.mean(0), dim=0)
    return Similarity(mean=float(mean), pairs=float(pairs.mean()))


def nearest_prompts(
    prompt: Prompt, folders: Iterable[str | Path]
) -> tuple[list[Neighbour], list[Skipped]]:
    """The prompts anywhere below some folders, the most similar first.

    Args:
        prompt: what to compare with; itself is left out.
        folders: prompts, runs, or folders of them.

    Returns:
        The neighbours by the mean vectors' cosine, and the prompts that cannot be compared:
        those of another backbone, of another kind, or damaged.

    Raises:
        ConfigError: a folder that is not there.
    """
    found: list[Neighbour] = []
    skipped: list[Skipped] = []
    for folder in _prompt_folders(folders):
        try:
            other = Prompt.load(folder)
        except ArtifactError as error:
            skipped.append(Skipped(folder, error.what))
            continue
        if other.digest == prompt.digest:
            continue
        reason = _difference(prompt, other)
        if reason is None:
            found.append(Neighbour(folder, other, similarity(prompt.vectors, other.vectors)))
        else:
            skipped.append(Skipped(folder, reason))
    found.sort(key=lambda one: (-one.similarity.mean, str(one.folder)))
    return found, skipped


def _prompt_folders(folders: Iterable[str | Path]) -> list[Path]:
    paths: set[Path] = set()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ConfigError("no such folder", where="nearest", got=folder, expected="a folder")
        paths |= {path.parent for path in folder.rglob(MANIFEST_FILE)}
    return sorted(paths)


def _difference(prompt: Prompt, other: Prompt) -> str | None:
    """Why two prompts cannot be compared; None where they can."""
    ours, theirs = prompt.manifest.backbone, other.manifest.backbone
    if ours.fingerprint.embeddings != theirs.fingerprint.embeddings:
        return f"made for another backbone: {theirs.name}"
    if "none" in (prompt.manifest.injection, other.manifest.injection):
        return "a LoRA adapter's task, without vectors"
    if prompt.manifest.injection != other.manifest.injection:
        return f"another kind of prompt: {other.manifest.injection}"
    return None
