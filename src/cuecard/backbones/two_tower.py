"""Models of images and texts with a tower for each, such as CLIP and SigLIP.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021):
an image's and a text's features are compared by their cosine times a learnt scale. Here the texts
are the labels of a task, and what the text tower makes of them is a head on an image's unit vector:
it is made once, and stays for all images. Without a prompt in the tower that sees, an image's
vector is computed once and kept.

For prompts in front of an image's patches, with a head of their own, the tower that sees is a
vision encoder like any other; its prompts fit the encoder alone, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.fingerprint import label_digest_of
from cuecard.backbones.forward.frozen import bytes_digest
from cuecard.backbones.forward.image_cache import BLANK, images_of
from cuecard.backbones.forward.label_tower import LabelTower
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.image_processor import ImageProcessor
from cuecard.backbones.vision import VisionBackbone
from cuecard.errors import BackboneError
from cuecard.types import (
    LABEL,
    Batch,
    Fingerprint,
    Head,
    Injection,
    KeptReads,
    LabelTokens,
    Tokenizer,
    Tower,
    TowerInjection,
)


class TwoTowerBackbone(VisionBackbone):
    """A frozen model of images and texts.

    Args:
        model: any transformers model with a `vision_model` of ViT's shape, a `text_model`, features
            of both and a `logit_scale`; its parameters are frozen here.
        processor: its image processor.
        tokenizer: its tokenizer, a fast one.
        name: what the user called it.

    Attributes:
        whole: the model; `model` is its tower that sees.
        label_tokenizer: the tokenizer.

    Raises:
        BackboneError: a model that makes no patches.
    """

    family: ClassVar[Family] = FAMILIES["two-tower"]

    def __init__(
        self, model: Any, processor: ImageProcessor, tokenizer: Tokenizer, name: str
    ) -> None:
        super().__init__(model.vision_model, processor, name)
        self.whole = model.eval()
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        self.label_tokenizer = tokenizer
        self.labels = LabelTower(model, tokenizer, name)
        self._ensembled: tuple[tuple[tuple[str, ...], tuple[str, ...]], Head] | None = None

    def label_head(self, names: Sequence[str], tokens: LabelTokens | str) -> Head:
        """A head [K, D] of K labels' names, with gradients to the vectors.

        Of vectors that each image moves, [K, 1] on its cosines with the names.

        Args:
            tokens: the vectors around the names, or a template with {label} instead.

        Raises:
            BackboneError: a text that is longer than the tower's positions, or vectors that do not
                fit the model or the labels.
        """
        scale, bias = self.whole.logit_scale.float().exp(), torch.zeros(len(names))
        bias = bias.to(self.device)
        if isinstance(tokens, LabelTokens) and tokens.shift is not None:
            self.labels.rows(names, tokens)  # refused here, before any image is read
            return Head(scale.expand(len(names), 1), bias, of_labels=True, each=True)
        return Head(scale * self.labels.features(names, tokens), bias, of_labels=True)

    def ensembled_head(self, names: Sequence[str], templates: Sequence[str]) -> Head:
        """A head [K, D] of the frozen tower: of each label the unit mean over templates.

        Radford et al. (2021), section 3.1.4. The last one made is kept.

        Raises:
            BackboneError: a text that is longer than the tower's positions.
        """
        key = tuple(names), tuple(templates)
        if self._ensembled is None or self._ensembled[0] != key:
            with torch.no_grad():
                each = [self.labels.features(names, template) for template in templates]
                weight = self.whole.logit_scale.float().exp() * _unit(torch.stack(each).mean(0))
            bias = torch.zeros(len(names), device=self.device)
            self._ensembled = key, Head(weight, bias, of_labels=True)
        return self._ensembled[1]

    def label_width(self) -> int:
        """D of the space where images and names meet."""
        return self._label_width

    def label_layers(self) -> int:
        """How many layers the tower that reads names has."""
        return len(self.labels.layers)

    def apart(self) -> str | None:
        """Why a prompt cannot be in both towers at once; None if it can."""
        if self._projects:
            return None
        return "a model that compares another state of images with names than a prompt reaches"

    @cached_property
    def _label_width(self) -> int:
        with self._frozen.uncounted():
            return int(self.labels.features(["a"], LABEL).shape[1])

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """The images' states, or beside a prompt around labels their unit vectors.

        Where each image moves that prompt, its cosines with the labels' texts instead.

        Raises:
            BackboneError: a row with no image or several, or a text; a prompt for both towers on a
                model that makes its images' vectors of another state.
        """
        pieces = [self._pieces(injection) for _, injection in parts]
        plain = [n for n, each in enumerate(pieces) if "labels" in each and "vision" not in each]
        found: dict[int, BatchReads] = {}
        if plain:
            vectors = iter(self._vectors([parts[n][0] for n in plain]))
            for n in plain:
                own = torch.stack([next(vectors) for _ in range(len(parts[n][0]))])
                read = self._beside(own[parts[n][0].read_rows.to(self.device)], pieces[n])
                found[n] = BatchReads(read, hidden=True)
        others = [n for n in range(len(parts)) if n not in found]
        states = super().read_many([parts[n] for n in others], keep=keep) if others else []
        for n, reads in zip(others, states, strict=True):
            both = "labels" in pieces[n]
            if both:
                reads = replace(reads, found=self._beside(self._compared(reads.found), pieces[n]))
            found[n] = reads
        return [found[n] for n in range(len(parts))]

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again, the tower of labels too."""
        labels = label_digest_of(self.whole, self.labels.embeddings, self.label_tokenizer)
        return replace(super().fingerprint, labels=labels)

    @property
    def tower_embeddings(self) -> dict[Any, Tensor]:
        """What the inputs of its towers are made of."""
        return {**super().tower_embeddings, "labels": self.labels.embeddings}

    def digest(self) -> str:
        """SHA-256 over every parameter's and buffer's bytes: the proof that nothing changed."""
        return bytes_digest(self.whole)

    def _vectors(self, batches: Sequence[Batch]) -> list[Tensor]:
        """[D] the unit vector of each image; what is kept is not computed."""
        return self._made_once(images_of(batches), "vector ", self._image_vectors)

    def _image_vectors(self, pixels: Tensor) -> Tensor:
        """[B, D] float32."""
        self.counts["calls"] += 1
        self.counts["tokens"] += len(pixels) * self.tower.positions
        with torch.no_grad():
            found = self.whole.get_image_features(pixel_values=pixels)
        return _unit(found if isinstance(found, Tensor) else found.pooler_output)

    def _beside(self, images: Tensor, pieces: Mapping[Tower, TowerInjection]) -> Tensor:
        """Images' unit vectors [N, D], or [N, K] their cosines with texts that they move."""
        tokens = pieces["labels"]
        if not isinstance(tokens, LabelTokens) or tokens.shift is None:
            return images
        if tokens.shift.down.shape[1] != images.shape[1]:
            raise BackboneError(
                "what moves the prompt's vectors does not fit the model",
                where=self.name,
                got=f"a layer that takes in {tokens.shift.down.shape[1]} numbers",
                expected=f"{images.shape[1]}, as images' vectors have",
            )
        rows = self.labels.rows(tokens.shift.names, tokens)
        self.counts["calls"] += 1
        self.counts["tokens"] += len(images) * len(rows) * self.labels.width(rows)
        texts = self.labels.features_by_image(rows, tokens, tokens.shift(images))
        return (texts * images[:, None]).sum(-1)

    def _compared(self, states: Tensor) -> Tensor:
        """[N, D] the unit vectors of images of whose states a prompt was in front."""
        if (why := self.apart()) is not None:
            raise BackboneError(
                "a prompt cannot be in both towers of this model",
                where=self.name,
                got=why,
                expected="a projection of the class token's state, as in CLIP",
                hint="prompts around labels alone work here",
            )
        return _unit(self.whole.visual_projection(states))

    @cached_property
    def _projects(self) -> bool:
        """Whether an image's vector is a projection of the state that heads read: tried."""
        if not hasattr(self.whole, "visual_projection"):
            return False
        with self._frozen.uncounted():
            pixels = self._pixels([BLANK])
            states = self.tower.run([self._rows(self.tower.embed(pixels), None)])[0]
            plain = self._image_vectors(pixels)
            return self._frozen.agrees(_unit(self.whole.visual_projection(states)), plain)


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=-1)
