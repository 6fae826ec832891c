"""A ViT-shaped encoder taken apart by running it once: what embeds an image, layers, the last norm.

Nothing goes by a model's name. The layers are the model's one list of as many modules as its
configuration says, the patches are made by a convolution whose stride is its size, tokens in front
of the patches (a class token, registers) are what the first layer takes in beside them, and the
last norm is the first one after the layers that knows their width. That this is all the model does
is tried, on a blank image.

Where attention adds a bias for each pair of an image's places (BEiT, Bao et al., ICLR 2022, with
relative positions), that of a prompt's places is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from cuecard.backbones.forward.frozen import FrozenModel, ReachedError
from cuecard.backbones.forward.prefix_probe import key_shape, probe_prefix
from cuecard.backbones.forward.vit_layers import VitLayers
from cuecard.backbones.kernels.bidirectional import NAME as PREFIXED
from cuecard.backbones.kernels.bidirectional import prefixed
from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.backbones.kernels.vit_block import for_rows
from cuecard.errors import BackboneError

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What a layer is called with beside the states."""


def patch_layer(model: nn.Module, name: str) -> nn.Conv2d:
    """The convolution that makes patches of an image.

    Raises:
        BackboneError: there is none.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride:
            return module
    raise _other_shape(model, name, "no convolution that cuts an image into patches")


def patch_table(layer: nn.Conv2d) -> Tensor:
    """[C * p * p, H] what each number of a patch adds to its embedding."""
    return layer.weight.detach().flatten(1).T


@dataclass(frozen=True, slots=True)
class VisionRows:
    """Rows under one prompt.

    Attributes:
        embedded: [B, S, H] what the first layer takes in without a prompt.
        vectors: [P, H] what goes in after the class token.
        layers: [L', P, H] what replaces what the first layers make of their places; None for
            nothing.
        prefix: [L, 2, K, A, D] keys and values in front of every layer's own; None for none.
    """

    embedded: Tensor
    vectors: Tensor
    layers: Tensor | None = None
    prefix: Tensor | None = None

    @property
    def form(self) -> tuple[int, int, int]:
        """What rows of one pass have in common: P, of how many layers, and A."""
        ahead = 0 if self.prefix is None else self.prefix.shape[3]
        return len(self.vectors), 0 if self.layers is None else len(self.layers), ahead


class VisionTower:
    """The parts of a frozen encoder.

    Args:
        frozen: the model.
        pixels: [1, C, h, w] a blank image of the size that the model is given.
        name: what the user called it.

    Attributes:
        front: how many tokens stand in front of the patches.
        at: how many of these come before a prompt: the class token, where there is one.
        grid: how many patches an image has, downwards and across.
        patches: how many these are.
        inputs: [S, H] what the first layer takes in at those of a blank image.

    Raises:
        BackboneError: a model of another shape.
    """

    def __init__(self, frozen: FrozenModel, pixels: Tensor, name: str) -> None:
        self._frozen, self._model, self._name = frozen, frozen.model, name
        self.layers = self._find_layers()
        self._calls: list[Call] = []
        self._biased = False
        try:
            with frozen.uncounted():
                self._take_apart(pixels)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise _other_shape(self._model, name, f"{type(error).__name__}: {error}") from error

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, S, H] what the first layer takes in for images [B, C, h, w]; no layer runs."""
        found: list[Tensor] = []

        def stop(module: nn.Module, inputs: Any, options: Any) -> None:
            found.append(_states_in(inputs, options))
            raise ReachedError

        with torch.no_grad(), _hooked(self.layers[:1], stop, before=True), suppress(ReachedError):
            self._model(pixel_values=pixels)
        return found[0]

    def run(self, parts: Sequence[VisionRows]) -> list[Tensor]:
        """[B, H] each part's summary states; parts of one form make one pass."""
        found: dict[int, Tensor] = {}
        forms = {part.form for part in parts}
        for form in sorted(forms):
            numbers = [number for number, part in enumerate(parts) if part.form == form]
            some = [parts[number] for number in numbers]
            last, ahead = self._last(some)
            states = self.summary(last, ahead)
            sizes = [len(part.embedded) for part in some]
            found |= dict(zip(numbers, torch.split(states, sizes), strict=True))
        return [found[number] for number in range(len(parts))]

    def through(self, vectors: Tensor) -> list[Tensor]:
        """[T, H] what each layer takes in for vectors [T, H] alone."""
        *seen, _ = self._passing(vectors[None])
        return [hidden[0] for hidden in seen]

    def at_patches(self, rows: VisionRows, layers: int, *, through: bool = False) -> list[Tensor]:
        """[B, S, H] what each of the first layers takes in at the patches; no other layer runs.

        Args:
            through: whether the last of these runs too.
        """
        seen = list(islice(self._over([rows]), layers + through))
        return [hidden[:, self.front + len(rows.vectors) :] for hidden in seen[:layers]]

    def summary(self, hidden: Tensor, length: int) -> Tensor:
        """[B, H] the state that stands for an image, of the last layer's output [B, S + P, H].

        The class token's, or the mean over the patches where the model has none or takes that.
        """
        if not self._mean:
            return self._normed(hidden[:, 0])
        patches = hidden[:, self.front + length :]
        if self._mean_first:
            return self._normed(patches.mean(1))
        return self._normed(patches).mean(1)

    def _normed(self, states: Tensor) -> Tensor:
        return torch.as_tensor(self._norm(states))

    @property
    def positions(self) -> int:
        """How many positions an image takes."""
        return self.front + self.patches

    def uses(self, name: str) -> bool:
        """Whether a parameter of the model takes part in what is read."""
        return name in self._used

    @cached_property
    def _written_out(self) -> VitLayers:
        return VitLayers(self._frozen, self.layers, self._layer, self._blank)

    def _last(self, parts: Sequence[VisionRows]) -> tuple[Tensor, int]:
        """[B, R, H] the last layer's output where it is read, and how many vectors are in it."""
        deep = [part.layers for part in parts if part.layers is not None]
        if not self._written_out.usable():
            return self._layers_over(parts), len(parts[0].vectors)
        prefixes = [part.prefix for part in parts if part.prefix is not None]
        counts = [len(part.embedded) for part in parts]
        rows = torch.cat([part.embedded for part in parts]) if deep else self._first(parts)
        read = 0 if self._mean else 1
        last = self._written_out(rows, counts, deep, prefixes, at=self.at, read=read)
        replaced = bool(deep) and len(deep[0]) == len(self.layers)
        return last, 0 if replaced else len(parts[0].vectors)

    def _layers_over(self, parts: Sequence[VisionRows]) -> Tensor:
        """[B, S + P, H] the last layer's output over the rows of parts of one form."""
        with self._seeing(parts):
            for hidden in self._over(parts):  # noqa: B007 - the last one, and no other is kept
                pass
        return hidden

    def attention(self, rows: VisionRows, layer: int) -> Tensor:
        """[B, P or A, heads, S] float32 a layer's attention between a prompt and the patches.

        From the prompt's vectors to each patch; of keys in front, from each patch to them.

        Args:
            layer: its number, from 0; no later one runs.

        Raises:
            BackboneError: an attention of the encoder's own.
        """
        key_shape(self.key_shape, self._name)
        prefix = _in_front([rows])
        with (
            self._frozen.uncounted(),
            self._frozen.attending(PREFIXED),
            prefixed(prefix, watched=layer) as running,
        ):
            for _ in islice(self._over([rows]), layer + 2):
                pass
        assert running.weights is not None
        if prefix is not None:
            to_keys = running.weights[:, :, -self.patches :, : prefix.shape[4]]
            return to_keys.permute(0, 3, 1, 2)
        own = slice(self.at, self.at + len(rows.vectors))
        return running.weights[:, :, own, -self.patches :].transpose(1, 2)

    @contextmanager
    def _seeing(self, parts: Sequence[VisionRows]) -> Iterator[None]:
        """Let layers see the parts' keys and values, if these have any."""
        prefix = _in_front(parts)
        if prefix is None and not (self._biased and len(parts[0].vectors)):
            yield
            return
        with self._frozen.attending(PREFIXED), prefixed(prefix):
            yield

    @cached_property
    def key_shape(self) -> tuple[int, int] | str:
        """K key heads and their size D; or why keys and values cannot stand in front, in words."""
        rows = VisionRows(self._blank, self._blank[0, :0])
        name = type(self._model).__name__
        return probe_prefix(self._frozen, name, lambda: self._layers_over([rows]))

    def _over(self, parts: Sequence[VisionRows]) -> Iterator[Tensor]:
        """[B, S + P, H] what each layer takes in for these rows, then what the last gives."""
        at, length = self.at, len(parts[0].vectors)
        deep = [part.layers for part in parts if part.layers is not None]
        counts = [len(part.embedded) for part in parts]

        def stamped(number: int, hidden: Tensor) -> Tensor:
            if not deep or number >= len(deep[0]):
                return hidden
            own = for_rows([layers[number] for layers in deep], counts)
            return torch.cat([hidden[:, :at], own, hidden[:, at + length :]], 1)

        hidden = self._first(parts)

        counted = self._frozen.counts
        counted["calls"] += 1
        counted["tokens"] += hidden.shape[0] * hidden.shape[1]
        yield from self._passing(hidden, stamped)

    def _first(self, parts: Sequence[VisionRows]) -> Tensor:
        """[B, S + P, H] what the first layer takes in."""
        embedded = torch.cat([part.embedded for part in parts])
        counts = [len(part.embedded) for part in parts]
        prompt = for_rows([part.vectors for part in parts], counts)
        return torch.cat([embedded[:, : self.at], prompt, embedded[:, self.at :]], 1)

    def _passing(
        self, hidden: Tensor, stamped: Callable[[int, Tensor], Tensor] = lambda _, hidden: hidden
    ) -> Iterator[Tensor]:
        """What each layer takes in, and at last what the last one gives.

        Args:
            stamped: makes what a layer but the first takes in of what the one before it gave.
        """
        for number in range(len(self.layers)):
            hidden = stamped(number, hidden) if number else hidden
            yield hidden
            hidden = self._layer(number, hidden)
        yield hidden

    def _layer(self, number: int, hidden: Tensor) -> Tensor:
        layer = self.layers[number]
        args, options = self._calls[number]
        if "hidden_states" in options:
            options = {**options, "hidden_states": hidden}
        else:
            args = (hidden, *args[1:])
        output = layer(*args, **options)
        return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]

    def _find_layers(self) -> list[nn.Module]:
        try:
            return decoder_layers(self._model, self._frozen.layers)
        except BackboneError as error:
            raise _other_shape(self._model, self._name, str(error.got)) from error

    def _take_apart(self, pixels: Tensor) -> None:
        """Run the model, see what goes in and out of its parts, and try the same with them."""
        outputs: list[Tensor] = []
        norms: list[tuple[nn.Module, Tensor]] = []
        began: list[nn.Module] = []
        patched: list[Tensor] = []

        def layer_in(module: nn.Module, inputs: Any, options: Any) -> None:
            self._calls.append((inputs, options))

        def layer_out(module: nn.Module, inputs: Any, options: Any, output: Any) -> None:
            outputs.append(output[0] if isinstance(output, tuple) else output)

        def norm_in(module: nn.Module, inputs: Any, options: Any) -> None:
            if len(outputs) == len(self.layers) and inputs[0].shape[-1] == outputs[-1].shape[-1]:
                norms.append((module, inputs[0]))

        def begin(module: nn.Module, inputs: Any, options: Any) -> None:
            if not self._calls:
                began.append(module)

        def patch_out(module: nn.Module, inputs: Any, options: Any, output: Tensor) -> None:
            patched.append(output)

        everything = list(self._model.modules())
        kinds = [m for m in everything if "norm" in type(m).__name__.lower()]
        patch = patch_layer(self._model, self._name)
        with ExitStack() as stack:
            stack.enter_context(_hooked(self.layers, layer_in, before=True))
            stack.enter_context(_hooked(self.layers, layer_out, before=False))
            stack.enter_context(_hooked(kinds, norm_in, before=True))
            stack.enter_context(_hooked(everything, begin, before=True))
            stack.enter_context(_hooked([patch], patch_out, before=False))
            output = self._model(pixel_values=pixels)
        embedded = _states_in(*self._calls[0])
        if len(self._calls) != len(self.layers) or embedded.ndim != 3:
            raise ValueError(f"{len(self._calls)} calls of {len(self.layers)} layers")
        self.grid = patched[0].shape[-2], patched[0].shape[-1]
        self.patches = self.grid[0] * self.grid[1]
        self.front = embedded.shape[1] - self.patches
        if self.front < 0:
            raise ValueError(f"{embedded.shape[1]} tokens of {self.patches} patches")
        self.at = min(1, self.front)
        self._blank, self.inputs = embedded, embedded[0, self.front :]
        self._find_summary(outputs[-1], norms)
        used = {id(p) for m in (*self.layers, self._norm) for p in m.parameters()}
        used |= {id(p) for module in began for p in module.parameters(recurse=False)}
        # A parameter of the whole model's own counts where the model has any: it began first.
        self._used = {name for name, p in self._model.named_parameters() if id(p) in used}
        self._try(embedded, torch.as_tensor(output.last_hidden_state), outputs[-1])

    def _find_summary(self, last: Tensor, norms: Sequence[tuple[nn.Module, Tensor]]) -> None:
        """What the model itself does with the last layer's output."""
        self._norm: nn.Module = nn.Identity()
        self._mean, self._mean_first = not self.front, False
        if not norms:
            return
        norm, given = norms[0]
        self._norm = norm
        if given.ndim == 2 and self._frozen.agrees(given, last[:, self.front :].mean(1)):
            self._mean = self._mean_first = True
        elif not self._frozen.agrees(given, last[:, 0] if given.ndim == 2 else last):
            raise ValueError(f"{type(norm).__name__} takes in another state than the layers give")

    def _try(self, embedded: Tensor, states: Tensor, last: Tensor) -> None:
        """Our way gives what the model's own gave, and takes a prompt.

        Raises:
            ValueError: it does not.
        """
        none = embedded[0, :0]
        rows = VisionRows(embedded, none)
        ours = self._layers_over([rows])
        whole = states if states.shape == last.shape else last
        if not (self._frozen.agrees(ours, last) and self._agrees(ours, whole)):
            raise ValueError("its layers do not make its states alone")
        longer = VisionRows(embedded, embedded[0, :1])
        try:
            self.run([longer])
        except RuntimeError:
            # A bias for each pair of an image's places: a prompt's get none, where that is sound.
            if not self.at or isinstance(self.key_shape, str):
                raise
            self._biased = True
            self.run([longer])

    def _agrees(self, ours: Tensor, states: Tensor) -> bool:
        return self._frozen.agrees(ours, states) or self._frozen.agrees(self._normed(ours), states)


def _in_front(parts: Sequence[VisionRows]) -> Tensor | None:
    """[L, 2, B, K, A, D] the keys and values of the parts' rows; None where these have none."""
    given = [(part.prefix, len(part.embedded)) for part in parts if part.prefix is not None]
    each = [own[:, :, None].expand(-1, -1, count, -1, -1, -1) for own, count in given]
    return torch.cat(each, 2) if each else None


def _states_in(inputs: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    return torch.as_tensor(options["hidden_states"] if "hidden_states" in options else inputs[0])


@contextmanager
def _hooked(modules: Sequence[nn.Module], hook: Any, *, before: bool) -> Iterator[None]:
    handles = [
        module.register_forward_pre_hook(hook, with_kwargs=True)
        if before
        else module.register_forward_hook(hook, with_kwargs=True)
        for module in modules
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _other_shape(model: nn.Module, name: str, got: str) -> BackboneError:
    return BackboneError(
        "this model cannot be used as a vision backbone",
        where=name,
        got=f"{type(model).__name__}: {' '.join(got.split())[:200]}",
        expected="a ViT-shaped encoder: patches, one list of layers that take a token more, a norm",
    )
