"""Prompts for images to serve, images to send, and what the library answers to them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

import cuecard
from cuecard.artifacts import Prompt
from cuecard.images import pixels_of
from cuecard.methods import CoOp
from cuecard.registry import Registry
from cuecard.tasks.spec import TaskSpec
from cuecard.training.trainables.initial_method import new_method
from cuecard.types import HasLabelTower, Head, Image, InputTokens, LayerTokens, Prediction, Record
from support.serving.requests import noise
from support.tiny_vision import LABELS, LAYERS, SEVERAL, SEVERAL_SPEC, SPEC, WIDTH, pictures

SCANS = TaskSpec(kind="image-classification", template="{scan}", labels=("flat", "round", "tall"))


def picture_prompt(
    folder: Path,
    backbone: Any,
    seed: int,
    spec: TaskSpec = SPEC,
    *,
    deep: bool = False,
    **more: Any,
) -> Path:
    """A prompt's folder, with a head of its own."""
    layers = LayerTokens(noise(seed, LAYERS, 4, WIDTH))
    prompt = Prompt.create(
        layers if deep else InputTokens(noise(seed, 4, WIDTH)),
        backbone=backbone,
        spec=spec,
        method="deep-prompts" if deep else "prompt-tuning",
        method_config={"length": 4},
        seed=seed,
        slot="prefix",
        head=Head(noise(seed + 50, len(spec.labels), WIDTH), noise(seed + 90, len(spec.labels))),
        **more,
    )
    return prompt.save(folder / f"seed-{seed}")


def picture_registry(folder: Path, backbone: Any) -> Registry:
    """drawn@1 (production, with a prior) and @2, deep@1, scans@1, tags@1 (any number of labels).

    And named@1, around labels' names, where these are read.
    """
    made = Registry(folder / "pictures", who="ann@desk")
    prior = dict.fromkeys(LABELS, 0.25) | {LABELS[0]: -0.5}
    made.push(picture_prompt(folder, backbone, 1, prior=prior), "drawn")
    made.push(picture_prompt(folder, backbone, 2), "drawn")
    made.push(picture_prompt(folder, backbone, 3, deep=True), "deep")
    made.push(picture_prompt(folder, backbone, 4, SCANS), "scans")
    thresholds = dict.fromkeys(SEVERAL, 0.0) | {SEVERAL[0]: 0.5}
    made.push(picture_prompt(folder, backbone, 5, SEVERAL_SPEC, prior=thresholds), "tags")
    if isinstance(backbone, HasLabelTower):
        made.push(label_prompt(folder, backbone), "named")
    made.promote("drawn@1", "production")
    return made


def label_prompt(folder: Path, backbone: Any) -> Path:
    """A prompt around labels' names."""
    method: Any = new_method(backbone, SPEC, CoOp(length=3), 5)
    prompt = Prompt.create(
        method.injection(),
        backbone=backbone,
        spec=SPEC,
        method="coop",
        method_config={"length": 3},
        seed=5,
        slot="prefix",
        head=method.head(),
    )
    return prompt.save(folder / "named")


def files(count: int = 3, kind: str = "PNG", seed: int = 1) -> list[bytes]:
    """Pictures as their files."""
    return [saved(pixels_of(record.images[0]), kind) for record in pictures(count, seed)]


def saved(picture: Any, kind: str = "PNG", **options: Any) -> bytes:
    """A Pillow image as a file."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animation(frames: int, kind: str = "GIF") -> bytes:
    """A picture of so many frames."""
    shades = [Pillow.new("L", (8, 8), 10 * number) for number in range(frames)]
    return saved(shades[0], kind, save_all=True, append_images=shades[1:])


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def right(
    backbone: Any, registry: Registry, reference: str, contents: list[bytes]
) -> list[Prediction]:
    """What the library answers."""
    prompt = registry.read(reference).prompt
    (field,) = prompt.spec.field_names
    records = [Record({field: Image(content)}, None) for content in contents]
    return list(cuecard.answer(backbone, prompt, records))


def form(*parts: tuple[str, str | bytes], boundary: str = "a-boundary") -> tuple[bytes, str]:
    """A form's body and Content-Type; bytes are files."""
    body = b""
    for name, value in parts:
        file = "" if isinstance(value, str) else '; filename="a picture.png"'
        content = value.encode() if isinstance(value, str) else value
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'
        head += "" if isinstance(value, str) else "Content-Type: image/png\r\n"
        body += head.encode() + b"\r\n" + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
