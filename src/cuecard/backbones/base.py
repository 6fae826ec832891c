"""What the families of backbones share: a frozen model, its identity, and how it is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cuecard.backbones.families import Family
from cuecard.backbones.fingerprint import fingerprint_of
from cuecard.backbones.forward.frozen import FrozenModel
from cuecard.backbones.forward.reads import BatchReads
from cuecard.backbones.kernels.input_cache import InputCache
from cuecard.errors import BackboneError
from cuecard.types import (
    Batch,
    Encoded,
    Fingerprint,
    Injection,
    InjectionKind,
    InputTokens,
    KeptInputs,
    KeptReads,
    PeftTask,
    Pick,
    Placement,
    ReadKind,
    States,
    Tokenizer,
    Tower,
    TowerInjection,
    by_tower,
)


class FrozenBackbone(ABC):
    """A frozen model with a text tower; `cuecard.types.Backbone` says what each member does.

    A family overrides what its models do: `read_many` above all, `generate` and `states` where they
    can, and what it shares between rows or remembers of them.

    Args:
        model: any transformers model with an input embedding; its parameters are frozen here.
        tokenizer: its tokenizer.
        name: what the user called it.
        headless: whether it may do without an LM head.
        embed: what embeds its inputs; the model's own input embedding by default.
        config: of the part that takes in prompts; by default the model's own, of its texts.

    Raises:
        BackboneError: the model has no input embedding, or no LM head.
    """

    family: ClassVar[Family]
    causal: bool = False

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        name: str,
        *,
        headless: bool = False,
        embed: nn.Module | None = None,
        config: Any = None,
    ) -> None:
        self.name, self.model, self.tokenizer = name, model, tokenizer
        self._frozen = FrozenModel(model, name, headless=headless, embed=embed, config=config)
        self.device, self.dtype = self._frozen.device, self._frozen.dtype
        self.vocab_size, self.hidden_size = self._frozen.table_shape
        self.num_layers = self._frozen.layers
        positions = getattr(self._frozen.config, "max_position_embeddings", 0)
        self.max_positions = int(positions or 2048)
        self.inputs: InputCache | None = None
        self.lock = RLock()

    @abstractmethod
    def read_many(
        self, parts: Sequence[tuple[Batch, Injection | None]], *, keep: KeptReads = "logits"
    ) -> list[BatchReads]:
        """What a forward pass leaves at each part's reads, in one pass where possible."""

    def read(
        self, batch: Batch, injection: Injection | None, *, keep: KeptReads = "logits"
    ) -> BatchReads:
        """What a forward pass leaves at the batch's reads."""
        return self.read_many([(batch, injection)], keep=keep)[0]

    def forward(self, batch: Batch, injection: Injection | None) -> Tensor:
        """Logits [N, V] float32 at the batch's reads.

        Raises:
            BackboneError: the rows and the prompt together are longer than the model's positions.
        """
        return self.forward_many([(batch, injection)])[0]

    def forward_many(self, parts: Sequence[tuple[Batch, Injection | None]]) -> list[Tensor]:
        """Every part's logits [N, V] float32, as if each were run alone, to rounding.

        Raises:
            BackboneError: as `forward`.
        """
        return [reads.logits() for reads in self.read_many(parts)]

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
        """Not by a model that does not read after a text.

        Raises:
            BackboneError: always; tasks that need it are refused before any work, see `unreadable`.
        """
        raise BackboneError(
            f"{self.family.about} does not generate text",
            where=self.name,
            got=f"{len(contexts)} texts to continue",
            expected="a causal language model or an encoder-decoder",
        )

    def states(self, vectors: Tensor) -> States:
        """Not of a model whose layers are not one stack.

        Raises:
            BackboneError: always; what needs them is refused before any work, see `unsupported`.
        """
        raise BackboneError(
            f"{self.family.about} has no single stack of layers",
            where=self.name,
            got=f"{len(vectors)} vectors",
            expected="a causal or masked language model",
        )

    @property
    def takes(self) -> Mapping[Tower, frozenset[InjectionKind]]:
        """The kinds of injections that its towers take."""
        return self.family.takes

    @property
    def reads(self) -> frozenset[ReadKind]:
        """What can be read of it."""
        return self.family.reads

    def unsupported(self, kind: InjectionKind, tower: Tower = "text") -> str | None:
        """Why this model does not take a kind of injection; None if it does."""
        return self.family.unsupported(kind, tower)

    def unreadable(self, kind: ReadKind) -> str | None:
        """Why this model cannot be read in this way; None if it can."""
        return None if kind in self.reads else f"{self.family.about} has no {kind} to read"

    @property
    def tree_room(self) -> int:
        """0: no row ends in a tree."""
        return 0

    def sharing(
        self, rows: Sequence[Encoded], injection: Injection | None, *, contexts: bool = False
    ) -> AbstractContextManager[None]:
        """Shares nothing: every row is computed with its prompt in it."""
        return nullcontext()

    def holding(self, inputs: Sequence[tuple[int, ...]]) -> AbstractContextManager[None]:
        """Holds nothing: as `remember`."""
        return nullcontext()

    def remember(
        self, inputs: Sequence[tuple[int, ...]], file: Path | None = None
    ) -> KeptInputs | None:
        """Remembers nothing: what stands before a prompt sees it too."""
        return None

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Run as if nothing were remembered, for the passes in a block."""
        kept, self.inputs = self.inputs, None
        try:
            yield
        finally:
            self.inputs = kept

    def head_width(self, layers: Sequence[int]) -> int:
        """H, and F for the values of these layers."""
        return self.hidden_size

    def value_means(self, inputs: Sequence[tuple[int, ...]], layers: Sequence[int]) -> Tensor:
        """
        Raises:
            BackboneError: always; what needs them is refused before any work, see `unsupported`.
        """
        raise BackboneError(
            "this backbone gives no values of its inputs alone",
            where=self.name,
            got=self.family.about,
            expected="a causal language model",
        )

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

    @property
    def typical_inputs(self) -> Tensor:
        """The embeddings."""
        return self.embeddings

    def word_weights(self, tokens: Sequence[int]) -> Tensor:
        """[T, H] what the LM head weighs the states with that a trained head reads, for each token.

        Zeros where there is more between them than a linear layer.
        """
        return torch.zeros(len(tokens), self.hidden_size)

    @property
    def tower_embeddings(self) -> Mapping[Tower, Tensor]:
        """What the inputs of its towers are made of, [V, H] for the text."""
        return {"text": self.embeddings}

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What a prompt trained here needs to find again."""
        return fingerprint_of(self.model, self.tokenizer)

    @property
    def peft_task(self) -> PeftTask | None:
        """None: PEFT runs no prompts of such a model as they are run here."""
        return None

    def digest(self) -> str:
        """SHA-256 over every parameter's and buffer's bytes: the proof that nothing changed."""
        return self._frozen.digest()

    def stops(self, stop_ids: Sequence[int] = ()) -> frozenset[int]:
        """The ids that end an answer: the tokenizer's, the model's own and the given ones."""
        return frozenset(self._frozen.stops(self.tokenizer.eos_token_id, stop_ids).tolist())

    def _pieces(self, injection: Injection | None) -> Mapping[Tower, TowerInjection]:
        """The injection by tower.

        Raises:
            BackboneError: a tower that this backbone does not have, or a prompt that depends on the
                input where it takes none.
        """
        pieces = by_tower(injection, self.family.main)
        for tower, piece in pieces.items():
            if tower not in self.takes:
                raise BackboneError(
                    f"this backbone has no {tower} tower to put a prompt into",
                    where=self.name,
                    got=f"{piece.length} vectors for the {tower} tower",
                    expected=f"a prompt for: {', '.join(self.takes)}",
                )
            mixes = isinstance(piece, InputTokens) and piece.mix is not None
            if mixes and "mixed-tokens" not in self.takes[tower]:
                raise BackboneError(
                    "this backbone does not take a prompt that depends on the input",
                    where=self.name,
                    got=f"a mix of prompts for {self.family.about}",
                    expected="vectors alone, or a language model",
                )
        return pieces

    def _refuse_images(self, batch: Batch) -> None:
        """
        Raises:
            BackboneError: rows with images, which a family without a vision tower does not see.
        """
        if batch.images:
            raise BackboneError(
                f"{self.family.about} does not see images",
                where=self.name,
                got=f"{sum(map(len, batch.images))} images",
                expected="a backbone with a vision tower",
            )

    def _check_length(self, length: int, what: str = "input") -> None:
        if length > self.max_positions:
            raise BackboneError(
                f"the {what} with its prompt is longer than the backbone's positions",
                where=self.name,
                got=f"{length} tokens",
                expected=f"at most {self.max_positions}",
                hint="lower max_length or the prompt's length",
            )
