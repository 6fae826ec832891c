"""A vision encoder's own image processor: checked pixels -> the numbers that it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cuecard.errors import BackboneError
from cuecard.images import ImageLimits, pixels_of
from cuecard.types import Frame, Image

# What says where a processor came from, and nothing of what it does.
_NAMES = ("image_processor_type", "processor_class", "feature_extractor_type", "_processor_class")


@dataclass(frozen=True, slots=True)
class PreparedImage(Image):
    """An image as a model takes it in, without its file.

    Attributes:
        pixels: SHA-256 of the values: what looks the same to the model is one image.
        values: [C, h, w] float32.
    """

    values: Tensor = field(default_factory=lambda: torch.empty(0), compare=False, repr=False)


class ImageProcessor:
    """transformers' processor of a model; it stands in for a tokenizer where there are no texts.

    Args:
        processor: any transformers image processor.
        name: what the user called the model.

    Attributes:
        settings: what it does to an image (size, normalisation), by the processor's own names.
        positions_of: how many positions an image takes in the model, which the model sets.
        chat_template, eos_token_id: None, as of a tokenizer without any.
    """

    chat_template = None
    eos_token_id = None

    def __init__(self, processor: Any, name: str) -> None:
        self._processor, self._name = processor, name
        self.positions_of: Callable[[], int] = lambda: 1
        known = {k: v for k, v in processor.to_dict().items() if k not in _NAMES and v is not None}
        self.settings: dict[str, Any] = json.loads(json.dumps(known, sort_keys=True, default=str))

    @property
    def digest(self) -> str:
        """SHA-256 of the settings: another normalisation is another backbone."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()

    @property
    def image_positions(self) -> int:
        """How many positions an image takes in the model."""
        return self.positions_of()

    def pixels(self, images: Sequence[Image]) -> Tensor:
        """[B, C, h, w] float32 what the model takes in.

        Raises:
            DataError: an image that cannot be read.
            BackboneError: images that become of different sizes.
        """
        found = [self._one(image) for image in images]
        shapes = {tuple(tensor.shape) for tensor in found}
        if len(shapes) > 1:
            raise BackboneError(
                "the model's image processor makes images of different sizes",
                where=self._name,
                got=", ".join(sorted(map(str, shapes))),
                expected="one size: a size of height and width, or a crop",
            )
        return torch.stack(found)

    def plain(self, values: Tensor) -> Tensor:
        """[B, h, w, C] from 0 to 1, of values [B, C, h, w]: the normalisation taken back."""
        values = values.permute(0, 2, 3, 1)
        if self.settings.get("do_normalize"):
            mean, std = (torch.tensor(self.settings[f"image_{name}"]) for name in ("mean", "std"))
            values = values * std + mean
        return values.clamp(0.0, 1.0)

    def prepare(
        self, image: Image, where: str | None = None, limits: ImageLimits | None = None
    ) -> PreparedImage:
        """The image decoded and made what the model takes in; from any thread.

        Args:
            where: the file or input that it comes from, for messages.
            limits: what it may have at most.

        Raises:
            DataError: an image that cannot be read, or one beyond the limits.
            BackboneError: one that the processor cannot take.
        """
        pixels = pixels_of(image, where, limits)
        values = self._values(pixels)
        digest = hashlib.sha256(values.numpy().tobytes()).hexdigest()
        return PreparedImage(b"", digest, pixels.size[::-1], values)

    def _one(self, image: Image) -> Tensor:
        if isinstance(image, PreparedImage):
            return image.values
        return self._values(pixels_of(image))

    def _values(self, pixels: Any) -> Tensor:
        try:
            found = self._processor(pixels, return_tensors="pt")
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise BackboneError(
                "the model's image processor cannot take an image",
                where=self._name,
                got=f"{type(error).__name__}: {' '.join(str(error).split())}"[:200],
            ) from error
        return torch.as_tensor(found["pixel_values"][0]).float()

    def __call__(self, text: Any, **options: Any) -> Any:
        """No text is read.

        Raises:
            BackboneError: always; tasks of texts are refused before any work.
        """
        raise self._no_texts(text)

    def encode(self, text: str, **options: Any) -> Any:
        """As a call."""
        raise self._no_texts(text)

    def decode(self, token_ids: Any, **options: Any) -> Any:
        """As a call."""
        raise self._no_texts(token_ids)

    def convert_ids_to_tokens(self, ids: Any, **options: Any) -> Any:
        """As a call."""
        raise self._no_texts(ids)

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """As a call."""
        raise self._no_texts(conversation)

    def _no_texts(self, got: Any) -> BackboneError:
        return BackboneError(
            "a vision encoder reads no texts",
            where=self._name,
            got=repr(got)[:80],
            expected="an image",
            hint="leave out a prompt's init and text: it then starts from patches of images",
        )


class MaskProcessor(ImageProcessor):
    """The processor of a model that gives masks: the longer side scaled, the rest padded.

    Attributes:
        side: rows and columns of the model's input.
        grid: rows and columns of its mask logits, which the model sets.

    Raises:
        BackboneError: a processor that does something else.
    """

    def __init__(self, processor: Any, name: str) -> None:
        super().__init__(processor, name)
        padded = self.settings.get("pad_size") or {}
        longest: int = (self.settings.get("size") or {}).get("longest_edge") or 0
        side: int = padded.get("height") or 0
        if not 0 < longest <= side or padded.get("width") != side:
            raise BackboneError(
                "the model's image processor does not show where an image is",
                where=name,
                got=f"size {self.settings.get('size')}, pad_size {padded or None}",
                expected="a longest edge, padded to a square",
            )
        self._longest, self.side, self.grid = longest, side, side

    def frame(self, height: int, width: int) -> Frame:
        """Where an image of so many pixels is in what the model takes in and gives."""
        scale = self._longest / max(height, width)
        seen = int(height * scale + 0.5), int(width * scale + 0.5)
        return Frame(height, width, seen, self.side, self.grid)
