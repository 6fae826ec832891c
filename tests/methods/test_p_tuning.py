"""P-tuning against the formula in float64, written out gate by gate."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuecard.methods import PTuning
from cuecard.methods.modules.encoded_prompt import EncodedPrompt
from support.init_context import TABLE, context

ENCODERS = ["mlp", "lstm"]


def made(encoder: str, **changes: object) -> EncodedPrompt:
    settings = {"length": 6, "init": "vocabulary", "encoder": encoder, **changes}
    return PTuning.model_validate(settings).build(context())


def state(method: EncodedPrompt) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in method.state_dict().items()}


def direction(of: dict[str, Tensor], x: Tensor, layer: int, reverse: bool) -> Tensor:
    """One direction of one LSTM layer over x [P, D]."""
    name = f"l{layer}{'_reverse' if reverse else ''}"
    w, u = of[f"lstm.weight_ih_{name}"], of[f"lstm.weight_hh_{name}"]
    b = of[f"lstm.bias_ih_{name}"] + of[f"lstm.bias_hh_{name}"]
    h = c = x.new_zeros(u.shape[1])
    seen = []
    for row in x.flip(0) if reverse else x:
        i, f, g, o = (w @ row + u @ h + b).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        seen.append(h)
    return torch.stack(seen).flip(0) if reverse else torch.stack(seen)


def formula(of: dict[str, Tensor]) -> Tensor:
    x = of["free"]
    if any(name.startswith("lstm") for name in of):
        for layer in range(2):
            x = torch.cat([direction(of, x, layer, False), direction(of, x, layer, True)], 1)
    for place in (0, 2):
        if f"inner.{place}.weight" in of:
            x = (x @ of[f"inner.{place}.weight"].T + of[f"inner.{place}.bias"]).relu()
    return x @ of["last.weight"].T + of["last.bias"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_formula(encoder: str) -> None:
    method = made(encoder)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    found = method.injection().vectors.double()
    torch.testing.assert_close(found, formula(state(method)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("init", ["text", "random"])
def test_it_starts_at_the_inits_vectors(encoder: str, init: str) -> None:
    method = made(encoder, init=init, hidden=16, **({"text": "abcdef"} if init == "text" else {}))
    expected = TABLE[97:103] if init == "text" else context_start()
    torch.testing.assert_close(method.injection().vectors.detach(), expected, atol=1e-5, rtol=1e-4)


def context_start() -> Tensor:
    return PTuning(length=6, init="random").start(context())


def test_a_prompt_longer_than_the_encoder_is_wide_starts_as_near_as_can_be() -> None:
    method = made("mlp", length=40, init="random", hidden=8)
    start = PTuning(length=40, init="random").start(context())
    off = (method.injection().vectors.detach() - start).pow(2).sum()
    assert 0 < float(off) < float(start.pow(2).sum())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_generator_alone_decides(encoder: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = made(encoder)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    for name, tensor in made(encoder).state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name])


def test_two_rates() -> None:
    method = made("lstm")
    free, weights = method.groups()
    assert free.lr == "embeddings" and free.parameters == (method.free,)
    assert weights.lr is None and len(weights.parameters) == 16 + 2 + 2
