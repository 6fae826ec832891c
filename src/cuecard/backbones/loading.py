"""Load a folder or a hub id as a frozen backbone of the family that its config names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from cuecard.backbones.adapters.adapter import Adapter, merge
from cuecard.backbones.adapters.peft_folder import read_adapter
from cuecard.backbones.causal import CausalBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.image_processor import ImageProcessor, MaskProcessor
from cuecard.backbones.libraries import import_transformers, use_torchao, without_kernels
from cuecard.backbones.loaded_checks import check_finite, check_ids, check_placed, check_whole
from cuecard.backbones.masked import MaskedBackbone
from cuecard.backbones.model_folder import CONFIG, ModelFolder, check_safetensors, find_model
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.backbones.quantization.quantize import (
    bitsandbytes_options,
    check_quantize,
    form_of,
    quantize_linears,
)
from cuecard.backbones.segmentation import SegmentationBackbone
from cuecard.backbones.seq2seq import Seq2SeqBackbone
from cuecard.backbones.two_tower import TwoTowerBackbone
from cuecard.backbones.vision import VisionBackbone
from cuecard.errors import AdapterError, BackboneError, CuecardError

transformers = import_transformers()
Place = Callable[[Any, torch.device], None]
"""Puts a frozen model on a device."""
OfTexts = CausalBackbone | Seq2SeqBackbone | MaskedBackbone
Loaded = OfTexts | VisionBackbone | SegmentationBackbone
_SAID = 300  # characters of a library's own message
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_frozen(
    source: str | Path | ModelFolder,
    *,
    name: str | None = None,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize = "none",
    adapter: str | Path | None = None,
    place: Place | None = None,
) -> Loaded:
    """Load a causal language model, an encoder-decoder or a masked one and freeze it.

    An encoder whose files hold no masked-LM head, such as a sentence encoder, has none here.

    Args:
        source: a local folder in the hub's layout, a hub id, or what `find_model` made of one.
        name: what to call it in reports and artefacts; the folder's name or the hub id by default.
        dtype: "fp32", "bf16" or "auto" (bf16 where the processor multiplies it fast).
        device: a torch device, or "auto" (CUDA, then Apple's MPS, then the CPU).
        quantize: hold the linear layers' weights in 8 bits ("int8", "llm-int8") or 4 ("int4",
            "nf4"); see `backbones/quantization/quantize.py`.
        adapter: the folder of a LoRA adapter in PEFT's format, merged into the weights before
            these are quantised.
        place: shards the layers of a causal language model among several processes, and puts the
            rest on its device; None puts all of it there.

    Raises:
        AdapterError: an adapter that cannot be trusted, or not on this model.
        BackboneError: nothing there, files that cannot be trusted or used, a model of another
            family, weights that do not make up a language model, no fast tokenizer, or a form that
            cannot be had here. Nothing in the folder is run.
    """
    where = choose_device(device)
    check_quantize(quantize, where)
    _check_mergeable(adapter, quantize)
    # Read first: a broken adapter is told before a model is loaded.
    update = None if adapter is None else read_adapter(adapter)
    kind = choose_dtype(dtype, where)
    folder = source if isinstance(source, ModelFolder) else find_model(source)
    at = str(folder.path)
    with _quiet():
        config = _config_of(folder)
        called, seen = name or folder.name, _vision_config(config)
        if place is not None:
            _check_shardable(config, called, quantize)
        if seen is not None:
            _check_plain(FAMILIES["vision"], called, quantize, None)
            both = config if _has_two_towers(folder, config) else None
            return _vision_backbone(folder, seen, both, called, kind, where, update)
        if type(config) in transformers.MODEL_FOR_MASK_GENERATION_MAPPING:
            _check_plain(FAMILIES["segmentation"], called, quantize, adapter)
            return _segmentation_backbone(folder, config, called, kind, where)
        auto, family = _family_of(config)
        tokenizer = _tokenizer_of(at)
        options = bitsandbytes_options(quantize, kind, where)
        model, found = _model_of(folder, auto, config, dtype=kind, **options)
    missing, encoder = found["missing_keys"], model.base_model
    if family is MaskedBackbone and missing and not _of(encoder, model, missing):
        model, missing = encoder, ()
    check_whole(missing, type(model).__name__, at)
    check_placed(found["unexpected_keys"], model, at)
    check_ids(model, tokenizer, at)
    check_finite(model, at)
    if update is not None and form_of(model) != "none":
        raise _unmergeable(f"weights in the form {form_of(model)}")
    plain = None if update is None and place is None else fingerprint_of(model, tokenizer)
    if update is not None and plain is not None:
        merge(model, update)
        # The base's own: it is the same in every precision, which rounded sums are not.
        plain = replace(plain, quantize=quantize, adapter=update.digest)
    if quantize in ("int8", "int4"):
        quantize_linears(model, quantize)
    if place is not None:
        place(model, where)
    elif not options:  # bitsandbytes puts its models where they belong, and lets nobody move them
        model = model.to(where)
    backbone = family(model, tokenizer, name or folder.name)
    if plain is not None:
        backbone.fingerprint = plain
    return backbone


def _vision_config(config: Any) -> Any | None:
    """The configuration of a vision encoder, or of the one in a model of two towers; else None."""
    if type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return getattr(config, "vision_config", config)
    patches = hasattr(config, "patch_size") and not hasattr(config, "vocab_size")
    return config if patches and type(config) in transformers.MODEL_MAPPING else None


def _vision_backbone(
    folder: ModelFolder,
    config: Any,
    both: Any | None,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    update: Adapter | None,
) -> VisionBackbone:
    """A vision encoder with its image processor, and the tower that reads where there is one.

    Args:
        config: of the encoder.
        both: of the model of two towers that it is a part of; None for an encoder alone.

    Raises:
        BackboneError: as `load_frozen`; also a model of another shape than ViT's.
    """
    at = str(folder.path)
    images = ImageProcessor(_image_processor(at), name)
    model, found = _model_of(folder, transformers.AutoModel, both or config, dtype=dtype)
    model = model.to(device)
    backbone = (
        VisionBackbone(model, images, name)
        if both is None
        else TwoTowerBackbone(model, images, _tokenizer_of(at), name)
    )
    tower = backbone.tower  # taken apart now: what has another shape is refused before any work
    # A pooler or a head that nothing reads may be missing.
    missing = [weight for weight in found["missing_keys"] if both or tower.uses(weight)]
    check_whole(missing, type(model).__name__, at)
    check_placed(found["unexpected_keys"], model, at)
    check_finite(model, at)
    if update is not None:
        plain = backbone.fingerprint
        merge(backbone.model, update)
        backbone.fingerprint = replace(plain, adapter=update.digest)
    return backbone


def _has_two_towers(folder: ModelFolder, config: Any) -> bool:
    """Whether it is a model of images and texts, with a fast tokenizer for the texts."""
    compares = type(config) in transformers.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING
    return compares and (folder.path / "tokenizer.json").is_file()


def _segmentation_backbone(
    folder: ModelFolder, config: Any, name: str, dtype: torch.dtype, device: torch.device
) -> SegmentationBackbone:
    """A promptable segmentation model with its image processor.

    Raises:
        BackboneError: as `load_frozen`; also a model of another shape than SAM's.
    """
    at = str(folder.path)
    processor = MaskProcessor(_image_processor(at), name)
    model, found = _model_of(folder, transformers.AutoModelForMaskGeneration, config, dtype=dtype)
    check_whole(found["missing_keys"], type(model).__name__, at)
    check_placed(found["unexpected_keys"], model, at)
    check_finite(model, at)
    return SegmentationBackbone(model.to(device), processor, name)


def _image_processor(at: str) -> Any:
    with _foreign("the image processor cannot be loaded", at, "a preprocessor_config.json"):
        # Pillow's, wherever torchvision is installed too: the same pixels on every machine.
        return transformers.AutoImageProcessor.from_pretrained(
            at, backend="pil", trust_remote_code=False, local_files_only=True
        )


def _check_plain(family: Family, name: str, quantize: Quantize, adapter: object | None) -> None:
    """
    Args:
        adapter: one that the family does not take.

    Raises:
        BackboneError: a quantised form, or an adapter.
    """
    if quantize != "none":
        raise BackboneError(
            f"{family.about} is not quantised",
            where=name,
            got=f"quantize {quantize}",
            expected="no --quantize; --dtype bf16 halves its weights",
        )
    if adapter is not None:
        raise BackboneError(
            f"{family.about} takes no adapter", where=name, got=str(adapter), expected="a prompt"
        )


def _check_shardable(config: Any, name: str, quantize: Quantize) -> None:
    """
    Raises:
        BackboneError: a model whose layers are not run as a whole, or are not plain weights.
    """
    form = quantize if quantize != "none" else getattr(config, "quantization_config", None)
    has_head = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    if not has_head or _family_of(config)[1] is not CausalBackbone:
        got = f"model_type {config.model_type!r}"
    elif form is not None:
        got = f"quantised weights ({form})" if isinstance(form, str) else "quantised weights"
    else:
        return
    raise BackboneError(
        "this backbone is not sharded",
        where=f"--shard-backbone, backbone {name}",
        got=got,
        expected="a causal language model whose weights are not quantised",
        hint="without --shard-backbone each process holds all of it",
    )


def _check_mergeable(adapter: str | Path | None, quantize: Quantize) -> None:
    """Raises AdapterError for forms that weights are loaded in, and not brought into later."""
    if adapter is not None and quantize in ("nf4", "llm-int8"):
        raise _unmergeable(f"--quantize {quantize}")


def _unmergeable(got: str) -> AdapterError:
    return AdapterError(
        "an adapter is merged into plain weights, before they are quantised",
        where="--adapter",
        got=got,
        expected="plain weights, held as they are or as int8 or int4",
    )


def _config_of(folder: ModelFolder) -> Any:
    """The configuration as transformers has it, without what would fetch code or import it."""
    where, kind = str(folder.path / CONFIG), folder.config["model_type"]
    if kind not in transformers.CONFIG_MAPPING:
        own = folder.config.get("auto_map")
        raise BackboneError(
            "the model needs code of its own folder, which is never run"
            if own
            else "an architecture that the installed transformers does not have",
            where=where,
            got=f"model_type {kind!r}" + (f", auto_map {own}" if own else ""),
            expected="an architecture of transformers itself",
            hint=f"see whether a newer transformers than {transformers.__version__} has it",
        )
    quantized = folder.config.get("quantization_config")
    if quantized is not None:
        _check_quantized(quantized, where)
    with _foreign("the model's configuration cannot be used", where):
        config: Any = transformers.AutoConfig.from_pretrained(
            str(folder.path), trust_remote_code=False
        )
    return without_kernels(config)


def _check_quantized(settings: Any, where: str) -> None:
    """Weights that are stored quantised need a method that transformers knows."""
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    known = import_module("transformers.quantizers.auto").AUTO_QUANTIZATION_CONFIG_MAPPING
    by_bits = isinstance(settings, dict) and (
        settings.get("load_in_4bit") or settings.get("load_in_8bit")
    )
    if method not in known and not by_bits:
        raise BackboneError(
            "the weights are quantised in an unknown way",
            where=f"{where}, quantization_config",
            got=repr(method),
            expected=", ".join(sorted(known)),
        )
    if method == "torchao":
        use_torchao()


def _tokenizer_of(where: str) -> Any:
    """The folder's fast tokenizer."""
    with _foreign(
        "the tokenizer cannot be loaded", where, "a tokenizer.json as tokenizers saves it"
    ):
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(where, trust_remote_code=False)
    if not getattr(tokenizer, "is_fast", False):
        raise BackboneError(
            "the backbone has no fast tokenizer",
            where=where,
            got=type(tokenizer).__name__,
            expected="a tokenizer.json",
        )
    return tokenizer


