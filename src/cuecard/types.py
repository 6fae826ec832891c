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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

Slot = Literal["prefix", "suffix"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled example as the user wrote it.

    Attributes:
        fields: the template's fields, by name.
        target: the label or the text to produce; None where it is not known.
        source: the file it came from.
        row: its row there, counted from 1 as an editor shows it.
    """

    fields: Mapping[str, str]
    target: str | None
    source: str = ""
    row: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record as token ids.

    Attributes:
        context: the rendered template, cut to length.
        target: the continuation to learn; empty where it is not known.
        slot: how many context tokens come before the prompt: 0 (prefix) or len(context) (suffix).
        cut: how many tokens of the fields were cut away.
    """

    context: tuple[int, ...]
    target: tuple[int, ...]
    slot: int
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one forward pass. Counts are in real tokens, so padding may stand on either side.

    Attributes:
        input_ids: [B, T] int64.
        attention_mask: [B, T] int64, 1 for a real token; all padding on one side of each row.
        slot: [B] int64, how many of the row's tokens come before the prompt.
        read_rows: [N] int64, the row of each read.
        read_at: [N] int64, the read's place: the logits that predict the row's token number
            read_at, counted from 0 without the prompt; it may be one past the row's end.
        target_ids: [N] int64, the token that belongs there; -100 where there is none.
    """

    input_ids: Tensor
    attention_mask: Tensor
    slot: Tensor
    read_rows: Tensor
    read_at: Tensor
    target_ids: Tensor

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class InputTokens:
    """An injection of vectors among the input embeddings, at each row's slot.

    Attributes:
        vectors: [P, H] float32; P may be 0.
    """

    vectors: Tensor


Injection = InputTokens


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a prompt needs of its backbone, as SHA-256 hex digests.

    Attributes:
        config: the architecture's numbers (sizes, norms, positions).
        tokenizer: vocabulary, special tokens, chat template and the ids of a few probe texts.
        embeddings: the input embedding matrix, rounded to bfloat16.
        weights: a sample of every other parameter, rounded to bfloat16.
        quantize: the quantised form of these weights, such as "int8"; no digest.
    """

    config: str
    tokenizer: str
    embeddings: str
    weights: str
    quantize: str = "none"


@runtime_checkable
class Tokenizer(Protocol):
    """What cuecard asks of a tokenizer; every fast transformers tokenizer has it."""

    chat_template: Any
    eos_token_id: Any

    def __call__(self, text: Any, **options: Any) -> Any: ...

    def encode(self, text: str, **options: Any) -> Any: ...

    def decode(self, token_ids: Any, **options: Any) -> Any: ...

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...


class KeptInputs(Protocol):
    """Inputs whose keys and values are computed once: how many tokens, and bytes when all are."""

    @property
    def tokens(self) -> int: ...

    @property
    def nbytes(self) -> int: ...


@runtime_checkable
class Recomputes(Protocol):
    """A backbone that can do without most activations.

    Attributes:
        recompute: whether layers run again in the backward pass instead of keeping theirs.
    """

    recompute: bool


class Backbone(Protocol):
    """A frozen model.

    Attributes:
        name: what the user called it.
        hidden_size, num_layers, vocab_size, max_positions: its widths.
        embeddings: [V, H] the input embedding matrix, detached.
        counts: running totals since `reset_counts`: forward tokens, logits computed, calls, and
            tokens whose keys and values were remembered.
    """

    name: str
    tokenizer: Tokenizer
    device: torch.device
    dtype: torch.dtype
    hidden_size: int
    num_layers: int
    vocab_size: int
    max_positions: int

    @property
    def counts(self) -> dict[str, int]: ...

    @property
    def embeddings(self) -> Tensor: ...

    @property
    def fingerprint(self) -> Fingerprint: ...

    def forward(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads, with gradients to the injection alone."""
        ...

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Each part's logits as if it were run alone, to rounding; in one pass where possible."""
        ...

    def generate(
        self,
        contexts: Sequence[Sequence[int]],
        slots: Sequence[int],
        injection: Injection | None,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
    ) -> list[list[int]]:
        """Greedy continuations, without the stop token, one per context."""
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
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    special_ids: frozenset[int]
    labels: tuple[tuple[int, ...], ...]
    text: str
    generator: torch.Generator


class Method(Protocol):
    """Trainable parameters that yield an injection."""

    def parameters(self) -> Iterable[torch.nn.Parameter]: ...

    def injection(self) -> Injection:
        """The injection, with gradients to this method's parameters."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class MethodConfig(Protocol):
    """A method's settings; `build` makes the method."""

    @property
    def slot(self) -> Slot: ...

    def build(self, context: InitContext) -> Method: ...


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
