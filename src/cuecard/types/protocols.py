"""What a backbone is asked for, and what it gives.

Sizes: B rows, T tokens in the longest row, N reads, P prompt vectors, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from cuecard.lazy import torch
from cuecard.types.data import Batch, Encoded, KeptReads, Placement, ReadKind
from cuecard.types.injections import Injection, InjectionKind, Tower

if TYPE_CHECKING:
    from torch import Tensor


PeftTask = Literal["CAUSAL_LM", "SEQ_2_SEQ_LM"]


@dataclass(frozen=True, slots=True)
class States:
    """What a model makes of vectors among its input embeddings.

    Attributes:
        hidden: [L, T, H] what each layer takes in; the first is the vectors themselves.
        keys_values: [L, 2, K, T, D] each layer's keys and values; None for a model that keeps none
            of one shape (recurrent layers, compressed keys).
    """

    hidden: Tensor
    keys_values: Tensor | None


@dataclass(frozen=True, slots=True)
class LayerAttention:
    """What one layer's attention is asked with, of W tokens after C others.

    Attributes:
        queries: [H, W, D], rotated where a model rotates them.
        keys, values: [K, C + W, D], the keys rotated too.
        scale: of the scores.
        cap: of the scores, softly; 0 is none.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    scale: float
    cap: float

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[..., N, M] scores of queries [..., N, D] against keys [..., M, D], without a mask."""
        found = queries @ keys.transpose(-1, -2) * self.scale
        return self.cap * (found / self.cap).tanh() if self.cap else found


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a prompt needs of its backbone, as SHA-256 hex digests.

    Attributes:
        config: the architecture's numbers (sizes, norms, positions).
        tokenizer: vocabulary, special tokens, chat template and the ids of a few probe texts.
        embeddings: the input embedding matrix, rounded to bfloat16.
        weights: a sample of every other parameter, rounded to bfloat16.
        quantize: the quantised form of these weights, such as "int8"; no digest.
        adapter: the LoRA adapter that was merged into these weights, the digests above being those
            of the weights before; "none" without one.
        labels: the tower that reads labels' names, with its tokenizer; "none" without one, and for
            a prompt that does not need it.
    """

    config: str
    tokenizer: str
    embeddings: str
    weights: str
    quantize: str = "none"
    adapter: str = "none"
    labels: str = "none"


