"""Probe which features a model supports by running it once, not by its class name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.packed import PackedRun
from cuecard.backbones.forward.padded import PaddedRun
from cuecard.backbones.forward.reads import Tail
from cuecard.backbones.forward.unpadded import UnpaddedRows
from cuecard.backbones.kernels.attention import UnpackableError
from cuecard.errors import BackboneError
from cuecard.types import Injection, InjectionKind, InputTokens, LayerTokens, PrefixKV, States


class FeatureProbes:
    """Trials of a model, each made when it is first asked for; none of them is counted.

    Args:
        put: an injection -> its tensors, checked.
        states: what the model makes of vectors.
    """

    def __init__(
        self,
        frozen: FrozenModel,
        padded: PaddedRun,
        packed: PackedRun,
        put: Callable[[Injection], Injected],
        states: Callable[[Tensor], States],
    ) -> None:
        self._frozen, self._padded, self._packed = frozen, padded, packed
        self._put, self._states = put, states
        self._reasons: dict[InjectionKind, str | None] = {}

    @cached_property
    def packs(self) -> bool:
        """Whether packed rows get the answers they get alone: some models bring their attention."""
        if not self._frozen.takes_positions:
            return False
        with self._frozen.uncounted():
            rows = self._rows(InputTokens(self._some(40)))
            plain = self._padded.at_reads(rows).float()
            try:
                found = self._packed.at_reads([self._packed.lay_out(rows)]).float()
            except (UnpackableError, TypeError, ValueError):
                return False
        return self._frozen.agrees(found, plain)

    @cached_property
    def tail(self) -> Tail | None:
        """The model's own way from hidden states to logits; None if it cannot be taken apart."""
        model = self._frozen.model
        if not callable(getattr(model, "get_decoder", None)):
            return None
        with self._frozen.uncounted():
            rows = self._rows(InputTokens(self._some(3)))
            plain = self._padded.at_reads(rows).float()
            with self._frozen.keeping_hidden():
                hidden = self._padded.at_reads(rows)
            try:
                tail = Tail(model, use_cache=False)
                found = tail(hidden).float()
            except (AttributeError, TypeError, ValueError, RuntimeError):
                return None
        same = found.shape == plain.shape and self._frozen.agrees(found, plain)
        return tail if same else None

    def unsupported(self, kind: InjectionKind) -> str | None:
        """Why the model does not take a kind of injection, in a few words; None if it does."""
        if kind in ("input-tokens", "token-shifts", "mixed-tokens"):
            return None
        if kind == "late-prefix-kv":
            return self._too_plain_for_late() or self.unsupported("prefix-kv")
        if kind not in self._reasons:
            with self._frozen.uncounted():
                self._reasons[kind] = self._reason(kind)
        return self._reasons[kind]

    def _too_plain_for_late(self) -> str | None:
        """Why tokens of one row cannot differ in what they see of a prefix; None if they can."""
        name = type(self._frozen.model).__name__
        if not self.packs:
            return f"{name} brings an attention of its own"
        # Where a window counts positions, it would count the prefix's in one pass and not in two.
        return f"{name} attends to a sliding window" if self._padded.slides else None

    @cached_property
    def key_shape(self) -> tuple[int, int] | None:
        """K key heads and their size D; None for a model that keeps no plain keys and values."""
        with self._frozen.uncounted():
            found = self._states(self._some(1)).keys_values
        return None if found is None else (int(found.shape[2]), int(found.shape[4]))

    def _reason(self, kind: InjectionKind) -> str | None:
        """Whether an injection made of vectors' own states gives what the vectors give."""
        name, vectors = type(self._frozen.model).__name__, self._some(3).float()
        try:
            states = self._states(vectors)
            same: Injection = LayerTokens(states.hidden)
            if kind == "prefix-kv":
                if states.keys_values is None:
                    return f"{name} keeps no keys and values of one shape"
                same = PrefixKV(states.keys_values)
            plain = self._padded.at_reads(self._rows(InputTokens(vectors))).float()
            found = self._padded.at_reads(self._rows(same)).float()
        except (BackboneError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            return f"{name} does not let them in: {first_line(error)}"
        return (
            None
            if self._frozen.agrees(found, plain)
            else f"{name} answers as if they were not there"
        )

    def _some(self, count: int) -> Tensor:
        """[count, H] the first words' embeddings."""
        with torch.no_grad():
            ids = torch.arange(count, device=self._frozen.device)
            return torch.as_tensor(self._frozen.embed(ids % self._frozen.words))

    def _rows(self, injection: Injection) -> UnpaddedRows:
        """Two short rows after an injection."""
        device = self._frozen.device
        ids = torch.arange(8, device=device).view(2, 4) % self._frozen.words
        lengths, slot = torch.tensor([[4, 3], [0, 0]], device=device)
        return UnpaddedRows(
            ids, lengths, slot, torch.arange(2, device=device), lengths, self._put(injection)
        )


def first_line(error: Exception) -> str:
    """An error's first line, which may be empty."""
    return str(error).partition("\n")[0]
