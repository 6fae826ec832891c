"""A model's sizes from its configuration alone: its layers are made without memory and counted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cuecard.backbones.quantization._torchao import import_transformers
from cuecard.errors import BackboneError
from cuecard.lazy import nn, torch

_SHARED_NAMES = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a causal language model's costs depend on.

    Attributes:
        hidden, layers, heads, key_heads, head_size, vocab: as its configuration has them.
        parameters: all of them, shared ones once.
        matrices: those of the layers' matrices.
        active: those of them that a token goes through; fewer only with experts.
    """

    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    vocab: int
    parameters: int
    matrices: int
    active: float

    @classmethod
    def of(cls, path: Path) -> Self:
        """
        Args:
            path: a config.json, or the folder that has it.

        Raises:
            BackboneError: none, or none of a causal language model that transformers knows.
        """
        file = path / "config.json" if path.is_dir() else path
        transformers = import_transformers()
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            config = transformers.AutoConfig.for_model(**values)
            with torch.device("meta"):
                model = transformers.AutoModelForCausalLM.from_config(config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackboneError(
                "this configuration cannot be read",
                where=str(file),
                got=str(error).splitlines()[0][:200] if str(error) else type(error).__name__,
                expected="the config.json of a causal language model that transformers knows",
            ) from error
        return cls.of_model(model)

    @classmethod
    def of_model(cls, model: Any) -> Self:
        """Of a model, on whatever device; on "meta" it takes no memory."""
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        outside = {id(p) for p in model.get_output_embeddings().parameters()}
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                outside |= {id(p) for p in module.parameters()}
        inside = [p for p in model.parameters() if p.ndim > 1 and id(p) not in outside]
        chosen = _chosen_share(config)
        return cls(
            hidden=config.hidden_size,
            layers=config.num_hidden_layers,
            heads=heads,
            key_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocab=config.vocab_size,
            parameters=sum(p.numel() for p in model.parameters()),
            matrices=sum(p.numel() for p in inside),
            # All experts of a layer are one tensor of three dimensions.
            active=sum(p.numel() * (chosen if p.ndim > 2 else 1.0) for p in inside),
        )


def _chosen_share(config: Any) -> float:
    """The share of a layer's experts that a token goes through."""
    every = next((getattr(config, name) for name in _SHARED_NAMES if hasattr(config, name)), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return chosen / every if every and chosen else 1.0
