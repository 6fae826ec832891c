"""Probe which features an encoder supports by running it once, not by its class name."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cuecard.backbones.forward.encoder_run import EncoderRun
from cuecard.backbones.forward.feature_probes import first_line
from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.injected import Injected
from cuecard.backbones.forward.prefix_probe import REFUSALS, keeping, probe_prefix
from cuecard.backbones.forward.reads import Tail
from cuecard.backbones.forward.seq2seq_inputs import TowerInput
from cuecard.backbones.kernels.layer_tokens import states_of, watching
from cuecard.errors import BackboneError
from cuecard.types import States


class EncoderProbes:
    """Trials of an encoder, each made when it is first asked for; none of them is counted.

    Args:
        padding: the id of the padding token, by which some models count positions.
    """

    def __init__(self, frozen: FrozenModel, run: EncoderRun, encoder: Any, padding: int) -> None:
        self._frozen, self._run, self._encoder, self._padding = frozen, run, encoder, padding

    @cached_property
    def prefix(self) -> tuple[int, int] | str:
        """K key heads and their size D; or why keys and values cannot stand in front, in words."""
        half, nothing = self._text(), self._nothing()
        name = type(self._encoder).__name__
        return probe_prefix(self._frozen, name, lambda: self._run(half, nothing))

    @cached_property
    def layers(self) -> str | None:
        """Why layers cannot be given vectors, in a few words; None if they can."""
        name = type(self._encoder).__name__
        try:
            with self._frozen.uncounted():
                vectors = self._frozen.embed(torch.arange(3, device=self._frozen.device))
                half = self._prompt(3)
                with watching(self._frozen.decoder_layers) as seen:
                    plain = self._run(half, Injected(vectors))
                layers = torch.stack([vectors, *(hidden[0] for hidden in seen[1:])])
                # What the layers take in themselves must make good for an input of nothing.
                found = self._run(half, Injected(vectors * 0, layers=layers))
        except REFUSALS as error:
            return f"{name} does not let them in: {first_line(error)}"
        return (
            None
            if self._frozen.agrees(found, plain)
            else f"{name} answers as if they were not there"
        )

    @cached_property
    def tail(self) -> Tail:
        """The model's own way from hidden states to logits.

        Raises:
            BackboneError: it cannot be taken apart.
        """
        model, half = self._frozen.model, self._text()
        tail = Tail(model, self._encoder)
        with torch.no_grad():
            options = {"input_ids": half.ids, "attention_mask": half.mask}
            plain = model(**options).logits[0]
            found = tail(self._encoder(**options).last_hidden_state[0])
        if found.shape != plain.shape or not self._frozen.agrees(found, plain):
            raise BackboneError(
                "this model's head does more than say words at hidden states",
                got=type(model).__name__,
                expected="a masked language model",
            )
        return tail

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        half, given = self._prompt(len(vectors)), Injected(vectors)
        kept: list[tuple[Tensor, Tensor]] = []
        plain = isinstance(self.prefix, str)
        with self._frozen.uncounted(), watching(self._frozen.decoder_layers) as seen:
            if plain:
                self._run(half, given)
            else:
                kept = keeping(self._frozen, lambda: self._run(half, given))[1].keys_values
        return states_of(vectors, seen, kept)

    def _nothing(self) -> Injected:
        embed: Any = self._frozen.embed
        return Injected(embed.weight.detach()[:0])

    def _prompt(self, length: int) -> TowerInput:
        """A row of `length` prompt vectors and nothing else."""
        place = torch.arange(length, device=self._frozen.device)[None]
        ids = torch.full_like(place, int(self._padding == 0))
        return TowerInput(ids, torch.ones_like(place), place >= 0, place, place * 0)

    def _text(self) -> TowerInput:
        """A row of four tokens that are no padding, and one of three."""
        place = torch.arange(4, device=self._frozen.device).expand(2, -1)
        ids = (self._padding + 1 + place) % self._frozen.words
        mask = torch.ones_like(ids)
        ids[1, 3], mask[1, 3] = self._padding, 0
        return TowerInput(ids, mask, place < 0, place * 0, place)
