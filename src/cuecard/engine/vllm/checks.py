"""Refuse what vLLM does not support before it gets it: much of it would crash its process."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.errors import BackboneError, ConfigError
from cuecard.types import Injection, InputTokens, LabelTokens, LayerTokens, PrefixKV, Towers


def check_known(known: BackboneInfo) -> None:
    """Refuse a backbone that vLLM cannot run with prompts.

    Raises:
        ConfigError: not a causal language model, or not loaded as its files are.
    """
    got = None
    if not known.causal:
        got = "a model that is not causal, such as an encoder-decoder"
    elif known.fingerprint.quantize != "none":
        got = f"the form {known.fingerprint.quantize}"
    elif known.fingerprint.adapter != "none":
        got = "weights with an adapter merged into them"
    if got is not None:
        # vLLM loads the files again, and would load other weights than the prompts were made on.
        raise ConfigError(
            "vLLM cannot run this backbone with prompts",
            where="--engine vllm",
            got=f"{known.name}: {got}",
            expected="a causal language model, unquantized and without an adapter",
            hint="use --engine local",
        )


def vectors_of(injection: Injection, known: BackboneInfo) -> Tensor:
    """[P, H] a prompt's vectors in the model's own type.

    Raises:
        ConfigError: another kind of prompt, or of another width.
    """
    refused = _why_not(injection)
    if refused is not None:
        raise ConfigError(
            "vLLM does not support this kind of prompt",
            where="--engine vllm",
            got=refused,
            expected="vectors among the input embeddings",
            hint="serve it with --engine local",
        )
    assert isinstance(injection, InputTokens)
    vectors = injection.vectors
    if vectors.ndim != 2 or vectors.shape[-1] != known.hidden_size:
        raise ConfigError(
            "the prompt's width is not the backbone's hidden size",
            where=known.name,
            got=f"shape {tuple(vectors.shape)}",
            expected=f"(length, {known.hidden_size})",
        )
    return vectors.detach().to("cpu", known.dtype).contiguous()


def check_row(context: Sequence[int], slot: int, new: int, known: BackboneInfo) -> None:
    """Refuse a malformed row.

    Raises:
        ConfigError: no tokens, a slot outside of them, no new tokens, an unknown id.
    """
    if not context or not 0 <= slot <= len(context) or new < 1:
        raise ConfigError(
            "a row cannot be run",
            where=known.name,
            got=f"{len(context)} tokens, slot {slot}, {new} new tokens",
            expected="one token or more, a slot from 0 to their number, one new token or more",
        )
    check_ids(context, known)


def check_ids(ids: Sequence[int], known: BackboneInfo) -> None:
    """Refuse ids that are not in the vocabulary.

    Raises:
        ConfigError: one below 0 or too large.
    """
    if ids and (min(ids) < 0 or max(ids) >= known.vocab_size):
        raise ConfigError(
            "a token id is not in the vocabulary",
            where=known.name,
            got=f"token ids {min(ids)} to {max(ids)}",
            expected=f"0 to {known.vocab_size - 1}",
        )


def check_length(length: int, most: int, known: BackboneInfo) -> None:
    """Refuse what is too long.

    Raises:
        BackboneError: more tokens than positions, the prompt and the answer counted.
    """
    if length > most:
        raise BackboneError(
            "the input with its prompt and answer is longer than the engine's positions",
            where=known.name,
            got=f"{length} tokens",
            expected=f"at most {most}",
        )


def _why_not(injection: Injection) -> str | None:
    if isinstance(injection, Towers):
        return f"a prompt for the towers: {', '.join(injection.pieces)}"
    if isinstance(injection, PrefixKV):
        return "keys and values of every layer"
    if isinstance(injection, LayerTokens):
        return "vectors at every layer's input"
    if isinstance(injection, LabelTokens):
        return "vectors around labels' names"
    if injection.shifts is not None:
        return "shifts of the tokens' embeddings"
    if injection.mix is not None:
        return "vectors that depend on the input"
    return None
