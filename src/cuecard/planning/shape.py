"""A model's sizes from its configuration alone: its layers are made without memory and counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cuecard.backbones.libraries import import_transformers, without_kernels
from cuecard.backbones.model_folder import CONFIG, read_object
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
        file = path / CONFIG if path.is_dir() else path
        values = read_object(file)
        if not values.get("model_type"):
            raise _unusable(file, "JSON without a model_type")
        transformers = import_transformers()
        kind = str(values["model_type"])
        if kind not in transformers.CONFIG_MAPPING:
            raise _unusable(file, f"the model type {kind!r}, which transformers does not know")
        try:
            config = without_kernels(transformers.AutoConfig.for_model(**values))
        except Exception as error:  # whatever its own checks raise
            raise _unusable(file, _told(error)) from error
        encoder = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
        if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING or (
            encoder and not config.is_decoder
        ):
            raise _unusable(file, f"the model type {kind!r}, which is no causal language model")
        try:
            with torch.device("meta"):
                return cls.of_model(transformers.AutoModelForCausalLM.from_config(config))
        except Exception as error:  # sizes that do not fit together, in whatever way it notices
            raise _unusable(file, _told(error)) from error

    @classmethod
    def of_model(cls, model: Any) -> Self:
        """Of a model, on whatever device; on "meta" it takes no memory."""
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        outside = {id(p) for p in model.get_output_embeddings().parameters()}
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                outside |= {id(p) for p in module.parameters()}
        if config.num_hidden_layers < 1:
            raise ValueError(f"{config.num_hidden_layers} layers")
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


def _told(error: Exception) -> str:
    """What a library says is wrong, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] or type(error).__name__


def _unusable(file: Path, got: str) -> BackboneError:
    return BackboneError(
        "this configuration cannot be read",
        where=str(file),
        got=got,
        expected="the config.json of a causal language model that transformers knows",
    )


def _chosen_share(config: Any) -> float:
    """The share of a layer's experts that a token goes through."""
    every = next((getattr(config, name) for name in _SHARED_NAMES if hasattr(config, name)), None)
    chosen = getattr(config, "num_experts_per_tok", None)
    return chosen / every if every and chosen else 1.0
