"""Random models of two layers with a real tokenizer, made in milliseconds; nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    LlamaConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    T5Config,
)

from cuecard.backbones import CausalBackbone, MaskedBackbone, Seq2SeqBackbone
from cuecard.errors import ConfigError

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
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
"""Of a configuration, as `tiny_tokenizer` has them."""


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


def random_model(make: Callable[[Any], Any], config: Any, seed: int, spread: float) -> Any:
    """A model with weights large enough that its logits differ.

    Args:
        make: what makes one of the config.
        spread: the weights' standard deviation.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, spread)
    return model.eval()


def sizes(**more: Any) -> dict[str, Any]:
    """A configuration's, by the names that most families have for them."""
    return {
        "vocab_size": 384,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 256,
        **ENDS,
        **more,
    }


def t5_config(**more: Any) -> T5Config:
    """Of such sizes."""
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    return T5Config(vocab_size=384, decoder_start_token_id=0, **shape, **ENDS, **more)


def _float32(auto: Any) -> Callable[[Any], Any]:
    return partial(auto.from_config, dtype=torch.float32)


def _causal(seed: int) -> CausalBackbone:
    config = LlamaConfig(**sizes(num_key_value_heads=2))
    model = random_model(_float32(AutoModelForCausalLM), config, seed, 0.3)
    return CausalBackbone(model, tiny_tokenizer(), "tiny-llama")


def _seq2seq(seed: int) -> Seq2SeqBackbone:
    # T5 does not divide its scores by the root of their size.
    model = random_model(_float32(AutoModelForSeq2SeqLM), t5_config(), seed, 0.15)
    return Seq2SeqBackbone(model, tiny_tokenizer("$A </s>"), "tiny-t5")


def _masked(seed: int) -> MaskedBackbone:
    model = random_model(_float32(AutoModelForMaskedLM), RobertaConfig(**sizes()), seed, 0.3)
    return MaskedBackbone(model, tiny_tokenizer("<s> $A </s>", mask=True), "tiny-roberta")


TINY: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {"causal": _causal, "seq2seq": _seq2seq, "masked": _masked}
)
"""Family -> what makes a tiny backbone of it by a seed."""


def tiny_backbone(family: str = "causal", seed: int = 0) -> Any:
    """A backbone with hidden states of 32 numbers and 384 tokens, in float32.

    Raises:
        ConfigError: no such family.
    """
    if family not in TINY:
        raise ConfigError("no tiny backbone of this family", got=family, expected=", ".join(TINY))
    return TINY[family](seed)
