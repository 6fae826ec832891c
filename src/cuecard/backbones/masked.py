"""Masked language models and encoders: any transformers model of AutoModelForMaskedLM.

A row is its context, in which a mask token stands where a word is to be said, closed by what the
tokenizer itself puts after a text. Every token sees every other, and a prompt sees the text: it
runs anew with every row. The encoder runs rows under different prompts in one pass, equal rows of
a batch once, and its head only on the hidden states that are read. A model without a head, such as
a sentence encoder, gives hidden states alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.forward.encoder_probes import EncoderProbes
from cuecard.backbones.forward.encoder_run import EncoderRun
from cuecard.backbones.forward.injected import Injected, Widths, injected
from cuecard.backbones.forward.prefix_probe import key_shape
from cuecard.backbones.forward.reads import PIECE_BYTES, WHOLE_BYTES, BatchReads
from cuecard.backbones.forward.seq2seq_inputs import Fill, TowerInput, encoder_input
from cuecard.backbones.forward.special_tokens import special_tokens_around
from cuecard.backbones.kernels.positions import align_left, split_placement
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Injection,
    InjectionKind,
    KeptReads,
    PrefixKV,
    ReadKind,
    States,
    Tokenizer,
    Tower,
)


class _Laid(NamedTuple):
    """What runs for one batch, equal rows once, and where each read is in it."""

    half: TowerInput
    given: Injected
    rows: Tensor
    at: Tensor


class MaskedBackbone(FrozenBackbone):
    """A frozen masked language model, or an encoder without a head.

    Args:
        model: any transformers encoder, with its masked-LM head or without; its parameters are
            frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.

    Raises:
        BackboneError: the model has no input embedding.
    """

    family: ClassVar[Family] = FAMILIES["masked"]

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str) -> None:
        super().__init__(model, tokenizer, name, headless=True)
        encoder: Any = model.base_model
        self.has_head = encoder is not model
        _, self._ends = special_tokens_around(tokenizer)
        padding = int(getattr(self._frozen.config, "pad_token_id", 0) or 0)
        self._fill = Fill(padding=padding, prompt=int(padding == 0))
        self._run = EncoderRun(self._frozen, encoder, padding)
        self._probes = EncoderProbes(self._frozen, self._run, encoder, padding)
        self.max_positions = self._run.positions - self._run.first_position - len(self._ends)

    @property
    def reads(self) -> frozenset[ReadKind]:
        """What can be read of it: masks if it has a head that says words."""
        return self.family.reads if self.has_head else self.family.reads - {"masks"}

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this model does not take a kind of injection; None if it does."""
        reason = super().unsupported(kind, tower)
        if reason is None and kind == "prefix-kv":
            found = self._probes.prefix
            return found if isinstance(found, str) else None
        return self._probes.layers if reason is None and kind == "layer-tokens" else reason

    def unreadable(self, kind: ReadKind) -> str | None:
        """Why this model cannot be read in this way; None if it can."""
        if kind == "next-tokens":
            return "a masked language model reads at masks, not after a text"
        return (
            None if kind in self.reads else "this encoder has no masked-LM head to say words with"
        )

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """The hidden states, and logits that are made of them when they are asked for.

        Raises:
            BackboneError: a row with its prompt is longer than the model's positions; logits of a
                model without a head.
        """
        each = 4 * self.vocab_size
        reads = sum(len(batch.read_rows) for batch, _ in parts)
        piece = max(1, PIECE_BYTES // each) if reads * each > WHOLE_BYTES else reads
        return [
            BatchReads(hidden, self._logits, piece, hidden=True) for hidden in self._hidden(parts)
        ]

    def _hidden(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's last hidden states [N, H] at its reads, of one pass over the rows of all."""
        laid = [self._laid(batch, injection) for batch, injection in parts]
        found = self._run.many([(each.half, each.given) for each in laid]) if laid else []
        return [states[each.rows, each.at] for states, each in zip(found, laid, strict=True)]

    def _laid(self, batch: Batch, injection: Injection | None) -> _Laid:
        self._refuse_images(batch)
        batch, given = batch.to(self.device), self._injected(injection)
        ids, lengths = align_left(batch)
        length = len(given.vectors)
        split = split_placement(batch.slots, batch.sizes, length)
        half = encoder_input(ids, lengths, batch.slot, self._ends, length, self._fill, split)
        self._check_length(half.ids.shape[1] - len(self._ends) + given.ahead)
        first, groups = half.distinct()
        if split is not None:
            at = batch.read_at + split.before(batch.read_at, batch.read_rows)
        else:
            at = batch.read_at + length * (batch.read_at >= batch.slot[batch.read_rows])
        return _Laid(half.take(first), given, groups[batch.read_rows], at)

    def _logits(self, hidden: Tensor) -> Tensor:
        """[N, V] of hidden states [N, H]."""
        if not self.has_head:
            raise BackboneError(
                "an encoder without a masked-LM head says no words",
                where=self.name,
                got=type(self.model).__name__,
                expected="a masked language model with its head",
            )
        self.counts["logits"] += len(hidden)
        return self._probes.tail(hidden)

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        return self._probes.states(vectors.to(self.device, self.dtype))

    @property
    def key_shape(self) -> tuple[int, int]:
        """K key heads and their size D.

        Raises:
            BackboneError: nothing can stand in front of the model's keys and values.
        """
        return key_shape(self._probes.prefix, self.name)

    def _injected(self, injection: Injection | None) -> Injected:
        piece = self._pieces(injection).get("text")
        widths = Widths(self.num_layers, self.hidden_size)
        if isinstance(piece, PrefixKV):
            widths = Widths(self.num_layers, self.hidden_size, *self.key_shape)
        return injected(piece, widths, self.device, self.dtype, self.name)
