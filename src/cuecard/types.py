"""The whole architecture on one page.

A **task** turns records into encoded rows and knows nothing of models. A **method** owns trainable
parameters and yields an **injection**. A **backbone** is a frozen model that takes a batch and an
injection and returns logits where there is something to read. Only training, evaluation and the
command line join the three.

    records -> encoded rows -> batch -> backbone(batch, injection) -> logits at the reads -> loss
                                              ^                                              |
                                      method.injection()  <------- gradient, only here ------+

Sizes: B rows, T tokens in the longest row, N reads, P prompt vectors, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from cuecard.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


Slot = Literal["prefix", "suffix", "infix"]
Need = Literal[
    "input-tokens",
    "token-shifts",
    "prefix-kv",
    "layer-tokens",
    "decoder-tokens",
    "next-tokens",
    "masks",
    "states",
]
PeftTask = Literal["CAUSAL_LM", "SEQ_2_SEQ_LM"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled example as the user wrote it.

    Attributes:
        fields: the template's fields, by name.
        target: the label or the text to produce; None where it is not known.
        source: the file it came from.
        row: its row there, counted from 1 as an editor shows it.
        group: records of one group stay in one split; empty where it has none.
    """

    fields: Mapping[str, str]
    target: str | None
    source: str = ""
    row: int = 0
    group: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record as token ids.

    Attributes:
        context: the rendered template, cut to length.
        target: the continuation to learn, or the text that belongs to this one (embedding); empty
            where it is not known.
        slot: how many context tokens come before the prompt: 0 (prefix; before a mask, what the
            tokenizer puts before every text), len(context) (suffix), or those before the
            template's `{prompt}` (infix).
        cut: how many tokens of the fields were cut away.
        more: the same as `slot` for every further place of the prompt, in their order.
        deal: how many vectors go to each place, the first one's too; empty for an even split.
        mask: the place in the context of the mask token that the target is to stand for; None
            where the target comes behind the context.
        at: the context tokens whose states a head reads; empty for the state behind the context.
        goal: what a head is to give there, see `TaskSpec.goal`; empty where it is not known.
        barred: the tokens that would make the target another label (see `LabelWords`); empty where
            it begins no other label.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    slot: int
    cut: int = 0
    more: tuple[int, ...] = ()
    deal: tuple[int, ...] = ()
    mask: int | None = None
    at: tuple[int, ...] = ()
    goal: tuple[float, ...] = ()
    barred: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one forward pass. Counts are in real tokens, so padding may stand on either side.

    Attributes:
        input_ids: [B, T] int64.
        attention_mask: [B, T] int64, 1 for a real token; all padding on one side of each row.
        slot: [B] int64, how many of the row's tokens come before the prompt.
        read_rows: [N] int64, the row of each read.
        read_at: [N] int64, the read's place: the logits that predict the row's token number
            read_at, counted from 0 without the prompt; it may be one past the row's end. A causal
            model has them at the place before, a masked one at the place itself.
        target_ids: [N] int64, the token that belongs there; -100 where there is none.
        context: [B] int64, how many of the row's tokens are the context. What comes after them is
            the continuation, which an encoder-decoder reads in its decoder; nothing does where the
            reads are at masks.
        more: [B, S - 1] int64, the same as `slot` for the prompt's further places; None for one.
        deal: how many vectors go to each of the S places; empty for an even split.
        follows: [B, T] int64, for rows whose continuation is a tree of tokens: the number of the
            token that each one follows, -1 for the first. A read behind token number n has
            `read_at` n + 1. None for plain rows; see `Backbone.tree_room`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor
    target_ids: Tensor
    context: Tensor
    more: Tensor | None = None
    deal: tuple[int, ...] = ()
    follows: Tensor | None = None

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        parts: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        tensors = {
            n: part.to(device) for n, part in parts.items() if isinstance(part, torch.Tensor)
        }
        return Batch(**(parts | tensors))


