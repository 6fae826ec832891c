"""What a backbone and a method are asked for, and what they give.

Sizes: B rows, T tokens in the longest row, N reads, P prompt vectors, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from cuecard.lazy import torch
from cuecard.types.data import Batch, Encoded, Frame, Image, KeptReads, Placement, ReadKind
from cuecard.types.injections import Injection, InjectionKind, LabelTokens, Slot, Tower

if TYPE_CHECKING:
    from torch import Tensor


PeftTask = Literal["CAUSAL_LM", "SEQ_2_SEQ_LM"]


@dataclass(frozen=True, slots=True)
class TokenTfidf:
    """TF-IDF of an input's tokens: (1 + log count) * idf, of unit length.

    As scikit-learn's `TfidfVectorizer(sublinear_tf=True)` has it, of tokens instead of words.

    Attributes:
        ids: [V] int64 the tokens that are counted, ascending.
        idf: [V] float32 their inverse document frequencies.
    """

    ids: Tensor
    idf: Tensor

    def __call__(self, inputs: Sequence[tuple[int, ...]]) -> Tensor:
        """[n, V] float32, on the CPU; zeros for an input with none of the tokens."""
        counts = torch.zeros(len(inputs), len(self.ids))
        size = int(self.ids[-1]) + 1
        for row, input_ids in zip(counts, inputs, strict=True):
            found = torch.bincount(torch.tensor(input_ids, dtype=torch.int64), minlength=size)
            row += found[self.ids]
        weighed = torch.where(counts > 0, (1 + counts.clamp(min=1).log()) * self.idf, 0.0)
        return torch.nn.functional.normalize(weighed)


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer of the task's own on the hidden states at the reads, beside the LM head.

    Attributes:
        weight: [K, H] float32; of a pooled head [K, H + F + V].
        bias: [K] float32.
        layers: the layers whose values a pooled head reads, F numbers of all of them, see
            `Backbone.value_means`; empty for another head.
        tfidf: of the V tokens that a pooled head counts; None for one that counts none.
        of_labels: whether it is what a model's tower makes of the labels' names, [K, D]; it reads
            the unit vectors that the model makes of images.
    """

    weight: Tensor
    bias: Tensor
    layers: tuple[int, ...] = ()
    tfidf: TokenTfidf | None = None
    of_labels: bool = False

    def __call__(self, states: Tensor) -> Tensor:
        """[N, K] of states [N, H], or of states, means and TF-IDF [N, H + F + V]."""
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


@runtime_checkable
class PlacesImages(Protocol):
    """What stands in for a tokenizer of a model that gives masks of images."""

    def frame(self, height: int, width: int) -> Frame:
        """Where an image of so many pixels is in what the model takes in and gives."""
        ...


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


class Patches(Protocol):
    """What the layers of a frozen vision encoder make of the patches of a few images.

    Each is computed when it is first asked for, and once. float32, on the encoder's device.
    """

    def tokens(self, layers: int) -> Tensor:
        """[layers, N, H] what each of the first layers takes in, at patches drawn of all images.

        The same patches in every layer.
        """
        ...

    def keys_values(self) -> Tensor:
        """[L, 2, K, N, D] every layer's keys and values of the same patches.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        ...

    def beside(self, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Of images that are run with prompts [L', P, H] at the first L' layers' inputs.

        Returns:
            [L', S, H] what each of these layers takes in at each of the S patches of an image, and
            [L', P + S, D] the keys that it makes of prompt and patches: the mean of all images,
            and of all heads.

        Raises:
            BackboneError: an attention of the encoder's own, whose keys are not known.
        """
        ...


@runtime_checkable
class HasPatches(Protocol):
    """A backbone that cuts images into patches."""

    def patches_of(self, images: Sequence[Image], seed: int) -> Patches:
        """What its layers make of these images' patches; the seed draws which are sampled."""
        ...


@runtime_checkable
class ShowsAttention(Protocol):
    """A vision encoder whose attention can be looked at."""

    @property
    def num_layers(self) -> int: ...

    def prompt_attention(self, images: Sequence[Image], injection: Injection, layer: int) -> Tensor:
        """[B, P, h, w] a layer's attention between a prompt and each patch, the mean of all heads.

        From the prompt's vectors to the patches; of keys in front, from the patches to them.
        """
        ...

    def shown(self, images: Sequence[Image]) -> Tensor:
        """[B, h, w, C] float32 from 0 to 1: images as the model is given them."""
        ...


