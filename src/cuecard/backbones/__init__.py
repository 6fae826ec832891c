"""Frozen models: `forward(batch, injection)`, one file per family."""

from collections.abc import Mapping
from types import MappingProxyType

from cuecard.backbones import _torchao as _torchao  # before anything that imports transformers
from cuecard.backbones.causal import CausalBackbone
from cuecard.backbones.loading import load_frozen
from cuecard.backbones.seq2seq import Seq2SeqBackbone

FAMILIES: Mapping[str, type[CausalBackbone] | type[Seq2SeqBackbone]] = MappingProxyType(
    {"causal": CausalBackbone, "seq2seq": Seq2SeqBackbone}
)

__all__ = ["FAMILIES", "CausalBackbone", "Seq2SeqBackbone", "load_frozen"]