def _model_of(folder: ModelFolder, auto: Any, config: Any, **options: Any) -> tuple[Any, Any]:
    """The model and what transformers tells of its weights."""
    where = str(folder.path)
    with _foreign("the model cannot be loaded", where):
        try:
            found: tuple[Any, Any] = auto.from_pretrained(
                where,
                config=config,
                output_loading_info=True,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                **options,
            )
        except RuntimeError as error:
            odd = _other_shape(folder, auto, config)
            if odd is None:
                raise
            raise BackboneError(
                "the weights do not have the sizes that the configuration says",
                where=where,
                got=odd[0],
                expected=odd[1],
            ) from error
    return found


def _other_shape(folder: ModelFolder, auto: Any, config: Any) -> tuple[str, str] | None:
    """The first tensor in the files whose shape is not the model's, and the model's shape."""
    with torch.device("meta"):
        model = auto.from_config(config, trust_remote_code=False)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    for path in sorted(folder.path.glob("*.safetensors")):
        for name, entry in check_safetensors(path).items():
            for full in (name, f"{model.base_model_prefix}.{name}"):
                if shapes.get(full, entry["shape"]) != entry["shape"]:
                    return f"{name} {entry['shape']} in {path.name}", f"{shapes[full]}"
    return None


def _told(error: Exception) -> str:
    said = " ".join(str(error).split())
    # A KeyError's text is the key alone.
    return f"no entry {said}" if isinstance(error, KeyError) else f"{type(error).__name__}: {said}"


