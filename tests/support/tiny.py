"""Tiny random backbones with a real tokenizer: every architecture in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
    T5Config,
)

from cuecard.backbones import CausalBackbone, MaskedBackbone, Seq2SeqBackbone

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
def tiny_tokenizer(around: str = "", mask: bool = False) -> Any:
    """A byte-level BPE tokenizer of 384 tokens with a chat template.

    Args:
        around: what it puts around every text: "$A </s>" as T5's does, "<s> $A </s>" as BART's.
        mask: whether it has a mask token, which takes the space before it in, as RoBERTa's does.
    """
    masks = [AddedToken("<mask>", lstrip=True)] if mask else []
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<pad>", "<s>", "</s>", "<|end|>", *masks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_LINES, trainer)
    if around:
        core.post_processor = processors.TemplateProcessing(
            single=around, special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=_CHAT,
        **({"mask_token": masks[0]} if mask else {}),
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


def _t5(**more: Any) -> T5Config:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    return T5Config(vocab_size=384, decoder_start_token_id=0, **sizes, **_ends(), **more)


def _halves(**more: Any) -> dict[str, Any]:
    sizes = {f"{half}_{part}": size for half in ("encoder", "decoder") for part, size in _LAYER}
    return {
        "vocab_size": 384,
        "d_model": 32,
        "max_position_embeddings": 256,
        **sizes,
        **_ends(),
        **more,
    }


_LAYER = (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))

# Config, and what the tokenizer puts around a text.
SEQ2SEQ: dict[str, tuple[Any, str]] = {
    "t5-relu": (_t5, "$A </s>"),
    "t5-gated": (
        lambda: _t5(
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
    "bert": lambda: BertConfig(**_sizes()),
    # Its positions begin behind the padding's own.
    "roberta": lambda: RobertaConfig(**_sizes()),
    "deberta-v2": lambda: DebertaV2Config(
        **_sizes(
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
        **_sizes(
            cls_token_id=1,
            sep_token_id=2,
            local_attention=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    ),
}


def tiny_model(kind: str = "llama", seed: int = 0) -> Any:
    """A random language model with weights large enough that its logits differ."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any
        if kind in SEQ2SEQ:
            model = AutoModelForSeq2SeqLM.from_config(SEQ2SEQ[kind][0](), dtype=torch.float32)
            model.generation_config.forced_eos_token_id = None
            if kind == "bart":
                model.generation_config.forced_bos_token_id = 1
        elif kind in MASKED:
            model = AutoModelForMaskedLM.from_config(MASKED[kind](), dtype=torch.float32)
        else:
            model = AutoModelForCausalLM.from_config(CONFIGS[kind](), dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    # T5 does not divide its scores by the root of their size.
                    parameter.normal_(0.0, 0.15 if kind.startswith("t5") else 0.3)
    return model.eval()


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
