"""What a backbone that sees images, or reads labels' names, is asked for besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from cuecard.types.data import Frame, Image
from cuecard.types.heads import Head
from cuecard.types.injections import Injection, LabelTokens
from cuecard.types.protocols import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class PlacesImages(Protocol):
    """What stands in for a tokenizer of a model that gives masks of images."""

    def frame(self, height: int, width: int) -> Frame:
        """Where an image of so many pixels is in what the model takes in and gives."""
        ...


class Patches(Protocol):
    """What the layers of a frozen vision encoder make of the patches of a few images.

    Each is computed when it is first asked for, and once. float32, on the encoder's device.
    """

    def tokens(self, layers: int) -> Tensor:
        """[layers, N, H] what each of the first layers takes in, at patches drawn of all images.

        The same patches in every layer.
        """
        ...

    def keys_values(self) -> Tensor:
        """[L, 2, K, N, D] every layer's keys and values of the same patches.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        ...

    def beside(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Of images that are run with prompts [L', P, H] at the first L' layers' inputs.

        Returns:
            [L', S, H] what each of these layers takes in at each of the S patches of an image, and
            [L', P + S, D] the keys that it makes of prompt and patches: the mean of all images,
            and of all heads.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        ...


@runtime_checkable
class HasPatches(Protocol):
    """A backbone that cuts images into patches."""

    def patches_of(self, images: Sequence[Image], seed: int) -> Patches:
        """What its layers make of these images' patches; the seed draws which are sampled."""
        ...


@runtime_checkable
class ShowsAttention(Protocol):
    """A vision encoder whose attention can be looked at."""

    @property
    def num_layers(self) -> int: ...

    def prompt_attention(self, images: Sequence[Image], injection: Injection, layer: int) -> Tensor:
        """[B, P, h, w] a layer's attention between a prompt and each patch, the mean of all heads.

        From the prompt's vectors to the patches; of keys in front, from the patches to them.
        """
        ...

    def shown(self, images: Sequence[Image]) -> Tensor:
        """[B, h, w, C] float32 from 0 to 1: images as the model is given them."""
        ...


@runtime_checkable
class HasLabelTower(Protocol):
    """A backbone with a tower that reads labels' names, and compares them with images.

    Attributes:
        whole: the transformers model; `Backbone.model` is its tower that sees.
        label_tokenizer: the tokenizer of the tower that reads.
    """

    whole: Any
    label_tokenizer: Tokenizer

    def label_width(self) -> int:
        """D of the space where images and names meet."""
        ...

    def label_layers(self) -> int:
        """How many layers the tower that reads names has."""
        ...

    def apart(self) -> str | None:
        """Why a prompt cannot be in both towers at once; None if it can."""
        ...

    def label_head(self, names: Sequence[str], tokens: LabelTokens | str) -> Head:
        """A head [K, D] of K labels' names, with gradients to the vectors.

        Of vectors that each image moves, [K, 1] on its cosines with the names.

        Args:
            tokens: the vectors around the names, or a template with {label} instead.
        """
        ...

    def ensembled_head(self, names: Sequence[str], templates: Sequence[str]) -> Head:
        """A head [K, D] of the frozen tower: of each label the unit mean over templates."""
        ...