@contextmanager
def _foreign(what: str, where: str, expected: str | None = None) -> Iterator[None]:
    """What transformers, tokenizers, safetensors and the system raise, as an error of ours."""
    try:
        yield
    except CuecardError:
        raise
    except Exception as error:
        raise BackboneError(
            what,
            where=where,
            got=_told(error)[:_SAID],
            expected=expected,
        ) from error


def _family_of(config: Any) -> tuple[Any, type[OfTexts]]:
    """How a model of this config is loaded, and the family that runs it."""
    if getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModelForSeq2SeqLM, Seq2SeqBackbone
    # BERT and its kin can also be built as decoders; then their config says so.
    masked = type(config) in transformers.MODEL_FOR_MASKED_LM_MAPPING
    if masked and not getattr(config, "is_decoder", False):
        return transformers.AutoModelForMaskedLM, MaskedBackbone
    return transformers.AutoModelForCausalLM, CausalBackbone


def _of(encoder: Any, model: Any, names: Collection[str]) -> bool:
    """Whether some of the model's weights of these names are the encoder's."""
    own = {f"{model.base_model_prefix}.{name}" for name in encoder.state_dict()}
    return not own.isdisjoint(names)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar, and no remarks on untied heads: what matters is checked and raised."""
    shown, level = (
        transformers_logging.is_progress_bar_enabled(),
        transformers_logging.get_verbosity(),
    )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if shown:
            transformers_logging.enable_progress_bar()


def choose_device(device: str) -> torch.device:
    """ "auto" -> the best device there is.

    Raises:
        BackboneError: a device that torch does not know or this machine does not have.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BackboneError(
            "this device cannot be used",
            where="--device",
            got=f"{device}: {str(error).splitlines()[0]}",
            expected="auto, cpu, cuda or cuda:N",
        ) from error
    return chosen


def choose_dtype(dtype: Precision, device: torch.device) -> torch.dtype:
    """ "auto" -> bfloat16 where it is fast, else float32.

    Raises:
        BackboneError: an unknown precision.
    """
    if dtype in _DTYPES:
        return _DTYPES[dtype]
    if dtype != "auto":
        raise BackboneError(
            "unknown precision", where="--dtype", got=dtype, expected="auto, fp32 or bf16"
        )
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16(device)
    return torch.bfloat16 if fast else torch.float32


def _cpu_has_bf16(device: torch.device) -> bool:
    if device.type != "cpu":
        return False
    # Without the instructions bf16 is emulated and slower than fp32.
    flags = Path("/proc/cpuinfo")
    return flags.exists() and any(
        name in flags.read_text(errors="replace") for name in ("avx512_bf16", "amx_bf16", " bf16")
    )
