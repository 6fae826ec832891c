"""A decoder's GGUF file -> a folder in the hub's layout, which transformers loads as it is.

The files are written as the model's authors publish them (bfloat16 safetensors, `tokenizer.json`
with their way to split a text before the byte-level pieces), with bytes that depend on nothing but
the GGUF.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

from cuecard.catalogue.progress import Progress
from cuecard.catalogue.weights.gguf import Floats, GgufFile, read_gguf
from cuecard.catalogue.weights.hub_folder import write_json
from cuecard.errors import CatalogueError

_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_INNER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL, _USER_DEFINED, _UNUSED = 3, 4, 5  # llama.cpp's types of tokens
_TIED = 0.1


@dataclass(frozen=True, slots=True)
class DecoderFormat:
    """What one architecture's files differ in.

    Attributes:
        architecture: its name in GGUF, and transformers' model type.
        model_class: transformers' class.
        splitting: llama.cpp's name of how its tokenizer splits texts.
        split: the same, for the tokenizer to be written.
        normal: what is done to a text before it is split.
        biases: the layers' parts that have a bias.
        interleaved: whether llama.cpp keeps the rotary halves of queries and keys interleaved.
        tied: whether the authors have one matrix for embeddings and output; where a file has both,
            they are two roundings of it, and the output's, the finer one, is taken.
        settings: more of the configuration.
        generation: settings of generation, given the special tokens' ids.
    """

    architecture: str
    model_class: str
    splitting: str
    split: Callable[[], Any]
    normal: Callable[[], Any] | None = None
    biases: tuple[str, ...] = ()
    interleaved: bool = False
    tied: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    generation: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict


def _split_digits() -> Any:
    return [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]


def _split_qwen() -> Any:
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    return [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


LLAMA = DecoderFormat(
    architecture="llama",
    model_class="LlamaForCausalLM",
    splitting="smollm",
    split=_split_digits,
    interleaved=True,
    settings={"attention_bias": False, "mlp_bias": False},
)
"""SmolLM's: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct"""

QWEN2 = DecoderFormat(
    architecture="qwen2",
    model_class="Qwen2ForCausalLM",
    splitting="qwen2",
    split=_split_qwen,
    normal=normalizers.NFC,
    biases=("attn_q", "attn_k", "attn_v"),
    tied=True,
    settings={"use_sliding_window": False},
    # A turn ends with one, a text with the other.
    generation=lambda ids: {**ids, "eos_token_id": [ids["eos_token_id"], ids["pad_token_id"]]},
)
"""Qwen2.5's up to 3B: https://huggingface.co/Qwen/Qwen2.5-Coder-0.5B-Instruct"""