@dataclass(frozen=True, slots=True)
class InputTokens:
    """An injection of vectors among the input embeddings, at each row's slot.

    Attributes:
        vectors: [P, H] float32; P may be 0. In an encoder-decoder they stand in the encoder's
            input.
        shifts: [S, H] float32, added to the embeddings of each row's first S tokens by their place
            in the row, the prompt not counted (DePT); None for none.
        decoder: [D, H] float32 in front of the input of an encoder-decoder's decoder; None for
            none, as always on a model without one.
    """

    vectors: Tensor
    shifts: Tensor | None = None
    decoder: Tensor | None = None

    @property
    def length(self) -> int:
        """P + D: positions that the injection takes of every request."""
        return len(self.vectors) + (0 if self.decoder is None else len(self.decoder))


@dataclass(frozen=True, slots=True)
class PrefixKV:
    """An injection of keys and values that every token attends to, in front of the input.

    The input's positions begin behind them, as if P tokens had been run and their keys and values
    kept; in a masked model too.

    Attributes:
        keys_values: [L, 2, K, P, D] float32: per layer keys, rotated for positions 0 to P - 1 where
            a model rotates them, and values; K key heads (not query heads), D per head.
    """

    keys_values: Tensor

    @classmethod
    def of_matrix(cls, matrix: Tensor, layers: int, key_heads: int) -> PrefixKV:
        """From [P, L * 2 * K * D], as PEFT lays them out."""
        by_layer = matrix.reshape(len(matrix), layers, 2, key_heads, -1)
        return cls(by_layer.permute(1, 2, 3, 0, 4))

    @property
    def matrix(self) -> Tensor:
        """The same as [P, L * 2 * K * D]."""
        return self.keys_values.permute(3, 0, 1, 2, 4).flatten(1)

    @property
    def length(self) -> int:
        """P."""
        return self.keys_values.shape[3]


@dataclass(frozen=True, slots=True)
class LayerTokens:
    """An injection of vectors at each row's slot, anew at every layer's input.

    Attributes:
        vectors: [L, P, H] float32; the first layer's stand among the input embeddings, the others
            replace what the layer before made of their places.
    """

    vectors: Tensor

    @property
    def length(self) -> int:
        """P."""
        return self.vectors.shape[1]


Injection = InputTokens | PrefixKV | LayerTokens


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer of the task's own on the hidden states at the reads, beside the LM head.

    Attributes:
        weight: [K, H] float32.
        bias: [K] float32.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        """[N, K] of states [N, H]."""
        weight, bias = (tensor.to(states.device) for tensor in (self.weight, self.bias))
        return torch.nn.functional.linear(states, weight, bias)


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
    """

    config: str
    tokenizer: str
    embeddings: str
    weights: str
    quantize: str = "none"
    adapter: str = "none"


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
    """Inputs whose keys and values are computed once: how many tokens, and bytes when all are."""

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
        decoder_embeddings: [V, H] the decoder's input embedding matrix, detached; some models share
            it with the encoder, some do not.
        opening_length: tokens that the decoder's input opens with, before any answer.
    """

    @property
    def decoder_embeddings(self) -> Tensor: ...

    @property
    def opening_length(self) -> int: ...


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

    def log_probs(self, at: Tensor, tokens: Tensor) -> Tensor:
        """[E] float32 log p(token) at reads number `at`, in ascending order, piece by piece."""
        ...

    def divergence(self, other: Any) -> Tensor:
        """[N] float32 KL(p of the other reads || p of these), without gradients to the other."""
        ...


