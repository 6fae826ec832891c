"""A folder or a hub id -> a frozen backbone of the family that its config names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from cuecard.backbones._torchao import import_transformers
from cuecard.backbones.adapter import merge
from cuecard.backbones.adapter_files import read_adapter
from cuecard.backbones.causal import CausalBackbone
from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.forms import Precision, Quantize
from cuecard.backbones.masked import MaskedBackbone
from cuecard.backbones.quantize import (
    bitsandbytes_options,
    check_quantize,
    form_of,
    quantize_linears,
)
from cuecard.backbones.seq2seq import Seq2SeqBackbone
from cuecard.errors import AdapterError, BackboneError

transformers = import_transformers()
Loaded = CausalBackbone | Seq2SeqBackbone | MaskedBackbone
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_frozen(
    source: str | Path,
    *,
    name: str | None = None,
    dtype: Precision = "auto",
    device: str = "auto",
    quantize: Quantize = "none",
    adapter: str | Path | None = None,
) -> Loaded:
    """Load a causal language model, an encoder-decoder or a masked one and freeze it.

    An encoder whose files hold no masked-LM head, such as a sentence encoder, has none here.

    Args:
        source: a local folder in the hub's layout, or a hub id.
        name: what to call it in reports and artefacts; the folder's name or the hub id by default.
        dtype: "fp32", "bf16" or "auto" (bf16 where the processor multiplies it fast).
        device: a torch device, or "auto" (CUDA, then Apple's MPS, then the CPU).
        quantize: hold the linear layers' weights in 8 bits ("int8", "llm-int8") or 4 ("int4",
            "nf4"); see `backbones/quantize.py`.
        adapter: the folder of a LoRA adapter in PEFT's format, merged into the weights before
            these are quantised.

    Raises:
        AdapterError: an adapter that cannot be trusted, or not on this model.
        BackboneError: nothing there, a model of another family, weights that do not make up a
            language model, no fast tokenizer, or a form that cannot be had here.
    """
    where = choose_device(device)
    check_quantize(quantize, where)
    _check_mergeable(adapter, quantize)
    # Read first: a broken adapter is told before a model is loaded.
    update = None if adapter is None else read_adapter(adapter)
    kind = choose_dtype(dtype, where)
    local = Path(source)
    if local.exists() and not (local / "config.json").is_file():
        raise BackboneError(
            "this is not a model folder",
            where=str(source),
            got="no config.json there",
            expected="a folder with config.json, weights and a tokenizer",
        )
    with _quiet():
        try:
            options = bitsandbytes_options(quantize, kind, where)
            config: Any = transformers.AutoConfig.from_pretrained(str(source))
            auto, family = _family_of(config)
            model, found = auto.from_pretrained(
                str(source), dtype=kind, output_loading_info=True, **options
            )
            tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(source))
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            raise BackboneError(
                "the backbone cannot be loaded",
                where=str(source),
                got=str(error).strip().split("\n")[0],
                expected="a catalogue name, a local folder or the hub id of a causal language "
                "model, an encoder-decoder or a masked language model",
                hint="`cuecard backbones` lists the catalogue; a hub id needs the network once",
            ) from error
    missing, encoder = found["missing_keys"], model.base_model
    if family is MaskedBackbone and missing and not _of(encoder, model, missing):
        model, missing = encoder, ()
    _check_whole(missing, type(model).__name__, str(source))
    if not getattr(tokenizer, "is_fast", False):
        raise BackboneError(
            "the backbone has no fast tokenizer",
            where=str(source),
            got=type(tokenizer).__name__,
            expected="a tokenizer.json",
        )
    # A folder's own name, since its path would tell of this machine in every saved prompt.
    known = name or (local.resolve().name if local.exists() else str(source))
    plain = None
    if update is not None:
        if form_of(model) != "none":
            raise _unmergeable(f"weights in the form {form_of(model)}")
        plain = fingerprint_of(model, tokenizer)
        merge(model, update)
    if quantize in ("int8", "int4"):
        quantize_linears(model, quantize)
    # bitsandbytes has put its models where they belong, and lets nobody move them.
    backbone = family(model if options else model.to(where), tokenizer, known)
    if plain is not None and update is not None:
        # The base's own: it is the same in every precision, which rounded sums are not.
        backbone.fingerprint = replace(plain, quantize=quantize, adapter=update.digest)
    return backbone


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


def _family_of(config: Any) -> tuple[Any, type[Loaded]]:
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


def _check_whole(missing: Collection[str], kind: str, source: str) -> None:
    """Weights that are not in the files would be random; a missing LM head above all."""
    if missing:
        names = sorted(missing)
        raise BackboneError(
            "the files do not hold a whole language model",
            where=source,
            got=f"no weights for {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}",
            expected=f"every weight of {kind}",
        )


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
