"""Causal language models: any transformers model with an input embedding and an LM head.

The prompt runs once. Where every row begins with the same vectors (the prompt, a template's first
words, demonstrations), that part is run at batch 1 and its keys and values are broadcast to the
rows, with gradients. Logits are computed only where they are read, inside the model's own forward,
so that soft-capping and scaling of logits stay the model's business.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cuecard.backbones.attention import NAME as PACKED
from cuecard.backbones.attention import UnpackableError, packed
from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.input_cache import InputCache, Shape
from cuecard.backbones.layout import (
    NOTHING_SHARED,
    Sharing,
    Side,
    align_left,
    lay_out,
    plan_sharing,
)
from cuecard.backbones.norms import FusedNorms
from cuecard.backbones.packing import Packing
from cuecard.errors import BackboneError
from cuecard.types import Batch, Fingerprint, InputTokens, Tokenizer

# On a CPU, plain matrix products beat the flash kernel's backward pass while scores stay small.
_EAGER_SCORES = 256 * 256

# A packed sequence has its scores as plain products too. Rows of 532 take 16% less time packed than
# padded behind SDPA, rows of 1,044 take twice as much.
_PACKED_LENGTH = 640

# What the bits of kept keys and values depend on besides the backbone and the order of sums.
_BITS = f"torch {torch.__version__}, format 1"


class CausalBackbone:
    """A frozen causal language model.

    Args:
        model: any transformers causal LM; its parameters are frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.

    Raises:
        BackboneError: the model has no input embedding or no LM head.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str) -> None:
        self.name = name
        self.model = model.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.tokenizer = tokenizer
        self._embed: nn.Module = model.get_input_embeddings()
        self._head: nn.Module = model.get_output_embeddings()
        if self._embed is None or self._head is None:
            raise BackboneError(
                "this model cannot be used as a causal backbone",
                where=name,
                got=f"{type(model).__name__} without an input embedding or an LM head",
                expected="a causal language model (AutoModelForCausalLM)",
            )
        weight = self._embed.weight
        assert isinstance(weight, Tensor)
        self.device, self.dtype = weight.device, weight.dtype
        self.vocab_size, self.hidden_size = weight.shape
        config = model.config.get_text_config()
        self.num_layers = int(config.num_hidden_layers)
        self.max_positions = int(getattr(config, "max_position_embeddings", 0) or 2048)
        capped = getattr(config, "attn_logit_softcapping", None) is not None
        # Not every release of transformers caps attention scores in both implementations.
        self._own_attention = str(config._attn_implementation)
        self._may_go_eager = self._own_attention == "sdpa" and not capped
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._can_share = True
        self._can_pack: bool | None = None
        self._norms = FusedNorms(self.model)
        self.inputs: InputCache | None = None
        cache = DynamicCache(config=model.config)
        self._slides = any(getattr(layer, "is_sliding", False) for layer in cache.layers)
        self.counts: dict[str, int] = {}
        self.reset_counts()

    def reset_counts(self) -> None:
        """Set the running totals to zero."""
        self.counts = {"calls": 0, "tokens": 0, "logits": 0, "remembered": 0}

    @cached_property
    def embeddings(self) -> Tensor:
        """[V, H] what the embedding layer gives for every id, with the layer's own scaling."""
        with torch.inference_mode(False), torch.no_grad():
            ids = torch.arange(self.vocab_size, device=self.device)
            return torch.as_tensor(self._embed(ids)).detach()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again."""
        return fingerprint_of(self.model, self.tokenizer)

    def digest(self) -> str:
        """SHA-256 over every parameter's and buffer's bytes: the proof that nothing changed."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            total.update(name.encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            total.update(memoryview(flat.view(torch.uint8).numpy()))
        return total.hexdigest()

    def forward(self, batch: Batch, injection: InputTokens | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads.

        Raises:
            BackboneError: the rows and the prompt together are longer than the model's positions.
        """
        batch = batch.to(self.device)
        vectors = self._vectors(injection)
        ids, lengths = align_left(batch)
        self._check_length(int(lengths.max()) + len(vectors))
        rows = _Rows(ids, lengths, batch.slot, batch.read_rows, batch.read_at)
        if not self._packs(int(lengths.max()) + len(vectors)):
            logits = self._run_padded(rows, vectors)
        elif self.inputs is not None and len(vectors) and rows.are_in(self.inputs):
            logits = self._run_behind(self.inputs, rows, vectors)
        else:
            logits = self._run_packed(rows, vectors)
        self.counts["logits"] += logits.shape[0]
        return logits.float()

    def _packs(self, length: int) -> bool:
        """Whether rows up to this length run as one packed sequence."""
        if length > _PACKED_LENGTH:
            return False
        if self._can_pack is None:
            self._can_pack = self._try_packing()
        return self._can_pack

    def _try_packing(self) -> bool:
        """Whether packed rows get the answers they get alone: some models bring their attention."""
        if not self._takes_positions:
            return False
        ids = torch.arange(8, device=self.device).view(2, 4) % self.vocab_size
        lengths, slot = torch.tensor([[4, 3], [0, 0]], device=self.device)
        both = torch.arange(2, device=self.device)
        rows = _Rows(ids, lengths, slot, both, lengths)
        vectors, counts = self.embeddings[:40], dict(self.counts)
        with torch.no_grad():
            plain = self._run_padded(rows, vectors).float()
            try:
                found = self._run_packed(rows, vectors).float()
            except (UnpackableError, TypeError, ValueError):
                return False
            finally:
                self.counts = counts
        tolerance = (1e-3 if self.dtype == torch.float32 else 0.05) * float(plain.abs().max())
        return bool((found - plain).abs().max() <= tolerance)

    def _run_packed(self, rows: _Rows, vectors: Tensor) -> Tensor:
        """Logits [N, V] from one sequence that holds the shared part and every row once."""
        plan = rows.plan(len(vectors))
        shared = self._embed_shared(rows.ids, rows.slot, vectors, plan)[0]
        inserted = vectors[:0] if plan.prompt else vectors
        embeds, mask = self._embed_rows(rows.ids, rows.lengths, rows.slot, inserted, plan, "right")
        packing = Packing.of(len(shared), mask.sum(1))
        stream = torch.cat([shared, embeds[packing.mask]])
        at = packing.starts[rows.read_rows] + rows.reads(plan, len(vectors))
        return self._run_stream(stream, packing, at)

    def _run_behind(self, inputs: InputCache, rows: _Rows, vectors: Tensor) -> Tensor:
        """Logits [N, V] where everything before the prompt is remembered."""
        tail = rows.from_slot()
        embeds, mask = self._embed_rows(
            tail.ids, tail.lengths, tail.slot, vectors, NOTHING_SHARED, "right"
        )
        past = inputs.past(rows.inputs(), self.device, room=mask.shape[1])
        packing = Packing.of(0, mask.sum(1), past)
        at = packing.starts[rows.read_rows] + tail.read_at + len(vectors) - 1
        self.counts["remembered"] += int(past.lengths.sum())
        return self._run_stream(embeds[packing.mask], packing, at)

    def _run_stream(
        self,
        stream: Tensor,
        packing: Packing,
        at: Tensor,
        seen: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Logits [N, V] at places `at` of a packed sequence of embeddings [N, H]."""
        options = {"position_ids": packing.positions(), "use_cache": False}
        before = self._own_attention
        self._set_attention(PACKED)
        try:
            with packed(packing, seen) as layers, self._norms.running(), self._read_at(at * 0, at):
                logits: Tensor = self._call(stream[None], **options).logits[0]
        finally:
            # The model is the caller's too, and knows nothing of packing.
            self._set_attention(before)
        if layers.count != self.num_layers:
            raise UnpackableError(f"{layers.count} of {self.num_layers} layers asked for attention")
        return logits

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
        kept = [ids for ids in inputs if 0 < len(ids) <= _PACKED_LENGTH]
        if self.inputs is not None and self.inputs.is_of(kept, file):
            return self.inputs
        self.inputs = None
        if not kept or not self._packs(1):
            return None
        probe = self._keys_and_values(kept[:1])
        shape = Shape(probe.shape[0], probe.shape[2], probe.shape[4], probe.dtype)
        key = f"{self.fingerprint}|{_BITS}"
        self.inputs = InputCache(kept, shape, self._keys_and_values, file=file, key=key)
        return self.inputs

    @torch.no_grad()
    def _keys_and_values(self, inputs: Sequence[tuple[int, ...]]) -> Tensor:
        """[L, 2, K, tokens, D] of inputs that are run once, one behind the other."""
        lengths = torch.tensor([len(ids) for ids in inputs], device=self.device)
        flat = torch.tensor([token for ids in inputs for token in ids], device=self.device)
        seen: list[tuple[Tensor, Tensor]] = []
        nothing = lengths[:0]
        stream = torch.as_tensor(self._embed(flat))
        self._run_stream(stream, Packing.of(0, lengths), nothing, seen)
        return torch.stack([torch.cat(layer) for layer in seen]).cpu()

    def _run_padded(self, rows: _Rows, vectors: Tensor) -> Tensor:
        """Logits [N, V] from padded rows behind the keys and values of what is shared."""
        plan = rows.plan(len(vectors)) if self._can_share else NOTHING_SHARED
        cache, plan, shared = self._run_shared(rows.ids, rows.slot, vectors, plan)
        inserted = vectors[:0] if plan.prompt else vectors
        embeds, mask = self._embed_rows(rows.ids, rows.lengths, rows.slot, inserted, plan, "right")
        mask = torch.cat([mask.new_ones(len(mask), shared), mask], 1)
        with self._read_at(rows.read_rows, rows.reads(plan, len(vectors))):
            logits: Tensor = self._run(embeds, mask, cache).logits[0]
        return logits

    @torch.inference_mode()
    def generate(
        self,
        contexts: Sequence[Sequence[int]],
        slots: Sequence[int],
        injection: InputTokens | None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
    ) -> list[list[int]]:
        """Greedy continuations of token ids, without the stop token.

        Args:
            contexts: one non-empty list of ids per row.
            slots: per row, how many tokens come before the prompt.
            stop_ids: ids that end a row, besides the model's own end tokens.

        Raises:
            BackboneError: a row with its prompt and answer is longer than the model's positions.
        """
        vectors = self._vectors(injection)
        lengths = torch.tensor([len(c) for c in contexts], device=self.device)
        self._check_length(int(lengths.max()) + len(vectors) + max_new_tokens)
        slot = torch.tensor(list(slots), device=self.device)
        ids = torch.zeros(len(contexts), int(lengths.max()), dtype=torch.long, device=self.device)
        for row, context in enumerate(contexts):
            ids[row, : len(context)] = torch.tensor(context, device=self.device)
        plan = NOTHING_SHARED
        # Rows end together, so padding stands behind the shared part; a window would count it.
        if self._can_share and not self._slides:
            plan = plan_sharing(ids, lengths, slot, lengths, len(vectors))
        cache, plan, shared = self._run_shared(ids, slot, vectors, plan)
        inserted = vectors[:0] if plan.prompt else vectors
        embeds, mask = self._embed_rows(ids, lengths, slot, inserted, plan, "left")
        mask = torch.cat([mask.new_ones(len(mask), shared), mask], 1)
        cache = DynamicCache(config=self.model.config) if cache is None else cache
        return self._decode(embeds, mask, cache, max_new_tokens, self._stops(stop_ids))

    def _decode(
        self, embeds: Tensor, mask: Tensor, cache: Any, max_new_tokens: int, stops: Tensor
    ) -> list[list[int]]:
        rows = torch.arange(len(embeds), device=self.device)
        alive = torch.ones(len(embeds), dtype=torch.bool, device=self.device)
        answers: list[list[int]] = [[] for _ in range(len(embeds))]
        for _ in range(max_new_tokens):
            last = torch.full_like(rows, embeds.shape[1] - 1)
            with self._read_at(rows, last):
                logits = self._run(embeds, mask, cache).logits[0]
            token = logits.argmax(-1)
            alive = alive & ~torch.isin(token, stops)
            for row in alive.nonzero().flatten().tolist():
                answers[row].append(int(token[row]))
            if not bool(alive.any()):
                break
            embeds = torch.as_tensor(self._embed(token[:, None]))
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        return answers

    def _stops(self, stop_ids: Sequence[int]) -> Tensor:
        config = getattr(self.model, "generation_config", None)
        ends = getattr(config, "eos_token_id", None)
        known = [self.tokenizer.eos_token_id, *stop_ids]
        known += ends if isinstance(ends, list) else [ends]
        return torch.tensor(sorted({int(i) for i in known if i is not None}), device=self.device)

    def _vectors(self, injection: InputTokens | None) -> Tensor:
        if injection is None:
            return torch.zeros(0, self.hidden_size, device=self.device, dtype=self.dtype)
        if injection.vectors.ndim != 2 or injection.vectors.shape[1] != self.hidden_size:
            raise BackboneError(
                "the prompt's vectors do not fit this backbone",
                where=self.name,
                got=f"shape {tuple(injection.vectors.shape)}",
                expected=f"shape (P, {self.hidden_size})",
            )
        return injection.vectors.to(self.device, self.dtype)

    def _check_length(self, length: int) -> None:
        if length > self.max_positions:
            raise BackboneError(
                "the input with its prompt is longer than the backbone's positions",
                where=self.name,
                got=f"{length} tokens",
                expected=f"at most {self.max_positions}",
                hint="lower max_length or the prompt's length",
            )

    def _run_shared(
        self, ids: Tensor, slot: Tensor, vectors: Tensor, plan: Sharing
    ) -> tuple[Any, Sharing, int]:
        """Run the common part at batch 1 and broadcast it; returns cache, plan and its length."""
        if plan is NOTHING_SHARED:
            return None, plan, 0
        tokens = self._embed_shared(ids, slot, vectors, plan)
        length = tokens.shape[1]
        once = DynamicCache(config=self.model.config)
        nothing = ids.new_zeros(0)
        with self._read_at(nothing, nothing):
            self._run(tokens, ids.new_ones(1, length), once)
        if not _is_plain(once, length):
            # Sliding windows that dropped keys and recurrent states cannot be broadcast.
            self._can_share = False
            return None, NOTHING_SHARED, 0
        cache = DynamicCache(config=self.model.config)
        for index, layer in enumerate(once.layers):
            keys, values = layer.keys, layer.values
            rows = (len(ids), -1, -1, -1)
            cache.update(keys.expand(*rows), values.expand(*rows), index)
        return cache, plan, length

    def _embed_shared(self, ids: Tensor, slot: Tensor, vectors: Tensor, plan: Sharing) -> Tensor:
        """Embeddings [1, S, H] of what is the same for every row."""
        tokens = torch.as_tensor(self._embed(ids[:1, : plan.tokens]))
        if plan.prompt:
            at = int(slot[0])
            tokens = torch.cat([tokens[:, :at], vectors[None], tokens[:, at:]], 1)
        return tokens

    def _embed_rows(
        self,
        ids: Tensor,
        lengths: Tensor,
        slot: Tensor,
        vectors: Tensor,
        plan: Sharing,
        side: Side,
    ) -> tuple[Tensor, Tensor]:
        """Embeddings [B, W, H] of what is not shared, and their mask [B, W]."""
        ids, lengths = ids[:, plan.tokens :], lengths - plan.tokens
        rows = lay_out(lengths, (slot - plan.tokens).clamp(min=0), len(vectors), side)
        if not ids.shape[1]:  # rows of the prompt alone
            ids = ids.new_zeros(len(ids), 1)
        embeds = torch.as_tensor(self._embed(ids.gather(1, rows.token_index)))
        if len(vectors):
            chosen = nn.functional.embedding(rows.prompt_index, vectors)
            embeds = torch.where(rows.is_prompt[..., None], chosen, embeds)
        return embeds, rows.mask

    def _run(self, embeds: Tensor, mask: Tensor, cache: Any) -> Any:
        """One forward pass over [B, W, H]; the mask [B, K + W] also covers K cached positions."""
        options: dict[str, Any] = {"inputs_embeds": embeds, "attention_mask": mask}
        if self._takes_positions:
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -embeds.shape[1] :]
        if cache is not None:
            options["past_key_values"] = cache
        self._set_attention(self._unpacked_attention(embeds.shape[1] * mask.shape[1]))
        return self._call(use_cache=cache is not None, **options)

    def _call(self, inputs_embeds: Tensor, **options: Any) -> Any:
        self.counts["calls"] += 1
        self.counts["tokens"] += inputs_embeds.shape[0] * inputs_embeds.shape[1]
        return self.model(inputs_embeds=inputs_embeds, **options)

    def _unpacked_attention(self, scores: int) -> str:
        small = scores <= _EAGER_SCORES and self.device.type == "cpu"
        return "eager" if small and self._may_go_eager else self._own_attention

    def _set_attention(self, wanted: str) -> None:
        if self.model.config.get_text_config()._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)

    @contextmanager
    def _read_at(self, rows: Tensor, at: Tensor) -> Iterator[None]:
        """Give the LM head only the hidden states that are read: [1, N, H] for [B, W, H]."""

        def select(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return (inputs[0][rows, at][None], *inputs[1:])

        handle = self._head.register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch without its padding: ids [B, T], lengths [B], slot [B], and the N reads."""

    ids: Tensor
    lengths: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor

    def plan(self, prompt_length: int) -> Sharing:
        """What runs once."""
        return plan_sharing(self.ids, self.lengths, self.slot, self.read_at, prompt_length)

    def reads(self, plan: Sharing, prompt_length: int) -> Tensor:
        """[N] which of a row's own positions gives each read's logits."""
        at = self.read_at - plan.tokens - 1
        if plan.prompt:
            return at
        return at + prompt_length * (self.read_at >= self.slot[self.read_rows])

    def inputs(self) -> list[tuple[int, ...]]:
        """The token ids before each row's slot."""
        pairs = zip(self.ids.tolist(), self.slot.tolist(), strict=True)
        return [tuple(ids[:slot]) for ids, slot in pairs]

    def are_in(self, cache: InputCache) -> bool:
        """Whether all that stands before the slots is kept, and nothing is read in it."""
        behind = bool((self.read_at >= self.slot[self.read_rows]).all())
        return behind and all(ids in cache for ids in self.inputs())

    def from_slot(self) -> _Rows:
        """What begins at the slot."""
        width = max(1, int((self.lengths - self.slot).max()))
        place = self.slot[:, None] + torch.arange(width, device=self.ids.device)
        return _Rows(
            self.ids.gather(1, place.clamp(max=self.ids.shape[1] - 1)),
            self.lengths - self.slot,
            torch.zeros_like(self.slot),
            self.read_rows,
            self.read_at - self.slot[self.read_rows],
        )


def _is_plain(cache: Any, length: int) -> bool:
    """Whether every layer holds plain keys and values for exactly `length` positions."""
    for layer in cache.layers:
        keys = getattr(layer, "keys", None)
        values = getattr(layer, "values", None)
        for held in (keys, values):
            if not isinstance(held, Tensor) or held.ndim != 4 or held.shape[2] != length:
                return False
    return bool(cache.layers)
