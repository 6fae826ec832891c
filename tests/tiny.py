"""Tiny random backbones with a real tokenizer: every architecture in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from cuecard.backbones import CausalBackbone

_LINES = [
    "a gob of drivel so sickly sweet , even the eager consumers will gag .",
    "one of the best films of the year , warm and funny and true .",
    "Review: Sentiment: Text: Label: positive negative neutral great terrible",
    "the quick brown fox jumps over the lazy dog 0123456789",
    *["it is good and not bad : good for one , bad for none"] * 9,
]
_CHAT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@cache
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer of 384 tokens with a chat template."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<pad>", "<s>", "</s>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=_CHAT,
    )


def _sizes(**more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 384,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_sizes(num_key_value_heads=2)),
    "gpt2": lambda: GPT2Config(
        vocab_size=384, n_embd=32, n_layer=2, n_head=4, n_positions=256, **_ends()
    ),
    "qwen2": lambda: Qwen2Config(**_sizes(num_key_value_heads=2)),
    "qwen3": lambda: Qwen3Config(**_sizes(num_key_value_heads=2, head_dim=8)),
    "mistral-sliding": lambda: MistralConfig(**_sizes(num_key_value_heads=2, sliding_window=16)),
    "gemma2-softcap": lambda: Gemma2Config(
        **_sizes(num_key_value_heads=2, head_dim=8, sliding_window=16)
    ),
    "bloom-alibi": lambda: BloomConfig(
        vocab_size=384, hidden_size=32, n_layer=2, n_head=4, **_ends()
    ),
    "opt": lambda: OPTConfig(
        **_sizes(ffn_dim=48, word_embed_proj_dim=32, do_layer_norm_before=True)
    ),
}


def _ends() -> dict[str, int]:
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def tiny_model(kind: str = "llama", seed: int = 0) -> Any:
    """A random causal LM with weights large enough that its logits differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.3)
    return model.eval()


def tiny_backbone(kind: str = "llama", seed: int = 0) -> CausalBackbone:
    """A fresh tiny backbone."""
    return CausalBackbone(tiny_model(kind, seed), tiny_tokenizer(), f"tiny-{kind}")
