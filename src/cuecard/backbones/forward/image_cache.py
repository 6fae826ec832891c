"""What a frozen encoder makes of images, which no prompt can change: computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from cuecard.types import Image

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
