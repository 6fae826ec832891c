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
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.layout import (
    NOTHING_SHARED,
    Sharing,
    Side,
    align_left,
    lay_out,
    plan_sharing,
)
from cuecard.errors import BackboneError
from cuecard.types import Batch, Fingerprint, InputTokens, Tokenizer

# On a CPU, plain matrix products beat the flash kernel's backward pass while scores stay small.
_EAGER_SCORES = 256 * 256


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
        self._may_go_eager = config._attn_implementation == "sdpa" and not capped
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._can_share = True
        cache = DynamicCache(config=model.config)
        self._slides = any(getattr(layer, "is_sliding", False) for layer in cache.layers)
        self.counts: dict[str, int] = {}
        self.reset_counts()

    def reset_counts(self) -> None:
        """Set the running totals to zero."""
        self.counts = {"calls": 0, "tokens": 0, "logits": 0}

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
        plan = NOTHING_SHARED
        if self._can_share:
            plan = plan_sharing(ids, lengths, batch.slot, batch.read_at, len(vectors))
        cache, plan, shared = self._run_shared(ids, batch.slot, vectors, plan)
        inserted = vectors[:0] if plan.prompt else vectors
        embeds, mask = self._embed_rows(ids, lengths, batch.slot, inserted, plan, "right")
        at = batch.read_at - plan.tokens - 1
        if not plan.prompt:
            behind = batch.read_at >= batch.slot[batch.read_rows]
            at = at + len(vectors) * behind
        mask = torch.cat([mask.new_ones(len(mask), shared), mask], 1)
        with self._read_at(batch.read_rows, at):
            logits: Tensor = self._run(embeds, mask, cache).logits[0]
        self.counts["logits"] += logits.shape[0]
        return logits.float()

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
        tokens = torch.as_tensor(self._embed(ids[:1, : plan.tokens]))
        if plan.prompt:
            at = int(slot[0])
            tokens = torch.cat([tokens[:, :at], vectors[None], tokens[:, at:]], 1)
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
        self._choose_attention(embeds.shape[1], mask.shape[1])
        self.counts["calls"] += 1
        self.counts["tokens"] += embeds.shape[0] * embeds.shape[1]
        return self.model(use_cache=cache is not None, **options)

    def _choose_attention(self, queries: int, keys: int) -> None:
        if self.device.type != "cpu" or not self._may_go_eager:
            return
        wanted = "eager" if queries * keys <= _EAGER_SCORES else "sdpa"
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


def _is_plain(cache: Any, length: int) -> bool:
    """Whether every layer holds plain keys and values for exactly `length` positions."""
    for layer in cache.layers:
        keys = getattr(layer, "keys", None)
        values = getattr(layer, "values", None)
        for held in (keys, values):
            if not isinstance(held, Tensor) or held.ndim != 4 or held.shape[2] != length:
                return False
    return bool(cache.layers)
