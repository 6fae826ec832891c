"""Model folders that cannot be trusted or used are refused with the file and what is wrong."""

from __future__ import annotations

import copy
import io
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForPreTraining

from cuecard.backbones import MaskedBackbone
from cuecard.backbones.loading import load_frozen
from cuecard.backbones.model_folder import _wanted, find_model
from cuecard.errors import BackboneError
from cuecard.names import load_backbone
from support.tiny import tiny_model, tiny_tokenizer

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 99\n"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    tiny_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of a model's folder, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def refused(folder: Path, *words: str) -> BackboneError:
    """The refusal, which names everything in `words`."""
    with pytest.raises(BackboneError) as caught:
        load_backbone(folder, dtype="fp32", device="cpu")
    text = str(caught.value)
    for word in (str(folder), *words):
        assert word in text, text
    return caught.value


class Untouched(io.TextIOBase):
    """A standard input that nobody may read."""

    def readline(self, *_: Any) -> str:
        raise AssertionError("something was asked on standard input")


CODE = "from pathlib import Path\nPath(__file__).with_name('it-ran').touch()\n"


@pytest.fixture
def traps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with code under every name that transformers looks for."""
    monkeypatch.setattr(sys, "stdin", Untouched())
    (folder / "custom_generate").mkdir()
    for name in ("trap.py", "modeling_trap.py", "custom_generate/generate.py", "setup.py"):
        (folder / name).write_text(CODE)
    return folder


@pytest.mark.parametrize("kind", ["funky", "llama-next"])
def test_an_architecture_of_the_folders_own_is_refused(traps: Path, kind: str) -> None:
    edit(
        traps / CONFIG,
        model_type=kind,
        auto_map={"AutoConfig": "trap.TrapConfig", "AutoModelForCausalLM": "modeling_trap.Trap"},
    )
    refused(traps, CONFIG, kind, "trap.TrapConfig", "never run")
    assert not list(traps.rglob("it-ran"))


def test_code_beside_a_known_architecture_is_not_run(traps: Path) -> None:
    edit(traps / CONFIG, auto_map={"AutoModelForCausalLM": "modeling_trap.Trap"})
    edit(traps / "tokenizer_config.json", auto_map={"AutoTokenizer": ["trap.Trap", None]})
    backbone = load_frozen(traps, dtype="fp32", device="cpu")
    assert type(backbone.model).__module__.startswith("transformers.models.llama")
    assert not list(traps.rglob("it-ran"))


def test_a_tokenizer_of_the_folders_own_is_refused(traps: Path) -> None:
    place = traps / "tokenizer_config.json"
    edit(place, auto_map={"AutoTokenizer": ["trap.Trap", None]}, tokenizer_class="Trap")
    refused(traps, "tokenizer")
    assert not list(traps.rglob("it-ran"))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_kernels_that_a_configuration_names_are_not_fetched(folder: Path, key: str) -> None:
    edit(folder / CONFIG, **{key: "somebody/attention-kernel"})
    backbone = load_frozen(folder, dtype="fp32", device="cpu")
    assert "somebody" not in str(backbone.model.config._attn_implementation)


def test_an_adapter_in_a_models_folder_is_refused(folder: Path) -> None:
    settings = {"peft_type": "LORA", "base_model_name_or_path": "somebody/model", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    assert "--adapter" in (refused(folder, "adapter_config.json").hint or "")
    (folder / CONFIG).unlink()  # a folder of an adapter alone, which names another model
    assert "--adapter" in (refused(folder, "not a model").hint or "")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "tf_model.h5"])
def test_other_weights_than_safetensors_are_refused(folder: Path, name: str) -> None:
    torch.save({"x": torch.zeros(1)}, folder / name)
    load_frozen(folder, dtype="fp32", device="cpu")  # beside safetensors they are not opened
    (folder / WEIGHTS).unlink()
    refused(folder, name, "can run code")


@pytest.mark.parametrize(
    "name", [WEIGHTS, "tokenizer.json", "tokenizer_config.json", CONFIG, "chat_template.jinja"]
)
def test_git_lfs_pointers_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(POINTER)
    assert "git lfs pull" in (refused(folder, str(folder / name), "LFS pointer").hint or "")


def test_weights_that_are_cut_short_or_damaged_are_named(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    for spoilt in (b"", b"abc", content[:20], content[:3000], content[:-1], content + b"\0"):
        (folder / WEIGHTS).write_bytes(spoilt)
        refused(folder, WEIGHTS, f"{len(spoilt):,} bytes")
    for spoilt in (b"<!DOCTYPE html>" + b" " * 200, bytes(200), b"\x80\x04" + bytes(300)):
        (folder / WEIGHTS).write_bytes(spoilt)
        refused(folder, WEIGHTS)


def test_shards(folder: Path) -> None:
    shutil.rmtree(folder)
    tiny_model().save_pretrained(folder, max_shard_size="30KB")
    tiny_tokenizer().save_pretrained(folder)
    load_frozen(folder, dtype="fp32", device="cpu")
    index = folder / "model.safetensors.index.json"
    shard = next(folder.glob("model-00002-*.safetensors"))
    kept = shard.read_bytes()
    shard.write_bytes(kept[: len(kept) // 2])
    refused(folder, shard.name, "cut short")
    shard.unlink()
    refused(folder, shard.name, "missing")
    shutil.copy(next(folder.glob("model-00001-*.safetensors")), shard)
    refused(folder, shard.name, "no tensor")
    shard.write_bytes(kept)
    edit(index, weight_map={"model.norm.weight": "../model.safetensors"})
    refused(folder, "../model.safetensors")
    for spoilt in ("{}", "[]", "", '{"weight_map": {}}', '{"weight_map": 3}'):
        index.write_text(spoilt)
        refused(folder, index.name)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, number: float) -> None:
    name = "model.layers.0.self_attn.v_proj.weight"
    edit_weights(folder, lambda weights: weights[name][1].fill_(number))
    refused(folder, name, "32 NaN or infinite")


def test_large_weights_are_numbers(folder: Path) -> None:
    """Their sum is beyond float32."""
    edit_weights(folder, lambda weights: weights["lm_head.weight"].fill_(3e38))
    load_frozen(folder, dtype="fp32", device="cpu")


def test_tokens_without_embeddings_are_named(folder: Path) -> None:
    tokenizer = copy.deepcopy(tiny_tokenizer())  # the tests share it
    rows = len(tiny_model().get_input_embeddings().weight)
    added = rows - len(tokenizer)
    tokenizer.add_tokens([f"<extra-{n}>" for n in range(added)])
    tokenizer.save_pretrained(folder)
    load_frozen(folder, dtype="fp32", device="cpu")  # every row has its token
    tokenizer.add_tokens(["[[ward]]", "[[bed]]"])
    tokenizer.save_pretrained(folder)
    refused(folder, "[[ward]]", "[[bed]]", f"{rows:,} embeddings")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dtype": "float99"}, ("dtype", "'float99'", "bfloat16")),
        ({"torch_dtype": 32}, ("torch_dtype", "32")),
        ({"vocab_size": -4}, ("vocab_size", "-4")),
        ({"vocab_size": 0}, ("vocab_size",)),
        ({"hidden_size": "32"}, ("hidden_size", "'32'")),
        ({"num_hidden_layers": 2.5}, ("num_hidden_layers", "2.5")),
        ({"num_attention_heads": True}, ("num_attention_heads", "True")),
        ({"num_attention_heads": 5}, (CONFIG, "multiple")),
        ({"hidden_act": "no-such-act"}, ("no-such-act",)),
        ({"rms_norm_eps": "tiny"}, (CONFIG, "rms_norm_eps")),
        ({"eos_token_id": "two"}, ("eos_token_id", "'two'")),
        ({"bos_token_id": [1, None, 2.5]}, ("bos_token_id",)),
        ({"pad_token_id": 400}, ("Padding_idx",)),
        ({"decoder_start_token_id": 400}, ("decoder_start_token_id 400", "below 384")),
        ({"model_type": None}, ("model_type",)),
        ({"model_type": 7}, ("model_type",)),
        ({"model_type": "nothing"}, ("nothing",)),
        ({"model_type": "gpt2"}, ()),
        ({"hidden_size": 48}, ("[384, 32]", "[384, 48]")),
        ({"vocab_size": 10**7}, ("384", "10000000")),
        ({"num_hidden_layers": 3}, ("model.layers.2",)),
        ({"num_hidden_layers": 1}, ("model.layers.1", "leaves out")),
        ({"quantization_config": {"quant_method": "magic"}}, ("magic",)),
        ({"quantization_config": "int8"}, ("quantization_config",)),
        ({"transformers_weights": "../other.safetensors"}, ("../other.safetensors",)),
    ],
)
def test_configurations_that_do_not_fit(
    folder: Path, values: dict[str, Any], words: tuple[str, ...]
) -> None:
    edit(folder / CONFIG, **values)
    refused(folder, *words)


def test_weights_that_the_configuration_has_no_place_for(folder: Path) -> None:
    name = "model.layers.0.self_attn.q_proj.bias"
    edit_weights(folder, lambda weights: weights.update({name: torch.ones(32)}))
    refused(folder, name, "leaves out")


def test_a_further_head_is_no_fault(folder: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    config = BertConfig(vocab_size=384, num_hidden_layers=2, **sizes)
    BertForPreTraining(config).save_pretrained(folder)
    assert isinstance(load_frozen(folder, dtype="fp32", device="cpu"), MaskedBackbone)


@pytest.mark.parametrize("name", [CONFIG, "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "7", "[" * 100_000])
def test_settings_that_are_no_json_object(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    refused(folder, str(folder / name))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": "1.0", "model": {}}'])
def test_tokenizers_that_cannot_be_read(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    refused(folder, "tokenizer.json")
    with pytest.raises(BackboneError) as told:
        load_frozen(folder)
    assert "KeyError" not in str(told.value)


def test_folders_without_what_a_model_is(folder: Path, tmp_path: Path) -> None:
    refused(folder / WEIGHTS, "not a single file")
    (folder / WEIGHTS).unlink()
    refused(folder, "no weights")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "no config.json")


def test_an_unknown_hub_id_without_a_network_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(BackboneError, match="no such model") as caught:
        find_model("nobody/nothing-of-that-name")
    assert "nobody/nothing-of-that-name" in str(caught.value)
    assert not pauses  # nothing is tried again


def test_what_is_fetched_of_a_repository() -> None:
    class File:
        def __init__(self, name: str) -> None:
            self.rfilename = name

    names = [
        "config.json",
        "modeling_x.py",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "original/model.safetensors",
        "tokenizer.json",
        "adapter_config.json",
    ]
    kept = _wanted(map(File, names))
    assert "adapter_config.json" in kept  # to be refused
    assert {name for name in names if name not in kept} == {
        "modeling_x.py",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "original/model.safetensors",
    }
