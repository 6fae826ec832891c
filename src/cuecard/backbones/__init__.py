"""Frozen models: `forward(batch, injection)`, one file per family."""

from cuecard.backbones import _torchao as _torchao  # before anything that imports transformers
from cuecard.backbones.causal import CausalBackbone
from cuecard.backbones.loading import load_causal

__all__ = ["CausalBackbone", "load_causal"]
