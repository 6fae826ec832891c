"""The words nearest to a prompt's vectors, and the prompts most similar to it.

The words are a hint of where a prompt started and how far it went, not its meaning: trained
vectors move off the words (Lester et al. 2021, arXiv:2104.08691, section 7).

Similar prompts say which task to start a new one from (SPoT, Vu et al., ACL 2022, section 4.2:
"cosine similarity of average tokens" and "per-token average cosine similarity"). Only prompts on
one backbone can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cuecard.artifacts.files import MANIFEST_FILE
from cuecard.artifacts.prompt import Prompt
from cuecard.errors import ArtifactError, ConfigError
from cuecard.lazy import functional, torch
from cuecard.types import Backbone

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 8192  # of the embedding table at a time: a float32 copy of all of it could be a gigabyte


@dataclass(frozen=True, slots=True)
class NearestWords:
    """One vector of a prompt among the input embeddings.

    Attributes:
        norm: its Euclidean length.
        relative_norm: the same over the root mean square of the embeddings' lengths.
        words: the nearest tokens' texts and their cosines, nearest first.
    """

    norm: float
    relative_norm: float
    words: tuple[tuple[str, float], ...]


def nearest_words(vectors: Tensor, backbone: Backbone, count: int = 3) -> list[NearestWords]:
    """The nearest tokens of each vector by cosine.

    Args:
        vectors: [P, H].
        backbone: whose input embeddings and tokenizer to look in.
        count: how many tokens to name.

    Raises:
        ConfigError: vectors of another width, or a count below one or above the vocabulary.
    """
    table = backbone.embeddings
    size, width = table.shape
    if vectors.ndim != 2 or vectors.shape[1] != width or not 1 <= count <= size:
        raise ConfigError(
            "these vectors cannot be compared with this backbone's words",
            where=backbone.name,
            got=f"vectors of shape {tuple(vectors.shape)}, {count} words",
            expected=f"shape (any, {width}), 1 to {size} words",
        )
    with torch.inference_mode():
        own = vectors.to(table.device, torch.float32)
        cosines, ids, mean_square = _search(own, table, count)
        norms = own.norm(dim=1)
        relative = norms / mean_square.sqrt().clamp_min(1e-12)
    return [
        NearestWords(
            norm=float(norms[i]),
            relative_norm=float(relative[i]),
            words=tuple(
                (str(backbone.tokenizer.decode([token])), value)
                for token, value in zip(ids[i].tolist(), cosines[i].tolist(), strict=True)
            ),
        )
        for i in range(len(own))
    ]


def _search(own: Tensor, table: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """[P, count] best cosines and their token ids, and the table's mean squared length."""
    unit = torch.nn.functional.normalize(own, dim=1)
    cosines = own.new_empty(len(own), 0)
    ids = torch.empty(len(own), 0, dtype=torch.int64, device=own.device)
    total = own.new_zeros(())
    for start in range(0, len(table), _ROWS):
        part = table[start : start + _ROWS].float()
        total += part.square().sum()
        here = unit @ torch.nn.functional.normalize(part, dim=1).T
        places = torch.arange(start, start + len(part), device=own.device).expand(len(own), -1)
        cosines, ids = torch.cat([cosines, here], 1), torch.cat([ids, places], 1)
        best = cosines.topk(min(count, cosines.shape[1]), dim=1)
        cosines, ids = best.values, ids.gather(1, best.indices)
    return cosines, ids, total / len(table)


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
class SimilarPrompt:
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
) -> tuple[list[SimilarPrompt], list[Skipped]]:
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
    found: list[SimilarPrompt] = []
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
            found.append(SimilarPrompt(folder, other, similarity(prompt.vectors, other.vectors)))
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
