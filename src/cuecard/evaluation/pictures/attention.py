"""Where a visual prompt's vectors look in images, drawn as a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuecard.errors import BackboneError, ConfigError
from cuecard.evaluation.figures import attention_figure
from cuecard.lazy import inference_mode, torch
from cuecard.types import Backbone, Image, Injection, PrefixKV, ShowsAttention, by_tower


@inference_mode
def draw_attention(
    backbone: Backbone,
    injection: Injection | None,
    images: Sequence[tuple[Image, str]],
    path: str | Path,
    *,
    layer: int | None = None,
) -> int:
    """Draw a layer's attention between a prompt and the patches of images, as a PNG.

    From the prompt's vectors to each patch, the mean over the heads. Keys and values in front of a
    layer's own look at nothing: of them it is how much each patch looks at them.

    Args:
        images: each with its name.
        layer: its number, from 1; the last by default.

    Returns:
        The number of the layer that is drawn.

    Raises:
        BackboneError: an encoder whose attention cannot be looked at, or none of images.
        ConfigError: a layer that the encoder has not, no images, or a prompt without vectors.
    """
    if not isinstance(backbone, ShowsAttention):
        raise BackboneError(
            "no attention over images can be drawn of this model",
            where=backbone.name,
            got=f"a model with a {' and a '.join(backbone.takes)} tower",
            expected="a vision encoder",
        )
    layers = backbone.num_layers
    layer = layers if layer is None else layer
    if not 1 <= layer <= layers:
        raise ConfigError(
            "the encoder has no such layer",
            where=backbone.name,
            got=f"layer {layer}",
            expected=f"1 to {layers}",
        )
    piece = by_tower(injection, "vision").get("vision")
    if piece is None or not piece.length or not images:
        raise ConfigError(
            "there is no attention to draw",
            where=backbone.name,
            got="no images" if piece is not None and piece.length else "nothing beside the patches",
            expected="a prompt of vectors or keys beside an image's patches, and an image",
        )
    shown = [image for image, _ in images]
    maps = torch.cat([backbone.prompt_attention([i], piece, layer - 1) for i in shown])
    attention_figure(
        backbone.shown(shown).numpy(),
        maps.numpy(),
        [name for _, name in images],
        path,
        what="key" if isinstance(piece, PrefixKV) else "vector",
    )
    return layer
