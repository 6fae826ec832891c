"""Causal language models: any transformers model with an input embedding and an LM head.

A batch runs as one packed sequence where the model lets attention be handed over, else padded; see
`packed.py` and `padded.py`. Logits are computed only where they are read, inside the model's own
forward, so that soft-capping and scaling of logits stay the model's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.forward.feature_probes import FeatureProbes
from cuecard.backbones.forward.injected import Injected, Widths, injected
from cuecard.backbones.forward.packed import PackedRun, Segment
from cuecard.backbones.forward.padded import Padded, PaddedRun
from cuecard.backbones.forward.queries import QueryRun
from cuecard.backbones.forward.ragged import RaggedRun
from cuecard.backbones.forward.reads import PIECE_BYTES, WHOLE_BYTES, BatchReads, no_states
from cuecard.backbones.forward.shared_prefix import SharedPrefix, in_groups, plan_shared_prefix
from cuecard.backbones.forward.unpadded import UnpaddedRows
from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.backbones.kernels.input_cache import InputCache, Shape, value_sums
from cuecard.backbones.kernels.packing import Kept
from cuecard.backbones.kernels.positions import (
    NOTHING_SHARED,
    Sharing,
    align_left,
    slots_of,
    split_placement,
)
from cuecard.backbones.kernels.trees import Tree
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Encoded,
    Injection,
    InjectionKind,
    KeptReads,
    LayerAttention,
    PeftTask,
    Pick,
    Placement,
    PrefixKV,
    States,
    Tokenizer,
    Tower,
)

# A packed sequence has its scores as plain products. Rows of 532 take 16% less time packed than
# padded with SDPA, rows of 1,044 take twice as much.
_PACKED_LENGTH = 640

# Tokens of contexts that are run together to be kept.
_CONTEXT_TOKENS = 2048

# What the bits of kept keys and values depend on besides the backbone and the order of sums.
_BITS = f"torch {torch.__version__}, format 1"


class CausalBackbone(FrozenBackbone):
    """A frozen causal language model.

    Args:
        model: any transformers causal LM; its parameters are frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.

    Raises:
        BackboneError: the model has no input embedding or no LM head.
    """

    family: ClassVar[Family] = FAMILIES["causal"]
    causal = True

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str) -> None:
        super().__init__(model, tokenizer, name)
        self._padded, self._packed = PaddedRun(self._frozen), PackedRun(self._frozen)
        self._probes = FeatureProbes(
            self._frozen, self._padded, self._packed, self.tensors, self.states
        )
        self._held: InputCache | None = None
        self._shared_prefix: SharedPrefix | None = None

    @property
    def recompute(self) -> bool:
        """Whether layers run again in the backward pass instead of keeping their activations."""
        return self._frozen.recompute

    @recompute.setter
    def recompute(self, wanted: bool) -> None:
        if wanted:
            decoder_layers(self.model, self.num_layers)
        self._frozen.recompute = wanted

    @property
    def peft_task(self) -> PeftTask | None:
        """What PEFT calls such a model."""
        return "CAUSAL_LM"

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this model does not take a kind of injection; None if it does."""
        return self.family.unsupported(kind, tower) or self._probes.unsupported(kind)

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Every part's logits [N, V] float32, as if each were run alone, to rounding.

        All parts that can be packed run as one sequence, in one forward pass.

        Raises:
            BackboneError: rows and their prompt are together longer than the model's positions.
        """
        return [found.float() for found in self._at_reads(parts)]

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """As `forward_many`, with logits that are made piece by piece where they would be many.

        Hidden states are what the LM head takes in, the last norm's output.

        Raises:
            BackboneError: as in `forward_many`; or both are to be kept of a model that cannot be
                parted before its head.
        """
        if keep == "states":
            with self._frozen.keeping_hidden():
                return [
                    BatchReads(found, hidden=True) for found in self._at_reads(parts, logits=False)
                ]
        if keep == "both":
            return self._read_both(parts)
        each = 4 * self.vocab_size
        reads = sum(len(batch.read_rows) for batch, _ in parts)
        tail = self._probes.tail if reads * each > WHOLE_BYTES else None
        if tail is None:
            return [BatchReads(found) for found in self._at_reads(parts)]
        with self._frozen.keeping_hidden():
            hidden = self._at_reads(parts)
        return [BatchReads(found, tail, max(1, PIECE_BYTES // each)) for found in hidden]

    def _read_both(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[BatchReads]:
        tail = self._probes.tail
        if tail is None:
            raise no_states(self.name, self.model)
        with self._frozen.keeping_hidden():
            hidden = self._at_reads(parts)
        piece = max(1, PIECE_BYTES // (4 * self.vocab_size))
        return [BatchReads(found, tail, piece, hidden=True) for found in hidden]

    def _at_reads(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, logits: bool = True
    ) -> list[Tensor]:
        """Every part's logits [N, V] or hidden states [N, H]."""
        found: dict[int, Tensor] = {}
        segments: dict[int, Segment] = {}
        for number, (batch, injection) in enumerate(parts):
            rows = self._rows(batch, injection)
            self._check_length(rows.longest)
            places = int(rows.lengths.max()) + rows.length + rows.given.ahead
            if self._packs(places):
                segments[number] = self._laid_out(rows, injection)
            elif rows.tree is not None:
                raise BackboneError(
                    "a row that ends in a tree is too long",
                    where=self.name,
                    got=f"{places} places",
                    expected=f"at most {self.tree_room}",
                )
            else:
                found[number] = self._padded.at_reads(rows)
        if segments:
            whole = self._packed.at_reads(list(segments.values()))
            reads = [len(segment.at) for segment in segments.values()]
            found.update(zip(segments, torch.split(whole, reads), strict=True))
        if logits:
            self.counts["logits"] += sum(map(len, found.values()))
        return [found[number] for number in range(len(parts))]

    def _rows(self, batch: Batch, injection: Injection | None) -> UnpaddedRows:
        self._refuse_images(batch)
        batch = batch.to(self.device)
        ids, lengths = align_left(batch)
        given = self._mixed(self.tensors(injection), ids, batch.context)
        split = split_placement(batch.slots, batch.sizes, len(given.vectors))
        tree = None if batch.follows is None else Tree.of(batch.follows)
        reads = batch.read_rows, batch.read_at
        return UnpaddedRows(ids, lengths, batch.slot, *reads, given, split, tree, batch.context)

    def _laid_out(self, rows: UnpaddedRows, injection: Injection | None) -> Segment:
        kept = self._remembered(rows, injection)
        if kept is not None and kept.tokens is not None:
            self.counts["remembered"] += int(kept.tokens.sum())
        front = self._shared_prefix
        if kept is None and front is not None and not torch.is_grad_enabled():
            kept = front.kept(rows, injection)
        return self._packed.lay_out(rows, kept)

    def _remembered(self, rows: UnpaddedRows, injection: Injection | None) -> Kept | None:
        """What is held or cached of these rows: all before the prompt, or the front."""
        if self._held is not None:
            kept = rows.kept_in(self._held) or rows.begun_in(self._held)
            if kept is not None:
                return kept
        if self.inputs is None:
            return None
        kept = rows.kept_in(self.inputs)
        if kept is None and self.inputs.front is not None:
            kept = SharedPrefix(self.inputs.front_ids, self.inputs.front).kept(rows, injection)
        # The bits of an answer do not depend on a front that happens to be kept, see `sharing`.
        bare = kept is None or not kept.own
        return None if bare and not torch.is_grad_enabled() else kept

    @property
    def tree_room(self) -> int:
        """The most places of a row that ends in a tree; 0 for a model whose rows are padded."""
        return _PACKED_LENGTH if self._probes.packs else 0

    @contextmanager
    def sharing(
        self,
        rows: Sequence[Encoded],
        injection: Injection | None,
        *,
        contexts: bool = False,
    ) -> Iterator[None]:
        """Run what all these rows begin with once, for all the passes without gradients in a block.

        Passes with other rows or injections are not touched by it, nor are rows that are padded.

        Args:
            contexts: also run each row's own context once, and keep it.
        """
        before = self._shared_prefix
        front = before
        if front is None or not front.covers(rows, injection):
            front = self._run_front(rows, injection)
        if contexts and front is not None:
            front = self._with_contexts(front, rows, injection)
        self._shared_prefix = front
        try:
            yield
        finally:
            self._shared_prefix = before

    def _with_contexts(
        self, front: SharedPrefix, rows: Sequence[Encoded], injection: Injection | None
    ) -> SharedPrefix:
        """The front with the rows' contexts but for their last tokens, from which they go on."""
        given = self.tensors(injection)
        if (given.leaves_front and front.slot is None) or given.shifts is not None:
            return front
        behind = len(front.ids)
        whole = {row.context[:-1]: row.context[behind:-1] for row in rows}
        own = {key: ids for key, ids in whole.items() if ids}
        shape = front.keys_values.shape
        nothing = front.keys_values.new_zeros(*shape[:3], 0, shape[4])
        found = dict.fromkeys(whole, nothing)
        for group in in_groups(list(own), [len(ids) for ids in own.values()], _CONTEXT_TOKENS):
            kept = self._packed.keys_and_values([own[key] for key in group], front.keys_values)
            lengths = [len(own[key]) for key in group]
            found |= dict(zip(group, torch.split(kept, lengths, 3), strict=True))
        return replace(front, contexts=found)

    def _run_front(
        self, rows: Sequence[Encoded], injection: Injection | None
    ) -> SharedPrefix | None:
        if len(rows) < 2 or not self._probes.packs:
            return None
        given = self.tensors(injection)
        if self._keeps(rows, given):
            return None
        plan = plan_shared_prefix(rows, len(given.vectors), differs=given.mix is not None)
        if given.late:
            plan = Sharing(min(plan.tokens, *(row.slot for row in rows)), prompt=False)
            given = replace(given, prefix=None)
        vectors = len(given.vectors) if plan.prompt else 0
        if not 0 < plan.tokens + vectors + given.ahead <= _PACKED_LENGTH or plan == NOTHING_SHARED:
            return None
        ids = torch.tensor([rows[0].context], device=self.device)
        slot = torch.tensor([rows[0].slot], device=self.device)
        first = UnpaddedRows(ids, slot, slot, slot[:0], slot[:0], given)
        keys_values = self._packed.run_front(first, plan)
        place = rows[0].slot if plan.prompt else None
        return SharedPrefix(rows[0].context[: plan.tokens], keys_values, injection, place)

    def _keeps(self, rows: Sequence[Encoded], given: Injected) -> bool:
        """Whether what stands before the rows' slots is kept, and more than what all begin with."""
        held = self._held
        if given.is_nothing and held is not None:
            return all(held.beginning(row.context) is not None for row in rows)
        return given.leaves_front and any(
            all(row.slot > len(kept.front_ids) and row.context[: row.slot] in kept for row in rows)
            for kept in filter(None, (held, self.inputs))
        )

    def remember(
        self, inputs: Sequence[tuple[int, ...]], file: Path | None = None
    ) -> InputCache | None:
        """Compute the keys and values of what stands before a prompt once, and keep them.

        Tasks on the same inputs, one after the other, use what the first one left.

        Args:
            inputs: the token ids before the slot, one per row; without any, nothing is kept.
            file: keep them there instead of in memory.

        Returns:
            The cache; None for a backbone whose rows cannot be packed.
        """
        kept = _packable(inputs)
        if self.inputs is not None and self.inputs.is_of(kept, file):
            return self.inputs
        self.inputs = None
        self.inputs = self._cache(kept, file=file)
        return self.inputs

    @contextmanager
    def holding(self, inputs: Sequence[tuple[int, ...]]) -> Iterator[None]:
        """Run what rows of several prompts begin with once, for the passes in a block.

        Rows of a prompt that stands behind such an input go on from it, and so do rows that begin
        with one and have no prompt. Blocks may be nested: what all inputs of the outer one begin
        with serves the inner ones too. What is remembered or held already is not run again.

        Args:
            inputs: as in `remember`.
        """
        before, inputs = self._held, _packable(inputs)
        known = [cache for cache in (self._held, self.inputs) if cache]
        if not any(all(ids in cache for ids in inputs) for cache in known):
            self._held = self._cache(inputs, before=before or self.inputs)
        try:
            if self._held is not None:
                self._held.fill()
            yield
        finally:
            self._held = before

    def head_width(self, layers: Sequence[int]) -> int:
        """H, and K * D for each of these layers."""
        heads, size = self.key_shape if layers else (0, 0)
        return self.hidden_size + len(layers) * heads * size

    @torch.no_grad()
    def value_means(self, inputs: Sequence[tuple[int, ...]], layers: Sequence[int]) -> Tensor:
        """[n, layers * K * D] float32; of inputs that are held or remembered nothing runs.

        Raises:
            BackboneError: rows cannot be packed.
        """
        if not self._probes.packs:
            return super().value_means(inputs, layers)
        width = self.head_width(layers) - self.hidden_size
        found: dict[tuple[int, ...], Tensor] = {(): torch.zeros(width, device=self.device)}
        caches = [cache for cache in (self._held, self.inputs) if cache is not None]
        for ids in {*inputs} - {*found}:
            cache = next((cache for cache in caches if ids in cache), None)
            if cache is not None:
                (own,) = cache.own([ids])
                pieces = [own] if cache.front is None else [cache.front, own]
                found[ids] = self._mean_values(pieces, layers)
        left = [ids for ids in dict.fromkeys(inputs) if ids not in found]
        for ids in (ids for ids in left if len(ids) > _PACKED_LENGTH):
            embeds = self._frozen.embed(torch.tensor(ids, device=self.device))
            kept = self._padded.states(torch.as_tensor(embeds)).keys_values
            assert kept is not None  # of what can be packed
            found[ids] = self._mean_values([kept], layers)
        left = [ids for ids in left if ids not in found]
        for group in in_groups(left, [len(ids) for ids in left], _CONTEXT_TOKENS):
            kept = self._packed.keys_and_values(group)
            lengths = [len(ids) for ids in group]
            for ids, own in zip(group, torch.split(kept, lengths, 3), strict=True):
                found[ids] = self._mean_values([own], layers)
        return torch.stack([found[ids] for ids in inputs])

    def _mean_values(self, pieces: Sequence[Tensor], layers: Sequence[int]) -> Tensor:
        """[layers * K * D] of one input [L, 2, K, t, D], piece after piece."""
        sums = [value_sums(piece, layers).to(self.device) for piece in pieces]
        return torch.stack(sums).sum(0) / sum(piece.shape[3] for piece in pieces)

    def _cache(self, inputs: Sequence[tuple[int, ...]], **more: Any) -> InputCache | None:
        """A cache of these inputs; None for none, or where rows cannot be packed."""
        if not inputs or not self._packs(1):
            return None
        key = f"{self.fingerprint}|{_BITS}"
        return InputCache(
            inputs, self._kept_shape, self._compute, front_on=self.device, key=key, **more
        )

    def _compute(self, inputs: Sequence[tuple[int, ...]], front: Tensor | None) -> Tensor:
        return self._packed.keys_and_values(inputs, front).cpu()

    @cached_property
    def _kept_shape(self) -> Shape:
        """Of what is kept per token, found out by keeping one."""
        with self._frozen.uncounted():
            probe = self._compute([(0,)], None)
        return Shape(probe.shape[0], probe.shape[2], probe.shape[4], probe.dtype)

    def word_weights(self, tokens: Sequence[int]) -> Tensor:
        """Rows of the LM head's weight, which reads the last norm's states as they are."""
        weight = getattr(self._frozen.head, "weight", None)
        if not isinstance(weight, Tensor) or weight.shape[1] != self.hidden_size:
            return super().word_weights(tokens)
        return weight.detach()[list(tokens)].float().cpu()

    @cached_property
    def ragged(self) -> RaggedRun | None:
        """Runs rows of any prompts in one pass, for serving; None if rows cannot be packed."""
        if not self._probes.packs or self._probes.key_shape is None:
            return None
        shape = Shape(self.num_layers, *self.key_shape, self.dtype)
        return RaggedRun(self._frozen, self._packed, shape)

    def layer_attention(
        self, ids: Sequence[int], kept: Tensor | None = None, position: int = 0
    ) -> list[LayerAttention]:
        """What every layer's attention is asked with, of one row; see `ShowsQueries`.

        Raises:
            BackboneError: an attention that is not known here, a sliding window, or positions that
                the model does not have.
        """
        run = QueryRun(self._frozen, self.name, slides=self._padded.slides)
        return run(ids, kept, position)

    def early_states(self, layers: int, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, W, H] hidden states after so many layers, for ids and mask [B, W] padded behind."""
        return self._frozen.early_states(layers, ids.to(self.device), mask.to(self.device))

    def _packs(self, length: int) -> bool:
        """Whether rows up to this length run as one packed sequence."""
        return length <= _PACKED_LENGTH and self._probes.packs

    @torch.inference_mode()
    def generate(
        self,
        contexts: Sequence[Sequence[int]],
        placements: Sequence[Placement],
        injection: Injection | None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        *,
        pick: Pick | None = None,
    ) -> list[list[int]]:
        """Continuations of token ids, without the stop token.

        Args:
            contexts: one non-empty list of ids per row.
            placements: where the prompt stands in each context.
            stop_ids: ids that end a row, besides the model's own end tokens.
            pick: chooses each next token, for contexts of one length; the likeliest by default.

        Raises:
            BackboneError: a row with its prompt and answer is longer than the model's positions.
        """
        given = self.tensors(injection)
        lengths_seen = set(map(len, contexts))
        if given.ahead and self._padded.slides and len(lengths_seen) > 1:
            # Padding would stand after the prefix, and a window would count it.
            return self._generate_apart(contexts, placements, injection, max_new_tokens, stop_ids)
        lengths = torch.tensor([len(c) for c in contexts], device=self.device)
        taken = len(given.vectors) + given.ahead
        self._check_length(int(lengths.max()) + taken + max_new_tokens)
        ids = torch.zeros(len(contexts), int(lengths.max()), dtype=torch.long, device=self.device)
        for row, context in enumerate(contexts):
            ids[row, : len(context)] = torch.tensor(context, device=self.device)
        given = self._mixed(given, ids, lengths)
        every = torch.arange(len(ids), device=self.device)
        slots, sizes = slots_of(placements, self.device)
        split = split_placement(slots, sizes, len(given.vectors))
        rows = UnpaddedRows(ids, lengths, slots[:, 0], every, lengths, given, split)
        stops = self._frozen.stops(self.tokenizer.eos_token_id, stop_ids)
        return self._decode(rows, max_new_tokens, stops, pick)

    def _generate_apart(
        self,
        contexts: Sequence[Sequence[int]],
        placements: Sequence[Placement],
        injection: Injection | None,
        max_new_tokens: int,
        stop_ids: Sequence[int],
    ) -> list[list[int]]:
        """Rows of one length at a time."""
        answers: dict[int, list[int]] = {}
        for length in sorted(set(map(len, contexts))):
            chosen = [row for row, context in enumerate(contexts) if len(context) == length]
            found = self.generate(
                [contexts[row] for row in chosen],
                [placements[row] for row in chosen],
                injection,
                max_new_tokens,
                stop_ids,
            )
            answers.update(zip(chosen, found, strict=True))
        return [answers[row] for row in range(len(contexts))]

    def _decode(
        self, rows: UnpaddedRows, max_new_tokens: int, stops: Tensor, pick: Pick | None
    ) -> list[list[int]]:
        padded, every = self._padded.prefill(rows), rows.read_rows
        alive = torch.ones(len(every), dtype=torch.bool, device=self.device)
        answers: list[list[int]] = [[] for _ in every]
        for step in range(max_new_tokens):
            last = torch.full_like(every, padded.embeds.shape[1] - 1)
            with self._frozen.read_at(every, last):
                logits = self._padded.run(padded).logits[0]
            token = logits.argmax(-1) if pick is None else pick(logits)
            alive = alive & ~torch.isin(token, stops)
            for row in alive.nonzero().flatten().tolist():
                answers[row].append(int(token[row]))
            if not bool(alive.any()):
                break
            place = (rows.lengths + step)[:, None]
            embeds = rows.embed(self._frozen.embed, token[:, None], place)
            mask = torch.cat([padded.mask, torch.ones_like(padded.mask[:, :1])], 1)
            padded = Padded(embeds, mask, padded.cache)
        return answers

    def tensors(self, injection: Injection | None) -> Injected:
        """The injection's tensors as this backbone runs them.

        Raises:
            BackboneError: an injection of other sizes than the model's, or for another tower.
        """
        piece = self._pieces(injection).get("text")
        widths = Widths(self.num_layers, self.hidden_size)
        if isinstance(piece, PrefixKV):
            widths = Widths(self.num_layers, self.hidden_size, *self.key_shape)
            reason = self.unsupported("late-prefix-kv") if piece.late else None
            if reason is not None:
                raise BackboneError(
                    "this backbone does not take late keys and values",
                    where=self.name,
                    got=reason,
                    expected="keys and values in front of the input",
                )
        return injected(piece, widths, self.device, self.dtype, self.name)

    def _mixed(self, given: Injected, ids: Tensor, context: Tensor) -> Injected:
        """With each row's own vectors: rows [B, T] begin with contexts of these lengths [B]."""
        if given.mix is None:
            return given
        mask = torch.arange(ids.shape[1], device=ids.device) < context[:, None]
        return given.mixed(torch.as_tensor(self._frozen.embed(ids)), mask)

    @property
    def key_shape(self) -> tuple[int, int]:
        """K key heads and their size D.

        Raises:
            BackboneError: the model keeps no plain keys and values.
        """
        found = self._probes.key_shape
        if found is None:
            raise BackboneError(
                "this model keeps no keys and values of one shape",
                where=self.name,
                got=type(self.model).__name__,
            )
        return found

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients.

        Raises:
            BackboneError: a model that does not keep plain keys and values.
        """
        counts = dict(self.counts)
        run = self._packed if self._packs(len(vectors)) else self._padded
        found = run.states(vectors.to(self.device, self.dtype))
        self.counts.update(counts)
        return found


def _packable(inputs: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Those that are not empty and not too long to be packed."""
    return [ids for ids in inputs if 0 < len(ids) <= _PACKED_LENGTH]
