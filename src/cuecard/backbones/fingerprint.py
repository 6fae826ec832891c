"""A backbone's fingerprint: the same in every precision and under every library version.

The digests are taken from values, not from files: the architecture's numbers, the tokenizer's
vocabulary and behaviour, the embedding matrix, and a sample of every other parameter. Values are
rounded to bfloat16 first, so that one model loaded in float32 and in bfloat16 has one fingerprint.

A quantised form has a fingerprint of its own, over its codes. Its answers differ from the plain
model's by more than rounding, so neither a prompt's measured scores nor its test vectors would hold
on the other form; and a form may come from a file that no longer knows the plain weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.quantization.quantize import form_of, weights_by_name
from cuecard.types import Fingerprint

# Numbers that change a model's answers without changing the shape of its weights.
_STRUCTURE = (
    "vocab_size",
    "hidden_size",
    "n_embd",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "hidden_act",
    "activation_function",
    "rms_norm_eps",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "sliding_window",
    "tie_word_embeddings",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "logit_scale",
    "logits_scaling",
)
# The same of encoder-decoders, for which alone they are looked at: the digests of other models
# should not depend on the families there are.
_HALVES = (
    "num_decoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "feed_forward_proj",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "scale_embedding",
    "scale_decoder_outputs",
    "decoder_start_token_id",
    "forced_bos_token_id",
)
# And of vision encoders.
_SEEN = (
    "image_size",
    "patch_size",
    "num_channels",
    "num_register_tokens",
    "qkv_bias",
    "use_swiglu_ffn",
    "layerscale_value",
    "use_mean_pooling",
    "rope_theta",
)
# And of the parts of segmentation models.
_FOUND = (
    "image_size",
    "patch_size",
    "window_size",
    "global_attn_indexes",
    "use_rel_pos",
    "use_abs_pos",
    "attention_downsample_rate",
    "num_multimask_outputs",
    "scale",
)
_PROBES = ("The quick brown fox", " déjà vu 1234", "\n\tif x:\n", "naïve 東京 🙂")
_SAMPLE = 1024


def fingerprint_of(model: Any, tokenizer: Any) -> Fingerprint:
    """The fingerprint of a transformers model and its tokenizer."""
    embedding = model.get_input_embeddings().weight
    return Fingerprint(
        config=_digest_config(model.config.get_text_config()),
        tokenizer=_digest_tokenizer(tokenizer),
        embeddings=_sha256(_as_bytes(embedding)),
        weights=_digest_weights(model),
        quantize=form_of(model),
    )


def vision_fingerprint_of(
    model: Any, table: Tensor, processor: str, uses: Callable[[str], bool]
) -> Fingerprint:
    """The fingerprint of a transformers vision encoder and its image processor.

    Args:
        table: [C * p * p, H] its patches' embedding.
        processor: the digest of the processor's settings.
        uses: whether a parameter of this name takes part; poolers and heads may be random.
    """
    return Fingerprint(
        config=_digest_config(model.config, _SEEN),
        tokenizer=processor,
        embeddings=_sha256(_as_bytes(table)),
        weights=_digest_weights(model, uses),
    )


def segmentation_fingerprint_of(model: Any, table: Tensor, processor: str) -> Fingerprint:
    """The fingerprint of a promptable segmentation model and its image processor.

    Args:
        table: [V, H] what its prompt encoder makes of some points.
        processor: the digest of the processor's settings.
    """
    parts = {
        name: {key: value for key, value in part.items() if key in _FOUND + _STRUCTURE}
        for name, part in model.config.to_dict().items()
        if isinstance(part, dict)
    }
    known = {"model_type": model.config.model_type, **parts}
    return Fingerprint(
        config=_sha256(json.dumps(known, sort_keys=True, default=str).encode()),
        tokenizer=processor,
        embeddings=_sha256(_as_bytes(table)),
        weights=_digest_weights(model),
    )


def label_digest_of(model: Any, table: Tensor, tokenizer: Any) -> str:
    """SHA-256 of the part of a model of two towers that reads labels' names.

    Args:
        model: the whole model, whose tower that sees is called `vision_model`.
        table: [V, H] the embedding matrix.
        tokenizer: of the names.
    """
    parts = (
        _digest_config(model.config.text_config),
        _digest_tokenizer(tokenizer),
        _sha256(_as_bytes(table)),
        _digest_weights(model, lambda name: not name.startswith("vision_model.")),
    )
    return _sha256(" ".join(parts).encode())


def _digest_config(config: Any, more: tuple[str, ...] = ()) -> str:
    known: dict[str, Any] = {"model_type": config.model_type}
    names = _STRUCTURE + more + (_HALVES if getattr(config, "is_encoder_decoder", False) else ())
    known |= {name: getattr(config, name, None) for name in names}
    # transformers 5 holds in one mapping what 4 held in three settings.
    newer, older = getattr(config, "rope_parameters", None), getattr(config, "rope_scaling", None)
    rope = dict(newer or older or {})
    for name in ("rope_theta", "partial_rotary_factor"):
        rope.setdefault(name, getattr(config, name, None))
    rope.setdefault("rope_type", "default")
    known["rope"] = {key: value for key, value in rope.items() if value is not None}
    return _sha256(json.dumps(known, sort_keys=True, default=str).encode())


def _digest_tokenizer(tokenizer: Any) -> str:
    parts = {
        "vocabulary": sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]),
        "special": sorted(str(token) for token in tokenizer.all_special_tokens),
        "chat_template": tokenizer.chat_template or "",
        "probes": [tokenizer(text)["input_ids"] for text in _PROBES],
    }
    return _sha256(json.dumps(parts, sort_keys=True, ensure_ascii=True).encode())


def _digest_weights(model: Any, uses: Callable[[str], bool] = lambda name: True) -> str:
    """Evenly spaced values of every parameter: a fine-tuned copy differs, a reload does not."""
    total = hashlib.sha256()
    for name, tensor in weights_by_name(model):
        if not uses(name):
            continue
        flat = tensor.detach().flatten()
        step = max(1, flat.numel() // _SAMPLE)
        total.update(f"{name} {tuple(tensor.shape)}".encode())
        total.update(_as_bytes(flat[::step][:_SAMPLE]))
    return total.hexdigest()


def _as_bytes(tensor: Tensor) -> bytes:
    rounded = tensor.detach().to("cpu", torch.bfloat16).contiguous()
    return rounded.flatten().view(torch.int16).numpy().tobytes()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
