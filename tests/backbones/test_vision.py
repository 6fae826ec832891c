from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from cuecard.backbones import CausalBackbone, VisionBackbone, load_frozen
from cuecard.backbones.forward import image_cache as module
from cuecard.backbones.image_processor import ImageProcessor
from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.errors import BackboneError
from cuecard.images import from_array, pixels_of
from cuecard.tasks import collate
from cuecard.types import Injection, InputTokens, LayerTokens, PrefixKV
from support.command_line import save_tiny
from support.oracles.vit import block, embedded, projected, weights_of
from support.tiny_vision import (
    COUSINS,
    LAYERS,
    OTHER_SHAPES,
    SPEC,
    VISION,
    WIDTH,
    pictures,
    save_vision,
    shared_vision,
    tiny_processor,
    tiny_vision,
    tiny_vision_model,
)


def states(backbone: Any, injection: Injection | None = None, count: int = 3) -> torch.Tensor:
    rows = SPEC.encode_rows(pictures(count), backbone.tokenizer, "prefix")
    batch = collate([(row, ()) for row in rows], read="states", inside=0)
    with torch.no_grad():
        found: torch.Tensor = backbone.read(batch, injection, keep="states").states()
    return found


def assert_same_states(loaded: VisionBackbone, made: VisionBackbone) -> None:
    """Of the same weights. Where these lie in memory may change how products are rounded."""
    pairs = zip(loaded.model.named_parameters(), made.model.named_parameters(), strict=True)
    assert all(one == other and torch.equal(a, b) for (one, a), (other, b) in pairs)
    torch.testing.assert_close(states(loaded), states(made), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "front", "mean"),
    [
        ("vit", 1, False),
        ("dinov2", 1, False),
        ("dinov2-registers", 3, False),
        ("clip", 1, False),
        ("siglip", 0, True),
        ("deit", 2, False),
        ("dinov3", 3, False),
        ("beit", 1, True),
        ("beit-relative", 1, False),
    ],
)
def test_the_parts_are_found_by_structure(kind: str, front: int, mean: bool) -> None:
    backbone = shared_vision(kind)
    tower = backbone.tower
    assert (tower.front, tower.at, tower.patches) == (front, min(1, front), 9)
    assert len(tower.layers) == LAYERS and tower._mean is mean
    assert (backbone.vocab_size, backbone.hidden_size) == (3 * 8 * 8, WIDTH)
    vectors = torch.randn(LAYERS, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    found = [
        states(backbone, each) for each in (None, InputTokens(vectors[0]), LayerTokens(vectors))
    ]
    assert not torch.allclose(found[0], found[1]) and not torch.allclose(found[1], found[2])


def test_the_summary_is_the_models_own() -> None:
    """Of CLIP the pooled output, of BEiT the mean that its pooler takes."""
    for kind in ("clip", "beit"):
        backbone = shared_vision(kind)
        pixels = backbone.processor.pixels([record.images[0] for record in pictures(3)])
        with torch.no_grad():
            pooled = backbone.model(pixel_values=pixels).pooler_output
        torch.testing.assert_close(states(backbone), pooled, atol=1e-5, rtol=1e-5)


def test_a_prompts_places_have_no_bias_of_beits() -> None:
    """As a formula of the layers: scores of pairs of the image's own places alone are biased."""
    backbone = shared_vision("beit-relative")
    drawn = torch.randn(LAYERS, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    deep, shallow = (states(backbone, each) for each in (LayerTokens(drawn), InputTokens(drawn[0])))
    pixels = backbone.processor.pixels([record.images[0] for record in pictures(3)])
    for found, own in ((deep, drawn), (shallow, drawn[:1])):
        with torch.no_grad():
            x = backbone.tower.embed(pixels)
            given = own[0].expand(3, -1, -1)
            x = torch.cat([x[:, :1], given, x[:, 1:]], 1)
            for number, layer in enumerate(backbone.tower.layers):
                if number and len(own) > 1:
                    x = torch.cat([x[:, :1], own[number].expand(3, -1, -1), x[:, 3:]], 1)
                x = beit_layer(layer, x, length=2)
            wanted = backbone.tower._norm(x)[:, 0]
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def beit_layer(layer: Any, x: torch.Tensor, length: int) -> torch.Tensor:
    """A layer's output [B, T, H] with a prompt behind the class token."""
    bias = layer.relative_position_bias((3, 3))[0]
    bias = torch.cat([bias[:, :1], bias.new_zeros(4, length, 10), bias[:, 1:]], 1)
    bias = torch.cat([bias[:, :, :1], bias.new_zeros(4, 10 + length, length), bias[:, :, 1:]], 2)
    attention, y = layer.attention, layer.layernorm_before(x)
    q, k, v = (
        getattr(attention, f"{name}_proj")(y).unflatten(2, (4, -1)).transpose(1, 2)
        for name in "qkv"
    )
    scores = q @ k.mT / (WIDTH // 4) ** 0.5 + bias
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    x = x + layer.lambda_1 * attention.o_proj(mixed)
    y = layer.mlp(layer.layernorm_after(x))
    return x + layer.lambda_2 * y


@pytest.mark.parametrize("kind", OTHER_SHAPES)
def test_another_shape_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="cannot be used as a vision backbone"):
        load_frozen(save_vision(tmp_path / kind, kind))


@pytest.mark.parametrize("kind", [*VISION, *COUSINS])
def test_a_folder_is_loaded(kind: str, tmp_path: Path) -> None:
    folder = save_vision(tmp_path / kind, kind)
    loaded = load_frozen(folder, dtype="fp32")
    assert isinstance(loaded, VisionBackbone)
    assert_same_states(loaded, tiny_vision(kind))
    assert loaded.fingerprint == tiny_vision(kind).fingerprint
    rounded = load_frozen(folder, dtype="bf16")
    assert rounded.fingerprint == loaded.fingerprint and rounded.dtype == torch.bfloat16
    assert float((states(rounded) - states(loaded)).abs().max()) < 0.2


@pytest.mark.parametrize(
    ("config", "model"), [(CLIPConfig, CLIPModel), (SiglipConfig, SiglipModel)]
)
def test_of_two_towers_the_one_that_sees_is_loaded(config: Any, model: Any, tmp_path: Path) -> None:
    sizes = shared_vision().model.config.to_dict()
    vision = {k: sizes[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    vision |= {"intermediate_size": 48, "image_size": 24, "patch_size": 8}
    text = {**vision, "hidden_size": 16, "vocab_size": 50}
    both = model(config(vision_config=vision, text_config=text)).eval()
    both.save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    loaded = load_frozen(tmp_path, dtype="fp32")
    alone = VisionBackbone(both.vision_model, ImageProcessor(tiny_processor(), "x"), "x")
    assert_same_states(loaded, alone)


def test_a_head_and_a_missing_pooler_do_not_matter(tmp_path: Path) -> None:
    config = ViTConfig(**shared_vision().model.config.to_diff_dict())
    ViTForImageClassification(config).save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    first, again = (load_frozen(tmp_path, dtype="fp32") for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert torch.equal(states(first), states(again))


def test_another_normalisation_is_another_backbone(tmp_path: Path) -> None:
    folder = save_vision(tmp_path / "vit")
    first = load_frozen(folder, dtype="fp32")
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "image_mean": [0.4, 0.5, 0.5]}))
    other = load_frozen(folder, dtype="fp32")
    assert other.fingerprint.tokenizer != first.fingerprint.tokenizer
    assert other.fingerprint.weights == first.fingerprint.weights
    assert not torch.allclose(states(first), states(other))


def test_what_a_folder_lacks_is_said(tmp_path: Path) -> None:
    folder = save_vision(tmp_path / "vit")
    with pytest.raises(BackboneError, match="not quantised"):
        load_frozen(folder, quantize="int8")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match="image processor cannot be loaded"):
        load_frozen(folder)
    assert isinstance(load_frozen(save_tiny(tmp_path / "llama")), CausalBackbone)


def test_images_that_become_of_different_sizes_are_refused() -> None:
    uncut = ViTImageProcessorPil(do_resize=False)
    backbone = VisionBackbone(tiny_vision_model(), ImageProcessor(uncut, "uncut"), "uncut")
    with pytest.raises(BackboneError, match="cannot be used as a vision backbone"):
        states(backbone)  # the blank image is not of the model's size
    small, large = (from_array(np.zeros((side, side, 3), np.uint8)) for side in (8, 9))
    with pytest.raises(BackboneError, match="images of different sizes"):
        ImageProcessor(uncut, "uncut").pixels([small, large])


def test_what_is_kept_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_vision()
    one = 10 * WIDTH * 4
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * one + 1)
    whole = states(backbone, count=5)
    assert len(backbone.kept) == 2 and backbone.kept.nbytes == 2 * one
    backbone.reset_counts()
    assert torch.equal(states(backbone, count=5), whole)
    assert backbone.counts["remembered"] == 2 * 10


