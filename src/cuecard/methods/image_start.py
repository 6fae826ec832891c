"""Where a visual prompt's vectors start: in one layer's input or in every layer's.

xavier: Jia et al., "Visual Prompt Tuning" (ECCV 2022); KMnP/vpt, `vit_prompt/vit.py`.
patches: Wang et al., "Revisiting the Power of Prompt for Visual Tuning" (ICML 2024), "SPT": patch
tokens of training images, sampled or the means of k-means; in each layer what it itself takes in.
vipamin: Park, Chung, "VIPAMIN: Visual Prompt Initialization via Embedding Selection and Subspace
Expansion" (NeurIPS 2025): (1 - lambda) M + lambda O. With r_i drawn as for xavier and X [S, H] the
mean of the images at each patch,
M_i = the mean of the k rows of X whose keys are most like the key of r_i (cosine; keys are the mean
of heads and images, of the layer that takes the prompt in), and O_i = r_i (I - Q Q^T), with Q the
basis of the rows of X. The published code (iamjaekyun/vipamin, `load_orth.py`) takes O among the
layer's values, and back by the pseudo-inverse of their weights; here among what the layer takes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, torch
from cuecard.types import InitContext, Patches

if TYPE_CHECKING:
    from torch import Tensor

sklearn_cluster = lazy_module("sklearn.cluster")
threadpoolctl = lazy_module("threadpoolctl")

PatchChoice = Literal["sampled", "k-means"]


class SizedSettings(Protocol):
    """A method's settings with the prompt's length, whatever it starts from.

    Attributes:
        drawn_init: the init to take where there are too few patches.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def drawn_init(self) -> str: ...


class LayeredSettings(SizedSettings, Protocol):
    """What these inits need of a method's settings; see `StartSettings`."""

    @property
    def patches(self) -> PatchChoice: ...

    @property
    def vipamin_k(self) -> int: ...

    @property
    def vipamin_lambda(self) -> float: ...


def xavier(shape: tuple[int, ...], context: InitContext) -> Tensor:
    """Uniform in [-v, v], v = sqrt(6 / (V + d)), d the last size, of an embedding [V, H].

    Of patches of p x p in three colours V is 3 * p^2: `val` in KMnP/vpt, `vit_prompt/vit.py`.
    """
    bound = math.sqrt(6 / (len(context.embeddings) + shape[-1]))
    return (2 * torch.rand(*shape, generator=context.generator) - 1) * bound


def _xavier(settings: LayeredSettings, context: InitContext, layers: int) -> Tensor:
    return xavier((layers, settings.size, context.embeddings.shape[1]), context)


def _patches(settings: LayeredSettings, context: InitContext, layers: int) -> Tensor:
    tokens = patches_in(settings, context).tokens(layers).cpu()
    if settings.patches == "sampled":
        return tokens[:, drawn_of(tokens.shape[1], settings, context)]
    seed = int(torch.randint(1 << 31, (1,), generator=context.generator))
    return torch.stack([_means(settings, rows, seed) for rows in tokens])


def drawn_of(count: int, settings: SizedSettings, context: InitContext) -> Tensor:
    """[P] places among so many patches, none twice.

    Raises:
        ConfigError: there are fewer.
    """
    if count < settings.size:
        raise _too_few(settings, count, "patches in the training images that are looked at")
    return torch.randperm(count, generator=context.generator)[: settings.size]


def _means(settings: LayeredSettings, rows: Tensor, seed: int) -> Tensor:
    """[P, H] the means of k-means over rows [N, H]; the same bits for the same seed."""
    different = len(torch.unique(rows, dim=0))
    if different < settings.size:
        raise _too_few(settings, different, "different patches")
    model = sklearn_cluster.KMeans(settings.size, n_init=1, random_state=seed)
    with threadpoolctl.threadpool_limits(1):  # threads add up in any order
        return torch.from_numpy(model.fit(rows.double().numpy()).cluster_centers_).float()


def _vipamin(settings: LayeredSettings, context: InitContext, layers: int) -> Tensor:
    drawn = _xavier(settings, context, layers)
    tokens, keys = (found.double().cpu() for found in patches_in(settings, context).beside(drawn))
    count = settings.vipamin_k
    if tokens.shape[1] < count:
        raise _too_few(settings, tokens.shape[1], "patches in an image", count, "vipamin_k")
    keys = torch.nn.functional.normalize(keys, dim=-1)
    alike = keys[:, : settings.size] @ keys[:, settings.size :].mT
    nearest = alike.topk(count, -1).indices
    matched = torch.stack([x[at].mean(1) for x, at in zip(tokens, nearest, strict=True)])
    outside = torch.stack(
        [r - r @ _projector(x) for r, x in zip(drawn.double(), tokens, strict=True)]
    )
    share = settings.vipamin_lambda
    return ((1 - share) * matched + share * outside).float()


def _projector(rows: Tensor) -> Tensor:
    """[H, H] onto the space of the rows [S, H]."""
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    basis = basis[sizes > sizes[0] * max(rows.shape) * torch.finfo(torch.float32).eps]
    return torch.as_tensor(basis.T @ basis)


def patches_in(settings: SizedSettings, context: InitContext) -> Patches:
    """What the layers make of training images' patches.

    Raises:
        ConfigError: there are none.
    """
    if context.patches is None:
        raise ConfigError(
            "this init starts from patches of training images",
            where=f"method {settings.name}, init",
            got="a backbone that sees no images, or no training images",
            expected="a vision encoder and a task of images",
            hint=None if context.sees else "init=text or random",
        )
    return context.patches


def _too_few(
    settings: SizedSettings, got: int, what: str, wanted: int = 0, setting: str = "length"
) -> ConfigError:
    return ConfigError(
        "there are fewer patches than the init needs",
        where=f"method {settings.name}, {setting}",
        got=f"{got} {what}",
        expected=f"at least {wanted or settings.size}",
        hint=f"a smaller {setting}, or init={settings.drawn_init}",
    )


LAYERED: Mapping[str, Callable[[LayeredSettings, InitContext, int], Tensor]] = {
    "xavier": _xavier,
    "patches": _patches,
    "vipamin": _vipamin,
}
"""init -> [layers, P, H] float32 on the CPU, each layer's own start.

Raise `ConfigError` where the backbone or the task cannot give them.
"""
