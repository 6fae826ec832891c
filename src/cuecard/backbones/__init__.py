"""Frozen models: `forward(batch, injection)`, one file per family."""

from collections.abc import Mapping
from types import MappingProxyType

from cuecard.backbones import _torchao as _torchao  # before anything that imports transformers
from cuecard.backbones.causal import CausalBackbone
from cuecard.backbones.loading import load_frozen
from cuecard.backbones.masked import MaskedBackbone
from cuecard.backbones.seq2seq import Seq2SeqBackbone

Family = type[CausalBackbone] | type[Seq2SeqBackbone] | type[MaskedBackbone]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {"causal": CausalBackbone, "seq2seq": Seq2SeqBackbone, "masked": MaskedBackbone}
)

__all__ = ["FAMILIES", "CausalBackbone", "MaskedBackbone", "Seq2SeqBackbone", "load_frozen"]
