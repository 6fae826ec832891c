"""A Llama-shaped GGUF file -> a folder in the hub's layout, which transformers loads as it is.

The files are written as the model's authors publish them (bfloat16 safetensors, `tokenizer.json`
with the digits split before the byte-level pieces), with bytes that depend on nothing but the GGUF.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

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
_CONTROL = 3  # llama.cpp's token type of special tokens


def convert_llama(gguf: Path, folder: Path, progress: Progress, label: str) -> None:
    """Write `config.json`, `model.safetensors` and the tokenizer's files into `folder`.

    Args:
        gguf: a GGUF file of the architecture "llama" with a SmolLM byte-level BPE tokenizer.
        folder: an existing, empty folder.
        progress: called after each tensor.
        label: what to call the work there.

    Raises:
        CatalogueError: another architecture, tokenizer, tensor or quantisation.
    """
    file = read_gguf(gguf)
    _require(file, "general.architecture", "llama")
    _require(file, "tokenizer.ggml.model", "gpt2")
    _require(file, "tokenizer.ggml.pre", "smollm")
    _require(file, "tokenizer.ggml.add_bos_token", False)
    config = _config(file)
    write_json(folder / "config.json", config)
    ends = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_json(folder / "generation_config.json", ends)
    _write_tokenizer(file, folder)
    tensors = {}
    for done, name in enumerate(file.shapes, start=1):
        place = _new_name(file, name)
        tensors[place] = _weights(file, name)
        progress(label, done, len(file.shapes))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _weights(file: GgufFile, name: str) -> torch.Tensor:
    values = file.tensor(name)
    if ".attn_q." in name:
        values = _unpermuted(values, file.metadata["llama.attention.head_count"])
    elif ".attn_k." in name:
        values = _unpermuted(values, file.metadata["llama.attention.head_count_kv"])
    return torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)


def _unpermuted(values: Floats, heads: int) -> Floats:
    """Undo llama.cpp's interleaving of each head's rotary halves. [heads * D, H] -> the same."""
    rows, columns = values.shape
    return (
        values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def _new_name(file: GgufFile, name: str) -> str:
    if name in _OUTER:
        return _OUTER[name]
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in _INNER:
            return f"model.layers.{layer}.{_INNER[part]}.weight"
    raise CatalogueError(
        "the weights hold a tensor that a Llama model has no place for",
        where=file.path.name,
        got=name,
    )


def _config(file: GgufFile) -> dict[str, Any]:
    meta = file.metadata
    heads = meta["llama.attention.head_count"]
    # GGUF keeps float32; the shortest decimal of the same float32 is what the authors wrote.
    epsilon = float(str(np.float32(meta["llama.attention.layer_norm_rms_epsilon"])))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": meta["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "rms_norm_eps": epsilon,
        "rope_theta": meta["llama.rope.freq_base"],
        "max_position_embeddings": meta["llama.context_length"],
        "vocab_size": file.shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "torch_dtype": "bfloat16",
    }


def _write_tokenizer(file: GgufFile, folder: Path) -> None:
    meta = file.metadata
    tokens: list[str] = meta["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in meta["tokenizer.ggml.merges"]]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    kinds = zip(tokens, meta["tokenizer.ggml.token_type"], strict=True)
    core.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in kinds
            if kind == _CONTROL
        ]
    )
    core.save(str(folder / "tokenizer.json"))
    named = {
        f"{name}_token": tokens[meta[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
    }
    write_json(
        folder / "tokenizer_config.json",
        named
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_max_length": meta["llama.context_length"],
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
