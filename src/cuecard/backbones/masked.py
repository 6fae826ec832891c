"""Masked language models and encoders: any transformers model of AutoModelForMaskedLM.

A row is its context, in which a mask token stands where a word is to be said, closed by what the
tokenizer itself puts behind a text. Every token sees every other, and a prompt sees the text: it
runs anew with every row. The encoder runs rows under different prompts in one pass, equal rows of
a batch once, and its head only on the hidden states that are read. A model without a head, such as
a sentence encoder, gives hidden states alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.forward.encoder_probes import EncoderTrials
from cuecard.backbones.forward.encoder_run import EncoderRun
from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.injected import Injected, Widths, injected
from cuecard.backbones.forward.reads import PIECE_BYTES, WHOLE_BYTES, Reads
from cuecard.backbones.forward.seq2seq_inputs import Fill, Half, encoder_half
from cuecard.backbones.forward.special_tokens import frame_of
from cuecard.backbones.kernels.positions import align_left, part
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Encoded,
    Fingerprint,
    Injection,
    InjectionKind,
    PeftTask,
    Pick,
    PrefixKV,
    ReadKind,
    States,
    Tokenizer,
    Tower,
)


class _Laid(NamedTuple):
    """What runs for one batch, equal rows once, and where each read is in it."""

    half: Half
    given: Injected
    rows: Tensor
    at: Tensor


class MaskedBackbone:
    """A frozen masked language model, or an encoder without a head.

    Args:
        model: any transformers encoder, with its masked-LM head or without; its parameters are
            frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.

    Raises:
        BackboneError: the model has no input embedding.
    """

    causal = False
    family: ClassVar[Family] = FAMILIES["masked"]

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self._frozen = FrozenModel(model, name, headless=True)
        self.device, self.dtype = self._frozen.device, self._frozen.dtype
        self.vocab_size, self.hidden_size = map(int, model.get_input_embeddings().weight.shape)
        self.num_layers = self._frozen.layers
        encoder: Any = model.base_model
        self.has_head = encoder is not model
        _, self._ends = frame_of(tokenizer)
        padding = int(getattr(self._frozen.config, "pad_token_id", 0) or 0)
        self._fill = Fill(padding=padding, prompt=int(padding == 0))
        self._run = EncoderRun(self._frozen, encoder, padding)
        self._trials = EncoderTrials(self._frozen, self._run, encoder, padding)
        self.max_positions = self._run.positions - self._run.first_position - len(self._ends)

    @property
    def tree_room(self) -> int:
        """0: no row ends in a tree."""
        return 0

    def sharing(
        self,
        rows: Sequence[Encoded],
        injection: Injection | None,
        *,
        contexts: bool = False,
    ) -> AbstractContextManager[None]:
        """Nothing: every token sees the whole text."""
        return nullcontext()

    @property
    def counts(self) -> dict[str, int]:
        """Running totals since `reset_counts`."""
        return self._frozen.counts

    def reset_counts(self) -> None:
        """Set the running totals to zero."""
        self._frozen.reset_counts()

    @cached_property
    def embeddings(self) -> Tensor:
        """[V, H] what the embedding layer gives for every id, with the layer's own scaling."""
        return self._frozen.embeddings(self.vocab_size)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again."""
        return fingerprint_of(self.model, self.tokenizer)

    @property
    def peft_task(self) -> PeftTask | None:
        """None: PEFT knows no task of masks, and puts prompts before what opens every text."""
        return None

    def digest(self) -> str:
        """SHA-256 over every parameter's and buffer's bytes: the proof that nothing changed."""
        return self._frozen.digest()

    @property
    def takes(self) -> Mapping[Tower, frozenset[InjectionKind]]:
        """The kinds of injections that its towers take."""
        return self.family.takes

    @property
    def reads(self) -> frozenset[ReadKind]:
        """What can be read of it: masks if it has a head that says words."""
        return self.family.reads if self.has_head else self.family.reads - {"masks"}

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this model does not take a kind of injection; None if it does."""
        reason = self.family.unsupported(kind, tower)
        if reason is None and kind == "prefix-kv":
            found = self._trials.prefix
            return found if isinstance(found, str) else None
        return self._trials.layers if reason is None and kind == "layer-tokens" else reason

    def unreadable(self, kind: ReadKind) -> str | None:
        """Why this model cannot be read in this way; None if it can."""
        if kind == "next-tokens":
            return "a masked language model reads at masks, not after a text"
        return (
            None if kind in self.reads else "this encoder has no masked-LM head to say words with"
        )

    def forward(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads: what stands at those places.

        Raises:
            BackboneError: a row with its prompt is longer than the model's positions, or a model
                without a head.
        """
        return self.forward_many([(batch, injection)])[0]

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's logits, all of one pass.

        Raises:
            BackboneError: as in `forward`.
        """
        return [self._logits(hidden).float() for hidden in self._hidden(parts)]

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, states: bool = False
    ) -> list[Reads]:
        """The hidden states, and logits that are made of them when they are asked for.

        Args:
            states: changes nothing: the states are always kept.
        """
        each = 4 * self.vocab_size
        reads = sum(len(batch.read_rows) for batch, _ in parts)
        piece = max(1, PIECE_BYTES // each) if reads * each > WHOLE_BYTES else reads
        return [Reads(hidden, self._logits, piece, hidden=True) for hidden in self._hidden(parts)]

    def read_both(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Reads]:
        """The same: hidden states are always kept beside the logits."""
        return self.read_many(parts)

    def _hidden(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's last hidden states [N, H] at its reads, of one pass over the rows of all."""
        laid = [self._laid(batch, injection) for batch, injection in parts]
        found = self._run.many([(each.half, each.given) for each in laid]) if laid else []
        return [states[each.rows, each.at] for states, each in zip(found, laid, strict=True)]

    def _laid(self, batch: Batch, injection: Injection | None) -> _Laid:
        batch, given = batch.to(self.device), self._injected(injection)
        ids, lengths = align_left(batch)
        length = len(given.vectors)
        apart = part(batch.slot, batch.more, batch.deal, length)
        half = encoder_half(ids, lengths, batch.slot, self._ends, length, self._fill, apart)
        self._check_length(half.ids.shape[1] - len(self._ends) + given.ahead)
        first, groups = half.distinct()
        if apart is not None:
            at = batch.read_at + apart.before(batch.read_at, batch.read_rows)
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
        return self._trials.tail(hidden)

    def generate(
        self,
        contexts: Sequence[Sequence[int]],
        slots: Sequence[int],
        injection: Injection | None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        *,
        more: Sequence[Sequence[int]] = (),
        deal: Sequence[int] = (),
        pick: Pick | None = None,
    ) -> list[list[int]]:
        """Not by a masked model, which fills in and does not go on.

        Raises:
            BackboneError: always; tasks that need it are refused before any work, see `unreadable`.
        """
        raise BackboneError(
            "a masked language model does not go on with a text",
            where=self.name,
            got=f"{len(contexts)} texts to go on with",
            expected="a causal language model or an encoder-decoder",
        )

    def remember(self, inputs: Sequence[tuple[int, ...]], file: Path | None = None) -> None:
        """Nothing: what stands before a prompt sees it too."""

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        return self._trials.states(vectors.to(self.device, self.dtype))

    @property
    def key_shape(self) -> tuple[int, int]:
        """K key heads and their size D.

        Raises:
            BackboneError: nothing can stand in front of the model's keys and values.
        """
        found = self._trials.prefix
        if isinstance(found, str):
            raise BackboneError(
                "this model takes no keys and values in front", where=self.name, got=found
            )
        return found

    def _injected(self, injection: Injection | None) -> Injected:
        widths = Widths(self.num_layers, self.hidden_size)
        if isinstance(injection, PrefixKV):
            widths = Widths(self.num_layers, self.hidden_size, *self.key_shape)
        return injected(injection, widths, self.device, self.dtype, self.name)

    def _check_length(self, length: int) -> None:
        if length > self.max_positions:
            raise BackboneError(
                "the input with its prompt is longer than the backbone's positions",
                where=self.name,
                got=f"{length} tokens",
                expected=f"at most {self.max_positions}",
                hint="lower max_length or the prompt's length",
            )
