"""What a vision encoder's layers make of the patches of a few images: where prompts may start."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.prefix_probe import keeping
from cuecard.backbones.forward.vision_tower import VisionRows, VisionTower
from cuecard.backbones.kernels.bidirectional import NotPrefixableError
from cuecard.errors import BackboneError
from cuecard.types import Image

EACH = 32
"""How many patches of an image are drawn: some more images say more than all patches of one."""
_BATCH = 8


class PatchSample:
    """The patches of some images; `cuecard.types.Patches` says what each member does.

    What is run for them is not counted.

    Args:
        embed: images -> [S, H] what the first layer takes in for each.
        seed: draws the patches of each image.
        name: of the backbone, for messages.
    """

    def __init__(
        self,
        frozen: FrozenModel,
        tower: VisionTower,
        embed: Callable[[Sequence[Image]], Sequence[Tensor]],
        images: Sequence[Image],
        seed: int,
        name: str,
    ) -> None:
        self._frozen, self._tower, self._embed, self._name = frozen, tower, embed, name
        self._images, self._tokens = tuple(images), torch.empty(0)
        self._keys_values: Tensor | None = None
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randperm(tower.patches, generator=generator) for _ in self._images]
        self._drawn = torch.stack(drawn)[:, :EACH].to(frozen.device)

    def tokens(self, layers: int) -> Tensor:
        """[layers, N, H] what each of the first layers takes in, at patches drawn of all images."""
        if len(self._tokens) < layers:
            found = []
            with self._frozen.uncounted():
                for start, embedded in self._batches():
                    rows = VisionRows(embedded, embedded[0, :0])
                    seen = torch.stack(self._tower.at_patches(rows, layers))
                    drawn = self._drawn[start : start + _BATCH, :, None]
                    found.append(seen.take_along_dim(drawn[None], 2).flatten(1, 2).float())
            self._tokens = torch.cat(found, 1)
        return self._tokens[:layers]

    def keys_values(self) -> Tensor:
        """[L, 2, K, N, D] every layer's keys and values of the patches that `tokens` has.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        if self._keys_values is None:
            found = []
            with self._frozen.uncounted():
                for start, embedded in self._batches():
                    rows = VisionRows(embedded, embedded[0, :0])
                    _, running = self._kept(rows, self._frozen.layers)
                    drawn = self._drawn[start : start + _BATCH, None, :, None]
                    layers = [torch.stack(pair)[:, :, :, self._tower.front :] for pair in running]
                    at = [pair.take_along_dim(drawn[None], 3).float() for pair in layers]
                    found.append(torch.stack(at).permute(0, 1, 3, 2, 4, 5).flatten(3, 4))
            self._keys_values = torch.cat(found, 3)
        return self._keys_values

    def beside(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """[L', S, H] what layers take in at patches, and [L', P + S, D] keys; means of all images.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        layers, length = prompts.shape[:2]
        prompts = prompts.to(self._frozen.device, self._frozen.dtype)
        sums: list[Tensor] = []
        with self._frozen.uncounted():
            for _, embedded in self._batches():
                rows = VisionRows(embedded, prompts[0], prompts if layers > 1 else None)
                seen, running = self._kept(rows, layers)
                keys = torch.stack([key.float().mean(1).sum(0) for key, _ in running])
                here = [torch.stack([states.float().sum(0) for states in seen]), keys]
                sums = [a + b for a, b in zip(sums, here, strict=True)] if sums else here
        tokens, keys = (total / len(self._images) for total in sums)
        behind = keys[:, self._tower.front + length :]
        return tokens, torch.cat([keys[:, self._tower.at :][:, :length], behind], 1)

    def _kept(
        self, rows: VisionRows, layers: int
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """What the first layers take in at patches, and their keys and values [b, K, T, D].

        Raises:
            BackboneError: they are not known.
        """
        try:
            seen, running = keeping(
                self._frozen, lambda: self._tower.at_patches(rows, layers, through=True)
            )
        except NotPrefixableError as error:
            raise self._unknown(str(error)) from error
        if running.count != layers:
            raise self._unknown(f"{running.count} attentions in {layers} layers")
        return seen, running.keys_values

    def _batches(self) -> list[tuple[int, Tensor]]:
        """The number of its first image, and [b, S, H] what the first layer takes in, of each."""
        starts = range(0, len(self._images), _BATCH)
        return [(n, torch.stack([*self._embed(self._images[n : n + _BATCH])])) for n in starts]

    def _unknown(self, got: str) -> BackboneError:
        return BackboneError(
            "this encoder's keys are not known", where=self._name, got=got, hint="init patches"
        )
