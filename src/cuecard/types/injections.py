"""Injections: plain tensors of a prompt, and where in a model they go.

Sizes: P prompt vectors, H hidden size, L layers, K key heads, D per head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cuecard.lazy import functional, torch

if TYPE_CHECKING:
    from torch import Tensor


Slot = Literal["prefix", "suffix", "infix"]

Tower = Literal["text", "decoder", "vision", "mask-decoder", "labels"]
InjectionKind = Literal[
    "input-tokens",
    "token-shifts",
    "mixed-tokens",
    "prefix-kv",
    "late-prefix-kv",
    "layer-tokens",
    "label-tokens",
]
NamePlace = Literal["end", "middle", "front"]

LABEL = "{label}"
ZERO_SHOT = f"a photo of a {LABEL}."
"""What a label's name stands in where there is no prompt: Radford et al., "Learning Transferable
Visual Models From Natural Language Supervision" (ICML 2021), section 3.1.4."""


@dataclass(frozen=True, slots=True)
class PromptMix:
    """What each input adds to a prompt: source prompts, weighted by attention (ATTEMPT).

    Asai et al., "ATTEMPT: Parameter-Efficient Multi-task Tuning via Attentional Mixtures of Soft
    Prompts" (EMNLP 2022), section 3.2.

    Attributes:
        sources: [S, P, H] float32, the source prompts.
        down, up: [R, H] and [H, R] float32, the projections.
        norm, norm_bias: [H] float32, the layer norm's.
        temperature: what the scores are divided by.
    """

    sources: Tensor
    down: Tensor
    up: Tensor
    norm: Tensor
    norm_bias: Tensor
    temperature: float

    def __call__(self, vectors: Tensor, pooled: Tensor) -> Tensor:
        """[N, P, H] float32 the prompt of each input.

        Args:
            vectors: [P, H] the task's own, one more prompt to attend to.
            pooled: [N, H] the maxima of each input's embeddings over its tokens.
        """
        prompts = torch.cat([self.sources, vectors.float()[None]])
        weights = self.weights(prompts.amax(1), pooled)
        return vectors.float() + torch.einsum("ns,sph->nph", weights, prompts)

    def over(self, vectors: Tensor, embeds: Tensor, mask: Tensor) -> Tensor:
        """[B, P, H] float32 the prompt of each row.

        Args:
            embeds: [B, T, H] the embeddings of the rows' tokens.
            mask: [B, T] bool, which of them the prompt depends on.
        """
        hidden = embeds.float().masked_fill(~mask[..., None], -torch.inf).amax(1)
        # A row without a token before its answer has nothing to pool.
        return self(vectors, torch.where(mask.any(1)[:, None], hidden, 0))

    def weights(self, keys: Tensor, pooled: Tensor) -> Tensor:
        """[N, S + 1] the attention of inputs [N, H] to prompts that are pooled to keys [S + 1, H].

        Rows add up to 1.
        """
        middle = functional.silu(functional.linear(pooled.float(), self.down))
        query = functional.layer_norm(
            functional.linear(middle, self.up), self.norm.shape, self.norm, self.norm_bias
        )
        return (query @ keys.T / self.temperature).softmax(-1)

    def to(self, device: torch.device) -> PromptMix:
        """The same on another device."""
        return PromptMix(
            self.sources.to(device),
            self.down.to(device),
            self.up.to(device),
            self.norm.to(device),
            self.norm_bias.to(device),
            self.temperature,
        )