@runtime_checkable
class HasLabelTower(Protocol):
    """A backbone with a tower that reads labels' names, and compares them with images.

    Attributes:
        whole: the transformers model; `Backbone.model` is its tower that sees.
        label_tokenizer: the tokenizer of the tower that reads.
    """

    whole: Any
    label_tokenizer: Tokenizer

    def label_width(self) -> int:
        """D of the space where images and names meet."""
        ...

    def label_layers(self) -> int:
        """How many layers the tower that reads names has."""
        ...

    def apart(self) -> str | None:
        """Why a prompt cannot be in both towers at once; None if it can."""
        ...

    def label_head(self, names: Sequence[str], tokens: LabelTokens | str) -> Head:
        """A head [K, D] of K labels' names, with gradients to the vectors.

        Args:
            tokens: the vectors around the names, or a template with {label} instead.
        """
        ...


@dataclass(frozen=True, slots=True)
class NamesContext:
    """What a method may know of the tower that reads labels' names.

    Attributes:
        embeddings: [V, H] the tower's embedding matrix.
        encode: text -> token ids, without special tokens.
        labels: how many labels there are.
        layers: how many layers the tower has.
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    labels: int
    layers: int


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
        layers: L.
        towers: the same matrix of every tower, `Backbone.tower_embeddings`.
        patches: those of a few training images; None for a backbone that sees none, or no images.
        names: the tower that reads labels' names; None without one.
    """

    embeddings: Tensor
    encode: Callable[[str], list[int]]
    special_ids: frozenset[int]
    labels: tuple[tuple[int, ...], ...]
    text: str
    generator: torch.Generator
    states: Callable[[Tensor], States]
    layers: int
    towers: Mapping[Tower, Tensor] = field(default_factory=dict)
    patches: Patches | None = None
    names: NamesContext | None = None

    @property
    def sees(self) -> bool:
        """Whether it is a vision encoder, whose embeddings are no words'."""
        return "vision" in self.towers


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that learn at one rate.

    Attributes:
        lr: their peak learning rate. None takes the run's: what the method chiefly learns with.
            "embeddings" takes the optimiser's default, which suits vectors among embeddings.
    """

    parameters: tuple[torch.nn.Parameter, ...]
    lr: float | Literal["embeddings"] | None = None


class Method(Protocol):
    """Trainable parameters that yield an injection."""

    def parameters(self) -> Iterable[torch.nn.Parameter]: ...

    def groups(self) -> Sequence[ParameterGroup]:
        """The same parameters by learning rate; one group or more at the run's."""
        ...

    def injection(self) -> Injection:
        """The injection, with gradients to this method's parameters."""
        ...

    def penalty(self) -> Tensor | None:
        """A scalar that training adds to the loss; None for none."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


@runtime_checkable
class Noisy(Protocol):
    """A method that leaves something out in training, and nothing afterwards."""

    def noisy_injection(self, draw: tuple[int, ...]) -> Injection:
        """The injection, with what the numbers draw left out; the same for the same numbers."""
        ...


class MethodConfig(Protocol):
    """A method's settings; `build` makes the method.

    Attributes:
        name: what users call the method.
        rate: the setting that is the peak learning rate it chiefly learns with, where the run gives
            none; None takes the optimiser's default.
        reads_words: whether it needs a vocabulary, which a vision encoder has not.
        requires: the kinds of injections that it puts into each tower, with these settings.
        warm_start: a trained prompt's tensors to start from, which `model_dump` leaves out.
        model_fields_set: the settings that were given.
    """

    name: ClassVar[str]
    rate: ClassVar[str | None]
    reads_words: ClassVar[bool]

    @property
    def model_fields_set(self) -> set[str]: ...

    @property
    def requires(self) -> Mapping[Tower, tuple[InjectionKind, ...]]: ...

    @property
    def slot(self) -> Slot: ...

    @property
    def warm_start(self) -> tuple[Tensor, ...]: ...

    def rate_for_images(self, usual: float) -> float | None:
        """What that rate is for images where the setting is not given; None for the setting's own.

        Args:
            usual: the optimiser's default.
        """
        ...

    def build(self, context: InitContext) -> Method: ...

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...
