"""A frozen transformers model: embeddings in, logits at the reads out, with counts."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cuecard.backbones.kernels.checkpointing import Again, decoder_layers, recomputing
from cuecard.backbones.kernels.layer_tokens import PlacedLayerTokens, replacing
from cuecard.backbones.quantization.weights import own_part
from cuecard.errors import BackboneError


class ReachedError(Exception):
    """The layer whose states are wanted has run; ends the forward pass."""


class FrozenModel:
    """A language model without gradients of its own.

    Args:
        model: any transformers model with an LM head; its parameters are frozen here.
        name: what the user called it.
        headless: whether it may do without an LM head; then `read_at` is not for it.
        embed: what embeds its inputs, with a weight; the model's own input embedding by default.
        config: of the part that takes in prompts; by default the model's own, of its texts.

    Raises:
        BackboneError: the model has no input embedding or no LM head.
    """

    def __init__(
        self,
        model: Any,
        name: str,
        *,
        headless: bool = False,
        embed: nn.Module | None = None,
        config: Any = None,
    ) -> None:
        self.model = model.eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.embed: nn.Module = model.get_input_embeddings() if embed is None else embed
        self.head: nn.Module = model.get_output_embeddings()
        if self.embed is None or (self.head is None and not headless):
            raise BackboneError(
                "this model cannot be used as a backbone",
                where=name,
                got=f"{type(model).__name__} without an input embedding or an LM head",
                expected="a causal language model or an encoder-decoder, with its LM head",
            )
        weight = self.embed.weight
        assert isinstance(weight, Tensor)
        self.device, self.dtype = weight.device, weight.dtype
        self.words = int(weight.shape[0])
        # A convolution over patches has its [H, C, p, p] the other way round.
        words, hidden = weight.shape if weight.ndim == 2 else weight.flatten(1).T.shape
        self.table_shape = int(words), int(hidden)
        self.config = model.config.get_text_config() if config is None else config
        self.layers = int(self.config.num_hidden_layers)
        taken = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in taken
        # The argument and the output; transformers renames them in 5.24, by model.
        self.cache_name = "cache" if "cache" in taken else "past_key_values"
        own = str(self.config._attn_implementation)
        # SDPA in transformers 5.19 leaves scores uncapped without a word.
        capped = getattr(self.config, "attn_logit_softcapping", None) is not None
        self.own_attention = "eager" if capped and own == "sdpa" else own
        self.recompute = False
        self._keeps_hidden = False
        self._hidden: Tensor | None = None
        self._seen: list[Tensor] | None = None
        self.counts: dict[str, int] = {}
        self.reset_counts()

    def reset_counts(self) -> None:
        """Set the running totals to zero."""
        self.counts = {"calls": 0, "tokens": 0, "logits": 0, "remembered": 0}

    def call(self, embeds: Tensor, again: Again, **options: Any) -> Any:
        """One forward pass over [B, W, H].

        Args:
            again: what must surround a layer that is run again in the backward pass.
        """
        self.counts["calls"] += 1
        self.counts["tokens"] += embeds.shape[0] * embeds.shape[1]
        with self._layers(again):
            return self.model(inputs_embeds=embeds, **options)

    def early_states(self, layers: int, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, W, H] what comes out of the first layers, for ids and mask [B, W]; others do not run.

        Counts a token by the share of the layers that it runs through.
        """
        seen: list[Tensor] = []

        def stop(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)
            raise ReachedError

        self.counts["calls"] += 1
        self.counts["tokens"] += round(ids.numel() * layers / self.layers)
        hook = self.decoder_layers[layers - 1].register_forward_hook(stop)
        try:
            with suppress(ReachedError), self.attending(self.own_attention):
                self.model(input_ids=ids, attention_mask=mask, use_cache=False)
        finally:
            hook.remove()
        return seen[0]

    def _layers(self, again: Again) -> AbstractContextManager[None]:
        if not (self.recompute and torch.is_grad_enabled()):
            return nullcontext()
        return recomputing(self.decoder_layers, again)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Passes without gradients that leave the running totals as they are."""
        before = dict(self.counts)
        try:
            with torch.no_grad():
                yield
        finally:
            self.counts.update(before)

    def agrees(self, found: Tensor, plain: Tensor) -> bool:
        """Whether both are the same up to what another order of sums does."""
        rounding = 1e-3 if self.dtype == torch.float32 else 0.05
        return bool((found - plain).abs().max() <= rounding * plain.abs().max())

    def digest(self) -> str:
        """SHA-256 over every parameter's and buffer's bytes: the proof that nothing changed."""
        return bytes_digest(self.model)

    def stops(self, tokenizer_end: Any, stop_ids: Sequence[int]) -> Tensor:
        """The ids that end an answer: the tokenizer's, the given ones and the model's own."""
        config = getattr(self.model, "generation_config", None)
        ends = getattr(config, "eos_token_id", None)
        known = [tokenizer_end, *stop_ids, *(ends if isinstance(ends, list) else [ends])]
        return torch.tensor(sorted({int(i) for i in known if i is not None}), device=self.device)

    def new_cache(self) -> Any:
        """An empty cache of keys and values that fits the model."""
        return DynamicCache(config=self.model.config)

    def set_attention(self, wanted: str) -> None:
        """Choose transformers' attention implementation for the calls that follow."""
        if self.config._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)

    @cached_property
    def decoder_layers(self) -> list[nn.Module]:
        """The layers in their order.

        Raises:
            BackboneError: they cannot be found.
        """
        return decoder_layers(self.model, self.layers)

    def replacing(self, given: Sequence[PlacedLayerTokens]) -> AbstractContextManager[None]:
        """Let layers take given vectors in, in the calls that follow."""
        return replacing(self.decoder_layers, given) if given else nullcontext()

    @contextmanager
    def attending(self, wanted: str) -> Iterator[None]:
        """Choose transformers' attention implementation for a while."""
        before = str(self.config._attn_implementation)
        self.set_attention(wanted)
        try:
            yield
        finally:
            self.set_attention(before)

    @contextmanager
    def read_at(self, rows: Tensor, at: Tensor) -> Iterator[None]:
        """Give the LM head only the hidden states that are read: [1, N, H] for [B, W, H]."""

        def select(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            chosen = inputs[0][rows, at]
            if self._seen is not None:
                self._seen.append(chosen)
            if self._keeps_hidden:
                self._hidden, chosen = chosen, chosen[:0]
            return (chosen[None], *inputs[1:])

        handle = self.head.register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def keeping_hidden(self) -> Iterator[None]:
        """Have passes leave hidden states at their reads, and the LM head nothing to do."""
        self._keeps_hidden = True
        try:
            yield
        finally:
            self._keeps_hidden, self._hidden = False, None

    @contextmanager
    def seeing_hidden(self) -> Iterator[list[Tensor]]:
        """Get the hidden states at the reads of every pass, beside its logits."""
        seen: list[Tensor] = []
        self._seen = seen
        try:
            yield seen
        finally:
            self._seen = None

    def at_reads(self, output: Any) -> Tensor:
        """What a pass left at its reads: logits [N, V], or hidden states [N, H]."""
        if not self._keeps_hidden:
            return torch.as_tensor(output.logits[0])
        assert self._hidden is not None
        return self._hidden

    def embeddings(self, vocab_size: int, layer: nn.Module | None = None) -> Tensor:
        """[V, H] what an embedding layer gives for every id, with the layer's own scaling.

        Args:
            layer: the input's by default.
        """
        with torch.inference_mode(False), torch.no_grad():
            ids = torch.arange(vocab_size, device=self.device)
            return torch.as_tensor((layer or self.embed)(ids)).detach()


def bytes_digest(model: nn.Module) -> str:
    """SHA-256 over every parameter's and buffer's bytes; of sharded ones over this process's."""
    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode())
        flat: Any = own_part(tensor).detach().cpu().contiguous().flatten()
        total.update(memoryview(flat.view(torch.uint8).numpy()))
    return total.hexdigest()
