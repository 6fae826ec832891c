"""A tiny random SAM, and drawn pictures with one bright blob to find."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import SamConfig, SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from cuecard.backbones import SegmentationBackbone
from cuecard.backbones.image_processor import MaskProcessor
from cuecard.images import checked, from_array, pixels_of
from cuecard.masks import bits_of, mask_image, png_of
from cuecard.tasks import Task, TaskSpec
from cuecard.types import Record, Value

SIDE, WIDTH, GRID = 32, 64, 32
SPEC = TaskSpec(kind="image-segmentation", template="{image}", target_field="mask")
BOTH = TaskSpec(kind="image-segmentation", template="{image}{points}{boxes}", target_field="mask")


def tiny_sam_model(seed: int = 0) -> Any:
    """Patches of 4 x 4 pixels, a grid of 8 x 8 and masks of 32 x 32."""
    config = SamConfig(
        vision_config={
            "hidden_size": WIDTH,
            "output_channels": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 4,
            "window_size": 4,
            "global_attn_indexes": [1],
            "mlp_dim": 2 * WIDTH,
            "num_pos_feats": WIDTH // 2,
        },
        prompt_encoder_config={
            "hidden_size": WIDTH,
            "image_size": SIDE,
            "patch_size": 4,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": WIDTH,
            "mlp_dim": 2 * WIDTH,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": WIDTH,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = SamModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, parameter[0].numel() ** -0.5)
    return model.eval()


def tiny_sam_processor() -> Any:
    """The longer side of 32 pixels, padded to a square."""
    small = {"height": GRID, "width": GRID}
    return SamImageProcessorPil(
        size={"longest_edge": SIDE},
        pad_size={"height": SIDE, "width": SIDE},
        mask_size={"longest_edge": GRID},
        mask_pad_size=small,
    )


def tiny_sam(seed: int = 0) -> Any:
    """A fresh tiny segmentation backbone."""
    processor = MaskProcessor(tiny_sam_processor(), "tiny-sam")
    return SegmentationBackbone(tiny_sam_model(seed), processor, "tiny-sam")


@cache
def shared_sam(seed: int = 0) -> Any:
    """The one of tests that only read it."""
    return tiny_sam(seed)


def save_sam(folder: Path) -> Path:
    """A folder in the hub's layout."""
    tiny_sam_model().save_pretrained(folder)
    tiny_sam_processor().save_pretrained(folder)
    return folder


def blob(rng: random.Random, height: int = 24, width: int = 32) -> Record:
    """A bright blob on a dark ground of noise, with a point in it and the box around it."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    pixels = noise.integers(0, 60, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    y, x = rng.randrange(7, height - 7), rng.randrange(7, width - 7)
    down, across = rng.randrange(4, 8), rng.randrange(4, 8)
    inside = ((rows - y) / down) ** 2 + ((columns - x) / across) ** 2 < 1
    pixels[inside] = [rng.randrange(200, 256) for _ in range(3)]
    box = [max(0, x - across), max(0, y - down), min(width, x + across), min(height, y + down)]
    fields: dict[str, Value] = {
        "image": checked(from_array(pixels.astype(np.uint8))),
        "points": str([[x, y, 1]]),
        "boxes": str([box]),
    }
    return Record(fields, mask_image(inside))


def blobs(count: int = 40, seed: int = 1) -> list[Record]:
    """Pictures of two sizes in turn."""
    rng = random.Random(seed)
    return [blob(rng, *((24, 32), (32, 20))[n % 2]) for n in range(count)]


def blob_task(count: int = 60, spec: TaskSpec = SPEC) -> Task:
    """Blobs to find, split by their pixels."""
    return Task.from_records(spec, blobs(count), split=(0.6, 0.2, 0.2))


def save_blobs(folder: Path, count: int = 40, seed: int = 1) -> Path:
    """Folders of images and of masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(blobs(count, seed)):
        pixels_of(record.images[0]).save(folder / "images" / f"{number}.png")
        assert record.target is not None
        mask = png_of(bits_of(record.target))  # type: ignore[arg-type]
        (folder / "masks" / f"{number}.png").write_bytes(mask)
    return folder
