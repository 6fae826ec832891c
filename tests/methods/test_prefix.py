"""Keys and values in front: their inits, prefix tuning's network in float64, and the rates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cuecard.errors import ConfigError
from cuecard.methods import MethodSettings, PrefixTuning, PTuningV2
from cuecard.types import PrefixKV
from support.init_context import TABLE, context, states

KINDS: list[type[MethodSettings]] = [PrefixTuning, PTuningV2]


def keys_values(settings: MethodSettings) -> Tensor:
    injection = settings.build(context()).injection()
    assert isinstance(injection, PrefixKV)
    return injection.keys_values.detach()


def of_text(text: str) -> Tensor:
    return states(TABLE[[ord(c) for c in text]]).keys_values


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_own_keys_and_values(kind: type[MethodSettings]) -> None:
    made = keys_values(kind(length=4, text="hey"))
    torch.testing.assert_close(made, of_text("heyh"), atol=1e-5, rtol=1e-4)
    assert made.shape == (3, 2, 2, 4, 4) and made.dtype == torch.float32
    torch.testing.assert_close(keys_values(kind()), of_text("abc"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_zero(kind: type[MethodSettings]) -> None:
    assert not bool(keys_values(kind(length=3, init="zero")).any())


def test_random_has_each_layers_own_scale() -> None:
    made = keys_values(PTuningV2(length=1000, init="random"))
    real = of_text("abc" * 334)[..., :1000, :]
    scales = (made.pow(2).mean((2, 3, 4)) / real.pow(2).mean((2, 3, 4))).sqrt()
    assert float((scales - 1).abs().max()) < 0.05
    assert float(real[0].pow(2).mean()) < 0.1 * float(real[2].pow(2).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_of_either_kind(kind: type[MethodSettings]) -> None:
    start = PrefixKV(torch.randn(3, 2, 2, 5, 4))
    made = keys_values(kind(length=4, init="prompt", prompt=start.matrix))
    torch.testing.assert_close(made, start.keys_values[..., :4, :], atol=1e-5, rtol=1e-4)
    vectors = torch.randn(5, 8)
    made = keys_values(kind(init="prompt", prompt=vectors))
    torch.testing.assert_close(made, states(vectors).keys_values, atol=1e-5, rtol=1e-4)
    for wrong in (torch.zeros(5, 9), torch.zeros(3, 48)):
        with pytest.raises(ConfigError, match="does not fit"):
            keys_values(kind(length=4, init="prompt", prompt=wrong))


def test_the_networks_formula() -> None:
    method = PrefixTuning(length=5, init="random", hidden=16).build(context())
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    of = {name: tensor.double() for name, tensor in method.state_dict().items()}
    middle = (of["free"] @ of["inner"].T + of["inner_bias"]).tanh()
    matrix = middle @ of["last"].T + of["last_bias"]
    found = method.injection().keys_values.double()
    for layer in range(3):
        for part in range(2):
            for head in range(2):
                place = ((layer * 2 + part) * 2 + head) * 4
                expected = matrix[:, place : place + 4]
                torch.testing.assert_close(found[layer, part, head], expected, atol=1e-5, rtol=1e-5)


def test_rates() -> None:
    free, weights = PrefixTuning(length=3).build(context()).groups()
    assert free.lr == "embeddings" and weights.lr is None and len(weights.parameters) == 4
    (group,) = PTuningV2(length=3).build(context()).groups()
    assert group.lr is None


@pytest.mark.parametrize("kind", KINDS)
def test_refusals(kind: type[MethodSettings]) -> None:
    for wrong in ({"init": "prompt"}, {"prompt": torch.zeros(1, 8)}):
        with pytest.raises(ConfigError, match="do not go together"):
            kind(**wrong)
    with pytest.raises(ValueError, match="slot"):
        kind(slot="suffix")
    with pytest.raises(ConfigError, match="has no tokens"):
        kind(text="").build(context())
    with pytest.raises(ConfigError, match="patches of training images") as caught:
        kind(init="patches").build(context())
    assert caught.value.hint == "init=text or random"
    with pytest.raises(ConfigError, match="do not go together"):
        kind(init="patches", text="hello")
    # It is loaded, as recipes always were, and not ignored.
    with pytest.raises(ConfigError, match="do not go together"):
        kind(init="prompt", prompt=torch.zeros(1, 8), text="hello").build(context())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", ["zero", "random"])
def test_a_text_gives_other_inits_their_length(kind: type[MethodSettings], init: str) -> None:
    assert keys_values(kind(init=init, text="hello")).shape[3] == 5