def convert_gguf(
    decoder: DecoderFormat, gguf: Path, folder: Path, progress: Progress, label: str
) -> None:
    """Write `config.json`, `model.safetensors` and the tokenizer's files into `folder`.

    Args:
        decoder: what the file must hold.
        gguf: a GGUF file of this architecture with its byte-level BPE tokenizer.
        folder: an existing, empty folder.
        progress: called after each tensor.
        label: what to call the work there.

    Raises:
        CatalogueError: another architecture, tokenizer, tensor or quantisation.
    """
    file = read_gguf(gguf)
    _require(file, "general.architecture", decoder.architecture)
    _require(file, "tokenizer.ggml.model", "gpt2")
    _require(file, "tokenizer.ggml.pre", decoder.splitting)
    _require(file, "tokenizer.ggml.add_bos_token", False)
    config = _config(decoder, file)
    write_json(folder / "config.json", config)
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", decoder.generation(ends))
    _write_tokenizer(decoder, file, folder)
    tensors = {}
    for done, name in enumerate(file.shapes, start=1):
        place = _new_name(decoder, file, name)
        tensors[place] = _weights(decoder, file, name)
        progress(label, done, len(file.shapes))
    if decoder.tied and "lm_head.weight" in tensors:
        tensors[_OUTER["token_embd.weight"]] = _finer(file, tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _finer(file: GgufFile, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """The output's copy of the embeddings, taken out of `tensors`."""
    embeddings, output = tensors[_OUTER["token_embd.weight"]], tensors.pop("lm_head.weight")
    difference = (embeddings - output).norm(dtype=torch.float32)
    if not difference < _TIED * output.norm(dtype=torch.float32):
        raise CatalogueError(
            "the weights hold an output that is not the embeddings",
            where=file.path.name,
            expected=f"two roundings of one matrix, less than {_TIED:.0%} apart",
        )
    return output


def _weights(decoder: DecoderFormat, file: GgufFile, name: str) -> torch.Tensor:
    values = file.tensor(name)
    if decoder.interleaved and ".attn_q." in name:
        values = _unpermuted(values, file.metadata[f"{decoder.architecture}.attention.head_count"])
    elif decoder.interleaved and ".attn_k." in name:
        values = _unpermuted(
            values, file.metadata[f"{decoder.architecture}.attention.head_count_kv"]
        )
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)


def _unpermuted(values: Floats, heads: int) -> Floats:
    """Undo llama.cpp's interleaving of each head's rotary halves. [heads * D, H] -> the same."""
    rows, columns = values.shape
    return (
        values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _new_name(decoder: DecoderFormat, file: GgufFile, name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in _INNER:
            return f"model.layers.{layer}.{_INNER[part]}.weight"
        case ["blk", layer, part, "bias"] if part in decoder.biases:
            return f"model.layers.{layer}.{_INNER[part]}.bias"
    raise CatalogueError(
        f"the weights hold a tensor that a {decoder.model_class} has no place for",
        where=file.path.name,
        got=name,
    )


def _config(decoder: DecoderFormat, file: GgufFile) -> dict[str, Any]:
    meta, own = file.metadata, f"{decoder.architecture}."
    heads = meta[f"{own}attention.head_count"]
    # GGUF keeps float32; the shortest decimal of the same float32 is what the authors wrote.
    epsilon = float(str(np.float32(meta[f"{own}attention.layer_norm_rms_epsilon"])))
    return {
        "architectures": [decoder.model_class],
        "model_type": decoder.architecture,
        "hidden_size": meta[f"{own}embedding_length"],
        "intermediate_size": meta[f"{own}feed_forward_length"],
        "num_hidden_layers": meta[f"{own}block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta[f"{own}attention.head_count_kv"],
        "head_dim": meta[f"{own}embedding_length"] // heads,
        "hidden_act": "silu",
        "rms_norm_eps": epsilon,
        "rope_theta": meta[f"{own}rope.freq_base"],
        "max_position_embeddings": meta[f"{own}context_length"],
        "vocab_size": file.shapes["token_embd.weight"][0],
        "tie_word_embeddings": decoder.tied or "output.weight" not in file.shapes,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
        **decoder.settings,
    }


def _write_tokenizer(decoder: DecoderFormat, file: GgufFile, folder: Path) -> None:
    meta = file.metadata
    kinds: list[int] = meta["tokenizer.ggml.token_type"]
    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in meta["tokenizer.ggml.merges"]]
    # What only fills the embeddings up to a round number is no token.
    vocabulary = {
        token: place
        for place, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind != _UNUSED
    }
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    if decoder.normal is not None:
        core.normalizer = decoder.normal()
    core.pre_tokenizer = pre_tokenizers.Sequence(decoder.split())
    core.decoder = decoders.ByteLevel()
    added = {_CONTROL: True, _USER_DEFINED: False}
    for place, kind in enumerate(kinds):
        if kind in added:
            token = AddedToken(tokens[place], special=added[kind], normalized=False)
            (core.add_special_tokens if added[kind] else core.add_tokens)([token])
    core.save(str(folder / "tokenizer.json"))
    named = {
        f"{name}_token": tokens[meta[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
        if f"tokenizer.ggml.{key}_token_id" in meta
    }
    write_json(
        folder / "tokenizer_config.json",
        named
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": meta[f"{decoder.architecture}.context_length"],
            "chat_template": meta["tokenizer.chat_template"],
        },
    )


def _require(file: GgufFile, key: str, expected: object) -> None:
    if file.metadata.get(key) != expected:
        raise CatalogueError(
            "these weights are of a kind that is not converted",
            where=f"{file.path.name}, {key}",
            got=file.metadata.get(key),
            expected=expected,
        )
