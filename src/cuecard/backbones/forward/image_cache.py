"""Images of batches, and what a frozen encoder makes of them, which no prompt can change.

It is computed once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from cuecard.backbones.families import FAMILIES, Family
from cuecard.errors import BackboneError
from cuecard.types import Batch, Image

BLANK = Image(b"P6 16 16 255\n" + bytes(3 * 16 * 16))

KEPT_BYTES = 1 << 30
"""How much may be kept: the first layer's inputs of some 2,600 images of ViT-S/14."""


class ImageCache:
    """Tensors by image, as long as there is room.

    Attributes:
        nbytes: of what is kept.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._kept: dict[str, Tensor] = {}
        self._latest: int | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def keep_latest(self, nbytes: int) -> None:
        """Keep so many bytes of what was used last, instead of what came first, from now on.

        A run goes over the same images in turn, and would find none of the latest; whoever answers
        for images as they come sees some again soon, and most never.
        """
        self._kept, self.nbytes, self._latest = {}, 0, nbytes

    def get(
        self,
        images: Sequence[Image],
        make: Callable[[list[Image]], Iterable[Tensor]],
        what: str = "",
    ) -> tuple[list[Tensor], int]:
        """Each image's tensor, and how many of the images were not computed anew.

        What is shown once (`Image.once`) is not kept.

        Args:
            make: computes those of images that are not kept, each once.
            what: tells apart what is made of one image.
        """
        digests = [what + image.digest for image in images]
        found = {digest: self._kept[digest] for digest in digests if digest in self._kept}
        new = {d: image for d, image in zip(digests, images, strict=True) if d not in found}
        if new:
            found |= zip(new, make([*new.values()]), strict=True)
        passing = {d for d, image in zip(digests, images, strict=True) if image.once}
        for digest, states in found.items():
            if digest not in passing:
                self._keep(digest, states)
        return [found[digest] for digest in digests], len(images) - len(new)

    def _keep(self, digest: str, states: Tensor) -> None:
        """Keep an image's tensor if there is room or room is made."""
        if digest in self._kept:
            if self._latest is not None:
                self._kept[digest] = self._kept.pop(digest)  # the last one used
            return
        room = KEPT_BYTES if self._latest is None else self._latest
        size = _bytes_of(states)
        while self._latest is not None and self._kept and self.nbytes + size > room:
            self.nbytes -= _bytes_of(self._kept.pop(next(iter(self._kept))))
        if self.nbytes + size <= room:
            # A part of what one pass made would hold on to all of it.
            self._kept[digest] = states if self._latest is None else states.clone()
            self.nbytes += size


def _bytes_of(states: Tensor) -> int:
    return states.numel() * states.element_size()


def images_of(batches: Iterable[Batch], family: Family = FAMILIES["vision"]) -> list[Image]:
    """Each row's image, of several batches.

    Args:
        family: of the model that reads them.

    Raises:
        BackboneError: a row with no image or several, or a text.
    """
    return [_image_of(batch, row, family) for batch in batches for row in range(len(batch))]


def _image_of(batch: Batch, row: int, family: Family) -> Image:
    shown = batch.images[row] if batch.images else ()
    if len(shown) != 1 or int(batch.attention_mask[row].sum()):
        raise BackboneError(
            f"{family.about} reads one image, and no text",
            where=f"row {row} of the batch",
            got=f"{len(shown)} images, {int(batch.attention_mask[row].sum())} tokens of text",
            expected="one image",
        )
    return shown[0]
