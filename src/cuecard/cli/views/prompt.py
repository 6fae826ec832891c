"""A prompt as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cuecard.artifacts import Prompt
from cuecard.artifacts.manifest import Manifest
from cuecard.artifacts.nearest import NearestWords
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import (
    LABELS_NAME,
    MIX_SOURCES,
    SHIFT_DOWN,
    SHIFTS_NAME,
    VISION_LAYERS_NAME,
    WITH_HEADS,
)
from cuecard.cli.views.tables import print_facts, print_table
from cuecard.parameter_counts import trained_text
from cuecard.validation_text import counted

_SHORT = 12  # characters of a digest


def print_prompt(
    prompt: Prompt, near: Sequence[NearestWords] | None, folder: Path, out: Console
) -> None:
    """Print what the manifest says, and the nearest words if they are known."""
    print_facts(out, _facts(prompt, folder))
    if near is not None:
        out.print()
        _print_words(near, out)


def _facts(prompt: Prompt, folder: Path) -> list[tuple[str, str]]:
    manifest, spec = prompt.manifest, prompt.spec
    entry = manifest.backbone
    print_of = ", ".join(f"{k} {v[:_SHORT]}" for k, v in entry.fingerprint.model_dump().items())
    words = [
        label if spec.words.get(label, label) == label else f"{label} (says {spec.words[label]!r})"
        for label in spec.labels
    ]
    # What the words of a found prompt are made of stands in its template.
    shown = {k: v for k, v in manifest.method_config.items() if k != "parts"}
    settings = {k: v for k, v in shown.items() if v is not None}
    return [
        ("folder", str(folder)),
        ("digest", prompt.digest),
        ("size", f"{_size(prompt)}, {prompt.nbytes:,} bytes"),
        ("method", f"{manifest.method} {json.dumps(settings, ensure_ascii=False)}"),
        ("parameters", _parameters(manifest)),
        ("slot", manifest.slot),
        ("task", f"{spec.kind}{', in the chat format' if spec.chat else ''}"),
        *_head(prompt),
        ("template", json.dumps(spec.template, ensure_ascii=False)),
        ("labels", ", ".join(words) or f"(none: {spec.target_field})"),
        ("backbone", f"{entry.name}: {entry.num_layers} layers, {entry.vocab_size:,} tokens"),
        ("fingerprint", print_of),
        *(() if manifest.ported_from is None else (("ported from", str(manifest.ported_from)),)),
        *_metrics(manifest.metrics),
        ("calibration", "none" if manifest.prior is None else json.dumps(manifest.prior)),
        ("data", manifest.data_hash or "unknown"),
        ("rows", _rows(manifest.rows)),
        ("seed", "unknown" if manifest.seed is None else str(manifest.seed)),
        ("made with", ", ".join(f"{k} {v}" for k, v in manifest.created_with.items())),
    ]


def _parameters(manifest: Manifest) -> str:
    entry = manifest.parameters
    return "unknown" if entry is None else trained_text(entry.trained, entry.total)


def _rows(entry: RowsEntry | None) -> str:
    if entry is None:
        return "unknown"
    return f"hashes of {entry.trained_rows:,} trained and {entry.selected_rows:,} selected on"


def _head(prompt: Prompt) -> list[tuple[str, str]]:
    """A line about the head, if there is one."""
    head, spec = prompt.head(), prompt.spec
    if head is None:
        return []
    outputs, width = head.weight.shape
    note = spec.task_kind.head_note(spec)
    return [("head", f"{prompt.manifest.head}, {counted(outputs, 'output')} of {width}{note}")]


def _size(prompt: Prompt) -> str:
    """What the tensors are, in words."""
    rows, width = prompt.vectors.shape
    manifest, layers = prompt.manifest, prompt.manifest.backbone.num_layers
    if manifest.injection == "none":
        alone = "words" if manifest.method == "search" else "the LoRA adapter"
        return f"no vectors: {alone} alone"
    if manifest.injection in WITH_HEADS:
        each = width // (2 * layers)
        what = (
            "late keys and values" if manifest.injection == "late-prefix-kv" else "keys and values"
        )
        positions = counted(rows, "position")
        return f"{what} of {positions}, {each} each in {counted(layers, 'layer')}"
    if manifest.injection == "label-tokens":
        count, deep, each, wide = prompt.tensors[LABELS_NAME].shape
        of_all = "labels' names" if count == 1 else f"the names of {counted(count, 'label')} each"
        more = "" if deep == 1 else f", in {counted(deep, 'layer')}"
        seen = prompt.tensors.get(VISION_LAYERS_NAME)
        more += "" if seen is None else f", and {counted(seen.shape[1], 'vector')} of images"
        more += ", which each image moves" if SHIFT_DOWN in prompt.tensors else ""
        return f"{counted(each, 'vector')} of {wide} around {of_all}{more}"
    if manifest.injection == "layer-tokens":
        return f"{counted(rows, 'vector')} of {width} in {counted(layers, 'layer')}"
    shifts, sources = (prompt.tensors.get(name) for name in (SHIFTS_NAME, MIX_SOURCES))
    more = "" if shifts is None else f", {counted(len(shifts), 'shift')}"
    if sources is not None:
        more += f", and a mix of {counted(len(sources), 'source prompt')} by input"
    return f"{counted(rows, 'vector')} of {width}{more}"


def _metrics(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line per set of rows, or per value where it is no such set."""
    if not metrics:
        return [("metrics", "none")]
    return [
        (name, _numbers(value) if isinstance(value, Mapping) else json.dumps(value))
        for name, value in metrics.items()
    ]


def _numbers(values: Mapping[str, Any]) -> str:
    found = values.get("ci95")
    intervals: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    parts = []
    for name, value in values.items():
        if name == "ci95" and isinstance(value, Mapping):
            continue
        parts.append(f"{name} {json.dumps(_rounded(value))}{_interval(intervals.get(name))}")
    # Intervals of values that the manifest does not hold themselves.
    parts += [f"{k}{_interval(v)}" for k, v in intervals.items() if k not in values]
    return ", ".join(parts)


def _rounded(value: Any) -> Any:
    """A value with its numbers, in lists and mappings too, as they are shown."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return {k: _rounded(one) for k, one in value.items()} if isinstance(value, dict) else value


def _interval(bounds: object) -> str:
    match bounds:
        case [float() | int() as low, float() | int() as high]:
            return f" (95% interval {low:.3f} - {high:.3f})"
    return ""


def _print_words(near: Sequence[NearestWords], out: Console) -> None:
    rows = [
        (
            str(number),
            f"{one.norm:.3f}",
            f"{one.relative_norm:.2f}x",
            "  ".join(f"{word!r} {cosine:.2f}" for word, cosine in one.words),
        )
        for number, one in enumerate(near, 1)
    ]
    words = "nearest words by cosine"
    print_table(out, ("vector", "length", "of a word's", words), rows, left=(words,))