@runtime_checkable
class Tokenizer(Protocol):
    """What cuecard asks of a tokenizer; every fast transformers tokenizer has it."""

    chat_template: Any
    eos_token_id: Any

    def __call__(self, text: Any, **options: Any) -> Any: ...

    def encode(self, text: str, **options: Any) -> Any: ...

    def decode(self, token_ids: Any, **options: Any) -> Any: ...

    def convert_ids_to_tokens(self, ids: Any, **options: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


class KeptInputs(Protocol):
    """Inputs whose keys and values are computed once: how many tokens, and bytes when all are.

    Attributes:
        front_ids: the tokens that all of them begin with and that are kept once; empty for none.
    """

    @property
    def front_ids(self) -> tuple[int, ...]: ...

    @property
    def tokens(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


Pick: TypeAlias = "Callable[[Tensor], Tensor]"
"""Logits [n, V] of n continuations, also of those that have ended -> their next tokens [n]."""


@runtime_checkable
class Recomputes(Protocol):
    """A backbone that can do without most activations.

    Attributes:
        recompute: whether layers run again in the backward pass instead of keeping theirs.
    """

    recompute: bool


@runtime_checkable
class HasDecoder(Protocol):
    """A backbone whose decoder reads an input of its own.

    Attributes:
        opening_length: tokens that the decoder's input opens with, before any answer.
    """

    @property
    def opening_length(self) -> int: ...


@runtime_checkable
class StopsEarly(Protocol):
    """A backbone that can run its first layers alone."""

    def early_states(self, layers: int, ids: Tensor, mask: Tensor) -> Tensor:
        """[B, W, H] hidden states after so many layers, for ids and mask [B, W] padded behind."""
        ...


@runtime_checkable
class ShowsQueries(Protocol):
    """A backbone that shows what its attention is asked with."""

    def layer_attention(
        self, ids: Sequence[int], kept: Tensor | None = None, position: int = 0
    ) -> list[LayerAttention]:
        """Of one row, at each layer.

        Args:
            ids: its tokens.
            kept: [L, 2, K, C, D] keys and values before it; None for none.
            position: of its first token; below 0 where positions are rotations.

        Raises:
            BackboneError: an attention that is not known, a sliding window, or positions that the
                model does not have.
        """
        ...


class Reads(Protocol):
    """What a forward pass leaves at a batch's reads."""

    def logits(self) -> Tensor:
        """[N, V] float32, all at once."""
        ...

    def states(self) -> Tensor:
        """[N, H] float32 hidden states, with gradients to the injection, where they are kept."""
        ...

    def nll(self, targets: Tensor) -> Tensor:
        """[N] float32 -log p(target) of targets [N], piece by piece where logits would be many."""
        ...

    def likeliest(self, tokens: Tensor) -> Tensor:
        """[N] bool, whether no other token is likelier than tokens [N], piece by piece."""
        ...

    def log_probs(self, at: Tensor, tokens: Tensor) -> Tensor:
        """[E] float32 log p(token) at reads number `at`, in ascending order, piece by piece."""
        ...

    def divergence(self, other: Any) -> Tensor:
        """[N] float32 KL(p of the other reads || p of these), without gradients to the other."""
        ...


class Differentiable(Protocol):
    """A model that takes injections and is read, with gradients to the injections alone.

    Attributes:
        takes: the kinds of injections that each of its towers takes.
        reads: what can be read of it.
    """

    @property
    def takes(self) -> Mapping[Tower, frozenset[InjectionKind]]: ...

    @property
    def reads(self) -> frozenset[ReadKind]: ...

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this very model does not take a kind of injection; None if it does."""
        ...

    def unreadable(self, kind: ReadKind) -> str | None:
        """Why this very model cannot be read in this way; None if it can."""
        ...

    def read(
        self, batch: Batch, injection: Injection | None, *, keep: KeptReads = "logits"
    ) -> Reads:
        """What a forward pass leaves at the batch's reads.

        Args:
            keep: logits, the hidden states that the LM head takes in, or both.
        """
        ...

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> Sequence[Reads]:
        """Each part as if it were read alone, to rounding; in one pass where possible."""
        ...


class Backbone(Differentiable, Protocol):
    """A frozen model with a tokenizer: what a run trains prompts for.

    Attributes:
        name: what the user called it.
        hidden_size, num_layers, vocab_size, max_positions: its widths.
        embeddings: [V, H] the input embedding matrix, detached.
        typical_inputs: [n, H] vectors as large as those that the first layer takes in, by which the
            optimiser's default rate goes.
        tower_embeddings: what the inputs of its towers are made of, [V, H] for one with words.
        counts: running totals since `reset_counts`: forward tokens, logits computed, calls, and
            tokens whose keys and values were remembered.
        causal: whether what stands before a prompt in the input is computed without it.
        tree_room: up to how many places, the prompt's counted, a row may have whose continuation is
            a tree (`Batch.follows`); 0 for a backbone that runs no trees.
        peft_task: what PEFT calls such a model; None where PEFT runs it in another way.
        model: the transformers model.
        lock: held by who runs the model while an engine in another thread may run it too: parts of
            it are replaced for the length of a pass.
    """

    name: str
    model: Any
    lock: RLock
    causal: bool
    tokenizer: Tokenizer
    device: torch.device
    dtype: torch.dtype
    hidden_size: int
    num_layers: int
    vocab_size: int
    max_positions: int

    @property
    def tree_room(self) -> int: ...

    @property
    def peft_task(self) -> PeftTask | None: ...

    @property
    def counts(self) -> dict[str, int]: ...

    @property
    def embeddings(self) -> Tensor: ...

    @property
    def typical_inputs(self) -> Tensor: ...

    def word_weights(self, tokens: Sequence[int]) -> Tensor:
        """[T, H] what the LM head weighs the states with that a trained head reads, or zeros."""
        ...

    def head_width(self, layers: Sequence[int]) -> int:
        """How many numbers a head reads: H, and F for the values of these layers."""
        ...

    def value_means(self, inputs: Sequence[tuple[int, ...]], layers: Sequence[int]) -> Tensor:
        """[n, F] float32 per input, run alone, the mean over its tokens of these layers' values.

        Raises:
            BackboneError: the model does not take late keys and values.
        """
        ...

    @property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]: ...

    @property
    def fingerprint(self) -> Fingerprint: ...

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        ...

    def forward(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads, with gradients to the injection alone."""
        ...

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's logits as if it were run alone, to rounding; in one pass where possible."""
        ...

    def sharing(
        self,
        rows: Sequence[Encoded],
        injection: Injection | None,
        *,
        contexts: bool = False,
    ) -> AbstractContextManager[None]:
        """Run what all these rows begin with once, for all the passes without gradients in a block.

        Passes with other rows or injections are not touched by it.

        Args:
            contexts: also run each row's own context once, and keep it.
        """
        ...

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
        """Continuations, without the stop token, one per context.

        Args:
            placements: where the prompt stands in each context.
            pick: chooses each next token, for contexts of one length; the likeliest by default.
        """
        ...

    def remember(
        self, inputs: Sequence[tuple[int, ...]], file: Path | None = None
    ) -> KeptInputs | None:
        """Compute the keys and values of what stands before a prompt once, from now on."""
        ...

    def forgetting(self) -> AbstractContextManager[None]:
        """Run as if nothing were remembered, for the passes in a block: with other layers."""
        ...

    def holding(self, inputs: Sequence[tuple[int, ...]]) -> AbstractContextManager[None]:
        """Run what rows of several prompts begin with once, for the passes in a block.

        Rows of a prompt that stands behind one of these inputs go on from it, and so do rows that
        begin with one and have no prompt. A backbone with a `tree_room` holds inputs up to it.
        """
        ...

    def reset_counts(self) -> None: ...

    def digest(self) -> str:
        """SHA-256 over every parameter's bytes, to prove that nothing changed."""
        ...