def test_states_of_vectors_alone() -> None:
    backbone = shared_vision()
    vectors = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))
    found = backbone.states(vectors)
    assert found.hidden.shape == (LAYERS, 4, WIDTH) and found.keys_values is not None
    weights, x = weights_of(backbone), vectors.double()
    for number, own in enumerate(found.keys_values.double()):
        _, keys, values = projected(weights, f"layers.{number}.", x)
        torch.testing.assert_close(own, torch.stack([keys, values]), atol=1e-4, rtol=1e-4)
        x = block(weights, f"layers.{number}.", x)
    assert torch.equal(found.hidden[0], vectors)


@pytest.mark.parametrize("kind", ["vit", "dinov2-registers", "siglip"])
def test_a_prompts_attention_is_the_models_own(kind: str) -> None:
    """What transformers' eager attention gives on the same states, prompts put in by hooks."""
    backbone, own = shared_vision(kind), tiny_vision_model(kind)
    own.set_attn_implementation("eager")
    before = str(backbone.model.config._attn_implementation)
    tower, images = backbone.tower, [record.images[0] for record in pictures(2)]
    vectors = torch.randn(LAYERS, 2, WIDTH, generator=torch.Generator().manual_seed(0))
    at = tower.at
    first, *others = decoder_layers(own, LAYERS)

    def put_in(module: Any, args: Any) -> Any:
        hidden = args[0]
        mine = vectors[0].expand(len(hidden), -1, -1)
        return (torch.cat([hidden[:, :at], mine, hidden[:, at:]], 1), *args[1:])

    def replace(number: int) -> Any:
        def hook(module: Any, args: Any) -> Any:
            hidden = args[0].clone()
            hidden[:, at : at + 2] = vectors[number]
            return (hidden, *args[1:])

        return hook

    first.register_forward_pre_hook(put_in)
    pixels = backbone.processor.pixels(images)
    for deep in (False, True):
        if deep:
            for number, layer in enumerate(others, 1):
                layer.register_forward_pre_hook(replace(number))
        with torch.no_grad():
            theirs = own(pixel_values=pixels, output_attentions=True).attentions
        for layer, weights in enumerate(theirs):
            given = LayerTokens(vectors) if deep else InputTokens(vectors[0])
            found = backbone.prompt_attention(images, given, layer)
            wanted = weights[:, :, at : at + 2, -9:].mean(1).reshape(2, 2, 3, 3)
            assert weights.shape[-1] == tower.positions + 2
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    assert str(backbone.model.config._attn_implementation) == before


