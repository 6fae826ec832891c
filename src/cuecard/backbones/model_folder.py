"""A model's folder or hub repository, checked before transformers or torch reads anything of it.

The folder may come from anyone. Weights are read from safetensors alone, since a pickle can run
code; files that do not hold what their names say (a Git LFS pointer, half a download) are named; an
adapter, which transformers would load by itself wherever peft is installed, is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from cuecard.errors import BackboneError
from cuecard.lazy import lazy_module

hub = lazy_module("huggingface_hub")
hub_errors = lazy_module("huggingface_hub.errors")

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
EXPECTED = "a folder with config.json, model.safetensors and tokenizer.json"

_LFS = b"version https://git-lfs.github.com/spec/v1"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
_TEXTS = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# What safetensors itself allows a header.
_MAX_HEADER = 100_000_000
_MAX_CONFIG = 10_000_000
# Sizes that transformers' configurations have under these names, one for all or a list by layer.
_DTYPE = re.compile(r"(torch\.)?(auto|float(16|32|64)?|bfloat16|half|double|float[48]_\w+|u?int8)")
_SIZES = (
    "d_ff",
    "d_kv",
    "d_model",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "n_embd",
    "n_head",
    "n_layer",
    "n_positions",
    "num_attention_heads",
    "num_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_layers",
    "vocab_size",
)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model's files on this machine.

    Attributes:
        path: the folder.
        name: what to call the model: the folder's own name, or the hub id.
        config: its config.json.
    """

    path: Path
    name: str
    config: Mapping[str, Any]


def find_model(source: str | Path) -> ModelFolder:
    """A local folder, or a hub repository's files, fetched if need be; all are checked.

    Raises:
        BackboneError: nothing there, or files that cannot be used, with the file's name.
    """
    path = Path(source)
    if path.exists():
        # A folder's own name, since its path would tell of this machine in every saved prompt.
        return ModelFolder(path, path.resolve().name, _checked(path))
    folder = _fetch(str(source))
    return ModelFolder(folder, str(source), _checked(folder))