@dataclass(frozen=True, slots=True)
class InputTokens:
    """An injection of vectors among the input embeddings, at each row's slot.

    Attributes:
        vectors: [P, H] float32; P may be 0. A decoder has them in front of its input.
        shifts: [S, H] float32, added to the embeddings of each row's first S tokens by their place
            in the row, the prompt not counted (DePT); None for none.
        mix: what each row's context adds to the vectors (ATTEMPT); None for nothing.
    """

    vectors: Tensor
    shifts: Tensor | None = None
    mix: PromptMix | None = None

    @property
    def length(self) -> int:
        """P: positions that the injection takes of every request."""
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class PrefixKV:
    """An injection of keys and values that tokens attend to.

    In front of the input every token does: its positions begin after them, as if P tokens had been
    run and their keys and values kept; in a masked model too. Late ones are attended to from each
    row's slot on, where positions go on after P more; what comes before the slot is as without a
    prompt.

    Attributes:
        keys_values: [L, 2, K, P, D] float32: per layer keys, rotated for positions 0 to P - 1 where
            a model rotates them, and values; K key heads (not query heads), D per head.
        late: whether they are.
    """

    keys_values: Tensor
    late: bool = False

    @classmethod
    def of_matrix(
        cls, matrix: Tensor, layers: int, key_heads: int, *, late: bool = False
    ) -> PrefixKV:
        """From [P, L * 2 * K * D], as PEFT lays them out."""
        by_layer = matrix.reshape(len(matrix), layers, 2, key_heads, -1)
        return cls(by_layer.permute(1, 2, 3, 0, 4), late)

    @property
    def matrix(self) -> Tensor:
        """The same as [P, L * 2 * K * D]."""
        return self.keys_values.permute(3, 0, 1, 2, 4).flatten(1)

    @property
    def length(self) -> int:
        """P."""
        return self.keys_values.shape[3]


@dataclass(frozen=True, slots=True)
class LayerTokens:
    """An injection of vectors at each row's slot, anew at every layer's input.

    Attributes:
        vectors: [L, P, H] float32; the first layer's stand among the input embeddings, the others
            replace what the layer before made of their places.
    """

    vectors: Tensor

    @property
    def length(self) -> int:
        """P."""
        return self.vectors.shape[1]


@dataclass(frozen=True, slots=True)
class ImageShift:
    """What moves vectors around labels' names for each image (CoCoOp): W2 relu(W1 v + b1) + b2.

    Zhou et al., "Conditional Prompt Learning for Vision-Language Models" (CVPR 2022), section 3.2.

    Attributes:
        down, down_bias: [M, D] and [M] float32, W1 and b1.
        up, up_bias: [H, M] and [H] float32, W2 and b2.
        names: the labels', which are read anew for each image.
    """

    down: Tensor
    down_bias: Tensor
    up: Tensor
    up_bias: Tensor
    names: tuple[str, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """[N, H] float32 what is added to every vector, of images' unit vectors [N, D]."""
        down, down_bias, up, up_bias = (
            tensor.to(images.device)
            for tensor in (self.down, self.down_bias, self.up, self.up_bias)
        )
        middle = functional.linear(images.float(), down, down_bias).relu()
        return functional.linear(middle, up, up_bias)


@dataclass(frozen=True, slots=True)
class LabelTokens:
    """An injection of vectors around each label's name, in the tower that reads the names.

    Attributes:
        vectors: [C, L', n, H] float32: C is 1 for vectors that all labels share, else there is one
            for each label; L' is of how many layers: the first layer's stand among the embeddings,
            those of later ones replace what the layer before made of their places.
        place: where the name stands: behind them, between two halves, or in front of them.
        shift: what moves the first layer's vectors for each image; None for nothing.
    """

    vectors: Tensor
    place: NamePlace = "end"
    shift: ImageShift | None = None

    def around(self, names: Sequence[str]) -> LabelTokens:
        """The same around other names."""
        if self.shift is None:
            return self
        return replace(self, shift=replace(self.shift, names=tuple(names)))

    @property
    def length(self) -> int:
        """0: labels take no positions of a request."""
        return 0


TowerInjection = InputTokens | PrefixKV | LayerTokens | LabelTokens


@dataclass(frozen=True, slots=True)
class Towers:
    """An injection into several towers of a model, or into another than its text tower.

    The text tower is the one that reads the rendered template, an encoder-decoder's encoder. With a
    piece for the tower that reads labels' names, an image is read as the unit vector that is
    compared with theirs, or where each image moves the piece as its cosines with theirs.
    """

    pieces: Mapping[Tower, TowerInjection]

    @property
    def length(self) -> int:
        """Positions that the injection takes of every request, of all towers together."""
        return sum(piece.length for piece in self.pieces.values())


Injection = TowerInjection | Towers
"""A piece alone goes into the main tower, which reads a task's rows: of models of images their only
one, of others the text tower."""


def by_tower(injection: Injection | None, main: Tower = "text") -> Mapping[Tower, TowerInjection]:
    """An injection's pieces by the tower that they go into; nothing for None.

    Args:
        main: the tower of a piece alone.
    """
    if injection is None:
        return {}
    return injection.pieces if isinstance(injection, Towers) else {main: injection}
