"""Frozen models: `forward(batch, injection)`, one file per family."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.backbones.causal import CausalBackbone
    from cuecard.backbones.families import FAMILIES
    from cuecard.backbones.loading import load_frozen
    from cuecard.backbones.masked import MaskedBackbone
    from cuecard.backbones.segmentation import SegmentationBackbone
    from cuecard.backbones.seq2seq import Seq2SeqBackbone
    from cuecard.backbones.two_tower import TwoTowerBackbone
    from cuecard.backbones.vision import VisionBackbone

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".causal": ("CausalBackbone",),
        ".families": ("FAMILIES",),
        ".loading": ("load_frozen",),
        ".masked": ("MaskedBackbone",),
        ".seq2seq": ("Seq2SeqBackbone",),
        ".segmentation": ("SegmentationBackbone",),
        ".two_tower": ("TwoTowerBackbone",),
        ".vision": ("VisionBackbone",),
    },
)

__all__ = [
    "FAMILIES",
    "CausalBackbone",
    "MaskedBackbone",
    "SegmentationBackbone",
    "Seq2SeqBackbone",
    "TwoTowerBackbone",
    "VisionBackbone",
    "load_frozen",
]
