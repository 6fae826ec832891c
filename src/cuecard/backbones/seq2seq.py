"""Encoder-decoders: any transformers model of AutoModelForSeq2SeqLM.

A row's context goes to the encoder, closed by what the tokenizer itself puts after a text; its
continuation goes to the decoder, after the tokens that the model's decoder begins with. A prompt
stands in the encoder's input, in front of the decoder's, or in both. Equal encoder inputs of a
batch (one per label word) are run once, and logits are computed only where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from cuecard.backbones.base import FrozenBackbone
from cuecard.backbones.families import FAMILIES, Family
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.forward.seq2seq_injected import Seq2SeqInjected, seq2seq_injected
from cuecard.backbones.forward.seq2seq_inputs import (
    Fill,
    PromptedInput,
    TowerInput,
    decoder_input,
    encoder_input,
    prompts_in,
)
from cuecard.backbones.forward.special_tokens import decoder_start, special_tokens_around
from cuecard.backbones.kernels.input_cache import InputCache, Shape
from cuecard.backbones.kernels.packing import past_of
from cuecard.backbones.kernels.positions import align_left, slots_of, split_placement
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Injection,
    KeptReads,
    PeftTask,
    Pick,
    Placement,
    Tokenizer,
    Tower,
)

# What the bits of kept encoder outputs depend on besides the backbone and the order of sums.
_BITS = f"torch {torch.__version__}, encoder outputs, format 1"


class Seq2SeqBackbone(FrozenBackbone):
    """A frozen encoder-decoder.

    Args:
        model: any transformers encoder-decoder with an LM head; its parameters are frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.

    Raises:
        BackboneError: not an encoder-decoder, no LM head, or no token to start its decoder with.
    """

    family: ClassVar[Family] = FAMILIES["seq2seq"]

    def __init__(self, model: Any, tokenizer: Tokenizer, name: str) -> None:
        if not getattr(model.config, "is_encoder_decoder", False):
            raise BackboneError(
                "this model is not an encoder-decoder",
                where=name,
                got=type(model).__name__,
                expected="a model of AutoModelForSeq2SeqLM",
            )
        super().__init__(model, tokenizer, name)
        self._encoder: Any = model.get_encoder()
        self._encoder_embed: Any = self._encoder.get_input_embeddings()
        self._decoder_embed: Any = model.get_decoder().get_input_embeddings()
        before, self._ends = special_tokens_around(tokenizer)
        self._opening = decoder_start(model, before, name)
        padding = int(self._frozen.config.pad_token_id or 0)
        self._fill = Fill(padding=padding, prompt=int(padding == 0))
        self.max_positions -= len(self._ends)

    @cached_property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]:
        """[V, H] the encoder's and the decoder's, the very same where the two share a layer."""
        own = self.embeddings
        if self._decoder_embed.weight is not self._frozen.embed.weight:
            own = self._frozen.embeddings(len(self._decoder_embed.weight), self._decoder_embed)
        return {"text": self.embeddings, "decoder": own}

    @property
    def opening_length(self) -> int:
        """Tokens that the decoder's input opens with, before any answer."""
        return len(self._opening)

    @cached_property
    def peft_task(self) -> PeftTask | None:
        """What PEFT calls such a model; None where PEFT leaves out a scale of the model's own.

        PEFT hands the encoder embeddings. Marian and Pegasus scale embeddings of their own
        looking up only, so with PEFT a text's tokens are too small, with any prompt.
        """
        ids = torch.full((1, 1), self._fill.prompt, device=self.device)
        with torch.no_grad():
            plain, handed = (
                self._encoder(**given).last_hidden_state
                for given in ({"input_ids": ids}, {"inputs_embeds": self._encoder_embed(ids)})
            )
        return "SEQ_2_SEQ_LM" if torch.equal(plain, handed) else None

    def _at_reads(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V], or hidden states [N, H] while the model is set to keep those."""
        self._refuse_images(batch)
        batch = batch.to(self.device)
        given = self._injected(injection)
        ids, lengths = align_left(batch)
        context = batch.context
        step = batch.read_at - context[batch.read_rows]
        if bool((step < 0).any()):
            raise BackboneError(
                "an encoder-decoder reads nothing inside its input",
                where=self.name,
                got=f"a read {-int(step.min())} tokens before a context's end",
                expected="reads from the context's end on",
            )
        count = len(given.vectors)
        split = split_placement(batch.slots, batch.sizes, count)
        source = encoder_input(ids, context, batch.slot, self._ends, count, self._fill, split)
        target = decoder_input(ids, lengths, context, self._opening, len(given.decoder), self._fill)
        self._check_length(source.ids.shape[1] - len(self._ends))
        self._check_length(target.ids.shape[1], "answer")
        hidden = self._encoded(source, given, injection is not None)
        at = step + len(given.decoder) + len(self._opening) - 1
        with self._frozen.read_at(batch.read_rows, at):
            found = self._decode(source, hidden, target, given.decoder, use_cache=False)
            return self._frozen.at_reads(found)

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """One part after the other, logits made at once: answers are short beside inputs.

        Hidden states are what the LM head takes in, the decoder's output.

        Raises:
            BackboneError: a row with its prompt is longer than the model's positions, or a read
                lies inside a context.
        """
        if keep == "states":
            with self._frozen.keeping_hidden():
                return [BatchReads(self._at_reads(*each), hidden=True) for each in parts]
        found = []
        for batch, injection in parts:
            with self._frozen.seeing_hidden() as seen:
                logits = self._at_reads(batch, injection)
            self.counts["logits"] += len(logits)
            found.append(BatchReads(logits.float(), beside=seen if keep == "both" else ()))
        return found

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
        """Answers as token ids, without the stop token; the encoder runs once.

        Args:
            contexts: one non-empty list of ids per row.
            placements: where the prompt stands in each context.
            stop_ids: ids that end a row, besides the model's own end tokens.
            pick: chooses each next token, for contexts of one length; the likeliest by default.

        Raises:
            BackboneError: a row with its prompt, or the answer, is longer than the positions.
        """
        given = self._injected(injection)
        lengths = torch.tensor([len(c) for c in contexts], device=self.device)
        width = int(lengths.max())
        rows = [[*context, *[0] * (width - len(context))] for context in contexts]
        ids = torch.tensor(rows, device=self.device)
        count = len(given.vectors)
        slots, sizes = slots_of(placements, self.device)
        split = split_placement(slots, sizes, count)
        source = encoder_input(ids, lengths, slots[:, 0], self._ends, count, self._fill, split)
        target = decoder_input(ids, lengths, lengths, self._opening, len(given.decoder), self._fill)
        self._check_length(source.ids.shape[1] - len(self._ends))
        self._check_length(target.ids.shape[1] + max_new_tokens, "answer")
        hidden = self._encoded(source, given, injection is not None)
        stops = self._frozen.stops(self.tokenizer.eos_token_id, stop_ids)
        return self._answers(source, hidden, target, given.decoder, max_new_tokens, stops, pick)

    def _answers(
        self,
        source: TowerInput,
        hidden: Tensor,
        target: TowerInput,
        decoder: Tensor,
        max_new_tokens: int,
        stops: Tensor,
        pick: Pick | None,
    ) -> list[list[int]]:
        rows = torch.arange(len(hidden), device=self.device)
        alive = torch.ones_like(rows, dtype=torch.bool)
        answers: list[list[int]] = [[] for _ in range(len(rows))]
        cache: Any = None
        for _ in range(max_new_tokens):
            with self._frozen.read_at(rows, torch.full_like(rows, target.ids.shape[1] - 1)):
                found = self._decode(source, hidden, target, decoder, True, cache)
            logits, cache = found.logits[0], found[self._frozen.cache_name]
            token = logits.argmax(-1) if pick is None else pick(logits)
            alive = alive & ~torch.isin(token, stops)
            for row in alive.nonzero().flatten().tolist():
                answers[row].append(int(token[row]))
            if not bool(alive.any()):
                break
            one = torch.ones_like(token[:, None])
            mask = torch.cat([target.mask, one], 1)
            target = TowerInput(token[:, None], mask, one == 0, one * 0, one * 0)
            decoder = decoder[:0]  # it stands in the cache
        return answers

    def remember(
        self, inputs: Sequence[tuple[int, ...]], file: Path | None = None
    ) -> InputCache | None:
        """Compute the encoder's outputs for inputs once; they serve prompts of the decoder alone.

        Args:
            inputs: contexts as token ids; without any, nothing is kept.
            file: keep them there instead of in memory.

        Returns:
            The cache; None for a hidden size that is odd.
        """
        kept = [(*ids, *self._ends) for ids in inputs if ids]
        if self.inputs is not None and self.inputs.is_of(kept, file):
            return self.inputs
        self.inputs = None
        if not kept or self.hidden_size % 2:
            return None
        # The cache holds pairs per token, so an output is kept as its two halves.
        shape = Shape(1, 1, self.hidden_size // 2, self.dtype)
        key = f"{self.fingerprint}|{_BITS}"
        self.inputs = InputCache(kept, shape, lambda ids, _: self._pairs(ids), file=file, key=key)
        return self.inputs

    @torch.no_grad()
    def _pairs(self, inputs: Sequence[tuple[int, ...]]) -> Tensor:
        """[1, 2, 1, tokens, H / 2] the outputs of encoder inputs, one after the other."""
        lengths = torch.tensor([len(ids) for ids in inputs], device=self.device)
        width = int(lengths.max())
        rows = [[*ids, *[0] * (width - len(ids))] for ids in inputs]
        ids = torch.tensor(rows, device=self.device)
        half = encoder_input(ids, lengths, lengths * 0, (), 0, self._fill)
        hidden = self._encode(half, self._injected(None))[half.mask.bool()]
        return hidden.view(len(hidden), 2, 1, -1).permute(1, 2, 0, 3)[None].cpu()

    def _encoded(self, source: TowerInput, given: Seq2SeqInjected, prompted: bool) -> Tensor:
        """[B, W, H] the encoder's outputs, remembered or computed, equal rows once."""
        untouched = prompted and not len(given.vectors) and not len(given.shifts)
        if self.inputs is not None and untouched:
            pairs = zip(source.ids.tolist(), source.mask.sum(1).tolist(), strict=True)
            rows = [tuple(ids[:length]) for ids, length in pairs]
            if all(row in self.inputs for row in rows):
                self.counts["remembered"] += int(source.mask.sum())
                past = past_of(self.inputs.own(rows), self.device)
                return torch.cat(past.layers[0], -1)
        first, groups = source.distinct()
        return self._encode(source.take(first), given)[groups]

    def _encode(self, source: TowerInput, given: Seq2SeqInjected) -> Tensor:
        self._count(source)
        among = PromptedInput(source, given.vectors, given.shifts, given.mix)
        with prompts_in(self._encoder_embed, [among]):
            found = self._encoder(input_ids=source.ids, attention_mask=source.mask)
        hidden: Tensor = found.last_hidden_state
        return hidden

    def _decode(
        self,
        source: TowerInput,
        hidden: Tensor,
        target: TowerInput,
        decoder: Tensor,
        use_cache: bool,
        cache: Any = None,
    ) -> Any:
        self._count(target)
        with prompts_in(self._decoder_embed, [PromptedInput(target, decoder, decoder[:0])]):
            return self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
                attention_mask=source.mask,
                decoder_input_ids=target.ids,
                decoder_attention_mask=target.mask,
                use_cache=use_cache,
                **{self._frozen.cache_name: cache},
            )

    def _count(self, half: TowerInput) -> None:
        self.counts["calls"] += 1
        self.counts["tokens"] += half.ids.numel()

    def _injected(self, injection: Injection | None) -> Seq2SeqInjected:
        return seq2seq_injected(
            self._pieces(injection), self.hidden_size, self.device, self.dtype, self.name
        )