class Backbone(Protocol):
    """A frozen model.

    Attributes:
        name: what the user called it.
        hidden_size, num_layers, vocab_size, max_positions: its widths.
        embeddings: [V, H] the input embedding matrix, detached.
        counts: running totals since `reset_counts`: forward tokens, logits computed, calls, and
            tokens whose keys and values were remembered.
        causal: whether what stands before a prompt in the input is computed without it.
        tree_room: up to how many places, the prompt's counted, a row may have whose continuation is
            a tree (`Batch.follows`); 0 for a backbone that runs no trees.
        peft_task: what PEFT calls such a model; None where PEFT runs it in another way.
        model: the transformers model.
    """

    name: str
    model: Any
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
    def fingerprint(self) -> Fingerprint: ...

    def lacks(self, need: Need) -> str | None:
        """Why this backbone cannot take what a method needs, in a few words; None if it can."""
        ...

    def states(self, vectors: Tensor) -> States:
        """What the layers make of vectors [T, H] alone, float32 and without gradients."""
        ...

    def forward(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads, with gradients to the injection alone."""
        ...

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's logits as if it were run alone, to rounding; in one pass where possible."""
        ...

    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, states: bool = False
    ) -> Sequence[Reads]:
        """The same with logits that need not all be there at once.

        Args:
            states: whether hidden states are to be kept, and no logits made.
        """
        ...

    def read_both(self, parts: Sequence[tuple[Batch, Injection | None]]) -> Sequence[Reads]:
        """As `read_many`, with the hidden states that the LM head takes in beside the logits."""
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
        slots: Sequence[int],
        injection: Injection | None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        *,
        more: Sequence[Sequence[int]] = (),
        deal: Sequence[int] = (),
        pick: Pick | None = None,
    ) -> list[list[int]]:
        """Continuations, without the stop token, one per context.

        Args:
            more, deal: the prompt's further places of each row, and how many vectors go to each
                place; see `Encoded`.
            pick: chooses each next token, for contexts of one length; the likeliest by default.
        """
        ...

    def remember(
        self, inputs: Sequence[tuple[int, ...]], file: Path | None = None
    ) -> KeptInputs | None:
        """Compute the keys and values of what stands before a prompt once, from now on."""
        ...

    def reset_counts(self) -> None: ...

    def digest(self) -> str:
        """SHA-256 over every parameter's bytes, to prove that nothing changed."""
        ...


@dataclass(frozen=True, slots=True)
class InitContext:
    """What a method may know when it makes its first parameters.

    Attributes:
        embeddings: [V, H] the backbone's input embedding matrix.
        encode: text -> token ids, without special tokens.
        special_ids: ids that no prompt should start from.
        labels: the token ids of the task's label words; empty for text-to-text.
        text: a sentence about the task, for a prompt that starts from text.
        generator: the only source of randomness.
        states: vectors [T, H] among the input embeddings -> what the backbone makes of them.
        decoder_embeddings: [V, H] the decoder's own matrix; None for a backbone without a decoder.
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    special_ids: frozenset[int]
    labels: tuple[tuple[int, ...], ...]
    text: str
    generator: torch.Generator
    states: Callable[[Tensor], States]
    decoder_embeddings: Tensor | None = None


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    Attributes:
        lr: their peak learning rate; None takes the run's, which suits vectors among embeddings.
    """

    parameters: tuple[torch.nn.Parameter, ...]
    lr: float | None = None


class Method(Protocol):
    """Trainable parameters that yield an injection."""

    def parameters(self) -> Iterable[torch.nn.Parameter]: ...

    def groups(self) -> Sequence[ParameterGroup]:
        """The same parameters by learning rate."""
        ...

    def injection(self) -> Injection:
        """The injection, with gradients to this method's parameters."""
        ...

    def penalty(self) -> Tensor | None:
        """A scalar that training adds to the loss; None for none."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class MethodConfig(Protocol):
    """A method's settings; `build` makes the method.

    Attributes:
        name: what users call the method.
        needs: what its injection asks of a backbone.
        starts: a trained prompt's tensors to start from, which `model_dump` leaves out.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[Need, ...]]

    @property
    def asks(self) -> tuple[Need, ...]:
        """`needs`, and what these very settings ask for besides."""
        ...

    @property
    def slot(self) -> Slot: ...

    @property
    def starts(self) -> tuple[Tensor, ...]: ...

    def build(self, context: InitContext) -> Method: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a prompt answered to one record.

    Attributes:
        index: the record's place in the list that was given.
        answer: the label or the text.
        scores: label -> score (calibrated if asked for); empty for text-to-text.
        probabilities: label -> softmax of the scores; empty for text-to-text.
    """

    index: int
    answer: str
    scores: Mapping[str, float]
    probabilities: Mapping[str, float]