def test_attention_to_keys_in_front_is_the_formulas() -> None:
    backbone = shared_vision()
    weights, images = weights_of(backbone), [record.images[0] for record in pictures(2)]
    prefix = torch.randn(LAYERS, 2, 4, 3, 8, generator=torch.Generator().manual_seed(0)) * 0.3
    counted = dict(backbone.counts)
    found = backbone.prompt_attention(images, PrefixKV(prefix), 1)
    assert {**backbone.counts, "remembered": 0} == {**counted, "remembered": 0}
    for image, maps in zip(images, found, strict=True):
        x = torch.cat(embedded(weights, image))
        x = block(weights, "layers.0.", x, prefix[0].double())
        q, k, _ = projected(weights, "layers.1.", x)
        scores = q @ torch.cat([prefix[1, 0].double(), k], 1).transpose(1, 2) / 8**0.5
        wanted = scores.softmax(-1)[:, 1:, :3].mean(0).T.reshape(3, 3, 3)
        torch.testing.assert_close(maps.double(), wanted, atol=1e-6, rtol=1e-5)


def test_an_image_is_shown_as_the_model_is_given_it() -> None:
    backbone, image = shared_vision(), pictures(1)[0].images[0]
    (shown,) = backbone.shown([image])
    np.testing.assert_allclose(shown.numpy() * 255, np.asarray(pixels_of(image)), atol=1e-3)
