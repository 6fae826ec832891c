"""Check a loaded model before training: complete, finite, and matching its tokenizer.

transformers fills weights that its files lack with random numbers, passes over those that the
architecture has no place for, and looks up no token id before a text has it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from cuecard.errors import BackboneError
from cuecard.lazy import nn, torch

_SHOWN = 3  # names in a message
# Tokens that a model is fed without any text having them.
_FED = ("decoder_start_token_id", "forced_bos_token_id", "pad_token_id")


def check_whole(missing: Collection[str], kind: str, where: str) -> None:
    """Refuse weights that are not in the files and so would be random.

    Raises:
        BackboneError: some are missing.
    """
    if missing:
        raise BackboneError(
            "the files do not hold a whole language model",
            where=where,
            got=f"no weights for {_named(missing)}",
            expected=f"every weight of {kind}",
        )


def check_placed(unexpected: Iterable[str], model: Any, where: str) -> None:
    """Refuse weights of this very model that its configuration leaves no place for.

    Further layers, and biases of matrices that have none here, belong to the model that was saved;
    further heads do not.

    Raises:
        BackboneError: there are some.
    """
    modules = dict(model.named_modules())
    prefix = f"{model.base_model_prefix}."
    left = [
        name
        for name in unexpected
        if any(_belongs(full, modules) for full in (name, f"{prefix}{name}"))
    ]
    if left:
        raise BackboneError(
            "the configuration leaves out weights that the files hold",
            where=where,
            got=_named(left),
            expected="the configuration that the weights were saved with",
        )


def _belongs(name: str, modules: dict[str, Any]) -> bool:
    """Whether a weight is one more of an existing module, or of one more layer in a list."""
    path, _, leaf = name.rpartition(".")
    if path in modules:
        return leaf in ("weight", "bias") and getattr(modules[path], "weight", None) is not None
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        inside = modules.get(".".join(parts[:end]))
        if inside is not None:
            return isinstance(inside, nn.ModuleList) and parts[end].isdigit()
    return False


def check_finite(model: Any, where: str) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        BackboneError: with the first such tensor's name.
    """
    floats = (torch.float32, torch.float16, torch.bfloat16)
    for name, tensor in model.named_parameters():
        # A sum is finite unless a number in it is not, or it overflows; it makes no copy.
        if tensor.dtype not in floats or torch.isfinite(tensor.sum(dtype=torch.float32)):
            continue
        count = int((~torch.isfinite(tensor)).sum())
        if count:
            raise BackboneError(
                "the model has weights that are not numbers",
                where=where,
                got=f"{count:,} NaN or infinite of {tensor.numel():,} in {name}",
                expected="finite weights",
                hint="download the model again, or ask whoever trained it",
            )


def check_ids(model: Any, tokenizer: Any, where: str) -> None:
    """Refuse token ids that the embedding table has no rows for, of the tokenizer or of settings.

    Raises:
        BackboneError: with the tokens' or the setting's name.
    """
    rows = len(model.get_input_embeddings().weight)
    for config in (model.config, getattr(model, "generation_config", None)):
        for name in _FED:
            value = getattr(config, name, None)
            if value is not None and value >= rows:
                raise BackboneError(
                    "the configuration names a token that the model has no embedding for",
                    where=where,
                    got=f"{name} {value}",
                    expected=f"a token id below {rows:,}",
                )
    beyond = sorted((i, token) for token, i in tokenizer.get_vocab().items() if i >= rows)
    if beyond:
        tokens = ", ".join(f"{token!r} (id {i})" for i, token in beyond[:_SHOWN])
        more = f" and {len(beyond) - _SHOWN:,} more" if len(beyond) > _SHOWN else ""
        raise BackboneError(
            "the tokenizer has tokens that the model has no embeddings for",
            where=where,
            got=f"{tokens}{more}, of {rows:,} embeddings",
            expected=f"token ids below {rows:,}",
            hint="model.resize_token_embeddings(len(tokenizer)) before it is saved, or the "
            "tokenizer without the added tokens",
        )


def _named(names: Collection[str]) -> str:
    shown = sorted(names)
    return f"{', '.join(shown[:_SHOWN])}{' and more' if len(shown) > _SHOWN else ''}"
