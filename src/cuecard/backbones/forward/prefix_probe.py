"""Whether keys and values can stand in front of an encoder's own: tried, not told by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor

from cuecard.backbones.forward.feature_probes import first_line
from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.kernels.bidirectional import NAME, NotPrefixableError, Prefixed, prefixed
from cuecard.errors import BackboneError

REFUSALS = (BackboneError, NotPrefixableError, AttributeError, TypeError, ValueError, RuntimeError)
"""What a model raises that does not let in what it is given."""

Found = TypeVar("Found")


def probe_prefix(
    frozen: FrozenModel, name: str, run: Callable[[], Tensor]
) -> tuple[int, int] | str:
    """K key heads and their size D; or why keys and values cannot stand in front, in words.

    Args:
        name: what the words call the encoder.
        run: runs it, and gives its states.
    """
    try:
        with frozen.uncounted():
            plain = run()
            found, running = keeping(frozen, run)
    except REFUSALS as error:
        return f"{name} does not let them in: {first_line(error)}"
    shapes = {tensor.shape for layer in running.keys_values for tensor in layer}
    if running.count != frozen.layers or len(shapes) != 1:
        return f"{name} has an attention of its own, which takes no keys and values in front"
    if not frozen.agrees(found, plain):
        return f"{name} attends in a way that is not known here"
    (shape,) = shapes
    return int(shape[1]), int(shape[3])


def keeping(frozen: FrozenModel, run: Callable[[], Found]) -> tuple[Found, Prefixed]:
    """What a run without a prefix gives, and the keys and values of its layers.

    Raises:
        NotPrefixableError: an attention that is not known here.
    """
    with frozen.attending(NAME), prefixed(None, keep=True) as running:
        return run(), running


def key_shape(found: tuple[int, int] | str, name: str) -> tuple[int, int]:
    """K and D, as they were found.

    Raises:
        BackboneError: nothing can stand in front of the model's keys and values.
    """
    if isinstance(found, str):
        raise BackboneError("this model takes no keys and values in front", where=name, got=found)
    return found
