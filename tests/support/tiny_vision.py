"""Tiny random vision encoders of every shape that is hooked, and drawn pictures to tell apart."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModel,
    BeitConfig,
    CLIPVisionConfig,
    DeiTConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    SiglipVisionConfig,
    SwinConfig,
    ViTConfig,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from cuecard.backbones import VisionBackbone
from cuecard.backbones.image_processor import ImageProcessor
from cuecard.images import checked, from_array, pixels_of
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Image, Record

SIDE, WIDTH, LAYERS = 24, 32, 3
LABELS = ("disc", "stripes")
SPEC = TaskSpec(kind="image-classification", template="{image}", labels=LABELS)


def _sizes(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "image_size": SIDE,
        "patch_size": 8,
        **more,
    }


VISION: dict[str, Any] = {
    "vit": lambda: ViTConfig(**_sizes()),
    "dinov2": lambda: Dinov2Config(**_sizes(mlp_ratio=2)),
    "dinov2-registers": lambda: Dinov2WithRegistersConfig(
        **_sizes(mlp_ratio=2, num_register_tokens=2)
    ),
    "clip": lambda: CLIPVisionConfig(**_sizes()),
    "siglip": lambda: SiglipVisionConfig(**_sizes()),
}
# Cousins of these, and in tests/backbones/test_vision.py.
COUSINS: dict[str, Any] = {
    "deit": lambda: DeiTConfig(**_sizes()),
    "dinov3": lambda: DINOv3ViTConfig(**_sizes(num_register_tokens=2)),
    "beit": lambda: BeitConfig(
        **_sizes(use_absolute_position_embeddings=True, use_mean_pooling=True)
    ),
    "beit-relative": lambda: BeitConfig(
        **_sizes(use_relative_position_bias=True, use_mean_pooling=False)
    ),
}
OTHER_SHAPES: dict[str, Any] = {
    "swin": lambda: SwinConfig(
        image_size=SIDE,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=3,
    ),
}


def tiny_vision_model(kind: str = "vit", seed: int = 0) -> Any:
    """A random encoder with weights large enough that its states differ."""
    config = {**VISION, **COUSINS, **OTHER_SHAPES}[kind]()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModel.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.2)
    return model.eval()


def tiny_processor() -> Any:
    """Pixels from -1 to 1, of 24 to a side."""
    return ViTImageProcessorPil(size={"height": SIDE, "width": SIDE})


def tiny_vision(kind: str = "vit", seed: int = 0) -> Any:
    """A fresh tiny vision backbone."""
    name = f"tiny-{kind}"
    return VisionBackbone(
        tiny_vision_model(kind, seed), ImageProcessor(tiny_processor(), name), name
    )


@cache
def shared_vision(kind: str = "vit", seed: int = 0) -> Any:
    """The one of tests that only read it."""
    return tiny_vision(kind, seed)


def save_vision(folder: Path, kind: str = "vit") -> Path:
    """A folder in the hub's layout."""
    tiny_vision_model(kind).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def drawn(label: str, rng: random.Random) -> Image:
    """A disc, stripes, a frame or nothing, in any colour on a dark ground of noise."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    pixels = noise.integers(0, 60, (SIDE, SIDE, 3))
    colour = [rng.randrange(120, 256) for _ in range(3)]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    if label == "disc":
        middle = rng.randrange(8, 16), rng.randrange(8, 16)
        inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < 49
    elif label == "stripes":
        inside = (columns + rng.randrange(6)) % 6 < 3
    else:
        edge = np.minimum(np.minimum(rows, columns), SIDE - 1 - np.maximum(rows, columns))
        inside = (edge < 2) & (label == "frame")
    pixels[inside] = colour
    return checked(from_array(pixels.astype(np.uint8)))


def pictures(count: int = 60, seed: int = 1) -> list[Record]:
    """Records of both labels in turn."""
    rng = random.Random(seed)
    return [Record({"image": drawn(LABELS[n % 2], rng)}, LABELS[n % 2]) for n in range(count)]


SEVERAL = ("disc", "frame", "stripes")
SEVERAL_SPEC = TaskSpec(kind="image-multi-label", template="{image}", labels=SEVERAL)


def several_pictures(count: int = 60, seed: int = 1) -> list[Record]:
    """Records of every set of three labels in turn."""
    rng, records = random.Random(seed), []
    for number in range(count):
        held = tuple(label for at, label in enumerate(SEVERAL) if number >> at & 1)
        # Each is drawn on a ground as dark as the others', so the brightest of them shows all.
        layers = [np.asarray(pixels_of(drawn(label, rng))) for label in held or ("",)]
        records.append(Record({"image": checked(from_array(np.max(layers, 0)))}, held))
    return records


def several_task(count: int = 120) -> Task:
    """Pictures with any of three labels, split by their pixels."""
    return Task.from_records(SEVERAL_SPEC, several_pictures(count), split=(0.6, 0.2, 0.2))


def save_pictures(folder: Path, count: int = 60, seed: int = 1) -> Path:
    """A folder of pictures with a folder for each label."""
    for number, record in enumerate(pictures(count, seed)):
        path = folder / str(record.target) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels_of(record.images[0]).save(path)
    return folder


def drawn_task(count: int = 120) -> Task:
    """Discs and stripes, split by their pixels."""
    return Task.from_records(SPEC, pictures(count), split=(0.6, 0.2, 0.2))