def _checked(folder: Path) -> dict[str, Any]:
    """The configuration of a folder whose files are what their names say."""
    if not folder.is_dir():
        raise BackboneError(
            "a model is a folder, not a single file", where=str(folder), expected=EXPECTED
        )
    try:
        files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
        for path in files.values():
            _refuse_pointer(path)
    except OSError as error:
        raise BackboneError(
            "the model's folder cannot be read",
            where=str(error.filename or folder),
            got=error.strerror or str(error),
        ) from error
    _refuse_adapter(folder, files)
    if CONFIG not in files:
        raise BackboneError(
            "this is not a model folder",
            where=str(folder),
            got=f"no {CONFIG} there",
            expected=EXPECTED,
        )
    config = read_object(files[CONFIG])
    _check_config(config, str(files[CONFIG]))
    for name in ("tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        if name in files:
            found = read_object(files[name])
            if name == "generation_config.json":
                _check_token_ids(found, str(files[name]))
    _check_weights(folder, files, config)
    return config


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        raise BackboneError(
            "the file is a Git LFS pointer, not the file itself",
            where=str(path),
            hint="run `git lfs pull` in the repository, or download the file again",
        )


def _refuse_adapter(folder: Path, files: Mapping[str, Path]) -> None:
    """transformers would put the adapter on the model by itself, and say nothing of it."""
    if ADAPTER not in files:
        return
    alone = CONFIG not in files
    raise BackboneError(
        "this is an adapter, not a model" if alone else "the model's folder holds an adapter",
        where=str(files[ADAPTER]),
        got=ADAPTER,
        expected="a model's folder without an adapter",
        hint=f"give the base model, and the adapter by --adapter {folder}"
        if alone
        else f"move {ADAPTER} and its weights to a folder of their own; use it with --adapter",
    )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        BackboneError: no JSON, no object, or too large for what it is.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG:
            raise BackboneError("the file is too large", where=str(path), expected="a small file")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise BackboneError(
            "the file cannot be read", where=str(path), got=error.strerror or str(error)
        ) from error
    except (ValueError, RecursionError) as error:
        got = "an empty file" if not path.stat().st_size else str(error)
        raise BackboneError(
            "the file is not JSON", where=str(path), got=got, expected="a JSON object"
        ) from error
    if not isinstance(found, dict):
        raise BackboneError(
            "the file does not hold a JSON object",
            where=str(path),
            got=type(found).__name__,
            expected="an object: {...}",
        )
    return found


def _check_config(config: Mapping[str, Any], where: str) -> None:
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise BackboneError(
            "the configuration does not say what the model is",
            where=where,
            got=f"model_type: {kind!r}",
            expected='the name of an architecture, such as "llama"',
        )
    _check_token_ids(config, where)
    for name in ("dtype", "torch_dtype"):
        value = config.get(name)
        if value is not None and not (isinstance(value, str) and _DTYPE.fullmatch(value)):
            raise BackboneError(
                "the configuration names a type of numbers that torch does not have",
                where=f"{where}, {name}",
                got=repr(value),
                expected="such as float32 or bfloat16",
            )
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        for name in _SIZES:
            value = part.get(name)
            for size in value if isinstance(value, list) else [value]:
                if size is not None and (type(size) is not int or size < 1):
                    raise BackboneError(
                        "a size in the configuration cannot be used",
                        where=f"{where}, {name}",
                        got=repr(value),
                        expected="a whole number of 1 or more",
                    )


def _check_token_ids(config: Mapping[str, Any], where: str) -> None:
    for name, value in config.items():
        ids = value if isinstance(value, list) else [value]
        if name.endswith("_token_id") and any(i is not None and type(i) is not int for i in ids):
            raise BackboneError(
                "a token id in the configuration cannot be used",
                where=f"{where}, {name}",
                got=repr(value),
                expected="a whole number, or a list of them",
            )


def _check_weights(folder: Path, files: Mapping[str, Path], config: Mapping[str, Any]) -> None:
    named = config.get("transformers_weights")
    index = named if isinstance(named, str) and named.endswith(".index.json") else INDEX
    if named is not None and index != named:
        _check_shards(folder, files, [named], CONFIG)
    elif named is None and WEIGHTS in files:
        check_safetensors(files[WEIGHTS])
    elif index in files:
        shards = read_object(files[index]).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise BackboneError(
                "the index names no weights", where=str(files[index]), expected="a weight_map"
            )
        _check_shards(folder, files, shards.values(), index, shards)
    else:
        pickles = [name for name in files if name.endswith(_PICKLES)]
        raise BackboneError(
            "the weights are not in safetensors; other formats can run code and are never opened"
            if pickles
            else "the folder has no weights",
            where=str(folder),
            got=", ".join(pickles[:3]) or f"no {WEIGHTS} and no {INDEX}",
            expected=WEIGHTS,
            hint="convert them where you trust them: "
            "AutoModel.from_pretrained(folder).save_pretrained(folder)"
            if pickles
            else None,
        )


def _check_shards(
    folder: Path,
    files: Mapping[str, Path],
    names: Iterable[Any],
    by: str,
    wanted: Mapping[str, Any] | None = None,
) -> None:
    """Every shard that is named is there, whole, and holds the tensors that it should."""
    held: dict[str, set[str]] = {}
    for name in names:
        if name in held:
            continue
        if not isinstance(name, str) or PurePath(name).name != name or name not in files:
            raise BackboneError(
                "a file of weights is missing",
                where=str(folder),
                got=f"{by} names {name!r}",
                expected="that file in the folder",
                hint="download the model again",
            )
        held[name] = set(check_safetensors(files[name]))
    for tensor, name in (wanted or {}).items():
        if tensor not in held[name]:
            raise BackboneError(
                "a file of weights does not hold what the index says",
                where=str(files[name]),
                got=f"no tensor {tensor}",
                expected=f"the tensors that {by} names",
            )


def check_safetensors(path: Path) -> dict[str, Any]:
    """The header of a safetensors file that is as long as its header says: name -> entry.

    Raises:
        BackboneError: no safetensors, cut short, or damaged.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = file.read(length) if length <= min(_MAX_HEADER, size - 8) else b""
        header = json.loads(content)
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except OSError as error:
        raise BackboneError(
            "the weights cannot be read", where=str(path), got=error.strerror or str(error)
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise BackboneError(
            "the file of weights is damaged or cut short",
            where=str(path),
            got=f"{size:,} bytes without a whole safetensors header",
            expected="a safetensors file",
            hint="download the file again",
        ) from error
    if size != end:
        raise BackboneError(
            "the file of weights is cut short" if size < end else "the file of weights is too long",
            where=str(path),
            got=f"{size:,} bytes",
            expected=f"{end:,} bytes, as its header says",
            hint="download the file again",
        )
    return entries


def _fetch(name: str) -> Path:
    """The files of a hub repository: from the hub, or from the cache where it cannot be reached."""
    try:
        found = hub.HfApi().model_info(name, timeout=10)
        return Path(
            hub.snapshot_download(
                name, revision=found.sha, allow_patterns=_wanted(found.siblings or ())
            )
        )
    except (hub_errors.RepositoryNotFoundError, hub_errors.HFValidationError) as error:
        raise _no_such_model(name, _first_line(error)) from error
    except (OSError, ValueError, hub_errors.HTTPError) as error:
        # No network, or the hub's own offline mode: what was fetched before will do.
        try:
            return Path(hub.snapshot_download(name, local_files_only=True))
        except (OSError, ValueError) as missing:
            got = f"not in the cache, and the hub cannot be reached: {_first_line(error)}"
            raise _no_such_model(name, got) from missing


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _no_such_model(name: str, got: str) -> BackboneError:
    return BackboneError(
        "there is no such model",
        where=name,
        got=got,
        expected="a catalogue name, a local folder or a hub id (owner/name)",
        hint="`cuecard backbones` lists the catalogue; a hub id needs the network once",
    )


def _wanted(siblings: Iterable[Any]) -> list[str]:
    """The files that are needed of a repository: texts and safetensors, no code and no pickles."""
    names = [str(sibling.rfilename) for sibling in siblings]
    whole = [name for name in names if "/" not in name]
    if INDEX in whole:
        weights = [name for name in whole if _SHARD.fullmatch(name)]
    else:
        weights = [name for name in whole if name == WEIGHTS]
    texts = [name for name in whole if name.endswith(_TEXTS)]
    return [*texts, *weights, *(n for n in names if n.startswith("additional_chat_templates/"))]
