"""Tiny random models of images and texts, with a tokenizer of whole words."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)

from cuecard.backbones import TwoTowerBackbone
from cuecard.backbones.image_processor import ImageProcessor
from support.tiny_vision import SIDE, tiny_processor

WIDTH, TEXT_WIDTH, JOINT, WORDS = 32, 24, 20, 16
_KNOWN = ["a", "photo", "of", "disc", "stripes", "picture", "the", ".", ",", "red", "blue"]


@cache
def word_tokenizer(kind: str = "clip") -> Any:
    """Whole words; of SigLIP without an opening token and without masks, as its own."""
    words = ["<pad>", "<unk>", "<s>", *_KNOWN, "</s>"]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()]
    )
    around = "<s> $A </s>" if kind == "clip" else "$A </s>"
    ids = [("<s>", 2), ("</s>", len(words) - 1)]
    core.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    more = {} if kind == "clip" else {"model_input_names": ["input_ids"]}
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        **more,
    )


def tiny_clip_model(kind: str = "clip", seed: int = 0) -> Any:
    """A random model with weights large enough that its states differ."""
    tokenizer = word_tokenizer(kind)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    vision = {**sizes, "hidden_size": WIDTH, "image_size": SIDE, "patch_size": 8}
    text = {
        **sizes,
        "hidden_size": TEXT_WIDTH if kind == "clip" else WIDTH,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": WORDS,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": 2,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "clip":
            config: Any = CLIPConfig(vision_config=vision, text_config=text, projection_dim=JOINT)
            model: Any = CLIPModel(config)
        else:
            model = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.2)
            model.logit_scale.fill_(2.5)
    return model.eval()


def tiny_clip(kind: str = "clip", seed: int = 0) -> Any:
    """A fresh tiny backbone of two towers."""
    name = f"tiny-two-tower-{kind}"
    images = ImageProcessor(tiny_processor(), name)
    return TwoTowerBackbone(tiny_clip_model(kind, seed), images, word_tokenizer(kind), name)


@cache
def shared_clip(kind: str = "clip", seed: int = 0) -> Any:
    """The one of tests that only read it."""
    return tiny_clip(kind, seed)


def save_clip(folder: Path, kind: str = "clip") -> Path:
    """A folder in the hub's layout."""
    tiny_clip_model(kind).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    word_tokenizer(kind).save_pretrained(folder)
    return folder
