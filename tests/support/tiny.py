"""Tiny random backbones with a real tokenizer: every architecture in milliseconds."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    BertConfig,
    BloomConfig,
    DebertaV2Config,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MarianConfig,
    MBartConfig,
    MistralConfig,
    ModernBertConfig,
    OPTConfig,
    PegasusConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)

from cuecard.backbones import CausalBackbone, MaskedBackbone, Seq2SeqBackbone
from cuecard.testing.tiny import ENDS, random_model, sizes, t5_config, tiny_tokenizer

__all__ = [
    "CONFIGS",
    "MASKED",
    "SEQ2SEQ",
    "shared_backbone",
    "tiny_backbone",
    "tiny_encoder",
    "tiny_model",
    "tiny_tokenizer",
]


CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**sizes(num_key_value_heads=2)),
    "gpt2": lambda: GPT2Config(
        vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=256, **ENDS
    ),
    "qwen2": lambda: Qwen2Config(**sizes(num_key_value_heads=2)),
    "qwen3": lambda: Qwen3Config(**sizes(num_key_value_heads=2, head_dim=8)),
    "mistral-sliding": lambda: MistralConfig(**sizes(num_key_value_heads=2, sliding_window=16)),
    "gemma2-softcap": lambda: Gemma2Config(
        **sizes(num_key_value_heads=2, head_dim=8, sliding_window=16)
    ),
    "bloom-alibi": lambda: BloomConfig(vocab_size=384, hidden_size=32, n_layer=2, n_head=4, **ENDS),
    "opt": lambda: OPTConfig(
        **sizes(ffn_dim=48, word_embed_proj_dim=32, do_layer_norm_before=True)
    ),
}


def _halves(**more: Any) -> dict[str, Any]:
    halves = {f"{half}_{part}": size for half in ("encoder", "decoder") for part, size in _LAYER}
    return {
        "vocab_size": 384,
        "d_model": 32,
        "max_position_embeddings": 256,
        **halves,
        **ENDS,
        **more,
    }


_LAYER = (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))

# Config, and what the tokenizer puts around a text.
SEQ2SEQ: dict[str, tuple[Any, str]] = {
    "t5-relu": (t5_config, "$A </s>"),
    "t5-gated": (
        lambda: t5_config(
            feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=3
        ),
        "$A </s>",
    ),
    "bart": (
        lambda: BartConfig(**_halves(decoder_start_token_id=2)),
        "<s> $A </s>",
    ),
    "marian-scaled": (
        lambda: MarianConfig(**_halves(decoder_start_token_id=0, scale_embedding=True)),
        "$A </s>",
    ),
    "marian-apart": (
        lambda: MarianConfig(
            **_halves(decoder_start_token_id=0),
            share_encoder_decoder_embeddings=False,
            decoder_vocab_size=384,
            tie_word_embeddings=False,
        ),
        "$A </s>",
    ),
    "pegasus": (lambda: PegasusConfig(**_halves(decoder_start_token_id=0)), "$A </s>"),
    "mbart-scaled": (
        lambda: MBartConfig(**_halves(decoder_start_token_id=2, scale_embedding=True)),
        "$A </s>",
    ),
}


# All of them are framed as "<s> $A </s>".
MASKED: dict[str, Any] = {
    "bert": lambda: BertConfig(**sizes()),
    # Its positions begin behind the padding's own.
    "roberta": lambda: RobertaConfig(**sizes()),
    "deberta-v2": lambda: DebertaV2Config(
        **sizes(
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_buckets=16,
        )
    ),
    # A window of four to either side in its first layer.
    "modernbert": lambda: ModernBertConfig(
        **sizes(
            cls_token_id=1,
            sep_token_id=2,
            local_attention=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
}


def tiny_model(kind: str = "llama", seed: int = 0) -> Any:
    """A random language model with weights large enough that its logits differ."""
    if kind in SEQ2SEQ:
        make, config = AutoModelForSeq2SeqLM.from_config, SEQ2SEQ[kind][0]
    elif kind in MASKED:
        make, config = AutoModelForMaskedLM.from_config, MASKED[kind]
    else:
        make, config = AutoModelForCausalLM.from_config, CONFIGS[kind]
    # T5 does not divide its scores by the root of their size.
    spread = 0.15 if kind.startswith("t5") else 0.3
    model = random_model(partial(make, dtype=torch.float32), config(), seed, spread)
    if kind in SEQ2SEQ:
        model.generation_config.forced_eos_token_id = None
        if kind == "bart":
            model.generation_config.forced_bos_token_id = 1
    return model


def tiny_backbone(kind: str = "llama", seed: int = 0) -> Any:
    """A fresh tiny backbone of any family."""
    if kind in MASKED:
        tokenizer = tiny_tokenizer("<s> $A </s>", mask=True)
        return MaskedBackbone(tiny_model(kind, seed), tokenizer, f"tiny-{kind}")
    if kind in SEQ2SEQ:
        tokenizer = tiny_tokenizer(SEQ2SEQ[kind][1])
        return Seq2SeqBackbone(tiny_model(kind, seed), tokenizer, f"tiny-{kind}")
    return CausalBackbone(tiny_model(kind, seed), tiny_tokenizer(), f"tiny-{kind}")


@cache
def shared_backbone(kind: str = "llama", seed: int = 0) -> Any:
    """The tiny backbone of tests that only read it: one for all of them in a process."""
    return tiny_backbone(kind, seed)


def tiny_encoder(kind: str = "bert") -> Any:
    """One without a head, as sentence encoders are."""
    tokenizer = tiny_tokenizer("<s> $A </s>", mask=True)
    return MaskedBackbone(tiny_model(kind).base_model, tokenizer, f"encoder-{kind}")
