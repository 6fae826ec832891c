"""Layers written out against the model's own code, and how many products a step then makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cuecard.backbones.kernels import vit_block
from cuecard.tasks import collate
from cuecard.types import Injection, InputTokens, LayerTokens, PrefixKV
from support.tiny_vision import COUSINS, LAYERS, SPEC, VISION, WIDTH, pictures, tiny_vision

P, HEADS, WIDE = 4, 4, 64
KINDS = {
    "none": lambda drawn: None,
    "vectors": lambda drawn: InputTokens(drawn[0]),
    "layers": lambda drawn: LayerTokens(drawn),
    "prefix": lambda drawn: PrefixKV(
        torch.stack([drawn, -drawn], 1).view(LAYERS, 2, P, HEADS, -1).transpose(2, 3)
    ),
}


def drawn_prompts(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(LAYERS, P, WIDTH, generator=generator).requires_grad_() for _ in range(count)
    ]


def read(backbone: Any, injections: Sequence[Injection | None], rows: int = 3) -> list[Tensor]:
    encoded = SPEC.encode_rows(pictures(rows), backbone.tokenizer, "prefix")
    batch = collate([(row, ()) for row in encoded], read="states", inside=0)
    parts = [(batch, injection) for injection in injections]
    return [reads.states() for reads in backbone.read_many(parts, keep="states")]


def step(backbone: Any, kind: str) -> tuple[Tensor, list[Tensor]]:
    """The states of two prompts' rows in one pass, and the prompts' gradients."""
    prompts = drawn_prompts(2)
    states = torch.cat(read(backbone, [KINDS[kind](prompt) for prompt in prompts]))
    if kind == "none":
        return states, []
    mix = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    (states * mix).sum().backward()
    return states.detach(), [prompt.grad for prompt in prompts if prompt.grad is not None]


def watched(backbone: Any) -> Any:
    """The model's own code runs where a layer is watched."""
    return backbone.tower.layers[1].register_forward_hook(lambda *_: None)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("kind", [*VISION, *COUSINS])
def test_states_and_gradients_are_the_models_own(
    kind: str, short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not short:
        monkeypatch.setattr(vit_block, "_SHORT", 0)
    backbone = tiny_vision(kind)
    # Positions that turn queries and keys, and biases by position, are none of what is written out.
    own = kind in ("dinov3", "beit-relative")
    assert backbone.tower._written_out.usable() is not own
    for injected in KINDS:
        ours, gradients = step(backbone, injected)
        handle = watched(backbone)
        assert not backbone.tower._written_out.usable()
        theirs, wanted = step(backbone, injected)
        handle.remove()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradients, wanted, atol=1e-4, rtol=1e-4)


def products(backbone: Any, injection: Injection, *, backward: bool) -> int:
    """Multiply-adds of a pass over three images whose patches are known."""
    with FlopCounterMode(display=False) as counter:
        (states,) = read(backbone, [injection])
        if backward:
            states.sum().backward()
    return int(counter.get_total_flops()) // 2


def test_what_nothing_reads_is_not_made() -> None:
    """Of VPT-Deep no output at a prompt's places, and of the last layer the class token's alone."""
    backbone, rows, tokens = tiny_vision("dinov2"), 3, 10
    (prompt,) = drawn_prompts(1)
    read(backbone, [None])  # the patches' embeddings
    own, mlp = WIDTH * WIDTH, 2 * WIDTH * WIDE
    attention = rows * tokens * (tokens + P) * WIDTH  # one product of a layer, all heads
    whole = rows * tokens * (4 * own + mlp) + 2 * attention
    last = rows * (2 * tokens * own + 2 * own + mlp) + 2 * attention // tokens
    prompts = LAYERS * 2 * P * own
    forward = (LAYERS - 1) * whole + last + prompts
    assert products(backbone, LayerTokens(prompt.detach()), backward=False) == forward
    # Gradients: of activations alone, four products of attention; below the first layer's keys and
    # values of the prompt there is none.
    back = (LAYERS - 1) * (whole + 2 * attention) - rows * tokens * 3 * own
    back += last + 2 * attention // tokens + prompts
    assert products(backbone, LayerTokens(prompt), backward=True) == forward + back
    handle = watched(backbone)
    plain = products(backbone, LayerTokens(prompt), backward=True)
    handle.remove()
    assert forward + back < 0.7 * plain


def test_layers_that_are_trained_run_by_their_own_code() -> None:
    backbone = tiny_vision("vit")
    weight = backbone.tower.layers[0].mlp.fc1.weight.requires_grad_()
    (states,) = read(backbone, [None])
    states.sum().backward()
    assert weight.grad is not None and bool(weight.grad.any())
